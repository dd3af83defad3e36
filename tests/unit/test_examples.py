"""The examples in the READMEs: of each role, which accepts them alone, and of the collection."""

import re

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from conftest import ABSENT, PROJECT, ROLES, ROOT
from test_ways_of_use import run

EXAMPLES = sorted((ROOT / "examples" / "roles").glob("*.yml"))
PLAYS = [path for path in EXAMPLES if "hosts:" in path.read_text()]
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"
SECRETS = {"vault_backup_ssh_key": PRIVATE_KEY}


def role_of(path):
    """Return the role of an example; <role>.<case>.yml is a further one."""
    return path.stem.partition(".")[0]


def test_each_role_has_an_example():
    roles = {path.parent.name for path in ROOT.glob("roles/*/tasks")}
    assert {path.stem for path in EXAMPLES if "." not in path.stem} == roles
    assert {role_of(path) for path in EXAMPLES} == roles


@pytest.fixture
def base(checker, tmp_path):
    """Variables over those of the checker: as if there were no site.yml and no inventory."""
    (tmp_path / "company-ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    defaults = checker._of_roles("defaults")
    others = {**checker.read(ROOT / "playbooks/site.yml")[0]["vars"], **checker.read(PROJECT)}
    return {name: defaults.get(name, ABSENT) for name in others} | {"playbook_dir": str(tmp_path)}


def used(play):
    """Return the names of the roles of a play, and the variables that it sets."""
    names = [entry["role"].rpartition(".")[2] for entry in play["roles"]]
    given = dict(play.get("vars", {}))
    for entry in play["roles"]:
        given |= entry.get("vars", {})
    return names, given


def vault(text):
    """Return values for the secrets that a text names."""
    words = re.findall(r"vault_\w+", text)
    return {word: SECRETS.get(word, "s3cr3t-" * 5) for word in words}


@pytest.mark.parametrize("path", PLAYS, ids=lambda path: path.stem)
def test_the_role_alone_accepts_its_example(checker, base, path):
    (play,) = checker.read(path)
    names, given = used(play)
    assert role_of(path) in names
    assert checker.message(base | vault(path.read_text()) | given, names, alone=True) == ""


def test_ansible_finds_all_roles_and_tasks(tmp_path):
    done = run(
        tmp_path,
        "--syntax-check",
        *map(str, PLAYS),
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / "collections"),
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("playbook: ") == len(PLAYS)


# --- The README of the collection --------------------------------------------------------------


BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
WHOLE = [block for block in BLOCKS if block.startswith("- hosts: ")]
INVENTORIES = [block for block in BLOCKS if block.startswith("project: ")]
VALUES = [block for block in BLOCKS if block not in WHOLE + INVENTORIES]


@pytest.mark.parametrize("block", VALUES, ids=lambda block: block.split(":")[0])
def test_the_values_of_the_readme_are_accepted(checker, block, tmp_path):
    (tmp_path / "values.yml").write_text(block)
    values = vault(block) | checker.read(tmp_path / "values.yml")
    assert checker.message(values, ["app_description", *ROLES]) == ""


@pytest.mark.parametrize("block", WHOLE, ids=lambda block: block.split("- role: ")[1].split()[0])
def test_a_role_alone_accepts_the_play_of_the_readme(checker, base, block, tmp_path):
    (tmp_path / "play.yml").write_text(block)
    (play,) = checker.read(tmp_path / "play.yml")
    names, given = used(play)
    assert checker.message(base | vault(block) | given, names, alone=True) == ""


def test_ansible_reads_the_inventory_of_the_readme(tmp_path):
    (inventory,) = INVENTORIES
    (tmp_path / "hosts.yml").write_text(inventory)
    hosts = InventoryManager(DataLoader(), [str(tmp_path / "hosts.yml")])
    (host,) = hosts.get_hosts("project")
    assert host.vars["ansible_user"] == "root" and "production" in hosts.groups

"""The examples of each role: its README has them, and the role alone accepts them."""

import pytest
from conftest import ABSENT, PROJECT, ROOT
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


@pytest.mark.parametrize("path", PLAYS, ids=lambda path: path.stem)
def test_the_role_alone_accepts_its_example(checker, base, path):
    (play,) = checker.read(path)
    names = [entry["role"].rpartition(".")[2] for entry in play["roles"]]
    assert role_of(path) in names
    given = dict(play.get("vars", {}))
    for entry in play["roles"]:
        given |= entry.get("vars", {})
    words = path.read_text().replace("}", " ").split()
    vault = {word: SECRETS.get(word, "s3cr3t-" * 5) for word in words if word.startswith("vault_")}
    assert checker.message(base | vault | given, names, alone=True) == ""


def test_ansible_finds_all_roles_and_tasks(tmp_path):
    done = run(
        tmp_path,
        "--syntax-check",
        *map(str, PLAYS),
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / "collections"),
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("playbook: ") == len(PLAYS)

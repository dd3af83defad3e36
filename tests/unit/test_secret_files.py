"""The copy of the generated secrets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.plugins.lookup.password import _get_lock
from ansible_collections.clink.django_stack.plugins.module_utils.releases import environment_text
from ansible_collections.clink.django_stack.plugins.plugin_utils import secret_files
from ansible_collections.clink.django_stack.plugins.plugin_utils.secret_files import SecretsError
from conftest import ROOT

PASSWORD = "a long password"
SECRETS = {"secret_key": "k" * 64, "backup_key": "b" * 64, "broker_password.next": "n" * 40}


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "secrets"
    secret_files.write(made, SECRETS)
    return made


def test_a_copy_comes_back(directory, tmp_path):
    file = tmp_path / "copy.vault"
    assert not secret_files.is_copied(directory)
    assert secret_files.export(directory, file, PASSWORD) == sorted(SECRETS)
    assert secret_files.is_copied(directory)
    text = file.read_text()
    assert text.startswith("$ANSIBLE_VAULT;1.1;AES256")
    assert not any(value in text for value in SECRETS.values())
    assert file.stat().st_mode & 0o777 == 0o600
    other = tmp_path / "other"
    secret_files.write(other, secret_files.imported(file, PASSWORD))
    assert secret_files.read(other) == SECRETS
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in other.iterdir())


def test_a_new_secret_makes_the_copy_old(directory, tmp_path):
    secret_files.export(directory, tmp_path / "copy.vault", PASSWORD)
    (directory / "secret_key").write_text("another")
    assert not secret_files.is_copied(directory)


def test_a_directory_without_secrets_needs_no_copy(tmp_path):
    assert secret_files.is_copied(tmp_path / "nothing")
    with pytest.raises(SecretsError, match="no secrets"):
        secret_files.export(tmp_path / "nothing", tmp_path / "copy.vault", PASSWORD)


def test_a_wrong_password_or_another_file_is_refused(directory, tmp_path):
    file = tmp_path / "copy.vault"
    secret_files.export(directory, file, PASSWORD)
    for path, password, words in (
        (file, "another password", "wrong"),
        (file, "short", "12 characters"),
        (directory / "secret_key", PASSWORD, "no copy"),
        (tmp_path / "missing", PASSWORD, "cannot be read"),
    ):
        with pytest.raises(SecretsError, match=words):
            secret_files.imported(path, password)


def test_another_value_is_never_replaced(directory):
    with pytest.raises(SecretsError, match="other values of secret_key"):
        secret_files.write(directory, {"secret_key": "x", "database_password": "y"})
    assert secret_files.read(directory) == SECRETS


def test_a_host_gives_its_secrets_back():
    environment = environment_text(
        {
            "SECRET_KEY": 'a"b\\c$d`e',
            "DATABASE_URL": "postgresql://clinic:p%2Fw%40rd@127.0.0.1:5432/clinic",
            "CELERY_BROKER_URL": "redis://:broker@127.0.0.1:6379/0",
            "X": "SECRET_KEY=no",
        },
        "# Ansible managed",
    )
    told = secret_files.of_host(environment, "# x\nRESTIC_PASSWORD=key\n")
    assert told == {
        "secret_key": 'a"b\\c$d`e', "database_password": "p/w@rd", "broker_password": "broker",
        "backup_key": "key",
    }  # fmt: skip


def test_the_password_of_another_server_is_not_generated():
    environment = environment_text({"DATABASE_URL": "postgresql://x:y@db.example.com/z"}, "#")
    assert secret_files.of_host(environment, "") == {}


def test_git_leaves_the_secrets_out(tmp_path):
    """In a repository of the operator's own, too, and where an earlier version made them."""
    directory = tmp_path / "inventories" / ".secrets" / "production" / "clinic"
    secret_files.write(directory, SECRETS)
    assert directory.stat().st_mode & 0o777 == 0o700
    git = ["git", "-C", str(tmp_path), "-c", "status.showUntrackedFiles=all"]
    subprocess.run([*git, "init", "--quiet"], check=True)

    def staged():
        subprocess.run([*git, "add", "."], check=True)
        return subprocess.check_output([*git, "ls-files"], text=True).split()

    assert staged() == []
    (directory / secret_files.IGNORE).unlink()
    secret_files.hide(directory)
    secret_files.hide(directory)
    assert staged() == []
    assert secret_files.read(directory) == SECRETS


def test_a_new_control_machine_gets_the_secrets_of_the_copy(directory, tmp_path):
    """The playbook does not generate others before it imports them."""
    secret_files.export(directory, tmp_path / "copy.vault", PASSWORD)
    given = {
        "app_name": "clinic", "app_source": {"directory": "/nowhere"}, "ansible_become": False,
        "app_domains": ["example.com"], "app_secrets": str(tmp_path / "new"),
        "secrets_do": "import", "secrets_password": PASSWORD,
        "secrets_file": str(tmp_path / "copy.vault"),
        "ansible_python_interpreter": sys.executable,
    }  # fmt: skip
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [program, "-i", "localhost,", "-c", "local", "-e", json.dumps(given)]
    done = subprocess.run(
        [*command, ROOT / "playbooks" / "secrets.yml"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert secret_files.read(tmp_path / "new") == SECRETS


# --- A host that uses other secrets ---------------------------------------------------------------

ENVIRONMENT = "/etc/psychology_clinic/environment"
HOST = {
    ENVIRONMENT: 'SECRET_KEY="aaaa"\nDJANGO_SECRET_KEY="aaaa"\n'
    'DATABASE_URL="postgresql://clinic:bbbb@127.0.0.1:5432/clinic"\n'
    'CELERY_BROKER_URL="redis://:cccccccccccccccc@127.0.0.1:6379/0"\n',
    "/etc/django_stack/backup/restic.env": 'RESTIC_PASSWORD="dddd"\n',
}
LOCAL = {
    "secret_key": "a" * 32, "database_password": "b" * 12, "broker_password": "c" * 16,
    "backup_key": "d" * 16,
}  # fmt: skip
USED = {
    path: text.replace("aaaa", "a" * 32).replace("bbbb", "b" * 12).replace("dddd", "d" * 16)
    for path, text in HOST.items()
}


@pytest.fixture
def told(checker, tmp_path):
    """Give a function that checks a host with secrets in a directory of this machine."""

    def check(local, files, alone=False, **values):
        directory = tmp_path / "secrets"
        if local:
            secret_files.write(directory, local)
        before = sorted(tmp_path.rglob("*"))
        given = {"app_secrets": str(directory), "inventory_hostname": "web-1"} | values
        message = checker.message(given, ["app_description"], files, alone)
        if message:
            assert sorted(tmp_path.rglob("*")) == before, "a refusal leaves no file behind"
            assert not any(secret in message for secret in LOCAL.values())
        return message

    return check


@pytest.mark.parametrize("local", [{}, LOCAL])
def test_a_check_keeps_the_secrets_out_of_git(told, tmp_path, local):
    if local:
        secret_files.write(tmp_path / "secrets", local)
        (tmp_path / "secrets" / secret_files.IGNORE).unlink()
    assert told({}, {}) == ""
    assert (tmp_path / "secrets" / secret_files.IGNORE).is_file()


def test_a_checkout_without_secrets_does_not_replace_those_of_a_host(told, tmp_path):
    message = told({}, USED)
    for part in (*LOCAL, str(tmp_path / "secrets"), "Nothing was touched", "secrets.yml", "web-1"):
        assert part in message


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("text", [None, ""])
def test_a_secret_that_is_missing_or_empty_is_not_replaced(told, name, text):
    local = {each: value for each, value in LOCAL.items() if each != name}
    message = told(local | ({} if text is None else {name: text}), USED)
    assert f"does not have {name}. " in message


@pytest.mark.parametrize("name", ["secret_key", "backup_key"])
def test_secrets_of_another_host_are_refused(told, name):
    assert f"another value of {name}. " in told(LOCAL | {name: "z" * 32}, USED)


def test_the_secrets_of_the_host_are_right_and_the_next_run_does_not_ask(told, tmp_path):
    assert told(LOCAL | {"database_owner_password": "o" * 40}, USED) == ""
    assert secret_files.is_known(tmp_path / "secrets", "web-1", LOCAL)
    assert told({}, {ENVIRONMENT: 'SECRET_KEY="never read"'}) == ""
    assert not secret_files.is_known(tmp_path / "secrets", "web-2", LOCAL)
    (tmp_path / "secrets" / "secret_key").write_text("z" * 32)
    assert "another value" in told({}, USED)


def test_another_project_backs_up_with_a_key_of_its_own(told, tmp_path):
    local = LOCAL | {"backup_key": "z" * 32}
    assert told(local, USED, alone=True) == ""
    assert not secret_files.is_known(tmp_path / "secrets", "web-1", LOCAL)
    assert "another value of backup_key. " in told({}, USED)
    (tmp_path / "secrets" / "secret_key").unlink()
    assert "does not have secret_key. " in told({}, USED, alone=True)


@pytest.mark.parametrize("name", ["secret_key.next", "secret_key.before"])
def test_a_rotation_that_was_cut_off_goes_on(told, name):
    local = LOCAL | {"secret_key": "z" * 32, name: LOCAL["secret_key"]}
    assert told(local, USED) == ""


def test_a_blank_host_gets_new_secrets(told, tmp_path):
    assert told({}, {}) == ""
    assert not (tmp_path / "secrets" / secret_files.KNOWN).exists()


def test_what_the_inventory_gives_is_not_among_the_generated_secrets(told):
    given = {f"app_{name}": value for name, value in LOCAL.items()}
    assert told({}, USED, **given | {"app_secret_key": "z" * 32}) == ""
    own = USED | {ENVIRONMENT: USED[ENVIRONMENT].replace("a" * 32, "of the project", 1)}
    assert told(LOCAL, own) == ""  # app_environment has a SECRET_KEY


# --- A run that was killed while it read or made a secret -----------------------------------------


@pytest.fixture
def killed(directory):
    """Leave what a killed run leaves: the lock of one secret, and another one without a text."""
    _first, lock = _get_lock(os.fsencode(directory / "secret_key"))
    paths = [Path(os.fsdecode(lock)), directory / "database_password"]
    paths[1].touch()
    return paths


def test_what_a_killed_run_has_left_hinders_nobody(told, killed, directory):
    for path in killed:
        os.utime(path, (0, 0))
    assert told({}, {}) == ""
    assert not killed[0].exists()
    assert secret_files.read(directory).items() >= SECRETS.items()
    assert secret_files.read(directory).get("database_password", "new")


def test_another_run_that_lives_ends_its_work_first(killed, directory, monkeypatch):
    def work(_seconds):
        killed[0].unlink(missing_ok=True)
        killed[1].write_text("m" * 40)

    monkeypatch.setattr(secret_files.time, "sleep", work)
    secret_files.clear(directory)
    assert secret_files.read(directory) == SECRETS | {"database_password": "m" * 40}


def test_a_run_that_was_killed_a_moment_ago_is_waited_for(killed, directory, monkeypatch):
    monkeypatch.setattr(secret_files, "LIVES", 0.3)
    secret_files.clear(directory)
    assert not any(path.exists() for path in killed)
    assert secret_files.read(directory) == SECRETS

"""The generated secrets of an application on the control machine, and their encrypted copy."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.clink.django_stack.plugins.module_utils import files
from ansible_collections.clink.django_stack.plugins.module_utils.checks import variable

NAMES = (
    "secret_key", "database_password", "database_owner_password", "broker_password", "backup_key",
)  # fmt: skip
BACKUP_FILE = "/etc/django_stack/backup/restic.env"
KNOWN = ".hosts"  # a directory with the digest of the secrets for each host that has them
IGNORE = ".gitignore"  # a file that keeps the directory out of a repository around it
MARK = ".exported"  # a file with the digest of the secrets that the last copy has
LOCKS = "*.ansible_lockfile"  # Ansible's lookup `password` has each for some milliseconds
LIVES = 5.0  # seconds after which the run that has made an empty file no longer lives
NAME = re.compile(r"[a-z][a-z_]*(\.next|\.before)?\Z")


class SecretsError(Exception):
    """The secrets cannot be copied; the text says why."""


def read(directory: Path) -> dict[str, str]:
    """Return the secrets of a directory by their names; none for a missing directory."""
    if not directory.is_dir():
        return {}
    names = sorted(path.name for path in directory.iterdir() if NAME.match(path.name))
    return {name: (directory / name).read_text(encoding="utf-8").strip() for name in names}


def digest(secrets: Mapping[str, str]) -> str:
    """Return the digest of secrets; it does not reveal them."""
    return hashlib.sha256(json.dumps(dict(secrets), sort_keys=True).encode()).hexdigest()


def is_copied(directory: Path) -> bool:
    """Return whether the last copy has the secrets of a directory."""
    secrets = read(directory)
    mark = directory / MARK
    return not secrets or mark.is_file() and mark.read_text().strip() == digest(secrets)


def write(directory: Path, secrets: Mapping[str, str]) -> list[str]:
    """Write the secrets that a directory lacks; return their names.

    Raises:
        SecretsError: the directory has another value of a secret; nothing was written.
    """
    there = read(directory)
    others = sorted(name for name in secrets if name in there and there[name] != secrets[name])
    if others:
        raise SecretsError(
            f"{directory} has other values of {', '.join(others)}. Nothing was written: compare "
            "the two, and move the directory away if its values are the wrong ones"
        )
    missing = sorted(set(secrets) - set(there))
    hide(directory)
    for name in missing:
        files.replace(directory / name, secrets[name] + "\n")
    return missing


def hide(directory: Path) -> None:
    """Make a directory of secrets if it is missing; keep it from others, and out of git."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The hosts of a run share the directory, and the first one makes the file.
    with suppress(FileExistsError):
        (directory / IGNORE).touch(mode=0o600, exist_ok=False)
        (directory / IGNORE).write_text("# Generated secrets stay on this machine.\n*\n")


def clear(directory: Path) -> None:
    """Remove what the lookup `password` leaves if its run is killed.

    A lock, without whose end each later run would fail; and the file of a secret that is still
    empty, so that no host has it.
    """
    empty = [directory / name for name, value in read(directory).items() if not value]
    for path in [*directory.glob(LOCKS), *empty]:
        with suppress(FileNotFoundError):  # its run has removed it
            while not (told := path.stat()).st_size and 0 <= time.time() - told.st_mtime < LIVES:
                time.sleep(0.1)
            if not told.st_size:
                path.unlink()


def _vault(password: str) -> VaultLib:
    if len(password) < 12:
        raise SecretsError("The password of the copy should have 12 characters or more")
    return VaultLib([("default", VaultSecret(password.encode()))])


def export(directory: Path, file: Path, password: str) -> list[str]:
    """Write an encrypted copy of the secrets; return their names.

    Raises:
        SecretsError: there are no secrets, or the password is short.
    """
    secrets = read(directory)
    if not secrets:
        raise SecretsError(f"{directory} holds no secrets")
    text = _vault(password).encrypt(json.dumps(secrets, indent=4)).decode()
    file.parent.mkdir(parents=True, exist_ok=True)
    files.replace(file, text)
    mark(directory, secrets)
    return sorted(secrets)


def mark(directory: Path, secrets: Mapping[str, str]) -> None:
    """Remember which secrets the copy has."""
    files.replace(directory / MARK, digest(secrets) + "\n")


def imported(file: Path, password: str) -> dict[str, str]:
    """Return the secrets of an encrypted copy.

    Raises:
        SecretsError: the file is no copy, or the password is wrong.
    """
    try:
        text = _vault(password).decrypt(file.read_bytes())
        secrets = json.loads(text)
    except OSError as error:
        raise SecretsError(f"{file} cannot be read: {error.strerror}") from error
    except (AnsibleError, ValueError) as error:
        raise SecretsError(f"{file} is no copy of secrets, or the password is wrong") from error
    if not isinstance(secrets, dict) or not all(
        NAME.match(str(name)) and isinstance(value, str) for name, value in secrets.items()
    ):
        raise SecretsError(f"{file} is no copy of secrets")
    return secrets


def generated(variables: Mapping[str, object]) -> list[str]:
    """Return the names of the secrets that are generated, and not given in the inventory.

    Args:
        variables: all variables of the host, not rendered.
    """
    return [
        name
        for name in NAMES
        if f"app_secrets ~ '/{name}'" in str(variables.get(f"app_{name}", ""))
    ]


def is_known(directory: Path, host: str, names: Iterable[str]) -> bool:
    """Return whether a host is known to have the secrets of a directory, which has them all."""
    secrets = read(directory)
    mark = directory / KNOWN / host
    return all(map(secrets.get, names)) and mark.is_file() and mark.read_text() == digest(secrets)


def know(directory: Path, host: str) -> None:
    """Remember that a host has the secrets of a directory."""
    if secrets := read(directory):
        (directory / KNOWN).mkdir(mode=0o700, exist_ok=True)
        files.replace(directory / KNOWN / host, digest(secrets))


def differences(
    directory: Path, names: Iterable[str], environment: str, backup: str
) -> tuple[list[str], list[str]]:
    """Return which secrets of a host a directory lacks, and of which it has another value.

    Args:
        directory: of the secrets.
        names: of the secrets that are generated.
        environment: the text of the application's environment file on the host.
        backup: that of the file with the key of the backups.
    """
    used, here = of_host(environment, backup), read(directory)
    lacking = [name for name in names if name in used and not here.get(name)]
    # app_environment may have a SECRET_KEY of its own.
    keys = {variable(environment, name) for name in ("SECRET_KEY", "DJANGO_SECRET_KEY")}
    known = {"secret_key": keys, "backup_key": {used.get("backup_key", "")}}
    other = [
        name
        for name, values in known.items()
        if name in names
        and name in used
        and name not in lacking
        # During a rotation the host has the next one, or still the one before.
        and not values & {here.get(f"{name}{end}") for end in ("", ".next", ".before")}
    ]
    return lacking, other


def refusal(
    directory: Path, lacking: Iterable[str], other: Iterable[str], host: str, file: str
) -> str:
    """Return why a run would replace the secrets of a host; empty if it would not."""
    told = []
    if lacking := list(lacking):
        told.append(f"{directory} does not have {', '.join(lacking)}")
    if other := list(other):
        told.append(f"{directory} has another value of {', '.join(other)}")
    if not told:
        return ""
    return (
        f"Nothing was touched. {host} uses secrets of the application, and {'; '.join(told)}. This "
        "run would replace them: all users would be signed out, and the backups could not be read. "
        "Copy that directory from the machine that has set the host up, or correct app_secrets or "
        "the name of the inventory file, from which it comes; or read a copy with "
        "playbooks/secrets.yml -e secrets_do=import; or take the secrets from the host with "
        "playbooks/secrets.yml -e secrets_do=recover. playbooks/rotate.yml replaces a secret "
        f"without harm. If the application on the host is of no use any more, remove {file} there."
    )


def of_host(environment: str, backup: str, owner: str = "") -> dict[str, str]:
    """Return the secrets that a host has in its files.

    Args:
        environment: the text of the application's environment file.
        backup: that of the file with the key of the backups; empty if there is none.
        owner: that of the environment file with which migrations run; empty if there is none.
    """
    found = {"secret_key": variable(environment, "SECRET_KEY")}
    for name, url in (
        ("database_password", variable(environment, "DATABASE_URL")),
        ("database_owner_password", variable(owner, "DATABASE_URL")),
        ("broker_password", variable(environment, "CELERY_BROKER_URL")),
    ):
        parts = urlsplit(url)
        # The passwords of other servers are in the description, not among the generated secrets.
        if parts.hostname in ("127.0.0.1", "localhost", "::1") and parts.password:
            found[name] = unquote(parts.password)
    found["backup_key"] = variable(backup, "RESTIC_PASSWORD")
    return {name: value for name, value in found.items() if value}

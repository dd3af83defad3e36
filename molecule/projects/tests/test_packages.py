"""Lists of packages of other tools, and a package in a private repository.

The lists hold one small package; app_packages adds Django, which may not change its version.
"""

import json
import time

import pytest
from projects import APP, ROOT, done, refused

PACKAGE = "sqlparse"
VERSION = "0.5.2"  # an older one, which nothing but a list asks for
HASH = "sha256:e99bc85c78160918c3e1d9230834ab8d80fc06c59d03f8db2618f65f65dda55e"
POETRY = """\
[tool.poetry]
package-mode = false

[tool.poetry.dependencies]
python = "^3.10"
sqlparse = "0.5.2"

[tool.poetry.group.dev.dependencies]
iniconfig = "2.1.0"
"""
# Of the format that Poetry 1.1 writes.
POETRY_LOCK = f"""\
[[package]]
name = "sqlparse"
version = "{VERSION}"
description = ""
category = "main"
optional = false
python-versions = ">=3.8"

[[package]]
name = "iniconfig"
version = "2.1.0"
description = ""
category = "dev"
optional = false
python-versions = ">=3.8"

[metadata]
lock-version = "1.1"
python-versions = "^3.10"
content-hash = "e9e03e520d8f24279e5520cc734fd38e160bfab4d6ed0ae453246e81330c29a5"

[metadata.files]
sqlparse = [
    {{file = "sqlparse-{VERSION}-py3-none-any.whl", hash = "{HASH}"}},
]
iniconfig = []
"""
PIPENV_LOCK = {
    "_meta": {"hash": {"sha256": ""}, "pipfile-spec": 6, "requires": {}, "sources": []},
    "default": {PACKAGE: {"hashes": [HASH], "version": f"=={VERSION}"}},
    "develop": {"iniconfig": {"version": "==2.1.0"}},
}
HASHED = f"--require-hashes\n{PACKAGE}=={VERSION} --hash={HASH}\n"
# A second sshd, and a repository whose package looks for the key while it is built.
SERVER = r"""
set -e
id git >/dev/null 2>&1 || useradd --create-home --password '*' --shell /bin/sh git
test -f /root/package_key || ssh-keygen -q -t ed25519 -N '' -f /root/package_key
install -D -o git -m 600 /root/package_key.pub /home/git/.ssh/authorized_keys
chown git /home/git/.ssh
printf '%s\n' 'Port 2222' 'HostKey /etc/ssh/ssh_host_ed25519_key' 'AllowUsers git' 'UsePAM no' \
    'PasswordAuthentication no' >/etc/ssh/sshd_packages
systemctl is-active --quiet sshd-packages ||
    systemd-run --quiet --unit=sshd-packages -- /usr/sbin/sshd -D -f /etc/ssh/sshd_packages
rm -rf /tmp/library /home/git/library.git
mkdir /tmp/library && cd /tmp/library
printf '%s\n' 'import os, setuptools' "assert not os.access('/etc/shop/deploy_key', os.R_OK)" \
    "setuptools.setup(name='library', version='1', py_modules=['library'])" >setup.py
touch library.py
git init --quiet && git add . && git -c user.name=a -c user.email=a@example.com commit --quiet -m 1
git clone --quiet --bare . /home/git/library.git
chown -R git /home/git/library.git
"""
LIBRARY = "library @ git+ssh://git@127.0.0.1:2222/home/git/library.git"


def installed(host):
    """Return the versions of the packages of the live release."""
    command = f"/opt/uv/*/bin/uv pip list --quiet --format=json --python={ROOT}/current/.venv"
    told = json.loads(host.check_output(command))
    return {each["name"]: each["version"] for each in told}


def links(host):
    """Return how many releases share a file of the package."""
    path = f"{ROOT}/current/.venv/lib/python3*/site-packages/{PACKAGE}/__init__.py"
    return int(host.check_output(f"stat --format=%h {path}"))


LISTS = {
    "poetry": {"pyproject.toml": POETRY, "poetry.lock": POETRY_LOCK},
    "hashes": {"requirements.txt": HASHED},
    "pipenv": {
        "Pipfile.lock": json.dumps(PIPENV_LOCK)
    },  # the last: its next release is built below
}
NAMES = {"requirements.txt", *(name for files in LISTS.values() for name in files)}


def list_packages(project, files):
    """Give the project these lists of packages and no other."""
    project.write({name: None for name in NAMES if (project.directory / name).exists()})
    project.write(files)


@pytest.mark.parametrize("tool", LISTS)
def test_a_list_is_installed_as_it_is_locked(project, host, tool):
    list_packages(project, LISTS[tool])
    done(project.deploy(app_packages=["django"]))
    packages = installed(host)
    assert packages[PACKAGE] == VERSION
    assert {"django", "gunicorn"} <= set(packages)
    assert "iniconfig" not in packages


def test_the_next_release_links_the_packages_and_asks_no_tool(project, host):
    exports = f"ls -i /var/cache/{APP}-build/uv/exports"
    before, shared = host.check_output(exports), links(host)
    project.append("shop/urls.py", f"# {time.time()}\n")  # a release that is not there yet
    done(project.deploy(app_packages=["django"]))
    assert links(host) == shared + 1
    assert host.check_output(exports) == before


def test_a_stale_lock_file_is_refused_by_name(project):
    stale = POETRY.replace('"0.5.2"', '"0.5.3"')
    list_packages(project, {**LISTS["poetry"], "pyproject.toml": stale})
    told = refused(project.deploy(app_packages=["django"]))
    assert "refuses poetry.lock" in told
    assert "poetry lock" in told


def test_a_private_package_gets_the_deploy_key_and_its_build_does_not(project, host):
    host.check_output("sh -c %s", SERVER)
    key = host.file("/root/package_key").content_string
    list_packages(project, {"requirements.txt": f"django\n{LIBRARY}\n"})
    done(project.site("--tags=app,gunicorn", app_deploy_key=key))
    assert installed(host)["library"] == "1"

"""What code that nobody has read can do: a package, a build script, a commit, a web process.

molecule/testing/malicious_package is that code. At each stage it tries the same attacks and tells
the canary, a process of root on the droplet, which learns from the kernel which user speaks. Two of
its releases are deployed, and the second one is built from packages that are linked from the first
one. Then the second one serves, and hinders the rollback.
"""

import base64
import itertools
import json
import shutil
import time

import pytest
import testinfra
from droplets import APP, INVENTORY, PROJECT, ROOT, door_of, eventually, playbook

testinfra_hosts = ["ansible://*-12"]  # whose systemd is the oldest
LIMIT = "--limit=*-12"
DEPLOY, ROLLBACK = (PROJECT / "playbooks" / f"{name}.yml" for name in ("deploy", "rollback"))
TESTING = PROJECT / "molecule" / "testing"
MARK = "canary-of-the-tests"
TOLD = "/run/canary.jsonl"
HOOKS = {
    "app_before_migrate": ["touch ~/cache && python -m attacker before_migrate"],
    "app_after_switch": ["python -m attacker after_switch"],
}
STAGES = {"build", "import", "migration", "before_migrate", "after_switch", "web"}
IN_TIME = 90  # s that a rollback takes at most, whatever the live release does
# What a build leaves that root must not follow, and what a refused deploy says of it.
SABOTAGE = {
    "packages": "should be a directory",
    "shared": "app_shared_directories",
    "depth": "levels of directories",
}
# The directories that nginx serves, and what a release links in each.
DIRECTORIES = {"static": f"{ROOT}/current/.staticfiles", "media": f"{ROOT}/shared/media"}
LINKS = list(itertools.product(DIRECTORIES, ["leak.txt", "passwd.txt", "directory/private"]))

# Another application on the host, as this role lays it out; and a deploy key of this one.
NEIGHBOUR = f"""
set -eu
for user in other other-build; do
    id $user >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin $user
done
sed 's#{ROOT}#/var/www/other#g; s/{APP}/other/g' /etc/tmpfiles.d/{APP}.conf >/run/other.conf
systemd-tmpfiles --create /run/other.conf
secret() {{
    mkdir -p "$(dirname "$4")"
    echo '{MARK}' >"$4"
    chown "$1:$2" "$4"
    chmod "$3" "$4"
}}
secret root other 0640 /etc/other/environment
secret root other-build 0640 /var/lib/django_stack/other/source.tar
secret other-build other-build 0644 /var/cache/other-build/uv/secret
secret root root 0644 /var/www/other/releases/0/settings.py
secret other www-data 0640 /var/www/other/shared/media/private
secret {APP}-build root 0400 /etc/{APP}/deploy_key
systemctl reset-failed canary 2>/dev/null || true
rm -f {TOLD}
systemctl is-active --quiet canary ||
    systemd-run --quiet --unit=canary python3 /run/canary.py {TOLD}
"""
AWAY = f"""
systemctl stop canary
rm -rf /etc/{APP}/deploy_key
rm -rf /etc/other /var/www/other /var/lib/django_stack/other /var/cache/other-build
rm -rf {ROOT}/shared/media/leak.txt {ROOT}/shared/media/passwd.txt {ROOT}/shared/media/directory
userdel other; userdel other-build
runuser -u postgres -- psql -qd {APP} -c "DELETE FROM django_migrations WHERE name = '0003_attack'"
"""
# Owner, mode and kind of all that is root's, and the times of the files: one line for each.
LOOK = f"""
find /etc /usr/local /opt/uv /root /var/spool/cron /var/lib/systemd /var/lib/django_stack \
    /var/www/other /var/cache/other-build {ROOT} -xdev \\( -path /root/.ansible \
    -o -path {ROOT}/shared/media -o -path {ROOT}/releases \
    -o -path /var/lib/systemd/timers -o -path /var/lib/django_stack/backup \
    -o -path /var/lib/django_stack/monitor \\) -prune -o \
    ! -path '/etc/ansible/facts.d/*' ! -name source.tar ! -path {ROOT}/current ! -path {ROOT} \
    \\( -type f -printf '%p %u %g %m %T@\\n' -o -printf '%p %u %g %m %y %l\\n' \\) | sort
stat --format '%n %U %G %a' {ROOT}
"""
TREE = (
    "cd {} && find . -printf '%p %u %g %m %y %l\\n' | sort"
    " && find . -type f -exec sha256sum {{}} + | sort"
)


def droplets():
    """Return the droplets of the scenario."""
    return testinfra.get_hosts(testinfra_hosts, ansible_inventory=str(INVENTORY))


def name_of(host):
    return host.backend.get_pytest_id().rpartition("//")[2]


def live(host):
    return host.check_output(f"readlink {ROOT}/current").removeprefix("releases/")


def project(directory, number, sabotage=""):
    """Lay out the sample with a malicious package, settings, migration and page."""
    shutil.copytree(PROJECT / "examples" / APP, directory)
    shutil.copytree(TESTING / "malicious_package", directory / "attacker")
    (directory / "attacker" / "sabotage").write_text(sabotage)
    added = {
        "requirements.txt": "./attacker\n",
        f"{APP}/settings.py": f"import attacker\n\nattacker.imported()  # {number}\n",
        f"{APP}/urls.py": (
            "import attacker\n\nurlpatterns[:0] = [path('attack/<slug:what>/', attacker.view)]\n"
        ),
        "clinic/migrations/0003_attack.py": (
            "import attacker\nfrom django.db import migrations\n\n\n"
            "def attack(apps, editor):\n    attacker.attack('migration')\n\n\n"
            "class Migration(migrations.Migration):\n"
            "    dependencies = [('clinic', '0002_document')]\n"
            "    operations = [migrations.RunPython(attack)]\n"
        ),
    }
    for path, text in added.items():
        with (directory / path).open("a") as file:
            file.write(text)
    return directory


def deploy(directory, **given):
    values = {"app_source": {"directory": str(directory)}, **given}
    return playbook(LIMIT, f"--extra-vars={json.dumps(values)}", book=DEPLOY)


def rollback(**given):
    begun = time.monotonic()
    done = playbook(LIMIT, f"--extra-vars={json.dumps(given)}", book=ROLLBACK)
    return done.returncode, done.stdout + done.stderr, time.monotonic() - begun


def visit(host, what):
    """Ask the malicious release for a page; it answers when it has done its work."""
    assert door_of(host).ask(f"/attack/{what}/").text == "done"


class Attacked:
    """A droplet before the attack, and what happened on it."""

    def __init__(self, host):
        code = base64.b64encode((TESTING / "canary.py").read_bytes()).decode()
        host.check_output("echo %s | base64 -d >/run/canary.py", code)
        host.check_output("sh -c %s", NEIGHBOUR)
        self.host = host
        self.good = live(host)
        self.before = self.look()
        self.trees = {}
        self.links = {}
        self.keep()

    def look(self):
        return self.host.check_output("sh -c %s", LOOK).splitlines()

    def keep(self):
        """Keep what the live release is."""
        release = f"{ROOT}/releases/{live(self.host)}"
        self.trees[release] = self.tree(release)

    def tree(self, release):
        return self.host.check_output("sh -c %s", TREE.format(release)).splitlines()

    def follow(self):
        """Ask nginx for each link that the release has made; keep its answers."""
        for directory, path in LINKS:
            link = f"{DIRECTORIES[directory]}/{path.split('/')[0]}"
            assert self.host.file(link).is_symlink, link
            self.links[directory, path] = door_of(self.host).ask(f"/{directory}/{path}")

    def told(self):
        return [json.loads(line) for line in self.host.file(TOLD).content_string.splitlines()]


@pytest.fixture(scope="session")
def attacked(tmp_path_factory):
    """Deploy two malicious releases, one after the other, and have the second one serve."""
    directory = tmp_path_factory.mktemp("attacker")
    found = {name_of(host): Attacked(host) for host in droplets()}
    try:
        for number in (1, 2):
            done = deploy(project(directory / f"{number}", number), **HOOKS)
            assert done.returncode == 0, done.stdout + done.stderr
            for each in found.values():
                each.keep()
        for each in found.values():
            visit(each.host, "web")
            each.follow()
        yield found
    finally:
        for each in found.values():
            each.host.run("sh -c %s", AWAY)


@pytest.fixture
def seen(attacked, host):
    return attacked[name_of(host)]


@pytest.fixture(scope="session")
def refused(attacked, tmp_path_factory):
    """Deploy releases whose builds leave traps; return what the runs have printed."""
    directory = tmp_path_factory.mktemp("sabotage")
    return {name: deploy(project(directory / name, name, name)) for name in SABOTAGE}


@pytest.fixture(scope="session")
def rolled_back(attacked, refused):
    """Have the web process hinder rollbacks; return the results of a plain and of a forced one."""
    for each in attacked.values():
        visit(each.host, "hold")
    time.sleep(2)
    (good,) = {each.good for each in attacked.values()}
    plain = rollback(app_rollback_to=good)
    return plain, rollback(app_rollback_to=good, app_rollback_past_migrations=True)


def differences(seen):
    """Return what of root's has changed, and what in the releases is not root's."""
    now = seen.look()
    changed = [f"- {line}" for line in seen.before if line not in now]
    changed += [f"+ {line}" for line in now if line not in seen.before]
    strange = f"find {ROOT}/releases \\( ! -user root -o -perm /7022 ! -type l \\) -ls"
    return changed + seen.host.check_output(strange).splitlines()


def breaches(seen):
    """Return what the canary has heard that must not be possible."""
    told = seen.told()
    return [line for line in told if line["user"] == 0 or line["reached"] or MARK in str(line)]


def test_everything_was_tried(seen):
    told = seen.told()
    users = {user: int(seen.host.check_output("id -u %s", user)) for user in (APP, f"{APP}-build")}
    ended = {line["stage"]: line["user"] for line in told if line["attempt"] == "end"}
    assert set(ended) == STAGES
    for stage, user in ended.items():
        assert user == users[f"{APP}-build" if stage == "build" else APP], stage
    assert "move" in {line["attempt"] for line in told}, "the packages were not linked"
    assert {"program", "python"} <= {line["stage"] for line in told}


def test_nothing_of_it_ran_as_root_or_reached_a_secret(seen):
    assert breaches(seen) == []


def test_what_is_roots_is_as_it_was(seen):
    assert differences(seen) == []


def test_the_releases_before_are_as_they_were(seen):
    for release, tree in seen.trees.items():
        assert seen.tree(release) == tree


@pytest.mark.parametrize(("directory", "path"), LINKS)
def test_nginx_serves_nothing_through_a_link(seen, directory, path):
    answer = seen.links[directory, path]
    assert answer.status_code in (403, 404)
    assert MARK not in answer.text


def test_no_process_outlives_its_step(seen):
    assert seen.host.run("pgrep --full --list-full stays-").stdout == ""


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_a_trap_of_a_build_is_refused(seen, refused, sabotage):
    done = refused[sabotage]
    assert done.returncode
    assert SABOTAGE[sabotage] in done.stdout + done.stderr
    assert differences(seen) == []


def test_a_rollback_that_would_lose_a_migration_says_so(rolled_back):
    code, told, seconds = rolled_back[0]
    assert code
    assert "clinic.0003_attack" in told
    assert "app_rollback_past_migrations" in told
    assert seconds < IN_TIME


def test_no_web_process_hinders_a_rollback(seen, door, rolled_back):
    code, told, seconds = rolled_back[1]
    assert code == 0, told
    assert seconds < IN_TIME
    assert live(seen.host) == seen.good
    assert door.ask("/attack/web/").status_code == 404
    eventually(lambda: door.ask("/api/status/").status_code == 200, patience=40)


def test_nothing_is_left_after_the_rollback(seen, rolled_back):
    assert seen.host.run("pgrep --full --list-full stays-").stdout == ""
    assert breaches(seen) == []
    assert differences(seen) == []
    assert seen.tree(f"{ROOT}/releases/{seen.good}") == seen.trees[f"{ROOT}/releases/{seen.good}"]

"""What deploys and rollbacks do to those who are using the site: nothing that they would notice.

The tests run in the order of this file; each leaves a site that works and a release that is live.
"""

import base64
import itertools
import json
import re
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest
import yaml
from droplets import (
    APP,
    ENVIRONMENT,
    INVENTORY,
    PROJECT,
    ROOT,
    SCENARIO,
    changed,
    cut_off,
    eventually,
    playbook,
    playbook_process,
)
from load import inside, load

VALUES = yaml.safe_load((SCENARIO / "inventory/group_vars/all/releases.yml").read_text())
REPOSITORY = urlsplit(VALUES["app_source"]["git"]).path
DEPLOY, ROLLBACK, RELEASES = (
    PROJECT / "playbooks" / f"{name}.yml" for name in ("deploy", "rollback", "releases")
)
BROKEN = ["no-import", "no-migration", "no-health", "no-requirements", "no-such-ref"]
# Prints how many seconds a new process takes to import the application.
IMPORT = """
import time
begun = time.monotonic()
import psychology_clinic.wsgi
print(time.monotonic() - begun)
"""
AT_ONCE = 30  # s within which a run that may not begin says so
TASKS = 500
TOKEN = "token-of-the-tests"  # of a repository's URL
# Tasks of a deploy, of which the second one and the last one take seconds.
LOCK = "deploy | Lock the releases and fetch the source"
BUILD = "deploy | Build the release, test it beside the live one, and activate it"
RESTART = "restart_services | Restart the services and ask whether they work"
NUMBERS = itertools.count(2)  # good-1 is what converge.yml deploys
LINES = {"ANSIBLE_STDOUT_CALLBACK": "default"}  # one for each task, as it begins


def values(**given):
    return f"--extra-vars={json.dumps(given)}"


def source(ref):
    return [values(app_source=VALUES["app_source"] | {"ref": ref})]


def deploy(ref, *arguments, **environment):
    return playbook(*source(ref), *arguments, book=DEPLOY, **environment)


def rollback(*given):
    return playbook(*(f"--extra-vars={value}" for value in given), book=ROLLBACK)


deploying = partial(playbook_process, book=DEPLOY, **LINES)


def done(run):
    """Return what a run printed that should have worked; Ansible warns on stderr."""
    if run.returncode:  # Molecule has Ansible say on stderr what failed; the end of this is kept
        pytest.fail(run.stdout + run.stderr, pytrace=False)
    return run.stdout + run.stderr


def refused(run):
    """Return what a run printed that should not have worked."""
    assert run.returncode, run.stdout
    return run.stdout + run.stderr


def read_to_task(run, name):
    """Read what a run prints until a task begins."""
    begun = (line for line in run.stdout if line.startswith("TASK ["))
    assert any(name in line for line in begun), "the run has no such task"


class Site:
    """The site as its owner asks for it on the host, and a visitor through nginx."""

    def __init__(self, host, door):
        self.host = host
        self.door = door

    def live(self):
        return self.host.check_output(f"readlink {ROOT}/current").removeprefix("releases/")

    def number(self):
        return int(self.door.ask("/trials/release/").text)

    def releases(self):
        """Return what is written down of each release, the oldest first."""
        record = json.loads(self.host.file(f"/etc/ansible/facts.d/{APP}.fact").content_string)
        return dict(sorted(record["releases"].items(), key=lambda release: release[1]["at"]))

    def in_state(self, state):
        return [name for name, entry in self.releases().items() if entry["state"] == state]

    def directories(self):
        return set(self.host.check_output(f"ls {ROOT}/releases").split())

    def places(self):
        """Return the releases in which the processes of the application's user work."""
        find = f"for each in $(pgrep --uid {APP}); do readlink /proc/$each/cwd; done | sort -u"
        return {path.rpartition("/")[2] for path in self.host.run(find).stdout.split()}

    def processes(self):
        units = f"gunicorn celery celery-beat {APP}-reports {APP}-watch"
        return self.host.check_output(f"systemctl show --property=MainPID --value {units}").split()


@pytest.fixture(scope="module")
def site(host, door):
    return Site(host, door)


@pytest.fixture
def number():
    """A release that has not been deployed yet."""
    return next(NUMBERS)


@pytest.fixture(scope="module")
def loaded(door, figures):
    """Load the site meanwhile, write down how it took it, and let no request fail."""

    @contextmanager
    def measured(what):
        with load(door.name) as seen:
            begun = time.monotonic()
            yield seen
            seconds = time.monotonic() - begun
        figures.append(
            {
                "under load": what,
                "s": f"{seconds:.1f}",
                "requests": f"{seen.requests:,}",
                "failed": f"{seen.failed}",
                "p99, ms": f"{seen.p99:.0f}",
                "longest, ms": f"{seen.longest:.0f}",
            }
        )
        assert seen.failed == 0

    return measured


@pytest.fixture(scope="module")
def pause(host, door):
    """The ms that a request takes at least if it waits until a new process can answer it.

    Measured under the same load, so that it fits a machine of any speed.
    """
    with load(door.name):
        return 1000 * float(host.check_output(f"{APP}-run python -c %s", IMPORT))


# --- Deploys --------------------------------------------------------------------------------------


def test_the_load_alone_is_served(loaded, pause, figures):
    figures.append({"under load": "import of the application", "ms": f"{pause:.0f}"})
    with loaded("nothing") as seen:
        time.sleep(5)
    assert seen.fourth < pause


@pytest.mark.parametrize("turn", range(2))
def test_a_deploy_loses_no_request_and_no_stylesheet(site, loaded, pause, number, turn):
    """No request waits, and an open page still finds the stylesheet that it links."""
    link = site.door.ask("/trials/style/").text
    style = site.door.ask(link).text
    with loaded(f"deploy {turn + 1}") as seen:
        done(deploy(f"good-{number}"))
        assert site.number() == number
    assert seen.fourth < pause
    eventually(lambda: site.places() == {site.live()})
    assert site.door.ask("/trials/style/").text != link
    kept = site.door.ask(link)
    assert (kept.status_code, kept.text) == (200, style)


def test_the_same_deploy_again_changes_nothing(site):
    live, processes = site.live(), site.processes()
    told = done(deploy(site.releases()[live]["ref"]))
    assert changed(told) == ["0"], told
    assert (site.live(), site.processes()) == (live, processes)


# --- Rollbacks ------------------------------------------------------------------------------------


@pytest.fixture
def no_repository(host):
    host.check_output(f"mv {REPOSITORY} {REPOSITORY}.away")
    yield
    host.check_output(f"mv {REPOSITORY}.away {REPOSITORY}")


@pytest.fixture(scope="module")
def pair(site):
    """The live release, and the good one before it, which comes first."""
    good = site.in_state("good")
    return good[good.index(site.live()) - 1 :][:2]


def number_of(site, release):
    return int(site.releases()[release]["ref"].removeprefix("good-"))


def test_a_rollback_needs_no_repository(site, loaded, no_repository):
    *_, before, live = site.in_state("good")
    assert site.live() == live
    with loaded("rollback 1"):
        done(rollback())
        assert site.number() == number_of(site, before)
    assert site.live() == before
    assert site.in_state("left") == [live]


@pytest.mark.parametrize("turn", range(2))
def test_a_rollback_to_a_named_release_loses_no_request(site, loaded, pair, turn):
    target = pair[turn % 2]
    with loaded(f"rollback {turn + 2}"):
        done(rollback(f"app_rollback_to={target}"))
        assert site.number() == number_of(site, target)
    assert site.live() == target
    eventually(lambda: site.places() == {target})


def test_a_restart_by_hand_loses_no_request(host, loaded):
    with loaded("systemctl restart gunicorn"):
        host.check_output("systemctl restart gunicorn.service")


# --- Broken releases ------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", BROKEN)
def test_a_broken_release_leaves_the_site_as_it_was(site, loaded, ref):
    def state():
        return site.live(), site.number(), site.processes(), site.directories()

    before = state()
    with loaded(ref):
        told = refused(deploy(ref))
    assert "the site is as it was" in told
    assert state() == before
    found = [entry["state"] for entry in site.releases().values() if entry["ref"] == ref]
    assert found == ([] if ref == "no-such-ref" else ["failed"])


def test_a_broken_migration_leaves_nothing_in_the_database(sql):
    assert sql("SELECT to_regclass('trials_broken') IS NULL") == "t"
    assert sql("SELECT name FROM django_migrations WHERE app = 'trials'") == "0001_initial"


def test_a_release_whose_worker_does_not_start_is_taken_back(site, loaded):
    before = site.live(), site.number()
    with loaded("no-worker"):
        told = refused(deploy("no-worker"))
    assert "journalctl -u celery" in told
    assert "the site is as it was" in told
    assert (site.live(), site.number()) == before
    eventually(lambda: site.door.ask("/api/status/").status_code == 200)


def test_a_release_whose_command_does_not_go_on_is_taken_back(site):
    before = site.live(), site.number()
    told = refused(deploy("no-watch"))
    assert f"{APP}-watch.service does not go on" in told
    assert "ZeroDivisionError" in told
    assert (site.live(), site.number()) == before
    eventually(lambda: site.places() == {site.live()})


def test_a_command_gets_its_words_and_a_schedule_runs(host):
    """Nothing expands the words; the schedule has run by now, since it is due each minute."""
    log = host.check_output(f"journalctl --unit={APP}-watch --output=cat")
    assert "watch 100% of $HOME" in log.splitlines()
    told = host.check_output(
        f"systemctl show --property=Result,ExecMainStartTimestampMonotonic {APP}-tidy"
    )
    assert "Result=success" in told
    assert "ExecMainStartTimestampMonotonic=0" not in told


def test_a_rollback_chooses_no_broken_release(site):
    good = site.in_state("good")
    live = site.live()
    done(rollback())
    assert site.live() in good
    assert site.live() != live


# --- Tasks ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def beats(door):
    """Queue tasks before the switch of a deploy; return how many beats ran at each moment."""
    count = f"pgrep --count --parent 1 --uid {APP} --full ' beat '"
    with inside(door.name, "sh", "-c", f"while :; do {count}; sleep 0.1; done") as counted:
        with deploying(*source(f"good-{next(NUMBERS)}")) as run:
            read_to_task(run, BUILD)
            for path in ("/trials/long/20/amid/", f"/trials/queue/{TASKS}/amid/"):
                assert door.ask(path, "POST").status_code == 202
            told = run.communicate()
        assert run.returncode == 0, told
    return counted


@pytest.mark.usefixtures("beats")
def test_queued_tasks_are_done_once_each(sql):
    marks = "FROM trials_mark WHERE name ~ '^amid [0-9]+$'"
    eventually(lambda: int(sql(f"SELECT count(DISTINCT name) {marks}")) == TASKS, patience=60)
    assert sql(f"SELECT count(*) {marks}") == str(TASKS)


def test_a_killed_worker_gets_its_task_back_while_another_one_works(host, door, sql):
    marks = "SELECT count(*) FROM trials_mark WHERE name = 'killed {}'"
    assert door.ask("/trials/long/4/killed/?queue=reports", "POST").status_code == 202
    eventually(lambda: sql(marks.format("began")) == "1")
    host.check_output(f"systemctl kill --signal=SIGKILL {APP}-reports")
    # Well before the visibility_timeout of 30 s.
    eventually(lambda: sql(marks.format("ended")) == "1", patience=20)
    assert sql(marks.format("began")) == "2"


@pytest.mark.usefixtures("beats")
def test_a_running_task_ends_once(sql):
    marks = "SELECT count(*) FROM trials_mark WHERE name = 'amid {}'"
    eventually(lambda: sql(marks.format("ended")) != "0", patience=60)
    assert (sql(marks.format("began")), sql(marks.format("ended"))) == ("1", "1")


def test_there_are_never_two_beats(beats):
    assert set(beats) <= {"0", "1"}
    assert beats[0] == beats[-1] == "1"


# --- Migrations -----------------------------------------------------------------------------------


def test_a_migration_does_not_wait_for_a_lock_for_long(site, door, loaded):
    before = site.live()
    hold = "BEGIN; LOCK TABLE trials_mark; SELECT pg_sleep(60)"
    postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    command = [*postgres, "psql", f"--dbname={APP}", "--command", hold]
    limits = values(app_migrate_lock_timeout=1, app_migrate_tries=2)
    with inside(door.name, *command), loaded("migration behind a lock"):
        told = refused(deploy("new-migration", limits))
    assert "tries left: 1" in told
    assert "lock timeout" in told
    assert site.live() == before


def test_a_rollback_leaves_a_migration_behind_only_when_told_to(site, sql, loaded):
    before = site.live()
    done(deploy("new-migration"))
    live = site.live()
    assert "trials.0002_note" in refused(rollback())
    assert site.live() == live
    with loaded("rollback past a migration"):
        done(rollback("app_rollback_past_migrations=true"))
    assert site.live() == before
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'trials_mark'"
    assert "note" in sql(columns).split()


# --- Runs that meet, runs that end early ----------------------------------------------------------


def test_a_second_deploy_is_refused_while_one_goes_on(site, number):
    with deploying(*source(f"good-{number}")) as first:
        read_to_task(first, LOCK)
        begun = time.monotonic()
        told = refused(deploy(f"good-{next(NUMBERS)}"))
        assert time.monotonic() - begun < AT_ONCE
        first.communicate()
    assert first.returncode == 0
    live = site.releases()[site.live()]
    assert live["ref"] == f"good-{number}"
    assert live["by"] in told
    assert re.search(r"since .*\d\d:\d\d", told)


@pytest.mark.parametrize(
    ("task", "seconds"),
    [(LOCK, 0.5), (BUILD, 3.0), (RESTART, 1.0)],
)
def test_a_deploy_that_is_cut_off_can_be_repeated(site, loaded, number, task, seconds):
    ref = f"good-{number}"
    with loaded(f"deploy, cut off {seconds} s after {task!r}, and again"):
        with deploying(*source(ref)) as run:
            read_to_task(run, task)
            time.sleep(seconds)
            assert run.poll() is None, "the run has ended before it was cut off"
            cut_off(run)
        done(deploy(ref))
        assert site.number() == number
    assert site.releases()[site.live()]["ref"] == ref


# --- Other ways -----------------------------------------------------------------------------------


def test_hooks_run_before_the_migrations_and_after_the_switch(host, site, number, tmp_path):
    tasks = tmp_path / "hook.yml"
    tasks.write_text("- {name: Hook, ansible.builtin.command: touch /run/hook, changed_when: true}")
    note = f'echo "$(pwd -P) $(readlink {ROOT}/current)" >{ROOT}/shared/media/'
    before = site.live()
    hooks = values(
        app_before_migrate=[f"{note}before"],
        app_after_switch=[f"{note}after", {"tasks": str(tasks)}],
    )
    done(deploy(f"good-{number}", hooks))
    new = f"{ROOT}/releases/{site.live()}"
    for name, live in {"before": before, "after": site.live()}.items():
        told = host.file(f"{ROOT}/shared/media/{name}").content_string
        assert told.split() == [new, f"releases/{live}"]
    assert host.file("/run/hook").exists


def test_a_hook_that_fails_refuses_the_release(site, number):
    before = site.live()
    told = refused(deploy(f"good-{number}", values(app_before_migrate=["echo no assets; false"])))
    assert "no assets" in told
    assert "app_before_migrate" in told
    assert site.live() == before


def test_without_memory_for_two_gunicorns_there_is_a_pause_and_no_loss(site, loaded, number):
    with loaded("deploy with a pause"):
        told = done(deploy(f"good-{number}", values(gunicorn_handover_reserve=10**8)))
    assert "it restarts with a pause" in told
    assert site.number() == number


@pytest.fixture
def agent():
    """Connections that forward an SSH agent, which has the deploy key."""
    key = INVENTORY.with_name("deploy_key")
    with TemporaryDirectory(prefix="agent-") as directory:  # short: a socket's path is limited
        given = {
            "SSH_AUTH_SOCK": f"{directory}/agent",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": directory,  # no connection of an earlier run
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=20s -o ForwardAgent=yes",
        }
        command = ["ssh-agent", "-D", "-a", given["SSH_AUTH_SOCK"]]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                add = ["ssh-add", "-q", str(key)]
                eventually(lambda: not subprocess.run(add, env=ENVIRONMENT | given).returncode)
                yield given
            finally:
                process.terminate()


def test_a_forwarded_agent_opens_the_repository(site, number, agent):
    git = VALUES["app_source"] | {"ref": f"good-{number}", "agent": True}
    with_agent = values(app_source=git, app_deploy_key="")
    told = refused(playbook(with_agent, book=DEPLOY, SSH_AUTH_SOCK=""))
    assert "ForwardAgent=yes" in told
    done(playbook(with_agent, book=DEPLOY, **agent))
    assert site.number() == number


@pytest.fixture(params=["file", "URL", "token"])
def other_source(host, request, number, tmp_path):
    """An archive on the control machine or at a URL, or a repository that a token opens."""
    host.check_output(
        f"mkdir -p /srv/archives && git --git-dir={REPOSITORY} archive --prefix=clinic-1.0/ "
        f"--output=/srv/archives/clinic.tar.gz good-{number}"
    )
    if request.param == "file":
        path = tmp_path / "clinic.tar.gz"
        text = host.check_output("base64 /srv/archives/clinic.tar.gz")
        path.write_bytes(base64.b64decode(text))
        yield {"archive": str(path)}
    else:
        host.check_output(f"git --git-dir={REPOSITORY} update-server-info")
        server = "python3 -m http.server 8099 --bind 127.0.0.1 --directory /srv"
        host.check_output(f"systemd-run --unit=archives {server}")
        eventually(lambda: host.socket("tcp://127.0.0.1:8099").is_listening)
        url, digest = "127.0.0.1:8099", host.file("/srv/archives/clinic.tar.gz").sha256sum
        name = Path(REPOSITORY).name
        yield {
            "URL": {
                "archive": f"http://{url}/archives/clinic.tar.gz", "checksum": f"sha256:{digest}",
            },
            "token": {
                "git": f"http://{TOKEN}@{url}/{name}", "ref": f"good-{number}", "insecure": True,
            },
        }[request.param]  # fmt: skip
        host.check_output("systemctl stop archives")


def test_another_source_is_deployed(host, site, number, other_source):
    given = values(app_source=other_source)
    done(playbook(given, book=DEPLOY))
    assert site.number() == number
    assert changed(done(playbook(given, book=DEPLOY))) == ["0"]
    config = f"/var/cache/{APP}-build/source/repository/.git/config"
    shown = host.check_output(f"journalctl --no-pager --since=-10min; cat {config}")
    assert TOKEN not in shown


# --- What is kept ---------------------------------------------------------------------------------


def test_the_table_tells_what_became_of_each_release(site):
    table = done(playbook(book=RELEASES)).splitlines()
    states = {"failed": "failed", "left": "taken back"}
    wanted = {name: word for state, word in states.items() for name in site.in_state(state)}
    wanted[site.live()] = "live"
    assert set(wanted.values()) == {"failed", "live"} | set(states.values())
    for name, word in wanted.items():
        assert [line for line in table if name[:7] in line and word in line], (name, word, table)


def test_old_releases_are_removed(site, number):
    done(deploy(f"good-{number}", "--extra-vars=app_releases_keep=2"))
    assert len(site.directories()) <= 3
    assert site.live() in site.directories()

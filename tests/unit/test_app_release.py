"""The module app_release: from a request to a release that is live, without a host's systemd."""

import os
import pwd
import subprocess

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.clink.django_stack.plugins.action.app_release import ActionModule
from ansible_collections.clink.django_stack.plugins.module_utils import (
    audit,
    memory,
    release_store,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.release_steps import StepError
from ansible_collections.clink.django_stack.plugins.module_utils.release_store import Host
from ansible_collections.clink.django_stack.plugins.module_utils.releases import (
    ReleaseError,
    digest,
)
from ansible_collections.clink.django_stack.plugins.modules import app_release
from test_release_store import BUILDER, MINE, OTHERS, USER, application, as_root

REVISIONS = [str(number) * 40 for number in range(1, 10)]
RECIPE = "abcdef" * 10
NAMES = [f"{revision[:12]}-{RECIPE[:6]}" for revision in REVISIONS]
pytestmark = as_root


class Module:
    """Stands in for AnsibleModule."""

    def __init__(self, params, check_mode=False):
        self.params, self.check_mode, self.warnings = params, check_mode, []

    def warn(self, text):
        self.warnings.append(text)


class Fake:
    """What the steps of a release do, without running them; `fails` names the one that fails."""

    def __init__(self):
        self.ran, self.fails, self.report, self.warned = [], "", {}, []
        self.audit = []

    def step(self, name):
        self.ran.append(name)
        if name == self.fails:
            raise StepError(name, "it printed this")


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Have no step run, and every path of a host lie below a temporary directory."""
    told = Fake()

    def build(steps, path, live, revision, agent):
        path.mkdir()
        (path / "code.py").write_text(revision)
        told.step("packages")
        steps.warnings += told.warned
        return "f" * 64

    def ask(steps, path, names, environment, writes, carry, migrated):
        told.environment, told.carry, told.migrated = environment.name, carry, migrated
        for name in names:
            told.step(name)
        return told.report

    def command(steps, names, path, given, environment, variables=None, writes=()):
        told.ran.append(given[-1])
        told.step(names[0])
        return ""

    begin = Host.__init__

    def here(host, given):
        begin(host, given)
        host.record_file = tmp_path / "facts.d" / "clinic.fact"
        host.dotenv_file = tmp_path / "etc" / "dotenv"
        host.state, host.data = tmp_path / "run", tmp_path / "data"

    monkeypatch.setattr(Host, "__init__", here)
    monkeypatch.setattr(app_release.Steps, "build", build)
    monkeypatch.setattr(app_release.Steps, "ask", ask)
    monkeypatch.setattr(app_release.Steps, "as_application", command)
    monkeypatch.setattr(app_release.Steps, "trial", lambda *_: told.step("trial"))
    monkeypatch.setattr(units, "show", lambda *_: {"ActiveState": "inactive"})
    monkeypatch.setattr(release_store, "PATIENCE", 5.0)
    monkeypatch.setattr(app_release, "MOMENT", 0.1)
    monkeypatch.setattr(audit, "tell", told.audit.append)
    return told


@pytest.fixture
def call(fake, tmp_path):
    """Give a function that calls the module, as its tasks and its action plugin do."""
    tmp_path.chmod(0o755)
    (tmp_path / "app" / "releases").mkdir(parents=True)

    def run(state, revision=REVISIONS[0], check_mode=False, **given):
        params = {
            "state": state, "application": application(tmp_path / "app"), "request": "source",
            "to": "", "retry": False, "unlock": False, "past_migrations": False,
            "enforced": False, "steps": [], "complete": True, "before_migrate": [], "step": "",
            "output": "", "agent": "", "gunicorn": "", "run": MINE, "play": "Deploy it",
            "takeover": False, "scripts": {}, "hooks": "", "recipe": RECIPE, "digest": "e1",
            "revision": revision, "is_git": False,
            "archive": "", "environment_text": 'A="1"\n', "dotenv_text": "A=1\n",
            "fetch_text": "", "install_text": "", "owner_text": None,
        } | given  # fmt: skip
        module = Module(params, check_mode)
        deploy = app_release.Deploy(module)
        run.host = deploy.host
        told = deploy.reach(state)
        return told | {"warnings": module.warnings}

    return run


@pytest.fixture
def deploy(call):
    """Give a function that deploys a revision as playbooks/deploy.yml does."""

    def run(revision, **given):
        told = call("requested", revision, **given)
        if told["due"]:
            steps = ["imports", "migrate", "trial"]
            told = call("active", revision, **({"steps": steps} | given))
        call("finished", revision, **given)
        return told

    return run


def holder(call):
    """Return who holds the lock."""
    path = call.host.state / "lock"
    lock = app_release.Lock(path, MINE)
    told = lock.read()
    lock.file.close()
    return told.get("by", "")


# --- The lock -----------------------------------------------------------------------------------


def test_a_free_lock_is_taken_and_given_back(call):
    assert "holder" not in call("requested")
    assert "holder" not in call("requested"), "the same run may ask again"
    assert call("requested", run=OTHERS)["holder"]["by"] == "me@here"
    call("finished")
    assert "holder" not in call("requested", run=OTHERS)


def test_another_run_is_told_who_has_it_and_since_when(call):
    call("requested")
    told = call("requested", run=OTHERS)
    assert told["holder"]["by"] == "me@here"
    assert told["holder"]["since"].endswith(" UTC")
    assert 0 <= told["holder"]["age"] < 60
    assert told["holder"]["busy"] is False
    with pytest.raises(ReleaseError, match="has taken the lock"):
        call("finished", run=OTHERS)
    assert holder(call) == "me@here", "another run must not give it back"


@pytest.mark.parametrize("state", ["prepared", "active", "reverted", "failed", "finished"])
def test_a_run_that_has_lost_the_lock_changes_nothing_more(call, state):
    call("requested", run=OTHERS)
    with pytest.raises(ReleaseError, match="you@there has taken the lock of clinic"):
        call(state)
    assert holder(call) == "you@there"


def test_a_dead_run_loses_it_once_its_commands_have_ended(call):
    call("requested", run=OTHERS)
    lock = call.host.state / "lock"
    holding = subprocess.Popen(["flock", lock, "sh", "-c", "echo; sleep 1"], stdout=-1)
    holding.stdout.read(1)
    assert call("requested")["holder"]["busy"]
    assert "holder" not in call("requested", takeover=True)
    assert holding.wait() == 0, "it did not wait"
    holding.stdout.close()
    assert call("requested", run=OTHERS)["holder"]["by"] == "me@here"


def test_a_command_that_does_not_end_is_told(call, monkeypatch):
    monkeypatch.setattr(app_release, "PATIENCE", 0.2)
    call("requested", run=OTHERS)
    lock = call.host.state / "lock"
    with subprocess.Popen(["flock", lock, "sh", "-c", "echo; exec sleep 20"], stdout=-1) as holding:
        holding.stdout.read(1)
        with pytest.raises(ReleaseError, match=r"another run works on clinic.*\(you@there\)"):
            call("requested", takeover=True)
        subprocess.run(["pkill", "--parent", str(holding.pid)])
    assert holder(call) == "you@there"


def test_a_look_leaves_nothing(call, tmp_path):
    told = call("listed")
    assert (told["changed"], told["due"], told["live"]) == (False, False, "")
    assert told["report"].startswith("clinic: no release is live")
    told = call("requested", check_mode=True)
    assert (told["changed"], told["due"], told["build"]) == (True, True, True)
    assert not (tmp_path / "run").exists()


# --- Deploys ------------------------------------------------------------------------------------


def test_a_release_becomes_live(call, deploy, fake, tmp_path):
    told = deploy(REVISIONS[0])
    assert told["changed"] and not told["due"]
    assert told["report"] == f"clinic runs release {NAMES[0]}, and ran none before"
    assert fake.ran == ["packages", "imports", "migrate", "trial"]
    assert fake.environment == "environment.next"
    host = call.host
    assert (host.live(), host.built()) == (NAMES[0], [NAMES[0]])
    assert os.readlink(host.current) == f"releases/{NAMES[0]}"
    file = host.environment_file
    assert file.read_text() == 'A="1"\n'
    group = pwd.getpwnam(USER).pw_gid
    assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o777) == (
        0,
        group,
        0o640,
    )
    assert os.listdir(file.parent) == ["environment"]
    entry = host.record()["releases"][NAMES[0]]
    assert (entry["state"], entry["by"], entry["packages"]) == ("good", "me@here", "f" * 64)
    assert holder(call) == ""


def left(call):
    """Return what lies beside the environment in use."""
    names = [path.name for path in call.host.environment_file.parent.iterdir()]
    dotenv = [path.name for path in call.host.dotenv_file.parent.glob("*")]
    return sorted({*names, *dotenv} - {"environment", "dotenv"})


def test_an_environment_that_nothing_uses_any_more_is_removed(call, deploy, tmp_path):
    """The one before a switch goes when no step can bring it back."""
    dotenv = {"application": application(tmp_path / "app") | {"dotenv": ".env"}}
    deploy(REVISIONS[0], **dotenv)
    call("requested", REVISIONS[1], digest="e2", **dotenv)
    call("prepared", REVISIONS[1], digest="e2", complete=False, **dotenv)
    assert left(call) == []
    call("active", REVISIONS[1], digest="e2", **dotenv)
    assert left(call) == ["dotenv.previous", "environment.previous"]
    call("finished", REVISIONS[1])
    assert left(call) == []


@pytest.mark.parametrize("error", [ReleaseError("x"), units.UnitError("x"), OSError(28, "x")])
def test_an_environment_that_was_refused_is_removed(call, deploy, monkeypatch, error):
    deploy(REVISIONS[0])

    def fail(*_):
        raise error

    monkeypatch.setattr(app_release.Steps, "ask", fail)
    call("requested", REVISIONS[1], digest="e2")
    with pytest.raises(type(error)):
        call("active", REVISIONS[1], digest="e2", steps=["plan"])
    assert left(call) == []


def test_what_a_run_that_was_cut_off_has_left_of_the_environment_is_removed(call, deploy):
    deploy(REVISIONS[0])
    for name in (".next", ".previous"):
        call.host.environment_file.with_name(f"environment{name}").touch()
    call("requested", check_mode=True)
    call("listed")
    assert left(call) == ["environment.next", "environment.previous"]
    call("requested")
    assert left(call) == []


def test_the_journal_has_who_did_what(call, deploy, fake):
    deploy(REVISIONS[0])
    call("requested", REVISIONS[1])
    with pytest.raises(ReleaseError):
        call("failed", REVISIONS[1], step="imports")
    begun = f"clinic: Deploy it, by {MINE['by']}"
    assert fake.audit == [
        f"{begun}: begins, live is none",
        f"{begun}: ends, live is {NAMES[0]}",
        f"{begun}: begins, live is {NAMES[0]}",
        f"{begun}: ends, live is {NAMES[0]}",
    ]


def test_a_line_of_the_journal_is_one_line():
    told = audit.sentence("clinic", "a\nb", "ada@\x1b[2Jlaptop", "begins")
    assert told == "clinic: a b, by ada@?[2Jlaptop: begins"


def test_the_same_again_is_not_due(call, deploy, fake):
    deploy(REVISIONS[0])
    before, fake.ran = call.host.record(), []
    told = deploy(REVISIONS[0])
    assert (told["due"], told["changed"], fake.ran) == (False, False, [])
    assert call.host.record() == before


def test_a_new_environment_is_tried_without_a_build(call, deploy, fake, tmp_path):
    deploy(REVISIONS[0])
    fake.ran = []
    told = deploy(REVISIONS[0], digest="e2", environment_text='A="2"\n')
    assert told["report"].endswith("with a new environment")
    assert fake.ran == ["imports", "migrate", "trial"]
    assert call.host.environment_file.read_text() == 'A="2"\n'
    assert call.host.record()["environment"] == "e2"


def test_the_login_of_the_owner_is_roots_and_site_yml_writes_the_first_one(deploy, call):
    deploy(REVISIONS[0], owner_text='URL="one"\n')
    file = call.host.owner_file
    assert not file.exists(), "the role is not there yet"
    deploy(REVISIONS[1], owner_text='URL="one"\n', enforced=True)
    assert file.read_text() == 'URL="one"\n' and file.stat().st_mode & 0o777 == 0o600
    deploy(REVISIONS[2], owner_text='URL="two"\n')
    assert file.read_text() == 'URL="two"\n'
    deploy(REVISIONS[3], owner_text="")
    assert file.read_text() == "", "the next deploy can write it again"
    deploy(REVISIONS[4], owner_text='URL="two"\n')
    assert file.read_text() == 'URL="two"\n'
    deploy(REVISIONS[5], owner_text="", enforced=True)
    assert not file.exists(), "the application owns its tables"
    deploy(REVISIONS[6], owner_text='URL="two"\n')
    assert not file.exists(), "the role is not there"


def test_an_environment_that_was_changed_by_hand_is_written_again(call, deploy):
    deploy(REVISIONS[0])
    call.host.environment_file.write_bytes(b"\xff")
    assert call("requested")["due"] is False
    assert call("requested", enforced=True)["due"] is True


@pytest.mark.parametrize("dotenv", ["", ".env"])
def test_a_dotenv_file_is_written_where_it_is_wanted(call, deploy, tmp_path, dotenv):
    given = application(tmp_path / "app") | {"dotenv": dotenv}
    deploy(REVISIONS[0], application=given)
    assert call.host.dotenv_file.exists() == bool(dotenv)


@pytest.mark.parametrize(
    ("step", "marked"),
    [("packages", True), ("imports", True), ("migrate", True), ("trial", True), ("keys", False)],
)
def test_a_step_that_fails_leaves_the_site_as_it_was(call, deploy, fake, step, marked):
    deploy(REVISIONS[0])
    before = call.host.record()
    fake.fails = step
    call("requested", REVISIONS[1], digest="e2")
    with pytest.raises(StepError, match="the site is as it was") as told:
        call(
            "prepared", REVISIONS[1], digest="e2", environment_text='A="2"\n',
            steps=["imports", "keys", "migrate", "trial"],
        )  # fmt: skip
    assert told.value.step == step
    host = call.host
    assert host.live() == NAMES[0]
    assert host.present() == [NAMES[0]]
    assert os.listdir(host.environment_file.parent) == ["environment"]
    assert host.environment_file.read_text() == 'A="1"\n'
    assert holder(call) == ""
    record = host.record()
    failed = record["releases"].pop(NAMES[1], {})
    assert record == before
    assert (failed.get("state"), failed.get("why")) == (
        ("failed", step) if marked else (None, None)
    )


def test_a_hook_runs_before_the_migrations_and_its_failure_refuses(call, deploy, fake):
    deploy(REVISIONS[0])
    fake.ran = []
    call("requested", REVISIONS[1])
    call("prepared", REVISIONS[1], before_migrate=["make assets"], steps=["migrate"])
    assert fake.ran == ["packages", "make assets", "before_migrate", "migrate"]
    fake.fails = "before_migrate"
    call("requested", REVISIONS[2])
    with pytest.raises(StepError, match="app_before_migrate"):
        call("prepared", REVISIONS[2], before_migrate=["false"], steps=["migrate"])
    assert call.host.record()["releases"][NAMES[2]]["why"] == "before_migrate"


def test_hooks_that_are_tasks_run_between_two_calls(call, deploy, fake):
    call("requested")
    call("prepared", complete=False)
    path = call.host.releases / NAMES[0]
    assert call.host.built() == []
    assert path.stat().st_uid == pwd.getpwnam(USER).pw_uid
    call("prepared", complete=False, before_migrate=["make"])
    call("prepared", steps=["migrate", "trial"])
    assert fake.ran == ["packages", "make", "before_migrate", "migrate", "trial"]
    assert call.host.built() == [NAMES[0]]
    assert path.stat().st_uid == 0
    call("active")
    assert call.host.live() == NAMES[0]


def test_tasks_of_a_hook_that_fail_refuse_the_release(call, deploy):
    deploy(REVISIONS[0])
    call("requested", REVISIONS[1])
    call("prepared", REVISIONS[1], complete=False)
    with pytest.raises(ReleaseError, match="no assets") as told:
        call("failed", REVISIONS[1], step="before_migrate", output="no assets")
    assert "app_before_migrate" in str(told.value)
    assert call.host.present() == [NAMES[0]]
    assert call.host.record()["releases"][NAMES[1]]["state"] == "failed"
    assert holder(call) == ""


def test_too_little_memory_is_a_warning_before_a_release_is_built(call, monkeypatch, tmp_path):
    free = tmp_path / "meminfo"
    monkeypatch.setattr(memory, "MEMORY", free)
    free.write_text("MemAvailable: 102400 kB\n")
    assert call("requested")["warnings"] == []  # no release is live that needs memory as well
    call("active")
    call("finished")
    (warning,) = call("requested", REVISIONS[1])["warnings"]
    assert "100 MB of memory and swap are free" in warning
    free.write_text("MemAvailable: 102400 kB\nSwapFree: 1048576 kB\n")
    assert call("requested", REVISIONS[1])["warnings"] == []


def test_what_the_packages_step_warns_of_is_passed_on(call, fake):
    fake.warned = ["poetry.lock is not used"]
    call("requested")
    assert "poetry.lock is not used" in call("prepared")["warnings"]
    call("active")


def test_what_django_warns_of_is_passed_on(call, fake):
    celery = {
        "transport": "redis", "acks_late": True, "quorum": False, "confirms": False,
        "visibility_timeout": None,
    }  # fmt: skip
    fake.report = {
        "warnings": ["security.W004"], "debug": True, "migrated": ["a.0001_x"], "celery": celery,
    }  # fmt: skip
    call("requested")
    told = call("prepared", steps=["check", "migrate"])
    assert len(told["warnings"]) == 3
    assert "visibility_timeout, 3600 s" in told["warnings"][2]
    assert "security.W004" in told["warnings"][0]
    assert "DEBUG is on" in told["warnings"][1]
    call("active")
    assert call.host.record()["releases"][NAMES[0]]["migrated"] == ["a.0001_x"]


def test_one_call_prepares_a_release_and_makes_it_live(call, fake):
    call("requested")
    told = call("active", steps=["imports", "migrate", "trial"])
    assert fake.ran == ["packages", "imports", "migrate", "trial"]
    assert told["release"] == call.host.live() == NAMES[0]


def test_what_is_not_complete_does_not_become_live(call):
    call("requested")
    with pytest.raises(ReleaseError, match="is not complete"):
        call("active", complete=False)
    assert holder(call) == ""


def test_a_release_that_a_run_was_cut_off_from_is_built_again(call, deploy, fake):
    call("requested", run=OTHERS)
    call("prepared", run=OTHERS, complete=False)
    assert call.host.present() == [NAMES[0]]
    call.host.remove(call.host.releases / NAMES[0])  # as Steps.build does first
    told = call("requested", takeover=True)
    assert (told["due"], told["build"]) == (True, True)
    call("prepared", steps=["migrate"])
    assert fake.ran.count("packages") == 2


def test_an_archive_comes_to_where_the_build_user_reads_it(call, tmp_path):
    sent = tmp_path / "source.tar"
    sent.write_text("code")
    call("requested")
    call("prepared", archive=str(sent), complete=False)
    path = call.host.data / "source.tar"
    assert path.read_text() == "code"
    told = path.stat()
    group = pwd.getpwnam(BUILDER).pw_gid
    assert (told.st_uid, told.st_gid, told.st_mode & 0o777) == (0, group, 0o640)


def test_the_oldest_and_the_half_made_are_removed(call, deploy, monkeypatch):
    times = iter(f"2026-01-{day:02} 00:00:00 UTC" for day in range(1, 32))
    monkeypatch.setattr(app_release.releases, "clock", lambda: next(times))
    for revision in REVISIONS[:5]:
        deploy(revision)
    assert call.host.present() == NAMES[2:5]
    (call.host.releases / "half").mkdir()
    call("requested", REVISIONS[4])
    call("finished", REVISIONS[4])
    assert call.host.present() == NAMES[2:5]


def test_nothing_is_removed_while_another_run_has_it(call, deploy):
    deploy(REVISIONS[0])
    half = call.host.releases / "half"
    half.mkdir()
    call("requested", run=OTHERS)
    with pytest.raises(ReleaseError):
        call("finished")
    assert half.exists()


# --- Back ---------------------------------------------------------------------------------------


@pytest.fixture
def two(deploy, monkeypatch):
    """Two releases, of which the second one is live."""
    times = iter(f"2026-01-{day:02} 00:00:00 UTC" for day in range(1, 32))
    monkeypatch.setattr(app_release.releases, "clock", lambda: next(times))
    for revision in REVISIONS[:2]:
        deploy(revision)


@pytest.mark.usefixtures("two")
def test_a_rollback_needs_neither_source_nor_build(call, fake):
    fake.ran = []
    told = call("active", "", request="rollback", steps=["behind", "carry"], digest="")
    assert told["report"] == f"clinic runs release {NAMES[0]}, and ran {NAMES[1]} before"
    assert fake.ran == ["behind", "carry"]
    assert fake.carry == [NAMES[1]]
    assert call.host.live() == NAMES[0]
    assert call.host.record()["releases"][NAMES[1]]["state"] == "left"
    assert call.host.record()["environment"] == "e1"


@pytest.mark.usefixtures("two")
def test_a_rollback_forgets_no_migration_unless_it_is_told_to(call, fake):
    fake.report = {"behind": ["trials.0002_note"]}
    with pytest.raises(ReleaseError, match=r"trials.0002_note.*app_rollback_past_migrations=true"):
        call("active", "", request="rollback", steps=["behind", "carry"])
    assert (call.host.live(), holder(call)) == (NAMES[1], "")
    assert call.host.record()["releases"][NAMES[0]]["state"] == "good"
    call("active", "", request="rollback", steps=["behind", "carry"], past_migrations=True)
    assert call.host.live() == NAMES[0]


def test_a_rollback_without_a_target_gives_back_the_lock(call, deploy):
    deploy(REVISIONS[0])
    with pytest.raises(ReleaseError, match="no release to go back to"):
        call("active", "", request="rollback", steps=["behind"])
    assert holder(call) == ""


@pytest.mark.parametrize("request_of", ["source", "live", "rollback"])
def test_the_host_of_another_application_is_left_alone(call, deploy, request_of):
    """By a deploy, a rotation, a restore and a rollback."""
    deploy(REVISIONS[0])
    record = call.host.record_file
    record.rename(record.with_name("shop.fact"))
    with pytest.raises(ReleaseError, match="has the application shop, and not clinic"):
        call("requested", REVISIONS[1], request=request_of)
    assert holder(call) == ""


@pytest.mark.usefixtures("two")
def test_what_was_taken_back_is_not_deployed_again_by_mistake(call):
    call("active", "", request="rollback", steps=["behind"])
    call("finished")
    with pytest.raises(ReleaseError, match="app_retry=true"):
        call("requested", REVISIONS[1])
    assert holder(call) == ""
    assert call("requested", REVISIONS[1], retry=True)["due"]


def test_hooks_after_a_switch_run_until_they_have_run(call, deploy):
    """Once for a release; again after a failure and after a change."""
    deploy(REVISIONS[0], hooks="h1")
    assert not call("requested", hooks="h1")["hooks_due"]
    call("finished")  # of a run that had none to run
    assert not call("requested", hooks="h1")["hooks_due"]
    assert call("requested", hooks="h2")["hooks_due"]  # corrected
    call("finished", hooks="h2")
    assert not call("requested", hooks="h2")["hooks_due"]
    call("requested", REVISIONS[1], hooks="h2")
    call("active", REVISIONS[1])  # and then a hook fails
    assert call("requested", REVISIONS[1], hooks="h2")["hooks_due"]


@pytest.mark.parametrize("hook", [{"tasks": "hook.yml"}, [{"tasks": "hook.yml"}]])
def test_the_text_of_a_hooks_file_is_part_of_the_hook(monkeypatch, tmp_path, hook):
    file = tmp_path / "hook.yml"
    action = object.__new__(ActionModule)
    monkeypatch.setattr(ActionModule, "_find_needle", lambda self, *names: str(tmp_path / names[1]))
    with pytest.raises(AnsibleActionFail, match=r"app_before_migrate.*hook\.yml"):
        action._with_contents(["make", hook])
    found = []
    for text in ("- one: {}", "- two: {}", "- one: {}"):
        file.write_text(text)
        found.append(digest(action._with_contents(["make", hook])))
    assert found[0] == found[2] != found[1]
    assert action._with_contents(["make", {"other": 1}]) == ["make", {"other": 1}]


def test_a_change_of_the_environment_alone_leaves_the_hooks(call, deploy):
    """As rotate.yml does it: the code of the live release stays the same."""
    deploy(REVISIONS[0], hooks="h1")
    call("active", "", request="live", digest="e2")
    call("finished")
    assert not call("requested", hooks="h1", digest="e2")["hooks_due"]


def test_a_host_of_an_earlier_version_does_not_run_its_hooks_again(call, deploy):
    deploy(REVISIONS[0])
    record = call.host.record()
    record.pop("hooks")
    call.host.remember(record)
    assert not call("requested", hooks="h1")["hooks_due"]


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("digest", ["e1", "e2"])
def test_a_whole_run_after_a_rollback_keeps_the_live_release(call, fake, digest):
    """Its environment follows the description, and no hook runs in it."""
    call("active", "", request="rollback", steps=["behind"])
    call("finished")
    given = {"enforced": True, "digest": digest, "environment_text": f'A="{digest}"\n'}
    told = call("requested", REVISIONS[1], **given)
    assert told["release"] == told["live"] == NAMES[0]
    assert not told["build"]
    assert f"{NAMES[0]} stays live" in told["warnings"][0]
    assert "app_retry=true" in told["warnings"][0]
    fake.ran = []
    if told["due"]:
        call("active", REVISIONS[1], steps=["trial"], before_migrate=["make"], **given)
    call("finished")
    assert "make" not in fake.ran
    assert call.host.live() == NAMES[0]
    assert call.host.record()["environment"] == digest
    assert call.host.record()["releases"][NAMES[1]]["state"] == "left"
    assert call("requested", REVISIONS[1], retry=True, **given)["release"] == NAMES[1]


def test_a_whole_run_takes_a_new_commit_after_a_rollback(call, deploy, two):
    call("active", "", request="rollback", steps=["behind"])
    call("finished")
    told = call("requested", REVISIONS[2], enforced=True)
    assert (told["release"], told["warnings"]) == (NAMES[2], [])


@pytest.mark.parametrize("there", [[], ["shop"], ["shop", "shop/media/"]])
def test_a_shared_directory_that_the_host_lacks_refuses_a_deploy(call, tmp_path, there):
    """The release's link would lead nowhere."""
    given = application(tmp_path / "app") | {"shared_directories": ["shop/media"]}
    for each in there:
        (tmp_path / "app" / "shared" / each).mkdir(parents=True)
    if len(there) > 1:
        assert call("requested", application=given)["due"]
        return
    with pytest.raises(ReleaseError, match=r"app_shared_directories.*shop/media.*site\.yml"):
        call("requested", application=given)
    assert holder(call) == ""


def test_hooks_before_the_migrations_are_for_a_new_release(call, deploy, fake):
    """Of one that is complete only the static files can be written to."""
    deploy(REVISIONS[0], before_migrate=["make"])
    assert fake.ran.count("make") == 1
    deploy(REVISIONS[0], before_migrate=["make"], digest="e2")
    assert fake.ran.count("make") == 1
    assert call.host.record()["environment"] == "e2"


@pytest.mark.usefixtures("two")
def test_services_that_fail_bring_back_the_release_and_its_environment(call, fake):
    call("requested", REVISIONS[2], digest="e2")
    call("active", REVISIONS[2], digest="e2", environment_text='A="2"\n')
    assert call.host.live() == NAMES[2]
    assert call.host.environment_file.read_text() == 'A="2"\n'
    call("reverted", step="services")
    record = call.host.record()
    assert call.host.live() == record["release"] == NAMES[1]
    assert call.host.environment_file.read_text() == 'A="1"\n'
    assert record["environment"] == "e1"
    assert record["releases"][NAMES[2]]["state"] == "failed"
    with pytest.raises(ReleaseError, match="journal says"):
        call("failed", step="services", output="journal says")
    assert holder(call) == ""
    assert call.host.record()["releases"][NAMES[2]]["why"] == "services"


@pytest.mark.usefixtures("two")
def test_an_environment_that_fails_is_no_releases_fault(call, deploy):
    given = {"request": "live", "digest": "e2", "environment_text": 'A="2"\n', "steps": ["plan"]}
    call("active", "", **given)
    assert call.host.record()["environment"] == "e2"
    call("reverted", step="services")
    record = call.host.record()
    assert record["environment"] == "e1"
    assert record["releases"][NAMES[1]]["state"] == "good"
    assert call.host.environment_file.read_text() == 'A="1"\n'


def test_a_damaged_record_stops_a_deploy_and_gives_back_the_lock(call, deploy):
    deploy(REVISIONS[0])
    call.host.record_file.write_text('{"release": "')
    with pytest.raises(ReleaseError, match=r"is damaged.*mv "):
        call("requested", REVISIONS[1])
    assert (call.host.live(), holder(call)) == (NAMES[0], "")
    call.host.record_file.rename(call.host.record_file.with_suffix(".damaged"))
    deploy(REVISIONS[1])
    assert call.host.live() == NAMES[1]


def test_without_a_live_release_there_is_nothing_to_change(call):
    with pytest.raises(ReleaseError, match=r"no live release; run site\.yml first"):
        call("active", "", request="live")
    assert holder(call) == ""

"""Commands in transient units, and programs whose output root reads."""

import os
import shlex
import signal
import sys
import time
from contextlib import suppress

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import units

SH = ["/bin/sh", "-c"]


# --- Transient units ----------------------------------------------------------------------------


def transient(**given):
    told = {
        "unit": "clinic-step.service", "user": "clinic", "directory": "/srv/clinic",
        "command": ["/usr/bin/env", "python", "-c", "print()"], "properties": {}, "variables": {},
        "limit": 60,
    } | given  # fmt: skip
    return units.transient(**told)


def test_systemd_says_why_it_has_not_started_a_command(monkeypatch):
    said = "clinic-step.service: Failed at step CHDIR\nStopped clinic\nanother.service: Failed"
    monkeypatch.setattr(units, "journal", lambda unit, since: said)

    def told(code):
        return units.explained(units.Result(code, "printed", 1.0), "clinic-step.service", 0.0)

    assert told(1) == "printed"
    assert told(200) == "printed\nclinic-step.service: Failed at step CHDIR"


def values(command, name):
    start = f"--property={name}="
    return [each.removeprefix(start) for each in command if each.startswith(start)]


def test_a_command_runs_in_a_unit_of_a_user_and_ends_with_all_that_it_has_started():
    command = transient()
    assert command[0] == "/usr/bin/systemd-run"
    assert {"--quiet", "--wait", "--pipe", "--collect", "--unit=clinic-step.service"} <= {*command}
    assert values(command, "User") == values(command, "Group") == ["clinic"]
    assert values(command, "WorkingDirectory") == ["/srv/clinic"]
    assert values(command, "KillMode") == ["mixed"]
    assert values(command, "RuntimeMaxSec") == ["60s"]
    assert values(command, "TimeoutStopSec") == ["5s"]
    assert values(command, "UMask") == ["0027"]
    assert "--description=clinic-step.service" in command  # not the whole command
    assert command[-4:] == ["/usr/bin/env", "python", "-c", "print()"]
    assert command[-5] == "--"


def test_the_units_own_properties_are_the_last_word():
    sandbox = {"User": "root", "Group": "root", "KillMode": "none", "RuntimeMaxSec": "infinity"}
    command = transient(properties=sandbox)
    assert values(command, "User") == values(command, "Group") == ["clinic"]
    assert values(command, "KillMode") == ["mixed"]
    assert values(command, "RuntimeMaxSec") == ["60s"]


def test_properties_are_written_as_systemd_reads_them():
    told = units.assignments(
        {"PrivateTmp": True, "ProtectHome": False, "CapabilityBoundingSet": "", "Nice": 5,
         "ReadWritePaths": ["/a", "/b"], "SystemCallFilter": ("@x", "~@y @z"), "IPAddressDeny": []}
    )  # fmt: skip
    assert told == [
        "PrivateTmp=true", "ProtectHome=false", "CapabilityBoundingSet=", "Nice=5",
        "ReadWritePaths=/a", "ReadWritePaths=/b", "SystemCallFilter=@x", "SystemCallFilter=~@y @z",
    ]  # fmt: skip


@pytest.mark.parametrize("hostile", ["--uid=0", "-p", "--", "a b", "$(reboot)", "x\n--uid=0", "';"])
def test_hostile_values_stay_one_argument(hostile):
    command = transient(
        command=[hostile, hostile], directory=hostile, variables={"X": hostile},
        properties={"ReadWritePaths": [hostile]},
    )  # fmt: skip
    options, given = command[: command.index("--")], command[command.index("--") + 1 :]
    assert given == [hostile, hostile]
    assert f"--setenv=X={hostile}" in options
    assert f"--property=WorkingDirectory={hostile}" in options
    assert f"--property=ReadWritePaths={hostile}" in options
    assert hostile not in options


# --- Programs -----------------------------------------------------------------------------------


def test_a_program_is_run_and_all_that_it_prints_is_returned():
    told = units.run([*SH, "echo out; echo wrong >&2; exit 3"], 10)
    assert (told.code, told.output) == (3, "out\nwrong\n")
    assert 0 <= told.seconds < 5
    assert units.run(["/bin/true"], 10).output == ""


def test_a_program_gets_nothing_of_its_callers_but_what_it_needs(monkeypatch):
    monkeypatch.setenv("PATH", "/srv/clinic/.venv/bin")
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LD_PRELOAD", "")
    told = units.run(["/usr/bin/env"], 10).output.splitlines()
    assert sorted(told) == ["LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    assert units.run(["/bin/pwd"], 10).output == "/\n"
    assert units.run(["/bin/cat"], 10).output == "", "nobody types"


def test_no_shell_reads_a_command():
    assert units.run(["/bin/echo", "$(id)", ";", "`id`"], 10).output == "$(id) ; `id`\n"


def test_a_program_that_does_not_end_is_killed():
    told = units.run(["/bin/sleep", "60"], 0.3)
    assert told.code != 0
    assert 0.3 <= told.seconds < 5


def test_a_program_that_ignores_signals_is_killed():
    told = units.run([*SH, "trap '' TERM INT HUP; echo on; while :; do sleep 1; done"], 0.5)
    assert told.code != 0
    assert told.output == "on\n"
    assert told.seconds < 5


def test_endless_output_is_cut_and_its_end_is_kept():
    begun = time.monotonic()
    told = units.run(["/usr/bin/yes", "x" * 1000], 0.3)
    assert told.code != 0
    assert len(told.output) == units.KEPT
    assert time.monotonic() - begun < 6
    told = units.run([*SH, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end"], 30)
    assert told.code == 0
    assert told.output.endswith("x\nthe end\n")
    assert len(told.output) == units.KEPT


def test_the_beginning_of_a_long_output_is_kept_where_it_is_asked_for():
    code = "print('begun'); print('x' * 3_000_000); print('the end')"
    told = units.run([sys.executable, "-Ic", code], 30, kept=100, first=50).output
    assert told.startswith("begun\nxxx") and told.endswith("xxx\nthe end\n")
    assert told.count(units.CUT.decode()) == 1 and len(told) == 150 + len(units.CUT)
    told = units.run([*SH, "echo short"], 10, kept=100, first=50).output
    assert told == "short\n"


def test_output_that_comes_all_at_once_is_read_to_its_end():
    code = "import os; os.write(1, b'x' * 50_000); os.write(1, b'end')"
    told = units.run([sys.executable, "-Ic", code], 10)
    assert told.output == "x" * 50_000 + "end"


@pytest.fixture
def soon(monkeypatch, tmp_path):
    """Have the rest of an output be waited for a moment; end the child that is left."""
    monkeypatch.setattr(units, "REST", 0.2)
    path = tmp_path / "pid"
    yield path
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()):  # the child may start after the parent's end
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(int(path.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    "child", ["sleep 20", "yes", "while :; do echo; sleep 0.01; done", "trap '' TERM; sleep 20"]
)
@pytest.mark.parametrize(("parent", "code"), [("exit 0", 0), ("exec sleep 20", -9)])
def test_a_child_that_keeps_the_pipe_hangs_nobody(soon, child, parent, code):
    begun = time.monotonic()
    script = f"setsid sh -c {shlex.quote(f'echo $$ >{soon}; {child}')} & {parent}"
    told = units.run([*SH, script], 30 if code == 0 else 0.3)
    assert told.code == code
    assert time.monotonic() - begun < 5
    assert len(told.output) <= units.KEPT


@pytest.mark.parametrize("printed", ["\\377\\376", "\\0", "\\033[2J"])
def test_output_may_be_any_bytes(printed):
    told = units.run([*SH, f"printf {shlex.quote(printed)}; echo done"], 10)
    assert told.code == 0
    assert told.output.endswith("done\n")


# --- What units tell ------------------------------------------------------------------------------


def test_properties_are_read(monkeypatch):
    asked = []

    def run(command, limit):
        asked.append(command)
        return units.Result(0, "ActiveState=active\nExecStart={ a=b }\nnoise\nMainPID=5\n", 0.1)

    monkeypatch.setattr(units, "run", run)
    told = units.show("celery.service", "ActiveState", "MainPID")
    assert told == {"ActiveState": "active", "ExecStart": "{ a=b }", "MainPID": "5"}
    assert asked[0][:2] == ["/usr/bin/systemctl", "show"]
    assert "--property=ActiveState,MainPID" in asked[0]


@pytest.mark.parametrize(
    ("code", "printed"),
    [(1, "Failed to connect to bus: Connection refused"), (0, ""), (0, "ActiveState=active\n")],
)
def test_a_systemctl_that_does_not_tell_of_each_unit_is_an_error(monkeypatch, code, printed):
    monkeypatch.setattr(units, "run", lambda command, limit: units.Result(code, printed, 0.1))
    with pytest.raises(units.UnitError, match=f"a.service b.service ended with {code}") as error:
        units.show_all(["a.service", "b.service"], "ActiveState")
    assert str(error.value).endswith(printed.strip() or "nothing")


def test_the_journal_is_read_from_the_second_on_in_which_a_unit_was_started(monkeypatch):
    asked = []
    monkeypatch.setattr(
        units, "run", lambda command, limit: asked.extend(command) or units.Result(0, "said", 0.1)
    )
    assert units.journal("gunicorn.service", 1000.9) == "said"
    assert "--since=@1000" in asked
    assert "--unit=gunicorn.service" in asked


# --- Units that are older than their files --------------------------------------------------------


@pytest.fixture
def told_of(monkeypatch):
    """Have systemd tell properties of nginx.service; return what it was asked."""

    def systemctl(*arguments):
        asked.append(arguments[0])
        lines = "\n".join(f"{key}={value}" for key, value in asked.properties.items())
        return units.Result(0, f"{lines}\n\nLoadState=not-found\n", 0.0)

    class Asked(list):
        properties = {}

    asked = Asked()
    monkeypatch.setattr(units, "systemctl", systemctl)

    def tell(**properties):
        asked.properties = properties
        return asked

    return tell


def outdated(*files):
    """Return the names of the units that are outdated."""
    services = [
        {"unit": "nginx.service", "files": [*map(str, files)]},
        {"unit": "other.service", "files": [*map(str, files)]},
    ]
    return [each["unit"] for each in units.outdated(services)]


STARTED = "Thu 2026-11-26 03:00:00.500000 UTC"
SECONDS = 1795662000  # of STARTED since 1970, without its half


@pytest.mark.parametrize(("seconds", "old"), [(SECONDS, []), (SECONDS + 1, ["nginx.service"])])
def test_a_unit_is_outdated_when_a_file_is_newer(told_of, tmp_path, seconds, old):
    told_of(LoadState="loaded", NeedDaemonReload="no", StateChangeTimestamp=STARTED)
    file = tmp_path / "file"
    file.touch()
    os.utime(file, (seconds, seconds))
    assert outdated(tmp_path / "none", file) == old


def test_a_unit_whose_definition_has_changed_is_outdated(told_of):
    asked = told_of(LoadState="loaded", NeedDaemonReload="yes", StateChangeTimestamp=STARTED)
    assert outdated() == ["nginx.service"]
    assert asked == ["show", "daemon-reload"]


def test_without_units_systemd_is_not_asked(told_of):
    asked = told_of()
    assert units.outdated([]) == []
    assert asked == []


@pytest.mark.parametrize(
    "told", [{"LoadState": "not-found"}, {"LoadState": "loaded", "StateChangeTimestamp": ""}]
)
def test_a_unit_that_is_not_there_or_never_ran_is_not_outdated(told_of, tmp_path, told):
    told_of(**told)
    assert outdated(tmp_path) == []

"""The files of a service, and whether the service has to be started."""

import os
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible_collections.clink.django_stack.plugins.modules import config_files

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
MOMENT = "Thu 2026-11-26 03:00:00 UTC"


@pytest.mark.parametrize(
    ("told", "due"),
    [
        ({"ActiveState": "active", "UnitFileState": "enabled"}, []),
        ({"ActiveState": "inactive", "UnitFileState": "disabled"}, ["enable", "start"]),
        ({"ActiveState": "failed", "UnitFileState": "enabled"}, ["start"]),
        ({"ActiveState": "activating", "UnitFileState": "enabled-runtime"}, []),
        # As long as nobody has started it systemd has not looked at its conditions.
        ({"ActiveState": "inactive", "ConditionResult": "no", "ConditionTimestamp": ""}, ["start"]),
        ({"ActiveState": "inactive", "ConditionResult": "no", "ConditionTimestamp": MOMENT}, []),
        (
            {"ActiveState": "failed", "ConditionResult": "yes", "ConditionTimestamp": MOMENT},
            ["start"],
        ),
    ],
)
def test_a_service_is_started_where_it_can_run_and_does_not(monkeypatch, told, due):
    monkeypatch.setattr(config_files.units, "show", lambda unit, *names: told)
    assert config_files.due_of("x.service") == due


@pytest.fixture
def wanted(tmp_path):
    """A file as the module gets it, owned by whoever runs the tests."""

    def make(name, **given):
        path = tmp_path / name
        owner, group = path.parent.owner(), path.parent.group()
        return {
            "dest": str(path), "state": "file", "content": "new\n", "target": None, "owner": owner,
            "group": group, "mode": "0644", "unit": None, "secret": False,
        } | given  # fmt: skip

    return make


def test_a_link_in_a_files_place_is_replaced_and_not_followed(wanted, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("foreign\n")
    (tmp_path / "file").symlink_to(elsewhere)
    file = wanted("file")
    assert config_files.differs(file)
    config_files.replace([file])
    assert elsewhere.read_text() == "foreign\n"
    assert (tmp_path / "file").read_text() == "new\n"
    assert not (tmp_path / "file").is_symlink()
    assert not config_files.differs(file)


def test_all_files_are_replaced_or_none(wanted, tmp_path):
    (tmp_path / "first").write_text("old\n")
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "full").touch()
    with pytest.raises(OSError):
        config_files.replace([wanted("first"), wanted("second")])
    assert (tmp_path / "first").read_text() == "old\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


@as_root
def test_a_file_that_is_refused_replaces_nothing(wanted, tmp_path):
    (tmp_path / "file").write_text("old\n")
    with pytest.raises(config_files.FilesError, match="refuses"):
        config_files.install([wanted("file")], ["grep -q old " + str(tmp_path / "file")])
    assert (tmp_path / "file").read_text() == "old\n"


@as_root
def test_the_candidate_is_tried_at_its_place(wanted, tmp_path):
    (tmp_path / "file").write_text("old\n")
    config_files.install([wanted("file")], ["grep -q new " + str(tmp_path / "file")])
    assert (tmp_path / "file").read_text() == "new\n"


@pytest.mark.parametrize("check", [True, False])
def test_a_secret_file_reaches_no_log_and_no_result(
    arguments, wanted, tmp_path, monkeypatch, capsys, check
):
    secret = '{\n  "url": "https://example.com/token"\n}\n'
    files = [
        {key: value for key, value in wanted("file", secret=True).items() if value is not None}
    ]
    files[0].pop("content")
    given = {"files": files, "secrets": {files[0]["dest"]: secret}}
    given |= {"_ansible_check_mode": check, "_ansible_diff": True}
    arguments(given)
    logged = []
    monkeypatch.setattr(
        basic.AnsibleModule, "log", lambda _, *texts, **more: logged.append((texts, more))
    )
    with pytest.raises(SystemExit):
        config_files.main()
    assert logged and "token" not in str(logged)
    assert "token" not in capsys.readouterr().out
    if not check:
        assert (tmp_path / "file").read_text() == secret


@pytest.mark.parametrize(
    ("mode", "differs"), [(0o755, False), (0o700, False), (0o750, False), (0o775, True)]
)
def test_a_directory_of_systemd_may_be_stricter(wanted, tmp_path, monkeypatch, mode, differs):
    directory = wanted("directory", state="directory")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory").chmod(mode)
    assert config_files.differs(directory) == (mode != 0o755)
    monkeypatch.setattr(config_files, "ROOT_READS", (str(tmp_path),))
    assert config_files.differs(directory) == differs


APPLICATION = {
    "name": "clinic", "user": "clinic", "root": "/srv/clinic", "directory": "back",
    "shared": "/srv/clinic/shared", "environment_file": "/etc/clinic/environment",
    "step_timeout": "60",
    "step_variables": {"APP_WSGI": "clinic.wsgi:application"},
    "sandbox": {"ProtectSystem": "strict", "ReadWritePaths": "/srv/x"},
}  # fmt: skip


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """Give a function that has an application try files, and what was run for it."""
    monkeypatch.setattr(config_files, "STAGE", str(tmp_path))
    done = []

    def attempt(files, code=0, release=True):
        current = tmp_path / "release"
        if release:
            current.mkdir(exist_ok=True)

        def run(command, limit):
            place = command[-1].partition("=")[2]
            told = [path.read_text() for path in Path(place).rglob("*") if path.is_file()]
            done.append((command, told))
            return config_files.units.Result(code, "no module named gevent", 0.1)

        monkeypatch.setattr(config_files.units, "run", run)
        application = APPLICATION | {"current": str(current)}
        trial = {"application": application, "command": ["python", "-c", "x", "in={files}"]}
        config_files.try_out(files, trial)
        return done

    return attempt


def test_the_application_tries_the_new_files_as_its_user_in_its_sandbox(wanted, tried):
    ((command, told),) = tried([wanted("file"), wanted("secret", secret=True, content="s")])
    assert told == ["new\n"]
    assert "--property=User=clinic" in command
    assert "--property=ProtectSystem=strict" in command
    assert "--property=ReadWritePaths=/srv/x" in command
    assert "--property=ReadWritePaths=/srv/clinic/shared" in command
    assert command[command.index("--") + 1 :][:2] == ["/usr/bin/env", "python"]


def test_what_the_application_refuses_is_not_installed(wanted, tried):
    with pytest.raises(config_files.RefusedError, match="gevent"):
        tried([wanted("file")], code=1)


def test_without_a_release_nothing_is_tried(wanted, tried):
    assert tried([wanted("file")], code=1, release=False) == []


@pytest.mark.parametrize(("before", "times"), [("old\n", 1), (None, 0)])
def test_only_files_that_replace_others_are_tried(wanted, tmp_path, before, times):
    if before:
        (tmp_path / "file").write_text(before)
    asked = []
    config_files.install([wanted("file")], [], None, lambda: asked.append("x"))
    assert len(asked) == times

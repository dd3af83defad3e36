"""The lock and the directories of an application's releases, on a real file system.

What gives files to another user needs root, as the module does on a host.
"""

import json
import os
import stat
import struct
import subprocess

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import (
    files,
    memory,
    release_steps,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.release_steps import (
    StepError,
    Steps,
)
from ansible_collections.clink.django_stack.plugins.module_utils.release_store import Host, Lock
from ansible_collections.clink.django_stack.plugins.module_utils.releases import ReleaseError

MINE = {"by": "me@here", "machine": "here", "pid": 1, "started": "now"}
OTHERS = {"by": "you@there", "machine": "there", "pid": 2, "started": "then"}
USER, BUILDER = "daemon", "bin"  # users of every host that have a group of their name
ONE, TWO, THREE = (f"{number:012x}-abcdef" for number in (1, 2, 3))
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another user")


def application(root):
    """Return an application as the role describes it."""
    return {
        "name": "clinic", "root": str(root), "directory": "backend", "user": USER,
        "build_user": BUILDER, "current": str(root / "current"), "shared": str(root / "shared"),
        "shared_directories": [],
        "environment_file": str(root.parent / "etc" / "environment"), "dotenv": "",
        "packages": ["gunicorn"], "python": "python3", "step_timeout": 60, "ref": "HEAD",
        "keep": 2, "static_keep": 24, "sandbox": {"ProtectSystem": "strict"},
        "build_variables": {"BUILD_UV": "/opt/uv/bin/uv"}, "migrate": ["alembic upgrade head"],
        "step_variables": {"APP_WSGI": "x:y", "APP_ASGI": "", "APP_DJANGO": "yes"},
        "build_secret_files": ["/etc/clinic/deploy_key"],
    }  # fmt: skip


@pytest.fixture
def host(tmp_path):
    """The directories of an application, all of them below a temporary one."""
    tmp_path.chmod(0o755)
    told = Host(application(tmp_path / "app"))
    told.releases.mkdir(parents=True)
    told.record_file = tmp_path / "facts.d" / "clinic.fact"
    told.state = tmp_path / "run"
    told.cache, told.data = tmp_path / "cache", tmp_path / "data"
    return told


@pytest.fixture
def victim(tmp_path):
    """A directory of root's that no link may lead to."""
    directory = tmp_path / "victim"
    directory.mkdir(mode=0o700)
    (directory / "shadow").write_text("secret")
    (directory / "shadow").chmod(0o600)
    before = look(directory)
    yield directory
    assert look(directory) == before


def look(directory):
    """Return owner, mode and content of all that is in a directory, and of itself."""
    paths = [directory, *sorted(directory.rglob("*"))]
    told = [(str(path), os.lstat(path)) for path in paths]
    texts = [path.read_text() for path in paths if path.is_file() and not path.is_symlink()]
    return [(path, each.st_uid, each.st_gid, each.st_mode) for path, each in told], texts


def owners(directory):
    """Return the owners of all that is in a directory, and of itself."""
    return {os.lstat(path).st_uid for path in [directory, *directory.rglob("*")]}


def chown(path, user):
    """Give one file, link or directory to a user."""
    subprocess.run(["chown", "-h", f"{user}:{user}", path], check=True)


def uid(user):
    return int(subprocess.check_output(["id", "-u", user]))


@pytest.fixture
def release(host):
    """Give a function that lays out a release."""

    def make(name, complete=True):
        directory = host.releases / name
        directory.mkdir()
        if complete:
            (directory / ".complete").touch()
        return directory

    return make


# --- The lock -----------------------------------------------------------------------------------


def test_a_lock_is_written_read_and_given_back(tmp_path):
    path = tmp_path / "clinic" / "lock"
    mine = Lock(path, MINE)
    assert mine.read() == {}
    assert mine.quiet(0)
    mine.write({**MINE, "since": "today"})
    assert mine.read() == {**MINE, "since": "today"}
    assert mine.mine(mine.read())
    others = Lock(path, OTHERS)
    assert others.read()["by"] == "me@here"
    assert not others.mine(others.read())
    mine.write({**MINE, "since": "tomorrow", "request": {"name": ONE}})
    mine.write({**MINE, "since": "today"})
    assert others.read() == {**MINE, "since": "today"}, "what is shorter replaces all"
    mine.write({})
    assert others.read() == {}
    assert not mine.mine({})


def test_the_directory_of_the_lock_is_private(tmp_path):
    Lock(tmp_path / "clinic" / "lock", MINE)
    assert (tmp_path / "clinic").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ["", "{", '{"by": "me', "[]", "5", "null", "\0\0"])
def test_a_lock_that_was_cut_off_is_free(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    lock = Lock(tmp_path / "lock", MINE)
    assert lock.read() == {}
    lock.write(MINE)
    assert lock.read() == MINE


def test_one_module_at_a_time_works_on_the_releases(tmp_path):
    first, second = (Lock(tmp_path / "lock", run) for run in (MINE, OTHERS))
    assert first.quiet(0)
    assert not second.quiet(0)
    assert not second.quiet(0.3), "it waits, and says so"
    first.file.close()
    assert second.quiet(0)


def test_a_lock_waits_for_the_command_of_a_dead_run(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    holding = subprocess.Popen(["flock", path, "sh", "-c", "echo; sleep 0.5"], stdout=-1)
    holding.stdout.read(1)
    lock = Lock(path, MINE)
    assert not lock.quiet(0)
    assert lock.quiet(10)
    assert holding.wait() == 0, "it did not wait"
    holding.stdout.close()


def test_the_age_of_a_lock_is_that_of_its_last_word(tmp_path):
    lock = Lock(tmp_path / "lock", MINE)
    os.utime(lock.path, (1, 1))
    lock.read()
    assert lock.path.stat().st_mtime == 1
    lock.write(MINE)
    assert lock.path.stat().st_mtime > 1


# --- What is there ------------------------------------------------------------------------------


def test_nothing_is_there_on_a_new_host(tmp_path):
    host = Host(application(tmp_path / "nowhere"))
    assert (host.live(), host.present(), host.built()) == ("", [], [])


@pytest.mark.parametrize(
    ("target", "live"),
    [
        (f"releases/{ONE}", ONE),
        (f"/elsewhere/{ONE}", ONE),  # only the name counts
        ("releases/..", ""),
        ("/etc", ""),
        ("releases/old", ""),
        (f"releases/{ONE}x", ""),
        (f"releases/{ONE}\n", ""),
    ],
)
def test_the_live_release_is_one_that_has_a_name(host, target, live):
    host.current.symlink_to(target)
    assert host.live() == live


def test_what_is_no_link_is_not_live(host):
    host.current.mkdir()
    assert host.live() == ""


@as_root
def test_the_live_release_counts_as_built(host, release):
    release(ONE)
    release(TWO, complete=False)
    release(THREE, complete=False)  # made before releases were marked
    host.current.symlink_to(f"releases/{THREE}")
    assert (host.live(), sorted(host.built())) == (THREE, [ONE, THREE])


def test_a_live_release_that_is_gone_is_not_built(host):
    host.current.symlink_to(f"releases/{ONE}")
    assert host.built() == []


def test_a_live_release_that_is_a_link_is_not_built(host, victim):
    host.current.symlink_to(f"releases/{ONE}")
    (host.releases / ONE).symlink_to(victim)
    assert host.built() == []


@as_root
def test_only_root_marks_a_release_as_complete(host, release, victim):
    forged = release(ONE)
    chown(forged / ".complete", USER)
    foreign = release(TWO)
    chown(foreign, USER)
    linked = release(THREE, complete=False)
    (linked / ".complete").symlink_to(victim / "shadow")
    whole = release(f"{4:012x}-abcdef")
    (host.releases / f"{5:012x}-abcdef").symlink_to(whole)
    directory = release(f"{6:012x}-abcdef", complete=False)
    (directory / ".complete").mkdir()
    release("other")
    assert host.built() == [whole.name]
    assert len(host.present()) == 7


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'{"releases": ', b"[]"])
def test_a_damaged_record_is_told(host, content):
    host.record_file.parent.mkdir()
    host.record_file.write_bytes(content)
    with pytest.raises(ReleaseError, match=f"mv {host.record_file}"):
        host.record()


@as_root
def test_a_record_is_remembered(host):
    assert host.record() == {"releases": {}}
    told = {"release": ONE, "releases": {ONE: {"by": "Zoë", "at": "2026"}}}
    host.remember(told)
    assert host.record() == told
    assert host.record_file.stat().st_mode & 0o777 == 0o644
    assert os.listdir(host.record_file.parent) == ["clinic.fact"]


# --- Files of root's ----------------------------------------------------------------------------


@as_root
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_file_is_written_as_a_whole(tmp_path, mode):
    path = tmp_path / "new" / "file"
    for text in ("Zürich Ψ 心\n", "second"):
        files.replace(path, text, mode, gid=uid(USER))
        assert path.read_text() == text
        told = path.stat()
        assert (told.st_uid, told.st_gid, told.st_mode & 0o7777) == (0, uid(USER), mode)
    assert os.listdir(path.parent) == ["file"]


@as_root
@pytest.mark.parametrize("planted", ["file", ".file.new"])
def test_a_file_is_never_written_through_a_link(tmp_path, victim, planted):
    place = tmp_path / "place"
    place.mkdir()
    (place / planted).symlink_to(victim / "shadow")
    files.replace(place / "file", "text", 0o644)
    assert (place / "file").read_text() == "text"
    assert not (place / "file").is_symlink()


@as_root
def test_a_file_is_never_written_into_one_that_somebody_holds(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    planted = place / ".file.new"
    planted.touch(0o666)
    with planted.open() as held:
        files.replace(place / "file", "secret", 0o600)
        assert held.read() == ""


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("before")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left|not permitted"):
        files.replace(path, "after", 0o600)
    assert path.read_text() == "before"


# --- What belongs to whom -----------------------------------------------------------------------


def hostile(directory, victim):
    """Fill a directory with what should lead root astray."""
    inside = directory / "package"
    inside.mkdir(mode=0o777)
    inside.chmod(0o2777)
    for place in (directory, inside):
        (place / "link").symlink_to(victim)
        (place / "file").symlink_to(victim / "shadow")
        (place / "-option").touch()
        (place / "new\nline").touch()
    program = inside / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o6777)


@as_root
def test_a_release_is_given_without_its_packages_and_without_what_links_lead_to(
    host, release, victim
):
    directory = release(ONE)
    hostile(directory, victim)
    (directory / ".venv" / "bin").mkdir(parents=True)
    (directory / ".venv" / "bin" / "python").symlink_to(victim / "shadow")
    host.give(directory, USER)
    assert owners(directory / ".venv") == {0}
    assert owners(directory / "package") == {uid(USER)}
    assert os.lstat(directory / "link").st_uid == os.lstat(directory).st_uid == uid(USER)


@as_root
def test_an_empty_release_is_given(host, release):
    directory = release(ONE, complete=False)
    host.give(directory, USER)
    assert directory.stat().st_uid == uid(USER)


@as_root
def test_a_release_is_sealed_and_what_links_lead_to_is_not(host, release, victim):
    directory = release(ONE, complete=False)
    hostile(directory, victim)
    host.give(directory, USER)
    host.seal(directory)
    assert owners(directory) == {0}
    for path in [directory, *directory.rglob("*")]:
        told = os.lstat(path)
        if not stat.S_ISLNK(told.st_mode):
            assert told.st_gid == 0
            assert told.st_mode & 0o7022 == 0, path
            assert told.st_mode & 0o444 == 0o444, path
    assert os.access(directory / "package" / "program", os.X_OK)


@as_root
@pytest.mark.parametrize("kind", ["link to a directory", "link to a file", "file"])
def test_what_is_no_directory_is_not_sealed(host, victim, kind):
    path = host.releases / ONE
    if kind == "file":
        path.touch()
    else:
        path.symlink_to(victim if kind == "link to a directory" else victim / "shadow")
    with pytest.raises(ReleaseError, match="should be a directory"):
        host.seal(path)


@as_root
@pytest.mark.parametrize("planted", ["link", "directory", "file"])
def test_a_mark_is_roots_whatever_the_source_has_left(host, release, victim, planted):
    directory = release(ONE, complete=False)
    mark = directory / ".complete"
    if planted == "link":
        mark.symlink_to(victim / "shadow")
    elif planted == "directory":
        mark.mkdir()
        (mark / "x").symlink_to(victim)
    else:
        mark.write_text("forged")
        chown(mark, USER)
    host.mark(directory)
    told = os.lstat(mark)
    assert (stat.S_ISREG(told.st_mode), told.st_uid, told.st_size) == (True, 0, 0)
    assert host.built() == [ONE]


def test_what_is_removed_is_the_link_and_not_what_it_leads_to(host, release, victim):
    directory = release(ONE)
    hostile(directory, victim)
    (host.releases / TWO).symlink_to(victim)
    for name in (ONE, TWO, THREE):  # the last one is not there
        host.remove(host.releases / name)
    assert host.present() == []


# --- Files with several names, and other things that a build leaves -----------------------------


def packages(host, release, user=BUILDER):
    """Lay out a live release, and another one that links its packages, as a build does."""
    live, new = release(ONE), release(TWO, complete=False)
    (live / ".venv" / "lib").mkdir(parents=True)
    module = live / ".venv" / "lib" / "django.py"
    module.write_text("original")
    host.seal(live)
    (new / ".venv" / "lib").mkdir(parents=True)
    os.link(module, new / ".venv" / "lib" / "django.py")
    for path in (new, new / ".venv", new / ".venv" / "lib"):
        chown(path, user)
    return live, new


@as_root
def test_a_package_that_a_build_moves_out_stays_roots(host, release):
    live, new = packages(host, release)
    (new / ".venv" / "lib" / "django.py").rename(new / "moved.py")  # as the build user can
    host.seal(new / ".venv")
    host.give(new, USER)
    assert os.lstat(new).st_uid == uid(USER)
    assert os.lstat(new / "moved.py").st_uid == os.lstat(live / ".venv/lib/django.py").st_uid == 0
    host.seal(new)
    assert owners(new) == {0}


@as_root
def test_a_package_that_a_build_names_complete_completes_nothing(host, release):
    live, new = packages(host, release)
    (new / ".venv" / "lib" / "django.py").rename(new / ".complete")
    chown(new, "root")
    host.current.symlink_to(f"releases/{live.name}")
    assert host.built() == [live.name]


@as_root
def test_files_with_two_names_in_a_release_are_given_and_sealed(host, release):
    directory = release(ONE, complete=False)
    (directory / "one").write_text("x")
    (directory / "sub").mkdir()
    os.link(directory / "one", directory / "sub" / "two")
    host.give(directory, USER)
    assert owners(directory) == {uid(USER)}
    host.seal(directory)
    assert owners(directory) == {0}


@as_root
def test_a_file_of_another_that_is_linked_into_a_release_is_not_taken(host, release, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.write_text("x")
    foreign.chmod(0o600)
    chown(foreign, USER)
    directory = release(ONE, complete=False)
    os.link(foreign, directory / "link")
    host.give(directory, BUILDER)
    with pytest.raises(ReleaseError, match="is a hard link to a file outside of"):
        host.seal(directory)
    told = foreign.stat()
    assert (told.st_uid, stat.S_IMODE(told.st_mode)) == (uid(USER), 0o600)


@as_root
def test_access_lists_pipes_and_sockets_are_sealed_without_being_opened(host, release):
    directory = release(ONE, complete=False)
    (directory / "file").touch()
    (directory / "sub").mkdir(mode=0o000)
    os.mkfifo(directory / "pipe")
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, permission, identifier)
        for tag, permission, identifier in [
            (1, 6, 0xFFFFFFFF), (2, 6, uid(USER)), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF),
            (32, 4, 0xFFFFFFFF),
        ]
    )  # fmt: skip
    try:
        os.setxattr(directory / "file", "system.posix_acl_access", acl)
        os.setxattr(directory / "sub", "system.posix_acl_default", acl)
    except OSError:
        pytest.skip("the file system has no access control lists")
    host.give(directory, USER)
    host.seal(directory)
    for path in (directory / "file", directory / "sub"):
        assert not [each for each in os.listxattr(path) if "acl" in each]
    modes = [stat.S_IMODE(os.lstat(directory / name).st_mode) for name in ("file", "sub", "pipe")]
    assert modes == [0o644, 0o755, 0o644]


@as_root
def test_a_release_without_a_bottom_is_refused(host, release):
    directory = release(ONE, complete=False)
    deep = os.open(directory, os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("d", dir_fd=deep)
        deeper = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = deeper
    os.close(deep)
    for change in (host.seal, lambda path: host.give(path, USER)):
        with pytest.raises(ReleaseError, match="levels of directories"):
            change(directory)
    host.remove(directory)
    assert host.present() == []


def test_a_tool_that_fails_is_told(host, tmp_path):
    with pytest.raises(ReleaseError, match="/usr/bin/chown -h nobody-has-this-name"):
        host.tool("/usr/bin/chown", "-h", "nobody-has-this-name", str(tmp_path))


# --- A host of an earlier version ----------------------------------------------------------------


@pytest.fixture
def earlier(host, victim):
    """The tree of an earlier version: all of it the application's, and some of it hostile."""
    root = host.root
    for name in (ONE, TWO):
        (host.releases / name / ".venv" / "bin").mkdir(parents=True)
        (host.releases / name / "manage.py").touch()
        (host.releases / name / ".complete").touch()
    hostile(host.releases / TWO, victim)
    (root / "shared" / "media").mkdir(parents=True)
    (root / "shared" / "media" / "upload").touch(0o600)
    (root / "repository").mkdir()
    (root / "source.tar").symlink_to(victim / "shadow")
    (root / ".uv").symlink_to(victim)
    (host.releases / "strange").symlink_to(victim)
    host.current.symlink_to(f"releases/{ONE}")
    subprocess.run(["chown", "-hR", f"{USER}:{USER}", root], check=True)
    return root


@as_root
@pytest.mark.parametrize("by_tmpfiles", [False, True])
def test_what_an_earlier_version_has_left_becomes_roots(host, earlier, by_tmpfiles):
    if by_tmpfiles:  # which has gone before, and gives root the directories alone
        for path in (earlier, host.releases, earlier / "shared"):
            os.chown(path, 0, 0)
    assert host.built() == [ONE]  # the live one alone, which serves
    host.own()
    shared = earlier / "shared"
    for path in [earlier, *earlier.rglob("*")]:
        if shared not in path.parents and path != shared:
            assert os.lstat(path).st_uid == 0, path
    assert os.lstat(shared / "media" / "upload").st_uid == uid(USER)
    assert host.built() == [ONE, TWO]
    before = look(earlier)
    host.own()
    assert look(earlier) == before, "a second run changes nothing"


@as_root
def test_releases_that_are_a_link_are_refused(host, tmp_path, victim):
    host.releases.rmdir()
    host.releases.symlink_to(victim)
    with pytest.raises(ReleaseError, match="is a link; it should be a directory"):
        host.own()


@as_root
def test_a_socket_stays_whose_it_is(host):
    import socket

    path = host.root / "gunicorn.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        directory = os.open(host.root, os.O_RDONLY)
        try:
            listening.bind(f"/proc/self/fd/{directory}/{path.name}")  # a short path
        finally:
            os.close(directory)
    chown(path, USER)
    host.own()
    assert os.lstat(path).st_uid == uid(USER)


# --- What a step is allowed ----------------------------------------------------------------------


class Ran:
    """Stands in for systemd: keeps what it was asked to run."""

    def __init__(self):
        self.commands, self.during = [], lambda: None
        self.results, self.journal = [], ""

    def run(self, command, limit, **settings):
        """Keep a step's command; run the tools of the system."""
        if command[0] != units.SYSTEMD_RUN:
            return RUN(command, limit)
        self.commands.append(command)
        self.during()
        return self.results.pop(0) if self.results else units.Result(0, "", 1.0)


RUN = units.run


@pytest.fixture
def systemd(monkeypatch):
    told = Ran()
    monkeypatch.setattr(units, "run", told.run)
    monkeypatch.setattr(units, "show", lambda *_: {"ActiveState": "inactive"})
    monkeypatch.setattr(units, "journal", lambda unit, since: told.journal)
    return told


SCRIPTS = {
    name: f"# {name}"
    for name in (
        "fetch.py",
        "python.sh",
        "source.sh",
        "packages.py",
        "imports.py",
        "prepare.py",
        "trial.py",
        "gunicorn.conf.py",
    )
}
SECRETS = {"fetch": 'FETCH_GIT="https://u:s3cret@h/"\n', "install": 'UV_INDEX="s3cret"\n'}


@pytest.fixture
def steps(host, systemd):
    return Steps(host, SCRIPTS, SECRETS)


def property_of(command, name):
    """Return the values of a unit's property in a command of systemd-run."""
    start = f"--property={name}="
    return [each.removeprefix(start) for each in command if each.startswith(start)]


@as_root
def test_fetching_is_the_build_users_and_its_secrets_are_in_a_file(steps, host, systemd):
    seen = {}

    def during():
        (path,) = property_of(systemd.commands[-1], "EnvironmentFile")
        seen["text"] = open(path).read()
        seen["mode"], seen["path"] = os.stat(path).st_mode & 0o777, path

    systemd.during = during
    systemd.results = [units.Result(0, f"step: fetch\nrevision: {'a' * 40}\n", 1.0)]
    assert steps.fetch(False, "") == "a" * 40
    (command,) = systemd.commands
    assert seen["text"] == SECRETS["fetch"]
    assert seen["mode"] == 0o600
    assert not os.path.exists(seen["path"])
    assert not [word for word in command if "s3cret" in word]
    assert property_of(command, "User") == property_of(command, "Group") == [BUILDER]
    assert property_of(command, "ProtectSystem") == ["strict"]
    assert property_of(command, "ReadWritePaths") == [str(host.cache / "source")]


@as_root
@pytest.mark.parametrize(("after", "told"), [(4, True), (3, False)])
def test_a_step_that_the_kernel_has_killed_says_so(
    steps, systemd, monkeypatch, tmp_path, after, told
):
    counters = tmp_path / "vmstat"
    counters.write_text("oom_kill 3\n")
    monkeypatch.setattr(memory, "COUNTERS", counters)
    systemd.during = lambda: counters.write_text(f"oom_kill {after}\n")
    systemd.results = [units.Result(255, "", 1.0)]
    with pytest.raises(StepError) as error:
        steps.fetch(False, "")
    assert ("memory had run out" in str(error.value)) == told
    assert property_of(systemd.commands[0], "OOMScoreAdjust") == ["600"]


@as_root
@pytest.mark.parametrize("output", ["", "revision: HEAD\n", f"revision: {'A' * 40}\n"])
def test_a_source_without_a_revision_is_refused(steps, systemd, output):
    systemd.results = [units.Result(0, output, 1.0)]
    with pytest.raises(StepError, match="tells no revision") as told:
        steps.fetch(False, "")
    assert told.value.step == "fetch"


@as_root
def test_a_secret_is_removed_when_the_step_fails(steps, host, systemd):
    systemd.results = [units.Result(1, "step: download\nno such file", 1.0)]
    with pytest.raises(StepError, match="no such file") as told:
        steps.fetch(False, "")
    assert told.value.step == "download"
    assert os.listdir(host.state) == []


@pytest.fixture
def build(steps, host, systemd):
    """Give a function that builds a release; `leave` is what the build's code does there."""

    def run(leave, name=ONE, live="", printed=""):
        path = host.releases / name

        def during():
            if "--setenv=BUILD_STEP=packages" in systemd.commands[-1]:
                leave(path)

        systemd.during = during
        systemd.results = [units.Result(0, "", 1.0), units.Result(0, printed, 1.0)]
        return steps.build(path, live, "a" * 40)

    return run


@as_root
@pytest.mark.parametrize("kind", ["link", "link to a file", "file", "nothing"])
def test_a_build_whose_environment_is_no_directory_is_refused(build, host, victim, kind):
    def leave(path):
        path.chmod(0o777)
        if kind == "link":
            (path / ".venv").symlink_to(victim)
        elif kind == "link to a file":
            (path / ".venv").symlink_to(victim / "shadow")
        elif kind == "file":
            (path / ".venv").touch()

    with pytest.raises(StepError, match=r"\.venv should be a directory") as told:
        build(leave)
    assert told.value.step == "packages"


@as_root
def test_a_build_leaves_an_environment_that_is_roots(build, host, victim, systemd):
    def leave(path):
        assert path.stat().st_uid == uid(BUILDER)
        (path / ".venv").mkdir()
        hostile(path / ".venv", victim)
        subprocess.run(["chown", "-hR", f"{BUILDER}:{BUILDER}", path], check=True)

    assert build(leave, printed=f"packages: {'b' * 64}\n") == "b" * 64
    assert owners(host.releases / ONE / ".venv") == {0}
    assert len(systemd.commands) == 3
    for command in systemd.commands:
        assert property_of(command, "User") == [BUILDER]
        assert property_of(command, "InaccessiblePaths") == ["-/etc/clinic/deploy_key"]
        assert not [word for word in command if "s3cret" in word]
    assert host.built() == []


@as_root
def test_an_interpreter_is_downloaded_from_where_the_description_says(build, systemd, steps, host):
    steps.application["python"] = "3.11"
    host.data.mkdir(parents=True, exist_ok=True)
    texts = []

    def during():
        (file,) = property_of(systemd.commands[-1], "EnvironmentFile")
        texts.append(open(file).read())

    systemd.during = during
    steps.interpreter()
    assert SCRIPTS["python.sh"] in systemd.commands[0]
    assert texts == [SECRETS["install"]]
    (writes,) = property_of(systemd.commands[0], "ReadWritePaths")
    assert f"--setenv=UV_CACHE_DIR={writes}/.cache" in systemd.commands[0]


URL = "ssh://git@example.com:2222/clinic/library.git"
LISTED = f"packages: {'b' * 64}\nrepositories: {URL},{URL}2\nwarning: a\x07 lock is not used\n"


@as_root
def test_repositories_of_packages_are_copied_in_a_step_that_runs_no_code(build, systemd, steps):
    build(lambda path: (path / ".venv").mkdir(), printed=LISTED)
    _, listed, copied, installed = systemd.commands
    assert f"--setenv=FETCH_MIRRORS={URL} {URL}2" in copied
    assert SCRIPTS["fetch.py"] in copied
    assert property_of(copied, "InaccessiblePaths") == []
    for command in (listed, installed):
        assert SCRIPTS["packages.py"] in command
        assert command[-1] == "gunicorn"
        assert property_of(command, "InaccessiblePaths") == ["-/etc/clinic/deploy_key"]
    assert steps.warnings == ["a? lock is not used"]


@as_root
def test_a_forwarded_agent_opens_the_repositories_and_no_build_sees_it(steps, host, systemd):
    path = host.releases / ONE
    systemd.results = [units.Result(0, "", 1.0), units.Result(0, LISTED, 1.0)]
    systemd.during = lambda: (path / ".venv").mkdir(exist_ok=True)
    steps.build(path, "", "a" * 40, "/tmp/agent")
    seen = ["--setenv=SSH_AUTH_SOCK=/tmp/agent" in command for command in systemd.commands]
    assert seen == [False, False, True, False]


@as_root
@pytest.mark.parametrize(
    "urls", ["--upload-pack=x", "ssh://-oProxyCommand=x/y", "ext::sh", "ssh://"]
)
def test_what_is_no_repository_is_not_given_to_git(build, systemd, urls):
    build(lambda path: (path / ".venv").mkdir(), printed=LISTED.replace(URL, urls, 1))
    assert len(systemd.commands) == 3


@as_root
def test_packages_of_the_live_release_are_linked_and_stay_roots(build, host, release):
    live = release(TWO)
    (live / ".venv" / "bin").mkdir(parents=True)
    program = live / ".venv" / "bin" / "gunicorn"
    program.write_text("#!/bin/sh\n")
    (live / ".venv" / "lib64").symlink_to("/etc")
    host.seal(live)
    host.current.symlink_to(f"releases/{TWO}")
    host.remember({"release": TWO, "releases": {TWO: {"packages": "b" * 64}}})
    seen = []

    def leave(path):
        linked = path / ".venv" / "bin" / "gunicorn"
        seen.append((linked.samefile(program), linked.stat().st_uid))
        assert (path / ".venv" / "bin").stat().st_uid == uid(BUILDER)
        linked.unlink()  # which the build may; it never changes the file of both
        linked.write_text("another")

    etc = os.stat("/etc")
    build(leave, live=TWO, printed=f"packages: {'b' * 64}\n")
    assert seen == [(True, 0)]
    assert program.read_text() == "#!/bin/sh\n"
    assert owners(live) == owners(host.releases / ONE / ".venv") == {0}
    assert (os.stat("/etc").st_uid, os.stat("/etc").st_mode) == (etc.st_uid, etc.st_mode)


@as_root
def test_without_the_same_list_nothing_is_linked(build, host, release):
    live = release(TWO)
    (live / ".venv").mkdir()
    (live / ".venv" / "old").touch()
    host.remember({"release": TWO, "releases": {TWO: {"packages": "b" * 64}}})

    def leave(path):
        assert not (path / ".venv").exists()
        (path / ".venv").mkdir()

    build(leave, live=TWO, printed=f"packages: {'c' * 64}\n")
    assert os.listdir(host.releases / ONE / ".venv") == []


def test_the_application_has_its_secrets_and_writes_where_it_is_told(steps, host, systemd):
    path, environment = host.releases / ONE, host.environment_file
    report = {"debug": True, "behind": ["a.0001_x"]}
    systemd.results = [units.Result(0, f"noise\n{json.dumps(report)}\n", 1.0)]
    told = steps.ask(path, ["imports", "check"], environment, (str(path),), [TWO], ["a.0002"])
    assert (told["debug"], told["behind"]) == (True, ["a.0001_x"])
    (command,) = systemd.commands
    assert property_of(command, "User") == [USER]
    assert property_of(command, "EnvironmentFile") == [str(environment)]
    assert property_of(command, "ReadWritePaths") == [str(host.root / "shared"), str(path)]
    assert property_of(command, "WorkingDirectory") == [str(path / "backend")]
    given = command[command.index("--") + 1 :]
    assert given[:4] == ["/usr/bin/env", f"STATIC_ROOT={path}/.staticfiles", "python", "manage.py"]
    assert given[-1] == "# imports.py\n# prepare.py\ntake(['imports', 'check'])"
    assert f"--setenv=APP_CARRY={TWO}" in command
    assert "--setenv=APP_GUNICORN=# gunicorn.conf.py" in command


def test_the_steps_log_in_as_the_owner_of_the_database_and_the_trial_as_the_services_do(
    steps, host, systemd
):
    path, environment = host.releases / ONE, host.environment_file
    host.owner_file.parent.mkdir(parents=True, exist_ok=True)
    host.owner_file.touch()
    steps.application["sandbox"] = {"PrivateUsers": False}
    systemd.results = [units.Result(0, "{}\n", 1.0)]
    steps.ask(path, ["migrate"], environment, (), [], [])
    steps.trial(path, environment)
    migrate, trial = systemd.commands
    assert property_of(migrate, "EnvironmentFile") == [str(environment), str(host.owner_file)]
    assert property_of(migrate, "PrivateUsers") == ["true"], "a service could read its environment"
    assert property_of(trial, "EnvironmentFile") == [str(environment)]


def test_a_project_without_django_takes_its_own_steps(steps, host, systemd):
    path, environment = host.releases / ONE, host.environment_file
    host.owner_file.parent.mkdir(parents=True, exist_ok=True)
    host.owner_file.touch()
    steps.is_django = False
    asked = ["imports", "check", "plan", "migrate", "static", "carry"]
    steps.ask(path, asked, environment, (str(path),), [TWO], [])
    imports, migrate = systemd.commands
    assert imports[-3:] == ["python", "-c", "# imports.py\ntake(['imports'])"]
    assert migrate[-3:] == ["/bin/sh", "-c", "alembic upgrade head"]
    assert property_of(migrate, "EnvironmentFile") == [str(environment), str(host.owner_file)]
    assert steps.ask(path, ["behind", "carry"], environment, (), [], []) == {}
    assert len(systemd.commands) == 2, "a rollback has no step"
    systemd.results = [units.Result(0, "{}\n", 1.0), units.Result(1, "no table", 1.0)]
    with pytest.raises(StepError, match='"migrate" failed'):
        steps.ask(path, asked, environment, (), [], [])


def test_a_project_that_gunicorn_does_not_serve_has_no_trial(steps, host, systemd):
    steps.application["step_variables"]["APP_WSGI"] = ""
    steps.trial(host.releases / ONE, host.environment_file)
    assert systemd.commands == []


@pytest.mark.parametrize("leave", [lambda path: path.symlink_to("/etc"), lambda path: path.touch()])
def test_what_a_build_leaves_in_the_place_of_shared_files_is_refused(steps, host, systemd, leave):
    path = host.releases / ONE
    path.mkdir()
    leave(path / ".shared")
    with pytest.raises(StepError, match="app_shared_directories"):
        steps.share(path, host.environment_file)
    assert systemd.commands == []


@pytest.mark.parametrize("own", ["/srv/exports", ["/srv/exports"]])
def test_what_the_sandbox_allows_is_kept(steps, host, systemd, own):
    steps.application["sandbox"] = {"ReadWritePaths": own}
    steps.trial(host.releases / ONE, host.environment_file)
    told = property_of(systemd.commands[0], "ReadWritePaths")
    assert told == ["/srv/exports", str(host.root / "shared")]


def test_a_step_that_fails_is_named_among_those_that_were_asked_for(steps, host, systemd):
    output = "step: imports\nstep: check\nstep: fetch\nwrong\n"
    systemd.results = [units.Result(1, output, 1.0)]
    with pytest.raises(StepError, match='(?s)"check" failed.*wrong') as told:
        steps.ask(host.releases / ONE, ["imports", "check"], host.environment_file, (), [], [])
    assert told.value.step == "check"


@pytest.mark.parametrize(("code", "told"), [(226, True), (255, True), (1, False)])
def test_what_systemd_says_of_a_step_is_told_where_its_output_says_nothing(
    steps, host, systemd, code, told
):
    said = "Failed to set up mount namespacing: /srv/x: No such file"
    systemd.journal = f"Starting it\nclinic-step.service: {said}\n"
    systemd.results = [units.Result(code, "", 1.0)]
    with pytest.raises(StepError) as error:
        steps.trial(host.releases / ONE, host.environment_file)
    assert (str(error.value).startswith("systemd cannot set up the sandbox")) == told
    assert "Starting it" not in str(error.value)


def test_a_step_names_a_directory_below_that_of_manage_py(steps, host, systemd):
    path = host.releases / "dedc9bd49661-a279ff" / "backend" / "logs" / "x"
    systemd.results = [units.Result(1, f"OSError: [Errno 30] Read-only: '{path}'", 1.0)]
    with pytest.raises(StepError, match="Add logs to app_shared_directories"):
        steps.trial(host.releases / ONE, host.environment_file)


def test_a_step_whose_time_is_over_says_so(steps, host, systemd):
    systemd.results = [units.Result(1, "", 61.0)]
    with pytest.raises(StepError, match="app_step_timeout, 60 s"):
        steps.trial(host.releases / ONE, host.environment_file)


def test_a_step_of_a_dead_run_is_waited_for_and_named(steps, monkeypatch):
    states = iter(["active", "active", "deactivating", "inactive"])
    monkeypatch.setattr(units, "show", lambda *_: {"ActiveState": next(states)})
    monkeypatch.setattr(release_steps.time, "sleep", lambda _: None)
    steps.settle()
    assert next(states, "") == ""
    monkeypatch.setattr(units, "show", lambda *_: {"ActiveState": "active"})
    monkeypatch.setattr(release_steps, "PATIENCE", 0.01)
    with pytest.raises(ReleaseError, match="systemctl stop clinic-step.service"):
        steps.settle()


def test_what_the_source_has_in_shared_directories_is_copied_as_uploads_are(tmp_path):
    """The directories keep their modes, and what is there already stays."""
    source, shared = tmp_path / "from", tmp_path / "to"
    for directory in (source / "shop" / "media", shared / "shop" / "media", shared / "logs"):
        directory.mkdir(parents=True)
    (source / "shop" / "media" / "logo").write_text("new")
    (source / "shop" / "media" / "logo").chmod(0o666)
    (source / "shop" / "media" / "upload").write_text("of the source")
    (shared / "shop" / "media" / "upload").write_text("of a visitor")
    (source / "shop" / "media").chmod(0o700)
    (shared / "shop" / "media").chmod(0o2750)
    command = ["sh", "-ec", release_steps.SHARE, "share", source, shared, "logs", "shop/media"]
    subprocess.run(command, check=True, umask=0o027)
    media = shared / "shop" / "media"
    assert stat.S_IMODE(media.stat().st_mode) == 0o2750
    assert stat.S_IMODE((media / "logo").stat().st_mode) == 0o640
    assert (media / "upload").read_text() == "of a visitor"

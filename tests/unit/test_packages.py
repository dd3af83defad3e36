"""What is installed into a release, and what decides that."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import releases

FILES = Path(__file__).resolve().parents[2] / "roles" / "app" / "files"


def script(name):
    """Return a script of the role as a module."""
    spec = importlib.util.spec_from_file_location(name, FILES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


packages = script("packages")
fetch = script("fetch")

PROJECT = "[project]\nname = 'clinic'\nversion = '0'\ndependencies = ['django']\n"
POETRY = "[tool.poetry]\nname = 'clinic'\n"
GROUPS = (
    "[project.optional-dependencies]\nimages = ['pillow']\n"
    "[dependency-groups]\ndev = ['pytest']\nproduction = ['gunicorn']\n"
)


class Uv:
    """What uv and the other tools were asked for, and what they print."""

    def __init__(self):
        self.commands = []
        self.files = {}
        self.answers = []

    def run(self, command, **options):
        self.commands.append(command)
        for word in command:
            if word.startswith(("--requirements=/tmp", "--constraints=")):
                file = Path(word.partition("=")[2])
                self.files[file.name] = file.read_text()
        if "venv" in command:
            Path(command[-1]).mkdir()
            Path(command[-1], "pyvenv.cfg").write_text("version_info = 3.13.5\n")
        for part, code, out, error in self.answers:
            if part in " ".join(command):
                return subprocess.CompletedProcess(command, code, out, error)
        return subprocess.CompletedProcess(command, 0, "", "")

    def answer(self, part, out="", error="", code=0):
        """Have commands with a part print something; the first such answer counts."""
        self.answers.append((part, code, out, error))


@pytest.fixture
def uv(monkeypatch):
    told = Uv()
    monkeypatch.setattr(packages.subprocess, "run", told.run)
    return told


@pytest.fixture
def source(tmp_path, monkeypatch, uv):
    """Give a function that writes the files of a release, and sets what is described."""
    release = tmp_path / "release"
    release.mkdir()
    (tmp_path / "home").mkdir()
    mirrors = tmp_path / "mirrors"
    for name, value in {
        "HOME": tmp_path / "home", "BUILD_RELEASE": release, "BUILD_PROJECT": release,
        "BUILD_REQUIREMENTS": "", "BUILD_GROUPS": "", "BUILD_REVISION": "a" * 40,
        "BUILD_UV": "/opt/uv/bin/uv", "UV_PYTHON": "python3", "BUILD_MIRRORS": mirrors,
        "UV_PROJECT_ENVIRONMENT": ".venv", "VIRTUAL_ENV": "", "UV_COMPILE_BYTECODE": "",
        "GIT_CONFIG_COUNT": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(packages.sys, "argv", ["-c"])

    def write(files, directory="", requirements="", groups="", more=()):
        for name, text in files.items():
            (release / name).parent.mkdir(parents=True, exist_ok=True)
            (release / name).write_text(text)
        monkeypatch.setenv("BUILD_PROJECT", str(release / directory))
        monkeypatch.setenv("BUILD_REQUIREMENTS", requirements)
        monkeypatch.setenv("BUILD_GROUPS", groups)
        monkeypatch.setattr(packages.sys, "argv", ["-c", *more])
        return release

    return write


# --- Which list ----------------------------------------------------------------------------------

CHOICES = [  # files, app_directory, app_requirements; the list, where its tool works, not used
    (["requirements.txt"], "", "", "requirements.txt", ".", ""),
    (["uv.lock", "pyproject.toml", "requirements.txt"], "", "", "uv.lock", ".", "requirements.txt"),
    (["poetry.lock", "requirements.txt"], "", "", "poetry.lock", ".", "requirements.txt"),
    (["Pipfile.lock", "pylock.toml"], "", "", "Pipfile.lock", ".", "pylock.toml"),
    (["pdm.lock"], "", "", "pdm.lock", ".", ""),
    (["poetry.lock", "requirements.txt"], "", "requirements.txt", "requirements.txt", ".", ""),
    (["backend/requirements.txt"], "backend", "", "backend/requirements.txt", "backend", ""),
    (["backend/requirements.txt", "uv.lock"], "backend", "", "backend/requirements.txt", "backend",
     "uv.lock"),
    (["backend/poetry.lock"], "", "backend/poetry.lock", "backend/poetry.lock", "backend", ""),
    (["backend/pyproject.toml", "uv.lock"], "backend", "", "uv.lock", ".", ""),
    (["requirements/production.txt", "requirements/base.txt"], "", "",
     "requirements/production.txt", ".", ""),
    (["locks/pylock.web.toml"], "", "locks/pylock.web.toml", "locks/pylock.web.toml", "locks", ""),
    (["setup.py", "setup.cfg"], "", "", "setup.py", ".", ""),
    (["setup.cfg"], "", "", "setup.cfg", ".", ""),
    (["requirements.in"], "", "", "requirements.in", ".", ""),
]  # fmt: skip


@pytest.mark.parametrize(("files", "directory", "asked", "name", "place", "left"), CHOICES)
def test_a_list_is_chosen_and_others_are_named(source, files, directory, asked, name, place, left):
    release = source(dict.fromkeys(files, ""), directory, asked)
    listed = packages.choose()
    assert listed.files == [release / name]
    assert listed.place == release / place
    assert [left in each and "app_requirements" in each for each in listed.warnings] == (
        [True] if left else []
    )


def test_a_pyproject_with_dependencies_is_a_list_and_one_of_tools_is_none(source):
    release = source({"pyproject.toml": "[tool.ruff]\n", "requirements.in": "django"})
    assert packages.choose().files == [release / "requirements.in"]
    source({"pyproject.toml": PROJECT})
    assert packages.choose().files == [release / "pyproject.toml"]


def test_the_member_of_a_workspace_is_installed_from_the_lock_of_the_workspace(source):
    workspace = PROJECT + "[tool.uv.workspace]\nmembers = ['services/*']\n"
    web = "services/web"
    files = {"pyproject.toml": workspace, "uv.lock": "", f"{web}/pyproject.toml": PROJECT}
    release = source(files, web)
    listed = packages.choose()
    assert (listed.files, listed.place) == ([release / "uv.lock"], release / web)


@pytest.mark.parametrize(("files", "asked", "told"), [
    ({}, "", "app_requirements"),
    ({"requirements/base.txt": ""}, "", "requirements/base.txt"),
    ({"pyproject.toml": "[tool.ruff]\n"}, "", "no list of packages"),
    ({"pyproject.toml": POETRY}, "", "poetry lock"),
    ({"pyproject.toml": "[tool"}, "", "pyproject.toml cannot be read"),
    ({"requirements.txt": ""}, "requirements/prod.txt", "requirements/prod.txt"),
    ({"uv.lock": "", "more.txt": ""}, "uv.lock more.txt", "uv.lock should be the only file"),
])  # fmt: skip
def test_without_a_list_a_release_is_refused(source, files, asked, told):
    source(files, requirements=asked)
    with pytest.raises(packages.Refused, match=told) as error:
        packages.choose()
    assert str(error.value).startswith("advice: ")


def test_app_packages_may_be_the_whole_list(source, uv):
    source({}, more=["django"])
    packages.install()
    assert uv.commands[-1][-2:] == ["gunicorn", "django"]


# --- What decides --------------------------------------------------------------------------------


def described(capsys):
    """Return what the step "list" prints."""
    packages.describe()
    lines = capsys.readouterr().out.splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


NESTED = {"requirements.txt": "-r requirements/base.txt\n--constraint=c.txt",
          "requirements/base.txt": "-c ../d.txt", "c.txt": "a==1", "d.txt": "b==1"}  # fmt: skip
DECIDING = [
    {"requirements.txt": "django", "pyproject.toml": PROJECT},
    NESTED,
    {"uv.lock": "version = 1", "pyproject.toml": PROJECT},
    {"poetry.lock": "x", "pyproject.toml": PROJECT},
    {"Pipfile.lock": "{}", "Pipfile": ""},
    {"pdm.lock": "x", "pyproject.toml": PROJECT},
    {"pylock.toml": "x"},
    {"setup.py": "x", "setup.cfg": "y"},
]


@pytest.mark.parametrize("files", DECIDING, ids=lambda files: next(iter(files)))
def test_a_change_of_each_file_that_decides_is_another_digest(source, capsys, files):
    source({**files, "shop/views.py": "x"})
    first = described(capsys)["packages"]
    source({"shop/views.py": "y"})
    assert described(capsys)["packages"] == first
    for name, text in files.items():
        source({name: text + ("\n" if name == "Pipfile.lock" else "\n# changed")})
        assert described(capsys)["packages"] != first, name
        source({name: text})
    source({}, more=["whitenoise"])
    assert described(capsys)["packages"] != first


LOCAL = [  # a list, and whether libs/a and libs/a.whl decide
    ("requirements.txt", "./libs/a", True), ("requirements.txt", "a @ ./libs/a", True),
    ("requirements.txt", "libs/a", True), ("requirements.txt", "./libs/a[x]; os_name>'3'", True),
    ("requirements.txt", "libs/a.whl", True), ("requirements.txt", "--find-links=libs", True),
    ("requirements.txt", "-f libs", True), ("requirements.txt", "-e ./libs/a", False),
    ("requirements.txt", "django", False), ("requirements.txt", "a @ https://h/libs/a.whl", False),
    ("requirements.txt", "a @ git+https://h/a.git#subdirectory=libs/a", False),
    ("requirements.txt", "--find-links https://h/libs/a", False),
    ("requirements.txt", "django # ./libs/a", False),
    ("uv.lock", 'source = { directory = "libs/a" }', True),
    ("uv.lock", 'source = { path = "libs/a.whl" }', True),
    ("uv.lock", 'source = { editable = "libs/a" }', False),
    ("pylock.toml", '[packages.directory]\npath = "libs/a"', True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "local"), LOCAL)
def test_the_content_of_a_package_in_the_source_decides(
    source, capsys, monkeypatch, name, text, local
):
    source({name: text, "libs/a/a/x.py": "1", "libs/a.whl": "1"})
    first = described(capsys)["packages"]
    monkeypatch.setenv("BUILD_REVISION", "b" * 40)
    assert described(capsys)["packages"] == first
    source({"libs/a/a/x.py": "2", "libs/a.whl": "2"})
    assert (described(capsys)["packages"] != first) == local


@pytest.mark.parametrize("text", [".", "a @ .", "./backend/.."])
def test_the_source_as_a_package_is_installed_for_each_revision(source, capsys, monkeypatch, text):
    source({"requirements.txt": text})
    first = described(capsys)["packages"]
    monkeypatch.setenv("BUILD_REVISION", "b" * 40)
    assert described(capsys)["packages"] != first


def test_a_package_in_the_source_decides_in_an_export_too(source, uv, capsys):
    release = source({"poetry.lock": "x", "libs/a/x.py": "1"})
    uv.answer("export", f"a @ file://{release}/libs/a ; python_version > '3'\n")
    first = described(capsys)["packages"]
    source({"libs/a/x.py": "2"})
    assert described(capsys)["packages"] != first


SSH = [
    ("requirements.txt", "a @ git+ssh://git@h/x/a.git@main#egg=a", "ssh://git@h/x/a.git"),
    ("requirements.txt", "-e git+ssh://git@h:2222/x/a@v1#egg=a", "ssh://git@h:2222/x/a"),
    ("requirements.txt", "# git+ssh://git@h/x/a.git", ""),
    ("requirements.txt", "a @ git+https://h/x/a.git", ""),
    ("uv.lock", 'source = { git = "ssh://git@h/x/a.git?rev=v1#abc" }', "ssh://git@h/x/a.git"),
    ("pyproject.toml", PROJECT + "[tool.uv.sources]\na = {git = 'ssh://git@h/x/a'}", "ssh://git@h/x/a"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "url"), SSH)
def test_repositories_that_ssh_opens_are_told(source, capsys, name, text, url):
    source({name: text})
    assert described(capsys)["repositories"] == url


# --- Lock files of other tools -------------------------------------------------------------------


def test_a_lock_file_is_exported_once_by_its_own_tool(source, uv, capsys):
    release = source({"poetry.lock": "x", "pyproject.toml": POETRY})
    uv.answer("export", f"a @ file://{release}/libs/a\nb @ git+git@h:x/b.git@main\n")
    told = described(capsys)
    (command,) = uv.commands
    assert {"poetry", "export", f"--from={packages.TOOLS['poetry.lock'][0]}"} <= set(command)
    assert told["repositories"] == "ssh://git@h/x/b.git"
    packages.install()
    described(capsys)
    assert [each for each in uv.commands if "export" in each] == [command]
    assert "--no-deps" in uv.commands[2]
    assert f"a @ file://{release}/libs/a" in uv.files["requirements.txt"]


def test_a_stale_lock_file_is_refused_by_name(source, uv):
    source({"poetry.lock": "x", "pyproject.toml": POETRY})
    uv.answer("export", error="pyproject.toml changed significantly", code=1)
    with pytest.raises(packages.Refused, match="refuses poetry.lock.*poetry lock"):
        packages.describe()


def test_pipenv_compares_its_lock_file_where_the_pipfile_is_there(source, uv):
    source({"Pipfile.lock": json.dumps({"default": {}})})
    packages.describe()
    assert ["verify" in each for each in uv.commands] == [False]
    source({"Pipfile": ""})
    uv.answer("verify", code=1)
    with pytest.raises(packages.Refused, match="Pipfile.lock.*pipenv lock"):
        packages.describe()


@pytest.mark.parametrize(("files", "options"), [
    ({"uv.lock": ""}, ["--group=production", "--extra=images"]),
    ({"poetry.lock": ""}, ["--with=production", "--extras=images"]),
    ({"pdm.lock": ""}, ["-G=production", "-G=images"]),
    ({}, ["--group=production", "--extra=images"]),
])  # fmt: skip
def test_groups_and_extras_are_installed_when_they_are_named(source, uv, capsys, files, options):
    source({"pyproject.toml": PROJECT + GROUPS, **files}, groups="production images")
    packages.describe()
    packages.install()
    assert [each for each in uv.commands if set(options) <= set(each)], uv.commands
    assert "warning" not in capsys.readouterr().out


def test_a_group_that_is_left_out_is_told_unless_it_is_for_development(source, capsys):
    source({"pyproject.toml": PROJECT + GROUPS, "uv.lock": ""})
    assert "groups production of uv.lock" in described(capsys)["warning"]
    source({}, groups="prod")
    with pytest.raises(packages.Refused, match="app_dependency_groups: prod: .*dev, images, prod"):
        packages.describe()


def test_a_list_without_groups_says_so(source):
    source({"requirements.txt": "django"}, groups="production")
    with pytest.raises(packages.Refused, match="requirements.txt has no such group"):
        packages.describe()


# --- The installation ----------------------------------------------------------------------------


def test_requirements_and_packages_of_ours_are_resolved_together(source, uv):
    release = source({"requirements.txt": "django"}, more=["setuptools<81"])
    packages.install()
    _, command = uv.commands
    assert command[-3:] == [
        f"--requirements={release}/requirements.txt",
        "gunicorn",
        "setuptools<81",
    ]


HASHES = "--require-hashes\n-i https://h/simple\ndjango==5.2 \\\n    --hash=sha256:abc\n"


@pytest.mark.parametrize("files", [
    {"requirements.txt": HASHES}, {"requirements.txt": "-r base.txt", "base.txt": HASHES},
    {"uv.lock": ""}, {"pylock.toml": ""}, {"poetry.lock": ""}, {"Pipfile.lock": "{}"},
])  # fmt: skip
def test_packages_of_ours_do_not_change_what_is_fixed(source, uv, files):
    source(files, more=["whitenoise"])
    uv.answer("freeze", "django==5.2\na @ git+ssh://git@h/a\n-e file:///srv/clinic\n")
    packages.install()
    *_, first, _, last = uv.commands
    assert "gunicorn" not in first
    assert [word for word in last if word.startswith("--constraints=")]
    assert uv.files["constraints.txt"] == "django==5.2"
    assert uv.files["ours.txt"].endswith("gunicorn\nwhitenoise")
    if "requirements.txt" in files:
        assert "-i https://h/simple" in uv.files["ours.txt"]


def test_packages_of_ours_that_do_not_fit_are_named(source, uv):
    source({"uv.lock": ""}, more=["django<5"])
    uv.answer("ours.txt", error="conflict", code=1)
    with pytest.raises(packages.Refused, match="app_packages.*django<5.*uv.lock"):
        packages.install()


def test_uv_installs_into_the_release_whatever_directory_it_works_in(source, uv, monkeypatch):
    release = source({"backend/uv.lock": "", "backend/pyproject.toml": PROJECT}, "backend")
    packages.install()
    assert packages.os.environ["UV_PROJECT_ENVIRONMENT"] == f"{release}/.venv"
    (sync,) = [command for command in uv.commands if "sync" in command]
    assert {"--locked", "--no-default-groups"} <= set(sync)


def test_setup_cfg_alone_is_installed_as_setuptools_does(source, uv):
    release = source({"setup.cfg": "[metadata]\n"})
    packages.install()
    assert f"--requirements={release}/setup.py" in uv.commands[-1]
    assert "setup()" in (release / "setup.py").read_text()


def test_copies_of_repositories_stand_for_them(source, tmp_path, monkeypatch):
    url = "ssh://git@h/x/a.git"
    source({"requirements.txt": f"a @ git+{url}@main"})
    copy = tmp_path / "mirrors" / hashlib.sha256(url.encode()).hexdigest()
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")  # of app_install_environment
    packages.use_mirrors(f"a @ git+{url}@main")
    assert packages.os.environ["GIT_CONFIG_COUNT"] == "1"
    copy.mkdir(parents=True)
    monkeypatch.setenv("GIT_CONFIG_KEY_1", "")
    monkeypatch.setenv("GIT_CONFIG_VALUE_1", "")
    packages.use_mirrors(f"a @ git+{url}@main")
    assert packages.os.environ["GIT_CONFIG_COUNT"] == "2"
    assert packages.os.environ["GIT_CONFIG_KEY_1"] == f"url.file://{copy}.insteadOf"
    assert packages.os.environ["GIT_CONFIG_VALUE_1"] == url


def test_a_repository_is_copied_with_its_branches_and_its_head(tmp_path, monkeypatch):
    def git(*words):
        options = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        done = subprocess.run(["git", *options, *words], text=True, capture_output=True, check=True)
        return done.stdout.strip()

    source, url = tmp_path / "source", f"file://{tmp_path}/source"
    git("init", "--quiet", "--initial-branch=trunk", str(source))
    monkeypatch.setattr(fetch, "MIRRORS", tmp_path / "mirrors")
    for message in ("one", "two"):  # a copy that is there is replaced
        git("-C", str(source), "commit", "--quiet", "--allow-empty", f"--message={message}")
        fetch.mirror([url])
        copy = tmp_path / "mirrors" / hashlib.sha256(url.encode()).hexdigest()
        head = git("-C", str(source), "rev-parse", "HEAD")
        assert git("-C", str(copy), "rev-parse", "HEAD", "trunk").split() == [head, head]
    with pytest.raises(SystemExit, match="git clone failed"):
        fetch.mirror([f"file://{tmp_path}/none"])


# --- The interpreter -----------------------------------------------------------------------------

BUILD_FAILS = "error: Failed to build `lxml==4.9.2`\n  cause: The build backend returned an error\n"


@pytest.mark.parametrize(("files", "fails"), [
    ({"requirements.txt": "lxml==4.9.2"}, "requirements.txt"),
    ({"uv.lock": "", "pyproject.toml": PROJECT}, "sync"),
    ({"poetry.lock": "x"}, "--no-deps"),
])  # fmt: skip
def test_an_old_pin_names_the_newest_python_that_fits(source, uv, files, fails):
    source(files)
    uv.answer("--python-version=3.11", "lxml==4.9.2\n")
    uv.answer("pip compile", error="has no usable wheels", code=1)
    uv.answer("python find", code=2)
    uv.answer(fails, error=BUILD_FAILS, code=1)
    with pytest.raises(packages.Refused) as error:
        packages.install()
    told = str(error.value)
    assert "lxml 4.9.2 cannot be built" in told
    assert 'app_python: "3.11"' in told
    assert "UV_PYTHON_INSTALL_MIRROR" in told


def test_a_python_of_the_host_needs_no_download(source, uv):
    source({"requirements.txt": "lxml==4.9.2"})
    uv.answer("--python-version=3.11", "lxml==4.9.2\n")
    uv.answer("pip compile", code=1)
    uv.answer("--requirements=", error=BUILD_FAILS, code=1)
    with pytest.raises(packages.Refused, match="The host has it"):
        packages.install()


def test_where_no_python_fits_the_error_of_the_build_stays(source, uv, capsys):
    source({"requirements.txt": "lxml==4.9.2"})
    uv.answer("pip compile", code=1)
    uv.answer("--requirements=", error=BUILD_FAILS, code=1)
    with pytest.raises(SystemExit) as error:
        packages.install()
    assert error.value.code == 1
    assert BUILD_FAILS in capsys.readouterr().err


def test_a_list_with_nothing_for_this_python_is_refused(source, uv):
    source({"poetry.lock": "x"})
    uv.answer("poetry export", 'django==4.2 ; python_version < "3.12"\n')
    uv.answer("--python-version=3.11", "django==4.2\n")
    uv.answer("pip compile", "")
    with pytest.raises(packages.Refused, match='poetry.lock has no package.*app_python: "3.11"'):
        packages.install()


def test_a_python_that_the_project_excludes_is_refused(source, uv):
    source({"pyproject.toml": PROJECT})
    uv.answer(
        "venv",
        error="warning: The requested interpreter resolved to Python 3.13.5, which is incompatible "
        "with the project's Python requirement: `>=3.10, <3.13` (from `project.requires-python`)",
    )
    with pytest.raises(packages.Refused, match='requires-python is >=3.10, <3.13.*"3.12"'):
        packages.install()


@pytest.mark.parametrize(("name", "text", "warns"), [
    (".python-version", "3.11.4\n", True), (".python-version", "3.13\n", False),
    (".python-version", "cpython-3.12\n", True), ("runtime.txt", "python-3.10.2\n", True),
    ("runtime.txt", "none\n", False),
])  # fmt: skip
def test_a_file_that_names_another_python_is_told(source, uv, capsys, name, text, warns):
    source({"requirements.txt": "django", name: text})
    packages.install()
    assert (f"{name} asks for Python" in capsys.readouterr().out) == warns


def test_the_python_of_a_pipfile_is_told(source, uv, capsys):
    source({"Pipfile.lock": "{}", "Pipfile": "[requires]\npython_version = '3.9'\n"})
    packages.install()
    assert 'app_python: "3.9"' in capsys.readouterr().out


def test_the_step_that_copies_repositories_gets_what_the_module_accepts():
    assert packages.SSH.pattern == releases.REPOSITORY

"""Run by the build user: find a project's list of packages, and install it into a release.

The arguments are more packages, app_packages. The environment says the rest:
  BUILD_STEP                    list: print what would be installed; packages: install it
  BUILD_RELEASE, BUILD_PROJECT  the directory of a release, and in it that of manage.py
  BUILD_REVISION                the revision of the source
  BUILD_UV, UV_PYTHON           the program and the interpreter
  BUILD_REQUIREMENTS            files, by spaces; empty: the first of LISTS that the project has
  BUILD_GROUPS                  groups and extras of the project's list, by spaces
  BUILD_MIRRORS                 where fetch.py keeps copies of repositories that SSH opens

The step "list" prints a digest of all that decides what is installed, so that root can link the
packages of the live release, and the repositories that fetch.py should copy: code of packages runs
here, so there is no key here.

Each lock file is read by its own tool: uv, or Poetry, PDM or Pipenv, which uv runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    import tomllib
except ImportError:  # Python 3.10; the virtual environment of uv, which runs this, has pip
    from pip._vendor import tomli as tomllib  # type: ignore[no-redef]
try:
    from packaging.specifiers import SpecifierSet
except ImportError:
    from pip._vendor.packaging.specifiers import SpecifierSet  # type: ignore[assignment]

# Versions that work with old lock files, too; the tools themselves are not in the environment.
TOOLS = {
    "poetry.lock": ["poetry==2.5.1", "poetry-plugin-export==1.10.1"],
    "pdm.lock": ["pdm==2.26.9"],
    "Pipfile.lock": ["pipenv==2026.10.3"],
}
LOCKS = ["uv.lock", *TOOLS, "pylock.toml"]
REQUIREMENTS = ["requirements.txt", "requirements/production.txt", "requirements/prod.txt"]
DECLARATIONS = ["pyproject.toml", "setup.py", "setup.cfg", "requirements.in"]
# Files that decide beside a list: uv and the other tools read them in the directory of the list.
BESIDE = [
    "pyproject.toml",
    "uv.toml",
    "poetry.toml",
    "pdm.toml",
    "setup.py",
    "setup.cfg",
    "Pipfile",
]
QUIET = {  # tools that ask nothing, look for no update and make no environment of their own
    "POETRY_NO_INTERACTION": "1",
    "POETRY_VIRTUALENVS_CREATE": "false",
    "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    "PDM_CHECK_UPDATE": "false",
    "PDM_USE_VENV": "false",
    "PIPENV_MAX_DEPTH": "1",
    "PIPENV_IGNORE_VIRTUALENVS": "1",
}
# Groups whose absence nobody needs to be told.
DEVELOPMENT = re.compile(
    r"(dev|test|lint|doc|typ|ci$|local|style|format|debug|build|release)", re.I
)
INCLUDED = re.compile(r"(?:-r|-c|--requirements?|--constraints?)[ =]*(\S+)")
INDEX = re.compile(r"(-i|-f|--index-url|--extra-index-url|--find-links|--no-index)\b")
HASHED = re.compile(r"--hash[= ]|--require-hashes")
# Packages that lie in the source: their content decides, too. An editable one is the source itself.
LOCAL = re.compile(
    r"""^(?:[\w.\[\],-]+\s*@\s*)?(?:file:(?://)?)?"""
    r"""((?:\.{1,2}(?=[/\[\s]|$)|/)[^\s;\[]*|[^\s@:"]+(?:/[^\s@:";]*|\.whl|\.zip|\.tar\.gz))"""
    r"""|^(?:-f|--find-links)[ =]+(?![ =]|\w+://)(\S+)|\b(?:directory|path)\s*=\s*["']([^"']+)""",
    re.M,
)
SSH = re.compile(r"ssh://(?:[\w.~-]+@)?[\w\[][\w.\[\]:-]*/[^\s@#?\"';,]+")
SCP = re.compile(r"git\+(?!\w+://)([\w.-]+@[\w.-]+):(?=[^/])")  # git+git@host:path, as of Pipenv
VERSIONS = ["3.14", "3.13", "3.12", "3.11", "3.10", "3.9", "3.8"]
SEARCH = 90  # seconds for finding an interpreter that would fit
KEPT = 10  # exports of lock files in the cache
FAILED = re.compile(r"Failed to (?:download and )?build `?([A-Za-z0-9][\w.-]*)(?:==([^`\s]+))?")
PYTHON = re.compile(r"(?:current Python version|does not satisfy) ?\(?[^\n]*Python")
HERE = "{release}"  # stands for the path of the release in an export


class Refused(SystemExit):
    """The project's list cannot be used; the text says what to correct."""

    def __init__(self, text: str, output: str = "") -> None:
        """Print the output of a tool, and end with the line that causes.py looks for."""
        print(output, file=sys.stderr)
        super().__init__(f"advice: {' '.join(text.split())}")


@dataclass
class Listed:
    """A project's list of packages.

    Attributes:
        files: the list, or a single lock file.
        place: the directory that the tool of the list works in.
        warnings: what an operator should know of the choice.
    """

    files: list[Path]
    place: Path
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the name of the first file; empty without one."""
        return self.files[0].name if self.files else ""

    @property
    def is_lock(self) -> bool:
        """Return whether the versions are fixed, and packages of ours have to fit them."""
        return kind(self.name) in LOCKS


def kind(name: str) -> str:
    """Return the name that stands for a kind of list: pylock.prod.toml is a pylock.toml."""
    return "pylock.toml" if re.fullmatch(r"pylock\.[^.]+\.toml", name) else name


def release() -> Path:
    """Return the directory of the release."""
    return Path(os.environ["BUILD_RELEASE"])


def relative(path: Path) -> str:
    """Return a path as an operator knows it: from the root of the source."""
    return os.path.relpath(path, release())


def toml(path: Path) -> dict[str, Any]:
    """Return what a file of TOML holds; nothing if it is not there.

    Raises:
        Refused: it is damaged.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Refused(f"{relative(path)} cannot be read: {error}") from None


# --- Which list -----------------------------------------------------------------------------------


def declares(path: Path) -> bool:
    """Return whether a file that need not name packages does so.

    Raises:
        Refused: it is Poetry's, and lacks the lock file that Poetry's own versions need.
    """
    if path.name != "pyproject.toml":
        return True
    told = toml(path)
    if "project" not in told and "poetry" in told.get("tool", {}):
        raise Refused(
            f"{relative(path)} is Poetry's and has no poetry.lock. Run `poetry lock`, commit the "
            "file, and deploy that commit."
        )
    return "project" in told


def member(root: Path, directory: Path) -> bool:
    """Return whether a directory is a member of the workspace of uv at the root."""
    workspace = toml(root / "pyproject.toml").get("tool", {}).get("uv", {}).get("workspace", {})
    return any(directory in root.glob(pattern) for pattern in workspace.get("members", []))


def choose() -> Listed:
    """Return the project's list: what app_requirements names, or the first of what is there.

    Of two directories, that of manage.py comes before the root of the source.

    Raises:
        Refused: a file is not there, or there is no list at all.
    """
    root, project = release(), Path(os.environ["BUILD_PROJECT"])
    asked = os.environ["BUILD_REQUIREMENTS"].split()
    if asked:
        files = [root / name for name in asked]
        if missing := [relative(file) for file in files if not file.is_file()]:
            raise Refused(
                f"app_requirements: {', '.join(missing)}: there is no such file in the source. "
                f"It has: {', '.join(lists_in(root)) or 'no list of packages'}"
            )
        locks = [file for file in files if kind(file.name) in LOCKS]
        if locks and len(files) > 1:
            raise Refused(f"app_requirements: {relative(locks[0])} should be the only file")
        place = workplace(locks[0], locks[0].parent) if locks else root
        return Listed(files, place)
    places = list(dict.fromkeys([project, root]))
    if member(root, project):
        places.reverse()  # the lock file of the workspace holds what this member needs
    found = [(place, place / name) for place in places for name in [*LOCKS, *REQUIREMENTS]]
    found = [each for each in found if each[1].is_file()]
    if not found:
        declared = [(place, place / name) for place in places for name in DECLARATIONS]
        found = [each for each in declared if each[1].is_file() and declares(each[1])][:1]
    if not found:
        if not sys.argv[1:]:
            raise Refused(
                "The source has no list of packages. app_requirements should name its files; there "
                f"are: {', '.join(lists_in(root)) or 'none'}. app_packages can list packages, too"
            )
        return Listed([], root)
    (place, chosen), *others = found
    listed = Listed([chosen], workplace(chosen, place))
    if others:
        names = ", ".join(relative(file) for _name, file in others)
        listed.warnings.append(
            f"The packages come from {relative(chosen)}, not from {names}. To choose a file, and "
            f"to have no warning: app_requirements: [{relative(chosen)}]"
        )
    return listed


def workplace(chosen: Path, place: Path) -> Path:
    """Return where the tool of a list works: uv in the member of a workspace that is deployed."""
    project = Path(os.environ["BUILD_PROJECT"])
    return project if chosen.name == "uv.lock" and member(place, project) else place


def lists_in(root: Path) -> list[str]:
    """Return the files of a source that look like lists of packages."""
    patterns = ["*requirements*.txt", "requirements/*.txt", "*.lock", "pylock*.toml"]
    patterns = [f"{deep}{name}" for deep in ("", "*/") for name in [*patterns, *DECLARATIONS]]
    return sorted({relative(path) for pattern in patterns for path in root.glob(pattern)})[:20]


# --- Groups and extras ----------------------------------------------------------------------------


def groups(listed: Listed) -> tuple[list[str], list[str]]:
    """Return the groups and the extras that app_dependency_groups names.

    Raises:
        Refused: the project has no such group or extra.
    """
    asked = os.environ.get("BUILD_GROUPS", "").split()
    if listed.name == "Pipfile.lock":
        own = json.loads(listed.files[0].read_text())
        known, extras = set(own) - {"_meta", "default", "develop"}, set()
    elif listed.name in ("uv.lock", "poetry.lock", "pdm.lock", "pyproject.toml"):
        told = toml(listed.place / "pyproject.toml")
        tool = told.get("tool", {})
        poetry = tool.get("poetry", {})
        pdm = tool.get("pdm", {}).get("dev-dependencies", {})
        known = {*told.get("dependency-groups", {}), *poetry.get("group", {}), *pdm}
        extras = {
            *told.get("project", {}).get("optional-dependencies", {}),
            *poetry.get("extras", {}),
        }
    else:
        known, extras = set(), set()
    if wrong := [name for name in asked if name not in known | extras]:
        there = ", ".join(sorted(known | extras)) or "none"
        raise Refused(
            f"app_dependency_groups: {', '.join(wrong)}: {listed.name or 'the source'} has no such "
            f"group or extra; there are: {there}"
        )
    left = sorted(name for name in known - set(asked) if not DEVELOPMENT.match(name))
    if left:
        listed.warnings.append(
            f"The groups {', '.join(left)} of {listed.name} are not installed. Name those that the "
            "server needs in app_dependency_groups"
        )
    return [name for name in asked if name in known], [
        name for name in asked if name in extras - known
    ]


def options(names: list[str], option: str) -> list[str]:
    """Return an option once for each name."""
    return [f"{option}={name}" for name in names]


# --- What decides ---------------------------------------------------------------------------------


def followed(file: Path, place: Path, seen: dict[Path, str]) -> None:
    """Read a requirements file and those that it includes; uv looks beside the file first."""
    if file in seen or not file.is_file():
        return
    seen[file] = text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix not in (".txt", ".in"):
        return
    for name in INCLUDED.findall("\n".join(lines(text))):
        for directory in (file.parent, place):
            followed(Path(os.path.normpath(directory / name)), place, seen)


def lines(text: str) -> Iterator[str]:
    """Yield the lines of a requirements file, without comments."""
    for line in text.splitlines():
        if stripped := re.sub(r"(^|\s)#.*", "", line).strip():
            yield stripped


def read(listed: Listed) -> tuple[dict[Path, str], dict[Path, str]]:
    """Return the texts of the list and what it includes, and of the files beside it."""
    own: dict[Path, str] = {}
    for file in listed.files:
        followed(file, listed.place, own)
    places = dict.fromkeys([listed.place, *(file.parent for file in listed.files)])
    beside = [place / name for place in places for name in BESIDE]
    texts = {file: file.read_text(errors="replace") for file in beside if file.is_file()}
    return own, texts


def bare(texts: dict[Path, str]) -> str:
    """Return the texts of a list, without the comments of requirements."""
    plain = [
        "\n".join(lines(text)) if path.suffix in (".txt", ".in") else text
        for path, text in texts.items()
    ]
    return "\n".join(plain)


def digest(*parts: object) -> str:
    """Return the digest of texts."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def identity(texts: dict[Path, str]) -> str:
    """Return the digest of the list, of the packages that are added, and of the tools."""
    settings = [os.environ[name] for name in ("BUILD_UV", "UV_PYTHON", "BUILD_GROUPS")]
    named = [f"{relative(path)}\n{text}" for path, text in sorted(texts.items())]
    return digest(*settings, TOOLS, *sys.argv[1:], *named)


def exported(listed: Listed, name: str) -> Path:
    """Return a lock file of another tool as requirements, which that tool exports once.

    Args:
        listed: the list.
        name: the digest of what decides; the cache has the export by this name.
    """
    cache = Path.home() / "exports"
    cache.mkdir(exist_ok=True)
    file = cache / f"{name}.txt"
    if not file.is_file():
        text = SCP.sub(r"git+ssh://\1/", export(listed)).replace(str(release()), HERE)
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").rename(file)
        for old in sorted(cache.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink()
    return file


def export(listed: Listed) -> str:
    """Return what a tool exports of its lock file: the packages, without those of development."""
    chosen, extras = groups(listed)
    if listed.name == "poetry.lock":
        command = ["poetry", "export", "--format=requirements.txt"]
        command += [*options(chosen, "--with"), *options(extras, "--extras")]
    elif listed.name == "pdm.lock":
        tool(listed, "pdm", "lock", "--check")
        command = [
            "pdm",
            "export",
            "--prod",
            "--format=requirements",
            *options([*chosen, *extras], "-G"),
        ]
    else:
        if (listed.place / "Pipfile").is_file():
            tool(listed, "pipenv", "verify")
        command = ["pipenv", "requirements", "--hash"]
        command += [f"--categories={' '.join(['packages', *chosen])}"] if chosen else []
    return tool(listed, *command)


def tool(listed: Listed, *command: str) -> str:
    """Run the tool of a lock file; return what it prints.

    Raises:
        Refused: it failed.
    """
    first, *others = TOOLS[listed.name]
    run = [os.environ["BUILD_UV"], "tool", "run", "--quiet", "--python=/usr/bin/python3"]
    run += [f"--from={first}", *options(others, "--with"), *command]
    done = subprocess.run(
        run,
        cwd=listed.place,
        env={**QUIET, **os.environ},
        text=True,
        capture_output=True,
        check=False,
    )
    (listed.place / ".pdm-python").unlink(missing_ok=True)
    if done.returncode:
        raise Refused(
            f"`{' '.join(command)}` refuses {relative(listed.files[0])}. If it does not fit the "
            f"project, run `{command[0]} lock`, and commit the file; app_requirements can name "
            "another list",
            done.stdout + done.stderr,
        )
    return done.stdout


def contents(text: str, place: Path) -> list[str]:
    """Return digests of the packages that lie in the source; of the source itself its revision."""
    told = []
    for found in LOCAL.findall(text):
        path = Path(os.path.normpath(place / "".join(found)))
        if path in (place, *place.parents):
            told.append(os.environ["BUILD_REVISION"])
        elif path.is_dir():
            files = sorted(each for each in path.rglob("*") if each.is_file())
            told += [f"{each.relative_to(path)} {digest_of(each)}" for each in files]
        elif path.is_file():
            told.append(digest_of(path))
    return told


def digest_of(file: Path) -> str:
    """Return the digest of a file's content, or of where a link leads."""
    content = os.readlink(file).encode() if file.is_symlink() else file.read_bytes()
    return hashlib.sha256(content).hexdigest()


def describe() -> None:
    """Print the digest of what would be installed, and the repositories that it needs."""
    print("step: list", flush=True)
    listed = choose()
    own, beside = read(listed)
    name = identity({**own, **beside})
    groups(listed)
    text = bare(own)
    if listed.name in TOOLS:
        text = exported(listed, name).read_text().replace(HERE, str(release()))
    tell(listed.warnings)
    print("repositories:", ",".join(sorted(set(SSH.findall(text)))))
    print("packages:", digest(name, *contents(text, listed.place)))


def tell(warnings: list[str]) -> None:
    """Print warnings for the operator."""
    for warning in warnings:
        print("warning:", " ".join(warning.split()), flush=True)


# --- The installation -----------------------------------------------------------------------------


def install() -> None:
    """Install the list and then what it lacks: Gunicorn and app_packages."""
    print("step: packages", flush=True)
    listed = choose()
    own, beside = read(listed)
    chosen, extras = groups(listed)
    venv = release() / ".venv"
    os.environ |= {"UV_PROJECT_ENVIRONMENT": str(venv), "VIRTUAL_ENV": str(venv)}
    if not venv.exists():
        make_environment(listed, venv)
    tell(pins(listed, venv))
    pip = ["pip", "install", "--quiet", f"--python={venv}"]
    more = [*options(chosen, "--group"), *options(extras, "--extra")]
    ours = ["gunicorn", *sys.argv[1:]]
    text = bare(own)
    with tempfile.TemporaryDirectory() as temporary:
        files = [file.with_name("setup.py") if file.name == "setup.cfg" else file for file in own]
        files = files[: len(listed.files)]
        if listed.name in TOOLS:
            text = exported(listed, identity({**own, **beside})).read_text()
            text = text.replace(HERE, str(release()))
            files = [Path(temporary, "requirements.txt")]
            files[0].write_text(text)
        given = [f"--requirements={file}" for file in files]
        use_mirrors(text)
        if listed.name == "uv.lock":
            attempt(
                listed,
                given,
                ["sync", "--quiet", "--locked", "--no-default-groups", "--inexact", *more],
            )
        elif listed.name in TOOLS:
            attempt(listed, given, [*pip, "--no-deps", *given])
        elif listed.is_lock or HASHED.search(text):
            attempt(listed, given, [*pip, *more, *given])
        else:  # one resolution for both
            attempt(listed, given, [*pip, *more, *given, *ours])
            return
        add(listed, [*pip], ours, text, Path(temporary))


def make_environment(listed: Listed, venv: Path) -> None:
    """Make the virtual environment; the next release can link it, since it is relocatable.

    Raises:
        Refused: the interpreter is none that the project allows.
    """
    os.environ["UV_COMPILE_BYTECODE"] = "1"  # the services cannot write beside the code
    if listed.name == "setup.cfg" and not (listed.place / "setup.py").exists():
        (listed.place / "setup.py").write_text("import setuptools\n\nsetuptools.setup()\n")
    python = os.environ["UV_PYTHON"]
    done = uv(listed.place, "venv", "--relocatable", f"--python={python}", str(venv))
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise SystemExit(1)
    wrong = re.search(r"resolved to (Python \S+), which is incompatible.*: `(.*?)`", done.stderr)
    if wrong and kind(listed.name) in [*LOCKS, "pyproject.toml"]:
        allowed = SpecifierSet(wrong[2])
        fits = next((version for version in VERSIONS if allowed.contains(f"{version}.99")), "")
        raise Refused(
            f"app_python: {python} is {wrong[1]}, and the project's requires-python is {wrong[2]}. "
            + (source_of(listed.place, fits) if fits else "No version of Python fits it")
        )


def pins(listed: Listed, venv: Path) -> list[str]:
    """Return a warning for each file of the project that names another version of Python."""
    found = re.search(r"version_info\s*=\s*(\d+\.\d+)", (venv / "pyvenv.cfg").read_text())
    told: dict[Path, str] = {}
    for place in dict.fromkeys([listed.place, release()]):
        for name in (".python-version", "runtime.txt"):
            if (place / name).is_file():
                told[place / name] = (place / name).read_text(errors="replace")
        if listed.name == "Pipfile.lock":
            requires = toml(place / "Pipfile").get("requires", {})
            told[place / "Pipfile"] = str(requires.get("python_version", ""))
    warnings = []
    for path, text in told.items():
        asked = re.match(r"\s*(?:cpython-|python-)?(\d+\.\d+)", text)
        if asked and found and asked[1] != found[1]:
            warnings.append(
                f"{relative(path)} asks for Python {asked[1]}, and app_python gives {found[1]}. "
                f'If the project needs that version: app_python: "{asked[1]}"'
            )
    return warnings


def use_mirrors(text: str) -> None:
    """Have git take repositories that SSH opens from the copies that fetch.py has made."""
    count = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
    for url in sorted(set(SSH.findall(text))):
        copy = Path(os.environ["BUILD_MIRRORS"], hashlib.sha256(url.encode()).hexdigest())
        if copy.is_dir():
            os.environ[f"GIT_CONFIG_KEY_{count}"] = f"url.file://{copy}.insteadOf"
            os.environ[f"GIT_CONFIG_VALUE_{count}"] = url
            count += 1
    os.environ["GIT_CONFIG_COUNT"] = str(count)


def uv(
    place: Path, *arguments: str, limit: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run uv; return how it ended."""
    command = [os.environ["BUILD_UV"], *arguments]
    return subprocess.run(
        command, cwd=place, text=True, capture_output=True, timeout=limit, check=False
    )


def attempt(listed: Listed, given: list[str], arguments: list[str]) -> None:
    """Install a list.

    Args:
        listed: the list.
        given: its files as options of `uv pip`.
        arguments: of uv.

    Raises:
        Refused: uv has failed; the text ends with what to correct.
    """
    done = uv(listed.place, *arguments)
    if done.returncode == 0:
        return
    failed = FAILED.findall(done.stderr)
    if failed or PYTHON.search(done.stderr):
        named = f"{' '.join(failed[0]).strip()} cannot be built for this version of Python. "
        if other := other_python(listed, given, [name for name, _why in failed]):
            raise Refused((named if failed else "") + other, done.stderr)
    print(done.stderr, file=sys.stderr)
    raise SystemExit(1)


def add(listed: Listed, pip: list[str], ours: list[str], text: str, scratch: Path) -> None:
    """Install packages of ours beside those of a list whose versions are fixed.

    Raises:
        Refused: they do not fit, or the list has nothing for this interpreter.
    """
    frozen = uv(listed.place, "pip", "freeze", f"--python={release()}/.venv").stdout.splitlines()
    if listed.name in TOOLS and not frozen and re.search(r"^\w", text, re.M):
        given = [f"--requirements={scratch}/requirements.txt"]
        raise Refused(
            f"{relative(listed.files[0])} has no package for this version of Python. "
            + other_python(listed, given, [])
        )
    (scratch / "constraints.txt").write_text("\n".join(line for line in frozen if "==" in line))
    indexes = [line for line in lines(text) if INDEX.match(line)]
    (scratch / "ours.txt").write_text("\n".join([*indexes, *ours]))
    files = [f"--constraints={scratch}/constraints.txt", f"--requirements={scratch}/ours.txt"]
    done = uv(listed.place, *pip, *files)
    if done.returncode:
        raise Refused(
            f"app_packages and Gunicorn ({', '.join(ours)}) cannot be installed beside the versions"
            f" of {relative(listed.files[0])}, which stay as they are",
            done.stderr,
        )


# --- Another interpreter --------------------------------------------------------------------------


def other_python(listed: Listed, given: list[str], failed: list[str]) -> str:
    """Return which version of Python has wheels for a list, and where to get it; empty if none has.

    Args:
        listed: the list.
        given: its files as options of `uv pip`.
        failed: the packages that could not be built.
    """
    with tempfile.TemporaryDirectory() as temporary:
        if listed.name == "uv.lock":
            export = [
                "export",
                "--frozen",
                "--no-default-groups",
                "--no-hashes",
                "--no-emit-project",
            ]
            file = Path(temporary, "requirements.txt")
            file.write_text(uv(listed.place, *export).stdout)
            given = [f"--requirements={file}"]
        fits = fitting(listed.place, [option.partition("=")[2] for option in given], failed)
    return source_of(listed.place, fits) if fits else ""


def fitting(place: Path, files: list[str], failed: list[str]) -> str:
    """Return the newest version of Python that a list has wheels for; empty if none was found."""
    end = time.monotonic() + SEARCH
    for binary in [[":all:"], failed] if failed else [[":all:"]]:
        for version in VERSIONS:
            command = ["pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate"]
            command += [f"--python-version={version}", *options(binary, "--only-binary"), *files]
            try:
                done = uv(place, *command, limit=max(1.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                return ""
            if done.returncode == 0 and re.search(r"^\w", done.stdout, re.M):
                return version
    return ""


def source_of(place: Path, version: str) -> str:
    """Return what to write to get a version of Python, and where it comes from."""
    there = uv(place, "python", "find", "--no-python-downloads", version).returncode == 0
    return f'Python {version} fits: app_python: "{version}". ' + (
        "The host has it."
        if there
        else "The host has none, so uv downloads it; where the host reaches no downloads, "
        "app_install_environment: {UV_PYTHON_INSTALL_MIRROR: URL} names a copy of them."
    )


if __name__ == "__main__":
    install() if os.environ["BUILD_STEP"] == "packages" else describe()

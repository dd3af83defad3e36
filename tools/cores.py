"""The unit tests that run Ansible, on the oldest ansible-core that is allowed and on the newest.

Use it as ``python -m tools.cores [PYTHON]``. Each version gets an environment of its own in
.cache/cores; what .venv has already is not tested again. meta/runtime.yml says which one is the
oldest. PYTHON is the interpreter for the newest ansible-core, which may want a later Python than
.venv has.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "cores"
# As in the Makefile.
PARALLEL = ["--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder"]
# The other tests are of functions to which the version of Ansible makes no difference.
TESTS = [
    f"tests/unit/test_{name}.py"
    for name in (
        "config_files", "guarded_change", "hosts", "inventory", "packages", "phases", "settings",
        "start", "sudo_rs", "ways_of_use",
    )
]  # fmt: skip
UV = Path(sys.executable).with_name("uv")
COLLECTIONS = Path(sysconfig.get_path("purelib"), "ansible_collections")
# What the tests import, in the versions of .venv.
PACKAGES = [
    *("django-environ", "docker", "gunicorn", "jinja2", "passlib", "pytest"),
    *("pytest-xdist", "python-dotenv", "pyyaml", "requests"),
]


def line_of(full: str) -> str:
    """Return the release line of a version: "2.19" of "2.19.14"."""
    return ".".join(full.split(".")[:2])


def floor(runtime: str) -> str:
    """Return the oldest release line that a meta/runtime.yml allows.

    Args:
        runtime: the text of the file.

    Raises:
        ValueError: if it names none.
    """
    found = re.search(r'^requires_ansible: ">=(\d+\.\d+)', runtime, re.MULTILINE)
    if not found:
        raise ValueError('meta/runtime.yml: want requires_ansible: ">=X.Y.Z"')
    return found[1]


def environment(name: str, python: str, ansible_core: str) -> Path:
    """Make an environment anew; return its interpreter.

    Args:
        name: of its directory.
        python: the interpreter to make it with.
        ansible_core: the requirement, as "ansible-core==2.19.*".

    Raises:
        subprocess.CalledProcessError: if uv cannot make it.
    """
    place = CACHE / name
    wanted = [ansible_core, *(f"{package}=={version(package)}" for package in PACKAGES)]
    subprocess.run([UV, "venv", "--quiet", "--clear", "--python", python, place], check=True)
    subprocess.run(
        # The tests start Ansible often; it would compile itself each time.
        [UV, "pip", "install", "--quiet", "--compile-bytecode", *wanted],
        check=True,
        env=os.environ | {"VIRTUAL_ENV": str(place)},
    )
    # The community collections of .venv, where the package `ansible` has them.
    (packages,) = place.glob("lib/*/site-packages")
    (packages / COLLECTIONS.name).symlink_to(COLLECTIONS)
    return place / "bin" / "python"


def core_of(python: Path) -> str:
    """Return the version of ansible-core in an environment."""
    ask = "from importlib.metadata import version; print(version('ansible-core'))"
    done = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def tested(name: str, python: str, ansible_core: str) -> bool:
    """Run the tests in a new environment; return whether they passed."""
    interpreter = environment(name, python, ansible_core)
    print(f"ansible-core {core_of(interpreter)}:", flush=True)
    command = [str(interpreter), "-m", "pytest", *PARALLEL, *TESTS]
    return subprocess.run(command, cwd=ROOT).returncode == 0


def main(arguments: list[str]) -> int:
    """Test the floor and the newest; return the exit code."""
    own, oldest = version("ansible-core"), floor((ROOT / "meta" / "runtime.yml").read_text())
    passed = True
    if oldest == line_of(own):
        print(f"ansible-core {own}, the oldest that is allowed: tested by `make unit`")
    else:
        passed = tested("floor", sys.executable, f"ansible-core=={oldest}.*")
    if arguments:
        passed = tested("newest", arguments[0], f"ansible-core>{own}") and passed
    else:
        print("no later Python here: NEWEST_PYTHON names one for the newest ansible-core")
    return not passed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

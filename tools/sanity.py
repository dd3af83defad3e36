"""The gates of the ecosystem for collections, on the archive that `make build` makes.

Use it as ``python -m tools.sanity [site]``; with ``site`` it builds the documentation's web pages
in build/site instead. No gate needs a container. ansible-test keeps its environments in
.cache/sanity/home.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "sanity"
TREE = CACHE / "ansible_collections" / "clink" / "django_stack"
HOME = CACHE / "home"
WEB = ROOT / "build" / "site"
# ansible-test looks for the installer of its pip here before it downloads it. Python has one.
INSTALLER = HOME / ".ansible" / "test" / "cache" / "get_pip_24_2.py"
# galaxy-importer would run ansible-lint, with the profile with which `make lint` runs it.
IMPORTER = "[galaxy-importer]\nrun_ansible_lint = false\n"


def tool(name: str) -> str:
    """Return the path of a program of .venv/sanity."""
    return str(Path(sys.executable).with_name(name))


def build() -> Path:
    """Build the archive and unpack it, with the settings of ansible-test; return the archive."""
    shutil.rmtree(CACHE / "build", ignore_errors=True)
    shutil.rmtree(TREE, ignore_errors=True)
    command = [tool("ansible-galaxy"), "collection", "build", "--output-path", str(CACHE / "build")]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (archive,) = (CACHE / "build").glob("*.tar.gz")
    shutil.unpack_archive(archive, TREE)
    (TREE / "tests" / "sanity").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "sanity.txt", TREE / "tests" / "sanity" / "ignore-2.19.txt")
    shutil.copy(ROOT / "tests" / "config.yml", TREE / "tests")
    # In a directory that the checkout's .gitignore names, ansible-test would find no file.
    subprocess.run(["git", "init", "--quiet", TREE], check=True)
    return archive


def passes(name: str, *command: str, **environment: str) -> bool:
    """Run a gate; return whether it finds nothing. What it printed is shown only if it does."""
    done = subprocess.run(
        command,
        cwd=TREE,
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    # galaxy-importer only logs what it finds, and ansible-test that it has found no files.
    bad = ("ERROR", "WARNING") if name == "galaxy-importer" else "WARNING: All targets skipped"
    passed = done.returncode == 0 and not any(
        line.startswith(bad) for line in done.stdout.splitlines()
    )
    print(f"{name}: {'passed' if passed else 'failed'}", flush=True)
    if not passed:
        print(done.stdout)
    return passed


def site() -> int:
    """Build the documentation of the collection; return the exit code."""
    build()
    source = CACHE / "site"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    environment = os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(CACHE)}
    start = ["sphinx-init", "--use-current", "--lenient", "--sphinx-theme=alabaster"]
    start += ["--project=clink.django_stack", "--title=clink.django_stack"]
    pages = ["collection", "--use-current", "--fail-on-error"]
    for command in (
        [tool("antsibull-docs"), *start, f"--dest-dir={source}", "clink.django_stack"],
        [tool("antsibull-docs"), *pages, f"--dest-dir={source / 'rst'}", "clink.django_stack"],
        [tool("sphinx-build"), "--quiet", f"-c{source}", str(source / "rst"), str(WEB)],
    ):
        subprocess.run(command, env=environment, check=True)
    return 0


def gates() -> int:
    """Run all gates; return the exit code."""
    archive = build()
    INSTALLER.parent.mkdir(parents=True, exist_ok=True)
    INSTALLER.write_text("import ensurepip\n\nensurepip.bootstrap()\n")
    settings = CACHE / "galaxy-importer.cfg"
    settings.write_text(IMPORTER)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lint = [tool("antsibull-docs"), "lint-collection-docs", "--plugin-docs", str(TREE)]
    importer = [sys.executable, "-m", "galaxy_importer.main", str(archive)]
    sanity = [tool("ansible-test"), "sanity", "--color=no", f"--python={python}"]
    results = [
        passes("antsibull-docs", *lint),
        passes("galaxy-importer", *importer, GALAXY_IMPORTER_CONFIG=str(settings)),
        passes("ansible-test", *sanity, HOME=str(HOME)),
    ]
    return not all(results)


if __name__ == "__main__":
    sys.exit(site() if sys.argv[1:] == ["site"] else gates())

"""The steps of a release that run the code of others: each in a transient unit, never as root."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import (
    files,
    memory,
    release_hints,
    releases,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.release_store import (
    PATIENCE,
    Host,
)
from ansible_collections.clink.django_stack.plugins.module_utils.releases import ReleaseError

# Copies those of the directories that the source has.
SHARE = """
from=$1 to=$2
shift 2
for each; do
    if [ -d "$from/$each" ]; then cp -RP --no-clobber "$from/$each/." "$to/$each/"; fi
done
"""

OF_ANY_PROJECT = ("imports", "keys")  # the steps of imports.py


class StepError(ReleaseError):
    """A step failed; `step` is its name."""

    def __init__(self, step: str, output: str, wrong: str = "", directory: str = "") -> None:
        """Keep the step's name and what it printed."""
        super().__init__(release_hints.explain(step, output, wrong, directory=directory))
        self.step = step


class Steps:
    """The steps of a release that run the code of others, each in a unit of its own."""

    def __init__(self, host: Host, scripts: dict[str, str], secrets: dict[str, str]) -> None:
        """Remember the scripts of the role, and the texts that no process list may show."""
        self.host, self.scripts, self.secrets = host, scripts, secrets
        self.application = host.application
        self.is_django = bool(host.application["step_variables"]["APP_DJANGO"])
        self.limit = int(host.application["step_timeout"])
        self.warnings: list[str] = []

    def unit(self) -> str:
        """Return the name of the unit that a step runs in: one at a time."""
        return f"{self.host.name}-step.service"

    @contextmanager
    def secret_file(self, name: str) -> Iterator[Path]:
        """Write an environment file that only root, and so systemd, reads; remove it afterwards."""
        path = self.host.state / name
        files.replace(path, self.secrets.get(name, ""), 0o600)
        try:
            yield path
        finally:
            path.unlink()

    def settle(self) -> None:
        """Wait for the step of a run that was cut off.

        Raises:
            ReleaseError: it goes on after PATIENCE seconds; the message names it.
        """
        deadline = time.monotonic() + PATIENCE
        while units.show(self.unit(), "ActiveState").get("ActiveState") not in (
            "inactive",
            "failed",
        ):
            if time.monotonic() > deadline:
                raise ReleaseError(
                    f"{self.unit()}, a step of a run that was cut off, has not ended after "
                    f"{PATIENCE:.0f} s. Wait for it, or end it: systemctl stop {self.unit()}"
                )
            time.sleep(0.5)

    def run(
        self, steps: Sequence[str], user: str, directory: Path, command: list[str],
        variables: dict[str, str], **properties: object,
    ) -> str:  # fmt: skip
        """Run one step, or some in one process; return what was printed.

        Raises:
            StepError: it failed, or its time was over.
        """
        self.settle()
        # The services come first: for CPU, and where the kernel ends a process to free memory.
        more = {"Nice": "5", "OOMScoreAdjust": "600"}
        sandbox: dict[str, Any] = {**self.application["sandbox"], **more}
        for name, value in properties.items():
            if isinstance(value, list) and name in sandbox:
                own = sandbox[name]  # app_sandbox may have one text or a list of them
                value = [*(own if isinstance(own, list) else [own]), *value]
            sandbox[name] = value
        argv = units.transient(
            self.unit(), user, str(directory), command,
            properties=sandbox, variables=variables, limit=self.limit,
        )  # fmt: skip
        kills = memory.kills(memory.COUNTERS.read_text())
        begun = time.time()
        # The first error of a build tells its cause, and may come long before the end.
        done = units.run(argv, self.limit + 60, first=units.KEPT)
        if done.code:
            wrong = ""
            if done.seconds >= self.limit:
                wrong = f"It had not ended after app_step_timeout, {self.limit} s, and was stopped."
            elif memory.kills(memory.COUNTERS.read_text()) > kills:
                wrong = "The kernel killed a process meanwhile, because memory had run out."
            output = units.explained(done, self.unit(), begun)
            step = releases.step_of(done.output, steps)
            raise StepError(step, output, wrong, self.application["directory"])
        return done.output

    # --- As the build user, who has none of the application's secrets ---------------------------

    def as_builder(
        self, steps: Sequence[str], script: str, home: Path, writes: tuple[Path, ...] = (),
        variables: dict[str, str] | None = None, arguments: Sequence[str] = (),
        **properties: object,
    ) -> str:  # fmt: skip
        """Run a script of the role as the build user, who writes to his home and nothing else."""
        if script == "packages.py":  # with what pip brings, for the oldest of the interpreters
            python = Path(self.application["build_variables"]["BUILD_UV"]).with_name("python")
            command = [str(python), "-I", "-c", self.scripts[script]]
        elif script.endswith(".py"):
            command = ["/usr/bin/python3", "-I", "-c", self.scripts[script]]
        else:
            command = ["/bin/sh", "-c", self.scripts[script], script]
        command += arguments
        given = {
            "HOME": str(home),
            "PATH": units.ENVIRONMENT["PATH"],
            "LC_ALL": "C.UTF-8",
            **self.application["build_variables"],
            **(variables or {}),
        }
        may = [str(path) for path in (home, *writes)]
        user = self.application["build_user"]
        return self.run(steps, user, home, command, given, ReadWritePaths=may, **properties)

    def fetch(self, check: bool, agent: str) -> str:
        """Fetch a repository or download an archive; return its revision.

        Raises:
            StepError: that failed.
        """
        variables = {"FETCH_CHECK": "yes" if check else ""}
        text = self.with_key(["fetch", "download"], "fetch", variables, agent)
        revision = releases.printed(text, "revision", releases.REVISION)
        if not revision:
            raise StepError("fetch", text, "The source tells no revision.")
        return revision

    def with_key(
        self, steps: Sequence[str], secret: str, variables: dict[str, str], agent: str
    ) -> str:
        """Run fetch.py, the one step that may use the deploy key or a forwarded SSH agent.

        No code of the project or of a package runs in it.
        """
        home = self.host.cache / "source"
        special: dict[str, Any] = {}
        if agent:  # its socket lies in the /tmp of the host, which a private one would hide
            variables = {**variables, "SSH_AUTH_SOCK": agent, "TMPDIR": str(home)}
            special = {"PrivateTmp": False}
        with self.secret_file(secret) as file:
            return self.as_builder(
                steps, "fetch.py", home, variables=variables, EnvironmentFile=str(file), **special
            )

    def interpreter(self) -> None:
        """Install the interpreter that app_python names, unless the host has it.

        No code of the project runs in this step, so no release can change another's interpreter.
        """
        if not re.match(r"[0-9@]|cpython|pypy", self.application["python"]):
            return
        path = self.host.data / "python"
        path.mkdir(mode=0o755, exist_ok=True)
        self.host.give(path, self.application["build_user"])
        try:
            with self.secret_file("install") as file:  # such as UV_PYTHON_INSTALL_MIRROR
                cache = {"UV_CACHE_DIR": f"{path}/.cache"}  # builds write to the other one
                self.as_builder(
                    ["python"], "python.sh", path, variables=cache, EnvironmentFile=str(file)
                )
        finally:
            self.host.seal(path)

    def build(self, path: Path, live: str, revision: str, agent: str = "") -> str:
        """Lay out the code and install the packages; return the digest of what they are.

        The packages of the live release are linked where the new one wants the same. What is
        linked stays root's: the build can replace such a file, and never change the one of both.
        """
        host, user = self.host, self.application["build_user"]
        self.interpreter()
        host.remove(path)  # what a run that was cut off has left
        path.mkdir(mode=0o755)
        host.give(path, user)
        keys = [f"-{each}" for each in self.application["build_secret_files"]]
        variables = {
            "BUILD_RELEASE": str(path),
            "BUILD_PROJECT": str(path / self.application["directory"]),
            "BUILD_REVISION": revision,
        }
        self.as_builder(["source"], "source.sh", path, variables=variables, InaccessiblePaths=keys)

        def packages(step: str) -> str:
            with self.secret_file("install") as file:
                text = self.as_builder(
                    [step], "packages.py", host.cache / "uv", (path,),
                    {**variables, "BUILD_STEP": step}, self.application["packages"],
                    InaccessiblePaths=keys, EnvironmentFile=str(file),
                )  # fmt: skip
            self.warnings += releases.warnings(text)
            return text

        text = packages("list")
        wanted = releases.printed(text, "packages", releases.DIGEST)
        entry = releases.entry_of(host.record(), live)
        link = bool(wanted) and live in host.built() and entry.get("packages") == wanted
        urls = releases.printed(text, "repositories", releases.REPOSITORIES)
        if urls and not link:
            mirrors = {"FETCH_MIRRORS": urls.replace(",", " ")}
            self.with_key(["repositories"], "install", mirrors, agent)
        for linked in [True, False] if link else [False]:
            host.remove(path / ".venv")
            if linked:
                self.link_packages(host.releases / live / ".venv", path)
            try:
                text = packages("packages")
                break
            except StepError:
                if not linked:
                    raise
        self.seal_packages(path, text)
        return wanted

    def seal_packages(self, path: Path, output: str) -> None:
        """Give the virtual environment of a release to root.

        The release comes first: from then on nobody else can put a link in the place of .venv.

        Raises:
            StepError: the build has left no directory there.
        """
        self.host.remove(path / ".complete")  # a build that left one would count as complete
        os.chown(path, 0, 0, follow_symlinks=False)
        os.chmod(path, 0o755)
        venv = path / ".venv"
        if not venv.is_dir() or venv.is_symlink():
            raise StepError("packages", output, f"{venv} should be a directory after the build.")
        self.host.seal(venv)

    def link_packages(self, venv: Path, path: Path) -> None:
        """Link a sealed virtual environment into a release that is being built."""
        user = self.application["build_user"]
        self.host.tool("/usr/bin/chown", "-h", "root:root", "--", str(path))
        self.host.tool("/usr/bin/cp", "-alT", "--", str(venv), str(path / ".venv"))
        directories = ["-type", "d", "-exec", "/usr/bin/chown", f"{user}:{user}", "{}", "+"]
        self.host.tool("/usr/bin/find", str(path / ".venv"), *directories)  # no links among them
        self.host.tool("/usr/bin/chown", "-h", f"{user}:{user}", "--", str(path))

    # --- As the application, with its secrets ---------------------------------------------------

    def as_application(
        self, steps: Sequence[str], path: Path, command: list[str], environment: Path,
        variables: dict[str, str] | None = None, writes: tuple[str, ...] = (),
        is_owner: bool = True,
    ) -> str:  # fmt: skip
        """Run a command in a release as the application's user.

        `is_owner` says whether it logs in to PostgreSQL as the owner of the database.
        """
        owner = [self.host.owner_file] if is_owner and self.host.owner_file.exists() else []
        # In a user namespace of its own: the services have the same user, and could read its
        # environment.
        more = {"PrivateUsers": True} if owner else {}
        # An environment file comes after all else that systemd sets; a release that is not live has
        # static files of its own.
        command = ["/usr/bin/env", f"STATIC_ROOT={path}/.staticfiles", *command]
        given = {
            "HOME": str(self.host.root),
            "PATH": f"{path}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
            "APP_RELEASE": str(path),
            **(variables or {}),
        }
        return self.run(
            steps, self.application["user"], path / self.application["directory"], command, given,
            ReadWritePaths=[self.application["shared"], *writes],
            EnvironmentFile=[str(file) for file in (environment, *owner)], **more,
        )  # fmt: skip

    def share(self, path: Path, environment: Path) -> None:
        """Copy what the source has in shared directories to them; what is there already stays.

        The copies get the group of the directory and the modes of new files, as uploads do: the web
        server reads them.

        Raises:
            StepError: a build has left something else there, such as a link to another directory.
        """
        source = path / ".shared"
        if not os.path.lexists(source):
            return
        if source.is_symlink() or not source.is_dir():
            raise StepError("shared", "", f"{source} should be a directory after the build.")
        places = [str(source), self.application["shared"]]
        command = ["/bin/sh", "-ec", SHARE, "share", *places]
        command += self.application["shared_directories"]
        self.as_application(["shared"], path, command, environment)

    def ask(
        self, path: Path, steps: list[str], environment: Path, writes: tuple[str, ...],
        carry: list[str], migrated: list[str],
    ) -> dict[str, Any]:  # fmt: skip
        """Have the project's code take steps in a release; return what it reports.

        Without Django there are those of OF_ANY_PROJECT; what migrates is commands of the
        description.
        """
        texts, program = [self.scripts["imports.py"]], ["python", "-c"]
        migrations = [] if self.is_django or "migrate" not in steps else self.application["migrate"]
        if self.is_django:
            texts.append(self.scripts["prepare.py"])
            program = ["python", "manage.py", "shell", "--verbosity=0", "-c"]
        else:
            steps = [step for step in steps if step in OF_ANY_PROJECT]
        told = {}
        if steps:
            variables = {
                **self.application["step_variables"],
                "APP_GUNICORN": self.scripts["gunicorn.conf.py"],
                "APP_CARRY": " ".join(carry),
                "APP_MIGRATED": " ".join(migrated),
            }
            command = [*program, "\n".join([*texts, f"take({steps!r})"])]
            text = self.as_application(steps, path, command, environment, variables, writes)
            told = releases.report(text)
        for each in migrations:
            command = ["/bin/sh", "-c", each]
            self.as_application(["migrate"], path, command, environment, writes=writes)
        return told

    def trial(self, path: Path, environment: Path) -> None:
        """Start the release beside the live one, as a service, and ask it a real request.

        There is no request where no Gunicorn serves the project.
        """
        settings = self.application["step_variables"]
        if not (settings["APP_ASGI"] or settings["APP_WSGI"]):
            return
        command = ["python", "-c", self.scripts["trial.py"]]
        variables = {
            **settings,
            "APP_GUNICORN": self.scripts["gunicorn.conf.py"],
            "STATIC_ROOT": f"{path}/.staticfiles",
        }
        self.as_application(["trial"], path, command, environment, variables, is_owner=False)

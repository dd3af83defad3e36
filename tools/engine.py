"""A Docker engine that answers: the machine's own, or one that is installed and started here.

Use it as ``python -m tools.engine up|down``. ``down`` stops only an engine that ``up`` started.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import docker
from docker.errors import DockerException

CACHE = Path(__file__).resolve().parent.parent / ".cache"
LOG = CACHE / "dockerd.log"
PIDFILE = CACHE / "dockerd.pid"
WAIT = 40.0  # seconds that a starting engine gets to answer
SOCKET = Path("/run/docker.sock")


class EngineError(RuntimeError):
    """No Docker engine answers; the text says what was tried and what to do."""


def connect() -> docker.DockerClient:
    """Return a client of an engine that answers.

    Raises:
        EngineError: if none does.
    """
    try:
        client = docker.from_env(timeout=300)
        client.ping()
    except DockerException as error:
        raise EngineError(f"no Docker engine answers: {error}") from error
    return client


def as_root(*command: str) -> list[str]:
    """Return a command with sudo in front where this user is not root."""
    return [*command] if os.geteuid() == 0 else ["sudo", *command]


def install(*packages: str) -> None:
    """Install Debian packages, without what they only recommend.

    Raises:
        EngineError: if there is no apt-get or it fails; with the end of its output.
    """
    if not shutil.which("apt-get"):
        raise EngineError(f"this machine has no apt-get: install {' '.join(packages)} by hand")
    environment = as_root("env", "DEBIAN_FRONTEND=noninteractive")
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            [*environment, "apt-get", "-q", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            end = "\n".join(done.stdout.splitlines()[-15:])
            raise EngineError(f"apt-get {' '.join(arguments)} failed:\n{end}")


def _start() -> None:
    """Start the installed engine: systemd's unit, else dockerd in the background."""
    if Path("/run/systemd/system").is_dir():
        subprocess.run(as_root("systemctl", "start", "docker"), check=False)
        return
    mounts = Path("/proc/mounts").read_text()
    if " cgroup " not in mounts and " cgroup2 " not in mounts:  # systemd would have mounted them
        subprocess.run(as_root("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"), check=False)
    CACHE.mkdir(exist_ok=True)
    command = as_root("dockerd", f"--pidfile={PIDFILE}", f"--group={os.getegid()}")
    with LOG.open("wb") as log:
        # A session of its own: Ctrl-C in the terminal is not meant for the engine.
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def ensure() -> docker.DockerClient:
    """Return a client; install and start Docker's engine only if none answers.

    Raises:
        EngineError: if none can be made to answer.
    """
    try:
        return connect()
    except EngineError as error:
        denied = SOCKET.exists() and not os.access(SOCKET, os.R_OK | os.W_OK)
        if denied:
            raise EngineError(
                f"{SOCKET} is not open to this user: run `sudo usermod -aG docker $USER`, "
                "log in again and repeat"
            ) from error
        if "DOCKER_HOST" in os.environ:
            raise EngineError(f"{error} (DOCKER_HOST is set)") from error
    if not shutil.which("dockerd"):
        install("docker.io", "iptables")
    _start()
    deadline = time.monotonic() + WAIT
    while True:
        try:
            return connect()
        except EngineError as error:
            if time.monotonic() > deadline:
                end = LOG.read_text(errors="replace").splitlines()[-15:] if LOG.exists() else []
                raise EngineError("\n".join([str(error), f"{LOG}:", *end])) from error
            time.sleep(0.3)


def stop() -> bool:
    """Stop the engine that `ensure` started; return whether there was one."""
    try:
        pid = int(PIDFILE.read_text())
    except (FileNotFoundError, ValueError):
        return False
    if os.geteuid() == 0:
        os.kill(pid, signal.SIGTERM)
    else:
        subprocess.run(as_root("kill", str(pid)), check=True)
    deadline = time.monotonic() + WAIT
    while PIDFILE.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    return True


def version(client: docker.DockerClient) -> str:
    """Return the engine's version, as "20.10.24"."""
    return str(client.version()["Version"]).partition("+")[0]


def main(arguments: list[str]) -> int:
    """Run `up` or `down`; return the exit code."""
    if arguments not in (["up"], ["down"]):
        print("usage: python -m tools.engine up|down", file=sys.stderr)
        return 2
    try:
        if arguments == ["up"]:
            ensure()
        else:
            stop()
    except (EngineError, OSError, subprocess.CalledProcessError) as error:
        print(f"engine: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

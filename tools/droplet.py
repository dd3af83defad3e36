"""Blank Debian droplets as containers that run systemd.

Use it as ``python -m tools.droplet up|down|status NAME``; ``... images`` makes the images of all
releases at once, which ``up`` would make one after the other. An image is made when it is absent
or when its recipe, droplet.Dockerfile, has changed.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import io
import json
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from threading import Lock
from typing import Any

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container

from tools import engine

RELEASES = {"13": "trixie", "12": "bookworm"}
IMAGE = "django-stack-droplet"
LABEL = "django-stack.droplet"
RECIPE = Path(__file__).with_name("droplet.Dockerfile")
CACHE = engine.CACHE / "droplet"
KEY = CACHE / "id_ed25519"
INSTALLING = Lock()
BOOT = 60.0  # seconds until systemd has started all units and sshd answers
# systemd mounts and makes namespaces (SYS_ADMIN), ufw filters (NET_ADMIN), Debian's redis-server
# unit joins PrivateUsers with ProtectProc (SYS_PTRACE), Gunicorn is reniced (SYS_NICE), and restic
# reads all files (DAC_READ_SEARCH).
CAPABILITIES = ["DAC_READ_SEARCH", "NET_ADMIN", "SYS_ADMIN", "SYS_NICE", "SYS_PTRACE"]
# The kernel of a host without IPv6 makes no socket of that family.
NO_IPV6 = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {
            "names": ["socket"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": int(errno.EAFNOSUPPORT),
            "args": [{"index": 0, "value": int(socket.AF_INET6), "op": "SCMP_CMP_EQ"}],
        }
    ],
}


class DropletError(RuntimeError):
    """A droplet cannot be made or does not start; the text says why."""


def image_name(release: str) -> str:
    """Return the image's name for a Debian release; it changes with the recipe."""
    digest = hashlib.sha256(RECIPE.read_bytes()).hexdigest()[:12]
    return f"{IMAGE}:debian-{release}-{digest}"


def _base(client: docker.DockerClient, release: str) -> str:
    """Return the name of a bare Debian image: Debian's own, else made by mmdebstrap.

    Raises:
        DropletError: if it can neither be pulled nor made.
    """
    name = f"{IMAGE}:base-{release}"
    try:
        client.images.get(name)
        return name
    except ImageNotFound:
        pass
    official = f"debian:{release}"
    try:
        client.images.get(official).tag(name)
        return name
    except ImageNotFound:
        pass
    try:
        client.images.pull("debian", tag=release).tag(name)
        client.images.remove(official)  # only our own name stays, so that clean finds all
        return name
    except APIError as error:
        refused = str(error.explanation or error)
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"base-{release}.tar"
    with INSTALLING:  # two runs of apt-get at once would fail by apt's lock
        if not which("mmdebstrap"):
            try:
                engine.install("mmdebstrap", "debian-archive-keyring")
            except engine.EngineError as error:
                raise DropletError(f"{official} cannot be pulled: {refused}\n{error}") from error
    command = engine.as_root(
        "mmdebstrap", "--quiet", "--variant=minbase", RELEASES[release], str(archive)
    )
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        end = "\n".join(made.stderr.splitlines()[-15:])
        raise DropletError(
            f"{official} cannot be pulled: {refused}\n{' '.join(command)} failed:\n{end}"
        )
    client.api.import_image_from_file(str(archive), repository=IMAGE, tag=f"base-{release}")
    archive.unlink()
    return name


def ensure_image(client: docker.DockerClient, release: str) -> tuple[str, bool]:
    """Return the name of a release's droplet image, and whether it was made just now.

    Raises:
        DropletError: if it cannot be made; with the end of what the build printed.
    """
    name = image_name(release)
    try:
        client.images.get(name)
        return name, False
    except ImageNotFound:
        pass
    try:
        client.images.build(
            fileobj=io.BytesIO(RECIPE.read_bytes()),
            buildargs={"BASE": _base(client, release)},
            tag=name,
            labels={LABEL: release},
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        printed = "".join(str(line.get("stream", "")) for line in error.build_log)
        end = "\n".join(printed.splitlines()[-15:])
        raise DropletError(f"the image {name} cannot be built: {error}\n{end}") from error
    return name, True


def ensure_images(client: docker.DockerClient) -> list[str]:
    """Return the names of the images of all releases; make those that are absent at once.

    Raises:
        DropletError: if one cannot be made.
    """
    with ThreadPoolExecutor() as pool:
        return [name for name, _ in pool.map(lambda each: ensure_image(client, each), RELEASES)]


def bindings(publish: Iterable[str]) -> dict[str, Any]:
    """Return Docker's port bindings for "HOSTPORT:PORT" texts, open to this machine only.

    Port 22 is always published, on a free port if no text names it.

    Raises:
        DropletError: if a text is not two ports.
    """
    ports: dict[str, Any] = {"22/tcp": ("127.0.0.1", None)}
    for text in publish:
        host, _, port = text.partition(":")
        if not (host.isdecimal() and port.isdecimal() and 0 < int(host) < 65536):
            raise DropletError(f"--publish {text}: want HOSTPORT:PORT, as in 8080:80")
        ports[f"{port}/tcp"] = ("127.0.0.1", int(host))
    return ports


def options(info: Mapping[str, Any], ipv6: bool = True) -> dict[str, Any]:
    """Return how a container must be run for systemd to work in it, without --privileged.

    Args:
        info: what the engine tells of itself (``docker info``).
        ipv6: whether the droplet has IPv6.
    """
    security = ["seccomp=unconfined" if ipv6 else f"seccomp={json.dumps(NO_IPV6)}"]
    if any("apparmor" in option for option in info.get("SecurityOptions") or []):
        security.append("apparmor=unconfined")
    run: dict[str, Any] = {
        "cap_add": CAPABILITIES,
        "security_opt": security,
        "tmpfs": {"/run": "exec", "/run/lock": "", "/tmp": "exec"},
        "shm_size": "256m",
        "cgroupns": "private",
    }
    if str(info.get("CgroupVersion", "1")) == "2":
        run["cgroupns"] = "host"
        run["volumes"] = {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}}
    return run


def public_key() -> bytes:
    """Return the public key that opens the droplets; make the pair once.

    Raises:
        DropletError: if there is no ssh-keygen.
    """
    if not KEY.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "droplet", "-f", str(KEY)]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError as error:
            raise DropletError("no ssh-keygen: install openssh-client") from error
    return KEY.with_suffix(".pub").read_bytes()


def authorized_keys() -> bytes:
    """Return a tar archive with the key that a fresh droplet lets in."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        home = tarfile.TarInfo("root/.ssh")
        home.type, home.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(home)
        key = tarfile.TarInfo("root/.ssh/authorized_keys")
        key.size, key.mode = len(public_key()), 0o600
        archive.addfile(key, io.BytesIO(public_key()))
    return buffer.getvalue()


def execute(container: Container, *command: str) -> str:
    """Return what a command prints in a droplet, whatever its exit code."""
    output = container.exec_run([*command]).output
    return output.decode(errors="replace") if isinstance(output, bytes) else ""


def find(client: docker.DockerClient, name: str) -> Container | None:
    """Return the container of that name, or None."""
    try:
        return client.containers.get(name)
    except NotFound:
        return None


def ssh_port(container: Container) -> int:
    """Return the port of this machine at which the droplet's sshd is published."""
    container.reload()
    published = container.ports.get("22/tcp") or [{"HostPort": "0"}]  # none yet, or stopped
    return int(published[0]["HostPort"])


def _greeted(port: int) -> bool:
    """Tell whether an sshd greets on a port; Docker's own proxy takes any connection."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _wait(container: Container) -> None:
    """Wait until systemd has booted and sshd greets.

    Raises:
        DropletError: after BOOT seconds; names the units that failed.
    """
    deadline = time.monotonic() + BOOT
    state = ""
    while time.monotonic() < deadline:
        container.reload()
        if container.status != "running":
            end = container.logs(tail=10).decode(errors="replace")
            raise DropletError(f"{container.name} is {container.status} after its start:\n{end}")
        state = execute(container, "systemctl", "is-system-running").strip()
        if state in ("running", "degraded") and _greeted(ssh_port(container)):
            break
        time.sleep(0.2)
    else:
        failed = execute(container, "systemctl", "--failed", "--plain", "--no-legend")
        raise DropletError(
            f"{container.name} does not answer after {BOOT:.0f} s: systemd says {state!r}\n"
            + failed
        )


def up(
    client: docker.DockerClient, name: str, release: str = "13", publish: Iterable[str] = (),
    ipv6: bool = True,
) -> tuple[Container, str]:  # fmt: skip
    """Make or start a droplet and wait for it; leave a running one alone.

    Args:
        client: the engine.
        name: the container's name.
        release: Debian's, "13" or "12".
        publish: "HOSTPORT:PORT" texts.
        ipv6: whether a new one has IPv6.

    Returns:
        The container, and what was done: "made", "started" or "runs".

    Raises:
        DropletError: if it cannot be made, does not boot, or is there with other ports, another
            release or another key.
    """
    ports = bindings(publish)
    wanted = {LABEL: release, f"{LABEL}.publish": " ".join(sorted(publish))}
    wanted[f"{LABEL}.key"] = hashlib.sha256(public_key()).hexdigest()[:12]
    container = find(client, name)
    done = "made"
    if container:
        if any(container.labels.get(key) != value for key, value in wanted.items()):
            raise DropletError(
                f"{name} is there with another release, with other ports, or with the SSH key of "
                f"another copy of this repository: python -m tools.droplet down {name}"
            )
        done = "runs" if container.status == "running" else "started"
        if done == "started":
            container.start()
    else:
        image, _ = ensure_image(client, release)
        container = client.containers.create(
            image, name=name, hostname=name, ports=ports, labels=wanted,
            **options(client.info(), ipv6),
        )  # fmt: skip
        container.put_archive("/", authorized_keys())
        try:
            container.start()
        except APIError as error:
            container.remove(force=True, v=True)
            raise DropletError(f"{name} does not start: {error.explanation}") from error
    _wait(container)
    return container, done


def down(client: docker.DockerClient, name: str) -> bool:
    """Remove a droplet with its anonymous volumes; return whether there was one."""
    container = find(client, name)
    if container:
        container.remove(force=True, v=True)
    return container is not None


def status(client: docker.DockerClient, name: str) -> str:
    """Return one line on a droplet."""
    container = find(client, name)
    if container is None:
        return f"{name}: absent"
    if container.status != "running":
        return f"{name}: {container.status}"
    state = execute(container, "systemctl", "is-system-running").strip()
    release = container.labels.get(LABEL, "?")
    return f"{name}: Debian {release}, {state}, {ssh_command(container)}"


def ssh_command(container: Container) -> str:
    """Return the command line that opens a shell on a droplet."""
    trust = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    key = KEY.relative_to(Path.cwd()) if KEY.is_relative_to(Path.cwd()) else KEY
    return f"ssh -i {key} -p {ssh_port(container)} {trust} root@127.0.0.1"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.droplet", description=__doc__)
    parser.add_argument("verb", choices=["up", "down", "status", "images"])
    parser.add_argument("name", nargs="?")
    parser.add_argument("--release", choices=list(RELEASES), default="13")
    parser.add_argument("--publish", metavar="HOSTPORT:PORT", action="append", default=[])
    parser.add_argument("--ipv6", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args(arguments)
    if (given.name is None) != (given.verb == "images"):
        parser.error("name a droplet; with images, none")
    try:
        client = engine.ensure() if given.verb in ("up", "images") else engine.connect()
        if given.verb == "images":
            print("\n".join(ensure_images(client)))
            return 0
        if given.verb == "up":
            up(client, given.name, given.release, given.publish, given.ipv6)
        elif given.verb == "down":
            down(client, given.name)
        print(status(client, given.name))
    except (DropletError, engine.EngineError, DockerException) as error:
        print(f"droplet: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

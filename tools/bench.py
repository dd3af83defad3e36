"""`make bench`: what site.yml and deploy.yml cost beside plain scripts, and how the result serves.

Use it as ``python -m tools.bench [--markdown] [--keep]``. Two fresh droplets, one after the other:
bench-floor is provisioned by bench/floor.sh and deployed to by bench/deploy.sh, bench-site by
site.yml and playbooks/deploy.yml, both from a directory of this machine. Every run is counted from
the start of its command to its end, over a new SSH connection; all but the cold ones are the median
of three. What was printed is kept in .cache/bench.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread

import docker
from docker.errors import DockerException
from docker.models.containers import Container

from tools import droplet, engine

ROOT = Path(__file__).resolve().parent.parent
CACHE = engine.CACHE / "bench"
HOSTS = CACHE / "inventory.yml"
SAMPLE = ROOT / "examples" / "psychology_clinic"
SOURCE = CACHE / "source"  # a copy of the sample, of which each deploy has another line
AUTHORITIES = Path("/usr/local/share/ca-certificates")
FLOOR, SITE = "bench-floor", "bench-site"
REPEATS = 3
SETTLE = 5.0  # seconds that new services get to start their workers before the next run
LIMIT = 1800.0  # seconds after which a command counts as hung
WINDOW = ["wrk", "--threads=2", "--connections=16", "--duration=5s", "--latency"]
# By 127.0.0.1, a name of the site that is exempt from nginx's limits.
PAGES = ["/health/", "/api/users/", "/static/admin/css/base.css"]
# The line that differs from release to release: a page that says which one serves.
LINE = 'urlpatterns += [path("bench/", lambda _: __import__("django").http.HttpResponse("{}"))]\n'
NO_CHANGE = r"\bchanged=0 |^0 changes$"
INVENTORY = """\
# Written by tools/bench.py; as inventories/demo.yml.
project:
  hosts:
    droplet:
      ansible_host: 127.0.0.1
      ansible_port: {port}
      ansible_user: root
      ansible_ssh_private_key_file: {key}
      ansible_host_key_checking: false # mitogen does not read it from the arguments
      ansible_ssh_common_args: -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
      app_domains: [127.0.0.1, localhost]
      app_environment:
        DEFAULT_FROM_EMAIL: clinic@example.com
      app_source:
        directory: {source}
      ca_certificates_files: "{{{{ query('ansible.builtin.fileglob', '{authorities}/*.crt') }}}}"
"""
ROWS = """
from django.contrib.auth.models import User
User.objects.bulk_create(User(username=f"bench-{number}") for number in range(20))
"""


class BenchError(RuntimeError):
    """A measurement failed; the text says which command, and how its output ends."""


@dataclass(frozen=True)
class Run:
    """What one run of a command cost.

    Attributes:
        seconds: from its start to its end.
        cpu: seconds of CPU that it and its children took on this machine.
        printed: what it printed.
        serves: seconds from its start until the site gave a new answer, if that was asked.
    """

    seconds: float
    cpu: float
    printed: str
    serves: float | None = None


def say(text: str) -> None:
    """Tell whoever waits what is being done; the result alone goes to stdout."""
    print(f"  {text}", file=sys.stderr, flush=True)


def cpu() -> float:
    """Return the seconds of CPU of all commands that this process has run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(
    log: str, command: list[str], stdin: bytes = b"", environment: Mapping[str, str] = os.environ
) -> Run:
    """Run a command, and keep what it prints in a log.

    Raises:
        BenchError: if it fails or hangs.
    """
    path = CACHE / f"{log}.log"
    begun, used = time.monotonic(), cpu()
    with path.open("wb") as output:
        try:
            code: int | str = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                input=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LIMIT,
            ).returncode
        except subprocess.TimeoutExpired:
            code = f"none after {LIMIT:.0f} s"
    run = Run(time.monotonic() - begun, cpu() - used, path.read_text(errors="replace"))
    if code:
        raise BenchError(f"{shlex.join(command)}\nexit code {code}; {path} ends:\n{end_of(run)}")
    return run


def end_of(run: Run) -> str:
    """Return the last lines that a run printed."""
    return "\n".join(run.printed.splitlines()[-25:])


def inside(container: Container, log: str, *command: str) -> str:
    """Return what a command prints in a droplet.

    Raises:
        BenchError: if it fails.
    """
    return measure(log, ["docker", "exec", str(container.name), *command]).printed


def repeat(what: str, once: Callable[[], Run], wanted: str = NO_CHANGE) -> list[Run]:
    """Run the same again and again.

    Args:
        what: is measured.
        once: runs it.
        wanted: what each run must print, a regular expression.

    Raises:
        BenchError: if a run prints something else.
    """
    runs = []
    for _ in range(REPEATS):
        time.sleep(SETTLE)
        run = once()
        if not re.search(wanted, run.printed, re.MULTILINE):
            raise BenchError(f"{what}: no {wanted!r} in what it printed:\n{end_of(run)}")
        serves = "" if run.serves is None else f", the site changed after {run.serves:.1f} s"
        say(f"{what}: {run.seconds:.1f} s, {run.cpu:.1f} s of CPU{serves}")
        runs.append(run)
    return runs


# --- The releases -------------------------------------------------------------------------------


def edit(number: int) -> None:
    """Change one line of the source: the number that the page /bench/ tells."""
    urls = SOURCE / "psychology_clinic" / "urls.py"
    urls.write_text((SAMPLE / "psychology_clinic" / "urls.py").read_text() + LINE.format(number))


def answer(container: Container) -> str:
    """Return the number of the release that serves; empty if the site does not tell."""
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    connection = HTTPConnection(next(iter(networks))["IPAddress"], timeout=5)
    try:
        connection.request("GET", "/bench/", headers={"Host": "127.0.0.1"})
        response = connection.getresponse()
        return response.read().decode() if response.status == 200 else ""
    except (OSError, HTTPException):
        return ""
    finally:
        connection.close()


def until_it_serves(container: Container, number: int, once: Callable[[], Run]) -> Run:
    """Run what makes another release live, and ask the site meanwhile.

    Raises:
        BenchError: if that release does not serve in the end.
    """
    begun, ended, seen = time.monotonic(), Event(), list[float]()

    def ask() -> None:
        while not ended.wait(0.1):
            if answer(container) == str(number):
                seen.append(time.monotonic() - begun)
                return

    asking = Thread(target=ask)
    asking.start()
    try:
        run = once()
    finally:
        ended.set()
        asking.join()
    if answer(container) != str(number):
        raise BenchError(f"release {number} does not serve after:\n{end_of(run)}")
    return Run(run.seconds, run.cpu, run.printed, seen[0] if seen else run.seconds)


class Releases:
    """Deploys to a droplet, each of one line more than the one before, and the way back."""

    def __init__(self, container: Container) -> None:
        """Begin with no release that tells its number."""
        self.container = container
        self.newest = 0
        container.reload()

    def deploy(self, what: str, once: Callable[[], Run]) -> tuple[list[Run], list[Run]]:
        """Measure deploys of changed code, and of code that is live."""

        def change() -> Run:
            self.newest += 1
            edit(self.newest)
            return until_it_serves(self.container, self.newest, once)

        change()  # which sets up what it needs
        changed = repeat(f"{what}, one line", change, "")
        return changed, repeat(f"{what}, no change", once)

    def rollback(self, what: str, once: Callable[[], Run]) -> list[Run]:
        """Measure rollbacks, each to the release before."""
        live = self.newest

        def back() -> Run:
            nonlocal live
            live -= 1
            return until_it_serves(self.container, live, once)

        return repeat(what, back, "")


# --- The floor ----------------------------------------------------------------------------------


def source() -> bytes:
    """Return a tar archive of the source; the same source gives the same archive."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.mtime = entry.uid = entry.gid = 0
        return entry if {".git", "__pycache__"}.isdisjoint(Path(entry.name).parts) else None

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(SOURCE.iterdir()):
            archive.add(path, path.name, filter=plain)
    return buffer.getvalue()


def parcel() -> bytes:
    """Return a tar archive of the scripts and what they want beside them."""
    (CACHE / "source.tar").write_bytes(source())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in (CACHE / "source.tar", *sorted((ROOT / "bench").glob("*.sh"))):
            archive.add(file, file.name)
        for file in sorted(AUTHORITIES.glob("*.crt")):
            archive.add(file, f"ca/{file.name}")
    return buffer.getvalue()


def floor(client: docker.DockerClient) -> tuple[list[list[str]], list[list[str]]]:
    """Measure the plain scripts; return rows on provisioning and on deploys."""
    container, _ = droplet.up(client, FLOOR)
    ssh = shlex.split(droplet.ssh_command(container))

    def provision(log: str = "floor") -> Run:
        remote = "mkdir -p /root/floor && tar -xC /root/floor && bash /root/floor/floor.sh"
        return measure(log, [*ssh, remote], parcel())

    def deploy() -> Run:
        return measure("floor-deploy", [*ssh, "bash /root/floor/deploy.sh"], source())

    name = "bash: bench/floor.sh"
    cold = provision("floor-cold")
    say(f"{name}, cold: {cold.seconds:.1f} s")
    provisioning = row(name, [cold], repeat(f"{name}, no change", provision))
    name = "bash: bench/deploy.sh"
    return [provisioning], [row(name, *Releases(container).deploy(name, deploy))]


# --- The playbooks ------------------------------------------------------------------------------


def inventory(container: Container) -> None:
    """Write the inventory of a droplet; its secrets are made beside it."""
    group_vars = CACHE / "group_vars"
    group_vars.unlink(missing_ok=True)  # an earlier version had it elsewhere
    group_vars.symlink_to(ROOT / "inventories" / "group_vars")
    HOSTS.write_text(
        INVENTORY.format(
            port=droplet.ssh_port(container),
            key=droplet.KEY,
            source=SOURCE,
            authorities=AUTHORITIES,
        )
    )


def play(name: str, environment: Mapping[str, str]) -> Run:
    """Run a playbook over a connection of its own."""
    ansible = str(Path(sys.executable).with_name("ansible-playbook"))
    with TemporaryDirectory(prefix="bench-") as sockets:
        try:
            return measure(
                Path(name).stem,
                [ansible, "-i", str(HOSTS), name],
                environment={**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets, **environment},
            )
        finally:  # ControlPersist would hand the connection to the next run
            for path in Path(sockets).iterdir():
                end = ["ssh", "-O", "exit", "-o", f"ControlPath={path}", "droplet"]
                subprocess.run(end, capture_output=True)


def mitogen() -> dict[str, str]:
    """Return the environment in which Ansible runs with mitogen."""
    spec = find_spec("ansible_mitogen")
    assert spec and spec.origin
    return {
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(Path(spec.origin).parent / "plugins" / "strategy"),
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
    }


def site(container: Container) -> list[list[str]]:
    """Provision a droplet with the playbook, again, and again with mitogen; return rows."""
    inventory(container)
    cold = play("site.yml", {})
    say(f"site.yml, cold: {cold.seconds:.1f} s")
    plain = repeat("site.yml, no change", lambda: play("site.yml", {}))
    fast = repeat("site.yml, no change, mitogen", lambda: play("site.yml", mitogen()))
    return [row("site.yml", [cold], plain), row("site.yml, mitogen", [], fast)]


def deploy(releases: Releases, suffix: str, environment: Mapping[str, str]) -> list[list[str]]:
    """Deploy to a droplet that the playbook has provisioned, and go back; return rows."""
    names = [f"playbooks/{verb}.yml" for verb in ("deploy", "rollback")]
    there = releases.deploy(names[0] + suffix, lambda: play(names[0], environment))
    back = releases.rollback(names[1] + suffix, lambda: play(names[1], environment))
    return [row(names[0] + suffix, *there), row(names[1] + suffix, back, [])]


# --- Serving ------------------------------------------------------------------------------------


def wrk(printed: str) -> tuple[float, float, int]:
    """Return requests a second, the 99th percentile in ms and the answers that are not 2xx.

    Raises:
        BenchError: if the text is not that of wrk.
    """
    rate = re.search(r"^Requests/sec: +([\d.]+)", printed, re.MULTILINE)
    slow = re.search(r"^ +99% +([\d.]+)(us|ms|s)", printed, re.MULTILINE)
    if not rate or not slow:
        raise BenchError(f"wrk printed no figures:\n{printed}")
    bad = re.search(r"^ *Non-2xx or 3xx responses: (\d+)", printed, re.MULTILINE)
    lost = re.search(r"Socket errors: (.*)", printed)
    failed = int(bad[1]) if bad else 0
    failed += sum(map(int, re.findall(r"\d+", lost[1]))) if lost else 0
    return float(rate[1]), float(slow[1]) * {"us": 0.001, "ms": 1, "s": 1000}[slow[2]], failed


def serve(container: Container) -> list[list[str]]:
    """Return a row for each page that wrk asks for, inside the droplet."""
    inside(container, "wrk-install", "sh", "-c", "apt-get -qq update && apt-get -qq -y install wrk")
    inside(container, "rows", "psychology_clinic-manage", "shell", "-c", ROWS)
    rows = []
    for page in PAGES:
        url = f"http://127.0.0.1{page}"
        inside(container, "wrk", *WINDOW, "--duration=1s", url)  # connections and caches warm
        rate, slow, failed = wrk(inside(container, "wrk", *WINDOW, url))
        rows.append([page, f"{rate:,.0f}", f"{slow:.1f}", str(failed)])
        say(f"{page}: {rate:.0f} requests/s")
    return rows


# --- The report ---------------------------------------------------------------------------------


def row(name: str, change: list[Run], again: list[Run]) -> list[str]:
    """Return the row of a way to provision or to deploy.

    Args:
        name: of the way.
        change: runs that change something, if they were measured.
        again: runs that change nothing, if they were measured.
    """

    def cell(figures: list[float]) -> str:
        if not figures:
            return "-"
        spread = f" ({min(figures):.1f}-{max(figures):.1f})" if len(figures) > 1 else ""
        return f"{median(figures):.1f}{spread}"

    serves = [run.serves for run in change if run.serves is not None]
    return [
        name,
        cell([run.seconds for run in change]),
        cell([run.cpu for run in change]),
        *([cell(serves)] if serves else []),
        cell([run.seconds for run in again]),
        cell([run.cpu for run in again]),
    ]


def table(head: list[str], rows: list[list[str]], markdown: bool) -> str:
    """Return rows under a head, for people or as Markdown; only the first column is text."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    if markdown:
        rule = [("-" * (width - 1)) + ("-" if not at else ":") for at, width in enumerate(widths)]
    else:
        rule = ["-" * width for width in widths]
    lines = []
    for cells in (head, rule, *rows):
        padded = [
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(padded)} |" if markdown else f"  {'   '.join(padded)}")
    return "\n".join(lines)


def bench(client: docker.DockerClient, markdown: bool) -> None:
    """Measure all and print it."""
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    versions = f"ansible-core {version('ansible-core')}, mitogen {version('mitogen')}"
    about = f"Debian 13, {versions}, {os.cpu_count()} cores, load average at the start {load}"
    say(about)
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(SAMPLE, SOURCE, ignore=shutil.ignore_patterns("__pycache__"))
    # A work tree of its own: the repository around it ignores .cache, and so would deploy.yml.
    subprocess.run(["git", "init", "--quiet", str(SOURCE)], check=True)
    edit(0)
    provisioning, deploying = floor(client)
    client.containers.get(FLOOR).stop()  # its services must not take part in what follows
    edit(0)
    container, _ = droplet.up(client, SITE)
    provisioning += site(container)
    pages = serve(container)
    releases = Releases(container)
    deploying += deploy(releases, "", {}) + deploy(releases, ", mitogen", mitogen())
    again = ["no change, s", "CPU, s"]
    print(f"\n{about}\nCPU is that of this machine; what is in brackets is the range.\n")
    print(table(["provisioning", "cold, s", "CPU, s", *again], provisioning, markdown))
    print()
    head = ["deploying", "one line, s", "CPU, s", "serves after, s", *again]
    print(table(head, deploying, markdown))
    print()
    print(table(["serving", "requests/s", "p99, ms", "not 2xx"], pages, markdown))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="print tables for the README")
    parser.add_argument("--keep", action="store_true", help="leave the droplets")
    given = parser.parse_args(arguments)
    CACHE.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    client: docker.DockerClient | None = None
    try:
        client = engine.ensure()
        for name in (FLOOR, SITE):
            droplet.down(client, name)
        bench(client, given.markdown)
    except KeyboardInterrupt:
        print("\nbench: interrupted", file=sys.stderr)
        return 130
    except (BenchError, droplet.DropletError, engine.EngineError, DockerException) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        for name in (FLOOR, SITE):
            if client and given.keep:
                say(droplet.status(client, name))
            elif client:
                droplet.down(client, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: what site.yml costs beside a plain script, and how the result serves.

Use it as ``python -m tools.bench [--markdown] [--keep]``. Two fresh droplets, one after the other:
bench-floor is provisioned by bench/floor.sh, bench-site by site.yml. Every run is counted from the
start of its command to its end, each over a new SSH connection; a no-change run is the median of
three. What was printed is kept in .cache/bench.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import docker
from docker.errors import DockerException
from docker.models.containers import Container

from tools import droplet, engine

ROOT = Path(__file__).resolve().parent.parent
CACHE = engine.CACHE / "bench"
SOURCE = ROOT / "examples" / "psychology_clinic"
AUTHORITIES = Path("/usr/local/share/ca-certificates")
FLOOR, SITE = "bench-floor", "bench-site"
REPEATS = 3
SETTLE = 10.0  # seconds that new services get to start their workers before they are measured
LIMIT = 1800.0  # seconds after which a command counts as hung
WINDOW = ["wrk", "--threads=2", "--connections=16", "--duration=5s", "--latency"]
# By 127.0.0.1, a name of the site that is exempt from nginx's limits.
PAGES = ["/health/", "/api/users/", "/static/admin/css/base.css"]
# Actions that Ansible does by itself, on the control machine.
LOCAL = {
    "assert",
    "debug",
    "fail",
    "include_role",
    "include_tasks",
    "set_fact",
    "validate_argument_spec",
}
DELEGATED = "_ansible_delegated_vars"  # in the result of a task that ran elsewhere
INVENTORY = """\
# Written by tools/bench.py; as inventories/demo.yml.
bench:
  hosts:
    droplet:
      ansible_host: 127.0.0.1
      ansible_port: {port}
      ansible_user: root
      ansible_ssh_private_key_file: {key}
      ansible_host_key_checking: false # mitogen does not read it from the arguments
      ansible_ssh_common_args: -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
      app_source: {{directory: {source}}}
      app_domains: [127.0.0.1, localhost]
      app_environment:
        DEFAULT_FROM_EMAIL: clinic@example.com
      ca_certificates_files: "{{{{ query('ansible.builtin.fileglob', '{authorities}/*.crt') }}}}"
"""
ROWS = """
from django.contrib.auth.models import User
User.objects.bulk_create(User(username=f"bench-{number}") for number in range(20))
"""


class BenchError(RuntimeError):
    """A measurement failed; the text says which command, and how its output ends."""


@dataclass(frozen=True)
class Runs:
    """What one way of provisioning costs.

    Attributes:
        name: of the way.
        cold: seconds on the blank droplet, if it was measured.
        again: seconds of each run that changes nothing.
        connections: SSH connections of one such run.
        commands: commands that it ran over them.
        tasks: tasks of one such run that did something on the host, if it has tasks.
    """

    name: str
    cold: float | None
    again: list[float]
    connections: int
    commands: int
    tasks: int | None = None


def say(text: str) -> None:
    """Tell whoever waits what is being done; the result alone goes to stdout."""
    print(f"  {text}", file=sys.stderr, flush=True)


def measure(
    log: str, command: list[str], stdin: bytes = b"", environment: Mapping[str, str] = os.environ
) -> tuple[float, str]:
    """Run a command; return its seconds and what it printed, which also goes to a log.

    Raises:
        BenchError: if it fails or hangs.
    """
    path = CACHE / f"{log}.log"
    begun = time.monotonic()
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
    seconds = time.monotonic() - begun
    printed = path.read_text(errors="replace")
    if code:
        end = "\n".join(printed.splitlines()[-25:])
        raise BenchError(f"{shlex.join(command)}\nexit code {code}; {path} ends:\n{end}")
    return seconds, printed


def inside(container: Container, log: str, *command: str) -> str:
    """Return what a command prints in a droplet.

    Raises:
        BenchError: if it fails.
    """
    return measure(log, ["docker", "exec", str(container.name), *command])[1]


def sshd(container: Container) -> tuple[int, int]:
    """Return how many connections a droplet's sshd has taken, and how many commands it has run."""
    journal = droplet.execute(container, "journalctl", "--unit=ssh", "--output=cat", "--no-pager")
    return journal.count("Accepted publickey"), journal.count("Starting session:")


def fresh(client: docker.DockerClient, name: str) -> Container:
    """Return a new droplet whose sshd notes each command that it runs."""
    droplet.down(client, name)
    container, _ = droplet.up(client, name)
    inside(container, "sshd", "sh", "-c", "echo LogLevel VERBOSE >/etc/ssh/sshd_config.d/90.conf")
    inside(container, "sshd", "systemctl", "reload", "ssh")
    return container


def repeat(
    name: str, container: Container, once: Callable[[], tuple[float, str]], no_change: str
) -> Runs:
    """Measure runs that change nothing.

    Args:
        name: of the way of provisioning.
        container: what it provisions.
        once: runs it.
        no_change: what it prints when it has changed nothing, a regular expression.

    Raises:
        BenchError: if a run changes something.
    """
    seconds = []
    time.sleep(SETTLE)
    for number in range(REPEATS):
        before = sshd(container)
        took, printed = once()
        if not re.search(no_change, printed, re.MULTILINE):
            end = "\n".join(printed.splitlines()[-25:])
            raise BenchError(f"{name}: run {number + 2} of the same changed something:\n{end}")
        seconds.append(took)
        say(f"{name}, no change: {took:.1f} s")
    after = sshd(container)
    return Runs(name, None, seconds, after[0] - before[0], after[1] - before[1])


# --- The floor ----------------------------------------------------------------------------------


def parcel() -> bytes:
    """Return a tar archive of the script and what it wants beside it."""
    pack = ROOT / "roles" / "app" / "files" / "pack.py"
    source = CACHE / "source.tar"
    measure("pack", [sys.executable, str(pack), str(SOURCE), str(source)])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(ROOT / "bench" / "floor.sh", "floor.sh")
        archive.add(source, "source.tar")
        for file in sorted(AUTHORITIES.glob("*.crt")):
            archive.add(file, f"ca/{file.name}")
    return buffer.getvalue()


def floor(client: docker.DockerClient) -> Runs:
    """Provision a droplet with the plain script, and again."""
    container = fresh(client, FLOOR)
    remote = "mkdir -p /root/floor && tar -xC /root/floor && bash /root/floor/floor.sh"
    command = [*shlex.split(droplet.ssh_command(container)), remote]

    def once(log: str = "floor") -> tuple[float, str]:
        begun = time.monotonic()
        _, printed = measure(log, command, parcel())
        return time.monotonic() - begun, printed

    cold, _ = once("floor-cold")
    say(f"bash, cold: {cold:.1f} s")
    runs = repeat("bash: bench/floor.sh", container, once, r"^0 changes$")
    return replace(runs, cold=cold)


# --- The playbook -------------------------------------------------------------------------------


def inventory(container: Container) -> Path:
    """Write the inventory of a droplet; its secrets are made beside it."""
    group_vars = CACHE / "group_vars"
    if not group_vars.is_symlink():
        group_vars.symlink_to(ROOT / "group_vars")
    path = CACHE / "inventory.yml"
    path.write_text(
        INVENTORY.format(
            port=droplet.ssh_port(container),
            key=droplet.KEY,
            source=SOURCE,
            authorities=AUTHORITIES,
        )
    )
    return path


def play(log: str, hosts: Path, environment: Mapping[str, str]) -> tuple[float, str]:
    """Run the playbook over a connection of its own; return its seconds and what it printed."""
    ansible = Path(sys.executable).with_name("ansible-playbook")
    command = [str(ansible), "-i", str(hosts), "site.yml"]
    with TemporaryDirectory(prefix="bench-") as sockets:
        try:
            return measure(
                log,
                command,
                environment={**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets, **environment},
            )
        finally:  # ControlPersist would hand the connection to the next run
            for path in Path(sockets).iterdir():
                end = ["ssh", "-O", "exit", "-o", f"ControlPath={path}", "droplet"]
                subprocess.run(end, capture_output=True)


def on_host(report: str) -> dict[str, float]:
    """Return the seconds of each task that did something on the host, by role and name.

    Args:
        report: what the callback ansible.posix.json printed.
    """
    seconds = {}
    for number, entry in enumerate(json.loads(report[report.index("{\n") :])["plays"][0]["tasks"]):
        for result in entry["hosts"].values():  # the one host; of a meta task none
            action = result.get("action", "").rpartition(".")[2]
            if not result.get("skipped") and action not in LOCAL | {""} and DELEGATED not in result:
                start, end = (
                    datetime.fromisoformat(entry["task"]["duration"][key])
                    for key in ("start", "end")
                )
                seconds[f"{number} {entry['task']['name']}"] = (end - start).total_seconds()
    return seconds


def site(client: docker.DockerClient) -> tuple[list[Runs], Container]:
    """Provision a droplet with the playbook, again, and again with mitogen."""
    container = fresh(client, SITE)
    hosts = inventory(container)
    cold, _ = play("site-cold", hosts, {})
    say(f"site.yml, cold: {cold:.1f} s")
    plain = repeat("site.yml", container, lambda: play("site", hosts, {}), r" changed=0 ")
    _, report = play("tasks", hosts, {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"})
    tasks = on_host(report)
    for name, took in sorted(tasks.items(), key=lambda task: -task[1])[:10]:
        say(f"  {took:5.2f} s {name}")

    spec = find_spec("ansible_mitogen")
    assert spec and spec.origin
    mitogen = {
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(Path(spec.origin).parent / "plugins" / "strategy"),
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
    }
    fast = repeat(
        "site.yml, mitogen", container, lambda: play("mitogen", hosts, mitogen), r" changed=0 "
    )
    count = len(tasks)
    return [replace(plain, cold=cold, tasks=count), replace(fast, tasks=count)], container


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


def table(head: list[str], rows: list[list[str]], markdown: bool) -> str:
    """Return rows under a head, for people or as Markdown; only the first column is text."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    if markdown:
        rule = [("-" * (width - 1)) + ("-" if not at else ":") for at, width in enumerate(widths)]
    else:
        rule = ["-" * width for width in widths]
    lines = []
    for row in (head, rule, *rows):
        cells = [
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |" if markdown else f"  {'   '.join(cells)}")
    return "\n".join(lines)


def costs(runs: list[Runs]) -> list[list[str]]:
    """Return a row for each way of provisioning; the first is the floor of the ratios."""

    def cell(seconds: float | None, least: float | None) -> str:
        return f"{seconds:.1f} ({seconds / least:.1f}x)" if seconds and least else "-"

    least = runs[0]
    return [
        [
            run.name,
            cell(run.cold, least.cold),
            cell(median(run.again), median(least.again)),
            f"{min(run.again):.1f}-{max(run.again):.1f}",
            "-" if run.tasks is None else str(run.tasks),
            str(run.connections),
            str(run.commands),
        ]
        for run in runs
    ]


def bench(client: docker.DockerClient, markdown: bool) -> None:
    """Measure all and print it."""
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    versions = f"ansible-core {version('ansible-core')}, mitogen {version('mitogen')}"
    about = f"Debian 13, {versions}, {os.cpu_count()} cores, load average at the start {load}"
    say(about)
    runs = [floor(client)]
    client.containers.get(FLOOR).stop()  # its services must not take part in what follows
    measured, container = site(client)
    pages = serve(container)
    head = ["provisioning", "cold s", "no change s", "range", "tasks on the host"]
    head += ["SSH connections", "commands over SSH"]
    print(f"\n{about}\n")
    print(table(head, costs([*runs, *measured]), markdown))
    print()
    print(table(["serving", "requests/s", "p99 ms", "not 2xx"], pages, markdown))


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

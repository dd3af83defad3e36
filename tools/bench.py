"""`make bench`: what site.yml and deploy.yml cost beside plain scripts, and how the result serves.

Use it as ``python -m tools.bench [--markdown] [--keep]``. Two fresh droplets, one after the other:
bench-floor is provisioned by bench/floor.sh and deployed to by bench/deploy.sh, bench-site by
site.yml and playbooks/deploy.yml. Every run is counted from the start of its command to its end,
each over a new SSH connection; all but the cold ones are the median of three. What was printed is
kept in .cache/bench.
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
HOSTS = CACHE / "inventory.yml"
PACKED = CACHE / "source.tar"
SOURCE = ROOT / "examples" / "psychology_clinic"
AUTHORITIES = Path("/usr/local/share/ca-certificates")
FLOOR, SITE = "bench-floor", "bench-site"
REPEATS = 3
SETTLE = 5.0  # seconds that new services get to start their workers before the next run
LIMIT = 1800.0  # seconds after which a command counts as hung
WINDOW = ["wrk", "--threads=2", "--connections=16", "--duration=5s", "--latency"]
# By 127.0.0.1, a name of the site that is exempt from nginx's limits.
PAGES = ["/health/", "/api/users/", "/static/admin/css/base.css"]
NO_CHANGE = " changed=0 "
JSON = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
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
      app_domains: [127.0.0.1, localhost]
      app_environment:
        DEFAULT_FROM_EMAIL: clinic@example.com
      ca_certificates_files: "{{{{ query('ansible.builtin.fileglob', '{authorities}/*.crt') }}}}"
"""
GIT = {
    "app_source": {"git": "ssh://root@127.0.0.1/srv/clinic.git", "ref": "main"},
    "app_deploy_key": f"{{{{ lookup('ansible.builtin.file', '{droplet.KEY}') }}}}",
}
# The project's files on stdin, and one line that no commit before had.
COMMIT = """
set -e
mkdir -p /srv/clinic
cd /srv/clinic
tar -x
echo "# $(date --iso-8601=ns)" >>psychology_clinic/urls.py
git -c init.defaultBranch=main init --quiet --bare ../clinic.git
export GIT_DIR=/srv/clinic.git GIT_WORK_TREE=.
git add --all
git -c user.name=bench -c user.email=bench@localhost commit --quiet --message=bench
git rev-parse --short=12 HEAD
"""
ROWS = """
from django.contrib.auth.models import User
User.objects.bulk_create(User(username=f"bench-{number}") for number in range(20))
"""
Measured = tuple[float, str]  # the seconds of a command, and what it printed


class BenchError(RuntimeError):
    """A measurement failed; the text says which command, and how its output ends."""


@dataclass(frozen=True)
class Runs:
    """What the same costs again and again.

    Attributes:
        seconds: of each run.
        connections: SSH connections of one.
        commands: commands that it ran over them.
    """

    seconds: list[float]
    connections: int
    commands: int


@dataclass(frozen=True)
class Way:
    """What one way to provision or to deploy costs.

    Attributes:
        name: of the way.
        change: seconds of a run that changes something, if it was measured.
        again: seconds of a run that changes nothing, if it was measured.
        runs: those that the rest is told of.
        tasks: tasks of such a run that did something on the host, if it has tasks.
    """

    name: str
    change: float | None
    again: float | None
    runs: Runs
    tasks: int | None = None


def say(text: str) -> None:
    """Tell whoever waits what is being done; the result alone goes to stdout."""
    print(f"  {text}", file=sys.stderr, flush=True)


def measure(
    log: str, command: list[str], stdin: bytes = b"", environment: Mapping[str, str] = os.environ
) -> Measured:
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
    """Return how many connections a droplet's sshd has taken, and how many commands it has run.

    Those of git, from the droplet to itself, do not count.
    """
    journal = droplet.execute(container, "journalctl", "--unit=ssh", "--output=cat", "--no-pager")
    lines = [line for line in journal.splitlines() if " from 127.0.0.1 " not in line]
    taken, ran = (
        sum(line.startswith(begin) for line in lines)
        for begin in ("Accepted publickey", "Starting session:")
    )
    return taken, ran


def fresh(client: docker.DockerClient, name: str) -> Container:
    """Return a new droplet whose sshd notes each command that it runs."""
    droplet.down(client, name)
    container, _ = droplet.up(client, name)
    inside(container, "sshd", "sh", "-c", "echo LogLevel VERBOSE >/etc/ssh/sshd_config.d/90.conf")
    inside(container, "sshd", "systemctl", "reload", "ssh")
    return container


def repeat(
    what: str, container: Container, once: Callable[[], Measured], expect: Callable[[], str]
) -> Runs:
    """Measure the same again and again.

    Args:
        what: is measured.
        container: where.
        once: runs it.
        expect: prepares a run, and returns what it must print, a regular expression.

    Raises:
        BenchError: if a run prints something else.
    """
    seconds = []
    for _ in range(REPEATS):
        time.sleep(SETTLE)
        wanted = expect()
        before = sshd(container)
        took, printed = once()
        after = sshd(container)
        if not re.search(wanted, printed, re.MULTILINE):
            end = "\n".join(printed.splitlines()[-25:])
            raise BenchError(f"{what}: no {wanted!r} in what it printed:\n{end}")
        seconds.append(took)
        say(f"{what}: {took:.1f} s")
    return Runs(seconds, after[0] - before[0], after[1] - before[1])


def commit(container: Container) -> str:
    """Change one line in the repository on a droplet; return the commit's first digits."""
    command = ["docker", "exec", "--interactive", str(container.name), "sh", "-c", COMMIT]
    return measure("commit", command, PACKED.read_bytes())[1].strip()


def deploys(name: str, container: Container, once: Callable[[], Measured], no_change: str) -> Way:
    """Measure deploys of new commits, and of the live one.

    Args:
        name: of the way to deploy.
        container: where to.
        once: deploys.
        no_change: what it prints when it has changed nothing, a regular expression.
    """
    commit(container)
    once()  # which sets up what it needs
    change = repeat(f"{name}, one line", container, once, lambda: f"release {commit(container)}")
    again = repeat(f"{name}, no change", container, once, lambda: no_change)
    return Way(name, median(change.seconds), median(again.seconds), change)


# --- The floor ----------------------------------------------------------------------------------


def parcel() -> bytes:
    """Return a tar archive of the scripts and what they want beside them."""
    pack = ROOT / "roles" / "app" / "files" / "pack.py"
    measure("pack", [sys.executable, str(pack), str(SOURCE), str(PACKED)])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in (PACKED, *sorted((ROOT / "bench").glob("*.sh"))):
            archive.add(file, file.name)
        archive.add(droplet.KEY, "deploy_key")
        for file in sorted(AUTHORITIES.glob("*.crt")):
            archive.add(file, f"ca/{file.name}")
    return buffer.getvalue()


def floor(client: docker.DockerClient) -> tuple[Way, Way]:
    """Provision a droplet with the plain script, and again; deploy to it with the other one."""
    container = fresh(client, FLOOR)
    ssh = shlex.split(droplet.ssh_command(container))
    remote = "mkdir -p /root/floor && tar -xC /root/floor && bash /root/floor/floor.sh"

    def once(log: str = "floor") -> Measured:
        begun = time.monotonic()
        _, printed = measure(log, [*ssh, remote], parcel())
        return time.monotonic() - begun, printed

    no_change = "^0 changes$"
    name = "bash: bench/floor.sh"
    cold, _ = once("floor-cold")
    say(f"{name}, cold: {cold:.1f} s")
    again = repeat(f"{name}, no change", container, once, lambda: no_change)
    deployed = deploys(
        "bash: bench/deploy.sh",
        container,
        lambda: measure("floor-deploy", [*ssh, "bash /root/floor/deploy.sh"]),
        no_change,
    )
    return Way(name, cold, median(again.seconds), again), deployed


# --- The playbook -------------------------------------------------------------------------------


def inventory(container: Container, **variables: object) -> None:
    """Write the inventory of a droplet; its secrets are made beside it."""
    group_vars = CACHE / "group_vars"
    if not group_vars.is_symlink():
        group_vars.symlink_to(ROOT / "group_vars")
    port = droplet.ssh_port(container)
    text = INVENTORY.format(port=port, key=droplet.KEY, authorities=AUTHORITIES)
    lines = (f"      {name}: {json.dumps(value)}\n" for name, value in variables.items())
    HOSTS.write_text(text + "".join(lines))


def play(log: str, *arguments: str, environment: dict[str, str] | None = None) -> Measured:
    """Run a playbook over a connection of its own; return its seconds and what it printed."""
    ansible = Path(sys.executable).with_name("ansible-playbook")
    command = [str(ansible), "-i", str(HOSTS), *arguments]
    with TemporaryDirectory(prefix="bench-") as sockets:
        try:
            return measure(
                log,
                command,
                environment=os.environ
                | {"ANSIBLE_SSH_CONTROL_PATH_DIR": sockets}
                | (environment or {}),
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


def count(playbook: str) -> int:
    """Return how many tasks a run of a playbook has on the host; say which take longest."""
    tasks = on_host(play("tasks", playbook, environment=JSON)[1])
    for name, took in sorted(tasks.items(), key=lambda task: -task[1])[:10]:
        say(f"  {took:5.2f} s {name}")
    return len(tasks)


def site(container: Container) -> list[Way]:
    """Provision a droplet with the playbook, again, and again with mitogen."""
    name, fast = "site.yml", "site.yml, mitogen"
    inventory(container, app_source={"directory": str(SOURCE)})
    cold, _ = play("site-cold", name)
    say(f"{name}, cold: {cold:.1f} s")
    plain = repeat(f"{name}, no change", container, lambda: play("site", name), lambda: NO_CHANGE)
    tasks = count(name)
    quick = repeat(
        f"{fast}, no change",
        container,
        lambda: play("site-mitogen", name, environment=mitogen()),
        lambda: NO_CHANGE,
    )
    return [
        Way(name, cold, median(plain.seconds), plain, tasks),
        Way(fast, None, median(quick.seconds), quick, tasks),
    ]


def deploy(container: Container) -> list[Way]:
    """Deploy to a droplet that the playbook has provisioned, and with mitogen."""
    name = "playbooks/deploy.yml"
    inventory(container, **GIT)
    plain = deploys(name, container, lambda: play("deploy", name), NO_CHANGE)
    commit(container)
    tasks = count(name)
    fast = deploys(
        f"{name}, mitogen",
        container,
        lambda: play("deploy-mitogen", name, environment=mitogen()),
        NO_CHANGE,
    )
    return [replace(plain, tasks=tasks), replace(fast, tasks=tasks)]


def rollback(container: Container) -> Way:
    """Go back to the release before, forth again, and back."""
    name = "playbooks/rollback.yml"
    releases = inside(container, "releases", "ls", "-t", "/var/www/clink-backend/releases").split()
    newest = releases[:2]  # the first is live

    def expect() -> str:
        newest.reverse()
        return f"release {newest[0]}"

    runs = repeat(
        name,
        container,
        lambda: play("rollback", name, "-e", f"app_rollback_to={newest[0]}"),
        expect,
    )
    return Way(name, median(runs.seconds), None, runs)


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


def costs(ways: list[Way], least: Way | None) -> list[list[str]]:
    """Return a row for each way; its medians are compared with those of the floor, if there is."""

    def cell(seconds: float | None, least: float | None) -> str:
        if seconds is None:
            return "-"
        return f"{seconds:.1f} ({seconds / least:.1f}x)" if least else f"{seconds:.1f}"

    return [
        [
            way.name,
            cell(way.change, least.change if least else None),
            cell(way.again, least.again if least else None),
            f"{min(way.runs.seconds):.1f}-{max(way.runs.seconds):.1f}",
            "-" if way.tasks is None else str(way.tasks),
            str(way.runs.connections),
            str(way.runs.commands),
        ]
        for way in ways
    ]


def bench(client: docker.DockerClient, markdown: bool) -> None:
    """Measure all and print it."""
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    versions = f"ansible-core {version('ansible-core')}, mitogen {version('mitogen')}"
    about = f"Debian 13, {versions}, {os.cpu_count()} cores, load average at the start {load}"
    say(about)
    least = floor(client)
    client.containers.get(FLOOR).stop()  # its services must not take part in what follows
    container = fresh(client, SITE)
    provisioning = costs([least[0], *site(container)], least[0])
    pages = serve(container)
    deploying = costs([least[1], *deploy(container)], least[1])
    deploying += costs([rollback(container)], None)
    told = ["tasks on the host", "SSH connections", "commands over SSH"]
    print(f"\n{about}\n")
    print(table(["provisioning", "cold s", "no change s", "range", *told], provisioning, markdown))
    print()
    print(table(["deploying", "one line s", "no change s", "range", *told], deploying, markdown))
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

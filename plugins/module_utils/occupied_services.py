"""What Redis, PostgreSQL, RabbitMQ, fail2ban and the firewall of a host already do for others."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing, suppress
from itertools import dropwhile
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.clink.django_stack.plugins.module_utils import (
    kept_files,
    occupants,
    queues,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.occupants import Finding, Listener

SYSTEM = Path("/etc/systemd/system")
REDIS = Path("/etc/redis/redis.conf")
REDIS_UNIT = "redis-server.service"
REDIS_USERS = Path("/etc/redis/users.acl")  # which redis.conf of the role names
# Settings that say where the data is: the server would start empty, or not at all, with others.
REDIS_PLACES = {
    "dir": "/var/lib/redis", "appendfilename": "appendonly.aof", "appenddirname": "appendonlydir",
    "databases": "16",
}  # fmt: skip
REWRITING = 600.0  # seconds for a copy of the data of Redis
POSTGRESQL = Path("/etc/postgresql")
POSTGRESQL_DROP_IN = SYSTEM / "postgresql@.service.d/django_stack.conf"
CLUSTERS = Path("/var/lib/postgresql")
FIRST_OF_USERS = 16384  # the object ids below are those of PostgreSQL itself
RABBITMQ = Path("/etc/rabbitmq")
RABBITMQ_FILES = ("rabbitmq.conf", "rabbitmq-env.conf", "definitions.json")
RABBITMQ_UNIT = "rabbitmq-server.service"
RABBITMQ_DATA = Path("/var/lib/rabbitmq/mnesia")
FAIL2BAN = Path("/etc/fail2ban/jail.local")
UFW = Path("/etc/ufw/ufw.conf")
UFW_DEFAULTS = Path("/etc/default/ufw")
# Docker opens the ports of its containers beside ufw.
SYSTEM_PROGRAMS = {
    "docker-proxy",
    "dropbear",
    "init",
    "rpcbind",
    "sshd",
    "systemd",
    "systemd-resolve",
}
Given = dict[str, Any]


class Looks(Protocol):
    """A host that is looked at."""

    @property
    def listeners(self) -> list[Listener]:
        """Return who listens on the host."""


def is_rendered(text: str, *beginnings: str) -> bool:
    """Return whether a role has written a file: comments only at its head, and lines of the role.

    The words of the head are no sign of it: `ansible_managed` is the user's.

    Args:
        text: of the file.
        beginnings: of lines that are in each file of the role.
    """
    lines = [line for line in text.splitlines() if line]
    body = list(dropwhile(lambda line: line.startswith("#"), lines))
    return (
        0 < len(body) < len(lines)
        and not any(line.startswith("#") for line in body)
        and all(any(line.startswith(each) for line in body) for each in beginnings)
    )


def is_sorted(text: str) -> bool:
    """Return whether the settings of a file are in the order in which a role writes them."""
    names = [line.split()[0].lower() for line in text.splitlines() if line and line[0] != "#"]
    return names == sorted(names)


def port_taken(
    claim: Given, variable: str, listeners: list[Listener], unit: str, port: int = 0
) -> list[Finding]:
    """Return who listens on the port of a service, if it is not the service itself."""
    port = port or int(claim["port"])
    found = [each for each in listeners if each.port == port and not re.match(unit, each.unit)]
    advice = f"set {variable}" if variable else "stop that service now and at boot"
    return [
        Finding(f"port {port} is in use by {each.program} ({each.unit or 'no unit'})", advice, True)
        for each in found[:1]
    ]


def is_tried(unit: str, service: str) -> bool:
    """Return whether a role has set up a unit that does not run yet, and nobody before it.

    Args:
        unit: the unit.
        service: the unit by whose name its take-over is remembered.
    """
    return kept_files.is_tried(unit) and not (units.TAKEN_OVER / service).exists()


# --- Redis ---------------------------------------------------------------------------------------


def redis_is_ours() -> bool:
    """Return whether the role has set Redis up, even if the service was retired since."""
    drop_in = SYSTEM / f"{REDIS_UNIT}.d/django_stack.conf"
    text = occupants.text_of(REDIS)
    rendered = is_rendered(text, f"aclfile {REDIS_USERS}") and is_sorted(text)
    return drop_in.exists() or rendered or is_tried(REDIS_UNIT, REDIS_UNIT)


def redis_of_others(hashes: list[str]) -> list[Finding]:
    """Return whether the role's Redis has another password than a run would give it.

    Args:
        hashes: the SHA-256 sums of the passwords of the run.
    """
    known = re.findall(r" #([0-9a-f]{64})\b", occupants.text_of(REDIS_USERS).split("\n")[0])
    if not known or not hashes or set(known) & set(hashes):
        return []
    return [
        Finding(f"Redis has another password, of whoever has set it up ({REDIS_USERS}), and would "
                "refuse those programs",
                "add that password to redis_password_fallbacks, or use it as redis_password")
    ]  # fmt: skip


def redis_settings() -> dict[str, str]:
    """Return the settings of redis.conf, of which the last of each name counts."""
    pairs = re.findall(r"^\s*([a-z-]+)\s+(.*?)\s*$", occupants.text_of(REDIS), re.MULTILINE)
    return {name: value.strip("\"'") for name, value in pairs}


def redis_client(settings: dict[str, str]) -> queues.Client:
    """Connect to Redis and log in.

    Raises:
        OSError, QueueError: it does not answer, or refuses the login.
    """
    host = settings.get("bind", "127.0.0.1").split()[0].lstrip("-")
    place = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::1": "[::1]"}.get(host, host)  # noqa: S104 - of redis.conf
    client = queues.Client(f"redis://{place}:{settings.get('port', '6379')}")
    if password := settings.get("requirepass", ""):
        try:
            client.ask("AUTH", password)
        except queues.QueueError:
            client.close()
            raise
    return client


def redis_data(settings: dict[str, str]) -> str:
    """Return what Redis holds, in words; empty if it holds nothing and nobody is connected."""
    if units.show(REDIS_UNIT, "ActiveState").get("ActiveState") == "active":
        try:
            with closing(redis_client(settings)) as client:
                keys = client.ask("INFO", "keyspace").decode()
                clients = client.ask("INFO", "clients").decode()
        except (OSError, queues.QueueError) as error:
            return f"data that cannot be read ({error})"
        counts = re.findall(r"^db(\d+):keys=(\d+)", keys, re.MULTILINE)
        told = [f"{count} keys in database {number}" for number, count in counts]
        connected = int(re.findall(r"^connected_clients:(\d+)", clients, re.MULTILINE)[0])
        told += [f"{connected - 1} connected programs"] if connected > 1 else []
        return ", ".join(told)
    place = Path(settings.get("dir", REDIS_PLACES["dir"]))
    dump = place / settings.get("dbfilename", "dump.rdb")
    if dump.is_file() and occupants.has_keys(dump.read_bytes()[:4096]):
        return f"data in {dump}, though it does not run"
    journals = [each for each in place.glob("append*/*.incr.aof") if each.stat().st_size]
    return f"data in {journals[0]}, though it does not run" if journals else ""


def redis(claim: Given, known: dict[str, str], listeners: list[Listener]) -> list[Finding]:
    """Return what Redis does for others.

    Args:
        claim: what the role wants: `port`, and of `settings` those that say where the data is.
        known: what `occupants.of_packages` returns.
        listeners: of this host.
    """
    if redis_is_ours():
        return []
    settings = redis_settings()
    found = port_taken(claim, "redis_port", listeners, REDIS_UNIT)
    data = redis_data(settings) if known or REDIS.exists() else ""
    changed = occupants.is_changed(REDIS, known)
    if data:
        found.append(
            Finding(f"Redis holds {data}. The data would stay; the programs that use it would have "
                    "to log in with redis_password (app_broker_password)",
                    "use another Redis by app_broker")
        )  # fmt: skip
    if changed:
        found.append(Finding(f"{REDIS} was changed by somebody and would be replaced"))
    if data:
        found += redis_elsewhere(settings, claim["settings"])
    return found


def redis_elsewhere(settings: dict[str, str], wanted: Given) -> list[Finding]:
    """Return the settings by which the role's server would not find the data of the present one."""
    found = []
    for name, usual in REDIS_PLACES.items():
        now, then = settings.get(name, usual), str(wanted.get(name, usual))
        if now != then:
            found.append(
                Finding(f"Redis has {name} {now}, and would not find its data with {then}",
                        f"set redis_settings: {{{name}: {now}}}", final=True)
            )  # fmt: skip
    return found


def keep_redis() -> None:
    """Let Redis write its data to where the role's settings look for it.

    A server that starts with the setting appendonly reads only the files of this setting, and they
    exist only if the running server got the setting. Source: redis.io, persistence.

    Raises:
        OSError, QueueError, UnitError: it cannot; nothing was replaced.
    """
    settings = redis_settings()
    if not redis_data(settings):
        return
    units.systemctl("start", REDIS_UNIT)
    with closing(redis_client(settings)) as client:
        client.ask("CONFIG", "SET", "appendonly", "yes")
        deadline = time.monotonic() + REWRITING
        while time.monotonic() < deadline:
            told = client.ask("INFO", "persistence").decode()
            if "aof_rewrite_in_progress:0" in told and "aof_rewrite_scheduled:0" in told:
                if "aof_enabled:1" in told and "aof_last_bgrewrite_status:ok" in told:
                    return
                break
            time.sleep(0.2)
    raise units.UnitError("Redis has not written its data as an append-only file")


# --- PostgreSQL ----------------------------------------------------------------------------------


def clusters() -> dict[tuple[str, str], int]:
    """Return the port of each cluster of the host, by its version and name."""
    found = {}
    for path in POSTGRESQL.glob("*/*/postgresql.conf"):
        texts = [
            occupants.text_of(each) for each in [path, *sorted(path.parent.glob("conf.d/*.conf"))]
        ]
        ports = re.findall(r"^\s*port\s*=?\s*'?(\d+)", "\n".join(texts), re.MULTILINE)
        found[path.parent.parent.name, path.parent.name] = int(ports[-1]) if ports else 5432
    return found


def ask_postgresql(port: int, query: str) -> list[str] | None:
    """Return the lines of PostgreSQL's answer to root's question; None if it does not answer."""
    told = units.run(units.psql(port, f"--command={query}"), 20)
    return [line for line in told.output.splitlines() if line] if told.code == 0 else None


DATABASES = "SELECT datname FROM pg_database WHERE oid >= 16384 ORDER BY 1"
TABLES = (
    "SELECT 'postgres' FROM pg_class WHERE oid >= 16384 AND relkind IN ('r','p','v','m') LIMIT 1"
)
ROLES = "SELECT rolname FROM pg_roles WHERE oid >= 16384 ORDER BY 1"
SETTINGS = (
    "SELECT name || ' = ' || setting FROM pg_settings WHERE source = 'configuration file' "
    "AND name IN ({}) ORDER BY 1"
)
# Debian gives these to each new cluster.
DEBIANS = {"listen_addresses = localhost", "max_connections = 100", "shared_buffers = 16384"}


def databases(version: str, port: int) -> tuple[list[str], bool]:
    """Return the databases of others in the main cluster, and whether PostgreSQL was asked."""
    unit = f"postgresql@{version}-main.service"
    if units.show(unit, "ActiveState").get("ActiveState") == "active":
        told = ask_postgresql(port, DATABASES)
        if told is not None:
            return [*told, *(ask_postgresql(port, TABLES) or [])], True
    base = CLUSTERS / version / "main/base"
    found = [each.name for each in base.glob("*") if each.name.isdigit()]
    return [f"number {name}" for name in found if int(name) >= FIRST_OF_USERS], False


def postgresql(claim: Given, host: Looks) -> list[Finding]:
    """Return what PostgreSQL does for others.

    Args:
        claim: what the role wants: its `version`, `port`, and the names of its `databases`,
            `roles` and `settings`.
        host: its listeners are read where they are needed.
    """
    version, port = str(claim["version"]), int(claim["port"])
    if (
        POSTGRESQL_DROP_IN.exists()
        or (POSTGRESQL / version / "main/conf.d/django_stack.conf").exists()
        or is_tried(f"postgresql@{version}-main.service", "postgresql.service")
    ):
        return []
    there = clusters()
    own = there.pop((version, "main"), None)
    found = [
        Finding(f"the cluster {name} of PostgreSQL {other} has port {port}",
                "set postgresql_port to a free port", final=True)
        for (other, name), its in there.items() if its == port
    ]  # fmt: skip
    if not found and own != port:
        found = port_taken(claim, "postgresql_port", host.listeners, "postgresql@")
    if own is None:
        return found
    names, was_asked = databases(version, own)
    if not names:
        return found
    now = ask_postgresql(own, SETTINGS.format(", ".join(f"'{each}'" for each in claim["settings"])))
    told = [each for each in now or [] if each not in DEBIANS]
    found.append(
        Finding(f"PostgreSQL {version} holds {', '.join(names)}. The data would stay; the server "
                f"would restart with the role's settings"
                + (f" instead of {', '.join(told)}" if told else ""),
                "use another server by app_database"
                + (", and keep those by postgresql_settings" if told else ""))
    )  # fmt: skip
    if own != port:
        found.append(
            Finding(f"its programs know it at port {own}, and the role would move it to {port}",
                    f"set postgresql_port: {own}", final=True)
        )  # fmt: skip
    if (
        not was_asked
        and units.show(f"postgresql@{version}-main.service", "ActiveState").get("ActiveState")
        == "active"
    ):
        found.append(
            Finding("the user postgres cannot log in to PostgreSQL", "let pg_hba.conf begin with: "
                    "local all postgres peer", final=True)
        )  # fmt: skip
    return found + same_names(claim, names, ask_postgresql(own, ROLES) or [])


def same_names(claim: Given, names: list[str], roles: list[str]) -> list[Finding]:
    """Return the databases and roles of others that the role would change."""
    same = sorted(set(claim["databases"]) & set(names))
    taken = sorted(set(claim["roles"]) & set(roles))
    found = []
    if same:
        found.append(Finding(f"PostgreSQL has a database {same[0]} already, which would be used"))
    if taken:
        found.append(
            Finding(f"PostgreSQL has a role {taken[0]} already, which would get another password")
        )
    return found


# --- RabbitMQ ------------------------------------------------------------------------------------


def rabbitmq_is_ours() -> bool:
    """Return whether the role has set RabbitMQ up, even if the service was retired since."""
    drop_in = SYSTEM / f"{RABBITMQ_UNIT}.d/django_stack.conf"
    text = occupants.text_of(RABBITMQ / "rabbitmq.conf")
    line = f"load_definitions = {RABBITMQ}/definitions.json"
    rendered = is_rendered(text, line) and is_sorted(text)
    return drop_in.exists() or rendered or is_tried(RABBITMQ_UNIT, RABBITMQ_UNIT)


def rabbitmq_names(command: str, key: str) -> set[str]:
    """Return what a command of rabbitmqctl lists; empty if it fails."""
    told = units.run(["/usr/sbin/rabbitmqctl", "--quiet", "--formatter=json", command], 60)
    with suppress(ValueError):
        return {str(each[key]) for each in json.loads(told.output)}
    return set()


def rabbitmq(claim: Given, listeners: list[Listener]) -> list[Finding]:
    """Return what RabbitMQ does for others.

    Args:
        claim: what the role wants: its `port`.
        listeners: of this host.
    """
    if rabbitmq_is_ours():
        return []
    found = port_taken(claim, "rabbitmq_port", listeners, "(rabbitmq-server|epmd)[.]")
    # Debian's package makes a rabbitmq-env.conf of comments, of which dpkg does not know.
    files = [
        str(path)
        for path in (RABBITMQ / name for name in RABBITMQ_FILES)
        if re.search(r"^[^#\s]", occupants.text_of(path), re.MULTILINE)
    ]
    if units.show(RABBITMQ_UNIT, "ActiveState").get("ActiveState") == "active":
        users = rabbitmq_names("list_users", "user") - {"guest"}
        hosts = rabbitmq_names("list_vhosts", "name") - {"/"}
        queued = rabbitmq_names("list_queues", "name")
        parts = {"users": users, "virtual hosts": hosts, "queues": queued}
        told = "; ".join(
            f"{kind} {', '.join(sorted(names))}" for kind, names in parts.items() if names
        )
        if told:
            found.append(
                Finding(f"RabbitMQ has {told}. They would stay; the server would listen on the "
                        "loopback address only", "use another server by app_broker")
            )  # fmt: skip
    elif RABBITMQ_DATA.is_dir() and any(RABBITMQ_DATA.iterdir()):
        found.append(Finding(f"RabbitMQ has data in {RABBITMQ_DATA}, though it does not run"))
    if files:
        found.append(Finding(f"{', '.join(files)}: made by somebody, and would be replaced"))
    return found


def others_in(unit: str, application: str) -> list[str]:
    """Return what a service of a role holds for others than an application, by its unit.

    The databases of a stopped server have no names: the first is the application's.
    """
    if unit == "postgresql.service":
        told = [databases(version, port) for (version, name), port in clusters().items()
                if name == "main"]  # fmt: skip
        named = [each for names, was_asked in told if was_asked for each in names]
        unnamed = [each for names, was_asked in told if not was_asked for each in names]
        return [each for each in named if each != application] + unnamed[0 if named else 1 :]
    if unit == RABBITMQ_UNIT:
        return sorted(rabbitmq_names("list_vhosts", "name") - {"/", application})
    return []


# --- fail2ban and the firewall -------------------------------------------------------------------


def fail2ban(_given: Given) -> list[Finding]:
    """Return whether the settings of fail2ban are somebody's."""
    text = occupants.text_of(FAIL2BAN)
    if not text or is_rendered(text, "[DEFAULT]", "ignorecommand =", "bantime.increment"):
        return []
    return [
        Finding(f"{FAIL2BAN} is a file of somebody else and would be replaced",
                f"move its jails into a file of {FAIL2BAN.parent}/jail.d/, which stays")
    ]  # fmt: skip


def ports_of(texts: list[Any]) -> set[int]:
    """Return the ports that texts such as 80, "6000:6010" and "80,443" mean."""
    found = set()
    for text in (part for each in texts for part in str(each).split(",")):
        first, _sep, last = text.strip().partition(":")
        if first.isdigit() and (last or first).isdigit():
            found |= set(range(int(first), int(last or first) + 1))
    return found


def ufw(claim: Given, host: Looks) -> list[Finding]:
    """Return the services of others that the firewall would close.

    Args:
        claim: the `ports` that the role opens to everybody, and its other `rules`.
        host: its listeners are read where they are needed.
    """
    enabled = "\nENABLED=yes" in "\n" + occupants.text_of(UFW)
    if enabled and 'DEFAULT_INPUT_POLICY="DROP"' in occupants.text_of(UFW_DEFAULTS):
        return []
    named = [each.get("port") or each.get("to_port") or "" for each in claim["rules"]]
    open_ports = ports_of([*claim["ports"], *named])
    closed = [
        each
        for each in host.listeners
        if each.is_public and each.port not in open_ports and each.program not in SYSTEM_PROGRAMS
    ]
    told = sorted(
        {f"{each.port} ({each.program})" for each in closed}, key=lambda each: int(each.split()[0])
    )
    if not told:
        return []
    ports = ", ".join(each.split()[0] for each in told)
    return [
        Finding(f"other hosts reach services at TCP port {', '.join(told)}; the firewall closes "
                "what has no rule", f"to keep them reachable, add {ports} to ufw_allow", mild=True)
    ]  # fmt: skip

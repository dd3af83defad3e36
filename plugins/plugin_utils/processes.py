"""The processes and schedules of an application: from the description to units of systemd.

app_processes and app_schedules hold a text (a command) or a dictionary for each name. A process
with `queues` is a Celery worker, any other one runs a command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# What a shell would act upon outside of quotes. No shell runs a command, so none is passed on.
SHELL = re.compile(r"[|&;<>()`$]")
QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.")
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./$-]+")  # a word that systemd reads without quotes
STOPPING = 30  # seconds that a command gets to end after SIGTERM
RUNNING = 86400  # seconds that a scheduled command may take
SYSTEM = "/etc/systemd/system"
COMMON = ("stop_timeout", "memory", "sandbox")
KEYS = {  # in the order in which the units restart: the others may send tasks to the workers
    "worker": {"queues", "concurrency", "options", *COMMON},
    "command": {"command", *COMMON},
    "schedule": {"command", "on", "timeout", *COMMON},
}


def words(command: str) -> list[str]:
    """Return the words of a command, as a shell splits them; `python` is put before a script.

    Args:
        command: such as `manage.py report --format="%Y"`. Assignments may stand before it.

    Raises:
        ValueError: it is empty, a quote is not closed, or only a shell could run it.
    """
    found = shlex.split(command)
    program = next((i for i, word in enumerate(found) if not ASSIGNMENT.match(word)), None)
    if program is None or found[0].startswith("-"):
        raise ValueError("there is no program")
    if CONTROL.search(command) or SHELL.search(QUOTED.sub("", command)):
        raise ValueError("only a shell could run it")
    if found[program].endswith(".py"):
        found.insert(program, "python")
    return found


def quoted(word: str) -> str:
    """Return a word as systemd reads it in ExecStart=: nothing in it is expanded."""
    text = word.replace("%", "%%").replace("$", "$$")
    if PLAIN.fullmatch(text):
        return text
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def keys_of(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a value of the description
    """Return a process or a schedule as a dictionary. YAML reads the key `on` as true."""
    if isinstance(value, Mapping):
        return {"on" if key is True else str(key): each for key, each in value.items()}
    return {"command": value}


def kind_of(value: Any) -> str:  # noqa: ANN401 - a value of the description
    """Return whether a process of app_processes is a `worker` or a `command`."""
    return "worker" if "queues" in keys_of(value) else "command"


def has_its_keys(value: Any, kind: str) -> bool:  # noqa: ANN401 - a value of the description
    """Return whether a process or a schedule has the keys that it needs, and no others."""
    needed = {"worker": {"queues"}, "command": {"command"}, "schedule": {"command", "on"}}
    return needed[kind] <= set(keys_of(value)) <= KEYS[kind]


def worker_command(first: Iterable[str], node: str, keys: Mapping[str, Any]) -> str:
    """Return the command of a Celery worker: that of the first worker with options of its own."""
    own = {"--hostname": f"{node}@%%h", "--queues": ",".join(keys["queues"])}
    if keys.get("concurrency"):
        own["--concurrency"] = str(keys["concurrency"])
    kept = [word for word in first if word.partition("=")[0] not in own]
    return " ".join([
        *kept, *(f"{name}={value}" for name, value in own.items()),
        *map(quoted, keys.get("options", [])),
    ])  # fmt: skip


def units(
    processes: Mapping[str, Any],
    schedules: Mapping[str, Any],
    application: Mapping[str, Any],
    first_worker: Iterable[str] = (),
    stop_timeout: int = 300,
) -> list[dict[str, Any]]:
    """Return the units of an application's processes, workers first, then commands and schedules.

    Args:
        processes: app_processes, which has been checked.
        schedules: app_schedules, which has been checked.
        application: its `name`, with which the names of the units begin, `environment_file` and
            `current`.
        first_worker: the command of celery.service, word by word.
        stop_timeout: seconds that the tasks of a worker get to end.

    Returns:
        for each its values; `definitions`, which the module config_files reads; `service` and
        `watched`, which the module app_services reads: the unit that runs the command, and the
        one that ought to be active.
    """
    described = [
        *((kind_of(value), str(name), keys_of(value)) for name, value in processes.items()),
        *(("schedule", str(name), keys_of(value)) for name, value in schedules.items()),
    ]
    order = list(KEYS)
    first, told = list(first_worker), []
    for kind, name, keys in sorted(described, key=lambda each: order.index(each[0])):
        node = f"{application['name']}-{name}"
        definition = f"{SYSTEM}/{node}.service"
        read = [definition, str(application["environment_file"]), str(application["current"])]
        queues = [str(queue) for queue in keys.get("queues", [])]
        if kind == "worker":
            command = worker_command(first, node, keys)
            read += [word for word in first if word.endswith(".py")]
        else:
            command = " ".join(map(quoted, words(str(keys["command"]))))
        service = {"unit": f"{node}.service", "files": read}
        timer = {"unit": f"{node}.timer", "files": [f"{SYSTEM}/{node}.timer"]}
        stop = stop_timeout if kind == "worker" else STOPPING
        process = {
            "name": name, "kind": kind, "node": node, "command": command, "queues": queues,
            "stop_timeout": int(keys.get("stop_timeout", stop)),
            "memory": int(keys.get("memory", 0)),
            "sandbox": dict(keys.get("sandbox", {})),
            "on": str(keys.get("on", "")),
            "timeout": int(keys.get("timeout", RUNNING)),
        }  # fmt: skip
        files = [{"src": "process.service.j2", "dest": definition, "unit": "service"}]
        if kind == "schedule":
            files.append({"src": "process.timer.j2", "dest": timer["files"][0], "unit": "timer"})
        told.append({
            **process,
            "definitions": [{**file, "vars": {"__process": process}} for file in files],
            "service": {**service, "schedule": kind == "schedule"},
            "watched": timer if kind == "schedule" else service,
        })  # fmt: skip
    return told


# --- Checks of values; checks.yml names them ---------------------------------------------------


def _number(keys: Mapping[str, Any], name: str, lowest: int, highest: int) -> bool:
    if name not in keys:
        return True
    value = keys[name]
    text = str(value)
    return (
        not isinstance(value, (bool, float))
        and re.fullmatch("[0-9]{1,9}", text) is not None
        and lowest <= int(text) <= highest
    )


def worker_pings(workers: Iterable[str], run: str, celery: str) -> dict[str, str]:
    """Return for each Celery worker's unit the command that succeeds if the worker answers a ping.

    Args:
        workers: the names of the workers, which are those of their units and nodes.
        run: the program that runs a command as the application's user, in the sandbox.
        celery: the Celery application.
    """
    return {
        f"{worker}.service": f"APP_RUN_LIMIT=20 {run} celery --app={celery} inspect --timeout=5"
        f" --destination={worker}@$(hostname) ping"
        for worker in workers
    }


def _list(keys: Mapping[str, Any], name: str, pattern: str) -> bool:
    values = keys.get(name, ["x"] if name == "queues" else [])
    return isinstance(values, list) and all(
        isinstance(each, str) and re.fullmatch(pattern, each) for each in values
    )


def has_settings(value: Any, is_sandbox: Callable[[str, Any], bool]) -> bool:  # noqa: ANN401 - a value of the description
    """Return whether the settings of a process or a schedule can be used.

    Args:
        value: from app_processes or app_schedules.
        is_sandbox: whether a directive of systemd can have a value.
    """
    keys = keys_of(value)
    sandbox = keys.get("sandbox", {})
    return (
        _number(keys, "concurrency", 1, 256)
        and _number(keys, "stop_timeout", 1, 86400)
        and _number(keys, "timeout", 1, 31536000)
        and _number(keys, "memory", 16, 10000000)
        and bool(keys.get("queues", ["x"]))
        and _list(keys, "queues", "[A-Za-z0-9_.:@/+-]+")
        and _list(keys, "options", r"-[^\s;]*")
        and isinstance(sandbox, Mapping)
        and all(is_sandbox(name, each) for name, each in sandbox.items())
        and CONTROL.search(str(keys.get("on", "x"))) is None
        and bool(str(keys.get("on", "x")).strip())
    )


def has_command(value: Any) -> bool:  # noqa: ANN401 - a value of the description
    """Return whether the command of a process or a schedule can be run without a shell."""
    command = keys_of(value).get("command", "true")
    try:
        return isinstance(command, str) and bool(words(command))
    except ValueError:
        return False

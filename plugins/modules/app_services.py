"""Restarts the services of an application without a lost request, and checks that they work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_services
short_description: Restarts the services of an application and checks that they work
description:
  - Restarts the services in the order of the list. While Gunicorn restarts, the unit in C(handover)
    serves, if the memory is enough for both. The module does not wait for the restart of the other
    services, because a Celery worker ends its tasks first.
  - Then pings the Celery workers, watches whether the processes of O(steady) go on, and requests a
    page of the site. Where the page leads, must answer as well.
  - If a service does not work with the files that M(clink.django_stack.config_files) has replaced,
    the files from before are installed again.
  - With O(force=true), if one of these steps fails, the module kills all processes of the services
    and starts the services again, which interrupts the site for some seconds.
options:
  application:
    description: The application, as the role C(app) describes it in C(vars/main.yml).
    type: dict
    required: true
  services:
    description: The services, in the order of their restarts.
    type: list
    elements: dict
    default: []
    suboptions:
      unit:
        description: The name of the unit, as in V(celery.service).
        type: str
        required: true
      files:
        description: The files that the service has read when it started.
        type: list
        elements: str
        default: []
      handover:
        description: The unit that serves from the same socket while this one restarts.
        type: str
        default: ""
      reserve:
        description: MB of memory and swap that must stay free while both units run.
        type: int
        default: 0
      schedule:
        description:
          - Whether a timer starts the unit. It is not restarted, because its next run begins with
            the new files. O(force) ends it, and O(patience) waits for it.
        type: bool
        default: false
  outdated:
    description: Whether only services that are older than one of their files are restarted.
    type: bool
    default: false
  force:
    description:
      - Whether all processes of the services are killed if the services do not restart or the site
        does not answer. For a rollback, whose live release may be hostile.
    type: bool
    default: false
  workers:
    description: The names of the Celery workers' services, which are pinged.
    type: list
    elements: str
    default: []
  steady:
    description:
      - Units that have to run for some seconds. systemd restarts a process that ends, so that its
        state alone does not show that it works.
    type: list
    elements: str
    default: []
  installed:
    description:
      - Whether O(services) has all processes that the role C(processes) knows. Processes that it
        has installed and that are described no more restart, too, with a warning; so does a warning
        tell of a service that is not installed.
    type: bool
    default: false
  may_be_absent:
    description:
      - Whether a service is left out that is not installed yet, because its role comes later in the
        play.
    type: bool
    default: false
  patience:
    description:
      - Seconds to wait until no process of the services is older than their files. A Celery worker
        and a scheduled command end their work first. With 0 the module does not wait.
    type: int
    default: 0
  site:
    description: The page to request; without it no page is requested.
    type: dict
    suboptions:
      name:
        description: The name of the site.
        type: str
        required: true
      path:
        description: The page.
        type: str
        required: true
      scheme:
        description: The scheme of the page's URL.
        type: str
        choices: [http, https]
        required: true
      socket:
        description: Gunicorn's socket, for a site whose nginx asks for a password.
        type: str
        required: true
      names:
        description: All names of the site. A redirect to one of them is followed.
        type: list
        elements: str
        default: []
      proxied:
        description: Whether a proxy before nginx may end TLS, so that a redirect to HTTPS is right.
        type: bool
        default: false
      files:
        description:
          - Directories that nginx serves, by the paths of their URLs. A file of each is requested.
            What is wrong with files of the application's user is a warning.
        type: dict
        default: {}
      files_at:
        description: Other names, by those paths of O(site.files) that nginx serves under one.
        type: dict
        default: {}
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Restart Gunicorn without a pause, and request a page of the site
  clink.django_stack.app_services:
    application: "{{ __app_application }}"
    services:
      - unit: gunicorn.service
        handover: gunicorn-handover.service
        reserve: 64
    site:
      name: example.com
      path: /health/
      scheme: https
      socket: /var/www/clinic/gunicorn.sock
"""

RETURN = r"""
restarted:
  description: The units that were restarted.
  type: list
  elements: str
  returned: always
told:
  description: Messages for the operator, such as the reason of a pause.
  type: list
  elements: str
  returned: always
"""

import os
import socket
import time
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import (
    diagnosis,
    health,
    kept_files,
    memory,
    processes,
    staying,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

# Run in the release with the name of the application and of the workers: one process asks until all
# workers answer, because each would load the project again.
ASK = """
import sys, time
from celery.app.utils import find_app
name, limit, *nodes = sys.argv[1:]
application, end, wrong = find_app(name), time.monotonic() + float(limit), ""
while nodes and time.monotonic() < end:
    try:
        answers = application.control.ping(nodes, timeout=0.3, limit=len(nodes))
        nodes = [node for node in nodes if not any(node in answer for answer in answers)]
    except Exception as error:  # such as that of a broker that restarts
        wrong = repr(error)
        time.sleep(0.3)
raise SystemExit(f"no answer: {' '.join(nodes)} {wrong}" if nodes else 0)
"""
LOG = 400  # lines of a service's log in which the cause is looked for
PING = 25  # seconds within which a worker must answer
ENDING = 5.0  # seconds to wait for a process that still ends its work
STEADY = 5.0  # seconds that a process has to run
IMPORTING = 20.0  # seconds that it may be busy at its start, such as with imports
CALM = 4  # looks in a row that find it asleep
LOOKS = 0.3  # seconds between two looks at units
FOLLOWS = "the new release follows then"
WATCHED = ("Id", "ActiveState", "Job", "InvocationID", "ExecMainStatus",
           "ActiveEnterTimestampMonotonic", "MainPID")  # fmt: skip
TRIES = 10  # requests to the site, one each second


class ServiceError(Exception):
    """A service does not work; the text says what to do, and has the lines of its log that say why.

    `what` is one line: which service, and what is wrong with it.
    """

    def __init__(self, what: str, log: str = "") -> None:
        """Keep what is wrong, and look for the cause in the log."""
        super().__init__(diagnosis.report(what, log))
        self.what = what.splitlines()[0]


def resident(main: str) -> int:
    """Return the resident memory of a process and its children, in MB."""
    told = units.run(["/usr/bin/ps", "-o", "rss=", "-p", main, "--ppid", main], 10)
    return sum(map(int, told.output.split())) // 1024 if not told.code else 0


def restart(unit: str) -> None:
    """Restart a unit and wait until it is ready.

    Raises:
        ServiceError: the unit does not start; the text has the end of its log.
    """
    begun = time.time()
    done = units.systemctl("restart", unit, limit=units.STARTING)
    if done.code:
        said = units.journal(unit, begun, LOG) or done.output
        raise ServiceError(f"{unit} does not start; journalctl -u {unit} says:", said)


def hand_over(service: dict[str, Any]) -> list[str]:
    """Restart a service while another unit serves from its socket; return messages."""
    unit, handover = service["unit"], service["handover"]
    needed = resident(units.show(unit, "MainPID").get("MainPID", "0"))
    free = memory.available(memory.MEMORY.read_text())
    if needed + service["reserve"] > free:
        restart(unit)
        name = unit.removesuffix(".service")
        return [f"{name} has {needed} MB and {free} MB are free: it restarts with a pause"]
    restart(handover)
    try:
        restart(unit)
    finally:
        units.systemctl("stop", "--no-block", handover)
    return []


def ends_work(unit: str, begun: float) -> bool:
    """Return whether a unit still ends its work, after a short wait."""
    while units.show(unit, "ActiveState").get("ActiveState") == "deactivating":
        if time.monotonic() - begun > ENDING:
            return True
        time.sleep(0.2)
    return False


def ping(application: dict[str, Any], workers: list[str], since: float) -> list[str]:
    """Wait until the Celery workers answer; return messages.

    Args:
        application: the application.
        workers: the names of the workers' services.
        since: when they were restarted, in seconds since 1970.

    Raises:
        ServiceError: a worker does not answer.
    """
    begun = time.monotonic()
    ending = [each for each in workers if ends_work(f"{each}.service", begun)]
    told = [f"{each}.service ends its running tasks first; {FOLLOWS}" for each in ending]
    nodes = [f"{each}@{socket.gethostname()}" for each in workers if each not in ending]
    if not nodes:
        return told
    app = application["step_variables"]["APP_CELERY"]
    current = application["current"]
    variables = {
        "HOME": application["root"],
        "PATH": f"{current}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
    }
    properties = {
        **application["sandbox"],
        "EnvironmentFile": application["environment_file"],
    }
    command = units.transient(
        f"{application['name']}-ping.service", application["user"],
        os.path.join(current, application["directory"]),
        ["/usr/bin/env", "python", "-c", ASK, app, str(PING), *nodes],
        properties=properties, variables=variables, limit=PING + 5,
    )  # fmt: skip
    # A run that was cut off can have left the unit behind; systemd refuses it until that one ends.
    while (done := units.run(command, PING + 15)).code:
        if time.monotonic() - begun > PING:
            silent = [node for node in nodes if node in done.output] or nodes
            names = [node.rpartition("@")[0] for node in silent]
            logs = " ".join(f"-u {name}" for name in names)
            said = [units.journal(f"{name}.service", since, LOG) for name in names]
            raise ServiceError(
                f"The worker {' and '.join(silent)} does not answer; journalctl {logs} says why",
                "\n".join([*said, done.output]),
            )
        time.sleep(0.2)
    return told


def has_job(told: dict[str, str]) -> bool:
    """Return whether systemd has yet to stop or to start a unit, of which it has told."""
    return told.get("Job", "0") not in ("", "0")


def is_asleep(process: str) -> bool:
    """Return whether a process waits for something, and neither runs nor reads from a disk.

    Args:
        process: its number. A process that has ended counts as asleep: systemd tells of its end.
    """
    try:
        text = Path("/proc", process, "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] not in ("R", "D")


def watch(names: list[str], since: float) -> list[str]:
    """Wait until the processes of units have run for some seconds; return messages.

    A process that is still busy with its imports can yet fail, on a slow host after some seconds.

    Args:
        names: of the units.
        since: when they were restarted, in seconds since 1970.

    Raises:
        ServiceError: a process has ended; the text has the end of its log.
    """
    begun, waiting = time.monotonic(), list(names)
    told: list[str] = []
    first: dict[str, str | None] = {}
    calm = dict.fromkeys(names, 0)
    while waiting:
        for shown in units.show_all(waiting, *WATCHED):
            unit, state = shown.get("Id", ""), shown.get("ActiveState")
            if state == "deactivating" or has_job(shown):
                if time.monotonic() - begun > ENDING:
                    told.append(f"{unit} ends its work first; {FOLLOWS}")
                    waiting.remove(unit)
                continue
            run = first.setdefault(unit, shown.get("InvocationID"))
            if state != "active" or run != shown.get("InvocationID"):
                raise ended(unit, shown.get("ExecMainStatus", ""), since)
            calm[unit] = calm[unit] + 1 if is_asleep(shown.get("MainPID", "0")) else 0
            age = time.monotonic() - int(shown.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
            if age > IMPORTING or (age > STEADY and calm[unit] >= CALM):
                waiting.remove(unit)
        time.sleep(LOOKS if waiting else 0)
    return told


def ended(unit: str, status: str, since: float) -> ServiceError:
    """Return the error of a process that ends, by its exit code."""
    return ServiceError(staying.ended(unit, status), units.journal(unit, since, LOG))


def is_settled(service: dict[str, Any], shown: dict[str, str]) -> bool:
    """Return whether no process of a unit, of which systemd has told, is older than its files."""
    state = shown.get("ActiveState")
    if has_job(shown) or state == "deactivating":
        return False
    if not service["schedule"]:
        return True
    began = units.moment(shown.get("InactiveExitTimestamp", ""))
    changed = [os.lstat(file).st_mtime for file in service["files"] if os.path.lexists(file)]
    return state in ("inactive", "failed") or began > max(changed, default=0.0)


def settle(services: list[dict[str, Any]], limit: float) -> None:
    """Wait until no process of services is older than their files.

    Raises:
        ServiceError: one still runs after the limit.
    """
    end, names = time.monotonic() + limit, [service["unit"] for service in services]
    while True:
        shown = units.show_all(names, "ActiveState", "Job", "InactiveExitTimestamp")
        old = [
            service["unit"]
            for service, each in zip(services, shown, strict=True)
            if not is_settled(service, each)
        ]
        if not old:
            return
        if time.monotonic() > end:
            raise ServiceError(
                f"{', '.join(old)} still works with the old files after {limit:.0f} s. Wait until "
                f"it has ended (systemctl status {old[0]}), and run this again"
            )
        time.sleep(1)


def start_afresh(services: list[dict[str, Any]]) -> None:
    """Kill all processes of the services and start them.

    Raises:
        ServiceError: one of them does not start.
    """
    names = [service["unit"] for service in services]
    handovers = [service["handover"] for service in services if service["handover"]]
    # All at once: the processes have one user, and those that stay could stop the new ones.
    units.systemctl("kill", "--signal=SIGKILL", *names, *handovers)
    units.systemctl("stop", *names, *handovers, limit=units.STARTING)
    for service in services:
        if not service["schedule"]:
            restart(service["unit"])


def see_site(site: dict[str, Any], services: list[dict[str, Any]], since: float) -> list[str]:
    """Ask the site for its page and files, some times; return messages.

    Args:
        site: the site.
        services: those that were restarted.
        since: when, in seconds since 1970.

    Raises:
        ServiceError: no answer was a good one; with what was wrong with the last.
    """
    for _try in range(TRIES):
        found = health.judge(site)
        if not found.wrong:
            return [found.told] if found.told else []
        time.sleep(1)
    web = [each["unit"] for each in services if each["handover"]]
    raise ServiceError(found.wrong, "\n".join(units.journal(unit, since, LOG) for unit in web))


def units_of(given: dict[str, Any]) -> list[str]:
    """Return the units that a call restarts or asks."""
    workers = [f"{each}.service" for each in given["workers"]]
    services = [each["unit"] for each in given["services"]]
    return list(dict.fromkeys([*services, *workers, *given["steady"]]))


def work(given: dict[str, Any], due: list[dict[str, Any]]) -> list[str]:
    """Restart services and ask whether they work; return what there is to tell.

    Raises:
        ServiceError: one of them does not.
    """
    told: list[str] = []
    asked, begun = bool(due) or not given["outdated"], time.time()
    try:
        for each in due:
            if each["handover"]:
                told += hand_over(each)
            elif not each["schedule"]:
                done = units.systemctl("restart", "--no-block", each["unit"])
                if done.code:  # it is not there; that its start fails is seen later
                    raise ServiceError(f"{each['unit']} cannot be restarted:", done.output)
        if given["workers"] and asked:
            told += ping(given["application"], given["workers"], begun)
        if given["steady"] and asked:
            told += watch(given["steady"], begun)
        if given["site"] and asked:
            told += see_site(given["site"], due, begun)
    except ServiceError as error:
        if not given["force"]:
            raise
        told.append(f"All processes of the services were killed, and started again: {error.what}")
        start_afresh(due)
        if given["site"]:
            told += see_site(given["site"], due, begun)
        try:  # the broker holds what the other release has left
            if given["workers"]:
                told += ping(given["application"], given["workers"], begun)
            if given["steady"]:
                told += watch(given["steady"], begun)
        except ServiceError as silent:
            told.append(str(silent))
    if asked:  # the start of Gunicorn shows that it works; that of the others shows nothing
        for unit in units_of({**given, "services": [each for each in due if each["handover"]]}):
            kept_files.forget(unit)
    if given["patience"]:
        settle(given["services"], given["patience"])
    return told


def compare(given: dict[str, Any]) -> list[str]:
    """Add the processes that are installed and not described; return what there is to tell."""
    name = given["application"]["name"]
    installed = processes.installed(name)
    own = [each["unit"] for each in given["services"]]
    told = []
    for unit in installed:
        if unit.endswith(".service") and unit not in own:
            scheduled = unit.replace(".service", ".timer") in installed
            given["services"].append({
                "unit": unit, "files": [], "handover": "", "reserve": 0, "schedule": scheduled,
            })  # fmt: skip
            told.append(f"{unit} is not in app_processes and app_schedules; site.yml removes it")
    for unit in own:
        # Gunicorn's service may have such a name, too, and no mark of a process.
        if unit.startswith(f"{name}-") and not (processes.SYSTEM / unit).is_file():
            told.append(f"{unit} is described and not installed; site.yml installs it")
            leave_out(given, unit)
    return told


def leave_out(given: dict[str, Any], unit: str) -> None:
    """Take a unit out of all lists of a call."""
    given["services"] = [each for each in given["services"] if each["unit"] != unit]
    given["workers"] = [each for each in given["workers"] if f"{each}.service" != unit]
    given["steady"] = [each for each in given["steady"] if each != unit]


def leave_out_absent(given: dict[str, Any]) -> None:
    """Take the units that are not installed out of all lists of a call."""
    for unit in units_of(given):
        if not (processes.SYSTEM / unit).is_file():
            leave_out(given, unit)


def main() -> None:
    """Run the module."""
    site = {
        **{name: {"type": "str", "required": True} for name in ("name", "path", "socket")},
        "scheme": {"type": "str", "required": True, "choices": ["http", "https"]},
        "names": {"type": "list", "elements": "str", "default": []},
        "proxied": {"type": "bool", "default": False},
        **{name: {"type": "dict", "default": {}} for name in ("files", "files_at")},
    }
    service = {
        "unit": {"type": "str", "required": True},
        "files": {"type": "list", "elements": "str", "default": []},
        "handover": {"type": "str", "default": ""},
        "reserve": {"type": "int", "default": 0},
        "schedule": {"type": "bool", "default": False},
    }
    module = new_module(
        argument_spec={
            "application": {"type": "dict", "required": True},
            "services": {
                "type": "list", "elements": "dict", "default": [], "options": service,
            },
            "outdated": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "workers": {"type": "list", "elements": "str", "default": []},
            "steady": {"type": "list", "elements": "str", "default": []},
            "installed": {"type": "bool", "default": False},
            "may_be_absent": {"type": "bool", "default": False},
            "patience": {"type": "int", "default": 0},
            "site": {"type": "dict", "options": site},
        },
        supports_check_mode=True,
    )  # fmt: skip
    given = module.params
    told = compare(given) if given["installed"] else []
    if given["may_be_absent"]:
        leave_out_absent(given)
    try:
        due = given["services"]
        if given["outdated"]:
            due = units.outdated(each for each in due if not each["schedule"])
    except units.UnitError as error:
        module.fail_json(msg=str(error), restarted=[], step="services")
    names = [each["unit"] for each in due if not each["schedule"]]
    if module.check_mode:
        module.exit_json(changed=bool(names), restarted=names, told=told)
    try:
        told += work(given, due)
    except (ServiceError, units.UnitError) as error:
        back = kept_files.recover(units_of(given))
        module.fail_json(msg=f"{error}\n{back}".strip(), restarted=names, step="services")
    for each in told:
        module.warn(each)
    module.exit_json(changed=bool(names), restarted=names, told=told)


if __name__ == "__main__":
    main()

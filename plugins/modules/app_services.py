"""Restarts the services of an application without a lost request, and checks that they work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_services
short_description: Restarts the services of an application and checks that they work
description:
  - Restarts the services in the order of the list. While Gunicorn restarts, the unit in C(handover)
    serves, if the memory is enough for both. The module does not wait for the restart of the other
    services, because a Celery worker ends its tasks first.
  - Then pings the Celery worker and requests a page of the site. Where the page leads, must answer
    as well.
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
  worker:
    description: The name of the Celery worker's service, which is pinged; empty for none.
    type: str
    default: ""
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
author:
  - The engineers of django_stack
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
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.clink.django_stack.plugins.module_utils import (
    diagnosis,
    health,
    memory,
    units,
)

# Run in the release with the name of the application and of the worker: one process asks until the
# worker answers, because each would load the project again.
ASK = """
import sys, time
from celery.app.utils import find_app
name, node, limit = sys.argv[1:]
application, end, wrong = find_app(name), time.monotonic() + float(limit), "no answer"
while time.monotonic() < end:
    try:
        if application.control.ping([node], timeout=0.3):
            sys.exit()
    except Exception as error:  # such as that of a broker that restarts
        wrong = repr(error)
        time.sleep(0.3)
sys.exit(wrong)
"""
STARTING = 200.0  # seconds for a restart: 90 for the start, the rest for the stop
LOG = 400  # lines of a service's log in which the cause is looked for
PING = 25  # seconds within which a worker must answer
ENDING = 5.0  # seconds to wait for a worker that still ends its tasks
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
    done = units.systemctl("restart", unit, limit=STARTING)
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


def ping(application: dict[str, Any], worker: str, since: float) -> list[str]:
    """Wait until the Celery worker answers; return messages.

    Args:
        application: the application.
        worker: the name of the worker's service.
        since: when it was restarted, in seconds since 1970.

    Raises:
        ServiceError: the worker does not answer.
    """
    unit, begun = f"{worker}.service", time.monotonic()
    while units.show(unit, "ActiveState").get("ActiveState") == "deactivating":
        if time.monotonic() - begun > ENDING:
            return [f"{unit} ends its running tasks first; the new release follows then"]
        time.sleep(0.2)
    node = f"{worker}@{socket.gethostname()}"
    app = application["django_variables"]["APP_CELERY"]
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
        ["/usr/bin/env", "python", "-c", ASK, app, node, str(PING)],
        properties=properties, variables=variables, limit=PING + 5,
    )  # fmt: skip
    # A run that was cut off can have left the unit behind; systemd refuses it until that one ends.
    while (done := units.run(command, PING + 15)).code:
        if time.monotonic() - begun > PING:
            said = f"{units.journal(unit, since, LOG)}\n{done.output}"
            raise ServiceError(
                f"The worker {node} does not answer; journalctl -u {worker} says why", said
            )
        time.sleep(0.2)
    return []


def start_afresh(services: list[dict[str, Any]]) -> None:
    """Kill all processes of the services and start them.

    Raises:
        ServiceError: one of them does not start.
    """
    names = [service["unit"] for service in services]
    handovers = [service["handover"] for service in services if service["handover"]]
    # All at once: the processes have one user, and those that stay could stop the new ones.
    units.systemctl("kill", "--signal=SIGKILL", *names, *handovers)
    units.systemctl("stop", *names, *handovers, limit=STARTING)
    for name in names:
        restart(name)


def see_site(site: dict[str, Any], services: list[dict[str, Any]], since: float) -> list[str]:
    """Ask the site for its page and files, some times; return messages.

    Args:
        site: the site.
        services: those that were restarted.
        since: when, in seconds since 1970.

    Raises:
        ServiceError: no answer was a good one; with what was wrong with the last.
    """
    for _ in range(TRIES):
        found = health.judge(site)
        if not found.wrong:
            return [found.told] if found.told else []
        time.sleep(1)
    web = [each["unit"] for each in services if each["handover"]]
    raise ServiceError(found.wrong, "\n".join(units.journal(unit, since, LOG) for unit in web))


def work(given: dict[str, Any], due: list[dict[str, Any]]) -> list[str]:
    """Restart services and ask whether they work; return what there is to tell.

    Raises:
        ServiceError: one of them does not.
    """
    told: list[str] = []
    begun = time.time()
    asked = bool(due) or not given["outdated"]
    try:
        for each in due:
            if each["handover"]:
                told += hand_over(each)
            else:
                done = units.systemctl("restart", "--no-block", each["unit"])
                if done.code:  # it is not there; that its start fails is seen later
                    raise ServiceError(f"{each['unit']} cannot be restarted:", done.output)
        if given["worker"] and asked:
            told += ping(given["application"], given["worker"], begun)
        if given["site"] and asked:
            told += see_site(given["site"], due, begun)
    except ServiceError as error:
        if not given["force"]:
            raise
        told.append(f"All processes of the services were killed, and started again: {error.what}")
        start_afresh(due)
        if given["site"]:
            told += see_site(given["site"], due, begun)
        if given["worker"]:
            try:
                told += ping(given["application"], given["worker"], begun)
            except ServiceError as silent:  # the broker holds what the other release has left
                told.append(str(silent))
    return told


def main() -> None:
    """Run the module."""
    site = {
        **{name: {"type": "str", "required": True} for name in ("name", "path", "socket")},
        "scheme": {"type": "str", "required": True, "choices": ["http", "https"]},
        "names": {"type": "list", "elements": "str", "default": []},
        "proxied": {"type": "bool", "default": False},
        "files": {"type": "dict", "default": {}},
    }
    service = {
        "unit": {"type": "str", "required": True},
        "files": {"type": "list", "elements": "str", "default": []},
        "handover": {"type": "str", "default": ""},
        "reserve": {"type": "int", "default": 0},
    }
    module = AnsibleModule(
        argument_spec={
            "application": {"type": "dict", "required": True},
            "services": {
                "type": "list", "elements": "dict", "default": [], "options": service,
            },
            "outdated": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "worker": {"type": "str", "default": ""},
            "site": {"type": "dict", "options": site},
        },
        supports_check_mode=True,
    )  # fmt: skip
    given = module.params
    try:
        due = units.outdated(given["services"]) if given["outdated"] else given["services"]
    except units.UnitError as error:
        module.fail_json(msg=str(error), restarted=[], step="services")
    names = [each["unit"] for each in due]
    if module.check_mode:
        module.exit_json(changed=bool(due), restarted=names, told=[])
    try:
        told = work(given, due)
    except (ServiceError, units.UnitError) as error:
        module.fail_json(msg=str(error), restarted=names, step="services")
    for each in told:
        module.warn(each)
    module.exit_json(changed=bool(due), restarted=names, told=told)


if __name__ == "__main__":
    main()

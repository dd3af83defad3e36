"""Run by Python in a release that is not live yet: the steps that any project has.

One process takes all steps, because each would load the project again. Each prints its name before
it begins; the last line is JSON for Ansible. For a Django project the text of prepare.py follows
this one, in `manage.py shell -c`: it has more steps, and a step `keys` of its own.
"""

import json
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# Modules of Gunicorn's classes of workers for WSGI; other classes for it inherit from these.
WSGI_WORKERS = [
    f"gunicorn.workers.{name}" for name in ("sync", "gthread", "base_async", "gtornado")
]

told: dict[str, object] = {}
loaded: dict[str, Any] = {}  # the application that Gunicorn will serve, where there is one


def delivery(application: Any, transport: str) -> dict[str, object]:  # noqa: ANN401 - of the project's Celery
    """Return the settings that decide whether a task survives the death of its worker.

    Args:
        application: the Celery application.
        transport: kombu's name for the kind of its broker, such as "redis" or "amqp".
    """
    options = application.conf.broker_transport_options
    queues = [queue.queue_arguments or {} for queue in application.amqp.queues.values()]
    return {
        "transport": transport,
        "acks_late": bool(application.conf.task_acks_late),
        "visibility_timeout": options.get("visibility_timeout"),
        "quorum": all(each.get("x-queue-type") == "quorum" for each in queues),
        "confirms": bool(options.get("confirm_publish")),
    }


@contextmanager
def explained(wrong: str) -> Iterator[None]:
    """Print how an exception came about, and end with what is wrong."""
    try:
        yield
    except BaseException as error:
        traceback.print_exc()
        raise SystemExit(f"{wrong}: {error!r}") from error


def protocol(worker: type) -> str:
    """Return what a class of Gunicorn's workers serves: "ASGI", "WSGI", or nothing if unknown."""
    for each in worker.__mro__:
        if each.__name__ in ("UvicornWorker", "ASGIWorker"):
            return "ASGI"
        if each.__module__ in WSGI_WORKERS:
            return "WSGI"
    return ""


def compare_with_worker(variable: str, name: str) -> None:
    """Import the application that Gunicorn will serve, and compare it with the worker class.

    Args:
        variable: of the description, which names the application.
        name: the application, as module:variable.

    Raises:
        SystemExit: Gunicorn could not serve it; the message says which variable to change.
    """
    from gunicorn.util import import_app, load_class

    with explained(f"{variable}: {name} cannot be imported"):
        loaded["application"] = application = import_app(name)
    gunicorn: dict[str, Any] = {}
    exec(os.environ["APP_GUNICORN"], gunicorn)  # the text is the role's own
    if "worker_class" not in gunicorn:
        return
    worker = gunicorn["worker_class"]
    found = "ASGI" if gunicorn["speaks_asgi"](application) else "WSGI"
    instead = "leave worker_class out"
    if variable == "app_wsgi" and found == "ASGI":
        instead = f"write app_asgi: {name} without a worker_class"
    try:
        served = protocol(load_class(worker))
    except Exception as error:
        cause = [line for line in str(error).splitlines() if line.strip("]")][-1]
        raise SystemExit(
            f"gunicorn_settings: the worker_class {worker} cannot be imported. Add its package to "
            f"the project or to app_packages, or {instead}. {cause}"
        ) from error
    if variable == "app_asgi" and found == "WSGI":
        raise SystemExit(
            f"app_asgi: {name} is an application of WSGI. Write it as app_wsgi instead"
        )
    if served and served != found:
        variable = "app_wsgi" if found == "ASGI" and variable == "app_wsgi" else "gunicorn_settings"
        raise SystemExit(
            f"{variable}: {name} is an application of {found}, and the worker_class {worker} of "
            f"Gunicorn serves {served}: {instead}"
        )


def imports() -> None:
    """Import what the services will import."""
    asgi, wsgi = os.environ["APP_ASGI"], os.environ["APP_WSGI"]
    if asgi or wsgi:  # else no Gunicorn serves the project
        compare_with_worker(*(("app_asgi", asgi) if asgi else ("app_wsgi", wsgi)))
    celery = os.environ["APP_CELERY"]
    if not celery:
        return
    with explained(f"app_celery: {celery} cannot be imported"):
        from celery.app.utils import find_app

        application = find_app(celery)
    scheme = str(application.conf.broker_write_url or "amqp").partition(":")[0].strip("['\"")
    kind = scheme.replace("rediss", "redis")
    with explained(f"app_broker: the packages of Celery for {kind} cannot be imported"):
        connection = application.connection_for_write()
        transport = connection.transport.driver_type
    with connection, explained(f"app_broker: {connection.as_uri()} does not answer"):
        connection.ensure_connection(max_retries=1, timeout=5)
    told["celery"] = delivery(application, transport)
    told["silenced"] = list(application.conf.get("silenced_system_checks") or [])


def compare_keys(signs_with: object, believes: object) -> None:
    """Look whether a project signs with the key of the environment, and believes its others.

    Args:
        signs_with: the project's SECRET_KEY.
        believes: its SECRET_KEY_FALLBACKS, a list or nothing.

    Raises:
        SystemExit: a new key would log out the users.
    """
    if signs_with != os.environ["SECRET_KEY"]:
        raise SystemExit("SECRET_KEY of the project's settings is not that of its environment")
    given = os.environ.get("SECRET_KEY_FALLBACKS", "").split(",")
    if not {*filter(None, given)} <= {*(believes or [])}:
        raise SystemExit("the project's SECRET_KEY_FALLBACKS lacks a key of its environment")


def keys() -> None:
    """Compare the keys of a Flask application; of others nobody knows where they have theirs."""
    config = getattr(loaded.get("application"), "config", None)
    if isinstance(config, Mapping) and config.get("SECRET_KEY"):
        compare_keys(config["SECRET_KEY"], config.get("SECRET_KEY_FALLBACKS"))


def take(steps: list[str]) -> None:
    """Take steps by their names, and print what they have found."""
    for step in steps:
        print(f"step: {step}", flush=True)
        globals()[step]()
    print(json.dumps(told))

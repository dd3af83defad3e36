# What stands between Gunicorn and the application. A start succeeds only after the health page was
# asked for, and the application gets the visitor's address, which the Unix socket takes away.
#
# Each new worker sends the health check to itself: Django loads the URLs, the views and the
# templates for it. The main process reports READY to systemd only after that, so that a successful
# start proves that the release works. systemd accepts the report from the main process only; a
# worker tells it by SIGURG, which has no other use here.
import asyncio
import inspect
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults

HEALTH_PATH: str  # the lines before these set both
HEALTH_HOST: str
EVENTS = "text/event-stream"  # nginx must not hold back its parts
MOMENT = 0.5  # seconds in which Uvicorn reads what it has accepted

Application = Callable[..., Any]
Messages = Callable[..., Awaitable[Any]]  # what an application of ASGI receives or sends with


def on_starting(server: Any) -> None:
    """Take from Gunicorn the report to systemd, which it would send at its start."""
    address = os.environ.pop("NOTIFY_SOCKET", "").replace("@", "\0", 1)

    def report(*_: Any) -> None:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address)

    if address:
        signal.signal(signal.SIGURG, report)


def post_worker_init(worker: Any) -> None:
    """Stand between a new worker and its application, and have it answer the health check."""
    name = "asgi" if hasattr(worker, "asgi") else "wsgi"  # asgi: of Gunicorn's own class for it
    application = getattr(worker, name)
    if speaks_asgi(application):
        setattr(worker, name, asgi(application, worker))
        return
    worker.wsgi = wsgi(application)
    statuses: list[str] = []
    # A separate thread, so that its database connection ends with it.
    first = threading.Thread(target=lambda: statuses.append(ask_wsgi(worker.wsgi)))
    first.start()
    first.join(worker.timeout or None)  # half of Gunicorn's limit for a worker that hangs
    if wrong := refusal(statuses):
        raise RuntimeError(wrong)
    report_ready(worker)


def speaks_asgi(application: Application) -> bool:
    """Return whether an application is a coroutine function, or one of three arguments."""
    call = application if inspect.isfunction(application) else application.__call__
    if inspect.iscoroutinefunction(call):
        return True
    try:
        parameters = inspect.signature(application).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [each for each in parameters if each.kind in kinds and each.default is each.empty]
    return len(required) == 3


def refusal(statuses: list[Any]) -> str:
    """Return why the worker must not start; empty if it may.

    The handover service must answer with success before it takes over: if its start fails, the old
    service continues.
    """
    strict = os.environ.get("GUNICORN_TAKES_OVER") == "yes"
    if not strict or (statuses and "200" <= str(statuses[0]) < "400"):
        return ""
    return f"{HEALTH_PATH} answers {statuses[0] if statuses else 'nothing'}"


def report_ready(worker: Any) -> None:
    """Tell the main process, as the last of its first workers."""
    if worker.age >= worker.cfg.workers:
        os.kill(worker.ppid, signal.SIGURG)


def server(host: str, scheme: str) -> tuple[str, int]:
    """Return the name and the port that a request asked for, from its header Host."""
    port = 443 if scheme in ("https", "wss") else 80
    with suppress(ValueError):
        parts = urlsplit(f"//{host}")
        return parts.hostname or "localhost", parts.port or port
    return "localhost", port


# systemd holds the socket, to which only nginx and programs of this host connect. nginx sets
# X-Real-IP, so no visitor can; a request without it comes from this host.


def wsgi(application: Application) -> Application:
    """Return an application of WSGI that gets the visitor's address and the port."""

    def serve(environ: dict[str, Any], start_response: Application) -> Any:
        environ["REMOTE_ADDR"] = environ.get("HTTP_X_REAL_IP") or "127.0.0.1"
        name, port = server(environ.get("HTTP_HOST", ""), environ["wsgi.url_scheme"])
        environ["SERVER_NAME"], environ["SERVER_PORT"] = name, str(port)

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            for name, value in headers:
                if name.lower() == "content-type" and value.startswith(EVENTS):
                    headers = [*headers, ("X-Accel-Buffering", "no")]
            return start_response(status, headers, *error)

        return application(environ, start)

    return serve


def ask_wsgi(application: Application) -> str:
    """Send the health check to an application of WSGI; return the status of its answer."""
    path, _sep, query = HEALTH_PATH.partition("?")
    request = {
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_HOST": HEALTH_HOST,
        "HTTP_X_FORWARDED_PROTO": "https",
        "wsgi.url_scheme": "https",
    }
    setup_testing_defaults(request)
    statuses = []
    response = application(request, lambda status, headers, error=None: statuses.append(status))
    b"".join(response)
    getattr(response, "close", lambda: None)()
    return statuses[0]


def asgi(application: Application, worker: Any) -> Application:
    """Return an application of ASGI that gets the visitor's address and the port.

    The health check runs when the server starts: in the event loop that will serve, because
    connections that an application opens belong to a loop.
    """
    wanted = turn_lifespan_on(worker)

    async def serve(scope: dict[str, Any], receive: Messages, send: Messages) -> None:
        if scope["type"] == "lifespan":
            await lifespan(application if wanted else None, worker, scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        scope["client"] = (headers.get(b"x-real-ip") or "127.0.0.1", 0)
        scope["server"] = server(headers.get(b"host", ""), scope.get("scheme", "http"))

        async def tell(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                for name, value in headers:
                    if name.lower() == b"content-type" and value.startswith(EVENTS.encode()):
                        message["headers"] = [*headers, (b"x-accel-buffering", b"no")]
            await send(message)

        await application(scope, receive, tell)

    return serve


def turn_lifespan_on(worker: Any) -> bool:
    """Have a server send the events of its lifespan; return whether the application wants them."""
    if hasattr(worker, "asgi"):
        before = worker.cfg.asgi_lifespan
        worker.cfg.set("asgi_lifespan", "on")
    else:  # the worker of Uvicorn
        before = worker.config.lifespan
        worker.config.lifespan = "on"
        # Uvicorn ends the responses that go on for longer, such as a stream of events, before
        # Gunicorn kills the worker.
        worker.config.timeout_graceful_shutdown = max(worker.cfg.graceful_timeout - 2, 1)
        # As much as nginx lets through, such as many cookies.
        worker.config.h11_max_incomplete_event_size = 65536
        read_before_shutdown()
    return bool(before != "off")


def read_before_shutdown() -> None:
    """Have Uvicorn read the requests of all that it has accepted before it closes idle connections.

    Otherwise it closes a connection whose request has arrived and was not read yet, and nginx
    answers 502.
    """
    from uvicorn import Server

    shutdown = Server.shutdown

    async def read_and_shutdown(self: Any, sockets: Any = None) -> None:
        loop = asyncio.get_running_loop()
        for each in self.servers:
            if isinstance(loop, asyncio.SelectorEventLoop):
                for listening in each.sockets:
                    loop.remove_reader(listening.fileno())  # close() drops what is being accepted
            else:
                each.close()
        await asyncio.sleep(MOMENT)
        await shutdown(self, sockets)

    Server.shutdown = read_and_shutdown


async def lifespan(
    application: Any, worker: Any, scope: dict[str, Any], receive: Messages, send: Messages
) -> None:
    """Pass on the events of a server's lifespan, and send the health check before it serves."""
    told: list[str] = []

    async def tell(message: dict[str, Any]) -> None:
        told.append(message["type"])
        if message["type"] == "lifespan.startup.complete":
            statuses: list[int] = []
            try:
                check = ask_asgi(getattr(worker, "asgi", None) or worker.wsgi)
                statuses.append(await asyncio.wait_for(check, worker.timeout or None))
            except Exception:
                worker.log.exception("The health check fails")
            if wrong := refusal(statuses):
                await send({"type": "lifespan.startup.failed", "message": wrong})
                raise RuntimeError(wrong)
            report_ready(worker)
        await send(message)

    try:
        if application:
            await application(scope, receive, tell)
    except Exception:
        if told:
            raise
    if not told:  # Django's own application knows no lifespan
        await tell({"type": "lifespan.startup.complete"})
        while (await receive())["type"] != "lifespan.shutdown":
            pass
        await send({"type": "lifespan.shutdown.complete"})


async def ask_asgi(application: Application) -> int:
    """Send the health check to an application of ASGI; return the status of its answer."""
    path, _sep, query = HEALTH_PATH.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", HEALTH_HOST.encode()), (b"x-forwarded-proto", b"https")],
    }
    requests = [{"type": "http.request", "body": b"", "more_body": False}]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        if not requests:
            await asyncio.Event().wait()  # no disconnect
        return requests.pop()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await application(scope, receive, send)
    return statuses[0]

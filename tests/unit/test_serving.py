"""templates/serving.py: what stands between Gunicorn and the application."""

import asyncio
import runpy
import signal
from functools import partial
from types import SimpleNamespace

import pytest
from conftest import ROOT

CONSTANTS = {"HEALTH_PATH": "/health/?full=1", "HEALTH_HOST": "example.com"}
EVENTS = "text/event-stream"


@pytest.fixture
def serving(monkeypatch):
    """The functions of the file, with the signals that it sends in `told`."""
    told = []
    names = runpy.run_path(str(ROOT / "templates" / "serving.py"), CONSTANTS)
    monkeypatch.setattr("os.kill", lambda *sent: told.append(sent))
    monkeypatch.delenv("GUNICORN_TAKES_OVER", raising=False)
    return SimpleNamespace(**names, told=told)


def answers(status="200 OK", content="text/html", asked=None):
    """Return an application of WSGI that gives one answer, and keeps what it was asked."""

    def application(environ, start_response):
        if asked is not None:
            asked.append(environ)
        start_response(status, [("Content-Type", content)])
        return [b"x"]

    return application


def replies(status=200, content="text/html", asked=None):
    """Return an application of ASGI that, like Django's, knows no lifespan."""

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            raise ValueError("not lifespan")
        if asked is not None:
            asked.append(scope)
        assert (await receive())["type"] == "http.request"
        headers = [(b"Content-Type", content.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"x"})

    return application


class Worker:
    """A worker of Gunicorn, the last of two."""

    age, ppid, timeout = 2, 4242, 5

    def __init__(self, lifespan="auto", **more):
        self.cfg = SimpleNamespace(
            workers=2, graceful_timeout=30, asgi_lifespan=lifespan, set=self.set
        )
        self.log = SimpleNamespace(exception=lambda text: None)
        self.__dict__ |= more

    def set(self, name, value):
        setattr(self.cfg, name, value)


# --- WSGI ---------------------------------------------------------------------------------------


def wsgi(serving, headers, scheme="http", **more):
    """Return what an application of WSGI is given for a request on a Unix socket."""
    asked = []
    environ = {"REMOTE_ADDR": "", "SERVER_NAME": "[2001", "SERVER_PORT": "db8"}
    environ |= {"wsgi.url_scheme": scheme, **headers}
    serving.wsgi(answers(asked=asked, **more))(environ, lambda *_: None)
    return asked[0]


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::7"])
def test_wsgi_gets_the_address_of_the_visitor(serving, address):
    headers = {"HTTP_X_REAL_IP": address, "HTTP_X_FORWARDED_FOR": "198.51.100.9"}
    assert wsgi(serving, headers)["REMOTE_ADDR"] == address


def test_a_request_without_nginx_comes_from_this_host(serving):
    assert wsgi(serving, {})["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "scheme", "name", "port"),
    [
        ("example.com", "http", "example.com", 80),
        ("example.com", "https", "example.com", 443),
        ("example.com:8443", "https", "example.com", 8443),
        ("[2001:db8::7]", "wss", "2001:db8::7", 443),
        ("[2001:db8::7]:8080", "ws", "2001:db8::7", 8080),
        ("", "http", "localhost", 80),
        ("example.com:eighty", "http", "localhost", 80),
        ("[2001:db8", "http", "localhost", 80),
    ],
)
def test_the_port_is_the_one_that_was_asked_for(serving, host, scheme, name, port):
    assert serving.server(host, scheme) == (name, port)
    told = wsgi(serving, {"HTTP_HOST": host}, scheme.replace("ws", "http"))
    assert (told["SERVER_NAME"], told["SERVER_PORT"]) == (name, str(port))


@pytest.mark.parametrize(
    ("content", "streams"), [(EVENTS, True), (f"{EVENTS}; charset=utf-8", True), ("text/x", False)]
)
def test_nginx_passes_on_a_stream_of_events_at_once(serving, content, streams):
    started = []
    application = serving.wsgi(answers(content=content))
    application({"wsgi.url_scheme": "http"}, lambda *given: started.append(given))
    assert (("X-Accel-Buffering", "no") in started[0][1]) == streams

    sent = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": []}
    asyncio.run(serving.asgi(replies(content=content), Worker(asgi=None))(scope, receive, send))
    assert ((b"x-accel-buffering", b"no") in sent[0]["headers"]) == streams


def test_a_worker_is_ready_after_it_has_answered_the_health_check(serving):
    asked = []
    worker = Worker(wsgi=answers(asked=asked))
    serving.post_worker_init(worker)
    (environ,) = asked
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/health/", "full=1")
    assert (environ["HTTP_HOST"], environ["wsgi.url_scheme"]) == ("example.com", "https")
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert serving.told == [(4242, signal.SIGURG)]


def test_only_the_last_worker_reports(serving):
    serving.post_worker_init(Worker(wsgi=answers(), age=1))
    assert serving.told == []


@pytest.mark.parametrize(
    ("status", "starts"), [("200 OK", True), ("302 Found", True), ("500 X", False)]
)
def test_the_handover_service_starts_only_with_a_good_answer(serving, monkeypatch, status, starts):
    serving.post_worker_init(Worker(wsgi=answers(status)))  # the service itself does in any case
    monkeypatch.setenv("GUNICORN_TAKES_OVER", "yes")
    if starts:
        serving.post_worker_init(Worker(wsgi=answers(status)))
    else:
        with pytest.raises(RuntimeError, match="/health/.* answers 500 X"):
            serving.post_worker_init(Worker(wsgi=answers(status)))


# --- ASGI ---------------------------------------------------------------------------------------


class Callable:
    async def __call__(self, scope, receive, send):
        pass


class Plain:
    def __call__(self, environ, start_response):
        pass


def returns_awaitable(scope, receive, send):
    return replies()(scope, receive, send)


@pytest.mark.parametrize(
    ("application", "is_asgi"),
    [
        (replies(), True), (Callable(), True), (returns_awaitable, True),
        (partial(returns_awaitable), True), (answers(), False), (Plain(), False),
        (partial(answers()), False), (lambda *given: None, False), (dict.fromkeys, False),
    ],
)  # fmt: skip
def test_an_application_is_known_by_what_it_takes(serving, application, is_asgi):
    assert serving.speaks_asgi(application) == is_asgi


def live(serving, application, worker):
    """Start a worker and let its server send the events of a lifespan; return what it was told."""
    worker.asgi = application
    serving.post_worker_init(worker)
    sent = []

    async def life():
        events = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

        async def receive():
            return events.pop()

        async def send(message):
            sent.append(message["type"].removeprefix("lifespan."))

        await worker.asgi({"type": "lifespan"}, receive, send)

    asyncio.run(life())
    return sent


async def with_lifespan(scope, receive, send):
    """An application like Starlette's."""
    if scope["type"] == "lifespan":
        while (event := (await receive())["type"]) != "lifespan.shutdown":
            await send({"type": f"{event}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await replies()(scope, receive, send)


@pytest.mark.parametrize("application", [replies(), with_lifespan])
@pytest.mark.parametrize("lifespan", ["auto", "off"])
def test_asgi_is_ready_in_the_loop_that_serves(serving, application, lifespan):
    worker = Worker(lifespan)
    assert live(serving, application, worker) == ["startup.complete", "shutdown.complete"]
    assert worker.cfg.asgi_lifespan == "on"
    assert serving.told == [(4242, signal.SIGURG)]


def test_an_application_that_does_not_want_its_lifespan_gets_none(serving):
    asked = []

    async def application(scope, receive, send):
        asked.append(scope["type"])
        await replies()(scope, receive, send)

    live(serving, application, Worker("off"))
    assert asked == ["http"]


def test_asgi_that_fails_to_start_is_not_ready(serving):
    async def application(scope, receive, send):
        await send({"type": "lifespan.startup.failed"})
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        live(serving, application, Worker())
    assert serving.told == []


def test_asgi_is_asked_as_nginx_asks(serving):
    asked = []
    live(serving, replies(asked=asked), Worker())
    (scope,) = asked
    assert (scope["path"], scope["query_string"]) == ("/health/", b"full=1")
    assert scope["scheme"] == "https"
    assert scope["client"] == ("127.0.0.1", 0)
    assert scope["server"] == ("example.com", 443)


async def breaks(scope, receive, send):
    raise OSError("broken")


@pytest.mark.parametrize("application", [replies(500), breaks])
def test_the_handover_of_asgi_starts_only_with_a_good_answer(serving, monkeypatch, application):
    assert "startup.complete" in live(serving, application, Worker())
    serving.told.clear()
    monkeypatch.setenv("GUNICORN_TAKES_OVER", "yes")
    with pytest.raises(RuntimeError, match="answers (500|nothing)"):
        live(serving, application, Worker())
    assert serving.told == []


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::7"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_asgi_gets_the_address_of_the_visitor(serving, address, kind):
    asked = []

    async def application(scope, receive, send):
        asked.append(scope)

    headers = [(b"host", b"example.com:8443"), (b"x-real-ip", address.encode())]
    scope = {"type": kind, "headers": headers, "client": None, "server": ("/run/x.sock", None)}
    asyncio.run(serving.asgi(application, Worker(asgi=None))(scope, None, None))
    assert asked[0]["client"] == (address, 0)
    assert asked[0]["server"] == ("example.com", 8443)

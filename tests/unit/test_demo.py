"""The demo's checks, against a server that answers as it should, or wrongly."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tools import demo

CSS = "/static/admin/css/login.0123456789ab.css"
GOOD_STATUS = {"checks": {"database": {"ok": True, "ms": 1.6}, "beat": {"ok": True, "ms": 0.2}}}


def good():
    """Return the answers of a server that works: (status, headers, body) by method and path."""
    yes = {"Content-Type": "application/json"}
    return {
        "GET /": (200, {}, "<html>"),
        "GET /api/users/": (200, yes, "[]"),
        "POST /api/users/": (201, yes, lambda sent: json.dumps({"id": 7, **sent})),
        "GET /api/users/7/": (200, yes, lambda sent: json.dumps({"id": 7, **sent})),
        "GET /api/status/": (200, yes, json.dumps(GOOD_STATUS)),
        "GET /static/admin/css/base.css": (200, {}, ""),
        "GET /admin/login/": (200, {}, f'<link rel="stylesheet" href="{CSS}">'),
        f"GET {CSS}": (200, {"Cache-Control": "max-age=315360000, public, immutable"}, ""),
    }


@contextmanager
def serve(answers):
    """Serve the answers on a free port; yield the URL."""
    last = {}

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            if self.headers["Host"] == "unknown.example":
                if "unknown" not in answers:
                    self.close_connection = True
                    return
                code, headers, body = answers["unknown"]
            else:
                length = int(self.headers.get("Content-Length") or 0)
                if length:
                    last.update(json.loads(self.rfile.read(length)))
                missing = (404, {}, "nothing here")
                found = answers.get(f"{self.command} {self.path}", missing)
                code, headers, body = found() if callable(found) else found
            text = body(last) if callable(body) else body
            self.send_response(code)
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_works_passes_every_check():
    with serve(good()) as url:
        told = [check(url) for check in demo.CHECKS]
    assert "database 2 ms, beat 0 ms" in told[2]
    assert "immutable" in told[3]
    assert "connection closed" in told[4]


def test_a_refused_host_may_also_get_a_client_error():
    with serve(good() | {"unknown": (421, {}, "")}) as url:
        assert demo.check_unknown_host(url).endswith("421")


@pytest.mark.parametrize(
    ("check", "wrong", "told"),
    [
        (demo.check_pages, {"GET /": (502, {}, "Bad Gateway")}, "answers 502, not 200: Bad"),
        (demo.check_pages, {"GET /": (301, {"Location": "https://x/"}, "")}, "301"),
        (demo.check_pages, {"GET /api/users/": (200, {}, "<html>")}, "not JSON"),
        (demo.check_user, {"POST /api/users/": (400, {}, "no name")}, "400, not 201: no name"),
        (
            demo.check_user,
            {"GET /api/users/7/": (200, {}, '{"username": "other"}')},
            "reads back as",
        ),
        (demo.check_status, {"GET /api/status/": (503, {}, '{"down": ["beat"]}')}, "beat"),
        (demo.check_status, {"GET /api/status/": (200, {}, '{"checks": {}}')}, "without every"),
        (demo.check_static, {"GET /admin/login/": (200, {}, "plain.css")}, "no stylesheet"),
        (demo.check_static, {f"GET {CSS}": (200, {}, "")}, "Cache-Control is ''"),
        (
            demo.check_static,
            {f"GET {CSS}": (200, {"Cache-Control": "max-age=60"}, "")},
            "not for a day",
        ),
        (demo.check_unknown_host, {"unknown": (200, {}, "welcome")}, "answers 200"),
    ],
)
def test_a_wrong_answer_fails_its_check(check, wrong, told):
    more = {"patience": 0.0} if check is demo.check_status else {}
    with serve(good() | wrong) as url, pytest.raises(demo.DemoError, match=told):
        check(url, **more)


def test_status_is_waited_for():
    codes = iter([503, 503, 200])
    answers = {"GET /api/status/": lambda: (next(codes), {}, json.dumps(GOOD_STATUS))}
    with serve(answers) as url:
        assert "database" in demo.check_status(url, patience=5)


def test_a_status_that_says_yes_to_nothing_is_not_waited_for():
    answers = {"GET /api/status/": (200, {}, json.dumps({"checks": {"beat": {"ok": None}}}))}
    with serve(answers) as url, pytest.raises(demo.DemoError, match="without every"):
        demo.check_status(url, patience=60)


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(demo.DemoError, match="no answer"):
            demo.check_pages(url)


def test_a_busy_port_names_its_variable():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        settings = demo.Settings({"DEMO_HTTP_PORT": busy.getsockname()[1]}, "13")
        with pytest.raises(demo.DemoError) as caught:
            demo.check_ports(settings)
    assert "DEMO_HTTP_PORT=" in caught.value.hint


@pytest.mark.parametrize(
    "environment", [{"DEMO_SSH_PORT": "ssh"}, {"DEMO_HTTP_PORT": "0"}, {"DEMO_RELEASE": "11"}]
)
def test_settings_that_cannot_be(environment):
    with pytest.raises(demo.DemoError, match=next(iter(environment))):
        demo.Settings.read(environment)


def test_settings_from_the_environment():
    settings = demo.Settings.read({"DEMO_HTTP_PORT": "9000", "DEMO_RELEASE": "12"})
    assert settings.publish == ["2222:22", "9000:80", "8443:443"]
    assert settings.url == "http://127.0.0.1:9000"
    assert settings.release == "12"

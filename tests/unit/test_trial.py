"""What the trial of a release says of the answer to its request."""

import runpy
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from conftest import ROOT

TRIAL = runpy.run_path(str(ROOT / "roles" / "app" / "files" / "trial.py"))


class Handler(BaseHTTPRequestHandler):
    """Leads to HTTPS unless the request came by it, as SecurityMiddleware does."""

    def do_GET(self):
        secure = self.headers["X-Forwarded-Proto"] == "https"
        paths = {"/login/": 200, "/broken/": 500, "/": 302}
        status = paths.get(self.path, 200) if secure or self.path == "/" else 301
        self.send_response(status)
        if status in (301, 302):
            self.send_header("Location", "/login/" if status == 302 else "https://example.com/")
        self.end_headers()

    def address_string(self):
        return "a socket"

    def log_message(self, *words):
        pass


@pytest.mark.parametrize(
    ("scheme", "path", "wrong"),
    [
        ("https", "/login/", ""),
        ("https", "/", ""),  # to the login
        ("http", "/", ""),
        ("https", "/broken/", "500"),
        ("http", "/login/", "app_certificate is none"),
    ],
)
def test_a_release_answers_by_the_scheme_of_the_visitors(
    monkeypatch, tmp_path, scheme, path, wrong
):
    for name, value in (("HOST", "example.com"), ("HEALTH_PATH", path), ("SCHEME", scheme)):
        monkeypatch.setenv(f"APP_{name}", value)
    place = tmp_path / "socket"
    with socketserver.UnixStreamServer(str(place), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        told = TRIAL["ask"](place)
    assert told == "" if not wrong else wrong in told


@pytest.mark.parametrize("django", ["yes", ""])
def test_only_the_trial_of_a_django_project_imports_django(monkeypatch, tmp_path, django):
    monkeypatch.setenv("APP_DJANGO", django)
    monkeypatch.setenv("APP_GUNICORN", "threads = 2\n")
    told = TRIAL["configuration"]()
    assert told.startswith("threads = 2\n") and ("from django" in told) == bool(django)
    file = tmp_path / "gunicorn.conf.py"  # of a service whose new settings are tried
    file.write_text("threads = 3\n")
    monkeypatch.setattr("sys.argv", ["-c", str(file)])
    assert TRIAL["configuration"]().startswith("threads = 3\n")

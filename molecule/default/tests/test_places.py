"""What nginx answers beside the application: redirects, a front end, another server."""

import base64
import json

import pytest
import requests
from droplets import APP, NAME, ROOT, eventually

# A server on port 8099 that answers with cookies of so many bytes as the path says, or the size of
# the body.
OTHER = """
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        for each in range(4):
            self.send_header("Set-Cookie", f"c{each}=" + "x" * (int(self.path.split("/")[-1]) // 4))
        if "secret" in self.path:
            self.send_header("X-Accel-Redirect", "/protected/secret.txt")
            self.send_header("Referrer-Policy", "no-referrer")
        self.answer(str(len(self.headers.get("Cookie", ""))))

    def do_POST(self):
        self.send_response(200)
        self.answer(str(len(self.rfile.read(int(self.headers["Content-Length"])))))

    def answer(self, text):
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

http.server.ThreadingHTTPServer(("127.0.0.1", 8099), Handler).serve_forever()
"""
MEDIA, DOCUMENTS = (f"{ROOT}/shared/{name}" for name in ("media", "documents"))
# Stores a document of a patient; prints its path, and the cookies of that patient and of another.
DOCUMENT = """
import json
from clinic.models import Document
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test import Client

patient, other = (User.objects.get_or_create(username=name)[0] for name in ("patient", "other"))
file = ContentFile(b"<script>", name="a letter.html")
document = Document.objects.create(user=patient, title="Letter", file=file)
told = {"path": document.get_absolute_url(), "file": f"/protected/{document.file.name}"}
for name, user in {"patient": patient, "other": other}.items():
    client = Client()
    client.force_login(user)
    told[name] = f"sessionid={client.cookies['sessionid'].value}"
print(json.dumps(told))
"""


@pytest.fixture(scope="module", autouse=True)
def places(host):
    """Have a front end, a protected file, and another server."""
    text = base64.b64encode(OTHER.encode()).decode()
    host.check_output(
        f"mkdir -p /srv/front/assets {MEDIA}/real && cd /srv/front && echo front >index.html && "
        "for ending in mjs css wasm webmanifest avif woff2 map jsonld glb vtt; do "
        "echo x >assets/f.$ending; done && mkdir -p .well-known && "
        "echo x | tee .env .well-known/x && ln -sfn /etc/hostname leak.txt && "
        f"echo real >{MEDIA}/real/x && ln -sfn real {MEDIA}/front && "
        f"echo x >{DOCUMENTS}/secret.txt && "
        f"chmod -R a+rX {MEDIA} {DOCUMENTS} && echo {text} | base64 -d >/run/other.py && "
        "systemd-run --quiet --unit=other python3 /run/other.py"
    )
    eventually(lambda: host.socket("tcp://127.0.0.1:8099").is_listening)
    yield
    host.check_output(
        f"systemctl stop other; rm -r /srv/front {MEDIA}/real {MEDIA}/front {DOCUMENTS}/secret.txt"
    )


@pytest.mark.parametrize(
    ("path", "name", "status", "location"),
    [
        ("/x/?y=1", "www.clinics.example.com", 301, f"http://{NAME}/x/?y=1"),
        ("/old/a%20b/?y=1", NAME, 301, f"http://{NAME}/new/a%20b/?y=1"),
        ("/old/%2f%2fexample.org/", NAME, 301, f"http://{NAME}/new/example.org/"),
        ("/moved", NAME, 301, "https://example.org/x?y=1"),
        ("/front", NAME, 301, f"http://{NAME}/front/"),
        ("/gone", NAME, 410, None),
        ("/old/%0d%0aX-Odd:%201", NAME, 404, None),
    ],
)
def test_a_redirect(door, path, name, status, location):
    answer = door.ask(path, name=name)
    assert (answer.status_code, answer.headers.get("Location")) == (status, location)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["", "deep/link", "john.doe", "leak"])
def test_a_page_of_the_front_end(door, path):
    answer = door.ask(f"/front/{path}")
    assert (answer.status_code, answer.text) == (200, "front\n")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("mjs", "application/javascript; charset=utf-8"),
        ("css", "text/css; charset=utf-8"),
        ("vtt", "text/vtt; charset=utf-8"),
        ("wasm", "application/wasm"),
        ("webmanifest", "application/manifest+json"),
        ("avif", "image/avif"),
        ("woff2", "font/woff2"),
        ("map", "application/json"),
        ("jsonld", "application/ld+json"),
        ("glb", "model/gltf-binary"),
    ],
)
def test_a_file_has_its_type(door, ending, told):
    answer = door.ask(f"/front/assets/f.{ending}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, told)


@pytest.mark.parametrize(
    "path",
    ["/front/assets/old.js", "/front/leak.txt", "/shared/x", "/protected/secret.txt", "/front../x",
     "/front/.env", "/front/%2egit/config"],
)  # fmt: skip
def test_no_link_is_followed_and_no_page_is_given_for_a_file(door, path):
    assert door.ask(path).status_code == 404


def test_a_file_for_the_whole_web_has_a_dot_in_front(door):
    assert door.ask("/front/.well-known/x").text == "x\n"


def test_the_application_leads_to_a_protected_file(door):
    answer = door.ask("/other/secret/0")
    assert (answer.status_code, answer.text) == (200, "x\n")
    assert answer.headers["Referrer-Policy"] == "no-referrer"  # the application's
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "private"


def test_a_document_is_for_its_patient_alone(host, door):
    told = json.loads(host.check_output(f"{APP}-manage shell -v0 -c %s", DOCUMENT))
    assert door.ask(told["file"]).status_code == 404
    assert door.ask(told["path"]).headers["Location"].startswith("/admin/login/")
    assert door.ask(told["path"], headers={"Cookie": told["other"]}).status_code == 404
    answer = door.ask(told["path"], headers={"Cookie": told["patient"]})
    assert (answer.status_code, answer.text) == (200, "<script>")
    assert answer.headers["Content-Type"] == "application/octet-stream"  # downloaded
    assert "private" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("size", [4000, 8000, 16000, 30000])
def test_large_headers_pass(door, size):
    answer = door.ask(f"/other/{size}", headers={"Cookie": "x" * size})
    assert (answer.status_code, answer.text) == (200, str(size))
    assert len(answer.headers["Set-Cookie"]) > size
    assert door.ask("/health/", headers={"Cookie": "x" * size}).status_code == 200
    door.session(NAME).cookies.clear()


def test_one_path_takes_larger_bodies(door):
    body = b"x" * (25 * 1024**2)
    assert door.ask("/other/upload", "POST", data=body).text == str(len(body))
    assert door.ask("/other/", "POST", data=body).status_code == 413


def test_a_load_balancer_asks_for_the_health_page_by_an_address(door):
    for name in ("10.0.0.5", "10.0.0.5:80"):
        assert door.ask("/health/", name=name).status_code == 200
        with pytest.raises(requests.ConnectionError):
            door.ask("/api/status/", name=name)

"""Uploads under a host name of their own, where nothing else is."""

import pytest
import requests
from certificates import root, served
from droplets import APP, NAME, ROOT

UPLOADS = "uploads.example.net"


@pytest.fixture(scope="module")
def path(host):
    """The path of an upload that would like to be a page of the site."""
    code = (
        "from django.core.files.storage import default_storage as s; "
        "from django.core.files.base import ContentFile as F; "
        "print(s.url(s.save('page.html', F(b'<script>alert(1)</script>'))))"
    )
    url = host.check_output(f"{APP}-manage shell -c %s", code).split()[-1]
    assert url.startswith(f"https://{UPLOADS}/media/")
    path = url.removeprefix(f"https://{UPLOADS}")
    yield path
    host.check_output("rm %s", f"{ROOT}/shared{path}")


def test_an_upload_is_there_and_is_no_page(door, path):
    answer = door.ask(path, name=UPLOADS)
    assert answer.status_code == 200
    assert answer.text == "<script>alert(1)</script>"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"


def test_the_site_leads_there(door, path):
    answer = door.ask(f"{path}?x=1")
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"https://{UPLOADS}{path}?x=1"


@pytest.mark.parametrize(
    "other", ["/", "/health/", "/admin/login/", "/static/admin/css/base.css", "/media"]
)
def test_nothing_else_is_there(door, other):
    answer = door.ask(other, name=UPLOADS)
    assert answer.status_code == 404
    assert "Set-Cookie" not in answer.headers


def test_it_has_a_certificate_of_its_own(host, door):
    certificate = served(door.address, UPLOADS, root(host))
    assert certificate["subjectAltName"] == (("DNS", UPLOADS),)


@pytest.mark.parametrize(
    ("asked", "status"), [("/media/x", 301), ("/.well-known/acme-challenge/none", 404)]
)
def test_http_is_for_the_authority_only(door, asked, status):
    answer = requests.get(
        f"http://{door.address}{asked}",
        headers={"Host": UPLOADS},
        timeout=10,
        allow_redirects=False,
    )
    assert answer.status_code == status
    if status == 301:
        assert answer.headers["Location"] == f"https://{UPLOADS}{asked}"


def test_the_application_does_not_answer_to_that_name(host):
    told = host.check_output("grep ALLOWED_HOSTS= /etc/%s/environment", APP)
    assert NAME in told
    assert UPLOADS not in told

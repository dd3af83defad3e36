"""What a visitor gets: everything here goes through nginx, from another address."""

import re
import socket
from datetime import UTC, datetime, timedelta

import pytest
import requests
from droplets import NAME, eventually


def test_everything_is_green(door):
    answer = eventually(lambda: (got := door.ask("/api/status/")).status_code == 200 and got)
    told = answer.json()
    assert {name for name, check in told["checks"].items() if check["ok"] is True} == set(
        told["checks"]
    )
    assert {"database", "redis", "worker", "beat"} <= set(told["checks"])
    assert told["request"]["arrived_by"] == "unix socket"


def test_the_application_gets_the_address_of_the_visitor(door):
    forged = {"X-Real-IP": "198.51.100.9", "X-Forwarded-For": "198.51.100.9"}
    here = socket.create_connection((door.address, 80)).getsockname()[0]
    assert door.ask("/api/status/", headers=forged).json()["request"]["visitor"] == here


def test_the_list_is_json_from_the_database(door, sql):
    answer = door.ask("/api/users/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["count"] == int(sql("SELECT count(*) FROM auth_user"))


def test_a_row_is_created_and_read_back(door, sql, stamp):
    made = door.post("/api/users/", username=f"row-{stamp}")
    assert door.ask(f"/api/users/{made['id']}/").json()["username"] == f"row-{stamp}"
    assert sql(f"SELECT id FROM auth_user WHERE username = 'row-{stamp}'") == str(made["id"])


@pytest.mark.parametrize(
    ("channel", "recipient"), [("email", "{}@example.org"), ("whatsapp", "+49{}")]
)
def test_the_worker_finishes_a_task(door, sql, messages, stamp, channel, recipient):
    to = recipient.format(str(int(stamp, 16))[-12:])
    row = door.post("/api/notifications/", channel=channel, recipient=to, body=f"text {stamp}")
    assert row["status"] == "queued"
    path = f"/api/notifications/{row['id']}/"
    eventually(lambda: door.ask(path).json()["status"] == "sent")
    assert sql(f"SELECT status FROM clinic_notification WHERE id = {row['id']}") == "sent"
    (taken,) = [message for message in messages() if message["to"] == to]
    assert taken["channel"] == channel
    assert f"text {stamp}" in taken["text"]
    if channel == "whatsapp":
        assert taken["authorization"] == "bearer whatsapp-token-of-the-tests"


def test_beat_has_an_appointment_reminded_of(door, sql, messages, stamp):
    to = f"reminded-{stamp}@example.org"
    user = door.post("/api/users/", username=f"reminded-{stamp}", email=to)
    starts = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    made = door.post("/api/appointments/", user=user["id"], starts_at=starts)
    query = f"SELECT reminded_at IS NOT NULL FROM clinic_appointment WHERE id = {made['id']}"
    eventually(lambda: sql(query) == "t")
    eventually(
        lambda: [
            m for m in messages() if m["to"] == to and "Subject: Your appointment" in m["text"]
        ]
    )


def test_static_files_are_nginxs(door):
    page = door.ask("/admin/login/")
    assert page.status_code == 200
    link = re.search(r'href="(/static/admin/css/base\.[0-9a-f]{8,}\.css)"', page.text)[1]
    hashed = door.ask(link)
    assert hashed.status_code == 200
    assert hashed.headers["Content-Type"] == "text/css; charset=utf-8"
    assert hashed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert hashed.headers["Content-Encoding"] == "gzip"  # requests asks for it
    whole = door.ask(link, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in whole.headers
    assert whole.text == hashed.text
    plain = door.ask("/static/admin/css/base.css")
    assert plain.status_code == 200
    assert plain.headers["Cache-Control"] == "public, max-age=3600"
    assert door.ask("/static/admin/css/").status_code == 403
    assert door.ask("/static/none.css").status_code == 404


@pytest.mark.parametrize("path", ["/", "/static/admin/css/base.css"])
def test_headers_protect_every_kind_of_answer(door, path):
    answer = door.ask(path)
    headers = answer.raw.headers
    assert [name for name in headers if len(headers.getlist(name)) > 1] == []
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Server"] == "nginx"


@pytest.mark.parametrize("name", [NAME, "a.clinics.example.com", "203.0.113.7", "[2001:db8::7]"])
def test_the_sites_names_are_answered(door, name):
    assert door.ask("/health/", name=name).status_code == 200


@pytest.mark.parametrize(
    "name", ["unknown.example", "clinics.example.com", "203.0.113.8", "x." + NAME]
)
def test_other_names_are_closed_without_an_answer(door, name):
    with pytest.raises(requests.ConnectionError):
        door.ask("/", name=name)


def test_the_clients_own_forwarding_headers_count_for_nothing(door):
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "unknown.example"}
    told = door.ask("/api/status/", headers=forged).json()["request"]
    assert told["scheme"] == "http"
    assert told["host"] == NAME


def test_a_body_that_is_too_large_is_refused(door):
    assert door.ask("/api/users/", "POST", data=b"x" * (21 * 1024**2)).status_code == 413


def test_an_upload_is_served_and_is_no_page_of_the_site(host, door, stamp):
    code = (
        "from django.core.files.storage import default_storage as s; "
        "from django.core.files.base import ContentFile as F; "
        f"[s.save('upload-{stamp}.' + e, F(b'uploaded {stamp}')) "
        "for e in ('txt', 'html', 'js', 'svg')]"
    )
    host.check_output("psychology_clinic-manage shell -c %s", code)
    answer = door.ask(f"/media/upload-{stamp}.txt")
    assert answer.status_code == 200
    assert answer.text == f"uploaded {stamp}"
    download = "application/octet-stream"
    for ending, kind in (("html", download), ("js", download), ("svg", "image/svg+xml")):
        headers = door.ask(f"/media/upload-{stamp}.{ending}").headers
        assert headers["Content-Type"] == kind
        assert "sandbox" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
    path = f"/var/www/clink-backend/shared/media/upload-{stamp}.txt"
    assert host.run(f"runuser -u www-data -- cat {path}").succeeded
    assert host.run(f"runuser -u www-data -- sh -c 'echo x >>{path}'").failed
    assert host.run(f"runuser -u nobody -- cat {path}").failed


def test_the_acme_directory_is_served(host, door, stamp):
    directory = "/var/www/acme/.well-known/acme-challenge"
    host.check_output(f"mkdir -p {directory} && echo {stamp} >{directory}/{stamp}")
    assert door.ask(f"/.well-known/acme-challenge/{stamp}").text.strip() == stamp


def test_a_flood_of_logins_is_slowed_and_nobody_else(door):
    answers = [door.ask("/admin/login/").status_code for _ in range(45)]
    assert set(answers) == {200, 429}
    assert answers.count(429) >= 20
    assert door.ask("/").status_code == 200
    assert door.ask("/api/users/").status_code == 200

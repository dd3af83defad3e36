"""What is told of a host's problems, to whom, and how often."""

import http.server
import json
import shutil
import smtplib
import subprocess
import sys
import threading
from dataclasses import replace
from email import message_from_string
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.clink.django_stack.plugins.module_utils import alarms, checks
from ansible_collections.clink.django_stack.plugins.module_utils.checks import Row
from conftest import ROOT

NOW = 1795662000.0
DAY = 86400.0
FULL = Row("disk /", "91 %", "91 % are used", "du")
WELL = Row("disk /", "40 %")
DEAD = Row("celery.service", "failed", "has failed", "journalctl")


def run(*looks, remind=DAY, step=60.0):
    """Return what each of several looks tells, as "name kind"."""
    known, told = {}, []
    for number, rows in enumerate(looks):
        known, events = alarms.follow(known, rows, NOW + step * number, remind)
        known = json.loads(json.dumps(known))
        told.append([f"{event['name']} {event['kind']}" for event in events])
    return told


# --- When something is told ---------------------------------------------------------------------


def test_a_problem_is_told_once_when_it_begins_and_once_when_it_ends():
    assert run([WELL], [FULL], [FULL], [FULL], [FULL], [WELL], [WELL], [WELL]) == [
        [], [], ["disk / begins"], [], [], [], ["disk / ends"], [],
    ]  # fmt: skip


def test_what_one_look_alone_has_seen_is_not_told():
    assert run([FULL], [WELL], [FULL], [WELL]) == [[], [], [], []]


def test_a_certain_problem_is_told_at_the_first_look():
    failed = replace(DEAD, certain=True)
    assert run([failed], [failed], [WELL], [WELL]) == [
        ["celery.service begins"], [], [], ["celery.service ends"],
    ]  # fmt: skip


def test_a_look_a_moment_after_another_counts_for_certain_problems_only():
    failed = replace(DEAD, certain=True)
    told = replace(FULL, name="disk /srv")
    known, _ = alarms.follow({}, [told], NOW, DAY)
    known, _ = alarms.follow(known, [told, FULL], NOW + 60, DAY)
    after, events = alarms.follow(known, [failed, FULL], NOW + 61, DAY, between=True)
    assert [event["name"] for event in events] == ["celery.service"]
    assert {name: after[name] for name in known} == known
    assert [event["name"] for event in alarms.follow(after, [FULL], NOW + 120, DAY)[1]] == [
        "disk /"
    ]


def test_looks_count_again_after_some_seconds(monkeypatch):
    memory, told = {}, []
    for second in (0, 1, 29, 31, 32):
        monkeypatch.setattr(alarms.time, "time", lambda second=second: NOW + second)
        memory = alarms.tell(given(), memory, [FULL])
        told.append(bool(memory["problems"]["disk /"]["told"]))
    assert told == [False, False, False, True, True]
    assert (memory["at"], memory["counted"]) == (NOW + 32, NOW + 31)


def test_a_problem_that_flickers_is_one_problem():
    assert run([FULL], [FULL], [WELL], [FULL], [WELL], [FULL]) == [
        [], ["disk / begins"], [], [], [], [],
    ]  # fmt: skip


def test_a_problem_that_goes_on_is_told_again_after_a_day():
    told = run(*[[FULL]] * 60, step=3600.0)
    assert [hour for hour, events in enumerate(told) if events] == [1, 25, 49]
    assert told[25] == ["disk / goes on"]


def test_a_check_that_is_gone_has_no_problem():
    assert run([FULL], [FULL], [], [])[3] == ["disk / ends"]


def test_problems_that_begin_together_are_told_together():
    assert run([FULL, DEAD], [FULL, DEAD])[1] == ["disk / begins", "celery.service begins"]


def test_a_clock_that_goes_back_tells_once_more():
    known, told = {}, []
    for moment in (NOW, NOW + 60, NOW - DAY, NOW - DAY + 60):
        known, events = alarms.follow(known, [FULL], moment, DAY)
        told += [event["kind"] for event in events]
    assert told == ["begins", "goes on"]


# --- What is told -------------------------------------------------------------------------------


def events(*rows):
    known, _ = alarms.follow({}, rows, NOW, DAY)
    return alarms.follow(known, rows, NOW + 60, DAY)[1]


def test_a_message_names_all_problems_and_what_to_do():
    told = events(FULL, DEAD)
    assert alarms.subject("clinic", told) == "[clinic] begins: disk /, celery.service"
    assert alarms.text(told).splitlines()[:3] == [
        "2026-11-26 03:01 UTC  BEGINS  disk /",
        "    91 % are used (since 2026-11-26 03:00 UTC)",
        "    To do: du",
    ]
    assert "To do" not in alarms.text([{**told[0], "kind": "ends"}])


def test_a_subject_is_short():
    rows = [Row(f"unit-{number}.service", "", "x", "y") for number in range(50)]
    assert len(alarms.subject("clinic", events(*rows))) == 200


# --- Who is told --------------------------------------------------------------------------------


@pytest.fixture
def web():
    """Give a server that keeps what it is asked; `status` is its answer."""
    told = SimpleNamespace(asked=[], status=200)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            told.asked.append((self.command, self.path, body))
            self.send_response(told.status)
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told.url = f"http://127.0.0.1:{server.server_port}"
        yield told
        server.shutdown()


@pytest.fixture
def post_office(monkeypatch):
    """Give a stand-in for SMTP; `problem` is what it raises."""
    told = SimpleNamespace(calls=[], messages=[], problem=None)

    def stand_in(kind):
        class Server:
            def __init__(self, host, port, **settings):
                if told.problem:
                    raise told.problem
                told.calls.append((kind, host, port))

            def __enter__(self):
                return self

            def __exit__(self, *error):
                pass

            def starttls(self, context):
                assert context.check_hostname
                told.calls.append("starttls")

            def login(self, *words):
                told.calls.append(words)

            def send_message(self, message):
                told.messages.append(message_from_string(message.as_string()))

        return Server

    monkeypatch.setattr(smtplib, "SMTP", stand_in("smtp"))
    monkeypatch.setattr(smtplib, "SMTP_SSL", stand_in("tls"))
    return told


def given(**changes):
    return {
        "host": "clinic", "email_to": [], "email_from": "root@clinic", "smtp_url": "",
        "webhook_url": "", "heartbeat_url": "", "remind_hours": 24,
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("url", "calls"),
    [
        ("smtp://127.0.0.1:1025", [("smtp", "127.0.0.1", 1025)]),
        ("smtp+tls://me:p%40ss@mx.example.com",
         [("smtp", "mx.example.com", 587), "starttls", ("me", "p@ss")]),
        ("smtps://mx.example.com", [("smtp", "mx.example.com", 587), "starttls"]),
        ("smtp+ssl://me:x@mx.example.com", [("tls", "mx.example.com", 465), ("me", "x")]),
    ],
)  # fmt: skip
def test_an_e_mail_is_sent_as_the_url_says(post_office, url, calls):
    description = given(email_to=["ada@x", "bob@x"], smtp_url=url)
    assert alarms.deliver(description, {}, events(FULL, DEAD), NOW) == ({}, [])
    assert post_office.calls == calls
    (message,) = post_office.messages
    assert message["To"] == "ada@x, bob@x"
    assert message["Subject"] == "[clinic] begins: disk /, celery.service"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "91 % are used" in message.get_payload()


def test_a_webhook_gets_json(web):
    description = given(webhook_url=f"{web.url}/hook?token=x")
    assert alarms.deliver(description, {}, events(FULL, DEAD), NOW) == ({}, [])
    ((verb, path, body),) = web.asked
    assert (verb, path) == ("POST", "/hook?token=x")
    told = json.loads(body)
    assert told["host"] == "clinic"
    assert "91 % are used" in told["text"]
    assert [each["name"] for each in told["events"]] == ["disk /", "celery.service"]


def test_nothing_is_sent_where_nothing_is_new(web, post_office):
    description = given(webhook_url=web.url, email_to=["ada@x"], smtp_url="smtp://x")
    assert alarms.deliver(description, {}, [], NOW) == ({}, [])
    assert not web.asked and not post_office.calls


def test_what_was_not_delivered_is_sent_with_what_is_new(web):
    description = given(webhook_url=f"{web.url}/secret")
    web.status = 503
    waiting, lines = alarms.deliver(description, {}, events(FULL), NOW)
    assert lines == ["webhook: not delivered, and tried again: HTTPError"]
    waiting, _ = alarms.deliver(description, json.loads(json.dumps(waiting)), events(DEAD), NOW)
    web.status = 200
    assert alarms.deliver(description, waiting, [], NOW + 60) == ({}, [])
    last = json.loads(web.asked[-1][2])
    assert [each["name"] for each in last["events"]] == ["disk /", "celery.service"]


@pytest.mark.parametrize(
    "problem",
    [ConnectionRefusedError(), TimeoutError(), smtplib.SMTPAuthenticationError(535, b"s3cr3t")],
)
def test_a_channel_that_fails_holds_up_no_other(web, post_office, problem):
    post_office.problem = problem
    description = given(webhook_url=web.url, email_to=["ada@x"], smtp_url="smtp://me:s3cr3t@x")
    waiting, lines = alarms.deliver(description, {}, events(FULL), NOW)
    assert list(waiting) == ["e-mail"]
    assert len(web.asked) == 1
    assert "s3cr3t" not in str(lines)


@pytest.mark.parametrize("wrong", [{"email_from": "a\nBcc: b"}, {"smtp_url": "smtp://x:port"}])
def test_a_wrong_value_holds_up_no_look(post_office, wrong):
    description = given(email_to=["ada@x"], smtp_url="smtp://x") | wrong
    assert alarms.deliver(description, {}, events(FULL), NOW)[1]


def test_what_waits_is_bounded_and_given_up_after_a_week(web):
    web.status = 500
    many = events(FULL) * (alarms.KEPT + 50)
    waiting, _ = alarms.deliver(given(webhook_url=web.url), {}, many, NOW)
    assert len(waiting["webhook"]) == alarms.KEPT
    assert alarms.deliver(given(webhook_url=web.url), waiting, [], NOW + 8 * DAY) == ({}, [])


@pytest.mark.parametrize("path", ["/ping/x", "/ping/x/", "/ping/x?create=1"])
def test_the_heartbeat_tells_well_and_ill(web, path):
    description = given(heartbeat_url=web.url + path)
    memory = {}
    for rows in ([WELL], [FULL], [FULL], [WELL], [WELL]):
        memory = alarms.tell(description, {**memory, "counted": 0}, rows)
    fail = "/ping/x/fail" + ("?create=1" if "?" in path else "")
    assert [(verb, where) for verb, where, _ in web.asked] == [
        ("GET", path), ("GET", path), ("POST", fail), ("POST", fail), ("GET", path),
    ]  # fmt: skip
    assert web.asked[2][2] == "disk /: 91 % are used"


def test_the_journal_has_what_is_told_and_no_secret(capsys):
    description = given(heartbeat_url="http://127.0.0.1:1/s3cr3t")
    memory = alarms.tell(description, {}, [FULL])
    memory = alarms.tell(description, {**memory, "counted": 0}, [FULL])
    told = capsys.readouterr().out
    assert "<4>disk / begins: 91 % are used\n" in told
    assert "heartbeat: not delivered: URLError" in told
    assert "s3cr3t" not in told


# --- Memory -------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path):
    both = [tmp_path / "disk", tmp_path / "memory"]
    for place in both:
        place.mkdir()
    return both


def test_what_is_saved_is_loaded(places, monkeypatch):
    monkeypatch.setattr(alarms, "own", lambda path: path.read_text() if path.exists() else "")
    assert alarms.load(places) == {}
    alarms.save({"at": 1.0}, places)
    assert alarms.load(places) == {"at": 1.0}
    assert (places[0] / "state.json").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_remembered_in_memory(places, monkeypatch):
    monkeypatch.setattr(alarms, "own", lambda path: path.read_text() if path.exists() else "")
    alarms.save({"at": 1.0}, places)
    rename = alarms.os.rename

    def full(old, new):
        if new.parent == places[0]:
            raise OSError(28, "No space left on device")
        rename(old, new)

    monkeypatch.setattr(alarms.os, "rename", full)
    alarms.save({"at": 2.0}, places)
    assert alarms.load(places) == {"at": 2.0}
    assert not (places[0] / "state.json.new").exists()


@pytest.mark.parametrize("damaged", ["", "{", "[]", '"x"', "null"])
def test_a_damaged_memory_is_forgotten(places, monkeypatch, damaged):
    (places[0] / "state.json").write_text(damaged)
    monkeypatch.setattr(alarms, "own", lambda path: path.read_text() if path.exists() else "")
    assert alarms.load(places) == {}


def test_what_others_can_write_is_not_loaded(places):
    (places[0] / "state.json").write_text('{"at": 5}')
    (places[0] / "state.json").chmod(0o666)
    assert alarms.load(places) == {}
    assert checks.own(places[1] / "state.json") == ""


def test_the_program_finds_all_that_it_imports_in_its_own_directory(tmp_path):
    given = yaml.safe_load((ROOT / "roles/monitor/vars/main.yml").read_text())
    places = {
        "{{ role_path }}": ROOT / "roles/monitor",
        "{{ __monitor_sources }}": ROOT / "plugins/module_utils",
        "{{ __monitor_package }}": tmp_path / given["__monitor_package"].partition("}}/")[2],
        "{{ __monitor_library }}": tmp_path,
    }

    def path(text):
        begin, _, rest = text.rpartition("}}/")
        return places[begin + "}}"] / rest

    for file in given["__monitor_files"]:
        if "copy" in file:
            path(file["dest"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path(file["copy"]), path(file["dest"]))
    done = subprocess.run(
        [sys.executable, "-I", "-S", tmp_path / "monitor.py"], capture_output=True, text=True
    )
    assert "JSONDecodeError" in done.stderr, done.stderr  # it is not told what to watch
    assert done.returncode == 1

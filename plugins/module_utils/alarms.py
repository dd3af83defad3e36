"""Remembers the problems of a host, and tells somebody of them.

A problem is told once when it begins, once when it ends, and now and then in between. What several
looks have found is one message for each channel. What was not delivered is tried again. systemd
starts another look when a service has failed.
"""

from __future__ import annotations

import http.client
import json
import os
import smtplib
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.clink.django_stack.plugins.module_utils.checks import Row, at, own

# The second directory is in the memory, for a host whose disk is full.
PLACES = (Path("/var/lib/django_stack/monitor"), Path("/run/django_stack/monitor"))
# A problem is told once so many looks have seen it, its end once so many have not. A certain
# problem is told at the first look.
LOOKS = 2
APART = 30.0  # seconds between looks that count: services that fail start looks one after the other
TIMEOUT = 10.0  # seconds for an answer of a channel
KEPT = 200  # events that wait for a channel
KEPT_FOR = 7 * 86400.0  # seconds that they wait
FAILURES = (
    OSError, smtplib.SMTPException, http.client.HTTPException, ValueError, MessageError, IndexError,
)  # fmt: skip
PORTS = {"smtp": 25, "smtps": 587, "smtp+tls": 587, "smtp+ssl": 465}  # as django-environ has them

Event = dict[str, Any]
Problems = dict[str, dict[str, Any]]


# --- Memory -------------------------------------------------------------------------------------


def load(places: Iterable[Path] = PLACES) -> dict[str, Any]:
    """Return what the last look has remembered; empty at the first, or where it is damaged."""
    found = []
    for place in places:
        with suppress(OSError, ValueError):
            known = json.loads(own(place / "state.json") or "{}")
            if isinstance(known, dict):
                found.append(known)
    return max(found, key=lambda known: float(known.get("at", 0)), default={})


def save(memory: Mapping[str, Any], places: Iterable[Path] = PLACES) -> None:
    """Remember for the next look, in the first place that can be written.

    Raises:
        OSError: none can.
    """
    problem = OSError("there is no place")
    for place in places:
        new = place / "state.json.new"
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(memory, file)
            os.rename(new, place / "state.json")
            return
        except OSError as error:
            problem = error
            with suppress(OSError):
                new.unlink()
    raise problem


def follow(
    known: Problems, rows: Iterable[Row], now: float, remind: float, between: bool = False
) -> tuple[Problems, list[Event]]:
    """Return the problems after a look, and what there is to tell.

    Args:
        known: the problems before, by their names.
        rows: what the look has found.
        now: the time, in seconds since 1970.
        remind: seconds after which a problem is told again.
        between: whether the look comes a moment after another one. It counts for certain problems
            only.
    """
    problems: Problems = {}
    events: list[Event] = []

    def tell(kind: str, name: str, problem: dict[str, Any]) -> None:
        words = {key: problem[key] for key in ("since", "wrong", "advice")}
        events.append({"kind": kind, "name": name, "at": now, **words})

    for row in (row for row in rows if row.wrong and (row.certain or not between)):
        before = known.get(row.name, {"since": now, "seen": 0, "told": 0})
        problem = {**before, "seen": before["seen"] + 1, "gone": 0, "wrong": row.wrong,
                   "advice": row.advice}  # fmt: skip
        if problem["seen"] >= (1 if row.certain else LOOKS) and not problem["told"]:
            problem["told"] = now
            tell("begins", row.name, problem)
        elif problem["told"] and not 0 <= now - problem["told"] < remind:
            problem["told"] = now
            tell("goes on", row.name, problem)
        problems[row.name] = problem
    for name, before in known.items():
        if between:
            problems.setdefault(name, before)
        if name in problems or not before["told"]:
            continue
        problem = {**before, "gone": before["gone"] + 1}
        if problem["gone"] >= LOOKS:
            tell("ends", name, problem)
        else:
            problems[name] = problem
    return problems, events


# --- Messages -----------------------------------------------------------------------------------


def subject(host: str, events: Iterable[Event]) -> str:
    """Return a message's subject."""
    kinds: dict[str, list[str]] = {}
    for event in events:
        names = kinds.setdefault(event["kind"], [])
        names += [event["name"]] if event["name"] not in names else []
    told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())
    return f"[{host}] {told}"[:200]


def text(events: Iterable[Event]) -> str:
    """Return a message's text."""
    lines = []
    for event in events:
        lines.append(f"{at(event['at'])}  {event['kind'].upper()}  {event['name']}")
        lines.append(f"    {event['wrong']} (since {at(event['since'])})")
        if event["kind"] != "ends":
            lines.append(f"    To do: {event['advice']}")
    return "\n".join(lines) + "\n"


def mail(given: Mapping[str, Any], events: list[Event]) -> None:
    """Send events by e-mail.

    Raises:
        OSError, smtplib.SMTPException: the server has not taken it.
    """
    message = EmailMessage()
    message["From"], message["To"] = given["email_from"], ", ".join(given["email_to"])
    message["Subject"] = subject(given["host"], events)
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="django-stack.invalid")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text(events))
    server = urlsplit(given["smtp_url"])
    place = (server.hostname or "localhost", server.port or PORTS[server.scheme])
    context = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(*place, timeout=TIMEOUT, context=context)
        if server.scheme == "smtp+ssl"
        else smtplib.SMTP(*place, timeout=TIMEOUT)
    ) as connection:
        if server.scheme in ("smtps", "smtp+tls"):
            connection.starttls(context=context)
        if server.username:
            connection.login(unquote(server.username), unquote(server.password or ""))
        connection.send_message(message)


def request(url: str, body: bytes | None = None, kind: str = "text/plain") -> None:
    """Send a request, a POST where there is a body.

    Raises:
        OSError, http.client.HTTPException: there is no answer, or one that is an error.
    """
    asked = urllib.request.Request(url, data=body, headers={"Content-Type": kind})
    with urllib.request.urlopen(asked, timeout=TIMEOUT) as answer:
        answer.read(1000)


def post(given: Mapping[str, Any], events: list[Event]) -> None:
    """Send events to the webhook."""
    line = subject(given["host"], events)
    told = {"host": given["host"], "text": f"{line}\n{text(events)}", "events": events}
    request(given["webhook_url"], json.dumps(told).encode(), "application/json")


def beat(given: Mapping[str, Any], problems: Problems) -> None:
    """Tell the heartbeat URL that the host is well, or what is wrong."""
    told = [f"{name}: {each['wrong']}" for name, each in problems.items() if each["told"]]
    url = urlsplit(given["heartbeat_url"])
    if not told:
        return request(url.geturl())
    fail = url._replace(path=f"{url.path.rstrip('/')}/fail")  # as healthchecks.io has it
    return request(fail.geturl(), "\n".join(told).encode())


def deliver(
    given: Mapping[str, Any], waiting: Mapping[str, list[Event]], events: list[Event], now: float
) -> tuple[dict[str, list[Event]], list[str]]:
    """Send what there is to tell through each channel, in one message.

    Args:
        given: the description of the host, with its channels.
        waiting: by the name of the channel, what has not been delivered before.
        events: what is new.
        now: the time, in seconds since 1970.

    Returns:
        what has not been delivered, and a line for each failure. No line has a secret.
    """
    channels: dict[str, Callable[[Mapping[str, Any], list[Event]], None]] = {}
    if given["email_to"] and given["smtp_url"]:
        channels["e-mail"] = mail
    if given["webhook_url"]:
        channels["webhook"] = post
    left: dict[str, list[Event]] = {}
    lines = []
    for name, send in channels.items():
        due = [each for each in [*waiting.get(name, []), *events] if now - each["at"] < KEPT_FOR]
        if not due:
            continue
        try:
            send(given, due)
        except FAILURES as error:
            left[name] = due[-KEPT:]
            lines.append(f"{name}: not delivered, and tried again: {type(error).__name__}")
    return left, lines


def tell(given: Mapping[str, Any], memory: Mapping[str, Any], rows: list[Row]) -> dict[str, Any]:
    """Tell what a look has found; return what the next one has to know.

    Args:
        given: the description of the host.
        memory: what the last one has returned.
        rows: what the look has found.
    """
    now, remind = time.time(), given["remind_hours"] * 3600
    counted = float(memory.get("counted", 0))
    between = 0 <= now - counted < APART
    problems, events = follow(memory.get("problems", {}), rows, now, remind, between)
    for event in events:  # systemd takes the number for the level of the message
        level = 5 if event["kind"] == "ends" else 4
        print(f"<{level}>{event['name']} {event['kind']}: {event['wrong']}", flush=True)
    waiting, failures = deliver(given, memory.get("waiting", {}), events, now)
    if given["heartbeat_url"]:
        try:
            beat(given, problems)
        except FAILURES as error:
            failures.append(f"heartbeat: not delivered: {type(error).__name__}")
    for line in failures:
        print(f"<4>{line}", flush=True)
    counted = counted if between else now
    return {"at": now, "counted": counted, "problems": problems, "waiting": waiting}

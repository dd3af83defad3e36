"""The releases of one application as plain data: what is live, what is kept, what to go back to.

Nothing here reads or writes a file; the module C(app_release) does. The record is a dictionary:

    release      the name of the live release
    revision     its commit, or the digest of its source
    environment  the digest of the environment it runs in
    since        when it became live, as "2026-11-25 18:30:00 UTC"
    releases     an entry for each release that was deployed, by its name:
        revision, ref, by, at, seconds   what was deployed, by whom, when, in how many seconds
        state     "good", "failed", or "left" after a rollback to an older release
        why       why it failed or was left; empty otherwise
        migrated  the migrations that its deploy has run
        packages  the digest of what its virtual environment was made from
        until     when another release became live, if one did
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

Record = dict[str, Any]

TIME = "%Y-%m-%d %H:%M:%S UTC"
NAME = re.compile(r"[0-9a-f]{12}-[0-9a-f]{6}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")
# What packages.py prints, and fetch.py gives to git: no option, and nothing but SSH.
REPOSITORY = r"ssh://(?:[\w.~-]+@)?[\w\[][\w.\[\]:-]*/[^\s@#?\"';,]+"
REPOSITORIES = re.compile(rf"{REPOSITORY}(?:,{REPOSITORY})*\Z")
REVISION = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
REMEMBERED = 100  # entries that the record keeps, the newest: app_releases_keep may be as many
FAILED = 30  # entries of failed releases that it keeps besides
SHOWN = 30  # releases that the table shows, the newest; those that are kept or bad in any case
WORDS = ("release", "revision", "environment", "since", "hooks")  # of the record
ENTRY_WORDS = ("revision", "at", "state", "packages", "until")
ROW = "{:<20} {:<11} {:<23} {:<24} {:>7}  {}"
MIGRATION = re.compile(r"[A-Za-z0-9_.]{1,300}\Z")
CHECK = re.compile(r"[A-Za-z0-9_.]{1,100}\Z")
COOKIE = re.compile(r"(SESSION|CSRF)_COOKIE_SECURE\Z")
DIRECTORY = re.compile(r"/[\x20-\x7e]{0,300}\Z")
TRANSPORT = re.compile(r"[a-z0-9_]{1,30}\Z")


class ReleaseError(Exception):
    """The request cannot be met; the text tells the operator what to do."""


def clock() -> str:
    """Return the time now, as the record has it."""
    return datetime.now(timezone.utc).strftime(TIME)


def parse(text: str, path: str) -> Record:
    """Return the record that a file holds.

    Args:
        text: the file's content; empty where there is no file.
        path: the file's name, for the message.

    Raises:
        ReleaseError: the file is damaged; the message says how to go on.
    """
    if not text.strip():
        return {"releases": {}}
    try:
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("it is not a dictionary")
        entries = record.setdefault("releases", {})
        wrong = [key for key in WORDS if not isinstance(record.get(key, ""), str)]
        if wrong or not isinstance(entries, dict):
            raise ValueError(f"{(wrong or ['releases'])[0]} has an unknown form")
        wrong = [name for name, entry in entries.items() if not _is_entry(name, entry)]
        if wrong:
            raise ValueError(f"the release {wrong[0][:100]!r} in it has an unknown form")
    except (ValueError, RecursionError) as error:
        raise ReleaseError(
            f"The record of the releases, {path}, is damaged: {error}. The live release goes on "
            f"to serve. Move the file away (mv {path} {path}.damaged) and run this again: what was "
            "deployed before is then unknown to a rollback, and nothing else is lost."
        ) from error
    return dict(record)


def _is_entry(name: str, entry: object) -> bool:
    """Return whether a release of the record has the form that this module writes."""
    if not NAME.match(name) or not isinstance(entry, dict):
        return False
    migrated = entry.get("migrated", [])
    return (
        all(isinstance(entry.get(key, ""), str) for key in ENTRY_WORDS)
        and isinstance(migrated, list)
        and all(isinstance(each, str) for each in migrated)
    )


def text_of(record: Record) -> str:
    """Return the text of the record's file."""
    return json.dumps(record, indent=4, sort_keys=True) + "\n"


def digest(*parts: object) -> str:
    """Return the SHA-256 of some values, as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def name_of(revision: str, recipe: str) -> str:
    """Return a release's name: its revision, and the digest of how it is built.

    Raises:
        ReleaseError: the revision is not one.
    """
    if not REVISION.match(revision):
        raise ReleaseError(f"The source has no revision: {revision[:100]!r} is not a commit")
    return f"{revision[:12]}-{recipe[:6]}"


def entry_of(record: Record, name: str) -> dict[str, Any]:
    """Return what is known of a release; empty for one that was never deployed."""
    return dict(record["releases"].get(name, {}))


def refuse_left(record: Record, live: str, name: str, retry: bool) -> None:
    """Refuse a release that a rollback has taken back.

    Raises:
        ReleaseError: it was taken back, and nobody asks to try it again.
    """
    if entry_of(record, name).get("state") == "left" and not retry and live != name:
        raise ReleaseError(
            f"{name} was live and was taken back. Deploy another commit, or try this one again "
            "with -e app_retry=true"
        )


def target(record: Record, built: Iterable[str], live: str, wanted: str) -> str:
    """Return the release that a rollback leads to.

    Args:
        record: the record.
        built: the releases whose directories are complete.
        live: the live release.
        wanted: the release that is asked for; empty for the newest good one before the live one.

    Raises:
        ReleaseError: there is none.
    """
    entries = record["releases"]
    kept = [name for name in built if name in entries and name != live]
    if wanted:
        if wanted in kept and entries[wanted].get("state") in ("good", "left"):
            return wanted
        choice = ""
    else:
        before = entries.get(live, {}).get("at") or clock()
        good = [name for name in kept if entries[name].get("state") == "good"]
        older = [name for name in good if entries[name].get("at", "") < before]
        choice = max(older, key=lambda name: entries[name].get("at", ""), default="")
    if not choice:
        raise ReleaseError(
            f"There is no release to go back to{': ' + wanted if wanted else ''}. app_rollback_to "
            "can name a release that is kept, good and not live; playbooks/releases.yml lists them"
        )
    return choice


def carried(record: Record, built: Iterable[str], live: str, hours: int) -> list[str]:
    """Return the releases whose static files the next one serves as well, the live one first.

    Args:
        record: the record.
        built: the releases whose directories are complete.
        live: the live release; empty if there is none.
        hours: how long a page of a release may still be open.
    """
    since = (datetime.now(timezone.utc) - timedelta(hours=hours)).strftime(TIME)
    entries = record["releases"]
    recent = [name for name in built if entries.get(name, {}).get("until", "") > since]
    return list(dict.fromkeys(name for name in [live, *recent] if name))


def migrated_after(record: Record, name: str) -> list[str]:
    """Return the migrations that releases newer than this one have run."""
    at = entry_of(record, name).get("at", "")
    newer = [entry for entry in record["releases"].values() if entry.get("at", "") > at]
    return sorted({each for entry in newer for each in entry.get("migrated", [])})


def with_entry(record: Record, name: str, **values: object) -> Record:
    """Return the record with values of one release replaced; the oldest entries drop out.

    Those that failed are counted apart: a row of broken commits must not make a rollback forget
    where it can go back to.
    """
    entries = {**record["releases"], name: {**entry_of(record, name), **values}}
    newest = sorted(entries, key=lambda each: entries[each].get("at", ""), reverse=True)
    bad = [each for each in newest if entries[each].get("state") == "failed"]
    others = [each for each in newest if entries[each].get("state") != "failed"]
    stay = {name, record.get("release", ""), *bad[:FAILED], *others[:REMEMBERED]}
    return {**record, "releases": {each: entries[each] for each in newest if each in stay}}


def activated(
    record: Record, request: Mapping[str, Any], live: str, run: Mapping[str, Any], now: str
) -> Record:
    """Return the record once the requested release is live.

    Args:
        record: the record before.
        request: what `app_release` wrote down of the request: name, revision, environment, entry.
        live: the release that was live; empty if none was.
        run: who deploys: by.
        now: the time, as `clock` gives it.
    """
    name, kind = request["name"], request["kind"]
    changed = {**record}
    if live in record["releases"] and live != name:
        was = {"until": now}
        older = entry_of(record, name).get("at", "") < entry_of(record, live).get("at", "")
        if kind == "rollback" and older:
            was |= {"state": "left", "why": f"taken back by {run['by']} at {now}"}
        changed = with_entry(changed, live, **was)
    changed = with_entry(changed, name, **{**request["entry"], "state": "good", "why": ""})
    changed["releases"][name].pop("until", None)
    if kind != "live":
        changed["hooks"] = ""  # app_after_switch has yet to run
    return {
        **changed,
        "release": name,
        "revision": request["revision"],
        "environment": request["environment"],
        "since": now,
    }


def failed(record: Record, request: Mapping[str, Any], why: str) -> Record:
    """Return the record once the requested release has failed."""
    return with_entry(
        record, request["name"], **{**request["entry"], "state": "failed", "why": why}
    )


def pruned(
    record: Record, present: Iterable[str], built: Iterable[str], live: str, keep: int
) -> list[str]:
    """Return the directories to remove: unfinished ones, and all but the newest releases.

    Args:
        record: the record.
        present: the names of all directories.
        built: those of complete releases.
        live: the live release, which always stays.
        keep: how many complete releases stay besides.
    """
    entries = record["releases"]
    old = sorted(set(built) - {live}, key=lambda name: entries.get(name, {}).get("at", ""))
    stay = {live, *old[len(old) - keep :]} if keep < len(old) else {live, *old}
    return sorted(set(present) - stay)


def table(
    record: Record, built: Iterable[str], live: str, application: str, holder: Mapping[str, Any]
) -> str:
    """Return what playbooks/releases.yml shows: a row for each release, the newest first."""
    entries = record["releases"]
    built = set(built)
    lines = [f"{application}: {live or 'no release'} is live since {record.get('since', '-')}"]
    if holder:
        lines.append(f"{holder['by']} has been deploying since {holder['since']}")
    lines.append(ROW.format("release", "state", "deployed", "by", "seconds", "commit"))
    newest = sorted(entries, key=lambda each: entries[each].get("at", ""), reverse=True)
    for position, name in enumerate(newest):
        entry = entries[name]
        words = {"failed": "failed", "left": "taken back"}
        kept = "kept" if name in built else "gone"
        state = "live" if name == live else words.get(entry.get("state", ""), kept)
        if state == "gone" and position >= SHOWN:
            continue
        commit = f"{entry.get('revision', '')[:12]} {entry.get('ref', '')} {entry.get('why', '')}"
        told = [name, state, *(entry.get(key, "") for key in ("at", "by", "seconds"))]
        lines.append(ROW.format(*map(str, told), " ".join(commit.split())))
    return "\n".join(lines)


# --- What the application's own processes print, which may be anything ----------------------------


def report(text: str) -> dict[str, Any]:
    """Return what imports.py and prepare.py found out, in a form that is safe.

    That is the last line of their output.

    The process that prints it runs the project's code, so a value that has not the form it should
    have is left out, and no value is ever used as a path or a command.
    """
    try:
        told = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}

    def words(key: str, form: re.Pattern[str]) -> list[str]:
        value = told.get(key, [])
        listed = value if isinstance(value, list) else []
        return [each for each in listed[:1000] if isinstance(each, str) and form.match(each)]

    return {
        "debug": told.get("debug") is True,
        "celery": celery(told.get("celery")),
        "warnings": words("warnings", CHECK),
        "secure_cookies": words("secure_cookies", COOKIE),
        "media_root": next(iter(words("media_root", DIRECTORY)), ""),
        "silenced": words("silenced", CHECK),
        "migrated": words("migrated", MIGRATION),
        "behind": words("behind", MIGRATION),
    }


def celery(told: object) -> dict[str, Any]:
    """Return the part of a report that is about Celery, in a form that is safe.

    Args:
        told: what the function `delivery` of imports.py returns; nothing where there is no Celery.

    Returns:
        `transport`, kombu's name for the kind of the broker; `acks_late`, `quorum` and `confirms`,
        each whether it is so; `visibility_timeout`, in seconds, None where it is not set. Empty if
        there is no Celery.
    """
    if not isinstance(told, dict) or not isinstance(told.get("transport"), str):
        return {}
    if not TRANSPORT.match(told["transport"]):
        return {}
    seconds = told.get("visibility_timeout")
    known = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    return {
        "transport": told["transport"],
        **{name: told.get(name) is True for name in ("acks_late", "quorum", "confirms")},
        "visibility_timeout": seconds if known else None,
    }


def step_of(text: str, steps: Sequence[str]) -> str:
    """Return the step that a process was at: the last that its output names ("step: packages").

    Args:
        text: the output.
        steps: the steps that the process was asked for; the first one where it names none of them,
            so that no code of the project is taken for another step.
    """
    found = [each for each in re.findall(r"^step: ([a-z_]+)$", text, re.MULTILINE) if each in steps]
    return str((found or steps)[-1 if found else 0])


def printed(text: str, name: str, form: re.Pattern[str]) -> str:
    """Return the value of the last line "name: value" whose value has a form; empty if none."""
    found = re.findall(rf"^{name}: (\S+)$", text, re.MULTILINE)
    return found[-1] if found and form.match(found[-1]) else ""


def warnings(text: str) -> list[str]:
    """Return the lines "warning: text" of what a step printed, a few and short ones."""
    told = re.findall(r"^warning: (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\x20-\x7e]", "?", each)[:600] for each in told[:10]]


# --- The environment's files ----------------------------------------------------------------------


def environment_text(values: Mapping[str, object], header: str) -> str:
    r"""Return the text of a file that systemd and the shell read alike.

    In double quotes both understand \\ \" \$ and \` and nothing else is special.

    Args:
        values: the variables by their names; values without control characters.
        header: comment lines that come first.
    """
    special = re.compile(r"""([\\"$`])""")
    lines = [
        name + '="' + special.sub(r"\\\1", str(values[name])) + '"'
        for name in sorted(values, key=str.lower)
    ]
    return "\n".join([header.rstrip(), *lines]) + "\n"


def dotenv_text(values: Mapping[str, object], header: str) -> str:
    """Return the text of a .env file: its readers agree on bare words and on single quotes alone.

    Args:
        values: the variables by their names; values without control characters.
        header: comment lines that come first.
    """

    def quoted(text: str) -> str:
        if re.match(r"[A-Za-z0-9_@%+:,./=-]*\Z", text):
            return text
        if "'" not in text and "\\" not in text:
            return f"'{text}'"
        return '"' + re.sub(r"""([\\"])""", r"\\\1", text) + '"'

    lines = [f"{name}={quoted(str(values[name]))}" for name in sorted(values, key=str.lower)]
    return "\n".join([header.rstrip(), *lines]) + "\n"

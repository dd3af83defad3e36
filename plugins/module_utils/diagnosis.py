"""Finds in the output of a step or of a service why it failed, and shows the lines that say so.

The output may be hostile, huge, or in any language. `causes` has the table of what is known.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from string import Template

from ansible_collections.clink.django_stack.plugins.module_utils.causes import (
    CAUSES,
    DEBIAN,
    HEADERS,
    OWN,
    PYPI,
    Cause,
)

LINES = 20  # of an output, that are shown
TAIL = 8  # of them at least, the last
WIDTH = 500  # characters of a line that are shown
LOOKED_AT = 2000  # characters of a line that are looked at, at each of its ends
SIZE = 512 * 1024  # characters of an output that are looked at, half of them at each end
JSON = 64 * 1024  # characters of a line of JSON that is read
GAP = "[...]"
CONTROL = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]|[\u200e\u200f\u2028-\u202e\u2066-\u2069]")
COLOURS = re.compile(r"\x1b\[[0-9;:]{0,40}[mK]")
# What is left of a secret: of a URL's user and password the user, of a setting its name.
URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"]{0,100}):[^\s/@'\"]{1,300}@")
# A token without a password, as in the URLs of git hosts.
TOKEN = re.compile(r"(?i)\b((?:git\+)?https?://)[^\s/:@'\"]{1,300}:?@")
SECRET = re.compile(
    r"(?i)\b(\w{0,60}(?:secret|password|passwd|token|api_?key|secret_?key|private_?key))"
    r"(['\"]?\s{0,3}(?:=|:(?!//))\s{0,3}['\"]?)(?!\*\*\*|None\b|True\b|False\b|os\.|env\b)"
    r"([^\s'\",)}]{4,500})"
)
TRACEBACK = re.compile(
    r"^([ |+]*)(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\):"
)
CARETS = re.compile(r"\s+[~^]{2}[~^ ]*$")  # below a line of code
STACK = re.compile(r"\s*\d+: 0x[0-9a-f]+ ")  # of a program in C++
LINKED = re.compile(
    r"The above exception was the direct cause|During handling of the above exception"
)
ERROR = re.compile(
    r"(?:^|[\s\[(])(?:fatal error|error|Error|ERROR|FATAL|fatal|CRITICAL)(?:\[?:|[\]/!])\s*\S"
    r"|does not (?:answer|start); journalctl"
    r"|^\s*(?:×|✘|╰─▶|├─▶) |^\s*cause: |: not found$|command not found|: Read-only file system"
    r"|^GET \S+: \d|npm (?:ERR!|error)|^\s*E  "
)
BUILT = re.compile(r"(?i:failed to (?:download and )?build|failed building wheel for) `?([\w.-]+)")
# A warning of Django's checks, which ends nothing.
WARNED = re.compile(r"\S.*: \(\w[\w.]*\.[WID]\d+\) ")
RECORD = re.compile(r"\s*$|\[|\d{4}-\d\d|[A-Z]{4,8}\b[ :]")  # where a log goes on
MORE = 6  # lines of an exception's message that are looked at
MESSAGE = ("message", "msg", "event", "error", "exc_info", "exception", "traceback", "stack")


# --- The text ------------------------------------------------------------------------------------


def without_secrets(text: str) -> str:
    """Return a text without the passwords of URLs and the values of secret settings."""
    return SECRET.sub(r"\1\2***", URL.sub(r"\1:***@", TOKEN.sub(r"\1***@", text)))


def _of_json(line: str) -> list[str]:
    """Return the lines of a log record in JSON; the line itself if it is none."""
    if not (line.startswith("{") and line.endswith("}")) or len(line) > JSON:
        return [line]
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return [line]
    told = [record[key] for key in MESSAGE if isinstance(record.get(key), str)]
    raised = record.get("exception")  # by structlog's dict_tracebacks, the last one first
    for each in reversed(raised if isinstance(raised, list) else []):
        if isinstance(each, dict):
            told.append(f"{each.get('exc_type')}: {each.get('exc_value')}")
    return "\n".join(told).split("\n") if told else [line]


def readable(output: str) -> list[str]:
    """Return the lines of an output, without what a terminal would obey, and without secrets."""
    if len(output) > SIZE:
        output = f"{output[: SIZE // 2]}\n{GAP}\n{output[-SIZE // 2 :]}"
    lines: list[str] = []
    for line in COLOURS.sub("", output).split("\n"):
        line = line.rstrip("\r").rpartition("\r")[2] if len(line) < JSON else line
        for each in _of_json(line):
            if len(each) > 2 * LOOKED_AT:
                each = f"{each[:LOOKED_AT]} {GAP} {each[-LOOKED_AT:]}"
            lines.append(without_secrets(CONTROL.sub("?", each)))
    while lines and not lines[-1].strip():
        lines.pop()
    while lines and not lines[0].strip():
        lines.pop(0)
    return [line for line in lines if not (line.startswith("step: ") or CARETS.match(line))]


# --- The exceptions ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Raised:
    """An exception in an output: where its traceback begins, and its own line, by their numbers."""

    begin: int
    line: int
    linked: bool


def exceptions(lines: list[str]) -> list[Raised]:
    """Return the exceptions whose tracebacks an output has.

    `linked` says that an exception follows from the one before it.
    """
    found: list[Raised] = []
    linked, number = False, 0
    while number < len(lines):
        begun = TRACEBACK.match(lines[number])
        if not begun:
            linked = linked or bool(LINKED.search(lines[number]))
            number += 1
            continue
        begin, prefix = number, len(begun[1])
        number += 1
        while number < len(lines):
            rest = lines[number][prefix:]
            if not rest.startswith((" ", "\t")) and rest.strip():
                found.append(Raised(begin, number, linked))
                break
            number += 1
        linked = False
    return found


def chain(lines: list[str]) -> list[Raised]:
    """Return the last chain of exceptions in an output, the first exception first."""
    found = exceptions(lines)
    links: list[Raised] = []
    for each in reversed(found):
        links.insert(0, each)
        if not each.linked:
            break
    return links


# --- The cause -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A cause that was found: what to do, whether that is sure, and the line that proves it."""

    advice: str
    sure: bool
    line: int

    @property
    def told(self) -> str:
        """What to do, as an operator is told."""
        return self.advice if self.sure else f"Perhaps: {self.advice}"


def _advice(cause: Cause, match: re.Match[str], directory: str) -> str:
    """Return the advice of a cause, with what its pattern has found."""
    values = dict.fromkeys(("path", "host", "name", "handler"), "")
    for name, value in match.groupdict().items():  # "name2" is another place of "name"
        name = name.rstrip("0123456789")
        values[name] = values.get(name) or (value or "")[:WIDTH].strip()
    inside = values.get("inside", "")
    if directory and inside.startswith(f"{directory}/"):
        inside = inside[len(directory) + 1 :]
    values["directory"] = posixpath.dirname(inside or values["path"]) or "."
    missing, module = values.get("missing", ""), values.get("module", "")
    values["headers"] = HEADERS.get(values.get("pc", ""), "its headers (lib...-dev)")
    values["package"] = DEBIAN.get(missing, f"the Debian package that has {missing}")
    values["project"] = PYPI.get(module, module.replace("_", "-"))
    built = BUILT.search(match.string)
    values["built"] = built[1] if built else "A package"
    return Template(cause.advice).safe_substitute(values).strip()


def _parts(lines: list[str]) -> list[tuple[int, int]]:
    """Return where to look for the cause, as the numbers of lines, the best place first.

    Those are the last chain of exceptions, what comes after it, and all: a log may tell of failures
    that nobody minds before the one that ends a process, and beside it.
    """
    links = chain(lines)
    if not links or any(BUILT.search(line) for line in lines):  # a build has exceptions of its own
        return [(0, len(lines))]
    begin, end = links[0].begin, links[-1].line + 1
    while end < min(len(lines), links[-1].line + MORE) and not RECORD.match(lines[end]):
        end += 1
    return [(begin, end), (begin, len(lines)), (0, len(lines))]


def cause_of(lines: list[str], directory: str = "", step: str = "") -> Found | None:
    """Return the known cause in an output.

    Args:
        lines: those of `readable`.
        directory: app_directory, which the advice on files below a release leaves out.
        step: the step whose output it is; empty for the log of a service.
    """
    table = (OWN[step], *CAUSES) if step in OWN else CAUSES
    for begin, end in dict.fromkeys(_parts(lines)):
        text = "\n".join("" if WARNED.match(line) else line for line in lines[begin:end])
        for cause in table:
            match = re.search(cause.pattern, text, re.MULTILINE)
            if match:
                line = begin + text.count("\n", 0, match.end())
                return Found(_advice(cause, match, directory), cause.sure, line)
    return None


# --- What is shown -------------------------------------------------------------------------------


def shorten(line: str) -> str:
    """Return a line without its middle, if it is long."""
    half = (WIDTH - len(GAP) - 2) // 2
    return line if len(line) <= WIDTH else f"{line[:half]} {GAP} {line[-half:]}"


def shown(lines: list[str], found: Found | None) -> list[str]:
    """Return the lines of an output that tell why: its end, and before that the first errors.

    Those are the line of the cause, each exception of the last chain with the place where the first
    was raised, and the first lines that tell of an error.
    """
    wanted: list[int] = [found.line] if found else []
    links = chain(lines)
    for number, each in enumerate(links):
        if number == 0:
            frames = [
                line for line in range(each.begin, each.line)
                if lines[line].lstrip(" |").startswith("File ")
            ]  # fmt: skip
            wanted += [each.line, *frames[-1:], *([frames[-1] + 1] if frames else [])]
    wanted += [each.line for each in reversed(links[1:])]
    # A service that restarts says the same each time.
    first = {line: number for number, line in reversed([*enumerate(lines)]) if ERROR.search(line)}
    wanted += sorted(first.values())[:3]
    rest = [number for number in reversed(range(len(lines))) if not STACK.match(lines[number])]
    kept = set(rest[:TAIL])
    for number in [*wanted, *rest]:
        if len(kept) >= LINES:
            break
        kept.add(number)
    told: list[str] = []
    before = -1
    for number in sorted(kept):
        if told and number > before + 1:
            told.append(GAP)
        told.append(shorten(lines[number]))
        before = number
    return told


def report(what: str, output: str) -> str:
    """Return what to do about a service, then what is wrong with it, and the lines that tell why.

    Args:
        what: what is wrong, such as "celery.service does not start".
        output: the end of its log.
    """
    lines = readable(output)
    found = cause_of(lines)
    return "\n".join([*([found.told] if found else []), what, *shown(lines, found)])

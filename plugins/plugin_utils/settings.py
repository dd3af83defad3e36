"""How programs write the settings that an operator passes to them, such as `nginx_http_settings`.

A dictionary has texts, numbers, truth values, or lists of these, by the names of the settings.
`null` leaves a setting out, also one that the role has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

LINES = "\n"  # a list becomes a line for each of its values
ITEMS = "::"  # the same, with this at the end of the name
NUMBERED = "."  # a list becomes a line for each value, whose name has its number at the end
# Of sshd, a list becomes one line, except for these. The names of algorithms are joined by commas.
SSHD_LINES = frozenset(
    {"AcceptEnv", "HostCertificate", "HostKey", "ListenAddress", "Port", "Subsystem"}
)
SSHD_COMMAS = re.compile(r".*(Algorithms|Ciphers|MACs)")
FAIL2BAN_COMMAS = frozenset({"port", "protocol"})
FAIL2BAN_NEXT = "\n    "
# A word of nginx's configuration. A quote is a character like others, except at the beginning.
NGINX_WORD = (
    r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
    r"""|(?:\$\{\w+\}|\\\S|[^\s;{}\\"'#])(?:\$\{\w+\}|\\\S|[^\s;{}\\])*)"""
)
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def _always(joint: str) -> Callable[[str], str]:
    return lambda name: joint


def _same(text: str) -> str:
    return text


@dataclass(frozen=True)
class Dialect:
    """How a program writes its settings.

    Attributes:
        line: a line, with the places of its name and value.
        truth: what stands for false and for true.
        joint: returns what a list becomes: LINES, ITEMS, NUMBERED, or one line with this separator.
        pattern: what one value is like.
        write: returns a value's text as the program reads it.
        left_out: values that leave a setting out.
        is_sorted: whether the lines are sorted by the names, or as the dictionary is.
    """

    line: str
    truth: tuple[str, str]
    joint: Callable[[str], str] = _always(LINES)
    pattern: str = ".*"
    write: Callable[[str], str] = _same
    left_out: tuple[str | None, ...] = (None,)
    is_sorted: bool = True


def _joint_of_sshd(name: str) -> str:
    if name in SSHD_LINES:
        return LINES
    return "," if SSHD_COMMAS.fullmatch(name) else " "


def _joint_of_fail2ban(name: str) -> str:
    return "," if name in FAIL2BAN_COMMAS else FAIL2BAN_NEXT


DIALECTS: Mapping[str, Dialect] = {
    "apt": Dialect('{name} "{value}";', ("false", "true"), _always(ITEMS), r'[^"]*'),
    # A `#` or `;` after a space begins a comment.
    "certbot": Dialect("{name} = {value}", ("false", "true"), _always(","), r"(?!.*\s[#;]).*"),
    "fail2ban": Dialect("{name} = {value}", ("false", "true"), _joint_of_fail2ban),
    "nginx": Dialect(
        "{name}{value};",
        ("off", "on"),
        pattern=rf"\s*(?:{NGINX_WORD}(?:\s+{NGINX_WORD})*\s*)?",
        write=lambda text: f" {text}" if text else "",
    ),
    "postgresql": Dialect(
        "{name} = '{value}'",
        ("off", "on"),
        _always(", "),
        write=lambda text: text.replace("\\", r"\\").replace("'", "''"),
    ),
    # A `#` begins a comment everywhere, and there are no quotes.
    "rabbitmq": Dialect("{name} = {value}", ("false", "true"), _always(NUMBERED), r"[^#]*"),
    "redis": Dialect("{name} {value}", ("no", "yes"), write=lambda text: text or '""'),
    "sshd": Dialect("{name} {value}", ("no", "yes"), _joint_of_sshd, r".*\S.*"),
    "sysctl": Dialect("{name} = {value}", ("0", "1"), _always(" "), left_out=(None, "")),
    "systemd": Dialect("{name}={value}", ("false", "true"), is_sorted=False),
}


def _items(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _text(value: object, dialect: Dialect) -> str:
    # A template without native types makes a text of a truth value.
    words = {"False": dialect.truth[0], "True": dialect.truth[1]}
    return dialect.write(words.get(str(value), str(value)))


def lines(settings: Mapping[str, Any], dialect: str) -> list[str]:
    """Return the lines of settings.

    Args:
        settings: values by their names.
        dialect: a name of DIALECTS, or `python`.
    """
    given = sorted(settings.items(), key=lambda item: str(item[0]).lower())
    if dialect == "python":
        return [f"{name} = {plain(value)!r}" for name, value in given if value is not None]
    known = DIALECTS[dialect]
    return [
        line
        for name, value in (given if known.is_sorted else settings.items())
        if value not in known.left_out
        for line in _lines(str(name), value, known)
    ]


def _lines(name: str, value: object, dialect: Dialect) -> list[str]:
    texts = [_text(item, dialect) for item in _items(value)]
    if not isinstance(value, (list, tuple)):
        return [dialect.line.format(name=name, value=texts[0])]
    joint = dialect.joint(name)
    if joint == NUMBERED:
        names = [f"{name}.{number}" for number in range(1, len(texts) + 1)]
    elif joint == ITEMS:
        names = [f"{name}::"] * len(texts)
    elif joint == LINES:
        names = [name] * len(texts)
    else:
        names, texts = [name], [joint.join(texts)]
    return [
        dialect.line.format(name=each, value=text) for each, text in zip(names, texts, strict=True)
    ]


def plain(value: object) -> object:
    """Return a value of Ansible as Python writes it: dictionaries, lists, texts and numbers."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def is_plain(value: object) -> bool:
    """Return whether a value is None, or one that YAML and Python write: no date, and no bytes."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) for name in value) and all(map(is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (str, int, float))


def can_write(dialect: str) -> Callable[[object], bool]:
    """Return a test of whether a value of a setting fits into the lines of a dialect."""
    pattern = re.compile(DIALECTS[dialect].pattern)

    def fits(value: object) -> bool:
        return value is None or all(
            isinstance(item, (str, int, float))
            and not CONTROL.search(str(item))
            and pattern.fullmatch(str(item)) is not None
            for item in _items(value)
        )

    return fits


def merge_headers(own: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, str]:
    """Return headers by their names, without those whose value is None or empty.

    Args:
        own: headers of the role.
        more: headers of the operator, which replace those of the role, whatever the case of the
            letters is. A list is joined by commas.
    """
    merged: dict[str, tuple[str, Any]] = {name.lower(): (name, own[name]) for name in own}
    merged |= {name.lower(): (name, more[name]) for name in more}
    return {
        name: ", ".join(
            str(item).lower() if isinstance(item, bool) else str(item) for item in items
        )
        for name, value in merged.values()
        if (items := [item for item in _items(value) if item not in (None, "")])
    }


def merge_sysctl(own: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of the kernel, one for each name.

    Args:
        own: settings of the role, by names with dots.
        more: settings of the operator, which replace those of the role. Names may have slashes, as
            in sysctl.d(5), and a dash in front, by which systemd ignores a failure.
    """

    def dotted(name: str) -> str:
        has_slash_first = "/" in name.partition(".")[0]
        return name.translate(str.maketrans("/.", "./")) if has_slash_first else name

    given = {dotted(name): value for name, value in more.items()}
    replaced = {name.removeprefix("-") for name in given}
    return {name: value for name, value in own.items() if name not in replaced} | given


def reserved_names(
    value: Mapping[str, Any], reserved: Mapping[str, str], path: Iterable[str]
) -> dict[str, str]:
    """Return which names of an operator's dictionary are set by other variables, and by which.

    Args:
        value: of the variable.
        reserved: what to set instead, by patterns of names.
        path: keys to the dictionaries of settings in the value; `*` stands for all keys.
    """
    found: list[Any] = [value]
    for key in path:
        parts = [part for part in found if isinstance(part, Mapping)]
        found = [
            item for part in parts for item in (part.values() if key == "*" else [part.get(key)])
        ]
    return {
        str(name): instead
        for settings in found
        if isinstance(settings, Mapping)
        for name in settings
        for pattern, instead in reserved.items()
        if re.fullmatch(pattern, str(name))
    }

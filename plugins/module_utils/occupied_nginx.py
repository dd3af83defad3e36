"""What nginx already serves on a host, and what of it cannot live beside the role's settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import files, occupants
from ansible_collections.clink.django_stack.plugins.module_utils.occupants import Finding

ETC = Path("/etc/nginx")
CONFIG = ETC / "nginx.conf"
DEFAULT = ETC / "sites-enabled/default"
DROP_IN = Path("/etc/systemd/system/nginx.service.d/django_stack.conf")
WELCOME = Path("/var/www/html")
KEPT = ETC / "before-django-stack.conf"
# What nginx.conf of the role sets in the block http; tests/unit/test_occupied_host.py compares.
ROLE_SETS = {
    "absolute_redirect", "access_log", "charset_types", "client_body_timeout",
    "client_header_timeout", "default_type",
    "error_log", "gzip", "gzip_min_length", "gzip_proxied", "gzip_types", "gzip_vary", "http2",
    "http2_max_field_size", "http2_max_header_size", "keepalive_timeout",
    "large_client_header_buffers", "open_file_cache", "open_file_cache_valid",
    "proxy_buffer_size", "proxy_buffers", "proxy_busy_buffers_size", "reset_timedout_connection",
    "send_timeout", "sendfile", "server_names_hash_bucket_size", "server_tokens", "ssl_ciphers",
    "ssl_ecdh_curve", "ssl_prefer_server_ciphers", "ssl_protocols", "ssl_session_cache",
    "ssl_session_tickets", "ssl_session_timeout", "tcp_nopush", "types", "types_hash_max_size",
    "variables_hash_bucket_size",
}  # fmt: skip
# Several of each may be in a block.
REPEATED = {"access_log", "charset_types", "error_log", "gzip_types", "types"}
ROLE_INCLUDES = ("mime.types", "conf.d/*.conf", "sites-enabled/*", "modules-enabled/*.conf")
ROLE_MAIN = {"user", "worker_processes", "worker_rlimit_nofile", "pid", "error_log", "events"}
PRIVATE = re.compile(r"(?:^|:)(/(?:home|root|run/user|tmp|var/tmp)/[^;:]*)")
WRITTEN = {"access_log", "error_log", "proxy_cache_path", "fastcgi_cache_path", "uwsgi_cache_path"}
WRITABLE = re.compile(r"(?:/run/|/var/lib/nginx/|/var/log/nginx/|/var/cache/nginx/|[^/])")


@dataclass(frozen=True)
class Statement:
    """A directive of nginx: its words, the statements of its block, and its text."""

    words: tuple[str, ...]
    block: tuple[Statement, ...]
    text: str

    @property
    def name(self) -> str:
        """Return the name of the directive."""
        return self.words[0]


TOKEN = re.compile(
    r"""\s+|\#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[;{}]|(?:\\.|\$\{|[^\s;{}\\])+"""
)


def parse(text: str) -> tuple[Statement, ...]:
    """Return the statements of a configuration, which nginx accepts."""
    tokens = [each for each in TOKEN.finditer(text) if not re.match(r"\s|#", each[0])]
    found, _end = _statements(text, tokens, 0)
    return tuple(found)


def _statements(text: str, tokens: list[re.Match[str]], at: int) -> tuple[list[Statement], int]:
    """Return the statements of a block that begins at a token, and the token after it."""
    found: list[Statement] = []
    words: list[str] = []
    begin = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token[0] == "}":
            break
        if token[0] not in (";", "{"):
            begin = begin if words else token.start()
            words.append(token[0].strip("\"'"))
            continue
        block: list[Statement] = []
        if token[0] == "{":
            block, at = _statements(text, tokens, at)
        end = tokens[min(at, len(tokens)) - 1].end()
        if words:
            found.append(Statement(tuple(words), tuple(block), text[begin:end]))
        words = []
    return found, at


def every(statements: tuple[Statement, ...]) -> Iterator[Statement]:
    """Give all statements, those in blocks included."""
    for each in statements:
        yield each
        yield from every(each.block)


def listens(statements: tuple[Statement, ...], only_defaults: bool = False) -> set[str]:
    """Return the places at which servers listen, those of HTTP/3 with "/udp".

    Args:
        statements: of the servers.
        only_defaults: whether to leave out servers that do not answer requests for unknown names.
    """
    places = set()
    for each in every(statements):
        if each.name != "listen" or len(each.words) < 2:
            continue
        if only_defaults and not {"default_server", "default"} & set(each.words[2:]):
            continue
        places.add(place_of(each.words[1]) + ("/udp" if "quic" in each.words[2:] else ""))
    return places


def place_of(listen: str) -> str:
    """Return a place of `listen` in one form: "80", "[::]:80", "203.0.113.7:80"."""
    place = re.sub(r"^(?:\*|0\.0\.0\.0)(?::|$)", "", listen)
    if place.endswith("]") or (place and not place.rpartition(":")[2].isdigit()):
        place += ":80"
    return place or "80"


def kept_of(statements: tuple[Statement, ...]) -> list[str]:
    """Return the parts of a foreign block http that go on beside the role's."""
    http = [each for each in statements if each.name == "http"]
    return [
        each.text
        for each in (part for block in http for part in block.block)
        if each.name not in ROLE_SETS and not is_common_include(each)
    ]


def is_common_include(statement: Statement) -> bool:
    """Return whether a statement includes what nginx.conf of the role includes, too."""
    return statement.name == "include" and statement.words[1].endswith(ROLE_INCLUDES)


def sites(known: dict[str, str]) -> dict[str, str]:
    """Return the texts of the files that somebody has made for sites, by their paths."""
    found = {}
    for path in [*sorted(ETC.glob("conf.d/*.conf")), *sorted(ETC.glob("sites-enabled/*"))]:
        if path.name.startswith("django_stack"):  # of the role exporters
            continue
        welcomes = path == DEFAULT and is_welcome()
        if path.is_file() and (occupants.is_changed(path, known) or welcomes):
            found[str(path)] = occupants.text_of(path)
    return found


def is_welcome() -> bool:
    """Return whether the distribution's default site serves files of somebody."""
    if not WELCOME.is_dir():
        return False
    return any(not each.name.startswith("index.nginx") for each in WELCOME.iterdir())


def is_ours() -> bool:
    """Return whether the role has set nginx up."""
    return DROP_IN.exists()


def look(claim: dict[str, Any], known: dict[str, str]) -> list[Finding]:
    """Return what nginx serves for others.

    Args:
        claim: what the role wants: its `site`, its `names`, and its `sandbox`.
        known: what `occupants.of_packages` returns.
    """
    if is_ours():
        return []
    found = []
    files = sites(known)
    parsed = {path: parse(text) for path, text in files.items()}
    own = f"/etc/nginx/sites-available/{claim['site']}"
    if Path(own).exists():
        found.append(Finding(f"{own} is a file of somebody else and would be replaced"))
    if files:
        found.append(
            Finding(f"nginx has sites and settings of others: {', '.join(files)}. They stay; the "
                    f"general settings of {CONFIG} become the role's, and no site without "
                    "default_server answers requests for unknown names")
        )  # fmt: skip
    if occupants.is_changed(CONFIG, known):
        found.append(
            Finding(f"{CONFIG} was changed by somebody and would be replaced. What the role does "
                    f"not set goes on in {KEPT}")
        )  # fmt: skip
        config = parse(occupants.text_of(CONFIG))
        found += lost(config)
        parsed[str(CONFIG)] = tuple(
            part for each in config if each.name == "http" for part in each.block
        )
    for path, statements in parsed.items():
        found += unfit(path, statements, claim)
    return found


def lost(config: tuple[Statement, ...]) -> list[Finding]:
    """Return the parts of nginx.conf, outside of http, that cannot go on."""
    return [
        Finding(f"{CONFIG} has `{' '.join(each.words)}`, which nginx.conf of the role has not",
                f"move it into {ETC}/modules-enabled/NAME.conf, which the role includes, or use "
                "another host", final=True)
        for each in config
        if each.name not in ROLE_MAIN | {"http", "worker_connections"}
        and not is_common_include(each)
    ]  # fmt: skip


def unfit(path: str, statements: tuple[Statement, ...], claim: dict[str, Any]) -> list[Finding]:
    """Return what makes the configuration of a file unusable beside the role's."""
    found = []
    if path != str(CONFIG):
        double = sorted({each.name for each in statements} & (ROLE_SETS - REPEATED))
        if double:
            found.append(
                Finding(f"{path} sets {', '.join(double)} for all sites, as nginx.conf of the role "
                        "does", "move it into the blocks `server` of that file", final=True)
            )  # fmt: skip
    everything = list(every(statements))
    names = {word for each in everything if each.name == "server_name" for word in each.words[1:]}
    if same := sorted(names & {str(name) for name in claim["names"]}):
        found.append(
            Finding(f"{path} serves {', '.join(same)}, as the site of this run would",
                    "remove the name or the site there, or from app_domains (nginx_server_names) "
                    "and app_media_domain (nginx_uploads_domain)",
                    final=True)
        )  # fmt: skip
    if any(each.name == "listen" and "ipv6only=off" in each.words for each in everything):
        found.append(
            Finding(f"{path} listens with ipv6only=off, and so at the IPv4 addresses of the role",
                    "remove ipv6only=off, and add a `listen` for IPv4", final=True)
        )  # fmt: skip
    sandbox = claim["sandbox"]
    for each in everything:
        if place := next((m[1] for word in each.words[1:] if (m := PRIVATE.search(word))), ""):
            directive = "PrivateTmp" if "tmp/" in place[:9] else "ProtectHome"
            if directive not in sandbox:
                found.append(
                    Finding(f"{path} uses {place}, which the sandbox of nginx's unit hides",
                            f"set nginx_sandbox: {{{directive}: false}}", final=True)
                )  # fmt: skip
        elif (
            each.name in WRITTEN
            and len(each.words) > 1
            and not WRITABLE.match(each.words[1])
            and "ReadWritePaths" not in sandbox
            and not each.words[1].startswith("/dev/")
        ):
            place = str(Path(each.words[1]).parent)
            found.append(
                Finding(f"{path} writes to {each.words[1]}, where the sandbox of nginx's unit lets "
                        "nothing be written", f"set nginx_sandbox: {{ReadWritePaths: [{place}]}}",
                        final=True)
            )  # fmt: skip
    return found


def keep(known: dict[str, str]) -> list[str]:
    """Keep what the role is about to replace; return the paths of what was kept."""
    made = []
    if DEFAULT.exists() and str(DEFAULT) in sites(known):
        moved = DEFAULT.with_name(DEFAULT.name + occupants.SUFFIX)
        DEFAULT.rename(moved)
        made.append(str(moved))
    if occupants.is_changed(CONFIG, known):
        parts = kept_of(parse(occupants.text_of(CONFIG)))
        if parts and not KEPT.exists():
            head = f"# From the {CONFIG} that django_stack has replaced.\n"
            files.replace(KEPT, head + "\n".join(parts) + "\n", 0o644)
            made.append(str(KEPT))
    return made

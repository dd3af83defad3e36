"""Asks the site on this host as its visitors do: for a page, where it leads, and for files.

Nothing but this host is asked: nginx, or Gunicorn where nginx wants a password. What an answer
names is compared and shown, and never used as an address.
"""

from __future__ import annotations

import grp
import http.client
import os
import pwd
import re
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

TIMEOUT = 30.0  # seconds that an answer takes at most, as a whole; after as many no redirect counts
HOPS = 10  # redirects that are followed; browsers give up after 20
LOOKS = 500  # files among which an example is chosen
MOVED = (301, 302, 303, 307, 308)
PORTS = {"http": 80, "https": 443}
WEB = "www-data"  # the user and the group of nginx
UNSERVED = (
    " nginx does not serve {} there. app_static_url belongs to app_static_root, and app_media_url "
    "to app_media_root; site.yml tells nginx."
)
UPLOADS = " For new uploads, set FILE_UPLOAD_PERMISSIONS = 0o640 in the project's settings."
HEADER = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True)
class Answer:
    """An answer of the site: its status with the reason, its text, where it leads, its cookies."""

    status: int
    reason: str
    text: str
    location: str = ""
    cookies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What is wrong with the site, and what an operator should know besides; each may be empty."""

    wrong: str = ""
    told: str = ""


# --- One request ----------------------------------------------------------------------------------


def ask(
    connected: socket.socket, name: str, path: str, scheme: str, cookie: str
) -> http.client.HTTPResponse:
    """Return the answer to a request, as nginx would send it."""
    connection = http.client.HTTPConnection("localhost")  # parsing an IPv6 address could fail
    connection.sock = connected
    headers = {"Host": name, "X-Forwarded-Proto": scheme, **({"Cookie": cookie} if cookie else {})}
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def nginx(name: str, scheme: str) -> socket.socket:
    """Return a connection to this host's nginx; its certificate may be self-signed."""
    plain = socket.create_connection(("127.0.0.1", PORTS[scheme]), TIMEOUT)
    if scheme != "https":
        return plain
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # A TLS handshake names no IP address.
    return context.wrap_socket(plain, server_hostname=None if ":" in name else name)


def gunicorn(path: str) -> socket.socket:
    """Return a connection to Gunicorn's socket."""
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(TIMEOUT)
    connected.connect(path)
    return connected


def answer_of(
    connected: socket.socket, name: str, path: str, scheme: str = "https", cookie: str = ""
) -> Answer:
    """Return the answer to a request.

    The time of a socket begins anew with each byte, and a hostile application may send one now and
    then; so the connection is shut down after TIMEOUT seconds.
    """

    def shut() -> None:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(TIMEOUT, shut)
    timer.daemon = True
    timer.start()
    try:
        with connected:
            answer = ask(connected, name, path, scheme, cookie)
            given = answer.headers.get_all("Set-Cookie") or []
            return Answer(
                answer.status, answer.reason, answer.read(2000).decode(errors="replace"),
                answer.headers.get("Location") or "",
                tuple(HEADER.sub("", each.partition(";")[0])[:500] for each in given[:20]),
            )  # fmt: skip
    finally:
        timer.cancel()


def get(name: str, path: str, scheme: str, behind: str, cookie: str = "") -> Answer:
    """Return the site's answer.

    Args:
        name: the site's name, which nginx chooses the site by.
        path: the page.
        scheme: "http" or "https".
        behind: Gunicorn's socket, for a site whose nginx asks for a password.
        cookie: the value of the header Cookie.

    Raises:
        OSError, http.client.HTTPException: there is no answer.
    """
    told = answer_of(nginx(name, scheme), name, path, scheme, cookie)
    if told.status == 401:
        return answer_of(gunicorn(behind), name, path, scheme, cookie)
    return told


# --- A page, and where it leads -------------------------------------------------------------------


def is_served(host: str, names: list[str]) -> bool:
    """Return whether a host is one of the site's names, of which *.example.com is a kind."""
    return any(
        host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in names
    )


def in_url(name: str) -> str:
    """Return a name as a URL has it: an IPv6 address in brackets."""
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def is_twin(host: str, names: list[str]) -> bool:
    """Return whether a host is one of the site's names with or without www."""
    return any(f"www.{host}" == name or host == f"www.{name}" for name in names)


def leads(site: Mapping[str, Any], scheme: str, url: str) -> tuple[str, str]:
    """Judge where a redirect leads.

    Args:
        site: as for `visit`.
        scheme: that of the page.
        url: where it leads, a whole URL.

    Returns:
        what is wrong; and a remark, if what is there is not this host's to ask.
    """
    try:
        target = urlsplit(url)
        host, port = target.hostname or "", target.port
    except ValueError:
        return "which is no URL", ""
    names = [str(each).lower().strip("[]") for each in site.get("names") or [site["name"]]]
    if not is_served(host, names):
        if is_twin(host, names):
            return "and app_domains does not have this name", ""
        return "", "which is another site and was not asked"
    if target.scheme not in PORTS or port not in (None, PORTS[target.scheme]):
        return "where nginx does not serve the site", ""
    if target.scheme == "https" and site["scheme"] == "http" and not site.get("proxied"):
        return (
            "and app_certificate is none, so that no visitor gets an answer there. Set "
            "app_certificate to letsencrypt, selfsigned or files; or switch the redirect off in "
            "the project's settings (SECURE_SSL_REDIRECT); or list the proxy that ends TLS in "
            "nginx_real_ip_from"
        ), ""
    if target.scheme == "http" and scheme == "https":
        return "and nginx leads back from there: no browser gets to a page", ""
    return "", ""


def visit(site: Mapping[str, Any]) -> tuple[Answer, Verdict]:
    """Ask for the page of a site, and follow where it leads.

    Args:
        site: `name`, `path`, `scheme` and `socket` as for `get`; `names`, all names of the site;
            `proxied`, whether a proxy before nginx may end TLS.

    Returns:
        the last answer, and what is wrong. A status from 200 to 399 is right.

    Raises:
        OSError, http.client.HTTPException: there is no answer.
    """
    name, path, scheme = site["name"], site["path"], site["scheme"]
    cookies: dict[str, str] = {}
    seen = set()
    begun = at = f"{scheme}://{in_url(name)}{path}"
    end = time.monotonic() + TIMEOUT
    while True:
        seen.add((at, str(cookies)))
        cookie = "; ".join(f"{key}={value}" for key, value in cookies.items())
        if scheme == site["scheme"]:
            told = get(name, path, scheme, site["socket"], cookie)
        else:  # nginx believes the proxy, and not this request
            told = answer_of(gunicorn(site["socket"]), name, path, scheme, cookie)
        way = f"GET {begun}" + (f" leads to {at[:300]}, which answers" if at != begun else ":")
        if told.status not in MOVED or not told.location:
            if 200 <= told.status < 400:
                return told, Verdict()
            return told, Verdict(f"{way} {told.status} {told.reason}\n{told.text}")
        for each in told.cookies:
            key, _sep, value = each.partition("=")
            cookies[key] = value
        try:
            url = HEADER.sub("", urljoin(at, told.location).partition("#")[0])
        except ValueError:
            url = told.location
        shown = f"GET {at[:300]} leads to {HEADER.sub('?', url)[:300]}"
        wrong, remark = leads(site, scheme, url)
        if wrong or remark:
            return told, Verdict(wrong and f"{shown}, {wrong}.", remark and f"{shown}, {remark}.")
        parts = urlsplit(url)
        name, scheme = in_url(str(parts.hostname)), parts.scheme
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        at = f"{scheme}://{name}{path}"
        if (at, str(cookies)) in seen or len(seen) > HOPS:
            return told, Verdict(f"{shown}, in a circle: no browser gets to a page.")
        if time.monotonic() > end:
            return told, Verdict(f"{shown}, and no page was there after {TIMEOUT:.0f} s.")


# --- Files ----------------------------------------------------------------------------------------


def files(root: str, limit: int) -> Iterator[tuple[float, str]]:
    """Yield the time and the path of regular files below a directory; no link is followed."""
    stack = [root]
    while stack and limit > 0:
        try:
            with os.scandir(stack.pop()) as found:
                entries = sorted(islice(found, LOOKS), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            limit -= 1
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and not entry.name.endswith(".gz"):
                    yield entry.stat(follow_symlinks=False).st_mtime, entry.path


def example(root: str) -> str:
    """Return the path of the newest file below a directory; empty if there is none.

    nginx sends nothing whose name begins with a dot; see templates/_site/macros.j2 of its role.
    """
    real = os.path.realpath(root)
    shown = (each for each in files(real, LOOKS) if "/." not in each[1].removeprefix(real))
    return max(shown, default=(0.0, ""))[1]


def barrier(path: str) -> str:
    """Return the first part of a path that keeps nginx from a file; empty if there is none.

    Access control lists are not read; the collection gives nginx no right by them.
    """
    try:
        user, group = pwd.getpwnam(WEB).pw_uid, grp.getgrnam(WEB).gr_gid
    except KeyError:
        return ""
    for part in [*reversed(Path(path).parents), Path(path)]:
        told = os.stat(part)
        shift = 6 if told.st_uid == user else 3 if told.st_gid == group else 0
        needed = stat.S_IXOTH if stat.S_ISDIR(told.st_mode) else stat.S_IROTH
        if not told.st_mode >> shift & needed:
            return str(part)
    return ""


def printable(path: str) -> str:
    """Return a path of the application's without what a terminal would obey, and in UTF-8."""
    return "".join(each if each.isprintable() else "?" for each in path)


def owner(path: str) -> str:
    """Return the mode and the owner of a file, as ls(1) shows them."""
    told = os.stat(path)
    user, group = str(told.st_uid), str(told.st_gid)
    with suppress(KeyError):
        user, group = pwd.getpwuid(told.st_uid).pw_name, grp.getgrgid(told.st_gid).gr_name
    return f"{stat.filemode(told.st_mode)} {user}:{group}"


def see_file(site: Mapping[str, Any], url: str, root: str) -> Verdict:
    """Ask nginx for a file that is there.

    Args:
        site: as for `judge`.
        url: the path that nginx serves a directory at.
        root: the directory.
    """
    path = example(root)
    if not path:
        return Verdict()
    real = os.path.realpath(root)
    page = url + quote(os.fsencode(os.path.relpath(path, real)))
    name = (site.get("files_at") or {}).get(url, site["name"])
    answer = answer_of(nginx(name, site["scheme"]), name, page, site["scheme"])
    if answer.status in (200, 304, 401) or not os.path.lexists(path):  # 401: a password is wanted
        return Verdict()
    wrong = f"GET {site['scheme']}://{name}{page}: {answer.status} {answer.reason}."
    try:
        closed = barrier(path)
        is_roots = not os.stat(closed or real).st_uid
        wrong += (
            f" nginx cannot read {printable(closed)}, {owner(closed)}."
            if closed
            else UNSERVED.format(root)
        )
    except OSError:
        return Verdict()  # removed meanwhile
    if is_roots:
        return Verdict(wrong)
    # The application's directory: a hostile one must not stop the deploy that replaces it.
    return Verdict("", wrong + (UPLOADS if closed else ""))


def see_files(site: Mapping[str, Any]) -> list[Verdict]:
    """Ask nginx for a file of each directory that it serves; see `judge`."""
    return [see_file(site, url, root) for url, root in (site.get("files") or {}).items()]


# --- The site -------------------------------------------------------------------------------------


def judge(site: Mapping[str, Any]) -> Verdict:
    """Ask the site for its page and for a file of each directory that nginx serves.

    Args:
        site: as for `visit`; `files`, the directories by the paths that nginx serves them at; and
            `files_at`, the names by those of the paths that it serves under another name.
    """
    try:
        _answer, page = visit(site)
        verdicts = [page]
        if not page.wrong:
            verdicts += see_files(site)
    except (OSError, http.client.HTTPException, ValueError) as error:  # a host that TLS refuses
        return Verdict(f"GET {site['scheme']}://{site['name']}{site['path']}: {error}")
    told = [each.told for each in verdicts if each.told]
    wrong = next((each.wrong for each in verdicts if each.wrong), "")
    return Verdict(wrong, " ".join(told))

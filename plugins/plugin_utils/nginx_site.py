"""What nginx answers: the servers of a site, its redirects and its locations.

The operator describes them by `nginx_redirects` and `nginx_locations`; the templates of the role
nginx write what the functions here return.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.clink.django_stack.plugins.module_utils import health, occupied_nginx

from . import addresses, settings

CHALLENGES = "/.well-known/acme-challenge/"
KINDS = {"alias": "files", "proxy_pass": "proxy", "return": "return"}
KEYS = frozenset({*KINDS, "fallback", "internal", "settings"})
TRUE = frozenset({"true", "yes", "on", "1"})
IS_VALUE = settings.can_write("nginx")
# A location inherits these only if it has none of its own.
GROUPED = ("proxy_set_header", "proxy_hide_header", "limit_req", "limit_conn")
URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/%?=&+#@:,!*()-]*)?")
PATH = re.compile(r"/[A-Za-z0-9._~/%?=&+#@:,!*()-]*")
# By this header pages of another origin may show a file, whatever nginx_headers says.
SHOWN = "Cross-Origin-Resource-Policy cross-origin always"
ANSWER = re.compile(r"(?P<status>[2-5][0-9]{2})( (?P<to>\S+))?")


@dataclass(frozen=True)
class Place:
    """A location of the site.

    Attributes:
        path: of the URL; one that ends in a slash stands for all below it.
        kind: application, proxy, files, return or redirect.
        match: what nginx compares with a request's path.
        server: that a proxy asks; empty for the application.
        alias: the directory or the file that nginx sends.
        links_from: the beginning of alias up to which nginx follows links.
        fallback: the file below alias for paths without a file.
        page: the number of the place, if it has a fallback, from 1.
        answer: the status of `return`, and perhaps where it leads.
        to: where a redirect leads.
        rewrite: the pattern whose group is kept by a redirect, or empty.
        internal: whether only the application can lead there, by X-Accel-Redirect.
        uploads: whether visitors have sent the files, which then must not act as pages of the site.
        apart: whether the place is of nginx_uploads_domain, and not of the site's names.
        settings: other directives by their names.
    """

    path: str
    kind: str
    match: str
    server: str = ""
    alias: str = ""
    links_from: str = ""
    fallback: str = ""
    page: int = 0
    answer: str = ""
    to: str = ""
    rewrite: str = ""
    internal: bool = False
    uploads: bool = False
    apart: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def is_true(value: object) -> bool:
    """Return whether a value is one that Ansible takes for true."""
    return str(value).lower() in TRUE


def matches(path: str) -> str:
    """Return how nginx compares a path: all below one that ends in a slash, or exactly."""
    return f"^~ {path}" if path.endswith("/") else f"= {path}"


def trusted_part(path: str, trusted: Iterable[str]) -> str:
    """Return the longest of the trusted directories that a path lies in; empty for none."""
    inside = [each for each in trusted if f"{path}/".startswith(f"{each.rstrip('/')}/")]
    return max(inside, key=len, default="")


def is_path_target(text: object) -> bool:
    """Return whether a redirect of a path can lead there: a path or a URL."""
    return isinstance(text, str) and (
        PATH.fullmatch(text) is not None and not text.startswith("//") or is_url_target(text)
    )


def is_url_target(text: object) -> bool:
    """Return whether a text is a URL that a redirect can lead to."""
    if not isinstance(text, str) or not URL.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.port != 0 and addresses.is_host(f"{parts.hostname}") and "*" not in text
    except ValueError:
        return False


def is_redirect_target(text: object) -> bool:
    """Return whether a redirect can lead there: a path, a URL, or a name without a wildcard."""
    return is_path_target(text) or addresses.is_host(text) and "*" not in str(text)


def is_location(value: object) -> bool:
    """Return whether a value describes one location, see roles/nginx/meta/argument_specs.yml."""
    if value is None:
        return True
    if not isinstance(value, Mapping) or not set(value) <= KEYS or len(set(value) & set(KINDS)) > 1:
        return False
    path = re.compile(r"(/[A-Za-z0-9_.-]+)+/?")
    return all(
        (
            "alias" not in value or _text(path, value["alias"]) and ".." not in value["alias"],
            "proxy_pass" not in value or is_proxied_server(value["proxy_pass"]),
            "return" not in value or is_answer(value["return"]),
            "fallback" not in value
            or "alias" in value
            and _text(re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*"), value["fallback"])
            and ".." not in value["fallback"],
            str(value.get("internal", "no")).lower() in TRUE | {"false", "no", "off", "0"},
            are_directives(value.get("settings", {})),
        )
    )


def is_proxied_server(value: object) -> bool:
    """Return whether a value is one server that speaks HTTP: `127.0.0.1:8001`, `unix:/run/x`."""
    return isinstance(value, str) and " " not in value and addresses.is_upstream(server_of(value))


def server_of(value: str) -> str:
    """Return the server of `proxy_pass`, without the scheme, which is HTTP."""
    return value.removeprefix("http://").removesuffix("/")


def is_answer(value: object) -> bool:
    """Return whether a value is a status, such as 404, perhaps with the URL of a redirect."""
    found = ANSWER.fullmatch(str(value))
    if not found or isinstance(value, bool):
        return False
    leads = found["status"] in ("301", "302", "303", "307", "308")
    return leads == (found["to"] is not None) and (not leads or is_path_target(found["to"]))


def are_directives(value: object) -> bool:
    """Return whether a value is a dictionary of directives by their names, or empty."""
    return value is None or (
        isinstance(value, Mapping)
        and all(
            _text(re.compile(r"[a-z0-9_]+"), name) and IS_VALUE(item)
            for name, item in value.items()
        )
    )


def _text(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


# --- Redirects ----------------------------------------------------------------------------------


def is_path(source: str) -> bool:
    """Return whether the source of a redirect is a path, and not a name."""
    return source.startswith("/")


def names_of(redirects: Mapping[str, str]) -> dict[str, str]:
    """Return the redirects of names, as clients send these."""
    return {
        addresses.ascii_host(source): target
        for source, target in redirects.items()
        if not is_path(source)
    }


def paths_of(redirects: Mapping[str, str]) -> dict[str, str]:
    """Return the redirects of paths. `/` is the front page alone."""
    return {source: target for source, target in redirects.items() if is_path(source)}


def certificate_of(host: str, certificates: Mapping[str, Iterable[str]]) -> str:
    """Return the directory of a host's certificate; its own comes before a wildcard's."""
    groups = {
        key: [addresses.ascii_host(name) for name in names] for key, names in certificates.items()
    }
    for key, names in groups.items():
        if host in names:
            return key
    return next((key for key, names in groups.items() if health.is_served(host, names)), "")


def servers(
    names: Iterable[str],
    certificates: Mapping[str, Iterable[str]],
    redirects: Mapping[str, str],
    scheme: str,
    uploads: str = "",
) -> list[dict[str, Any]]:
    """Return the servers of a site.

    There is one for each certificate, for each name that is redirected, and for the uploads if they
    have a name of their own.

    Args:
        names: of the site.
        certificates: lists of names by the directory of their certificate; empty for HTTP only.
        redirects: nginx_redirects.
        scheme: nginx's variable with the scheme that visitors use, if there is no certificate.
        uploads: nginx_uploads_domain.

    Returns:
        dictionaries with names, certificate (a directory, or empty), to (where the names are
        redirected, or empty) and uploads (whether only uploads are there).
    """
    moved = names_of(redirects)
    apart = addresses.ascii_host(uploads)
    groups = certificates or {"": list(names)}
    kept = {
        key: [name for name in map(addresses.ascii_host, group) if name not in {*moved, apart}]
        for key, group in groups.items()
    }
    alone = [
        (host, _moved_to(target, "https" if certificates else scheme))
        for host, target in moved.items()
    ] + ([(apart, "")] if apart else [])
    return [
        {"names": group, "certificate": key, "to": "", "uploads": False}
        for key, group in kept.items()
        if group
    ] + [
        {
            "names": [host],
            "certificate": certificate_of(host, certificates),
            "to": to,
            "uploads": host == apart,
        }
        for host, to in alone
    ]


def _moved_to(target: str, scheme: str) -> str:
    """Return where a name is redirected: the path is kept, unless the target has one."""
    if addresses.is_host(target):
        return f"{scheme}://{addresses.bracketed(target)}$request_uri"
    url = _ascii_url(target)
    if not urlsplit(url).path:
        return f"{url}$request_uri"
    return _with_query(url)


def _ascii_url(url: str) -> str:
    host = urlsplit(url).hostname or ""
    return url if host.isascii() else url.replace(host, addresses.ascii_host(host), 1)


def _with_query(target: str) -> str:
    return target if re.search("[?#]", target) else f"{target}$is_args$args"


def redirect_places(redirects: Mapping[str, str], here: str) -> list[Place]:
    """Return the locations that redirect.

    Args:
        redirects: nginx_redirects.
        here: the scheme, the name and the port that the visitor asked for, by nginx's variables.
    """
    places = []
    for path, target in paths_of(redirects).items():
        to = here + target if is_path(target) else _ascii_url(target)
        if path.endswith("/") and path != "/" and to.endswith("/"):
            rewrite = f"^{re.escape(path)}(.*)$"
            places.append(Place(path, "redirect", matches(path), to=f"{to}$1", rewrite=rewrite))
        else:
            match = "= /" if path == "/" else matches(path)
            places.append(Place(path, "redirect", match, to=_with_query(to)))
    return places


def is_endless(redirects: Mapping[str, str], names: Iterable[str]) -> bool:
    """Return whether a redirect leads to a place that is redirected without an end.

    Args:
        redirects: nginx_redirects.
        names: of the site; a URL of one of them is a path of the site.
    """
    moved, paths, own = (
        names_of(redirects),
        paths_of(redirects),
        set(map(addresses.ascii_host, names)),
    )

    def host_of(target: str) -> str:
        if addresses.is_host(target):
            return addresses.ascii_host(target)
        return addresses.ascii_host(
            (urlsplit(target).hostname or "") if not is_path(target) else ""
        )

    if any(host_of(target) in moved for target in redirects.values()):
        return True

    def next_path(path: str) -> str | None:
        prefixes = [
            key
            for key in paths
            if key == path or key[:-1] and key.endswith("/") and path.startswith(key)
        ]
        if not prefixes:
            return None
        key = max(prefixes, key=len)
        target = paths[key]
        if not is_path(target):
            if host_of(target) not in own:
                return None
            target = urlsplit(target).path or "/"
        target = re.split("[?#]", target)[0]
        keeps = key.endswith("/") and key != "/" and target.endswith("/")
        return target + path[len(key) :] if keeps else target

    def ends(path: str) -> bool:
        for _step in range(2 * len(paths) + 2):
            following = next_path(path)
            if following is None:
                return True
            path = following
        return False

    begins = set(paths)
    for key in paths:
        target = next_path(key)
        if target is not None:
            begins |= {key + other[len(target) :] for other in paths if other.startswith(target)}
    return not all(map(ends, begins))


# --- Locations ----------------------------------------------------------------------------------


def described_places(
    locations: Mapping[str, Mapping[str, Any] | None], trusted: Iterable[str]
) -> list[Place]:
    """Return the locations that the operator describes.

    Args:
        locations: nginx_locations.
        trusted: directories that only root can replace; see Place.links_from.
    """
    places: list[Place] = []
    pages = 0
    trusted = list(trusted)
    for path, given in locations.items():
        value = dict(given or {})
        kind = next((KINDS[key] for key in value if key in KINDS), "application")
        alias = str(value.get("alias", "")).rstrip("/")
        fallback = str(value.get("fallback", ""))
        pages += bool(fallback)
        places.append(
            Place(
                path,
                kind,
                matches(path),
                server=server_of(str(value.get("proxy_pass", ""))),
                alias=alias + "/" if alias and path.endswith("/") else alias,
                links_from=trusted_part(alias, trusted),
                fallback=fallback,
                page=pages if fallback else 0,
                answer=str(value.get("return", "")),
                internal=is_true(value.get("internal", False)),
                settings=dict(value.get("settings") or {}),
            )
        )
    return places


def apart(place: Place, to: str) -> list[Place]:
    """Return a place of uploads at a name of their own, and the site's redirect to it.

    Args:
        place: whose files nginx sends.
        to: where the redirect leads.
    """
    said = place.settings.get("add_header")
    header = [] if SHOWN.split()[0].lower() in header_names(said) else [SHOWN]
    settings = {**place.settings, "add_header": [*values_of(said), *header]}
    moved = Place(place.path, "redirect", place.match, to=to)
    return [moved, replace(place, apart=True, settings=settings)]


def places(
    static: Mapping[str, str],
    locations: Mapping[str, Mapping[str, Any] | None],
    redirects: Mapping[str, str],
    trusted: Iterable[str],
    here: str,
    uploads: Iterable[str] = (),
    uploads_to: str = "",
) -> list[dict[str, Any]]:
    """Return all locations of a site, the application's at `/` included.

    Args:
        static: nginx_static.
        locations: nginx_locations.
        redirects: nginx_redirects.
        trusted: directories that only root can replace.
        here: the scheme, the name and the port that the visitor asked for, by nginx's variables.
        uploads: nginx_uploads. What only the application leads to counts as uploaded, too.
        uploads_to: where the site redirects requests for uploads that have a name of their own;
            empty if they have none. What only the application leads to stays at the site.
    """
    found = [
        Place(url, "files", matches(url), alias=f"{directory}/", links_from=directory)
        for url, directory in static.items()
    ]
    found += described_places(locations, trusted) + redirect_places(redirects, here)
    known = {place.match for place in found}
    # A front end is also asked for without the slash; nginx itself does this for a proxy only.
    found += [
        Place(place.path, "redirect", f"= {place.path[:-1]}", to=f"{here}{place.path}$is_args$args")
        for place in found
        if place.fallback
        and place.path.endswith("/")
        and place.path != "/"
        and f"= {place.path[:-1]}" not in known
    ]
    if "^~ /" not in known:
        found.append(Place("/", "application", "/"))
    of_visitors = set(uploads)
    found = [replace(place, uploads=place.internal or place.path in of_visitors) for place in found]
    if uploads_to:
        parts = [
            apart(place, uploads_to)
            if place.uploads and place.kind == "files" and not place.internal
            else [place]
            for place in found
        ]
        found = list(chain.from_iterable(parts))
    return [vars(place) for place in sorted(found, key=lambda place: place.path)]


def directives(
    settings: Mapping[str, Any],
    own: Mapping[str, Any],
    server: Mapping[str, Any],
    http: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the directives of a location: its own, and those of the role that nobody replaces.

    Args:
        settings: of the location, by nginx_locations.
        own: of the role.
        server: nginx_server_settings, which the location inherits.
        http: nginx_http_settings, which the server inherits.
    """
    kept = {name: own[name] for name in own if name not in server and name not in http}
    grouped = {
        name: values_of(server.get(name, http.get(name))) + values_of(settings.get(name))
        for name in GROUPED
    }
    return {**kept, **settings, **{name: value for name, value in grouped.items() if value}}


def values_of(value: object) -> list[Any]:
    """Return the values of a directive, which may have none, one or several."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def header_names(value: object) -> list[str]:
    """Return the names of the headers of add_header or proxy_set_header, in small letters."""
    texts = map(str, values_of(value))
    return [text.split()[0].strip("'\"").lower() for text in texts if text.strip()]


def place_of(path: str, found: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the location that nginx takes for a path."""
    fitting = [
        place
        for place in found
        if place["match"] == f"= {path}"
        or not place["match"].startswith("=")
        and path.startswith(place["path"])
    ]
    return max(fitting, key=lambda place: (place["match"].startswith("="), len(place["path"])))


# --- Types of files -----------------------------------------------------------------------------

# What browsers ask for and what the mime.types of a distribution may lack, by type. Browsers refuse
# a script, a style sheet or WebAssembly of another type.
TYPES: Mapping[str, tuple[str, ...]] = {
    "application/geo+json": ("geojson",),
    "application/javascript": ("mjs",),
    "application/json": ("map",),
    "application/ld+json": ("jsonld",),
    "application/manifest+json": ("webmanifest",),
    "application/wasm": ("wasm",),
    "application/yaml": ("yaml", "yml"),
    "audio/aac": ("aac",),
    "audio/flac": ("flac",),
    "audio/ogg": ("oga", "opus"),
    "audio/wav": ("wav",),
    "audio/webm": ("weba",),
    "font/otf": ("otf",),
    "font/ttf": ("ttf",),
    "font/woff": ("woff",),
    "font/woff2": ("woff2",),
    "image/apng": ("apng",),
    "image/avif": ("avif",),
    "image/heic": ("heic",),
    "image/heif": ("heif",),
    "image/jxl": ("jxl",),
    "image/webp": ("webp",),
    "model/gltf+json": ("gltf",),
    "model/gltf-binary": ("glb",),
    "model/vnd.usdz+zip": ("usdz",),
    "text/calendar": ("ics",),
    "text/csv": ("csv",),
    "text/markdown": ("md", "markdown"),
    "text/vcard": ("vcf",),
    "text/vtt": ("vtt",),
    "video/ogg": ("ogv",),
}


def missing_types(text: str) -> dict[str, list[str]]:
    """Return the types of the web that a mime.types lacks, lists of endings by type.

    Args:
        text: of the file. nginx warns of an ending that it is told twice.
    """
    bare = re.sub(r"(?m)#.*$", "", text)
    entries = re.findall(r"([\w.+/-]+)\s+([^;{}]+);", bare)
    known = {ending for _type, endings in entries for ending in endings.split()}
    missing = {
        kind: [ending for ending in endings if ending not in known]
        for kind, endings in TYPES.items()
    }
    return {kind: endings for kind, endings in missing.items() if endings}


def free_defaults(listens: Iterable[str], text: str, used: bool = True) -> list[str]:
    """Return the places to listen at that need a default server, and have none of another site.

    Args:
        listens: places and parameters of `listen`, such as "443 ssl".
        text: the directives `listen` of other sites, each in a line that begins with "#".
        used: whether the site listens there itself; otherwise only the places of others count.
    """
    lines = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    others = occupied_nginx.parse("\n".join(lines))
    taken = occupied_nginx.listens(others, only_defaults=True)
    places = occupied_nginx.listens(others)

    def is_free(listen: str) -> bool:
        (place,) = occupied_nginx.listens(occupied_nginx.parse(f"listen {listen};"))
        return place not in taken and (used or place in places)

    return [each for each in listens if is_free(each)]

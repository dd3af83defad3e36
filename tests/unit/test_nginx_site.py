"""What nginx answers: redirects, locations and types of files."""

import pytest
from ansible_collections.clink.django_stack.plugins.plugin_utils import nginx_site as site

NAMES = ["example.com", "www.example.com", "*.example.net"]
HERE = "$scheme://$host"


def places(locations=None, redirects=None, static=None, trusted=()):
    """Return the locations of a site by what nginx compares."""
    found = site.places(static or {}, locations or {}, redirects or {}, trusted, HERE)
    return {place["match"]: place for place in found}


# --- Redirects of names -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "to"),
    [
        ("example.com", "https://example.com$request_uri"),
        ("203.0.113.7", "https://203.0.113.7$request_uri"),
        ("2001:db8::7", "https://[2001:db8::7]$request_uri"),
        ("müller.example", "https://xn--mller-kva.example$request_uri"),
        ("http://example.org", "http://example.org$request_uri"),
        ("https://example.org:8443", "https://example.org:8443$request_uri"),
        ("https://example.org/", "https://example.org/$is_args$args"),
        ("https://example.org/x?y=1", "https://example.org/x?y=1"),
        ("https://bücher.example/x#y", "https://xn--bcher-kva.example/x#y"),
    ],
)
def test_a_name_keeps_the_path_unless_the_target_has_one(target, to):
    certificates = {"/a": NAMES[:1], "/b": NAMES[1:2]}
    servers = site.servers(NAMES[:2], certificates, {"www.example.com": target}, "$x")
    assert servers == [
        {"names": ["example.com"], "certificate": "/a", "to": "", "uploads": False},
        {"names": ["www.example.com"], "certificate": "/b", "to": to, "uploads": False},
    ]


def test_without_certificates_the_scheme_is_the_visitors():
    servers = site.servers(NAMES, {}, {"www.example.com": "example.com"}, "$x")
    assert [(s["names"], s["to"]) for s in servers] == [
        (["example.com", "*.example.net"], ""),
        (["www.example.com"], "$x://example.com$request_uri"),
    ]


def test_a_redirected_name_has_the_certificate_of_its_wildcard():
    certificates = {"/a": ["example.com"], "/b": ["*.example.net"]}
    moved = {"www.example.net": "example.com", "*.example.net": "example.com"}
    servers = site.servers(["example.com", "*.example.net"], certificates, moved, "$x")
    assert [(s["names"], s["certificate"]) for s in servers] == [
        (["example.com"], "/a"),
        (["www.example.net"], "/b"),
        (["*.example.net"], "/b"),
    ]


def test_uploads_have_the_certificate_of_their_name():
    certificates = {"/a": ["example.com", "bücher.example"], "/b": ["203.0.113.7"]}
    names = ["example.com", "203.0.113.7"]
    for given, place in ((certificates, "/a"), ({}, "")):
        *others, last = site.servers(names, given, {}, "$x", "bücher.example")
        name = "xn--bcher-kva.example"
        assert last == {"names": [name], "certificate": place, "to": "", "uploads": True}
        assert sorted(name for server in others for name in server["names"]) == sorted(names)
        assert not any(server["uploads"] for server in others)


# --- Redirects of paths -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "match", "rewrite", "to"),
    [
        ("/old/", "/new/", "^~ /old/", r"^/old/(.*)$", f"{HERE}/new/$1"),
        ("/a.b/", "https://x.example/", "^~ /a.b/", r"^/a\.b/(.*)$", "https://x.example/$1"),
        ("/old/", "/new", "^~ /old/", "", f"{HERE}/new$is_args$args"),
        ("/old/", "https://x.example", "^~ /old/", "", "https://x.example$is_args$args"),
        ("/old", "/new/", "= /old", "", f"{HERE}/new/$is_args$args"),
        ("/old", "/new?x=1", "= /old", "", f"{HERE}/new?x=1"),
        ("/", "/app/", "= /", "", f"{HERE}/app/$is_args$args"),
    ],
)
def test_a_path_is_redirected(source, target, match, rewrite, to):
    place = places(redirects={source: target})[match]
    assert (place["kind"], place["rewrite"], place["to"]) == ("redirect", rewrite, to)


def test_a_front_end_is_also_asked_for_without_its_slash():
    app = {"/app/": {"alias": "/srv/app", "fallback": "index.html"}}
    assert places(app)["= /app"]["to"] == f"{HERE}/app/$is_args$args"
    assert places(app | {"/app": {"return": 404}})["= /app"]["kind"] == "return"
    assert set(places({"/files/": {"alias": "/srv/f"}}, {"/old/": "/n/"})) == {
        "/",
        "^~ /files/",
        "^~ /old/",
    }


@pytest.mark.parametrize(
    "redirects",
    [
        {"/x/": "/x/"},
        {"/x/": "/x/y/"},
        {"/x": "/x?y"},
        {"/x/": "/y/", "/y/": "/x/"},
        {"/x/": "/y/", "/y/z/": "/x/z/"},
        {"/x/": "/", "/a/": "/x/a/"},
        {"/x": "/y", "/y": "/z", "/z": "/x"},
        {"/x/": "https://example.com/x/"},
        {"/": "/"},
        {"/": "https://www.example.com"},
        {"www.example.com": "www.example.com"},
        {"www.example.com": "a.example.net", "a.example.net": "example.com"},
        {"www.example.com": "https://www.example.com/x"},
        {"/x/": "https://www.example.com/", "www.example.com": "example.com"},
    ],
)
def test_a_loop_is_found(redirects):
    assert site.is_endless(redirects, NAMES)


@pytest.mark.parametrize(
    "redirects",
    [
        {},
        {"/x/": "/"},
        {"/x/": "/y/", "/y/": "/z/"},
        {"/x/y/": "/x/z/", "/x/z/old": "/x/z/new"},
        {"/x": "/x/"},
        {"/x/": "/x"},
        {"/": "/x/"},
        {"/x/": "https://example.org/x/"},
        {"www.example.com": "example.com", "a.example.net": "https://example.com/a"},
    ],
)
def test_what_ends_is_no_loop(redirects):
    assert not site.is_endless(redirects, NAMES)


# --- Locations ----------------------------------------------------------------------------------


def test_nginx_follows_links_only_up_to_what_root_alone_can_replace():
    trusted = ["/srv/app/current", "/srv/app/shared", "/srv"]
    found = places(
        {
            "/a/": {"alias": "/srv/app/current/dist"},
            "/b/": {"alias": "/srv/app/shared/b/", "internal": True},
            "/c/": {"alias": "/srv/app/currently"},
            "/d": {"alias": "/opt/d.txt"},
        },
        static={"/static/": "/srv/app/staticfiles"},
        trusted=trusted,
    )
    assert [found[match]["links_from"] for match in ("^~ /a/", "^~ /b/", "^~ /c/", "= /d")] == [
        "/srv/app/current",
        "/srv/app/shared",
        "/srv",
        "",
    ]
    assert found["^~ /static/"]["links_from"] == "/srv/app/staticfiles"
    assert [found[match]["alias"] for match in ("^~ /b/", "= /d")] == [
        "/srv/app/shared/b/",
        "/opt/d.txt",
    ]


def test_the_application_has_what_nobody_else_has():
    assert list(places()) == ["/"]
    found = places({"/": {"alias": "/srv/front", "fallback": "index.html"}, "/api/": None})
    assert {match: place["kind"] for match, place in found.items()} == {
        "^~ /": "files",
        "^~ /api/": "application",
    }


def test_uploads_under_a_name_of_their_own_are_redirected_by_the_site():
    app = {"alias": "/srv/sent", "fallback": "x.html", "settings": {"expires": "1d"}}
    locations = {"/sent/": app, "/secret/": {"alias": "/srv/secret", "internal": True}, "/x/": {}}
    static = {"/media/": "/srv/media", "/static/": "/srv/static"}
    uploads = ["/media/", "/sent/", "/secret/"]
    to = "https://uploads.example$request_uri"
    found = site.places(static, locations, {}, [], HERE, uploads, to)
    apart = {place["path"]: place for place in found if place["apart"]}
    here = {place["match"]: place for place in found if not place["apart"]}
    assert set(apart) == {"/media/", "/sent/"}
    assert apart["/media/"]["settings"] == {"add_header": [site.SHOWN]}
    assert apart["/sent/"]["settings"] == {"expires": "1d", "add_header": [site.SHOWN]}
    assert all(place["kind"] == "files" and place["uploads"] for place in apart.values())
    assert {match: place["kind"] for match, place in here.items()} == {
        "/": "application", "^~ /x/": "application", "^~ /static/": "files",
        "^~ /secret/": "files", "= /sent": "redirect", "^~ /media/": "redirect",
        "^~ /sent/": "redirect",
    }  # fmt: skip
    assert here["^~ /media/"]["to"] == here["^~ /sent/"]["to"] == to
    assert not here["^~ /sent/"]["fallback"]


def test_the_header_that_lets_a_file_be_shown_can_be_another_one():
    own = "cross-origin-resource-policy same-site"
    static = {"/media/": {"alias": "/srv", "settings": {"add_header": own}}}
    *_, place = site.places({}, static, {}, [], HERE, ["/media/"], "https://x$request_uri")
    assert place["settings"] == {"add_header": [own]}


@pytest.mark.parametrize(
    ("path", "match"),
    [("/x", "= /x"), ("/x/", "^~ /x/"), ("/x/y/z", "^~ /x/y/"), ("/xy", "/"), ("/", "/")],
)
def test_the_location_of_a_path_is_the_one_that_nginx_takes(path, match):
    found = places({"/x": {}, "/x/": {}, "/x/y/": {}}).values()
    assert site.place_of(path, found)["match"] == match


# --- Types of files -----------------------------------------------------------------------------


def test_only_types_that_are_missing_are_added():
    text = """
        types { # comment; with wasm
            text/html  html htm;
            application/javascript
                       js mjs;
            image/avif avif; font/woff2 woff2;
        }
    """
    missing = site.missing_types(text)
    assert not {"application/javascript", "image/avif", "font/woff2"} & set(missing)
    assert missing["application/wasm"] == ["wasm"]
    endings = {ending for endings in site.missing_types("").values() for ending in endings}
    web = "mjs wasm webmanifest avif woff2 map jsonld glb gltf geojson vtt webp opus md csv ics"
    assert set(web.split()) <= endings


def test_the_default_server_of_another_site_stays_so():
    others = (
        "types { text/html html; }\n#  listen *:80 default_server;\n# no IPv6\n"
        "# server { listen 443 ssl default_server; root /srv; }\n"
    )
    listens = ["80", "[::]:80", "443 ssl http2", "[::]:443 ssl http2", "443 quic"]
    free = ["[::]:80", "[::]:443 ssl http2", "443 quic"]
    assert site.free_defaults(listens, others) == free
    assert site.free_defaults(listens, "# listen 80;\nlisten 80 default_server;") == listens
    assert site.free_defaults(listens, "# listen 443 quic default_server;") == listens[:-1]


def test_a_site_without_tls_leaves_the_default_server_of_those_with_it():
    listens = ["443 ssl", "[::]:443 ssl", "443 quic"]
    assert site.free_defaults(listens, "# listen 80;", used=False) == []
    assert site.free_defaults(listens, "# listen 443 ssl http2;", used=False) == ["443 ssl"]
    assert site.free_defaults(listens, "# listen 443 quic;", used=False) == ["443 quic"]
    assert site.free_defaults(listens, "# listen 443 ssl default;", used=False) == []

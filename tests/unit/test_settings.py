"""Settings that an operator passes to programs: how they are written, and which are refused."""

import re
import runpy

import pytest
import yaml
from ansible_collections.clink.django_stack.plugins.plugin_utils import nginx_site, settings, values
from conftest import ROLES, ROOT, Renderer

YAML = """
underscores_in_headers: on
include: [one.conf, two.conf]
gzip_types: text/css application/json
proxy_read_timeout: 300s
client_max_body_size: 0
etag: null
"""


@pytest.mark.parametrize(
    "dialect, value, lines",
    [
        ("nginx", True, ["x on;"]),
        ("nginx", "False", ["x off;"]),  # what a template without native types makes
        ("nginx", ["a", 2, False], ["x a;", "x 2;", "x off;"]),
        ("nginx", "", ["x;"]),
        ("postgresql", True, ["x = 'on'"]),
        ("postgresql", ["a", "b"], ["x = 'a, b'"]),
        ("postgresql", r"it's \t", [r"x = 'it''s \\t'"]),
        ("postgresql", "", ["x = ''"]),
        ("postgresql", 1.1, ["x = '1.1'"]),
        ("redis", False, ["x no"]),
        ("redis", ["900 1", "300 10"], ["x 900 1", "x 300 10"]),
        ("redis", "", ['x ""']),
        ("rabbitmq", True, ["x = true"]),
        ("rabbitmq", ["a", "b"], ["x.1 = a", "x.2 = b"]),
        ("sshd", False, ["x no"]),
        ("sshd", ["ada", "bob"], ["x ada bob"]),
        ("fail2ban", True, ["x = true"]),
        ("fail2ban", ["/a", "/b"], ["x = /a\n    /b"]),
        ("certbot", ["http", "dns"], ["x = http,dns"]),
        ("certbot", False, ["x = false"]),
        ("sysctl", True, ["x = 1"]),
        ("sysctl", [4096, 87380, 6291456], ["x = 4096 87380 6291456"]),
        ("sysctl", "", []),
        ("apt", True, ['x "true";']),
        ("apt", ["a", "b"], ['x:: "a";', 'x:: "b";']),
        ("systemd", True, ["x=true"]),
        ("systemd", ["", "a"], ["x=", "x=a"]),
        ("python", ["it's", 1, True, None], ['x = ["it\'s", 1, True, None]']),
        ("python", {"a": {"b": None}}, ["x = {'a': {'b': None}}"]),
        ("python", 'a"\n#', ["x = 'a\"\\n#'"]),
    ],
)
def test_each_program_gets_its_own_words(dialect, value, lines):
    assert settings.lines({"x": value, "y": None}, dialect) == lines


def test_only_some_settings_of_sshd_have_a_line_for_each_value():
    given = {"Port": [22, 2222], "Ciphers": ["a", "b"], "AllowUsers": ["ada", "bob"]}
    assert settings.lines(given, "sshd") == [
        "AllowUsers ada bob", "Ciphers a,b", "Port 22", "Port 2222",
    ]  # fmt: skip


def test_ports_of_fail2ban_have_commas():
    assert settings.lines({"port": ["ssh", 2222]}, "fail2ban") == ["port = ssh,2222"]


@pytest.mark.parametrize(
    "dialect, value, fits",
    [
        ("nginx", '"</a.css>; rel=preload" always', True),
        ("nginx", "main '{$remote_addr}'", True),
        ("nginx", "$request_uri ${host}x", True),
        ("nginx", r"~*\.(gif|jpg)$ it's", True),
        ("nginx", "on; }", False),
        ("nginx", '"on', False),
        ("nginx", "a #b", False),
        ("nginx", "on\\", False),
        ("nginx", ["on", "x\ny"], False),
        ("nginx", {"a": 1}, False),
        ("nginx", None, True),
        ("rabbitmq", "pass#word", False),
        ("certbot", "a #b", False),
        ("certbot", "a#b", True),
        ("sshd", " ", False),
        ("apt", 'a"b', False),
        ("redis", "x\r", False),
    ],
)
def test_a_value_that_would_break_a_file_is_refused(dialect, value, fits):
    assert settings.can_write(dialect)(value) is fits


def test_headers_are_added_to_those_of_the_role_and_replace_them_by_any_spelling():
    own = {"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "X-A": "1"}
    more = {"Access-Control-Allow-Origin": "*", "x-frame-options": "SAMEORIGIN", "X-A": None}
    more |= {"X-XSS-Protection": 0, "Access-Control-Allow-Credentials": True, "X-B": ["a", "b"]}
    assert settings.merge_headers(own, more) == {
        "x-frame-options": "SAMEORIGIN",
        "Referrer-Policy": "no-referrer",
        "Access-Control-Allow-Origin": "*",
        "X-XSS-Protection": "0",
        "Access-Control-Allow-Credentials": "true",
        "X-B": "a, b",
    }


def test_a_kernel_setting_has_one_value_whatever_its_name_looks_like():
    own = {"net.ipv4.ip_forward": 0, "kernel.sysrq": 0, "vm.swappiness": 1}
    more = {"net/ipv4/ip_forward": 1, "-kernel.sysrq": 1, "net.ipv4.conf.eth0/1.rp_filter": 2}
    assert settings.merge_sysctl(own, more) == {
        "vm.swappiness": 1,
        "net.ipv4.ip_forward": 1,
        "-kernel.sysrq": 1,
        "net.ipv4.conf.eth0/1.rp_filter": 2,
    }


def test_a_location_inherits_what_the_role_would_set():
    own = {"proxy_read_timeout": "60s", "proxy_redirect": "off", "proxy_http_version": 1.1}
    server = {"proxy_read_timeout": "300s", "proxy_set_header": "X-A 1", "etag": False}
    here = {"proxy_redirect": "default", "proxy_set_header": ["Host x"]}
    assert nginx_site.directives(here, own, server, {"proxy_http_version": "1.0"}) == {
        "proxy_redirect": "default",
        "proxy_set_header": ["X-A 1", "Host x"],
    }


# --- The configuration of a site ----------------------------------------------------------------

BASE = {
    "app_name": "mini",
    "app_source": {"directory": "/nowhere"},
    "app_domains": ["example.com"],
    "app_certificate": "selfsigned",
    "nginx_real_ip_from": ["10.0.0.1"],
    "nginx_basic_auth_users": {"ada": "long-enough-password"},
    "nginx_locations": {
        "/up/": {"settings": {"proxy_set_header": "Host x.example", "add_header": "X-Here 1"}},
        "/files/": {"alias": "/srv/files", "settings": {"add_header": "Cache-Control no-store"}},
        "/embed/": {"settings": {"add_header": 'X-Frame-Options "SAMEORIGIN" always'}},
    },
}
TEMPLATES = {
    name: ROOT / "roles" / role / "templates" / name
    for role, name in {
        "nginx": "nginx.conf.j2", "nginx ": "site.conf.j2", "gunicorn": "gunicorn.conf.py.j2",
    }.items()
    for role in [role.strip()]
}  # fmt: skip


@pytest.fixture(scope="module")
def render(tmp_path_factory):
    """Give a function that returns texts of nginx and Gunicorn for a description."""
    renderer = Renderer(tmp_path_factory.mktemp("settings"))
    return lambda **more: renderer.render("x", BASE | more, TEMPLATES, {})


def location(text, path):
    """Return the body of a location of the last server."""
    return re.findall(rf"location (?:\^~ |= )?{path} {{\n(.*?)\n    }}", text, re.DOTALL)[-1]


def said(text, name):
    """Return the values of a directive in a text."""
    return re.findall(rf"(?m)^\s*{name}(?: (.*?))?;", text)


def test_what_the_operator_says_of_a_server_wins_in_its_locations(render):
    text = render(nginx_server_settings=yaml.safe_load(YAML))["site.conf.j2"]
    assert set(said(text, "proxy_read_timeout")) == {"300s"}
    assert set(said(text, "underscores_in_headers")) == {"on"}
    assert set(said(text, "client_max_body_size")) == {"0"}
    assert {"one.conf", "two.conf"} <= set(said(text, "include"))
    assert "proxy_read_timeout" not in location(text, "/")
    assert not said(text, "etag")


def test_what_the_operator_says_of_the_http_block_wins_everywhere(render):
    more = {"proxy_read_timeout": "9m", "keepalive_timeout": 5, "gzip": False, "access_log": "off"}
    texts = render(nginx_http_settings=more | {"ssl_protocols": "TLSv1.3", "sendfile": None})
    assert said(texts["nginx.conf.j2"], "keepalive_timeout") == ["5"]
    assert said(texts["nginx.conf.j2"], "gzip") == ["off"]
    assert said(texts["nginx.conf.j2"], "ssl_protocols") == ["TLSv1.3"]
    assert not said(texts["nginx.conf.j2"], "sendfile")
    assert not said(texts["site.conf.j2"], "proxy_read_timeout")
    # fail2ban reads the failed logins.
    assert {each.split()[0] for each in said(texts["site.conf.j2"], "access_log")} == {
        "/var/log/nginx/failed-logins.log"
    }


def test_a_header_that_a_location_sets_is_set_once(render):
    text = render(nginx_server_settings={"proxy_set_header": "X-Every 1"})["site.conf.j2"]
    headers = said(location(text, "/up/"), "proxy_set_header")
    assert "Host x.example" in headers and "X-Every 1" in headers
    assert len([each for each in headers if each.startswith("Host ")]) == 1
    assert "X-Every 1" in said(location(text, "/"), "proxy_set_header")
    files = said(location(text, "/files/"), "add_header")
    assert [each for each in files if each.startswith("Cache-Control")] == [
        "Cache-Control no-store"
    ]
    frames = said(location(text, "/embed/"), "add_header")
    assert [each for each in frames if each.startswith("X-Frame")] == [
        'X-Frame-Options "SAMEORIGIN" always'
    ]
    assert any(each.startswith("Referrer-Policy") for each in frames)


def test_one_more_header_keeps_the_others(render):
    text = render(nginx_headers={"Access-Control-Allow-Origin": "*", "x-frame-options": None})
    added = said(location(text["site.conf.j2"], "/static/"), "add_header")
    names = {each.split()[0] for each in added}
    assert names >= {
        "Access-Control-Allow-Origin", "X-Content-Type-Options", "Referrer-Policy",
        "Cross-Origin-Opener-Policy", "Permissions-Policy", "Content-Security-Policy",
    }  # fmt: skip
    assert "x-frame-options" not in {name.lower() for name in names}


@pytest.mark.parametrize(
    "given, seconds",
    [
        ({}, "60s"),
        ({"gunicorn_timeout": 300}, "300s"),
        ({"gunicorn_timeout": "9"}, "60s"),
        ({"gunicorn_timeout": 300, "nginx_proxy_read_timeout": 20}, "20s"),
    ],
)
def test_nginx_waits_as_long_as_gunicorn(render, given, seconds):
    assert set(said(render(**given)["site.conf.j2"], "proxy_read_timeout")) == {seconds}


def test_gunicorn_gets_values_of_python(render, tmp_path):
    given = {"raw_env": ["A=it's"], "preload_app": True, "statsd_host": None, "keepalive": 5}
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(render(gunicorn_settings=given)["gunicorn.conf.py.j2"])
    told = runpy.run_path(str(path))
    assert (told["raw_env"], told["preload_app"], told["keepalive"]) == (["A=it's"], True, 5)
    assert "statsd_host" not in told


# Directives that a block may have several times, so that those of the operator are added.
ADDED = {
    "access_log", "include", "limit_req", "limit_conn", "proxy_hide_header", "proxy_set_header",
    "set",
}  # fmt: skip
BLOCKS = {"events", "geo", "http", "if", "location", "map", "server", "types", "upstream"}


def test_no_directive_of_the_templates_beats_the_operators(render):
    """Each directive of the site is refused, or that of the operator is the only one."""
    before = render()
    site = before["site.conf.j2"]
    text = site[site.index("\nserver {") :] + "".join(
        re.findall(r"(?m)^    [a-z_]+ .*;$", before["nginx.conf.j2"])
    ).replace(";", ";\n")
    names = set(re.findall(r"(?m)^\s*([a-z_0-9]+)[ ;]", text)) - BLOCKS - ADDED
    names -= {"worker_connections", "limit_req_zone", "limit_conn_zone"}
    role = values.load_role(ROOT / "roles" / "nginx")
    free = []
    for name in names:
        found = {
            check["name"]
            for check in role.checks
            if "reserved" in check and settings.reserved_names({name: 1}, check["reserved"], [])
        }
        if {"nginx_http_settings", "nginx_server_settings"} <= found:
            continue
        free.append(name)
    assert {"client_max_body_size", "proxy_read_timeout", "gzip_static", "server_tokens"} <= {*free}
    mine = {name: f"mine-{name}" for name in free}
    for variable, begin in (
        ("nginx_http_settings", "http {"),
        ("nginx_server_settings", "\nserver {"),
    ):
        after = render(**{variable: mine})
        text = "\n".join(after[each] for each in ("nginx.conf.j2", "site.conf.j2"))
        text = text[text.index(begin) :] if "http" in variable else after["site.conf.j2"]
        # The files of the certificate authority are the role's own matter.
        text = re.sub(r"location \^~ /\.well-known/.*?\n    }", "", text, flags=re.DOTALL)
        for name in free:
            assert set(said(text, name)) == {f"mine-{name}"}, (variable, name)


# --- What other variables set -------------------------------------------------------------------

OWN = {
    "gunicorn": ("__gunicorn_size", "__gunicorn_common"),
    "postgresql": ("__postgresql_settings",),
    "rabbitmq": ("__rabbitmq_settings",),
    "redis": ("__redis_settings",),
}


@pytest.mark.parametrize("role", OWN)
def test_a_setting_that_a_variable_sets_is_refused_by_its_name(role):
    """The templates of the role's own settings name the variables; so has the refusal."""
    given = yaml.safe_load((ROOT / "roles" / role / "vars" / "main.yml").read_text())
    known = values.load_role(ROOT / "roles" / role)
    reserved = {
        name: instead
        for check in known.checks
        if check["name"] == f"{role}_settings" and "reserved" in check
        for name, instead in check["reserved"].items()
    }
    seen = 0
    for dictionary in OWN[role]:
        for name, value in given[dictionary].items():
            named = set(re.findall(rf"(?<!_){role}_\w+", str(value))) & set(known.options)
            told = settings.reserved_names({name: value}, reserved, []).get(name, "")
            assert not named or any(variable in told for variable in named), name
            seen += bool(named)
    assert seen >= 3


@pytest.mark.parametrize(
    "variable, value, name, instead",
    [
        ("nginx_server_settings", {"listen": 8080}, "listen", "nginx_certificates"),
        ("nginx_server_settings", {"root": "/srv"}, "root", "nginx_static"),
        ("nginx_http_settings", {"add_header": "X-A 1"}, "add_header", "nginx_headers"),
        (
            "nginx_server_settings",
            {"ssl_certificate": "/x"},
            "ssl_certificate",
            "nginx_certificates",
        ),
        ("nginx_locations", {"/a/": {"settings": {"alias": "/x"}}}, "alias", "alias"),
        (
            "nginx_headers",
            {"strict-transport-security": "x"},
            "strict-transport-security",
            "nginx_hsts",
        ),
        ("nginx_sandbox", {"ExecStart": "/bin/true"}, "ExecStart", "unit"),
        ("gunicorn_settings", {"bind": "0.0.0.0:1"}, "bind", "gunicorn_socket"),
        ("gunicorn_settings", {"timeout": 5}, "timeout", "gunicorn_timeout"),
        ("gunicorn_settings", {"wsgi_app": "x:y"}, "wsgi_app", "app_wsgi"),
        ("redis_settings", {"requirepass": "x"}, "requirepass", "redis_password"),
        ("redis_settings", {"port": 1}, "port", "redis_port"),
        ("redis_settings", {"daemonize": True}, "daemonize", "systemd"),
        ("postgresql_settings", {"port": 1}, "port", "postgresql_port"),
        ("postgresql_settings", {"archive_mode": True}, "archive_mode", "backup"),
        (
            "rabbitmq_settings",
            {"listeners.tcp.default": 1},
            "listeners.tcp.default",
            "rabbitmq_port",
        ),
        ("rabbitmq_settings", {"default_pass": "x"}, "default_pass", "rabbitmq_password"),
        ("certbot_settings", {"email": "a@b.c"}, "email", "certbot_email"),
        ("fail2ban_settings", {"DEFAULT": {"ignoreip": "::1"}}, "ignoreip", "fail2ban_ignoreip"),
        ("app_sandbox", {"User": "root"}, "User", "app_user"),
        (
            "app_processes",
            {"bot": {"command": "x", "sandbox": {"User": "root"}}},
            "User",
            "app_user",
        ),
    ],
)
def test_a_name_with_a_variable_of_its_own_is_refused(checker, variable, value, name, instead):
    (line,) = checker.message({variable: value}, ROLES).splitlines()[1:]
    assert line.startswith(f"{variable}: {name} cannot be set here, because it is set by ")
    assert instead in line


@pytest.fixture
def told(monkeypatch):
    """The warnings of a run."""
    lines = []
    monkeypatch.setattr(
        "ansible.utils.display.Display.warning", lambda self, text: lines.append(text)
    )
    return lines


@pytest.mark.parametrize(
    ("paths", "warned"), [(["/"], True), (["/media/private/"], True), (["/admin/"], False)]
)
def test_uploads_that_lose_their_password_are_told(checker, told, paths, warned):
    gate = {"nginx_basic_auth_users": {"ada": "a long password"}, "nginx_basic_auth_paths": paths}
    assert checker.message(gate, ROLES) == ""
    assert told == []
    assert checker.message(gate | {"app_media_domain": "uploads.example.com"}, ROLES) == ""
    assert [line.partition(" need")[0] for line in told] == [
        "nginx_uploads_domain: the run goes on, but uploads at app_media_domain "
        "(nginx_uploads_domain)"
    ] * warned


def test_a_contradiction_is_told_and_is_no_refusal(checker, told):
    assert checker.message({"gunicorn_timeout": 300, "nginx_proxy_read_timeout": 30}, ROLES) == ""
    (line,) = told
    assert line.startswith("nginx_proxy_read_timeout: the run goes on, but nginx answers 504")
    told.clear()
    assert checker.message({"gunicorn_timeout": 300}, ROLES) == ""
    assert checker.message({"gunicorn_timeout": 300, "nginx_proxy_read_timeout": 300}, ROLES) == ""
    assert told == []

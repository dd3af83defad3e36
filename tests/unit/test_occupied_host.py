"""What a host has already, and when a run refuses to take it over."""

import hashlib
import json
import os
import pwd
import re
from pathlib import Path

import pytest
import yaml
from ansible.module_utils import basic
from ansible_collections.clink.django_stack.plugins.module_utils import (
    kept_files,
    occupants,
    occupied_app,
    occupied_nginx,
    occupied_services,
    units,
)
from ansible_collections.clink.django_stack.plugins.modules import occupied_host

ROOT = Path(__file__).parents[2]
# The header of a dump of Redis 7.0: its version, and pairs of texts about the server.
HEADER = (
    b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfa\x0aredis-bits\xc0\x40"
    b"\xfa\x05ctime\xc2\x01\x02\x03\x04"
)
WIKI = """
# a comment with { and ;
limit_req_zone $binary_remote_addr zone=wiki:1m rate=5r/s;
log_format "wiki log" '$remote_addr; {$request}';
server { listen 80; server_name wiki.example.org "old.example.org"; root /var/www/wiki; }
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host without services below a directory; its places are those of the modules."""
    etc = tmp_path / "etc"
    places = {
        units: {"TAKEN_OVER": tmp_path / "taken_over"},
        kept_files: {"PLACE": tmp_path / "kept"},
        occupied_app: {"FACTS": etc / "facts.d"},
        occupied_nginx: {
            "ETC": etc / "nginx", "CONFIG": etc / "nginx/nginx.conf",
            "DEFAULT": etc / "nginx/sites-enabled/default", "DROP_IN": etc / "nginx.service.d",
            "WELCOME": tmp_path / "html", "KEPT": etc / "nginx/before-django-stack.conf",
        },
        occupied_services: {
            "SYSTEM": etc / "systemd", "REDIS": etc / "redis.conf",
            "REDIS_USERS": etc / "users.acl", "POSTGRESQL": etc / "postgresql",
            "POSTGRESQL_DROP_IN": etc / "postgresql.d", "CLUSTERS": tmp_path / "clusters",
            "RABBITMQ": etc / "rabbitmq", "RABBITMQ_DATA": tmp_path / "mnesia",
            "FAIL2BAN": etc / "jail.local", "UFW": etc / "ufw.conf", "UFW_DEFAULTS": etc / "ufw",
        },
    }  # fmt: skip
    for module, names in places.items():
        for name, value in names.items():
            monkeypatch.setattr(module, name, value)
    for name in ("nginx/sites-enabled", "nginx/conf.d", "facts.d"):
        (etc / name).mkdir(parents=True)
    monkeypatch.setattr(units, "show", lambda unit, *names: {"ActiveState": "inactive"})
    monkeypatch.setattr(units, "systemctl", lambda *words, **more: units.Result(0, "", 0.1))
    monkeypatch.setattr(occupants, "of_packages", dict)
    monkeypatch.setattr(occupants, "listeners", list)
    monkeypatch.setattr(os, "fchown", lambda *ids: None)
    return tmp_path


def put(path, text="somebody's\n"):
    """Make a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def claim(kind, take_over=False, **given):
    """Return what a role wants of the host."""
    usual = {
        "redis": {"port": 6379, "settings": {"dir": "/var/lib/redis"}},
        "nginx": {"ports": [80], "site": "shop", "names": ["shop.example.com"], "sandbox": []},
        "postgresql": {"version": "17", "port": 5432, "databases": [], "roles": [], "settings": []},
        "rabbitmq": {"port": 5672},
        "ufw": {"ports": [80, "443"], "rules": []},
        "app": {"application": "shop", "user": "nobody-here", "declared": ["/absent", "/absent"]},
        "units": {"application": "shop", "units": ["web.service"], "variable": "gunicorn_service"},
    }  # fmt: skip
    base = {"role": kind, "kind": kind, "word": f"{kind}_take_over", "take_over": take_over}
    return {**base, **usual.get(kind, {}), **given}


@pytest.fixture
def run(monkeypatch, run_module):
    """Give a function that runs the module."""

    def call(*claims, check=False, **given):
        return run_module(occupied_host, check, claims=list(claims), **given)

    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda module, text: None)
    return call


def texts(findings):
    """Return findings as one text."""
    return "\n".join(f"{each.text}: {each.advice}" for each in findings)


# --- The module ----------------------------------------------------------------------------------


def test_a_blank_host_is_nobodys(host, run):
    kinds = ["redis", "nginx", "postgresql", "rabbitmq", "ufw", "fail2ban", "units"]
    told = run(*(claim(kind) for kind in kinds), claim("app", root=str(host / "shop")))
    assert told == {"changed": False, "kept": []}


def test_all_that_was_found_is_told_at_once_with_the_word_for_each(host, run):
    put(host / "etc/redis.conf", "port 6379\n")
    put(host / "etc/jail.local", "[DEFAULT]\nbantime = 1d\n")
    said = run(claim("redis"), claim("fail2ban"))["msg"]
    assert said.startswith("Nothing was touched.")
    assert "redis_take_over: true" in said and "fail2ban_take_over: true" in said
    assert "app_take_over" not in said


def test_the_word_of_one_role_is_not_that_of_another(host, run):
    put(host / "etc/redis.conf", "port 6379\n")
    put(host / "etc/jail.local", "[DEFAULT]\nbantime = 1d\n")
    said = run(claim("redis", take_over=True), claim("fail2ban"))["msg"]
    assert "jail.local" in said and "redis.conf" not in said
    assert not list((host / "etc").glob("*.before-django-stack"))


def test_what_is_replaced_is_kept_beside_it_once(host, run):
    file = put(host / "etc/jail.local", "[DEFAULT]\nbantime = 1d\n")
    file.chmod(0o640)
    wanted = claim("fail2ban", take_over=True, files=[str(file)], retired=["fail2ban.service"])
    beside = host / "etc/jail.local.before-django-stack"
    assert run(wanted, check=True)["changed"] is True and not beside.exists()
    assert run(wanted)["kept"] == [str(beside)]
    assert beside.read_text() == file.read_text() and beside.stat().st_mode & 0o777 == 0o640
    # Nothing stops it because a description no longer needs it.
    service = {"unit": "fail2ban.service", "own": str(file), "text": ""}
    assert not units.installed(service) and units.installed({**service, "unit": "x.service"})
    file.write_text("[DEFAULT]\nbantime = 2d\n")
    assert run(wanted)["kept"] == []
    assert "1d" in beside.read_text()


def test_a_file_of_a_package_is_nobodys_as_long_as_nobody_changes_it(tmp_path, monkeypatch):
    file = put(tmp_path / "redis.conf", "port 6379\n")
    sums = f" {file} {hashlib.md5(file.read_bytes()).hexdigest()}\n /etc/x newconffile\n"  # noqa: S324 - dpkg's
    monkeypatch.setattr(units, "run", lambda *_, **more: units.Result(0, sums, 0.1))
    known = occupants.of_packages()
    assert known["/etc/x"] == "newconffile" and not occupants.is_changed(file, known)
    put(file, "port 6380\n")
    assert occupants.is_changed(file, known) and occupants.is_changed(file, {})
    assert not occupants.is_changed(file, {str(file): "newconffile"})
    assert not occupants.is_changed(tmp_path / "absent", known)


@pytest.mark.parametrize(
    ("tags", "skipped", "refused"),
    [(["all"], [], True), (["fail2ban"], [], True), (["nginx"], [], False),
     (["all"], ["fail2ban"], False)],
)  # fmt: skip
def test_a_role_that_the_run_leaves_out_is_not_looked_at(host, run, tags, skipped, refused):
    put(host / "etc/jail.local")
    told = run(claim("fail2ban"), run_tags=tags, skip_tags=skipped)
    assert ("msg" in told) is refused


# --- Redis ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dump", "holds"),
    [
        (HEADER + b"\xff\x01\x02\x03\x04\x05\x06\x07\x08", False),
        (HEADER + b"\xfe\x00\xfb\x01\x00\x00\x01a\x01b\xff", True),
        (HEADER + b"\xf5\x05#!lua", True),
        (HEADER + b"\xfa\x80\x00", True),  # it cannot be read
        (b"", False),
    ],
)
def test_a_dump_of_redis_says_whether_it_holds_data(dump, holds):
    assert occupants.has_keys(dump) is holds


def test_a_stopped_redis_may_hold_data(host):
    settings = {"dir": str(host / "data")}
    dump = host / "data/dump.rdb"
    dump.parent.mkdir()
    assert occupied_services.redis_data(settings) == ""
    dump.write_bytes(HEADER + b"\xff")
    assert occupied_services.redis_data(settings) == ""
    dump.write_bytes(HEADER + b"\xfe\x00")
    assert str(dump) in occupied_services.redis_data(settings)
    dump.unlink()
    journal = put(host / "data/appendonlydir/appendonly.aof.1.incr.aof", "*2\r\n")
    assert str(journal) in occupied_services.redis_data(settings)


class Server:
    """A Redis that answers INFO."""

    def __init__(self, keys, clients):
        self.told = {"keyspace": keys, "clients": f"# Clients\r\nconnected_clients:{clients}\r\n"}

    def ask(self, *words):
        return self.told[words[1]].encode()

    def close(self):
        pass


@pytest.mark.parametrize(
    ("keys", "clients", "said"),
    [
        ("# Keyspace\r\n", 1, ""),
        ("# Keyspace\r\ndb0:keys=2,expires=0\r\n", 1, "2 keys in database 0"),
        ("# Keyspace\r\ndb3:keys=7,expires=1\r\n", 1, "7 keys in database 3"),
        ("# Keyspace\r\n", 3, "2 connected programs"),
    ],
)
def test_a_running_redis_is_used_by_its_keys_and_its_clients(
    host, monkeypatch, keys, clients, said
):
    monkeypatch.setattr(units, "show", lambda unit, *names: {"ActiveState": "active"})
    monkeypatch.setattr(occupied_services, "redis_client", lambda _: Server(keys, clients))
    assert occupied_services.redis_data({}) == said


def test_settings_that_would_lose_the_data_of_redis_are_refused_even_with_the_word(
    host, run, monkeypatch
):
    put(host / "etc/redis.conf", "dir /srv/redis\ndatabases 64\n")
    monkeypatch.setattr(occupied_services, "redis_data", lambda _: "1 keys in database 0")
    said = run(claim("redis", take_over=True))["msg"]
    assert "redis_settings: {dir: /srv/redis}" in said and "redis_settings: {databases: 64}" in said
    given = {"dir": "/srv/redis", "databases": "64"}
    monkeypatch.setattr(occupied_services, "keep_redis", lambda: None)
    assert "msg" not in run(claim("redis", take_over=True, settings=given))


def test_the_role_alone_does_not_replace_all_passwords_of_its_redis(host, run):
    first, second = "a" * 64, "b" * 64
    put(host / "etc/systemd/redis-server.service.d/django_stack.conf")
    assert "msg" not in run(claim("redis"), redis_hashes=[second])  # an interrupted first run
    put(
        host / "etc/users.acl", f"user default on #{first} ~* &* +@all\nuser x on #{second} +info\n"
    )
    assert "redis_password_fallbacks" in run(claim("redis"), redis_hashes=[second])["msg"]
    assert "msg" not in run(claim("redis"), redis_hashes=[second, first])  # a rotation
    assert "msg" not in run(claim("redis"))  # site.yml
    told = run(claim("redis", take_over=True, retired=["x"]), redis_hashes=[second])
    assert told["kept"] == [] and not (host / "taken_over").exists()


def test_the_redis_of_the_role_is_not_looked_at_again(host):
    file = host / "etc/users.acl"
    put(host / "etc/redis.conf", f"#\n# My own ansible_managed\n#\naclfile {file}\nport 1\n")
    assert occupied_services.redis_is_ours()
    for text in (
        "# Ansible managed\nrequirepass secret\n",
        f"# Ansible managed\nport 1\naclfile {file}\n",
        f"# Debian's\naclfile {file}\n# a comment\nport 1\n",
        f"aclfile {file}\nport 1\n",
    ):
        put(host / "etc/redis.conf", text)
        assert not occupied_services.redis_is_ours()
    put(host / "etc/systemd/redis-server.service.d/django_stack.conf")
    assert occupied_services.redis_is_ours()


# --- PostgreSQL ----------------------------------------------------------------------------------


def test_another_cluster_at_the_port_is_named(host, run):
    put(
        host / "etc/postgresql/13/main/postgresql.conf", "port = 5432 # (change requires restart)\n"
    )
    assert "set postgresql_port" in run(claim("postgresql", take_over=True))["msg"]
    assert "msg" not in run(claim("postgresql", port=5433))
    put(host / "etc/postgresql/13/main/conf.d/own.conf", "port = '5433'\n")
    assert "msg" in run(claim("postgresql", port=5433))


def test_databases_of_others_are_found_in_a_stopped_cluster(host, run):
    put(host / "etc/postgresql/17/main/postgresql.conf", "port = 5432\n")
    for number in (1, 4, 5):
        (host / f"clusters/17/main/base/{number}").mkdir(parents=True)
    assert "msg" not in run(claim("postgresql"))
    (host / "clusters/17/main/base/16389").mkdir()
    assert "postgresql_take_over: true" in run(claim("postgresql"))["msg"]
    assert run(claim("postgresql", take_over=True))["changed"] is True
    put(host / "etc/postgresql/17/main/conf.d/django_stack.conf", "port = '5432'\n")
    assert run(claim("postgresql"))["changed"] is False


def test_a_running_cluster_names_its_databases_and_the_role_with_our_name(host, monkeypatch):
    answers = {
        "pg_database": ["shop", "wiki"],
        "pg_roles": ["shop"],
        "pg_settings": ["max_connections = 300"],
    }
    put(host / "etc/postgresql/17/main/postgresql.conf", "port = 5432\n")
    monkeypatch.setattr(units, "show", lambda unit, *names: {"ActiveState": "active"})
    monkeypatch.setattr(
        occupied_services, "ask_postgresql",
        lambda port, query: next((told for name, told in answers.items() if name in query), []),
    )  # fmt: skip
    wanted = claim("postgresql", databases=["shop"], roles=["shop"], settings=["max_connections"])
    said = texts(occupied_services.postgresql(wanted, occupied_host.Host([])))
    assert "shop, wiki" in said and "max_connections = 300" in said
    assert "a database shop already" in said and "a role shop already" in said


# --- nginx ---------------------------------------------------------------------------------------


def test_the_parser_reads_quotes_comments_and_blocks():
    zone, logs, server = occupied_nginx.parse(WIKI)
    assert zone.words == ("limit_req_zone", "$binary_remote_addr", "zone=wiki:1m", "rate=5r/s")
    assert logs.words[2] == "$remote_addr; {$request}"
    assert [each.name for each in server.block] == ["listen", "server_name", "root"]
    assert server.text.startswith("server { listen") and server.text.endswith("wiki; }")


def test_the_module_knows_what_nginx_conf_of_the_role_sets():
    variables = yaml.safe_load((ROOT / "roles/nginx/vars/main.yml").read_text())
    own = ("__nginx_http_own", "__nginx_sizes_of_http2", "__nginx_tls_session")
    named = {name for block in own for name in variables[block]}
    named |= {name for profile in variables["__nginx_tls"].values() for name in profile}
    named |= set(re.findall(r"{'(\w+)': ", variables["__nginx_of_tls"]))
    assert named | {"types"} == occupied_nginx.ROLE_SETS


def test_a_changed_nginx_conf_goes_on_where_the_role_sets_nothing(host, run):
    config = put(
        host / "etc/nginx/nginx.conf",
        "user www-data;\nevents { worker_connections 9; }\n"
        "http {\n include /etc/nginx/mime.types;\n"
        " gzip off;\n limit_req_zone $binary_remote_addr zone=wiki:1m rate=5r/s;\n"
        " map $uri $x { default 0; }\n include /etc/nginx/sites-enabled/*;\n}\n",
    )
    wanted = claim("nginx", files=[str(config)])
    assert "nginx_take_over: true" in run(wanted)["msg"]
    kept = run({**wanted, "take_over": True})["kept"]
    assert kept == [f"{config}.before-django-stack", str(occupied_nginx.KEPT)]
    told = occupied_nginx.KEPT.read_text()
    assert "zone=wiki:1m rate=5r/s;" in told and "map $uri $x { default 0; }" in told
    assert "gzip" not in told and "include" not in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server { listen 80; server_name shop.example.com; }", "serves shop.example.com"),
        ("server { listen [::]:80 ipv6only=off; }", "ipv6only=off"),
        ("gzip on;\nserver { listen 80; }", "sets gzip for all sites"),
        ("server { root /home/ada/wiki; }", "nginx_sandbox: {ProtectHome: false}"),
        ("server { location / { proxy_pass http://unix:/tmp/wiki.sock; } }", "PrivateTmp: false"),
        ("proxy_cache_path /srv/cache keys_zone=x:1m;", "ReadWritePaths: [/srv]"),
    ],
)
def test_a_site_that_cannot_live_beside_ours_is_refused_even_with_the_word(host, run, text, said):
    put(host / "etc/nginx/sites-enabled/wiki", text)
    assert said in run(claim("nginx", take_over=True))["msg"]


def test_a_site_beside_ours_needs_the_word_and_stays(host, run):
    site = put(host / "etc/nginx/sites-enabled/wiki", WIKI)
    assert str(site) in run(claim("nginx"))["msg"]
    assert run(claim("nginx", take_over=True))["changed"] is True
    assert site.read_text() == WIKI
    put(host / "etc/nginx.service.d")
    assert run(claim("nginx"))["changed"] is False


def test_the_files_of_other_roles_are_ours(host, run):
    put(host / "etc/nginx/conf.d/django_stack-status.conf", "server { listen 127.0.0.1:8080; }\n")
    assert run(claim("nginx"))["changed"] is False


def test_the_changed_default_site_goes_on_under_another_name(host, run):
    put(host / "etc/nginx/sites-enabled/default", "server { listen 8080; }\n")
    run(claim("nginx", take_over=True))
    assert not occupied_nginx.DEFAULT.exists()
    assert "8080" in (host / "etc/nginx/sites-enabled/default.before-django-stack").read_text()


def test_the_unchanged_default_site_is_used_if_it_serves_files(host, monkeypatch):
    site = put(host / "etc/nginx/sites-enabled/default", "server { listen 80; }\n")
    monkeypatch.setattr(occupants, "is_changed", lambda path, known: False)
    put(host / "html/index.nginx-debian.html")
    assert occupied_nginx.sites({}) == {}
    put(host / "html/index.html")
    assert list(occupied_nginx.sites({})) == [str(site)]


@pytest.mark.parametrize(
    ("listen", "place"),
    [("80", "80"), ("*:80", "80"), ("0.0.0.0:443", "443"), ("[::]:80", "[::]:80"),
     ("203.0.113.7", "203.0.113.7:80"), ("[::]", "[::]:80")],
)  # fmt: skip
def test_a_place_to_listen_at_has_one_form(listen, place):
    site = occupied_nginx.parse(f"server {{ listen {listen} default_server; listen 81 quic; }}")
    assert occupied_nginx.listens(site) == {place, "81/udp"}
    assert occupied_nginx.listens(site, only_defaults=True) == {place}


# --- Other services ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nginx", "redis", "rabbitmq", "postgresql"])
def test_another_program_at_the_port_is_named(host, run, monkeypatch, kind):
    port = claim(kind).get("port", 80)
    other = occupants.Listener(port, True, "caddy", "caddy.service")
    monkeypatch.setattr(occupants, "listeners", lambda: [other])
    assert (
        f"port {port} is in use by caddy (caddy.service)" in run(claim(kind, take_over=True))["msg"]
    )


def test_the_table_of_sockets_says_who_is_reached_from_outside():
    rest = "00000000:00000000 00:00000000 00000000 101 0"
    table = (
        "sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode\n"
        f" 0: 0100007F:18EB 00000000:0000 0A {rest} 11\n"
        f" 1: 00000000:0050 00000000:0000 0A {rest} 12\n"
        f" 2: 0100007F:18EB 0100007F:D431 01 {rest} 13\n"
    )
    six = f"head\n 0: {'0' * 24}01000000:1F90 {'0' * 32}:0000 0A {rest} 14\n"
    assert occupants.sockets([table]) == {"11": (6379, False), "12": (80, True)}
    assert occupants.sockets([six]) == {"14": (8080, False)}


def test_what_the_firewall_closes_is_told(host, run, monkeypatch):
    there = [
        occupants.Listener(8080, True, "java", "wiki.service"),
        occupants.Listener(22, True, "sshd", ""),
        occupants.Listener(9000, False, "php", ""),
        occupants.Listener(443, True, "nginx", ""),
    ]
    monkeypatch.setattr(occupants, "listeners", lambda: there)
    warned = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda module, text: warned.append(text))

    def said(**given):
        warned.clear()
        assert run(claim("ufw", **given))["changed"] is False
        return "".join(warned)

    assert "8080 (java)" in said() and "9000" not in said() and "22 " not in said()
    assert not said(ports=[443, "8000:8100"])
    assert not said(rules=[{"rule": "deny", "port": "25,8080"}])
    put(host / "etc/ufw.conf", "# x\nENABLED=yes\n")
    put(host / "etc/ufw", 'DEFAULT_INPUT_POLICY="ACCEPT"\n')
    assert "8080" in said()
    put(host / "etc/ufw", 'DEFAULT_INPUT_POLICY="DROP"\n')
    assert not said()


def test_the_jails_of_the_role_are_its_own(host, run):
    ours = "[DEFAULT]\nbantime.increment = true\nignorecommand = x\n\n[sshd]\nmode = normal\n"
    put(host / "etc/jail.local", f"#\n# My own ansible_managed\n#\n\n{ours}")
    assert run(claim("fail2ban"))["changed"] is False
    put(host / "etc/jail.local", f"# mine\n{ours}# and more\n")
    assert "msg" in run(claim("fail2ban"))


def test_queues_of_others_in_rabbitmq_are_named(host, run, monkeypatch):
    names = {"list_users": {"guest", "wiki"}, "list_vhosts": {"/"}, "list_queues": {"jobs"}}
    monkeypatch.setattr(units, "show", lambda unit, *names: {"ActiveState": "active"})
    monkeypatch.setattr(
        occupied_services, "rabbitmq_names", lambda command, key: set(names[command])
    )
    assert "users wiki; queues jobs" in run(claim("rabbitmq"))["msg"]
    names |= {"list_users": {"guest"}, "list_queues": set()}
    file = put(host / "etc/rabbitmq/rabbitmq-env.conf", "# Debian's\n\n#NODENAME=rabbit\n")
    assert "msg" not in run(claim("rabbitmq"))
    put(file, "# Debian's\nNODENAME=wiki\n")
    assert str(file) in run(claim("rabbitmq"))["msg"]


@pytest.mark.parametrize(
    ("kind", "unit", "service", "data"),
    [
        ("rabbitmq", "rabbitmq-server.service", "rabbitmq-server.service", "mnesia/x"),
        ("postgresql", "postgresql@17-main.service", "postgresql.service", "17/main/base/20000"),
    ],
)
def test_data_of_a_service_that_the_role_could_not_start_is_its_own(
    host, run, monkeypatch, kind, unit, service, data
):
    put(host / data)
    put(host / "etc/postgresql/17/main/postgresql.conf")
    monkeypatch.setattr(occupied_services, "CLUSTERS", host)
    monkeypatch.setattr(occupied_services, "ask_postgresql", lambda *_: None)
    assert "msg" in run(claim(kind))
    kept = {"ran": False, "files": {str(host / "django_stack.conf"): {"kind": "absent"}}}
    put(host / "kept" / unit / kept_files.LIST, json.dumps(kept))
    kept_files.recover([unit])
    assert "msg" not in run(claim(kind))
    put(units.TAKEN_OVER / service)
    assert "msg" in run(claim(kind))
    (units.TAKEN_OVER / service).unlink()
    kept_files.forget(unit)  # it runs
    assert "msg" in run(claim(kind))


@pytest.mark.parametrize(
    ("names", "was_asked", "others"),
    [
        (["shop"], True, []),
        (["shop", "wiki"], True, ["wiki"]),
        (["wiki"], True, ["wiki"]),
        (["number 16385"], False, []),
        (["number 16385", "number 16390"], False, ["number 16390"]),
    ],
)
def test_a_server_that_holds_databases_of_others_goes_on(monkeypatch, names, was_asked, others):
    monkeypatch.setattr(occupied_services, "clusters", lambda: {("17", "main"): 5432})
    monkeypatch.setattr(occupied_services, "databases", lambda *_: (names, was_asked))
    assert occupied_services.others_in("postgresql.service", "shop") == others
    assert occupied_services.others_in("redis-server.service", "shop") == []


# --- The application -----------------------------------------------------------------------------

RECORD = json.dumps({"release": "0123456789ab-012345", "environment": "x", "releases": {}})


def test_another_application_of_the_collection_is_named(host, run):
    put(host / "etc/facts.d/clinic.fact", RECORD)
    put(host / "etc/facts.d/somebody.fact", '{"release": "bookworm"}')
    wanted = claim("app", root=str(host / "shop"))
    said = run(wanted)["msg"]
    assert "application clinic of this collection" in said and "somebody" not in said
    assert "msg" not in run({**wanted, "application": "clinic"})
    assert run({**wanted, "take_over": True})["kept"] == [
        str(host / "etc/facts.d/clinic.fact.before-django-stack")
    ]
    assert run(wanted)["changed"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Description=Gunicorn serving clinic\n", "belongs to the application clinic"),
        ("Description=Celery worker of clinic\n", "belongs to the application clinic"),
        ("X-DjangoStackProcess=clinic\n", "belongs to the application clinic"),
        ("Description=My own Gunicorn\n", "a unit of somebody else"),
        ("Description=Gunicorn serving shop\n", ""),
        ("Description=Socket of Gunicorn serving shop\n", ""),
        ("Description=Celery beat of shop\n", ""),
    ],
)
def test_a_unit_of_another_owner_is_not_replaced(host, monkeypatch, text, said):
    unit = put(host / "web.service", f"# Ansible managed\n[Unit]\n{text}[Service]\n")
    monkeypatch.setattr(occupants, "unit_files", lambda name: [unit])
    found = texts(occupied_app.units(claim("units")))
    assert said in found and bool(said) is bool(found)


def test_directories_and_users_of_others_are_not_taken(host, run):
    root = host / "www/shop"
    put(root / "manage.py")
    me = pwd.getpwuid(os.getuid()).pw_name
    said = run(claim("app", root=str(root), user=me))["msg"]
    assert "set app_root" in said and "set app_user" in said
    declared = [
        str(put(host / "users", "u shop\n")),
        str(put(host / "d", f"d {root}/releases 0755\n")),
    ]
    assert "msg" not in run(claim("app", root=str(root), user=me, declared=declared))
    said = run(claim("app", root=str(host / "elsewhere"), user=me, declared=declared))["msg"]
    assert f"app_root: {root}" in said

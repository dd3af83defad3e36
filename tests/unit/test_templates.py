"""Every template, rendered by Ansible for several hosts and read by the program it is for."""

import configparser
import hashlib
import py_compile
import re
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import dotenv
import environ
import gunicorn.config
import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible_collections.clink.django_stack.plugins.module_utils import backups, occupied_services
from ansible_collections.clink.django_stack.plugins.module_utils.releases import (
    dotenv_text,
    environment_text,
)
from ansible_collections.clink.django_stack.plugins.plugin_utils import processes, settings
from ansible_collections.clink.django_stack.plugins.plugin_utils.addresses import networks_without
from conftest import EXAMPLE, FACTS, ROLES, ROOT, Renderer, Unsafe
from passlib.hash import sha512_crypt

NASTY = yaml.safe_load((ROOT / "tests" / "environment.yml").read_text())
NASTY = {name: Unsafe(value) if "{" in value else value for name, value in NASTY.items()}

PASSWORD = "it's $HOME %41 \\ \"#/@:?&"
HEADER = "# Ansible managed"
KEY = "django-insecure-!@#$%^&*(-_=+)"

SOURCE = {"directory": "/nowhere"}
MINIMAL = {"app_name": "mini", "app_source": SOURCE, "app_domains": ["example.com"]}
APPLICATION = {"name": "mini", "environment_file": "/etc/mini", "current": "/srv/current"}
SETS = {
    "example": EXAMPLE,
    "minimal": MINIMAL,
    "nasty": MINIMAL
    | {
        "app_name": "nasty_app_1",
        "app_root": "/srv/web/nasty-app_1.d",
        "app_directory": "backend/src",
        "app_settings_module": "config.settings.production",
        "app_wsgi": "config.wsgi:application",
        "app_celery": "config.celery:app",
        "app_domains": [
            "example.com",
            "*.example.com",
            "203.0.113.7",
            "2001:db8::7",
            "[2001:db8::8]",
            "localhost",
        ],
        "app_environment": NASTY,
        "app_database_password": PASSWORD,
        "app_secret_key_fallbacks": [KEY, f"{KEY}2"],
        "app_dotenv": ".env",
        "app_shared_directories": ["media", "logs", "var/exports"],
        "nginx_server_settings": {"etag": "on", "large_client_header_buffers": "4 32k"},
        "nginx_http_settings": {"server_names_hash_max_size": 2048},
        "nginx_headers": {"X-Odd": "it's; {braces} #1", "X-Frame-Options": ""},
        "nginx_redirects": {"/~old.page": "/new/?x=1", "/blog/": "https://blog.example.net/"},
        "nginx_locations": {
            "/app/": {"alias": "/srv/web/nasty-app_1.d/current/dist", "fallback": "index.html"},
            "/files/": {"alias": "/srv/files", "internal": True},
            "/robots.txt": {"alias": "/srv/robots.txt", "settings": {"add_header": ["X-A 1"]}},
            "/gone/": {"return": 410, "settings": {"add_header": "X-B 'two words'"}},
            "/other/": {"proxy_pass": "http://unix:/run/other.sock", "settings": None},
            "/upload/": {"settings": {"client_max_body_size": "2g", "proxy_read_timeout": "9m"}},
        },
        "nginx_health_check_from": ["10.0.0.0/8", "2001:db8::/32"],
        "nginx_rate_limit_exempt": ["10.0.0.0/8", "2001:db8::/32"],
        "nginx_rate_limit": 0.01,
        "nginx_login_rate_limit": 0.01,
        "nginx_real_ip_from": ["10.0.0.1", "173.245.48.0/20", "2400:cb00::/32"],
        "nginx_real_ip_header": "CF-Connecting-IP",
        "nginx_basic_auth_users": {"ada": Unsafe('{{ it\'s }} "$y" \\ #1'), "bob": 123456789012},
        "nginx_basic_auth_paths": ["/admin/", "/~x.y"],
        "nginx_content_security_policy": {
            "default-src": "'self' https://*.example.com:8443/x.js?y=1 data:",
            "script-src": ["'sha256-47DEQpj8+/Im='", "wss:"],
            "upgrade-insecure-requests": [],
        },
        "nginx_content_security_policy_report_only": True,
        "postgresql_settings": {"application_name": "it's", "log_statement": "ddl"},
        "redis_settings": {"timeout": 0},
        "app_sandbox": {
            "MemoryDenyWriteExecute": False,
            "IPAddressAllow": ["", "localhost"],
            "ReadWritePaths": "/srv/exports",
            "SystemCallFilter": "@resources",
        },
        "nginx_sandbox": {"ReadWritePaths": ["/srv/cache"]},
        "sshd_settings": {
            "Port": [22, 2222],
            "AllowTcpForwarding": True,
            "Banner": "/etc/issue.net",
        },
        "fail2ban_settings": {"DEFAULT": {"bantime": "1h"}, "recidive": {"maxretry": 3}},
        "hardening_unattended_upgrades": {
            "Automatic-Reboot": True,
            "Package-Blacklist": ["x", "y"],
        },
        "hardening_sysctl": {"net.ipv4.ip_forward": 1, "kernel.sysrq": ""},
        "gunicorn_settings": {
            "accesslog": "-",
            "keepalive": 5,
            "preload_app": True,
            "raw_env": ["A=it's"],
        },
        "backup_repository": "sftp://ada@backup.example.com:23/clinic",
        "backup_ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n",
        "backup_ssh_host_keys": ["ssh-ed25519 AAAA"],
        "backup_key_storage": "memory",
        "celery_worker_queues": ["celery", "mail.high"],
        "celery_worker_options": ["--pool=threads"],
        "celery_beat_scheduler": "django_celery_beat.schedulers:DatabaseScheduler",
    },
    "managed": MINIMAL
    | {
        "app_celery": "mini",
        "app_database": "postgresql://doadmin:s3cr%40t@db.example.com:25060/defaultdb?sslmode=require",
        "app_broker": "rediss://default:s3cr%40t@redis.example.com:25061/0",
        "app_static_url": "/assets/",
        "nginx_upstream": ["10.0.0.2:8000", "10.0.0.3:8000"],
        "nginx_content_security_policy": {},
    },
    "https": MINIMAL
    | {
        "app_certificate": "letsencrypt",
        "app_domains": ["example.com", "www.example.com", "203.0.113.7", "2001:db8::7"],
        "nginx_redirects": {"/old/": "/new/"},
        "certbot_settings": {"eab-kid": "x", "max-log-backups": 0},
        "__nginx_asked": {"stderr": "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.2"},
    },
    "wildcard": MINIMAL
    | {
        "app_certificate": "letsencrypt",
        "app_domains": ["example.com", "*.müller.example", "203.0.113.7"],
        "certbot_dns_plugin": "digitalocean",
        "certbot_dns_credentials": {"dns_digitalocean_token": "a#b, c=d '%$"},
        "certbot_services": [],
        "certbot_webroot": "",
    },
    "bucket": MINIMAL
    | {
        "backup_repository": "s3:https://s3.example.com:9000/bucket/a",
        "backup_s3_key": "AKIA",
        "backup_s3_secret": "s3cr3t/+=",
    },
    "modern": MINIMAL
    | {
        "app_certificate": "selfsigned",
        "nginx_tls_profile": "modern",
        "nginx_hsts": "",
        "__nginx_asked": {
            "stdout": "types { text/html html; }\n# no IPv6",
            "stderr": "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.2",
        },
    },
    "moved": MINIMAL
    | {
        "app_certificate": "selfsigned",
        "app_domains": ["müller.example", "www.müller.example", "*.x.example"],
        "nginx_redirects": {
            "www.müller.example": "müller.example",
            "shop.x.example": "https://straße.example/shop",
        },
        "nginx_real_ip_from": ["10.0.0.1"],
        "nginx_health_check_from": ["10.0.0.0/8"],
        "nginx_locations": {
            "/": {"alias": "/srv/front", "fallback": "index.html"},
            "/api/": None,
        },
        "app_health_path": "/api/health/?full=1",
        "__nginx_asked": {"stderr": "nginx version: nginx/1.18.0\nbuilt with OpenSSL 3.0.2"},
    },
    "uploads": MINIMAL
    | {
        "app_certificate": "letsencrypt",
        "app_domains": ["example.com", "203.0.113.7"],
        "app_media_domain": "bücher.example",
        "__nginx_asked": {"stderr": "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.2"},
    },
    "plain uploads": MINIMAL
    | {
        "app_media_domain": "uploads.example.com",
        "nginx_uploads": ["/media/", "/sent/", "/private/"],
        "nginx_locations": {
            "/sent/": {
                "alias": "/srv/sent",
                "settings": {"add_header": "Cross-Origin-Resource-Policy same-site"},
            },
            "/private/": {"alias": "/srv/private", "internal": True},
        },
        "nginx_headers": {"Cross-Origin-Resource-Policy": "same-origin"},
        "nginx_server_settings": {"charset": "latin1", "auth_request": "/who/"},
        "nginx_basic_auth_users": {"ada": "a long password"},
        "nginx_real_ip_from": ["10.0.0.1"],
    },
    "none": MINIMAL
    | {"app_database": "none", "app_broker": "none", "app_asgi": "mini.asgi:application"}
    | {"app_django": "false"},
    "small": EXAMPLE
    | {"app_broker": "rabbitmq", "rabbitmq_settings": {"log.console.level": "info"}}
    | {"facts": {**FACTS, "processor_nproc": 1, "memtotal_mb": 456}},
    "large": EXAMPLE | {"facts": {**FACTS, "processor_nproc": 64, "memtotal_mb": 257000}},
}
# A process for each host whose unit is rendered: a worker, a command, or (for the rest) a schedule.
COMMAND = "manage.py report --format='%Y $HOME \"{}\"'"
PROCESSES = {
    "example": processes.units(
        {"reports": {"queues": ["reports"], "concurrency": 2}}, {}, APPLICATION, ["/bin/python"]
    ),
    "nasty": processes.units(
        {"bot": {"command": COMMAND, "memory": 300, "sandbox": {"ReadWritePaths": "/srv/bot"}}},
        {}, APPLICATION,
    ),
}  # fmt: skip
SCHEDULE = processes.units({}, {"purge": {"command": COMMAND, True: "*:0/15"}}, APPLICATION)
# needrestart with its configuration: it prints the mode, whether it follows interpreters, and which
# of the services it would restart.
NEEDRESTART = """
use strict; use warnings;
my ($conf, $restart, @services) = @ARGV;
our %nrconf = (restart => $restart, interpscan => 1, override_rc => {qr(^dbus) => 0});
eval do { local(@ARGV, $/) = $conf; <>};
die $@ if $@;
print "$nrconf{restart} $nrconf{interpscan}\n";
for my $service (@services) {
    my ($first) = grep { $service =~ /$_/ } sort keys %{$nrconf{override_rc}};
    print "$service\n" if !defined $first || $nrconf{override_rc}{$first};
}
"""
# What systemctl prints of the services that are loaded, in the order of systemd's own.
LOADED = """\
Type=notify
Id=gunicorn.service
Transient=no

Type=oneshot
Id=django_stack-backup@now.service
Transient=no

Type=exec
Id=mini-step.service
Transient=yes

Type=forking
Id=postgresql@17-main.service
Transient=no
"""
TEMPLATES = {
    role: sorted(path.name for path in (ROOT / "roles" / role / "templates").glob("*.j2"))
    for role in ROLES
}
SHARED = {path.name for path in (ROOT / "templates").glob("*.j2")}


OTHERS = {
    "environment": "{{ __app_environment }}",
    "login": "{{ __backup_login_files[__backup_database.kind] }}",
    "packages": "{{ __backup_apt_packages }}",
    "key": "{{ __backup_storage_files[backup_key_storage] + __backup_login_files.cluster"
    " + __backup_ssh_files }}",
    "trial": "{{ __app_trial_settings }}",
    "trial without the playbooks": "{{ __app_gunicorn }}",
}


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """Texts by host, role and file, and the process environment as "environment"."""
    renderer = Renderer(tmp_path_factory.mktemp("rendered"))
    templates = {
        f"{role}/{name.removesuffix('.j2')}": ROOT / "roles" / role / "templates" / name
        for role, names in TEMPLATES.items()
        for name in names
    }

    def texts_of(host):
        process = PROCESSES.get(host, SCHEDULE)[0]["definitions"][0]["vars"]
        passed = {"app_trial_settings": "{{ __gunicorn_trial_settings }}"}  # as the playbooks do
        return renderer.render(host, SETS[host] | process | passed, templates, OTHERS)

    return {host: texts_of(host) for host in SETS}


@pytest.fixture(params=SETS)
def texts(rendered, request):
    return rendered[request.param]


def test_no_template_is_left_out():
    everywhere = {
        str(path.relative_to(ROOT / "roles")) for path in ROOT.glob("roles/*/templates/**/*.j2")
    }
    assert {f"{role}/templates/{name}" for role, names in TEMPLATES.items() for name in names} == {
        path
        for path in everywhere
        if "/_" not in path  # parts of others
    }
    files = [*ROOT.glob("roles/*/templates/*.j2"), *ROOT.glob("templates/*.j2")]
    sources = "".join(path.read_text() for path in files)
    assert SHARED == {
        name for name in SHARED if re.search(f'(extends|include) "_shared/{name}"', sources)
    }


def test_every_file_has_a_reader(rendered):
    read = {
        "backup/backup.service", "backup/drill.timer", "backup/files.timer", "backup/now.timer",
        "backup/locked.conf", "backup/pgbackrest.conf", "backup/restic.env", "backup/sysusers.conf",
        "backup/tmpfiles.conf",
        *OTHERS, "app/manage", "app/run", "app/slice", "app/sysusers.conf", "app/tmpfiles.conf",
        "celery_beat/celery-beat.service", "celery_worker/celery.service",
        "certbot/certbot.ini", "certbot/certbot.service", "certbot/certbot.timer",
        "certbot/deploy", "certbot/dns.credentials", "certbot/issue",
        "exporters/drop-in.conf", "exporters/environment",
        "exporters/status.conf", "fail2ban/jail.local", "fail2ban/nginx-login.conf",
        "gunicorn/gunicorn.conf.py", "gunicorn/gunicorn.service", "gunicorn/gunicorn.socket",
        "gunicorn/handover.service",
        "hardening/audit.logrotate", "hardening/audit.service", "hardening/audit.timer",
        "hardening/journald.conf", "hardening/logrotate", "hardening/modprobe.conf",
        "hardening/needrestart.conf", "hardening/sysctl.conf", "hardening/unattended-upgrades",
        "monitor/failure.service", "monitor/monitor.service", "monitor/monitor.timer",
        "monitor/on-failure.conf",
        "nginx/connections.nft", "nginx/drop-in.conf", "nginx/htpasswd", "nginx/nginx.conf",
        "nginx/site.conf", "nginx/uncounted.nft", "postgresql/drop-in.conf", "postgresql/logrotate",
        "postgresql/postgresql.conf", "processes/process.service", "processes/process.timer",
        "redis/drop-in.conf",
        "rabbitmq/drop-in.conf", "rabbitmq/epmd.conf", "rabbitmq/rabbitmq-env.conf",
        "rabbitmq/rabbitmq.conf", "redis/redis.conf", "sshd/sshd.conf", "swap/swapfile.swap",
    }  # fmt: skip
    assert set(rendered["example"]) == read


def test_nothing_is_left_to_render(texts):
    for name, text in texts.items():
        if name not in OTHERS:
            assert "{{" not in text and "{%" not in text, name
            assert "Ansible managed" in text, name
            assert text.endswith("\n"), name


# --- nginx ------------------------------------------------------------------------------------


def certify(directory):
    """Make a certificate and its key in a directory, unless they are there."""
    if not directory.exists():
        directory.mkdir(parents=True)
        # An RSA key takes ten times as long.
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        command += " -subj /CN=x -keyout privkey.pem -out fullchain.pem"
        subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)


@pytest.fixture
def nginx(texts, tmp_path, parser):
    """Give a function that tests the rendered configuration, changed by replacing a text."""
    mime_types = tmp_path / "etc" / "nginx" / "mime.types"
    enabled = tmp_path / "etc" / "nginx" / "sites-enabled"
    for directory in (enabled, tmp_path / "var" / "log" / "nginx", tmp_path / "run"):
        directory.mkdir(parents=True)
    mime_types.write_text("types { text/html html; text/css css; }\n")

    def test(old="", new=""):
        for name, path in {"nginx.conf": "nginx.conf", "site.conf": "sites-enabled/site"}.items():
            text = re.sub(
                r"(/etc/nginx|/etc/ssl|/var/log|/run/nginx\.pid)",
                rf"{tmp_path}\1",
                texts[f"nginx/{name}"],
            )
            for directory in re.findall(r"ssl_certificate (\S+)/fullchain\.pem;", text):
                certify(Path(directory))
            # nginx makes these even for a test; /var/lib/nginx is there only where it is installed.
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            places = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
            text = text.replace("http {", f"http {{ {places}")
            # An ordinary user may not bind to these ports; what nginx then reads is the same.
            text = re.sub(r"(listen \S*?)(80|443)\b", r"\g<1>18\2", text)
            (tmp_path / "etc" / "nginx" / path).write_text(text.replace(old, new) if old else text)
        (tmp_path / "etc" / "nginx" / "conf.d").mkdir(exist_ok=True)
        status = tmp_path / "etc" / "nginx" / "conf.d" / "status.conf"
        status.write_text(texts["exporters/status.conf"])
        command = [*parser("nginx", "nginx"), "-t", "-e", "stderr", "-p", f"{tmp_path}/"]
        command += ["-c", "etc/nginx/nginx.conf"]
        return subprocess.run(command, capture_output=True, text=True)

    return test


def test_nginx_accepts_it(nginx):
    done = nginx()
    assert done.returncode == 0, done.stderr
    told = [
        line
        for line in done.stderr.splitlines()
        # Some texts are for nginx 1.18, and this one is newer.
        if "[warn]" in line and not re.search('"(user|http2_max_[a-z]+_size)" directive', line)
    ]
    assert not told


def test_nginx_would_have_said_so(nginx):
    assert nginx("proxy_pass", "proxy_pas").returncode != 0
    assert nginx("limit_req zone=", "limit_req zone=other").returncode != 0


def test_each_certificate_has_a_server(rendered):
    text = rendered["https"]["nginx/site.conf"]
    pairs = re.findall(r"    server_name (.*);\n    ssl_certificate (\S+)/fullchain.pem;", text)
    place = "/etc/ssl/mini"
    assert dict(pairs) == {
        "example.com": f"{place}/example.com",
        "www.example.com": f"{place}/www.example.com",
        "203.0.113.7 [2001:db8::7]": f"{place}/addresses",
        "_": f"{place}/addresses",
    }
    assert "return 301 https://$host$request_uri;" in text
    # Who asks for an address says no name, and so comes to the default server.
    default = servers_of(text)["443", "_"]
    assert f"ssl_certificate {place}/addresses/fullchain.pem;" in default
    assert "ssl_reject_handshake on;" in servers_of(text)["443", "~."]
    assert "443" not in rendered["https"]["nginx/nginx.conf"]
    assert "listen 443 ssl http2 default_server;" in rendered["modern"]["nginx/nginx.conf"]


def test_modern_leaves_out_what_is_older(rendered):
    assert "ssl_protocols TLSv1.3;" in rendered["modern"]["nginx/nginx.conf"]
    assert "ssl_ciphers" not in rendered["modern"]["nginx/nginx.conf"]
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in rendered["https"]["nginx/nginx.conf"]
    assert "Strict-Transport-Security" not in rendered["modern"]["nginx/site.conf"]


def test_without_certificates_there_is_no_https(rendered):
    for name in ("nginx.conf", "site.conf"):
        assert "443" not in rendered["example"][f"nginx/{name}"]
    assert "ssl" not in rendered["example"]["nginx/site.conf"]


def test_without_ipv6_nginx_listens_on_ipv4_alone(rendered):
    def listens(host):
        texts = [rendered[host][f"nginx/{name}"] for name in ("nginx.conf", "site.conf")]
        return re.findall(r"listen (\S*?(?:80|443)\b)", "".join(texts))

    assert set(listens("modern")) == {"80", "443"}
    for host in ("example", "https", "moved"):
        of_ipv4 = [each for each in listens(host) if "[" not in each]
        assert sorted(listens(host)) == sorted(of_ipv4 + [f"[::]:{each}" for each in of_ipv4])


def test_server_names_and_addresses(rendered):
    names = re.search(r"^    server_name (.*);", rendered["nasty"]["nginx/site.conf"], re.M)[
        1
    ].split()
    assert names == [
        "example.com",
        "*.example.com",
        "203.0.113.7",
        "[2001:db8::7]",
        "[2001:db8::8]",
        "localhost",
    ]


def test_a_name_that_is_redirected_has_a_server_of_its_own(rendered):
    text = rendered["moved"]["nginx/site.conf"]
    servers = {
        re.search(r"server_name (.*);", part)[1]: part
        for part in text.split("\nserver {")
        if "listen 443 ssl" in part
    }
    first, www, shop = (
        "xn--mller-kva.example *.x.example", "www.xn--mller-kva.example", "shop.x.example",
    )  # fmt: skip
    assert set(servers) - {"_", "~."} == {first, www, shop}
    assert "return 301 https://xn--mller-kva.example$request_uri;" in servers[www]
    assert "return 301 https://xn--strae-oqa.example/shop$is_args$args;" in servers[shop]
    assert len(set(re.findall(r"ssl_certificate .*", text))) == 1


def servers_of(text):
    """Return the servers of a site by their port, and by whether they are for uploads."""
    found = {}
    for part in text.split("\nserver {")[1:]:
        name = re.search(r"server_name (.*);", part)[1]
        port = re.search(r"listen (\d+)", part)[1]
        found[port, name] = part
    return found


def locations_of(server):
    """Return the bodies of a server's locations, by what nginx compares."""
    return dict(re.findall(r"^    location (.+?) \{\n(.*?)^    \}", server, re.M | re.S))


MAY_SHOW = "add_header Cross-Origin-Resource-Policy cross-origin always;"


def test_uploads_have_a_server_that_asks_nobody(rendered):
    found = servers_of(rendered["uploads"]["nginx/site.conf"])
    name, domain = "xn--bcher-kva.example", "example.com"
    challenges, media = "^~ /.well-known/acme-challenge/", "^~ /media/"
    assert set(found) == {
        ("80", f"{domain} 203.0.113.7 {name}"),
        ("443", domain), ("443", "203.0.113.7"), ("443", name), ("443", "_"), ("443", "~."),
    }  # fmt: skip
    server = found["443", name]
    assert f"ssl_certificate /etc/ssl/mini/{name}/fullchain.pem;" in server
    assert f"include /etc/ssl/mini/{name}/hsts.conf*;" in server
    assert not re.search("proxy_|auth_basic [^o]|limit_req|Set-Cookie|failed-logins", server)
    places = locations_of(server)
    assert set(places) == {challenges, media, "/"}
    assert places["/"].strip() == "return 404;"
    site = locations_of(found["443", domain])
    assert site[media].strip() == f"return 301 https://{name}$request_uri;"
    assert set(site) == {challenges, media, "^~ /static/", "/"}
    # What an upload says otherwise, it says at the site's own name, too.
    own = locations_of(servers_of(rendered["https"]["nginx/site.conf"])["443", domain])[media]
    assert MAY_SHOW not in own
    told = places[media].splitlines()
    told.remove(f"        {MAY_SHOW}")
    assert told == own.splitlines()


def test_uploads_without_a_certificate_and_with_settings_of_the_site(rendered):
    found = servers_of(rendered["plain uploads"]["nginx/site.conf"])
    assert set(found) == {("80", "example.com"), ("80", "uploads.example.com")}
    server, site = found["80", "uploads.example.com"], locations_of(found["80", "example.com"])
    for path in ("/media/", "/sent/"):
        to = "$mini_scheme://uploads.example.com$request_uri"
        assert site[f"^~ {path}"].strip() == f"return 301 {to};"
    assert "internal;" in site["^~ /private/"]
    places = locations_of(server)
    assert set(places) == {"^~ /.well-known/acme-challenge/", "^~ /media/", "^~ /sent/", "/"}
    assert MAY_SHOW in places["^~ /media/"]
    assert "charset utf-8;" in places["^~ /media/"]
    assert places["^~ /sent/"].count("Cross-Origin-Resource-Policy") == 1
    assert "add_header Cross-Origin-Resource-Policy same-site;" in places["^~ /sent/"]
    assert "set_real_ip_from 10.0.0.1;" in server
    assert "if (-e /var/lib/django_stack/mini/maintenance)" in server
    assert not re.search("auth_request|auth_basic [^o]|latin1|proxy_", server)


def test_the_application_knows_where_its_uploads_are(rendered):
    told = rendered["uploads"]["environment"]
    assert told["MEDIA_URL"] == "https://xn--bcher-kva.example/media/"
    assert told["ALLOWED_HOSTS"] == "example.com,203.0.113.7"
    assert told["CSRF_TRUSTED_ORIGINS"] == "https://example.com,https://203.0.113.7"
    # A proxy in front ends TLS.
    told = rendered["plain uploads"]["environment"]
    assert told["MEDIA_URL"] == "https://uploads.example.com/media/"
    assert "MEDIA_URL" not in rendered["minimal"]["environment"]


def test_a_policy_is_one_header_as_the_table_says(rendered):
    def policies(host):
        return re.findall(
            r' \$\w+content_security_policy(?:_report_only)? \{\n    "" "(.*)";',
            rendered[host]["nginx/site.conf"],
        )

    assert policies("minimal") == ["base-uri 'self'; frame-ancestors 'self'; object-src 'none'"]
    assert policies("nasty") == [
        "default-src 'self' https://*.example.com:8443/x.js?y=1 data:; "
        "script-src 'sha256-47DEQpj8+/Im=' wss:; upgrade-insecure-requests"
    ]
    assert policies("managed") == []
    for host in SETS:
        only = "add_header Content-Security-Policy-Report-Only" in rendered[host]["nginx/site.conf"]
        assert only == (host == "nasty")


def test_passwords_are_hashed_and_the_same_at_each_run(rendered):
    lines = [
        line for line in rendered["nasty"]["nginx/htpasswd"].splitlines() if line[:1] not in "#"
    ]
    hashes = dict(line.split(":") for line in lines)
    gate = SETS["nasty"]["nginx_basic_auth_users"]
    assert set(hashes) == set(gate)
    for name, password in gate.items():
        assert sha512_crypt.verify(str(password), hashes[name])
        read = sha512_crypt.from_string(hashes[name])
        assert read.rounds == 5000
        # Made of names and not by chance, or each run would change the file.
        assert read.salt == hashlib.sha256(f"nasty:nasty_app_1:{name}".encode()).hexdigest()[:16]


# --- systemd ----------------------------------------------------------------------------------


@pytest.fixture
def verify(tmp_path, parser):
    """Give a function that has systemd read units, in a root where all they name is there."""

    def run(units):
        place = tmp_path / "etc" / "systemd" / "system"
        place.mkdir(parents=True, exist_ok=True)
        for target in (
            "sysinit",
            "basic",
            "shutdown",
            "network-online",
            "multi-user",
            "sockets",
            "sysinit",
        ):
            (place / f"{target}.target").write_text(
                "[Unit]\nDescription=Stand-in\nDefaultDependencies=no\n"
            )
        for name, text in units.items():
            (place / name).write_text(text)
            for program in re.findall(r"^Exec\w+=[-@:+!]*(/\S+)", text, re.M):
                path = tmp_path / program.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                path.chmod(0o755)
        command = [
            *parser("systemd-analyze", "systemd"),
            f"--root={tmp_path}",
            "verify",
            "--man=no",
        ]
        done = subprocess.run([*command, *units], capture_output=True, text=True)
        return done.returncode, done.stderr

    return run


UNITS = {
    "gunicorn.service": "gunicorn/gunicorn.service",
    "gunicorn.socket": "gunicorn/gunicorn.socket",
    "celery.service": "celery_worker/celery.service",
    "celery-beat.service": "celery_beat/celery-beat.service",
}
FOR_A_MOMENT = {  # while a release is deployed
    "gunicorn-handover.service": "gunicorn/handover.service",
}


def test_systemd_accepts_the_units(texts, verify):
    units = {name: texts[key] for name, key in (UNITS | FOR_A_MOMENT).items()}
    assert verify(units) == (0, "")


@pytest.mark.parametrize("role", ["certbot", "monitor"])
def test_systemd_accepts_the_timer(texts, verify, role):
    units = {f"{role}.{kind}": texts[f"{role}/{role}.{kind}"] for kind in ("service", "timer")}
    assert verify(units) == (0, "")


def test_systemd_accepts_the_processes_and_reads_their_commands(texts, rendered, verify):
    unit = texts["processes/process.service"]
    if texts is rendered["example"] or texts is rendered["nasty"]:
        assert verify({"bot.service": unit}) == (0, "")
        assert "Restart=always\n" in unit and "WantedBy=" in unit
    else:
        files = {f"bot.{kind}": texts[f"processes/process.{kind}"] for kind in ("service", "timer")}
        assert verify(files) == (0, "")
        assert "Type=oneshot\n" in unit and "WantedBy=" not in unit
        assert "OnCalendar=*:0/15\n" in files["bot.timer"]


def test_a_process_has_a_sandbox_and_limits_of_its_own(rendered):
    unit = rendered["nasty"]["processes/process.service"].splitlines()
    assert [line for line in unit if line.startswith("ReadWritePaths=")] == [
        "ReadWritePaths=/srv/exports", "ReadWritePaths=/srv/web/nasty-app_1.d/shared",
        "ReadWritePaths=/srv/bot",
    ]  # fmt: skip
    assert "MemoryMax=300M" in unit
    assert "MemoryMax" not in rendered["example"]["processes/process.service"]


def test_a_command_runs_in_its_own_release_with_its_own_words(rendered, tmp_path):
    """Runs what systemd would run, with a stand-in for the release."""
    release = tmp_path / "releases" / "1"
    (release / "backend/src").mkdir(parents=True)
    (release / ".venv/bin").mkdir(parents=True)
    python = release / ".venv/bin/python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$PWD" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "current").symlink_to(release)
    unit = rendered["nasty"]["processes/process.service"].replace("\\\n", "")
    line = re.search("^ExecStart=(.*)$", unit, re.M)[1]
    line = line.replace("/srv/web/nasty-app_1.d/current", f"{tmp_path}/current")
    # systemd's own quoting is that of a shell here, but for %% and $$.
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == [
        str(python), f"{release}/backend/src", "manage.py", "report", '--format=%Y $HOME "{}"',
    ]  # fmt: skip


def test_systemd_accepts_the_unit_that_a_failure_starts(texts, verify):
    assert verify({"failure.service": texts["monitor/failure.service"]}) == (0, "")


def test_the_repository_of_the_backups(rendered):
    def options(host):
        parser = configparser.ConfigParser()
        parser.read_string(rendered[host]["backup/pgbackrest.conf"])
        return dict(parser["global"])

    told = options("minimal")
    assert told["repo1-type"] == "posix"
    assert told["repo1-path"] == "/var/backups/django_stack/mini/database"
    assert told["repo1-cipher-type"] == "aes-256-cbc" and len(told["repo1-cipher-pass"]) == 64
    assert int(told["archive-push-queue-max"]) == 1024**3
    told = options("bucket")
    assert told["repo1-s3-key"] == "AKIA" and told["repo1-path"] == "/a/mini/database"
    assert (
        "RESTIC_REPOSITORY=s3:https://s3.example.com:9000/bucket/a/mini/files"
        in (rendered["bucket"]["backup/restic.env"])
    )
    told = options("nasty")
    assert told["repo1-sftp-host"] == "backup.example.com"
    assert told["repo1-sftp-private-key-file"] == "/etc/django_stack/backup/ssh_key"
    assert "AWS_ACCESS" not in rendered["nasty"]["backup/restic.env"]
    assert "/srv/x" not in rendered["nasty"]["backup/tmpfiles.conf"]


def test_the_login_of_a_managed_database(rendered):
    (file,) = rendered["managed"]["login"]
    assert (file["dest"], file["mode"]) == ("/etc/django_stack/backup/database.env", "0600")
    assert file["secret"] is True
    login = backups.libpq_environment(SETS["managed"]["app_database"])
    assert f'PGPASSWORD="{login["PGPASSWORD"]}"' in file["content"].splitlines()
    assert "postgresql-client-17" in rendered["managed"]["packages"]
    assert "postgres" not in rendered["managed"]["backup/tmpfiles.conf"]
    assert "pgbackrest" in rendered["minimal"]["packages"]
    assert rendered["none"]["packages"] == ["restic", "openssh-client"]


def test_a_key_in_the_memory_is_in_no_file_of_the_disk(rendered):
    files = {file["dest"]: file for file in rendered["nasty"]["key"]}
    etc, run = "/etc/django_stack/backup", "/run/django_stack/backup"
    for name in ("restic.env", "pgbackrest.conf", "ssh_key"):
        link = files[f"{etc}/{name}"]
        assert (link["state"], link["target"]) == ("link", f"{run}/{name}")
    secrets = {path for path, file in files.items() if file.get("secret")}
    assert secrets == {f"{run}/pgbackrest.conf", f"{run}/ssh_key"}
    text = rendered["nasty"]["backup/tmpfiles.conf"]
    assert f"C {run}/pgbackrest.conf 0640 root postgres - {etc}/locked.conf\n" in text
    assert "cipher" not in rendered["nasty"]["backup/locked.conf"]
    assert all(not file["dest"].startswith("/run") for file in rendered["minimal"]["key"])


@pytest.mark.parametrize("name", ["pgbackrest", "locked"])
def test_pgbackrest_accepts_its_options(rendered, parser, tmp_path, name):
    text = rendered["minimal"][f"backup/{name}.conf"]
    for place in ("/var/backups/django_stack", "/run/pgbackrest"):
        text = text.replace(place, f"{tmp_path}{place}")
    config = tmp_path / "pgbackrest.conf"
    config.write_text(text)
    pgbackrest = [*parser("pgbackrest", "pgbackrest"), f"--config={config}", "--stanza=mini"]
    done = subprocess.run([*pgbackrest, "info"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "missing stanza path" in done.stdout and "WARN" not in done.stdout
    config.write_text(text.replace("log-level-file", "log-level-fill"))
    done = subprocess.run([*pgbackrest, "info"], capture_output=True, text=True)
    assert "invalid option" in done.stdout + done.stderr


def test_systemd_accepts_the_backups(texts, verify):
    names = {"django_stack-backup@.service": "backup.service"}
    names |= {
        f"django_stack-backup@{each}.timer": f"{each}.timer" for each in ("now", "files", "drill")
    }
    units = {name: texts[f"backup/{key}"] for name, key in names.items()}
    assert verify(units) == (0, "")


@pytest.mark.parametrize("role", ["exporters", "nginx", "postgresql", "rabbitmq", "redis"])
def test_systemd_accepts_the_drop_ins(texts, verify, role):
    drop_in = texts[f"{role}/drop-in.conf"].replace(
        "/usr/bin/prometheus-redis-exporter", "/bin/true"
    )
    service = "[Service]\nExecStart=/bin/true\n" + drop_in
    assert verify({"server.service": service}) == (0, "")


def test_an_exporter_listens_on_the_host_only_and_has_its_password_in_a_file(texts):
    drop_in, environment = texts["exporters/drop-in.conf"], texts["exporters/environment"]
    commands = re.findall("(?m)^ExecStart=(.*)$", drop_in)
    assert commands == [
        "", "/usr/bin/prometheus-redis-exporter --web.listen-address=127.0.0.1:9121"
    ]  # fmt: skip
    files = re.findall("(?m)^EnvironmentFile=(.*)$", drop_in)
    assert files == ["", "/etc/django_stack/exporters/prometheus-redis-exporter"]
    assert "REDIS_USER=exporter\n" in environment and "REDIS_PASSWORD=" in environment
    assert "PASSWORD" not in drop_in
    assert "listen 127.0.0.1:9114;" in texts["exporters/status.conf"]


def test_a_sandbox_has_exceptions(rendered):
    unit = rendered["nasty"]["celery_worker/celery.service"].splitlines()
    own = yaml.safe_load((ROOT / "roles/app_description/vars/main/environment.yml").read_text())
    networks = own["__app_networks"], own["__app_forbidden_networks"]
    want = {
        "MemoryDenyWriteExecute": ["false"],
        "IPAddressAllow": [" ".join(networks_without(*networks)), "", "localhost"],
        "ReadWritePaths": ["/srv/exports", "/srv/web/nasty-app_1.d/shared"],
        "SystemCallFilter": ["@system-service", "~@privileged @resources", "@resources"],
    }
    for name, values in want.items():
        lines = [line for line in unit if line.startswith(f"{name}=")]
        assert lines == [f"{name}={value}" for value in values]
    assert "ReadWritePaths=/srv/cache\n" in rendered["nasty"]["nginx/drop-in.conf"]


def test_systemd_would_have_said_so(rendered, verify):
    unit = rendered["example"]["celery_worker/celery.service"]
    for wrong in (
        unit.replace("RestartSec", "RestartSecs"),
        unit.replace("ExecStart=/", "ExecStart="),
    ):
        assert verify({"celery.service": wrong})[1]


def test_one_unit_is_one_file_and_starts_at_boot(texts):
    for key in UNITS.values():
        text = texts[key]
        assert "WantedBy=" in text, key
        if key.endswith(".service"):
            assert re.search(r"^User=(?!root$)\w+$", text, re.M), key
            assert re.search(r"^Restart=always$", text, re.M), key


def test_what_is_there_for_a_moment_ends_by_itself(texts):
    for key in FOR_A_MOMENT.values():
        assert "[Install]" not in texts[key], key
        assert "Restart=no\n" in texts[key], key
        assert "RuntimeMaxSec=" in texts[key], key


def test_sysusers_declare_users_without_a_shell(texts):
    line = re.compile(r'u [\w-]+ - "[^"]+" /\S+ /usr/sbin/nologin')
    told = [each for each in texts["app/sysusers.conf"].splitlines() if not each.startswith("#")]
    assert len(told) == 2
    assert all(line.fullmatch(each) for each in told)


def test_a_project_without_django_has_nothing_of_django(rendered):
    django, plain = rendered["minimal"], rendered["none"]
    left_out = set(django["environment"]) - set(plain["environment"])
    services = {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"}
    assert left_out - services == {"DJANGO_SECRET_KEY", "DJANGO_ALLOWED_HOSTS", "STATIC_ROOT"}
    for name, text in (("app/tmpfiles.conf", "/staticfiles"), ("nginx/site.conf", "/static/")):
        assert text in django[name] and text not in plain[name]
    assert "/media/" in plain["nginx/site.conf"]


def test_tmpfiles_declare_what_systemd_knows(texts):
    line = re.compile(
        r"(d|L|Z) /\S+ (-|~?[0-7]{4}) (-|[\w-]+) (-|[\w-]+) -( /\S+)?"
        r"|a\+ /\S+ - - - - user:[\w-]+:--x,user:[\w-]+:--x|r /etc/\S+"
    )
    for text in texts["app/tmpfiles.conf"].splitlines():
        assert text.startswith("#") or line.fullmatch(text), text


# --- Gunicorn ---------------------------------------------------------------------------------


def test_gunicorn_takes_every_setting(texts, tmp_path):
    path = tmp_path / "gunicorn.conf.py"
    text = texts["gunicorn/gunicorn.conf.py"]
    path.write_text(text)
    py_compile.compile(str(path), cfile=str(tmp_path / "compiled"), doraise=True)
    config = gunicorn.config.Config()
    settings = {
        name: value
        for name, value in runpy.run_path(str(path)).items()
        if name.islower()
        and (re.search(rf"^{name} = ", text, re.M) or name in config.settings and callable(value))
    }
    assert {"on_starting", "post_worker_init"} <= set(settings)
    for name, value in settings.items():
        config.set(name, value)
    assert set(settings) <= set(config.settings)
    assert 1 <= config.workers <= 65


def test_the_trial_has_the_settings_of_the_service(texts, tmp_path):
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(texts["gunicorn/gunicorn.conf.py"])
    live = runpy.run_path(str(path))
    trial = texts["trial"]
    assert trial.pop("workers") == 1
    assert trial.pop("threads") == 2
    assert trial == {name: live[name] for name in trial}
    unit = texts["gunicorn/gunicorn.service"]
    application = re.search(r"^ExecStart=.* (\S+)$", unit, re.M)[1]
    served = "UvicornWorker" if application.endswith("asgi:application") else "gthread"
    assert trial["worker_class"].endswith(served)
    assert texts["trial without the playbooks"]["worker_class"].endswith(served)


def test_the_hosts_size_decides(rendered):
    def workers(host):
        return int(
            re.search(r"^workers = (\d+)$", rendered[host]["gunicorn/gunicorn.conf.py"], re.M)[1]
        )

    assert [workers(host) for host in ("small", "example", "large")] == [1, 3, 65]
    concurrency = {
        host: re.search(r"--concurrency=(\d+)", rendered[host]["celery_worker/celery.service"])[1]
        for host in SETS
    }
    assert [concurrency[host] for host in ("small", "example", "large")] == ["1", "2", "64"]


# --- The environment ----------------------------------------------------------------------------


def expected(host, texts):
    """The process environment, the user's values taken from the table and not from Ansible."""
    values = {name: str(value) for name, value in texts["environment"].items()}
    return values | {
        name: str(value) for name, value in SETS[host].get("app_environment", {}).items()
    }


@pytest.fixture(params=SETS)
def host(request):
    return request.param


def test_the_shell_reads_the_environment(rendered, host, tmp_path):
    path = tmp_path / "environment"
    path.write_text(environment_text(rendered[host]["environment"], HEADER))
    told = subprocess.run(
        ["env", "-i", "sh", "-c", 'set -a; . "$0"; exec /usr/bin/env -0', path],
        capture_output=True,
        text=True,
    )
    assert not told.stderr
    read = dict(line.split("=", 1) for line in told.stdout.split("\0") if line)
    want = expected(host, rendered[host])
    assert {name: read.get(name) for name in want} == want
    assert set(read) - set(want) <= {"PWD", "OLDPWD", "SHLVL", "_"}


def test_python_dotenv_reads_the_dotenv_file(rendered, host, tmp_path):
    path = tmp_path / ".env"
    path.write_text(dotenv_text(rendered[host]["environment"], HEADER))
    assert dotenv.dotenv_values(path, interpolate=False) == expected(host, rendered[host])


def test_python_dotenv_reads_it_as_projects_do(rendered, host, tmp_path, monkeypatch):
    """load_dotenv() interpolates ${NAME} in any quotes, so a value with it cannot survive there."""
    path = tmp_path / ".env"
    path.write_text(dotenv_text(rendered[host]["environment"], HEADER))
    want = {
        name: value for name, value in expected(host, rendered[host]).items() if "${" not in value
    }
    read = dotenv.dotenv_values(path)
    assert {name: read.get(name) for name in want} == want


def test_django_environ_reads_the_dotenv_file(rendered, host, tmp_path, monkeypatch):
    path = tmp_path / ".env"
    path.write_text(dotenv_text(rendered[host]["environment"], HEADER))
    monkeypatch.setattr(environ.Env, "ENVIRON", {})
    environ.Env.read_env(str(path), overwrite=True)
    assert environ.Env.ENVIRON == expected(host, rendered[host])


@pytest.mark.parametrize("script", ["app/manage", "app/run", "certbot/issue", "certbot/deploy"])
def test_scripts_are_shell(texts, tmp_path, script):
    path = tmp_path / "script"
    path.write_text(texts[script])
    done = subprocess.run(["sh", "-n", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_value_of_the_sandbox_stays_one_argument_of_a_command(tmp_path):
    hostile = ["it's", "$(reboot)", "`id`", 'a "b" c', "\\", "; reboot", "--uid=0", "x\ny", "*"]
    template = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True)
    template.filters.update(FilterModule().filters())
    template.filters["clink.django_stack.setting_lines"] = settings.lines
    text = template.from_string((ROOT / "roles/app/templates/run.j2").read_text()).render(
        ansible_managed="Ansible managed", app_name="mini", app_user="mini", app_root="/srv/mini",
        app_shared="/srv/mini/shared", app_current="/srv/mini/current", app_directory="",
        app_environment_file="/etc/mini/environment", app_venv="/srv/mini/current/.venv",
        app_celery="", __app_sandbox={"LogExtraFields": hostile, "PrivateTmp": True},
    )  # fmt: skip
    path = tmp_path / "run"
    path.write_text(text)
    done = subprocess.run(["sh", "-n", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    asked = text.replace("$(/usr/bin/id -u)", "0").replace("/usr/bin/systemd-run", "printf '%s\\0'")
    path.write_text(asked)
    done = subprocess.run(["sh", path, "echo", "a b"], capture_output=True, text=True, check=True)
    told = done.stdout.split("\0")
    given = [each for each in told if each.startswith("--property=LogExtraFields")]
    assert given == [f"--property=LogExtraFields={value}" for value in hostile]
    assert {"--property=PrivateTmp=true", "--property=User=mini", "--pipe"} <= set(told)
    assert "--property=ReadWritePaths=/srv/mini/shared" in told
    assert told[told.index("--") :] == ["--", "/usr/bin/env", "echo", "a b", ""]
    command = ["sh", path, "--owner", "echo"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    assert "--property=EnvironmentFile=-/etc/mini/environment_owner" in told
    assert told[told.index("--") :] == ["--", "/usr/bin/env", "echo", ""]


def test_certificates_of_others_are_renewed(rendered, tmp_path):
    """The timer of the role has the name of that of Debian's package, and takes its place."""
    for name, hook in (("ours", "/usr/local/sbin/certbot-deploy"), ("wiki", "/usr/local/bin/hook")):
        (tmp_path / f"{name}.conf").write_text(f"[renewalparams]\nrenew_hook = {hook}\n")
    (tmp_path / "certbot").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\n')
    (tmp_path / "certbot").chmod(0o755)
    text = rendered["https"]["certbot/issue"]
    loop = "failed=\n" + text[text.index("for conf in") :]
    loop = loop.replace("/etc/letsencrypt/renewal", str(tmp_path)).replace(
        "/usr/bin", str(tmp_path)
    )
    subprocess.run(["sh", "-e"], input=loop, text=True, check=True)
    assert (tmp_path / "called").read_text() == "renew --quiet --cert-name wiki\n"


def test_each_certificate_is_issued_by_itself(rendered):
    lines = re.findall(r"^issue (\S+) \"\$@\" (.*) \|\| ", rendered["https"]["certbot/issue"], re.M)
    assert dict(lines) == {
        "example.com": "--domain example.com",
        "www.example.com": "--domain www.example.com",
        "addresses": "--ip-address 203.0.113.7 --ip-address 2001:db8::7"
        " --preferred-profile shortlived",
    }
    settings = dict(
        line.split(" = ", 1)
        for line in rendered["https"]["certbot/certbot.ini"].splitlines()
        if " = " in line
    )
    assert settings["eab-kid"] == "x"
    assert settings["max-log-backups"] == "0"
    assert settings["authenticator"] == "webroot"
    assert settings["register-unsafely-without-email"] == "true"


def test_a_wildcard_is_proven_by_dns_and_an_address_by_port_80(rendered):
    texts = rendered["wildcard"]
    lines = re.findall(r"^issue (\S+) \"\$@\" (.*) \|\| ", texts["certbot/issue"], re.M)
    assert dict(lines) == {
        "example.com": "--domain example.com",
        "wildcard_xn--mller-kva.example": "--domain '*.xn--mller-kva.example'",
        "addresses": "--ip-address 203.0.113.7 --authenticator standalone"
        " --preferred-profile shortlived",
    }
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_string(f"[x]\n{texts['certbot/certbot.ini']}")
    assert settings["x"]["authenticator"] == "dns-digitalocean"
    assert "webroot" not in texts["certbot/certbot.ini"]
    assert "reload" not in texts["certbot/deploy"]
    assert settings["x"]["dns-digitalocean-credentials"] == "/etc/certbot-dns.credentials"
    assert "/opt/certbot/5.8.0-digitalocean/bin/certbot certonly" in texts["certbot/issue"]
    (line,) = re.findall(r"^dns_.*", texts["certbot/dns.credentials"], re.M)
    assert line == """dns_digitalocean_token = "a#b, c=d '%$\""""


def test_the_application_knows_of_https(rendered):
    values = rendered["https"]["environment"]
    assert values["HTTPS"] == "true"
    assert values["CSRF_TRUSTED_ORIGINS"] == (
        "https://example.com,https://www.example.com,https://203.0.113.7,https://[2001:db8::7]"
    )
    assert "HTTPS" not in rendered["example"]["environment"]


def test_managed_services_are_what_the_application_gets(rendered):
    values = rendered["managed"]["environment"]
    assert values["DATABASE_URL"] == SETS["managed"]["app_database"]
    assert values["REDIS_URL"] == values["CELERY_BROKER_URL"]
    assert values["REDIS_URL"] == f"{SETS['managed']['app_broker']}?ssl_cert_reqs=required"
    assert "PGSSLMODE" not in values  # the URL has a sslmode
    assert not {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"} & set(
        rendered["none"]["environment"]
    )


def test_a_password_of_any_characters_reaches_the_project(rendered):
    values = rendered["nasty"]["environment"]
    assert environ.Env.db_url_config(values["DATABASE_URL"])["PASSWORD"] == PASSWORD
    assert environ.Env.db_url_config(values["DATABASE_URL"])["HOST"] == "127.0.0.1"


def test_the_other_keys_are_separated_by_commas(rendered):
    assert rendered["nasty"]["environment"]["SECRET_KEY_FALLBACKS"].split(",") == [KEY, f"{KEY}2"]
    assert "SECRET_KEY_FALLBACKS" not in rendered["example"]["environment"]


# --- PostgreSQL and Redis -----------------------------------------------------------------------


def test_postgresql_settings_are_quoted(texts):
    for text in texts["postgresql/postgresql.conf"].splitlines():
        assert text.startswith("#") or re.fullmatch(r"[a-z_.]+ = '([^']|'')*'", text), text


def test_the_log_of_postgresql_has_no_statements_unless_you_say_so(rendered):
    lines = rendered["example"]["postgresql/postgresql.conf"].splitlines()
    assert {
        "log_statement = 'none'", "log_min_duration_statement = '-1'",
        "log_min_error_statement = 'panic'", "log_error_verbosity = 'terse'",
        "log_parameter_max_length = '0'", "log_connections = 'on'",
    } <= set(lines)  # fmt: skip
    assert "log_statement = 'ddl'" in rendered["nasty"]["postgresql/postgresql.conf"].splitlines()


def test_redis_settings_are_one_line_each(rendered, host):
    lines = [
        line for line in rendered[host]["redis/redis.conf"].splitlines() if not line.startswith("#")
    ]
    settings = dict(line.split(" ", 1) for line in lines)
    assert settings["aclfile"].startswith("/etc/redis/")
    assert "requirepass" not in settings
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"
    assert int(settings["maxmemory"].removesuffix("mb")) >= 64
    assert all(address.lstrip("-") in ("127.0.0.1", "::1") for address in settings["bind"].split())


# --- SSH, fail2ban, upgrades ----------------------------------------------------------------------


def test_sshd_wants_keys(texts):
    lines = [line for line in texts["sshd/sshd.conf"].splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Z][A-Za-z0-9]+ \S.*", line) for line in lines)
    assert {"PasswordAuthentication no", "PermitRootLogin prohibit-password"} <= set(lines)


def test_what_you_say_of_sshd_counts(rendered):
    lines = rendered["nasty"]["sshd/sshd.conf"].splitlines()
    assert {"Port 22", "Port 2222", "AllowTcpForwarding yes"} <= set(lines)
    assert not [line for line in lines if line.startswith("AllowTcpForwarding local")]


def test_fail2ban_has_a_section_for_each_jail(rendered):
    jails = configparser.ConfigParser(interpolation=None)
    jails.read_string(rendered["nasty"]["fail2ban/jail.local"])
    assert {name for name in jails.sections() if jails[name].getboolean("enabled")} == {
        "sshd", "nginx-http-auth", "nginx-limit-req", "nginx-login",
    }  # fmt: skip
    assert jails["sshd"]["bantime"] == "1h"
    assert jails["recidive"]["maxretry"] == "3"


def test_apt_reads_what_to_upgrade(texts, tmp_path):
    path = tmp_path / "upgrades"
    path.write_text(texts["hardening/unattended-upgrades"])
    told = subprocess.run(
        ["apt-config", f"--config-file={path}", "dump"], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert 'APT::Periodic::Unattended-Upgrade "1";' in told.stdout
    origins = re.findall(r'Unattended-Upgrade::Origins-Pattern:: "(.*)";', told.stdout)
    # Ubuntu's release itself does not change; its security upgrades may need packages of it.
    others = {origin for origin in origins if "-security" not in origin}
    assert others == {"origin=Ubuntu,archive=${distro_codename}"}
    assert len(origins) == 5


@pytest.fixture
def needrestart(rendered, tmp_path):
    """Give a function that reads the drop-in as needrestart does, and returns what it then does."""
    perl = shutil.which("perl")
    if not perl:
        pytest.skip("there is no perl")
    drop_in, systemctl = tmp_path / "django_stack.conf", tmp_path / "systemctl"
    drop_in.write_text(rendered["example"]["hardening/needrestart.conf"])
    systemctl.write_text(f"#!/bin/sh\ncat <<'END'\n{LOADED}END\n")
    systemctl.chmod(0o755)

    def read(restart, frontend, *services):
        done = subprocess.run(
            [perl, "-e", NEEDRESTART, str(drop_in), restart, *services],
            capture_output=True, text=True,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "DEBIAN_FRONTEND": frontend},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return read


@pytest.mark.parametrize(
    ("restart", "frontend", "wanted"),
    [
        ("i", "noninteractive", "a"),  # an unattended upgrade
        ("i", "dialog", "i"),  # a person is asked
        ("i", "", "i"),
        ("l", "noninteractive", "l"),  # never looser than what is there
        ("a", "", "a"),
    ],
)
def test_services_are_restarted_where_nobody_can_be_asked(needrestart, restart, frontend, wanted):
    assert needrestart(restart, frontend)[0] == wanted


def test_jobs_and_what_the_package_names_are_not_restarted(needrestart):
    left = ["dbus.service", "mini-step.service", "django_stack-backup@now.service"]
    restarted = ["gunicorn.service", "postgresql@17-main.service", "xmini-step.service"]
    assert needrestart("i", "noninteractive", *left, *restarted)[2:] == restarted


def test_root_does_not_follow_what_an_application_loads(needrestart):
    assert needrestart("i", "")[1] == "0"


def test_the_kernels_settings_are_one_line_each(texts):
    lines = texts["hardening/sysctl.conf"].splitlines()
    settings = dict(line.split(" = ") for line in lines if not line.startswith("#"))
    assert all(re.fullmatch(r"[a-z0-9_./]+", name) for name in settings)
    assert settings["kernel.dmesg_restrict"] == "1"


def test_rabbitmq_is_the_broker_beside_redis_and_listens_on_the_loopback_address(rendered):
    values = rendered["small"]["environment"]
    broker = urlsplit(values["CELERY_BROKER_URL"])
    name = EXAMPLE["app_name"]
    assert (broker.scheme, broker.username, broker.path) == ("amqp", name, f"/{name}")
    assert broker.netloc.endswith("@127.0.0.1:5672")
    assert values["REDIS_URL"] == f"redis://:{broker.password}@127.0.0.1:6379/0"
    lines = rendered["small"]["rabbitmq/rabbitmq.conf"].splitlines()
    assert [line for line in lines if line.startswith("listeners")] == [
        "listeners.tcp.1 = 127.0.0.1:5672"
    ]
    assert "log.console.level = info" in lines  # of rabbitmq_settings
    assert "vm_memory_high_watermark.absolute = 160MiB" in lines
    assert "inet_dist_use_interface {127,0,0,1}" in rendered["small"]["rabbitmq/rabbitmq-env.conf"]
    assert "ListenStream=\nListenStream=127.0.0.1:4369\n" in rendered["small"]["rabbitmq/epmd.conf"]


def test_the_roles_know_the_files_that_they_have_written(rendered):
    """A host that an earlier version has set up has no other sign of it in these."""
    lines = {
        "fail2ban/jail.local": ["[DEFAULT]", "ignorecommand =", "bantime.increment"],
        "rabbitmq/rabbitmq.conf": ["load_definitions = /etc/rabbitmq/definitions.json"],
        "redis/redis.conf": ["aclfile /etc/redis/users.acl"],
    }
    for texts in rendered.values():
        for name, beginnings in lines.items():
            assert occupied_services.is_rendered(texts[name], *beginnings), (name, texts[name])
            assert occupied_services.is_sorted(texts[name]) or "jail" in name


def test_no_result_of_a_task_hides_a_variable():
    for role in sorted((ROOT / "roles").iterdir()):
        files = [*role.glob("vars/**/*.yml"), *role.glob("defaults/*.yml")]
        variables = set(re.findall(r"(?m)^(\w+):", "\n".join(path.read_text() for path in files)))
        tasks = "\n".join(path.read_text() for path in role.glob("tasks/**/*.yml"))
        assert not variables & set(re.findall(r"register: (\w+)", tasks)), role.name

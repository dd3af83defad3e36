"""Wrong values: each is refused by a message that names its variable."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.clink.django_stack.plugins.action import check_values
from ansible_collections.clink.django_stack.plugins.plugin_utils import addresses, values
from conftest import ABSENT, EXAMPLE, ROLES, ROOT, Unsafe

SECRET = "s3cr3t-s3cr3t-s3cr3t"
DATABASE = {"owner": "clinic", "password": SECRET}
CLIENT = {"database": "shop", "user": "shop", "address": "10.0.0.0/24"}
URL = f"postgresql://clinic:{SECRET}@db.example.com"

# A variable, and values of it that must be refused.
BAD = {
    "app_name": [
        "www-data", "nginx", True, "x\0",
        ABSENT, "", "psychology clinic", "Clinic", "1clinic", "clinic-app", "clinic;id", "a" * 40,
        "clinic\n", "../x", None, ["clinic"], "klinik\u00e4", "root", "postgres", "template1",
    ],
    "app_source": [
        ABSENT,
        {},
        "/srv/clinic",
        {"git": "https://example.com/x.git", "directory": "/srv/clinic"},
        {"directory": "/srv/clinic", "branch": "main"},
        {"git": "example dot com"},
        {"git": "--upload-pack=id"},
        {"git": "https://example.com/x.git", "ref": "--force"},
        {"git": "https://example.com/x.git", "ref": "main branch"},
        {"git": "https://example.com/x.git", "ref": "a..b"},
        {"git": "https://example.com/x.git", "ref": "main~1"},
        {"git": "https://example.com/x.git", "ref": "x@{1}"},
        {"git": "https://example.com/x.git", "ref": "x.lock"},
        {"git": "https://example.com/x.git", "ref": "x/"},
        {"git": "ext::sh -c id"},
        {"git": "ssh://git:password@example.com/x.git"},
        {"git": "https://ada:pass#word@example.com/x.git"},
        {"git": "http://example.com/x.git", "ref": "main"},
        {"git": "git://example.com/x.git", "ref": "0123abc"},
        {"git": "http://t0ken@example.com/x.git", "ref": "0" * 40},
        {"git": "http://example.com/x.git", "insecure": "no"},
        {"git": "https://example.com/x.git", "insecure": "perhaps"},
        {"archive": "http://example.com/x.tar"},
        {"archive": "http://example.com/x.tar", "checksum": "md5:" + "0" * 32},
        {"archive": "http://example.com/x.tar", "checksum": "sha256:0f"},
        {"archive": "http://t0ken@example.com/x.tar", "checksum": "sha256:" + "0" * 64},
        {"archive": "clinic.zip"},
        {"archive": "ftp://example.com/clinic.tar"},
        {"archive": "https://example.com"},
        {"archive": "https://example.com/my clinic.tar"},
        {"archive": "https://example.com/x.tar", "checksum": "sha256"},
        {"directory": ""},
        {"git": None},
        "git",
    ],
    "app_root": [
        "var/www/clinic", "/", "/srv", "/var/www/../../etc", "/var/www/my clinic",
        "/var/www/clinic/", "/var/www/x\n",
    ],
    "app_directory": ["/srv", "../other", "back end", "a/../../b"],
    "app_settings_module": [
        "clinic settings", "clinic.settings;x", "clinic-settings", "clinic..settings",
    ],
    "app_wsgi": [
        "clinic.wsgi", "clinic.wsgi:", "clinic/wsgi.py:application",
        "clinic.wsgi:application --reload", "clinic.wsgi:make()()", "clinic.wsgi:make(", "c:x.y",
        "clinic.wsgi:make('$(id)')", "clinic.wsgi:make(%h)", "c:make('x')", 'clinic.wsgi:make("x")',
    ],
    "app_asgi": [
        "clinic.asgi", "clinic.asgi:make(;)", "clinic/asgi.py:application",
        "clinic.asgi:application --reload",
    ],
    "app_trial_settings": [{"my setting": 1}, ["workers=3"]],
    "app_celery": ["clinic app", "clinic;id", "-A clinic"],
    "app_django": ["flask", None, []],
    "app_migrate": ["flask db upgrade", [["flask", "db"]], ["a\nb"], None],
    "app_domains": [
        ["999.1.1.1"], [":::::"], ["1.2.3"], ["fe80::1%eth0"], ["Example.com"], ["a" * 64 + ".com"],
        ["a.bc" * 64], ["[203.0.113.7]"], ["example.com", "example.com"], ["example.com."], ["*."],
        ["a..b"], [True],
        [],
        ["example.com;"],
        ["exa mple.com"],
        ["http://example.com"],
        ["example.com/path"],
        ["example.com:8000"],
        ["-example.com"],
        ["a.*.com"],
        ["example.com\n"],
        {"example.com": 1},
        "example.com,www.example.com",
        None,
        [None],
        [["example.com"]],
        ["example.com{"],
        ["M\u00dcNCHEN.example"],
    ],
    "app_environment": [
        {"KEY": "nul\0"}, {"KEY": ["x"]},
        {"KEY": "two\nlines"},
        {"KEY": "carriage\rreturn"},
        {"KEY": "bell\a"},
        {"KEY": None},
        {"MY KEY": "x"},
        {"1KEY": "x"},
        {"MY-KEY": "x"},
        {"KEY\n": "x"},
        "KEY=value",
        None,
        ["KEY=value"],
    ],
    "app_database": [
        "postgresql://x@[:::]/x",
        "postgres", f"{URL}:70000/clinic", f"{URL}:0/clinic", f"{URL}:port/clinic",
        "db.example.com:5432", f"{URL}:5432/my clinic", f"{URL}:5432,h2:70000/clinic",
        f"{URL}:5432,h2:port/clinic", "postgresql://u:a/b@host/x", "postgresql://u:a#b@host/x",
        "postgresql://u:a?b@host/x", "postgresql://u:a@b@host/x", "postgresql://u:[x@host/x",
    ],
    "app_broker": [
        "redis", f"redis://:{SECRET}@host:70000/0", "host:6379", f"redis://:{SECRET}@host name/0",
        "none", "sentinel://host:26379;sentinel://host:99999", "sentinel://host:26379;host:26379",
        f"redis://:{SECRET}@10.0.0.5:6379/0", f"amqp://clinic:{SECRET}@rabbit.example.com/clinic",
        f"amqps://clinic:{SECRET}@h1//;amqp://clinic:{SECRET}@h2//",
    ],
    "app_broker_unencrypted": ["perhaps", [True]],
    "app_processes": [
        {"Bot": "manage.py x"}, {"my bot": "manage.py x"}, {"../x": "manage.py x"}, {"1x": "x"},
        {"bot-": "x"}, {"x" * 41: "x"}, {"bot\n": "x"}, {1: "x"},
        {"web": "gunicorn x"}, {"worker": {"concurrency": 4}}, {"beat": "celery beat"},
        {"step": "x"}, {"ping": "x"}, {"run-1": "x"},
        {"bot": ""}, {"bot": None}, {"bot": 5}, {"bot": ["manage.py", "x"]}, {"bot": {}},
        {"bot": "manage.py x && manage.py y"}, {"bot": "manage.py x > log"}, {"bot": "echo 'x"},
        {"bot": "manage.py x --url=$URL"}, {"bot": "x\ny"}, {"bot": {"command": "x | y"}},
        {"bot": {"comand": "x"}}, {"bot": {"command": "x", "on": "daily"}},
        {"bot": {"command": "x", "queues": ["x"]}}, {"bot": {"command": "x", "concurrency": 2}},
        {"bot": {"command": "x", "memory": "1G"}}, {"bot": {"command": "x", "memory": 0}},
        {"bot": {"command": "x", "stop_timeout": 0}}, {"bot": {"command": "x", "memory": True}},
        {"bot": {"command": "x", "sandbox": ["PrivateTmp=no"]}},
        {"bot": {"command": "x", "sandbox": {"private_tmp": "no"}}},
        {"bot": {"command": "x", "sandbox": {"PrivateTmp": "no\nUser=root"}}},
        {"reports": {"queues": []}}, {"reports": {"queues": "reports"}},
        {"reports": {"queues": ["my queue"]}}, {"reports": {"queues": ["a,b"]}},
        {"reports": {"queues": [None]}}, {"reports": {"queue": "reports"}},
        {"reports": {"concurrency": 2}}, {"reports": {"queues": ["x"], "concurrency": 0}},
        {"reports": {"queues": ["x"], "concurrency": "auto"}},
        {"reports": {"queues": ["x"], "options": ["pool=threads"]}},
        {"reports": {"queues": ["x"], "options": "--pool=threads"}},
        ["manage.py x"], "manage.py x", None,
    ],
    "app_schedules": [
        {"Purge": {"command": "x", "on": "daily"}}, {"beat": {"command": "x", "on": "daily"}},
        {"purge": "manage.py purge"}, {"purge": {"command": "x"}}, {"purge": {"on": "daily"}},
        {"purge": {"command": "x", "on": ""}}, {"purge": {"command": "x", "on": "a\nb"}},
        {"purge": {"command": "x", "at": "daily"}}, {"purge": {"command": "x", "cron": "0 3 * *"}},
        {"purge": {"command": "x && y", "on": "daily"}}, {"purge": {"queues": ["x"], "on": "1:00"}},
        {"purge": {"command": "x", "on": "daily", "timeout": 0}},
        {"purge": {"command": "x", "on": "daily", "memory": "1G"}},
        ["daily"], None,
    ],
    "processes_worker_command": ["celery worker", ["a\nb"], None],
    "processes_worker_stop_timeout": [0, 90000, "5min"],
    "app_health_path": ["health", "", "/health check", "/health;", "/$x", "/{x}", "/'", "/a#b"],
    "app_static_url": ["static/", "/static", "/", "/sta tic/", "/../etc/", "/s{/", None],
    "app_media_domain": [
        "203.0.113.7", "2001:db8::7", "[::1]", "Uploads.example.com", "uploads..example.com", "a b",
        "https://uploads.example.com", "uploads.example.com/", "*.example.com", "x;", "1.2.3", None,
        ["uploads.example.com"], True, "209.38.89.74",
    ],
    "app_media_url": ["media/", "/media", "/static/", "/media;/", "/m/../../etc/"],
    "app_python": ["python3; id", "--python", "my python", 3.10, None, ["3.13"]],
    "app_requirements": [["../requirements.txt"], ["/etc/requirements.txt"], [{"file": "x"}]],
    "app_dependency_groups": [["--dev"], ["a b"], "production", [{"prod": 1}]],
    "app_packages": [["--index-url=x"], ["one\ntwo"], {"x": 1}, "psycopg,redis", None,
                     ["x @ git+https://t0ken@github.com/team/x.git"]],
    "app_apt_packages": [["libpq dev"], ["-o=x"], ["Libpq"], "gettext,libmagic1", [None]],
    "app_shared_directories": [
        ["media", "media/cache"], ["media", "media"], ["a/b", "a"], ["media", "./media/x"], ["."],
        ["../media"], ["/media"], ["media files"], ["a/../../b"], [None],
    ],
    "app_dotenv": ["../.env", "/etc/.env", "my .env", None],
    "app_install_environment": [{"a;id": "x"}, {"KEY": "two\nlines"}, "KEY=value", None],
    "app_foreign_variables": ["redis_x,redis_y", ["my variable"]],
    "app_rotate": ["everything", "secret_key\n"],
    "app_secrets": ["secrets", "/srv/my secrets", "/srv/*", "/srv/../etc", "", None],
    "app_secret_key": [
        "", "short", SECRET + ",x" * 20, SECRET + " " * 20, SECRET * 3 + "\n", None, [SECRET * 3],
    ],
    "app_secret_key_fallbacks": ["x" * 40, [""], ["short"], [SECRET + ",x" * 20], None],
    "app_database_extensions": [
        "vector", ["PostGIS"], ["vector; DROP"], ["vector", "vector"], [""], [1], {"vector": True},
    ],
    "app_database_collation": ["german", "de", "de_DE", "DE-x-icu", "de_DE.UTF-8'", ["C"]],
    "app_database_ddl": ["perhaps", None, [True]],
    "app_database_owner": ["owner", f"{URL}:70000/clinic", f"{URL}:5432/clinic", None],
    "app_database_user": ["postgres", "Clinic", "clinic user", "clinic;x", "", None, "clinic\n"],
    "app_database_password": [
        "", "short", SECRET + "\n", SECRET + "\t", SECRET + "\u00e4", None, [SECRET], {"a": SECRET},
    ],
    "app_database_owner_password": ["", "short", SECRET + "\n", None, [SECRET]],
    "app_broker_password": ["", "short", SECRET + "@", SECRET + " x", SECRET + "%", None],
    "app_broker_password_fallbacks": [SECRET, ["short"], [SECRET + "\n"], None],
    "app_database_url": ["clinic", "postgresql://clinic:x y@host/clinic", None],
    "app_broker_url": ["redis", "redis://:x@host name/0", None],
    "app_known_hosts": [
        ["ssh-ed25519 AAAA"], ["github.com"], ["github.com ssh-ed25519 AAAA\nx"], None,
        "github.com ssh-ed25519 AAAA", ["@revoked * ssh-rsa AAAA"],
    ],
    "app_signing_keys": [
        ["github.com ssh-ed25519 AAAA"], ["ssh-ed25519 AAAA\nssh-rsa AAAA"], ["A1B2C3D4"], None,
        ["ssh-ed25519 AAAA"],  # the source of these tests is a directory
    ],
    "app_deploy_key": ["~/.ssh/id_ed25519", "ssh-ed25519 AAAA me@host"],
    "app_memory_percent": [0, 19, 101, "85%", "", [85]],
    "swap_file_mb": [-1, 65537, "1G", "", None, [1024]],
    "app_before_migrate": [[1], [{"command": "yarn build"}], "yarn build"],
    "app_after_switch": [[None], [{"task": "x.yml"}]],
    "app_releases_keep": [True, 5.0, float("nan"), "5\n", 0, "all", 1000],
    "app_static_keep": [-1, "a day", None, True, "\u0663", 1.5],
    "app_check_fail_level": ["error", ""],
    "app_migrate_lock_timeout": [0, "5s"],
    "app_migrate_tries": [0, "often"],
    "app_retry": [None, 2, "", "please"],
    "app_take_over": [None, 2, "", "redis"],
    "fail2ban_take_over": [None, 2, "", "redis"],
    "rabbitmq_take_over": [None, 2, "", "redis"],
    "postgresql_take_over": [None, 2, "", "redis"],
    "nginx_take_over": [None, 2, "", "redis"],
    "redis_take_over": [None, 2, "", "redis"],
    "app_unlock": ["please"],
    "app_rollback_to": ["main", "../x", "5f2c0d9a1b3e-07ccbf\n", "-"],
    "app_rollback_past_migrations": ["please"],
    "app_sandbox": [
        {"PrivateTmp\n": True},
        {"exec start": "/bin/sh"}, {"PrivateTmp": "no\nUser=root"}, {"PrivateTmp": {}},
        {"ReadWritePaths": ["/srv/x\\"]}, {"ReadWritePaths": {"path": "/srv/x"}}, ["PrivateTmp=no"],
    ],
    "gunicorn_handover_reserve": [-1, "much", None],
    "app_user": [
        True,
        "root", "my user", "1user", "User", "a.b", "-r", "postgres", "www-data", "", None, "x\n",
        "us\u00e9r", "a" * 33, "user$",
    ],
    "app_build_user": ["root", "My Build", "", "x\n", None, "psychology_clinic", "a" * 33],
    "app_step_timeout": [0, 59, 100000, "long", True],
    "app_current": ["current", "/var/www/../x", "/var/www/x\n", "/var/www/a b"],
    "app_venv": ["venv", "/srv/./venv", "/srv/x;"],
    "app_shared": ["shared", "/srv/..", "/srv/x{"],
    "app_static_root": ["static", "/srv/static;", "/srv/../x"],
    "app_media_root": ["media", "/srv/a b"],
    "app_manage": ["manage", "/usr/local/bin/x\ny"],
    "app_run": ["run", "/usr/local/bin/$x"],
    "app_web_group": ["www data", ""],
    "app_environment_file": ["environment", "/etc/../environment"],
    "app_uv_version": ["latest", "0.9; id"],
    "gunicorn_service": ["gunicorn.service", "my gunicorn", ""],
    "gunicorn_socket": ["gunicorn.sock", "/run/my gunicorn.sock", "/run/../x.sock"],
    "gunicorn_backlog": [0, 70000, "many"],
    "gunicorn_workers": [0, 257, "all", True, None, "\u0663", 1.5, "", [2], "2\n"],
    "gunicorn_threads": [0, 1000],
    "gunicorn_timeout": [0, 4000],
    "gunicorn_graceful_timeout": [0, "soon"],
    "gunicorn_max_requests": [-1, "few"],
    "gunicorn_settings": [
        {"my setting": 1}, {"bind": ":8000"}, {"timeout": 5}, ["workers=3"],
        {"import os;x": 1},
    ],
    "celery_worker_service": ["celery worker", "celery;"],
    "celery_worker_queues": [["mail queue"], ["mail,other"], [""]],
    "celery_worker_concurrency": [0, 257, "auto"],
    "celery_worker_max_tasks_per_child": [0],
    "celery_worker_max_memory_per_child": [100],
    "celery_worker_stop_timeout": [0, 90000],
    "celery_worker_loglevel": ["LOUD", "info"],
    "celery_worker_options": [["pool=threads"], ["--pool=threads --beat"]],
    "celery_beat_service": ["celery beat"],
    "celery_beat_scheduler": ["my scheduler", "a;b"],
    "celery_beat_loglevel": ["LOUD"],
    "celery_beat_options": [["max-interval=60"]],
    "nginx_site": [ABSENT, "my site", "../x", "site;"],
    "nginx_redirects": [
        ["www.example.com"], {"www example.com": "example.com"}, {"WWW.clinic.example": "/x"},
        {"/old;/": "/new/"}, {"old/": "/new/"}, {"/old/": "new"}, {"/old/": "$host"},
        {"/old/": "ftp://example.com/"}, {"/old/": "https://exa mple.com/"},
        {"/old/": "//x.example"},
        {"/old/": "https://x.example/{"}, {"/old/": "https://x.example:99999/"}, {"/old/": 1},
        {"/old/": "javascript:x"}, {"/old/": "/new/\n"}, {"/../": "/new/"},
    ],
    "nginx_locations": [
        ["/app/"], {"app/": {"alias": "/srv/app"}}, {"/app/": "/srv/app"}, {"/app/": ["/srv"]},
        {"/app/": {"alias": "srv/app"}}, {"/app/": {"alias": "/srv/../etc"}},
        {"/app/": {"alias": "/srv/$x"}}, {"/app/": {"alias": "/srv/a;"}}, {"/app/": {"alias": "/"}},
        {"/app/": {"alias": "/srv/app", "proxy_pass": "127.0.0.1:80"}},
        {"/app/": {"alias": "/srv/app", "fallback": "../index.html"}},
        {"/app/": {"alias": "/srv/app", "fallback": "/index.html"}},
        {"/app/": {"fallback": "index.html"}}, {"/app/": {"files": "/srv/app"}},
        {"/x/": {"proxy_pass": "127.0.0.1:99999"}}, {"/x/": {"proxy_pass": "8001"}},
        {"/x/": {"proxy_pass": "https://example.com"}}, {"/x/": {"proxy_pass": "unix:run/x"}},
        {"/x/": {"proxy_pass": "http://127.0.0.1:8001/y"}}, {"/x/": {"proxy_pass": None}},
        {"/x/": {"return": 99}}, {"/x/": {"return": True}}, {"/x/": {"return": "302"}},
        {"/x/": {"return": "404 /y"}}, {"/x/": {"return": "302 $host"}},
        {"/x/": {"internal": "maybe"}}, {"/x/": {"settings": {"client_max_body_size": "1g;"}}},
        {"/x/": {"settings": {"proxy_set_header": ["A 1", "B {"]}}}, {"/x/": {"settings": ["a 1"]}},
        {"/x/": {"settings": {"if ($x)": "y"}}}, {"/x{": {}}, {"/static/": {"alias": "/srv/x"}},
        {"/.well-known/acme-challenge/": {}}, {"/": {"alias": "/srv/front"}},
        {"/health/": {"return": 200}}, {"/app/": {"alias": "/var/www/clink-backend/current"}},
        {"/app/": {"alias": "/var/www/clink-backend/shared/"}}, {"/app/": {"alias": "/var/www"}},
    ],
    "nginx_links_up_to": [["srv"], ["/srv/../etc"], ["/srv x"], ["/srv;"]],
    "nginx_health_check_from": [["0.0.0.0/0"], ["balancer"], ["10.0.0.0/33"], ["10.0.0.1;"]],
    "nginx_health_path": ["health", "/x y", "/x;", "/$uri", "/x?y", '/"', "/x\n", ""],
    "nginx_server_names": [
        ["999.1.1.1"], ["a b"], ["Example.com"], [":::::"], ABSENT, [], ["example.com;"],
        ["~^(.*)$"],
    ],
    "nginx_upstream": [
        ["10.0.0.2:70000"], ["999.1.1.1:80"], ["2001:db8::1"], [], ["unix:run/app.sock"],
        ["10.0.0.2:8000; x"],
    ],
    "nginx_static": [
        {"/static": "/srv"},
        {"static": "/srv"}, {"/static/": "srv"}, ["/static/"], {"/static/": "/srv/../etc"},
    ],
    "nginx_tcp_connection_limit": [-1, "many", 70000],
    "nginx_uploads": ["/media/", ["media"], ["/none/"], ["/x y/"], ["/static/;"]],
    "nginx_uploads_domain": ["203.0.113.7", "*.example.com", "a b", "uploads.example.com;", "$x"],
    "nginx_client_max_body_size": ["20 m", "20MB", "big", "-1", "1t", "1.5g", ""],
    "nginx_proxy_read_timeout": [0, "60s", 100000],
    "nginx_worker_connections": [1, 100000],
    "nginx_acme_root": ["acme", "/var/../acme"],
    "nginx_real_ip_from": [
        ["10.0.0.0/33"], ["999.1.1.1"], ["::/129"], ["fe80::1%eth0"],
        ["cloudflare"], ["0.0.0.0/0"], ["::/0"], ["10.0.0.0/8;"], ["10.0.0.0/8\n"], ["unix:"],
        [""], {"10.0.0.1": 1},
    ],
    "nginx_real_ip_header": ["", "X-Real-IP;", "X Real IP", "$http_x", "X-Real-IP\n", "x_y"],
    "nginx_rate_limit": [float("nan"), float("inf"), "nan", True, "1e3", 0, -1, "fast"],
    "nginx_rate_limit_burst": [-1],
    "nginx_login_rate_limit": [0],
    "nginx_login_rate_limit_burst": ["x"],
    "nginx_login_paths": [["login"], ["/login;"]],
    "nginx_connection_limit": [0, -1, 70000, "many", "20;"],
    "nginx_rate_limit_exempt": [["office"], ["10.0.0.0/8;"]],
    "nginx_basic_auth_users": [
        {"ada": "short"},
        {"ada": ""},
        {"ada": None},
        {"ada:x": SECRET},
        {"ada\n": SECRET},
        {"": SECRET},
        {"ada": f"{SECRET}\n"},
        {"ada": f"{SECRET}\nbob:x"},
        {"#ada": SECRET},
        [SECRET],
    ],
    "nginx_basic_auth_paths": [
        ["admin"], ["/admin {"], ["/admin;"], ["/(.*)"], ["/admin\n"], [""], ["/$uri"], ['/"'],
    ],
    "nginx_headers": [{"X Odd": "1"}, {"X-Odd": 'a"b'}, {"X-Odd": "two\nlines"}],
    "nginx_content_security_policy": [
        {"default-src": ["self"]},
        {"default-src": "none"},
        {"script-src": ["'self'", "UNSAFE-INLINE"]},
        {"script-src": ["sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]},
        {"script-src": ["'nonce-c3RhYmxl'"]},
        {"script-src": ["'self'; img-src *"]},
        {"script-src": ["'self', *"]},
        {"script-src": ["'self'\nX-Odd: 1;"]},
        {"script-src": ['"self"']},
        {"script-src": ["$host"]},
        {"script-src": ["'self"]},
        {"script-src": {"'self'": True}},
        {"script src": ["'self'"]},
        {"script_src": ["'self'"]},
        {"Script-Src;": ["'self'"]},
        "default-src 'self'",
        ["default-src 'self'"],
    ],
    "nginx_content_security_policy_report_only": ["please", 2],
    "nginx_http_settings": [{"gzip": "on; }"}, {"my directive": "on"}],
    "nginx_server_settings": [
        {"etag": "on;"}, {"etag": "on #"}, {"etag": {"a": 1}}, {"listen": 80},
        {"etag": "on\n"}, ["etag on"],
    ],
    "nginx_sandbox": [{"private_tmp": False}, {"User": "root\nGroup=root"}],
    "postgresql_port": [0, 70000, "5432x", "", None, "\u0665432"],
    "postgresql_version": ["old", "9.6", 5],
    "postgresql_max_connections": [1],
    "postgresql_listen_addresses": [
        ["*.example.com"], ["999.1.1.1"], ["127.0.0.1\n"], ["local host"], ["a,b"],
    ],
    "postgresql_clients": [[CLIENT]],  # no other host reaches PostgreSQL
    "postgresql_databases": [
        {"My Database": DATABASE},
        {"clinic": {"password": SECRET}},
        {"clinic": {"owner": "clinic"}},
        {"clinic": DATABASE | {"password": "short"}},
        {"clinic": DATABASE | {"user": "web"}},
        {"clinic": DATABASE | {"user_password": SECRET}},
        {"clinic": DATABASE | {"user": "web", "user_password": "short"}},
        {"clinic": DATABASE | {"user": "Web", "user_password": SECRET}},
        {"clinic": DATABASE | {"user": DATABASE["owner"], "user_password": SECRET}},
        {"clinic": DATABASE | {"privileges": "ALL"}},
        {"clinic": DATABASE | {"extensions": "vector"}},
        {"clinic": DATABASE | {"extensions": ["PostGIS"]}},
        {"clinic": DATABASE | {"collation": "german"}},
        {"clinic": DATABASE | {"owner": "clinic; DROP"}},
        {"clinic": "clinic"},
        {"template1": DATABASE},
        None,
    ],
    "postgresql_settings": [{"log min": 1}, {"port": 1}, {"work_mem": "1\nMB"}],
    "postgresql_sandbox": [{"private_tmp": False}, {"User": "root\nGroup=root"}],
    "rabbitmq_password": [ABSENT, "", "short", f"{SECRET} {SECRET}", f"{SECRET}\n", None],
    "rabbitmq_user": ["Clinic", "clinic user", "", "a/b", None, "clinic\n"],
    "rabbitmq_port": [0, 80, 70000, "5672x", "", None, True, [5672]],
    "rabbitmq_memory_mb": [1, "1gb"],
    "rabbitmq_disk_free_mb": [0, "1gb"],
    "rabbitmq_settings": [{"Log File": 1}, {"log.file": "false\nlisteners.tcp.2 = 0.0.0.0:1"}],
    "rabbitmq_sandbox": [{"private_tmp": False}, {"User": "root\nGroup=root"}],
    "redis_sandbox": [{"private_tmp": False}, {"User": "root\nGroup=root"}],
    "redis_port": [0, 70000, "6379x", "", None, True, "\u0666\u0663\u0667\u0669", -1, [6379]],
    "redis_password": [ABSENT, "", "short", f"{SECRET} {SECRET}", f"{SECRET}\n", None],
    "redis_password_fallbacks": [SECRET, ["short"], [f"{SECRET} x"], None],
    "redis_commands": ["sort", ["SORT x"], ["+sort"], ["a\nb"], None],
    "redis_users": [{"exporter": "on\nuser x"}, {"exporter": ""}, ["x"], None],
    "redis_bind": [
        ["999.1.1.1"], ["[::1]"], ["--::1"], ["1.2.3"], "127.0.0.1,::1", None, [], ["local host"],
        ["127.0.0.1 0.0.0.0"],
    ],
    "redis_maxmemory_mb": [1, "1gb"],
    "redis_settings": [{"max clients": 1}, {"port": 1}, {"timeout": "0\nbind *"}],
    "ufw_allow": [
        ["080"], [True], [80.5],
        [0], [70000], ["http"], ["80;"], "80,443", None, [None], ["\u0668\u0660"],
        ["6000:70000"], ["6010:6000"],
    ],
    "ufw_rules": [[{"port": 22, "policy": "deny"}], [{"rule": "drop", "port": 22}], ["allow 22"]],
    "ufw_logging": ["loud"],
    "app_certificate": ["yes", "certbot", True],
    "app_certificates": [
        {}, {"main": ["other.example.com"]}, {"my site": ["209.38.89.74"]},
        {"../x": ["209.38.89.74"]}, {"a": ["209.38.89.74"], "b": ["209.38.89.74"]},
    ],
    "certificate_names": [
        {"x": ["999.1.1.1"]}, {"x": [None]}, {"x": ["a" * 64]},
        ABSENT, {"x": "example.com"}, {"x": []}, {"x;": ["example.com"]}, {"x": ["exa mple.com"]},
        {"x": ["example.com\n"]}, {"../x": ["example.com"]}, {"x": ["example.com,DNS:other.com"]},
    ],
    "certificate_source": ["letsencrypt", ""],
    "certificate_directory": ["ssl", "/etc/../ssl", "/etc/my ssl", "/etc/ssl\n"],
    "certificate_service": ["nginx", "nginx.service; id"],
    "certbot_certificates": [
        {"x": ["localhost"]}, {"x": ["10.0.0.5"]}, {"x": ["fd00::1"]},
        {"x": ["clinic.local"]}, {"x": "example.com"}, {"x": []}, {"x;": ["example.com"]},
        {"x": ["--force-renewal"]}, {"x": ["example.com;id"]}, {"$(id)": ["example.com"]},
    ],
    "certbot_server": [
        "letsencrypt", "http://ca.example.com/dir", "https://ca.example.com/d\nx", "",
    ],
    "certbot_staging": ["perhaps"],
    "certbot_email": ["admin", "admin@example.com, b@example.com", "a b@example.com", "a@b\n"],
    "certbot_webroot": ["acme", "/var/www/../acme", "/var/my acme"],
    "certbot_services": [["apache2"], ["a b.service"], "nginx.service", [""], None],
    "certbot_directory": ["ssl", "/etc/ssl/../x"],
    "certbot_dns_plugin": ["DigitalOcean", "godaddy", "dns-ovh", None],
    "certbot_dns_credentials": ["token", [SECRET], {"token": SECRET}],
    "certbot_interval": [0, 25, "daily"],
    "certbot_version": ["latest", "5.8; id", "5.8.0\n"],
    "certbot_install_environment": ["x", [1]],
    "certbot_ca_bundle": ["ca.pem", "/etc/my ca.pem"],
    "certbot_settings": [{"eab kid": "x"}, {"--email": "x"}, {"email": "a@b.c\nserver = x"}],
    "nginx_certificates": [
        {"certs": ["209.38.89.74"]}, {"/etc/my certs": ["209.38.89.74"]},
        {"/etc/x;": ["209.38.89.74"]}, {"/etc/x": []}, {"/etc/x": ["example.com"]},
    ],
    "nginx_tls_profile": ["old", "none"],
    "nginx_hsts": ["63072000", "max-age=1; preload; x", 'max-age=1"; }', "max-age=1\n"],
    "nginx_http3": ["maybe"],
    "ufw_allow_udp": [[0], ["https"], ["443;"], ["6000:6010"]],
    "sshd_allow_agent_forwarding": ["maybe"],
    "sshd_settings": [
        {"port": 22}, {"Match": "User root"}, {"Include": "/tmp/x"}, {"Banner": "a\nPort 23"},
        {"PasswordAuthentication": "no\nMatch all"}, {"Port": [22, ""]}, {"My Setting": 1},
        {"Passwordauthentication": "yes"}, ["Port 22"], "Port 22",
    ],
    "fail2ban_jails": [["ssh d"], ["DEFAULT"], ["sshd]\n[x"], "ssh;"],
    "fail2ban_ignoreip": [
        ["999.1.1.1"], ["10.0.0.0/99"], ["10.0.0.1 "], ["office"], ["10.0.0.0/8 0.0.0.0/0"],
        ["10.0.0.1\n"],
    ],
    "fail2ban_settings": [
        {"sshd": "maxretry=3"}, {"sshd": {"max retry": 3}}, {"sshd": {"maxretry": "3\naction = x"}},
        {"ss hd": {"maxretry": 3}}, ["sshd"],
    ],
    "hardening_unattended_upgrades": [
        {"Automatic Reboot": True}, {"Mail": 'a"; x "b'}, {"Package-Blacklist": ['a"b']},
        {"Mail": "a\nb"}, ["Mail"],
    ],
    "hardening_restart_services": ["perhaps", [True]],
    "hardening_sysctl": [{"kernel sysrq": 0}, {"sysrq": 0}, {"kernel.sysrq": "0\nx.y = 1"}, ["x"]],
    "hardening_banner": ["\\d \\l", "Grüezi", "bell\a", ["Keep out"]],
    "hardening_disabled_modules": [["usb storage"], ["../x"], ["x /bin/true\n"]],
    "hardening_log_mb": [10, "500M"],
    "hardening_log_days": [0, "30 days"],
    "hardening_audit_days": [0, "a year"],
    "hardening_audit_command": ["cat\nrm -r /"],
    "exporters_enabled": [["mysql"], "node", [None], {"node": 1}],
    "exporters_nginx_port": [0, 70000, "x"],
    "exporters_postgresql_port": [0, 70000, "5432x"],
    "exporters_redis_address": ["127.0.0.1", "redis://u:p@h", "redis://a b", None],
    "exporters_redis_password": ["short", f"{SECRET} x", SECRET + "\n", None],
    "monitor_units": [["nginx"], ["nginx.service; id"], ["nginx.service\n"], [None]],
    "monitor_probes": [{"celery": "true"}, {"x.service": ""}, {"x.service": "a\nb"}, ["true"]],
    "monitor_site": [
        {"name": "example.com"}, {"nome": "example.com"}, "example.com",
        {"name": "exa mple.com", "path": "/", "scheme": "https", "socket": ""},
        {"name": "example.com", "path": "health", "scheme": "https", "socket": ""},
        {"name": "example.com", "path": "/", "scheme": "ftp", "socket": ""},
        {"name": "example.com", "path": "/", "scheme": "https", "socket": "gunicorn.sock"},
    ],
    "monitor_certificate_names": [["*.example.com"], ["exa mple.com"], "example.com", None],
    "monitor_certificate_issued": ["maybe"],
    "monitor_postgresql_port": [-1, 70000, "5432x"],
    "monitor_environment_file": ["environment", "/etc/../x"],
    "monitor_queues": [["my queue"], "celery", [None]],
    "monitor_beat": ["celery-beat", "x.service\n"],
    "monitor_queue_command": ["a\nb", "x" * 1001, None],
    "monitor_beat_command": ["a\nb", "x" * 1001, None],
    "monitor_release": ["record.fact", "/etc/../x"],
    "monitor_queue_minutes": [0, "1h"],
    "monitor_disk_percent": [0, 100, "85 %"],
    "monitor_reserve_mb": [-1, "1G"],
    "monitor_email_to": [["ada"], ["ada@x, bob@x"], ["a@b\nBcc: c@d"], "ada@example.com"],
    "monitor_email_from": ["", "ada", "a@b\nBcc: c@d", None],
    "monitor_smtp_url": ["smtp.example.com", "smtp://", "consolemail://", "smtp://a b", None],
    "monitor_webhook_url": ["example.com", "file:///etc/passwd", "https://", "https://x/a b", None],
    "monitor_heartbeat_url": ["example.com", "file:///etc/passwd", "http://x/\n", None],
    "monitor_remind_hours": [0, "1d"],
    "ca_certificates_files": [["ca.txt"], ["ca"]],
    "app_backup_key": ["", "short", SECRET + "@", SECRET + "\n", None],
    "app_maintenance_file": ["maintenance", "/var/../x", ""],
    "nginx_maintenance_file": ["maintenance", "/var/my file", "/x;", None],
    "postgresql_archive_command": ["one\ntwo", None, ["cp"]],
    "postgresql_log_days": [0, "30 days", 4000, None],
    "postgresql_archive_timeout": [0, "60s", None],
    "backup_name": [ABSENT, "", "My Clinic", "../x", "x\n", None],
    "backup_key": [ABSENT, "", "short", f"{SECRET} x", f"{SECRET}\n", None],
    "backup_key_storage": ["tpm", "", None],
    "backup_repository": [
        "", "backups", "/", "/srv/../etc", "/srv/my backups", "/srv/x;y", "/srv/x\n", None,
        ["/srv"],
        "s3:http://s3.example.com/bucket", "s3:https://s3.example.com", "s3:bucket",
        "s3:https://key:secret@s3.example.com/bucket", "s3:https://s3.example.com:port/bucket",
        "sftp://backup.example.com/clinic", "sftp://ada@backup.example.com",
        "sftp://ada:password@backup.example.com/clinic", "sftp://ada@backup.example.com:0x/clinic",
        "ftp://ada@backup.example.com/clinic", "ada@backup.example.com:clinic",
    ],
    "backup_s3_key": ["my key", "x\n", None],
    "backup_s3_secret": ["my secret", 'x"y', None],
    "backup_s3_region": ["", "US East", None],
    "backup_ssh_key": ["~/.ssh/id_ed25519", "ssh-ed25519 AAAA me@host", None],
    "backup_ssh_host_keys": [
        ["backup.example.com ssh-ed25519 AAAA"], ["AAAA"], ["ssh-rsa AAAA\nx"], None,
        "ssh-ed25519 AAAA",
    ],
    "backup_database": ["", "db.example.com", "remote", None, ["local"]],
    "backup_cluster": ["/var/lib/postgresql", "main", "/var/lib/postgresql/17/../main", None],
    "backup_postgresql_version": ["9.6", "new", None],
    "backup_pgbackrest_version": ["new", "2", "2.x", None],
    "backup_port": [0, 70000, "5432x", None],
    "backup_directories": [["media"], ["/srv/../etc"], ["/srv/my files"], "/srv", [None]],
    "backup_files": [["x"], ["/etc/../x"], [None]],
    "backup_keep_days": [0, -1, "a week", 10000],
    "backup_time": ["24:00", "2:30", "noon", 150, None],
    "backup_drill_time": ["24:00", "4:30", "*:*", None],
    "backup_files_interval": [0, 1, "often", 100000],
    "backup_wal_limit_mb": [0, 1, "1GB"],
}  # fmt: skip
# Values that are only bad beside others: what the host is, a variable, and the value.
SITE = {"app_domains": ["example.com", "www.example.com", "a.example.com", "*.example.net"]}
WILDCARD = {
    "app_certificate": "letsencrypt", "app_domains": ["example.com", "*.example.com"],
    "certbot_dns_plugin": "digitalocean",
    "certbot_dns_credentials": {"dns_digitalocean_token": SECRET},
}  # fmt: skip
TOGETHER = [
    (SITE, "app_media_domain", "www.example.com"),
    (SITE, "app_media_domain", "uploads.example.net"),
    ({"app_domains": ["müller.example"]}, "app_media_domain", "xn--mller-kva.example"),
    (SITE | {"nginx_uploads_domain": ""}, "nginx_uploads_domain", "a.example.com"),
    ({"nginx_server_names": ["*.example.com"]}, "nginx_uploads_domain", "a.example.com"),
    ({"app_media_domain": "u.example"}, "app_certificates", {"x": ["209.38.89.74"]}),
    ({"nginx_uploads_domain": "u.example"}, "nginx_certificates", {"/srv/x": ["209.38.89.74"]}),
    (SITE, "nginx_redirects", {"www.example.org": "example.com"}),
    (SITE, "nginx_redirects", {"example.net": "example.com"}),
    (SITE, "nginx_redirects", {"example.com": "www.example.com"}),
    (SITE, "nginx_redirects", {"www.example.com": "www.example.com"}),
    (SITE, "nginx_redirects", {"www.example.com": "https://www.example.com/x"}),
    (SITE, "nginx_redirects", {"www.example.com": "a.example.com", "a.example.com": "x.example"}),
    (SITE, "nginx_redirects", {"www.example.com": "/x/"}),
    (SITE, "nginx_redirects", {"/x/": "www.example.com"}),
    (SITE, "nginx_redirects", {"/x/": "/x/"}),
    (SITE, "nginx_redirects", {"/x/": "/x/y/"}),
    (SITE, "nginx_redirects", {"/x/": "/y/", "/y/": "/x/"}),
    (SITE, "nginx_redirects", {"/x/": "/y/", "/y/z/": "/x/z/"}),
    (SITE, "nginx_redirects", {"/x": "https://example.com/x"}),
    (SITE, "nginx_redirects", {"/": "/"}),
    ({"nginx_redirects": {"/x/": "/y/"}}, "nginx_locations", {"/x/": {}}),
    ({"nginx_redirects": {"/health/": "/y/"}}, "nginx_locations", {}),
    ({"nginx_redirects": {"/static/": "/y/"}}, "nginx_locations", {}),
    (WILDCARD, "certbot_dns_plugin", ""),
    (WILDCARD, "certbot_dns_credentials", {"dns_linode_key": "x"}),
    (WILDCARD, "certbot_dns_credentials", {}),
    (WILDCARD, "certbot_dns_credentials", {"dns_digitalocean_token": 'a"b'}),
    (WILDCARD, "certbot_dns_credentials", {"dns_digitalocean_token": "a\nb = c"}),
    (WILDCARD | {"certbot_dns_plugin": "google"}, "certbot_dns_credentials", {"type": "x"}),
    (WILDCARD | {"certbot_dns_plugin": "route53"}, "certbot_dns_credentials", {"key": "x"}),
    ({}, "certbot_dns_credentials", {"dns_digitalocean_token": SECRET}),
    ({"app_celery": ""}, "app_processes", {"reports": {"queues": ["reports"]}}),
    ({"app_django": False}, "app_settings_module", "clinic.settings"),
    ({"app_django": True}, "app_migrate", ["flask db upgrade"]),
    ({"app_asgi": "x:y"}, "app_domains", []),
    ({"app_processes": {"x": {"queues": ["x"]}}}, "processes_worker_command", []),
    ({"app_processes": {"x": "y"}}, "app_schedules", {"x": {"command": "x", "on": "daily"}}),
    ({"backup_pgbackrest_version": "2.45"}, "backup_repository", "sftp://ada@example.com/clinic"),
    ({"backup_repository": "s3:https://example.com/x"}, "backup_s3_key", ""),
    ({"backup_repository": "s3:https://example.com/x"}, "backup_s3_secret", ""),
    ({"backup_repository": "sftp://ada@example.com/clinic"}, "backup_ssh_key", ""),
    ({"backup_repository": "sftp://ada@example.com/clinic"}, "backup_ssh_host_keys", []),
    ({"certificate_source": "files"}, "certificate_file", ""),
    ({"certificate_source": "files"}, "certificate_file", "/nowhere.pem"),
    ({"certificate_source": "files"}, "certificate_key_file", "/nowhere.pem"),
    ({"monitor_smtp_url": ""}, "monitor_email_to", ["ada@example.com"]),
    ({"postgresql_listen_addresses": ["127.0.0.1", "::1"]}, "postgresql_clients", [CLIENT]),
    *(
        ({"postgresql_listen_addresses": ["*"]}, "postgresql_clients", value)
        for value in (
            [CLIENT | {"address": "10.0.0.0/33"}], [CLIENT | {"address": "999.1.1.1"}],
            [CLIENT | {"address": "all"}], [CLIENT | {"address": "db.example.com"}],
            [CLIENT | {"address": "10.0.0.1 trust"}], [CLIENT | {"method": "trust"}],
            [CLIENT | {"type": "hostnossl"}], [CLIENT | {"options": "x"}],
            [CLIENT | {"user": "shop,postgres"}], [CLIENT | {"database": "a\tall"}],
            [{"user": "shop", "address": "10.0.0.5"}], CLIENT, "10.0.0.0/24", None,
        )
    ),
    ({"certbot_certificates": {"x": ["203.0.113.7"]}}, "certbot_version", ""),
    ({"certbot_certificates": {"x": ["203.0.113.7"]}}, "certbot_version", "5.3.1"),
    ({"certbot_certificates": {"x": ["2001:db8::7"]}}, "certbot_version", "4.0.0"),
]  # fmt: skip
ROWS = {
    f"{variable}-{number}": ({}, variable, value)
    for variable, values in BAD.items()
    for number, value in enumerate(values)
} | {f"{row[1]}-beside-{number}": row for number, row in enumerate(TOGETHER)}
# Names that nobody knows, and what their author may have meant.
UNKNOWN = {
    "nginx_client_max_body": "nginx_client_max_body_size",
    "nginx_rate_limti": "nginx_rate_limit",
    "app_domain": "app_domains",
    "app_databse": "app_database",
    "gunicorn_worker": "gunicorn_workers",
    "celery_concurrency": "celery_worker_concurrency",
    "celery_beat_log_level": "celery_beat_loglevel",
    "postgres_port": "postgresql_port",
    "redis_pasword": "redis_password",
    "ufw_allowed": "ufw_allow",
}

GOOD = {
    "characters": {
        "app_database_password": "it's $HOME %41 \\ \"#/@:?&",
        "app_secret_key": "django-insecure-!@#$%^&*(-_=+)'\"\\`abcdefgh",
    },
    "of another role": {
        "certbot_auto_renew": True, "app_foreign_variables": ["certbot_auto_renew"],
    },
    "rotated": {"app_secret_key_fallbacks": ["x" * 32], "app_broker_password_fallbacks": [SECRET]},
    "example": {},
    "names": {"app_domains": ["localhost", "*.example.com", "xn--zrich-kva.ch"]},
    "addresses": {"app_domains": ["203.0.113.7", "2001:db8::7", "[::1]"]},
    "git by ssh": {"app_source": {"git": "git@example.com:team/clinic.git", "ref": "release/1.2"}},
    "git by token": {
        "app_source": {"git": "https://oauth2:token@example.com/clinic.git", "ref": "v1.0.0-rc.1"},
    },
    "environment": {"app_environment": {"_KEY": "it's \"$y\" \\", "NONE": "", "NUMBER": 1}},
    "braces": {"app_environment": {"KEY": Unsafe("{{ not a template }} {% nor this %}")}},
    "managed": {
        "app_database": f"{URL}:25060/clinic?sslmode=require",
        "app_broker": f"rediss://default:{SECRET}@host:65535/1",
    },
    "IPv6 database": {"app_database": f"postgresql://clinic:{SECRET}@[2001:db8::1]:5432/clinic"},
    "socket database": {"app_database": "postgresql:///clinic"},
    **{
        f"database {url}": {"app_database": url}
        for url in (
            "postgres://u:p@host/x", "postgresql+psycopg://u:p@host:5432/x", "postgis://u:p@host/x",
            "postgresql:///x?host=/run/postgresql", "postgresql://u@%2Frun%2Fpostgresql/x",
            "postgresql://u:p@h1:5432,h2:5433/x?target_session_attrs=read-write",
            "postgresql://u:p@[2001:db8::1]:5432,[2001:db8::2]:5432/x", "postgresql://u:p%40%2F%23@h/x",
            "postgresql://host?sslmode=require", "mysql://u:p@host/x", "sqlite:////srv/x.sqlite3",
        )
    },
    **{
        f"broker {url}": {"app_broker": url, "app_broker_unencrypted": True}
        for url in (
            f"sentinel://:{SECRET}@h1:26379;sentinel://h2:26379", "sentinel://h1:26379/0;sentinel://h2/0",
            "redis+socket:///run/redis/redis.sock", "redis+socket:///run/x.sock?virtual_host=1",
            "unix:///run/redis.sock?db=1", "rediss://:p@host:6379/0?ssl_cert_reqs=required",
            "amqp://u:p@host:5672/%2F", "amqp://u:p@host//", "amqp://u:p@h1//;amqp://u:p@h2//",
            "pyamqp://u:p@host/x", "sqs://KEY:SE%2FCRET@", "sqs://", "redis://[2001:db8::1]:6379/0",
            "redis://u:p%3A%40@host/0", "confluentkafka://host:9092", "redis://:p;x@host/0",
        )
    },
    **{
        f"own broker {name}": {"app_broker": "none", "app_environment": {name: url}}
        for name, url in (
            ("CELERY_BROKER_URL", "redis://host/0"), ("QUEUE", "amqp://u:p@host/x"),
            ("CLOUDAMQP_URL", "amqps://u:p@host/x"), ("BROKER", "whatever the settings make of it"),
        )
    },
    **{
        f"git {url} {ref}": {"app_source": {"git": url, "ref": ref}}
        for url, ref in (
            ("ssh://git@example.com:2222/clinic.git", "feature/#12-a+b"), ("git@h:x.git", "v1@x"),
            ("example.com:team/clinic.git", "refs/pull/7/head"), ("/srv/clinic.git", "_old"),
            ("git+ssh://git@example.com/x.git", "HEAD"), ("git@[2001:db8::1]:x.git", "version,1"),
        )
    },
    **{
        f"archive {path}": {"app_source": {"archive": path, "checksum": "SHA256:0F"}}
        for path in (
            "https://example.com/x.tar.gz?token=1", "https://example.com/repos/x/tarball/main",
            "/srv/my projects/clinic.tar.gz", "clinic.tbz2",
        )
    },
    "application by a call": {"app_wsgi": "clinic.wsgi:make()", "app_asgi": "c:make(1,debug=True)"},
    "health page": {"app_health_path": "/api/v1:health/(all)/@me,x!*+"},
    "sizes of nginx": {
        "nginx_client_max_body_size": "100M", "nginx_hsts": "max-age=1;includesubdomains",
    },
    "queues": {"celery_worker_queues": ["mail@high", "a/b", "a+b"]},
    "rabbitmq": {"app_broker": "rabbitmq"},
    "processes": {
        "app_processes": {
            "sendalerts": "manage.py sendalerts",
            "tg-bot_2": {"command": "python -m bot --greet='It''s $5 | 100%'", "memory": 256},
            "reports": {
                "queues": ["reports", "pdf.high"], "concurrency": 2, "options": ["--pool=threads"],
                "stop_timeout": 600, "sandbox": {"MemoryDenyWriteExecute": False},
            },
        },
        "app_schedules": {
            "clearsessions": {"command": "manage.py clearsessions", "on": "daily"},
            "import": {"command": "sh -c 'date; true'", True: "Mon..Fri 03:00", "timeout": 60},
        },
    },
    "no Django": {
        "app_django": "false", "app_wsgi": "shop:create_app()", "app_migrate": ["flask db upgrade"],
    },
    "no site": {"app_django": False, "app_wsgi": "", "app_domains": []},
    "no services": {"app_database": "none", "app_broker": "none", "app_celery": ""},
    "quirks": {
        "app_directory": "backend/src",
        "app_settings_module": "config.settings.production",
        "app_celery": "config.celery:app",
        "app_requirements": ["requirements/production.txt"],
        "app_dependency_groups": ["production", "gunicorn.web_2"],
        "app_packages": ["psycopg[binary]", "setuptools<81", "x @ https://example.com/x.whl"],
        "app_apt_packages": ["libpq-dev", "g++", "libstdc++6"],
        "app_shared_directories": ["media", "logs", "var/exports", ".cache"],
        "app_dotenv": ".env",
        "app_python": "3.13",
    },
    "backups in a bucket": {
        "backup_repository": "s3:https://s3.example.com:9000/bucket/a/b",
        "backup_s3_key": "AKIA", "backup_s3_secret": "a/b+c=",
    },
    "backups by SFTP": {
        "backup_repository": "sftp://ada@backup.example.com:23/clinic",
        "backup_ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n",
        "backup_ssh_host_keys": ["ssh-ed25519 AAAA"],
    },
    "no backups": {"backup_repository": "none"},
    "sizes": {
        "nginx_client_max_body_size": "1g", "gunicorn_workers": 4, "gunicorn_max_requests": 0,
        "ufw_allow": ["80", 443, "6000:6010"],
    },
    "archive": {
        "app_source": {"archive": "https://example.com/v1.tar.gz", "checksum": "sha256:0f"}
    },
    "agent": {"app_source": {"git": "git@example.com:team/clinic.git", "agent": True}},
    **{
        f"without encryption {number}": {"app_source": source}
        for number, source in enumerate(
            [
                {"git": "http://10.0.0.5:3000/x.git", "ref": "0" * 40},
                {"git": "git://[fd00::5]/x.git", "insecure": True},
                {"git": "http://ada:p%40ss@10.0.0.5/x.git", "insecure": "yes"},
                {"archive": "http://10.0.0.5/x.tar", "checksum": "SHA256:" + "0F" * 32},
                {"archive": "https://t0ken@example.com/x.tar"},
            ]
        )
    },
    "host keys": {
        "app_known_hosts": [
            "github.com,140.82.121.4 ssh-ed25519 AAAAC3Nz", "[example.com]:2222 ssh-rsa AAAA x@y",
            "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ecdsa-sha2-nistp256 A+/=",
        ],
        "app_packages": ["x @ git+ssh://git@github.com/team/x.git", "y @ git+https://github.com/y@v1"],
    },
    "signing keys": {
        "app_source": {"git": "git@example.com:team/clinic.git", "ref": "v1"},
        "app_signing_keys": ["ssh-ed25519 AAAAC3Nz ada@laptop", "sk-ssh-ed25519@openssh.com AAAA"],
    },
    "deploying": {
        "app_deploy_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        "app_before_migrate": ["yarn build", {"tasks": "/srv/tasks.yml"}],
        "app_rollback_to": "5f2c0d9a1b3e-07ccbf", "app_retry": "true",
    },
    "clients of PostgreSQL": {
        "postgresql_listen_addresses": ["localhost", "2001:db8::2"],
        "postgresql_clients": [
            CLIENT, CLIENT | {"address": "0.0.0.0/0", "database": "all", "method": "cert"},
            CLIENT | {"address": "2001:db8::/32", "type": "host"},
        ],
    },
    "numbers as text": {"redis_port": "6380", "postgresql_port": "5433", "gunicorn_timeout": "45"},
    "HTTPS by an authority": {
        "app_certificate": "letsencrypt",
        "app_domains": ["example.com", "203.0.113.7", "2001:db8::7"],
        "certbot_email": "admin@example.com", "certbot_settings": {"eab-kid": "x"},
        "nginx_hsts": "max-age=63072000; includeSubDomains; preload",
    },
    "a wildcard": WILDCARD,
    "a wildcard of another provider": WILDCARD | {
        "certbot_dns_plugin": "route53",
        "certbot_dns_credentials": {"aws_access_key_id": "x", "aws_secret_access_key": "a=b#c,d"},
    },
    "a wildcard of Google": WILDCARD | {
        "certbot_dns_plugin": "google",
        "certbot_dns_credentials": {"client_email": "a@b.c", "private_key": "-----\nx\n-----\n"},
    },
    "beside Apache": {"certbot_services": ["apache2.service", "postfix.service"]},
    "without a web server": {"certbot_services": [], "certbot_webroot": ""},
    "a private authority": {
        "certbot_certificates": {"x": ["clinic.local", "10.0.0.5"]}, "certbot_version": "5.9.1",
        "certbot_server": "https://127.0.0.1:14000/dir",
    },
    "HTTPS of one's own": {
        "app_certificate": "files", "app_domains": ["*.example.com", "[::1]"],
        "certificate_file": __file__, "certificate_key_file": __file__,
    },
    "sandbox": {
        "app_sandbox": {
            "MemoryDenyWriteExecute": False, "IPAddressAllow": ["", "localhost"],
            "ReadWritePaths": ["/srv/exports"], "SystemCallFilter": ["@resources"],
        },
        "nginx_sandbox": {"ReadWritePaths": ["/srv/cache"]}, "redis_sandbox": {"Nice": -5},
    },
    "redirects": SITE | {
        "nginx_redirects": {
            "www.example.com": "example.com", "a.example.com": "https://example.org/x?y=1",
            "b.example.net": "https://example.org:8443", "/old/": "/new/", "/": "/app/",
            "/x/": "/", "/old": "https://example.com/new#part",
        },
    },
    "locations": {
        "nginx_locations": {
            "/": {"alias": "/srv/front", "fallback": "app/index.html"}, "/health/": None,
            "/api/": {}, "/robots.txt": {"alias": "/srv/robots.txt"},
            "/front/": {"alias": "/var/www/clink-backend/current/front/dist/"},
            "/secret/": {"alias": "/var/www/clink-backend/shared/secret", "internal": "yes"},
            "/a/": {"proxy_pass": "http://127.0.0.1:8001/"},
            "/b/": {"proxy_pass": "unix:/run/b.sock"},
            "/c": {"return": 404}, "/d": {"return": "308 https://example.com/d?x=1"},
            "/e/": {"settings": {"client_max_body_size": "1g", "proxy_set_header": ["A 1", "B 2"]}},
        },
    },
    "international names": {"app_domains": ["müller.example", "*.例え.テスト", "straße.example"]},
    "behind a load balancer": {
        "nginx_health_check_from": ["10.0.0.0/8"], "app_health_path": "/health/?full=1",
    },
    "behind a proxy": {
        "nginx_real_ip_from": ["10.0.0.1", "173.245.48.0/20", "2400:cb00::/32"],
        "nginx_real_ip_header": "CF-Connecting-IP",
    },
    "uploads under a name of their own": SITE | {
        "app_media_domain": "bücher.example", "app_certificate": "selfsigned",
    },
    "a gate": {
        "nginx_basic_auth_users": {"ada.l@x": Unsafe("it's \"$y\" \\ {#1}"), "bob": 123456789012},
        "nginx_basic_auth_paths": ["/admin/", "/~x.y"],
    },
    "policies": {
        "nginx_content_security_policy": {
            "default-src": "'self' https://*.example.com:8443/x.js?y=1 data:",
            "script-src": ["'strict-dynamic'", "'sha256-47DEQpj8+/Im='", "none.example"],
            "sandbox": "allow-forms",
            "upgrade-insecure-requests": [],
            "block-all-mixed-content": None,
            "report-uri": ["/csp/"],
        },
        "nginx_content_security_policy_report_only": "true",
    },
    "no policy": {"nginx_content_security_policy": {}},
    "rules": {
        "ufw_rules": [{"rule": "allow", "port": 5432, "proto": "tcp", "from_ip": "10.0.0.0/24"}],
    },
    "watched": {
        "monitor_units": ["postgresql@15-main.service", "certbot.timer", "gunicorn.socket"],
        "monitor_email_to": ["ada@example.com", "ops+x@example.com"],
        "monitor_email_from": "The Clinic <clinic@example.com>",
        "monitor_smtp_url": f"smtp+tls://me@example.com:{SECRET}@smtp.example.com:587",
        "monitor_webhook_url": "https://hooks.example.com/services/T0/B0/x?y=%20",
        "monitor_heartbeat_url": "http://127.0.0.1:8000/ping/0f",
        "monitor_site": {},
    },
    "mail of the application": {
        "app_environment": {
            "EMAIL_URL": f"smtp://me:{SECRET}@smtp.example.com", "DEFAULT_FROM_EMAIL": "a@b.c",
        },
        "monitor_email_to": ["ada@example.com"],
    },
    "mail to the screen": {"app_environment": {"EMAIL_URL": "consolemail://"}},
    "hardened": {
        "sshd_settings": {"Port": [22, 2222], "AllowTcpForwarding": True, "Banner": "/etc/issue"},
        "fail2ban_settings": {"DEFAULT": {"bantime": "1h"}, "sshd": {"bantime.increment": False}},
        "hardening_unattended_upgrades": {
            "Automatic-Reboot": True, "Automatic-Reboot-Time": "04:00", "Package-Blacklist": ["x"],
        },
        "hardening_sysctl": {"net.ipv4.conf.eth0/1.rp_filter": 2, "-vm.swappiness": ""},
    },
}  # fmt: skip


def owner(variable):
    """Return the role that a variable is of."""
    return next(
        role
        for role in ["app_description", *ROLES]
        if variable.startswith(f"{role.split('_d')[0]}_")
    )


@pytest.mark.parametrize("row", ROWS)
def test_refused_by_name(checker, row):
    others, variable, value = ROWS[row]
    message = checker.message(others | {variable: value}, [owner(variable)])
    assert message, f"{variable}: {value!r} is let through"
    assert re.search(rf"^{variable}: ", message, re.MULTILINE), message
    assert SECRET not in message


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_name_that_nobody_knows_is_refused_with_the_nearest(checker, name):
    message = checker.message({name: "x"}, ROLES)
    assert f"{name}: there is no such variable. Did you mean {UNKNOWN[name]}?" in message


def test_a_role_that_is_used_alone_warns_of_a_name_that_nobody_knows(checker, monkeypatch):
    warned = []
    monkeypatch.setattr(check_values.Display, "warning", lambda _, text: warned.append(text))
    assert checker.message({"redis_host": "cache.internal"}, ["redis"], alone=True) == ""
    assert [line for line in warned if line.startswith("redis_host: there is no such variable.")]
    assert "redis_port: it should" in checker.message({"redis_port": 0}, ["redis"], alone=True)


@pytest.mark.parametrize(
    ("listens", "clients", "told"),
    [(["*"], [], True), (["localhost"], [], False), (["10.0.0.2"], [CLIENT], False)],
)
def test_an_open_postgresql_without_clients_is_told(checker, monkeypatch, listens, clients, told):
    warned = []
    monkeypatch.setattr(check_values.Display, "warning", lambda _, text: warned.append(text))
    given = {"postgresql_listen_addresses": listens, "postgresql_clients": clients}
    assert checker.message(given, ["postgresql"], alone=True) == ""
    assert any("without postgresql_clients" in line for line in warned) == told


@pytest.mark.parametrize("row", GOOD)
def test_let_through(checker, row):
    concerned = {owner(variable) for variable in GOOD[row]}
    assert checker.message(GOOD[row], sorted(concerned) or ROLES) == ""


def test_gunicorn_needs_an_application(checker):
    assert "app_wsgi: it should be" in checker.message({"app_wsgi": ""}, ["gunicorn"], alone=True)
    assert checker.message({"app_wsgi": ""}, ["celery_worker"], alone=True) == ""


@pytest.mark.parametrize("role", ["app_description", *ROLES])
def test_every_variable_has_a_bad_row(role):
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())
    (spec,) = specs["argument_specs"].values()
    refused = set(BAD) | {variable for _, variable, _ in TOGETHER}
    assert set(spec["options"]) - refused == set()


# --- what the rows do not show ------------------------------------------------------------------


def test_a_template_in_error_is_named(checker):
    templates = {
        "gunicorn_threads": "{{ nobody }}",
        "redis_password": "{{ lookup('ansible.builtin.file', '/nowhere') }}",
        "nginx_hsts": "{{ 1 / 0 }}",
        "app_wsgi": "{{ app_name ~ ",
    }
    path = checker.directory / "templates.yml"
    path.write_text(yaml.safe_dump(templates))
    message = checker.message(checker.read(path), ROLES)
    lines = dict(line.split(": ", 1) for line in message.splitlines()[1:])
    assert set(lines) == set(templates)
    assert (
        lines["gunicorn_threads"] == "its template uses the variable nobody, which is not defined"
    )
    assert "division by zero" in lines["nginx_hsts"]
    assert "nowhere" not in lines["redis_password"]  # a secret's error may hold a part of it


def test_what_is_derived_from_a_missing_value_is_not_a_complaint_of_its_own(checker):
    _, *lines, where = checker.message({"app_name": ABSENT}, ROLES).splitlines()
    assert [line.split(":")[0] for line in lines] == ["app_name"]
    assert where.startswith("Ansible reads this host's variables from all.yml in ")


@pytest.mark.parametrize("place", ["secrets", None, "{}/../x", "{}/a b"])
def test_nothing_is_written_where_the_secrets_cannot_be(checker, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    place = place and place.format(tmp_path / "x")
    lines = checker.message({"app_secrets": place}, ["app"]).splitlines()[1:]
    assert {line.split(":")[0] for line in lines} == {"app_secrets"}
    assert list(tmp_path.rglob("*")) == []


def test_every_complaint_says_what_should_be(checker):
    message = checker.message(
        {"redis_port": 70000, "ufw_logging": "loud", "app_domains": ["x y"], "nginx_hsts": 1}, ROLES
    )
    lines = message.splitlines()
    assert lines[0] == "Nothing was touched; please correct:"
    assert "ufw_logging: it should be off, low, medium, high or full" in lines
    assert "redis_port: it should be a port from 1 to 65535, not 70000" in lines
    assert (
        "app_domains: it should be a list of lower-case domains or IP addresses such as "
        '[example.com, 203.0.113.7], not ["x y"]'
    ) in lines
    assert (
        "nginx_hsts: it should be a value such as max-age=63072000; includeSubDomains, or empty, "
        "not 1"
    ) in lines


@pytest.mark.parametrize("role", ["app", "gunicorn", "celery_worker", "celery_beat"])
def test_a_service_checks_the_description_of_its_application(checker, role):
    assert "app_user: it should be" in checker.message({"app_user": "root\nUser=root"}, [role])


def test_an_old_name_is_told_its_new_one():
    role = values.Role("x", {"x_new": {}}, prefix="x_", renamed={"x_old": "x_new"})
    assert values.complaints([role], {}, ["x_old"]) == ["x_old: this variable is now called x_new"]


def test_old_names_lead_to_variables_that_are_there(checker):
    roles = [values.load_role(ROOT / "roles" / role) for role in ["app_description", *ROLES]]
    known = {name for role in roles for name in role.options}
    renamed = {old: new for role in roles for old, new in role.renamed.items()}
    assert renamed and set(renamed.values()) <= known and not set(renamed) & known
    message = checker.message(dict.fromkeys(renamed, "x"), ROLES)
    for old, new in renamed.items():
        assert f"{old}: this variable is now called {new}" in message.splitlines()


@pytest.mark.parametrize("role", ["app_description", *ROLES])
def test_each_check_has_known_rules(role):
    for check in values.load_role(ROOT / "roles" / role).checks:
        values.fits("x", {name: rule for name, rule in check.items() if name in values.RULES})
        assert check.get("call", "certbot has no wildcard") in values.value_functions.FUNCTIONS


@pytest.mark.parametrize(
    ("typed", "likely"),
    [
        ("https://example.com", "example.com"),
        ("http://ada@Example.com:8000/x?y", "example.com"),
        ("example.com:443", "example.com"),
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        (" example.com", "example.com"),
        ("https://MÜLLER.example/", "müller.example"),
        ("https://[2001:db8::7]:8443/", "[2001:db8::7]"),
        ("203.0.113.7:80", "203.0.113.7"),
        ("2001:DB8::7", ""),
        ("exa mple.com", ""),
        ("example..com", ""),
        ("*.*.example.com", ""),
        ("999.1.1.1", ""),
    ],
)
def test_a_name_that_is_mistyped_is_told_as_it_should_be(checker, typed, likely):
    for variable, role in (("app_domains", "app_description"), ("nginx_server_names", "nginx")):
        message = checker.message({variable: ["other.example", typed]}, [role])
        assert bool(message) == (typed != "2001:DB8::7")
        assert (f"; write {likely}\n" in message + "\n") == bool(likely), message


@pytest.mark.parametrize("missing", [False, True])
def test_an_international_name_is_written_as_browsers_send_it(monkeypatch, missing):
    if missing:
        monkeypatch.setattr(addresses, "idna", None)
    names = ["müller.example", "*.bücher.example", "mu\u0308ller.example", "xn--mller-kva.example"]
    assert addresses.domains(names) == [
        "xn--mller-kva.example", "*.xn--bcher-kva.example", "xn--mller-kva.example",
        "xn--mller-kva.example",
    ]  # fmt: skip
    assert addresses.allowed_hosts(names[:2]) == names[3:] + [".xn--bcher-kva.example"]
    assert addresses.trusted_origins(names[:1]) == ["https://xn--mller-kva.example"]
    assert addresses.alternative_names(names[:1]) == "DNS:xn--mller-kva.example"
    assert addresses.certificate_groups(names[:2]) == {
        "xn--mller-kva.example": ["xn--mller-kva.example"],
        "wildcard_xn--bcher-kva.example": ["*.xn--bcher-kva.example"],
    }
    assert addresses.requestable(names[1]) == "www.xn--bcher-kva.example"
    # Browsers keep this letter, and Python's own codec would lead to the domain strasse.example.
    assert addresses.is_host("straße.example") is not missing
    assert not any(map(addresses.is_host, ["MÜLLER.example", "a\u200d.example", "ü ü.example"]))


@pytest.mark.parametrize("variable", ["app_media_domain", "nginx_uploads_domain"])
@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("https://Uploads.example.com/", "; write uploads.example.com"),
        ("https://203.0.113.7/", ', not "https://203.0.113.7/"'),
        ("www.example.com", ', not "www.example.com"'),
    ],
)
def test_a_name_for_uploads_that_cannot_be_one_is_told(checker, variable, typed, told):
    lines = checker.message(SITE | {variable: typed}, [owner(variable)]).splitlines()
    assert [line for line in lines if line.startswith(variable) and line.endswith(told)], lines


def test_the_same_name_in_two_forms_is_refused(checker):
    twice = [["müller.example", "xn--mller-kva.example"], ["::1", "[::1]"], ["a.b", "a.b"]]
    for names in twice:
        message = checker.message({"app_domains": names}, ["app_description"])
        assert "app_domains: it should be a list that has each name once" in message


def test_hosts_are_written_as_their_readers_want_them():
    hosts = ["example.com", "*.example.org", "203.0.113.7", "2001:db8::7", "[::1]"]
    assert addresses.addresses(hosts) == hosts[2:]
    assert addresses.domains(hosts) == hosts[:2]
    assert addresses.alternative_names(hosts) == (
        "DNS:example.com,DNS:*.example.org,IP:203.0.113.7,IP:2001:db8::7,IP:::1"
    )
    assert addresses.allowed_hosts(hosts) == [
        "example.com", ".example.org", "203.0.113.7", "[2001:db8::7]", "[::1]",
    ]  # fmt: skip
    assert addresses.trusted_origins(hosts[1:4]) == [
        "https://*.example.org", "https://203.0.113.7", "https://[2001:db8::7]",
    ]  # fmt: skip
    assert addresses.certificate_groups(hosts[:1] + hosts[2:4]) == {
        "example.com": ["example.com"],
        "addresses": ["203.0.113.7", "2001:db8::7"],
    }
    assert addresses.with_addresses({"a": ["x.y"], "b": ["x.y", "::1"]}) == ["b"]


@pytest.mark.parametrize(
    ("secret", "database", "broker", "given", "problem"),
    [
        ("", "local", "local", False, "Name the secret: -e app_rotate="),
        ("secret_key", "none", "none", False, ""),
        ("secret_key", "local", "local", True, "You set app_secret_key yourself."),
        ("broker_password", "none", "local", False, ""),
        ("broker_password", "local", "local", True, "You set app_broker_password yourself."),
        ("broker_password", "local", "none", True, "app_broker is none"),
        ("broker_password", "local", "redis://x", True, "app_broker is on another server."),
        ("broker_password", "local", "rabbitmq", True, "app_broker is rabbitmq, which knows one"),
        ("database_password", "local", "none", True, ""),
        ("database_password", "none", "local", False, "app_database is none"),
        ("database_password", URL, "local", False, "app_database is on another server."),
    ],
)
def test_a_rotation_that_cannot_be_done_is_refused(secret, database, broker, given, problem):
    from ansible_collections.clink.django_stack.plugins.filter.rotation_problem import (
        rotation_problem,
    )

    told = rotation_problem(secret, database, broker, given, False)
    assert told.startswith(problem) and bool(told) == bool(problem)
    assert secret == "" or "check mode" in rotation_problem(secret, database, broker, given, True)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("redis://:secret@127.0.0.1:6379/0", True), ("redis://localhost", True),
        ("postgresql://u:p@[::1]:5432/x", True), ("rediss://:p@127.5.0.1/1", True),
        ("postgresql:///clinic", True), ("postgresql://%2Frun%2Fpostgresql/clinic", True),
        ("redis+socket:///run/redis.sock", True), ("postgresql://a.example,localhost:5433/x", True),
        ("sentinel://a.example:26379;sentinel://127.0.0.1:26379", True),
        ("redis://redis.example.com/0", False), ("redis://:@localhost.example.com/0", False),
        ("postgresql://localhost:p@db.example.com/x", False), ("amqp://127.0.0.1@mq.local", False),
        ("redis://db.example.com/localhost", False), ("memory://", False), ("local", False),
        ("none", False), ("rabbitmq", False), ("postgresql://[2001:db8::7]/x", False),
    ],
)  # fmt: skip
def test_servers_of_the_same_host_are_known_by_their_urls(url, here):
    assert addresses.is_on_this_host(url) is here


def test_every_filter_is_documented():
    from ansible_collections.clink.django_stack.plugins.filter import (
        addresses,
        databases,
        nginx_site,
        settings,
        verified,
    )

    documents = {path.stem for path in (ROOT / "plugins" / "filter").glob("*.yml")}
    of_several = (addresses, databases, nginx_site, settings, verified)
    assert {n for m in of_several for n in m.FilterModule().filters()} == documents


def test_a_text_is_added_to_a_list_of_directives():
    from ansible_collections.clink.django_stack.plugins.filter.merge_directives import (
        merge_directives,
    )

    own = {"IPAddressAllow": ["10.0.0.0/8"], "PrivateTmp": True, "IPAddressDeny": "any"}
    for more in ("localhost", ["localhost"]):
        assert merge_directives(own, {"IPAddressAllow": more}) == own | {
            "IPAddressAllow": ["10.0.0.0/8", "localhost"]
        }
    assert merge_directives(own, {"PrivateTmp": False, "IPAddressDeny": [], "Nice": 5}) == {
        "IPAddressAllow": ["10.0.0.0/8"], "PrivateTmp": False, "IPAddressDeny": [], "Nice": 5,
    }  # fmt: skip


# --- through ansible-playbook -------------------------------------------------------------------


def refusal(tmp_path, playbook, variables, **environment):
    """Run a playbook that is to be refused, from another directory; return its message's lines."""
    given = {"ansible_become": False, "ansible_python_interpreter": sys.executable} | variables
    (tmp_path / "values.json").write_text(json.dumps(given))
    command = [
        Path(sys.executable).with_name("ansible-playbook"),
        "-i",
        "localhost,",
        "-c",
        "local",
    ]
    done = subprocess.run(
        [*command, "-e", f"@{tmp_path}/values.json", playbook],
        cwd=tmp_path,
        env=os.environ | {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["stats"]["localhost"]["changed"] == 0
    results = [task["hosts"]["localhost"] for task in report["plays"][0]["tasks"]]
    (failed,) = [result for result in results if result.get("failed")]
    return failed["msg"].splitlines()


def test_five_slips_in_five_roles_give_five_complaints_in_one_run(tmp_path):
    slips = {
        "redis_port": 70000, "nginx_hsts": "forever", "gunicorn_workers": 0, "ufw_allowed": [80],
        "app_source": {"directory": "/nowhere"},
    }  # fmt: skip
    example = EXAMPLE | slips | {"app_secrets": str(tmp_path / "secrets")}
    first, *lines = refusal(tmp_path, ROOT / "site.yml", example)
    assert first == "Nothing was touched; please correct:"
    assert sorted(line.split(":")[0] for line in lines) == [
        "app_source", "gunicorn_workers", "nginx_hsts", "redis_port", "ufw_allowed",
    ]  # fmt: skip


def test_gunicorn_alone_refuses_a_user_that_would_be_a_line_of_its_unit(tmp_path):
    playbook = tmp_path / "mine.yml"
    playbook.write_text("- hosts: all\n  roles: [clink.django_stack.gunicorn]\n")
    variables = EXAMPLE | {
        "app_source": {"directory": "/nowhere"},
        "app_user": "root\nUser=root",
        "app_secrets": str(tmp_path / "secrets"),
    }
    place = {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")}
    _, *lines = refusal(tmp_path, playbook, variables, **place)
    assert [line.split(":")[0] for line in lines] == ["app_user"]

#!/bin/bash
# What site.yml does with inventories/demo.yml, as a plain script for one application and one blank
# droplet: the floor that `make bench` measures site.yml against. It runs on the droplet, as root,
# with these beside it:
#
#   common.sh     the steps that deploy.sh has, too
#   source.tar    the project's files
#   ca/*.crt      authorities that the control machine trusts, if any
#
# A second run looks whether all is as it should be, and changes and restarts nothing.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=bench/common.sh
. ./common.sh
export DEBIAN_FRONTEND=noninteractive
domains="127.0.0.1 localhost"
case $(. /etc/os-release; echo "$VERSION_ID") in
    12) pg=15 ;;
    13) pg=17 ;;
    *) echo "Debian 12 or 13" >&2; exit 1 ;;
esac
cpus=$(nproc)
ram=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)

reload=            # not empty: units have changed, systemd must read them
declare -A restart # units that must restart

# put MODE OWNER:GROUP FILE [UNIT]: make the file what stdin says; if it was not, UNIT must restart.
put() {
    local new
    new=$(mktemp)
    cat >"$new"
    if ! cmp -s "$new" "$3" || [ "$(stat -c '%a %U:%G' "$3")" != "$1 $2" ]; then
        install -D -m "$1" -o "${2%:*}" -g "${2#*:}" "$new" "$3"
        changed "$3"
        case $3 in /etc/systemd/*) reload=1 ;; esac
        if [ -n "${4-}" ]; then restart[$4]=1; fi
    fi
    rm "$new"
}

# run UNIT...: start at boot and now; restart those whose files have changed.
run() {
    local unit
    if [ -n "$reload" ]; then
        systemctl daemon-reload
        reload=
    fi
    for unit in "$@"; do
        if ! systemctl is-enabled --quiet "$unit"; then
            systemctl enable --quiet "$unit"
            changed "$unit: enabled"
        fi
        if [ -n "${restart[$unit]-}" ] || ! systemctl is-active --quiet "$unit"; then
            systemctl restart "$unit"
            changed "$unit: started"
        fi
        unset "restart[$unit]"
    done
}

# secret NAME: print a secret that is made once and kept on this host.
secret() {
    local file=/root/.$app/$1
    if [ ! -s "$file" ]; then
        install -d -m 700 "${file%/*}"
        (umask 077 && od -An -tx1 -N24 /dev/urandom | tr -d ' \n' >"$file")
    fi
    cat "$file"
}

# --- The system -------------------------------------------------------------------------------

packages=(acl ca-certificates dbus git nginx "postgresql-$pg" python3-psycopg2 python3-venv
    redis-server sudo ufw)
installed=$(dpkg-query -W -f '${db:Status-Abbrev}\n' "${packages[@]}" 2>/dev/null |
    grep -c '^ii' || true)
if [ "$installed" -ne ${#packages[@]} ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # services start below, with their settings
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update
    "${apt[@]}" -y --no-install-recommends install "${packages[@]}" >/dev/null
    rm /usr/sbin/policy-rc.d
    reload=1
    changed "packages"
fi

certificates=$changes
for file in ca/*.crt; do
    [ -e "$file" ] || continue
    put 644 root:root "/usr/local/share/ca-certificates/${file##*/}" <"$file"
done
if [ "$certificates" -ne "$changes" ]; then update-ca-certificates >/dev/null 2>&1; fi

# Every port that sshd listens on, and the one that this very connection came in by.
ssh=$({ sshd -T; echo "port ${SSH_CONNECTION##* }"; } | sed -n 's/^port //p' | sort -nu | paste -sd,)
firewall=$(ufw status verbose)
for wanted in "Status: active" "Logging: on (low)" "Default: deny (incoming)" \
    "$ssh/tcp *ALLOW IN *# SSH" "80,443/tcp *ALLOW IN *# open to everybody"; do
    # shellcheck disable=SC2053 # a pattern
    if [[ $firewall != *$wanted* ]]; then
        {
            ufw allow proto tcp to any port "$ssh" comment SSH
            ufw allow proto tcp to any port 80,443 comment "open to everybody"
            ufw default deny incoming
            ufw logging low
            ufw --force enable
        } >/dev/null
        changed "firewall"
        break
    fi
done

# --- PostgreSQL and Redis ---------------------------------------------------------------------

# size MB LEAST MOST
size() { echo $(($1 < $2 ? $2 : $1 > $3 ? $3 : $1)); }

comeback="[Unit]
StartLimitIntervalSec=0

[Service]
Restart=on-failure
RestartSec=1"

put 640 root:postgres /etc/postgresql/$pg/main/conf.d/$app.conf "postgresql@$pg-main.service" <<END
port = 5432
listen_addresses = 'localhost'
max_connections = 100
password_encryption = 'scram-sha-256'
shared_buffers = '$(size $((ram / 8)) 64 8192)MB'
effective_cache_size = '$((ram / 2))MB'
maintenance_work_mem = '$(size $((ram / 16)) 32 1024)MB'
work_mem = '$(size $((ram / 256)) 4 64)MB'
random_page_cost = 1.1
wal_compression = 'on'
log_min_error_statement = 'panic'
log_error_verbosity = 'terse'
log_connections = 'on'
log_disconnections = 'on'
END
put 644 root:root /etc/systemd/system/postgresql@.service.d/$app.conf \
    "postgresql@$pg-main.service" <<<"$comeback"

redis_password=$(secret redis)
put 640 root:redis /etc/redis/redis.conf redis-server.service <<END
dir /var/lib/redis
logfile ""
port 6379
bind 127.0.0.1 -::1
protected-mode yes
requirepass $redis_password
maxmemory $(size $((ram / 10)) 64 1048576)mb
maxmemory-policy noeviction
appendonly yes
appendfsync everysec
save ""
END
run "postgresql@$pg-main.service" redis-server.service

# The application's own connection tells whether role, password, database and owner are right.
db_password=$(secret database)
found=$(PGPASSWORD=$db_password psql -h 127.0.0.1 -U $app -Atq $app 2>/dev/null <<'END' || true
SELECT NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)
    AND datdba = r.oid AND pg_encoding_to_char(encoding) = 'UTF8'
FROM pg_roles r, pg_database WHERE rolname = current_user AND datname = current_database();
END
)
if [ "$found" != t ]; then
    runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 <<END
SELECT 'CREATE ROLE $app' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$app') \\gexec
ALTER ROLE $app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD '$db_password';
SELECT 'CREATE DATABASE $app OWNER $app ENCODING ''UTF8'' TEMPLATE template0'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '$app') \\gexec
ALTER DATABASE $app OWNER TO $app;
END
    changed "database"
fi

# --- The application --------------------------------------------------------------------------

if [ "$(getent passwd $app | cut -d: -f6,7)" != "$root:/usr/sbin/nologin" ]; then
    useradd --system --home-dir $root --no-create-home --shell /usr/sbin/nologin $app
    changed "user"
fi

put 644 root:root /etc/tmpfiles.d/$app.conf <<END
d $root 0750 $app www-data -
d $root/releases 0755 $app $app -
d $root/shared 0755 $app $app -
d $root/shared/media 2750 $app www-data -
L $root/staticfiles - - - - $root/current/.staticfiles
d /etc/$app 0750 root $app -
END
systemd-tmpfiles --create /etc/tmpfiles.d/$app.conf

if [ ! -x $uv ]; then
    python3 -m venv ${uv%/bin/uv}
    PIP_CERT=$bundle ${uv%/uv}/pip install --quiet --disable-pip-version-check uv==0.13.9
    changed "uv"
fi

# --- Its services -----------------------------------------------------------------------------

# unit NAME DESCRIPTION: the unit of a service; stdin gives what it has of its own.
unit() {
    put 644 root:root "/etc/systemd/system/$1" "$1" <<END
[Unit]
Description=$2
Wants=network-online.target
After=network-online.target postgresql.service redis-server.service
StartLimitIntervalSec=0

[Service]
User=$app
Group=$app
WorkingDirectory=$root/current
EnvironmentFile=/etc/$app/environment
Environment=HOME=$root PATH=$root/current/.venv/bin:/usr/local/bin:/usr/bin:/bin
Restart=always
RestartSec=1
UMask=0027
ProtectSystem=strict
ReadWritePaths=$root/shared
PrivateTmp=true
PrivateDevices=true
ProtectHome=true
ProtectKernelTunables=true
ProtectKernelModules=true
ProtectControlGroups=true
RestrictSUIDSGID=true
NoNewPrivileges=true
CapabilityBoundingSet=
$(cat)

[Install]
WantedBy=multi-user.target
END
}

# gunicorn UNIT DESCRIPTION: a unit that serves on the socket; stdin as above.
gunicorn() {
    unit "$1" "$2" <<END
Type=notify
NotifyAccess=all
Sockets=gunicorn.socket
ExecStart=$root/current/.venv/bin/gunicorn --config=/etc/gunicorn.conf.py $app.wsgi:application
ExecReload=/bin/kill -HUP \$MAINPID
KillMode=mixed
TimeoutStopSec=35
$(cat)
END
}

put 644 root:root /etc/gunicorn.conf.py gunicorn.service <<END
workers = $(size $((cpus + 1)) 1 $((ram * 3 / 1100 > 1 ? ram * 3 / 1100 : 1)))
threads = 4
worker_class = "gthread"
worker_tmp_dir = "/dev/shm"
timeout = 30
graceful_timeout = 30
max_requests = 20000
max_requests_jitter = 2000
forwarded_allow_ips = "*"
control_socket_disable = True

# It is ready when its workers have answered a request of their own.
import os
import socket
from wsgiref.util import setup_testing_defaults


def on_starting(server):
    server.notify_socket = os.environ.pop("NOTIFY_SOCKET", "").replace("@", "\0", 1)


def post_fork(server, worker):
    worker.notify_socket = server.notify_socket


def post_worker_init(worker):
    request = {"PATH_INFO": "/health/", "HTTP_HOST": "127.0.0.1"}
    setup_testing_defaults(request)
    b"".join(worker.wsgi(request, lambda *_: None))
    if worker.notify_socket and worker.age >= worker.cfg.workers:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", worker.notify_socket)
END
put 644 root:root /etc/systemd/system/gunicorn.socket gunicorn.socket <<END
[Unit]
Description=Socket of Gunicorn serving $app

[Socket]
ListenStream=$root/gunicorn.sock
Backlog=2048
SocketUser=$app
SocketGroup=www-data
SocketMode=0660

[Install]
WantedBy=sockets.target
END
gunicorn gunicorn.service "Gunicorn serving $app" </dev/null
gunicorn gunicorn-handover.service "Gunicorn serving $app while gunicorn.service restarts" <<END
Restart=no
RuntimeMaxSec=600
END
unit $app-trial@.service "Release %i of $app, tried before it is live" <<END
Type=notify
NotifyAccess=all
WorkingDirectory=$root/releases/%i
Environment=PATH=$root/releases/%i/.venv/bin:/usr/local/bin:/usr/bin:/bin
ExecStart=/usr/bin/env STATIC_ROOT=$root/releases/%i/.staticfiles \\
    $root/releases/%i/.venv/bin/gunicorn --config=/etc/gunicorn.conf.py \\
    --bind=127.0.0.1:$trial_port --workers=1 --threads=2 $app.wsgi:application
Restart=no
RuntimeMaxSec=300
TimeoutStopSec=5
END
unit celery.service "Celery worker of $app" <<END
Type=exec
ExecStart=$root/current/.venv/bin/celery --app=$app worker --hostname=celery@%%h --loglevel=INFO \\
    --concurrency=$(size "$cpus" 1 $((ram / 550 > 1 ? ram / 550 : 1))) \\
    --max-tasks-per-child=1000 --max-memory-per-child=400000
KillMode=mixed
TimeoutStopSec=300
END
unit celery-beat.service "Celery beat of $app" <<END
Type=exec
ExecStart=$root/current/.venv/bin/celery --app=$app beat --pidfile= --loglevel=INFO \\
    --schedule=/var/lib/$app-celery-beat/schedule
StateDirectory=$app-celery-beat
TimeoutStopSec=10
END
run # nothing yet, but systemd knows the units now

# --- Its release ------------------------------------------------------------------------------

secret_key=$(secret django)
live=$(readlink $root/current || true)
release=$(sha256sum source.tar | cut -c1-12)
before=$changes
put 640 root:$app /etc/$app/environment <<END
ALLOWED_HOSTS="${domains// /,}"
CELERY_BROKER_URL="redis://:$redis_password@127.0.0.1:6379/0"
DATABASE_URL="postgresql://$app:$db_password@127.0.0.1:5432/$app"
DEFAULT_FROM_EMAIL="clinic@example.com"
MEDIA_ROOT="$root/shared/media"
REDIS_URL="redis://:$redis_password@127.0.0.1:6379/0"
REQUESTS_CA_BUNDLE="$bundle"
SECRET_KEY="$secret_key"
SSL_CERT_FILE="$bundle"
STATIC_ROOT="$root/staticfiles"
END
put 755 root:root /usr/local/bin/$app-manage <<END
#!/bin/sh
set -eu
release=\${APP_RELEASE:-$root/current}
set -a
. /etc/$app/environment
HOME=$root
STATIC_ROOT=\${APP_RELEASE:+\$APP_RELEASE/.staticfiles}
STATIC_ROOT=\${STATIC_ROOT:-$root/staticfiles}
set +a
umask \${APP_UMASK:-0027}
cd "\$release"
exec setpriv --reuid=$app --regid=$app --init-groups --inh-caps=-all --no-new-privs \\
    -- "\$release/.venv/bin/python" manage.py "\$@"
END

if [ "$live" != "releases/$release" ] || [ "$before" -ne "$changes" ]; then
    release "$release" <source.tar
    restart[gunicorn.service]=1 restart[celery.service]=1 restart[celery-beat.service]=1
fi
run gunicorn.socket gunicorn.service celery.service celery-beat.service

# --- nginx ------------------------------------------------------------------------------------

before=$changes
put 644 root:root /etc/nginx/nginx.conf <<'END'
user www-data;
worker_processes auto;
worker_rlimit_nofile 4096;
pid /run/nginx.pid;
include /etc/nginx/modules-enabled/*.conf;
events {
    worker_connections 2048;
}
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    types_hash_max_size 2048;
    server_names_hash_bucket_size 128;
    server_tokens off;
    access_log /var/log/nginx/access.log;
    error_log /var/log/nginx/error.log;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 65;
    client_header_timeout 15s;
    client_body_timeout 15s;
    send_timeout 30s;
    gzip on;
    gzip_vary on;
    gzip_proxied any;
    gzip_min_length 1000;
    gzip_types text/css text/javascript text/plain application/javascript application/json image/svg+xml;
    open_file_cache max=2000 inactive=60s;
    open_file_cache_valid 5s;
    server {
        listen 80 default_server;
        listen [::]:80 default_server;
        server_name _;
        return 444;
    }
    include /etc/nginx/conf.d/*.conf;
    include /etc/nginx/sites-enabled/*;
}
END
put 644 root:root /etc/nginx/headers.conf <<'END'
add_header X-Content-Type-Options "nosniff" always;
add_header X-Frame-Options "DENY" always;
add_header Referrer-Policy "strict-origin-when-cross-origin" always;
add_header Cross-Origin-Opener-Policy "same-origin" always;
add_header Permissions-Policy "camera=(), geolocation=(), microphone=()" always;
END
put 644 root:root /etc/nginx/sites-available/$app <<END
upstream $app {
    server unix:$root/gunicorn.sock max_fails=0;
}
geo \$counted {
    default 1;
    127.0.0.1 0;
    ::1 0;
}
map \$counted \$client {
    0 "";
    1 \$binary_remote_addr;
}
map \$uri \$login {
    default "";
    ~^/(admin|accounts|api-auth)?/?login/\$ \$client;
    /api/token/ \$client;
}
limit_req_zone \$client zone=site:10m rate=50r/s;
limit_req_zone \$login zone=login:10m rate=12r/m;
map \$uri \$cache {
    default "public, max-age=3600";
    "~[.-][0-9a-f]{8,}\.[a-z0-9]+(\.map)?\$" "public, max-age=31536000, immutable";
}
server {
    listen 80;
    listen [::]:80;
    server_name $domains;
    client_max_body_size 20m;
    include headers.conf;
    location ^~ /.well-known/acme-challenge/ {
        root /var/www/acme;
        default_type text/plain;
    }
    location ^~ /static/ {
        alias $root/staticfiles/;
        gzip_static on;
        access_log off;
        add_header Cache-Control \$cache;
        include headers.conf;
    }
    location ^~ /media/ {
        alias $root/shared/media/;
        gzip_static on;
        access_log off;
        add_header Cache-Control \$cache;
        include headers.conf;
    }
    location / {
        limit_req zone=site burst=200 nodelay;
        limit_req zone=login burst=10 nodelay;
        limit_req_status 429;
        proxy_pass http://$app;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host \$http_host;
        proxy_set_header X-Real-IP \$remote_addr;
        proxy_set_header X-Forwarded-For \$remote_addr;
        proxy_set_header X-Forwarded-Proto \$scheme;
        proxy_set_header X-Forwarded-Host \$http_host;
        proxy_set_header Proxy "";
        proxy_redirect off;
        proxy_connect_timeout 5s;
        proxy_read_timeout 60s;
        proxy_send_timeout 60s;
    }
}
END
if [ -e /etc/nginx/sites-enabled/default ] || [ ! -e /etc/nginx/sites-enabled/$app ]; then
    rm -f /etc/nginx/sites-enabled/default
    ln -sfn ../sites-available/$app /etc/nginx/sites-enabled/$app
    changed "nginx site"
fi
if [ "$before" -ne "$changes" ]; then
    nginx -t -q
    if systemctl is-active --quiet nginx; then systemctl reload nginx; fi
fi
install -d /var/www/acme
put 644 root:root /etc/systemd/system/nginx.service.d/$app.conf nginx.service <<<"$comeback"
run nginx.service

# --- The answer -------------------------------------------------------------------------------

ask 80
echo "$changes changes"

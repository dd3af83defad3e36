#!/bin/sh
# A wiki with sessions in Redis, pages in PostgreSQL, and a site that is nginx's default server.
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends nginx postgresql redis-server >/dev/null
systemctl start nginx postgresql redis-server

redis-cli set wiki:session alive
redis-cli lpush wiki:jobs a b c
redis-cli -n 3 set wiki:third yes

runuser -u postgres -- psql -q -c "CREATE ROLE wiki LOGIN PASSWORD 'wikiwikiwiki'" -c "CREATE DATABASE wiki OWNER wiki"
runuser -u postgres -- psql -q wiki -c "CREATE TABLE pages AS SELECT 'hello' AS text" -c "ALTER TABLE pages OWNER TO wiki"

mkdir -p /var/www/wiki
echo wiki >/var/www/wiki/index.html
sed -i 's/^http {/http {\n    limit_req_zone $binary_remote_addr zone=wiki:1m rate=100r\/s;/' /etc/nginx/nginx.conf
rm /etc/nginx/sites-enabled/default
cat >/etc/nginx/sites-enabled/wiki <<'SITE'
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name wiki.example.org;
    root /var/www/wiki;
    limit_req zone=wiki burst=100;
}
SITE
nginx -q -t
systemctl reload nginx

#!/bin/bash
# What playbooks/deploy.yml does, as a plain script: the floor that `make bench` measures it
# against. It runs on a droplet that floor.sh has provisioned, as root, beside common.sh; stdin is a
# tar archive of the project.
#
# It does nothing when that source is live. What fails before the switch leaves the site as it was.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=bench/common.sh
. ./common.sh

exec 9>/run/$app.deploy
flock --nonblock 9 || { echo "another deploy goes on" >&2; exit 1; }
renice -n 5 $$ >/dev/null # others are being served

cat >source.tar
release=$(sha256sum source.tar | cut -c1-12)

if [ "$(readlink $root/current)" != "releases/$release" ]; then
    release "$release" <source.tar

    # --- Its services -------------------------------------------------------------------------

    systemctl restart --no-block celery.service # it ends its tasks first
    systemctl restart gunicorn-handover.service # which serves while the other restarts
    systemctl restart gunicorn.service
    systemctl stop --no-block gunicorn-handover.service
    systemctl restart celery-beat.service
    $app-manage shell -v 0 -c "
from celery import current_app
worker = 'celery@$(hostname)'
if not any(current_app.control.ping([worker], timeout=1) for _ in range(20)):
    raise SystemExit(f'{worker} does not answer')"
    ask 80

    # --- The oldest releases --------------------------------------------------------------------

    cd $root/releases
    find . -mindepth 1 -maxdepth 1 ! -name "$release" -printf '%T@ %f\n' | sort -rn |
        tail -n +6 | cut -d' ' -f2 | xargs -r rm -rf
fi
echo "$changes changes"

# shellcheck shell=bash
# What floor.sh and deploy.sh share: the names of things, and how a release is made.
umask 022
export LC_ALL=C

app=psychology_clinic
root=/var/www/clink-backend
uv=/opt/uv/0.13.9/bin/uv
bundle=/etc/ssl/certs/ca-certificates.crt
trial_port=8001
as_app=(setpriv "--reuid=$app" "--regid=$app" --init-groups env "HOME=$root")

changes=0
changed() {
    changes=$((changes + 1))
    echo "changed: $*"
}

# ask PORT: wait until the site answers there.
ask() {
    local answer
    for _ in {1..100}; do
        answer=$( (
            exec 3<>"/dev/tcp/127.0.0.1/$1"
            printf '%s\r\n' >&3 \
                'GET /health/ HTTP/1.0' 'Host: 127.0.0.1' 'X-Forwarded-Proto: https' ''
            head -n 1 <&3
        ) 2>/dev/null || true)
        if [[ $answer == *" 200 "* ]]; then return; fi
        sleep 0.1
    done
    echo "no answer from /health/ on port $1: $answer" >&2
    return 1
}

# build: lay out a release in this directory; stdin is a tar archive of the project.
build() {
    local inputs
    "${as_app[@]}" tar -x
    rm -rf media
    ln -s ../../shared/media media
    export UV_CACHE_DIR=$root/.uv/cache SSL_CERT_FILE=$bundle VIRTUAL_ENV=.venv
    inputs=$({ echo "$uv" && cat requirements.txt; } | sha256sum)
    if [ "$(cat $root/current/.venv/.inputs 2>/dev/null)" = "$inputs" ]; then
        cp -al $root/current/.venv .venv
    else
        "${as_app[@]}" $uv venv --quiet --relocatable --python python3 .venv # the next can link it
        export UV_COMPILE_BYTECODE=1 # the services cannot write beside the code
    fi
    "${as_app[@]}" $uv pip install --quiet gunicorn --requirements=requirements.txt
    rm -f .venv/.inputs # it may be a link to the live one's
    echo "$inputs" >.venv/.inputs
    touch .complete
}

# release NAME: build, check, migrate, collect, try, and make it current; stdin as above.
release() {
    local path=$root/releases/$1 trial=$app-trial@$1.service
    if [ ! -e "$path/.complete" ]; then
        rm -rf "$path"
        install -d -o $app -g $app "$path"
        (cd "$path" && build)
    fi

    export APP_RELEASE=$path
    $app-manage check --deploy
    $app-manage migrate --plan
    PGOPTIONS="-c lock_timeout=5s" $app-manage migrate --noinput
    APP_UMASK=0022 $app-manage collectstatic --noinput -v 0
    unset APP_RELEASE
    (
        cd "$path/.staticfiles" || exit
        find . -type f -size +1000c -regextype posix-extended \
            -regex '.*\.(css|m?js|svg|json|map|txt|xml)' -exec gzip -kf9 {} +
        find . -type f -print0 >../.static-own
        # Pages of the live release are still open; what it was handed itself is not handed on.
        if cd $root/current/.staticfiles 2>/dev/null; then
            xargs -0 cp --link --no-clobber --parents -t "$path/.staticfiles" <../.static-own
        fi
    )

    if ! { systemctl restart "$trial" && ask $trial_port; }; then
        journalctl --quiet --no-pager --lines=20 --output=cat --unit="$trial" >&2
        systemctl stop "$trial"
        exit 1
    fi
    systemctl stop "$trial"
    ln -sfn "releases/$1" $root/current.new
    mv -T $root/current.new $root/current
    changed "release $1"
}

# Run by sh -c as the application's user: a release's code and its virtual environment. It says which step it is at.
#   APP_RELEASE, APP_PROJECT      its directory, and in it that of manage.py
#   APP_ARCHIVE                   what to unpack; empty: the files of the clone in APP_REPOSITORY
#   APP_STRIP                     not empty: a single directory in the archive is not part of the project
#   APP_SHARED, APP_DIRECTORIES   where what outlives a release is, and what of it is linked into the project
#   APP_DOTENV, APP_DOTENV_FILE   a link, and where it leads
#   APP_UV, UV_PYTHON             the program and the interpreter
#   APP_LIVE                      the live release: packages that are the same there are linked, not installed anew
#   APP_REQUIREMENTS              files; empty: uv.lock, requirements.txt or pyproject.toml, whichever comes first
#   "$@"                          more packages
# Words on purpose, since validate.yml lets no spaces through: shellcheck disable=SC2086
set -eu

echo "step: source"
rm -rf "$APP_RELEASE" # what a run that was cut off has left
mkdir -p "$APP_RELEASE"
if [ -n "$APP_ARCHIVE" ]; then
    tar -xf "$APP_ARCHIVE" -C "$APP_RELEASE"
    cd "$APP_RELEASE"
    if [ -n "$APP_STRIP" ] && [ "$(ls -A | wc -l)" = 1 ] && [ -d "$(ls -A)" ]; then
        mv "$(ls -A)" .only
        find .only -mindepth 1 -maxdepth 1 -exec mv -t . {} +
        rmdir .only
    fi
else
    cd "$APP_REPOSITORY"
    git checkout-index --all --force --prefix="$APP_RELEASE/"
    git submodule --quiet foreach --recursive \
        "git checkout-index --all --force --prefix='$APP_RELEASE/'\$displaypath/"
fi
cd "$APP_PROJECT"
for directory in $APP_DIRECTORIES; do
    if [ -d "$directory" ] && [ ! -L "$directory" ]; then
        cp -a --no-clobber "$directory/." "$APP_SHARED/$directory/"
        rm -r "$directory"
    fi
    mkdir -p "$(dirname "$directory")"
    ln -sfn "$APP_SHARED/$directory" "$directory"
done
if [ -n "$APP_DOTENV" ]; then ln -sfn "$APP_DOTENV_FILE" "$APP_DOTENV"; fi

echo "step: packages"
cd "$APP_RELEASE"
first() {
    for file in "$APP_RELEASE/$1" "$APP_PROJECT/$1"; do
        if [ -f "$file" ]; then
            echo "$file"
            return
        fi
    done
}
lock='' # without one, the files are requirements
files=${APP_REQUIREMENTS:-$(first uv.lock)}
if [ -z "$APP_REQUIREMENTS" ] && [ -n "$files" ]; then
    lock=$files
elif [ -z "$files" ]; then
    files=$(first requirements.txt)
    files=${files:-$(first pyproject.toml)}
fi
inputs=$({ echo "$APP_UV" "$UV_PYTHON" "$@" && cat $files /dev/null; } | sha256sum)

if [ "$(cat "$APP_LIVE/.venv/.inputs" 2>/dev/null)" = "$inputs" ]; then
    cp -al "$APP_LIVE/.venv" .venv
else
    "$APP_UV" venv --quiet --relocatable --python "$UV_PYTHON" .venv # relocatable, so that the next can link it
    export UV_COMPILE_BYTECODE=1 # the services cannot write beside the code
fi
if [ -n "$lock" ]; then
    (cd "$(dirname "$lock")" && "$APP_UV" sync --quiet --locked --no-dev --inexact)
    files=''
fi
for file in $files; do set -- "$@" "--requirements=$file"; done
"$APP_UV" pip install --quiet gunicorn "$@"
rm -f .venv/.inputs # it may be a link to the live one's
echo "$inputs" >.venv/.inputs
touch .complete

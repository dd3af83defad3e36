# Run by sh -c as the application's user: a release's code and its virtual environment. It says which step it is at.
#   RELEASE, PROJECT      its directory, and in it that of manage.py
#   ARCHIVE               what to unpack; empty: the files of the clone in REPOSITORY
#   STRIP                 not empty: a single directory in the archive is not part of the project
#   SHARED, DIRECTORIES   where what outlives a release is, and what of it is linked into the project
#   DOTENV, DOTENV_FILE   a link, and where it leads
#   UV, UV_PYTHON         the program and the interpreter
#   LIVE                  the live release: packages that are the same there are linked and not installed anew
#   REQUIREMENTS          files; empty: uv.lock, requirements.txt or pyproject.toml, whichever comes first
#   "$@"                  more packages
# Words on purpose, since validate.yml lets no spaces through: shellcheck disable=SC2086
set -eu

echo "step: source"
rm -rf "$RELEASE" # what a run that was cut off has left
mkdir -p "$RELEASE"
if [ -n "$ARCHIVE" ]; then
    tar -xf "$ARCHIVE" -C "$RELEASE"
    cd "$RELEASE"
    if [ -n "$STRIP" ] && [ "$(ls -A | wc -l)" = 1 ] && [ -d "$(ls -A)" ]; then
        mv "$(ls -A)" .only
        find .only -mindepth 1 -maxdepth 1 -exec mv -t . {} +
        rmdir .only
    fi
else
    cd "$REPOSITORY"
    git checkout-index --all --force --prefix="$RELEASE/"
    git submodule --quiet foreach --recursive \
        "git checkout-index --all --force --prefix='$RELEASE/'\$displaypath/"
fi
cd "$PROJECT"
for directory in $DIRECTORIES; do
    if [ -d "$directory" ] && [ ! -L "$directory" ]; then
        cp -a --no-clobber "$directory/." "$SHARED/$directory/"
        rm -r "$directory"
    fi
    mkdir -p "$(dirname "$directory")"
    ln -sfn "$SHARED/$directory" "$directory"
done
if [ -n "$DOTENV" ]; then ln -sfn "$DOTENV_FILE" "$DOTENV"; fi

echo "step: packages"
cd "$RELEASE"
first() {
    for file in "$RELEASE/$1" "$PROJECT/$1"; do
        if [ -f "$file" ]; then
            echo "$file"
            return
        fi
    done
}
lock='' # without one, the files are requirements
files=${REQUIREMENTS:-$(first uv.lock)}
if [ -z "$REQUIREMENTS" ] && [ -n "$files" ]; then
    lock=$files
elif [ -z "$files" ]; then
    files=$(first requirements.txt)
    files=${files:-$(first pyproject.toml)}
fi
inputs=$({ echo "$UV" "$UV_PYTHON" "$@" && cat $files /dev/null; } | sha256sum)

if [ "$(cat "$LIVE/.venv/.inputs" 2>/dev/null)" = "$inputs" ]; then
    cp -al "$LIVE/.venv" .venv
else
    "$UV" venv --quiet --relocatable --python "$UV_PYTHON" .venv # relocatable, so that the next can link it
    export UV_COMPILE_BYTECODE=1 # the services cannot write beside the code
fi
if [ -n "$lock" ]; then
    (cd "$(dirname "$lock")" && "$UV" sync --quiet --locked --no-dev --inexact)
    files=''
fi
for file in $files; do set -- "$@" "--requirements=$file"; done
"$UV" pip install --quiet gunicorn "$@"
rm -f .venv/.inputs # it may be a link to the live one's
echo "$inputs" >.venv/.inputs
touch .complete

# Run by sh -c as the build user: the virtual environment of a release, from the project's own list of packages.
#   BUILD_RELEASE, BUILD_PROJECT  its directory, and in it that of manage.py
#   BUILD_UV, UV_PYTHON           the program and the interpreter
#   BUILD_REQUIREMENTS            files; empty: uv.lock, requirements.txt or pyproject.toml, whichever comes first
#   "$@"                          more packages
# Root has linked the packages of the live release, where they are made from the same list.
set -eu

echo "step: packages"
cd "$BUILD_RELEASE"
first() {
    for file in "$BUILD_RELEASE/$1" "$BUILD_PROJECT/$1"; do
        if [ -f "$file" ]; then
            echo "$file"
            return
        fi
    done
}
lock='' # without one, the files are requirements
files=${BUILD_REQUIREMENTS:-$(first uv.lock)}
if [ -z "$BUILD_REQUIREMENTS" ] && [ -n "$files" ]; then
    lock=$files
elif [ -z "$files" ]; then
    files=$(first requirements.txt)
    files=${files:-$(first pyproject.toml)}
fi
if [ ! -e .venv ]; then
    "$BUILD_UV" venv --quiet --relocatable --python "$UV_PYTHON" .venv # relocatable, so that the next can link it
    export UV_COMPILE_BYTECODE=1 # the services cannot write beside the code
fi
if [ -n "$lock" ]; then
    (cd "$(dirname "$lock")" && "$BUILD_UV" sync --quiet --locked --no-dev --inexact)
    files=''
fi
for file in $files; do set -- "$@" "--requirements=$file"; done
"$BUILD_UV" pip install --quiet gunicorn "$@"

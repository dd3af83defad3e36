# Run by sh -c as the build user: install the interpreter that UV_PYTHON names, unless the host has it.
# shellcheck shell=sh
set -eu
echo "step: python"
if ! "$BUILD_UV" python find --quiet --no-python-downloads "$UV_PYTHON" >/dev/null 2>&1; then
    UV_PYTHON_DOWNLOADS=manual "$BUILD_UV" python install --quiet "$UV_PYTHON"
fi

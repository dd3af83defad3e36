# Run by sh -c as the build user: lay out the code of a release. It says which step it is at.
#   BUILD_RELEASE, BUILD_PROJECT     its directory, and in it that of manage.py
#   BUILD_ARCHIVE                    what to unpack; empty: the files of the clone in BUILD_REPOSITORY
#   BUILD_STRIP                      not empty: a single directory in the archive is not part of the project
#   BUILD_SHARED, BUILD_DIRECTORIES  where what outlives a release is, and what of it is linked into the project
#   BUILD_DOTENV, BUILD_DOTENV_FILE  a link, and where it leads
# Word splitting is wanted: the check of the values lets no spaces through.
# shellcheck shell=sh disable=SC2086
set -eu

echo "step: source"
if [ -n "$BUILD_ARCHIVE" ]; then
    tar -xf "$BUILD_ARCHIVE" -C "$BUILD_RELEASE"
    cd "$BUILD_RELEASE"
    if [ -n "$BUILD_STRIP" ] && [ "$(find . -mindepth 1 -maxdepth 1 -printf x)" = x ] && [ -d "$(ls -A)" ]; then
        mv "$(ls -A)" .only
        find .only -mindepth 1 -maxdepth 1 -exec mv -t . {} +
        rmdir .only
    fi
else
    cd "$BUILD_REPOSITORY"
    git checkout-index --all --force --prefix="$BUILD_RELEASE/"
    git submodule --quiet foreach --recursive \
        "git checkout-index --all --force --prefix='$BUILD_RELEASE/'\$displaypath/"
fi
cd "$BUILD_PROJECT"
rm -rf "$BUILD_RELEASE/.shared" "$BUILD_RELEASE/.staticfiles"
for directory in $BUILD_DIRECTORIES; do
    if [ -d "$directory" ] && [ ! -L "$directory" ]; then
        mkdir -p "$BUILD_RELEASE/.shared/$(dirname "$directory")"
        mv "$directory" "$BUILD_RELEASE/.shared/$directory"
    fi
    mkdir -p "$(dirname "$directory")"
    ln -sfn "$BUILD_SHARED/$directory" "$directory"
done
if [ -n "$BUILD_DOTENV" ]; then ln -sfn "$BUILD_DOTENV_FILE" "$BUILD_DOTENV"; fi

# Fails if a unit or a drop-in has a directive or a value that systemd does not know and would ignore.
# shellcheck shell=sh
unit=/run/$$-verify.${2:-service}
cp "$1" "$unit"
said=$(systemd-analyze verify --man=no "$unit" 2>&1 | grep -F "$unit:")
rm "$unit"
if [ -n "$said" ]; then
    echo "$said" >&2
    exit 1
fi

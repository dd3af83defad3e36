#!/bin/bash -eu
# Gives a command the new lines of the journal on who logged in, who used sudo, and who changed an application:
#   audit.sh CURSOR COMMAND...
# CURSOR is a file that keeps the place in the journal. If the command fails, the next run gives it the same lines again.
set -o pipefail
umask 027
cursor=$1
shift
if [ -e "$cursor" ]; then cp "$cursor" "$cursor.next"; else rm -f "$cursor.next"; fi
# Logins, sessions, commands of sudo, and what the module app_release says; not each step of a connection.
told=': Accepted \S+ for |pam_unix\(.*session (opened|closed) |COMMAND=|, by .*: (begins|ends), live is '
# Fields that begin with an underscore come from the kernel: no other user can write such lines.
lines=$(journalctl --quiet --no-pager --output=short-iso --cursor-file="$cursor.next" \
    _UID=0 SYSLOG_IDENTIFIER=sshd SYSLOG_IDENTIFIER=sshd-session SYSLOG_IDENTIFIER=login SYSLOG_IDENTIFIER=su \
    SYSLOG_IDENTIFIER=django_stack + _EXE=/usr/bin/sudo _EXE=/usr/lib/cargo/bin/sudo | sed -nE "/$told/p")
if [ -n "$lines" ]; then printf '%s\n' "$lines" | "$@"; fi
if [ -e "$cursor.next" ]; then mv "$cursor.next" "$cursor"; fi

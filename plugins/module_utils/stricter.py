"""Settings of a host that are stricter than those of a role, which then stay as they are.

A role hardens a host, and a hardened host may be ahead of it: a file of the role must not loosen
what is there. Source: sshd_config(5), sysctl.d(5), the kernel's Documentation/admin-guide/sysctl.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

UNLIMITED = float("inf")
LIMIT = 30  # seconds for sshd
SYSCTL_DIRECTORIES = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
]
SYSCTL_LAST = "/etc/sysctl.conf"  # systemd reads it by a link 99-sysctl.conf, where there is one
# What PermitRootLogin allows: all, keys, keys with a command of theirs, nothing.
ROOT_LOGIN = ["no", "forced-commands-only", "prohibit-password", "yes"]
FORWARDING = {"no": "", "local": "l", "remote": "r", "yes": "lr", "all": "lr"}
# Kernel settings of which a higher value is stricter, and the role's is not the highest.
HIGHER = {"kernel.yama.ptrace_scope", "net.ipv4.tcp_syncookies"}
FAIL2BAN = "/etc/fail2ban/jail.d/*.conf"  # fail2ban reads them before jail.local
# Seconds of the units of fail2ban; a permanent ban is -1.
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "mo": 2629746, "y": 31556952}
Choice = Callable[[str, str], str]


def _lower(ours: str, theirs: str) -> str:
    """Return the lower of two numbers."""
    return theirs if int(theirs) < int(ours) else ours


def _lower_limit(ours: str, theirs: str) -> str:
    """Return the lower of two limits, where 0 is no limit."""
    return theirs if (int(theirs) or UNLIMITED) < (int(ours) or UNLIMITED) else ours


def _refused(ours: str, theirs: str) -> str:
    """Return "no" if one of two says so."""
    return theirs if theirs == "no" else ours


def _root_login(ours: str, theirs: str) -> str:
    """Return the stricter of two values of PermitRootLogin."""
    theirs = theirs.replace("without-password", "prohibit-password")
    return min(ours, theirs, key=ROOT_LOGIN.index)


def _forwarding(ours: str, theirs: str) -> str:
    """Return the directions of a forwarding that both values allow."""
    both = set(FORWARDING[ours]) & set(FORWARDING[theirs])
    return next(name for name, allowed in FORWARDING.items() if set(allowed) == both)


def _startups(ours: str, theirs: str) -> str:
    """Return of two values of MaxStartups the stricter beginning, rate and end."""
    first, second = (list(map(int, text.split(":"))) for text in (ours, theirs))
    best = [
        min(first[0], second[0]),
        max(first[1], second[1]),
        min(first[2], second[2]),
    ]
    return ":".join(map(str, best))


SSHD: dict[str, Choice] = {
    "allowagentforwarding": _refused,
    "allowtcpforwarding": _forwarding,
    "clientalivecountmax": _lower_limit,
    "clientaliveinterval": _lower_limit,
    "compression": _refused,
    "kbdinteractiveauthentication": _refused,
    "logingracetime": _lower_limit,
    "maxauthtries": _lower,
    "maxsessions": _lower,
    "maxstartups": _startups,
    "passwordauthentication": _refused,
    "permitrootlogin": _root_login,
    "tcpkeepalive": _refused,
    "x11forwarding": _refused,
}


def _chosen(choice: Choice, ours: str, theirs: str) -> str:
    """Return the stricter value; ours where one of them cannot be read."""
    try:
        return choice(ours, theirs)
    except (ValueError, KeyError, IndexError):
        return ours


def sshd(text: str, there: Mapping[str, str], own: Collection[str]) -> str:
    """Return the role's settings of sshd, with those of the host where they are stricter.

    Args:
        text: the file of the role.
        there: what the host has without the file, by names in small letters, as `sshd -T` prints.
        own: names in the file that the description sets, which stay as they are.
    """
    lines = []
    for line in text.splitlines():
        name, _sep, ours = line.partition(" ")
        theirs = there.get(name.lower())
        choice = SSHD.get(name.lower())
        if choice and theirs and name not in own:
            line = f"{name} {_chosen(choice, ours, theirs)}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def sshd_there(path: str) -> dict[str, str]:
    """Return the settings that sshd has without a file, by names in small letters.

    Args:
        path: of the file, which is hidden in a separate mount namespace; it may be missing.
    """
    script = 'mkdir -p /run/sshd; [ ! -e "$0" ] || mount --bind /dev/null "$0"; exec sshd -T'
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-ec", script, path],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        errors="replace", timeout=LIMIT, env=environment, cwd="/", check=False,
    )  # fmt: skip
    pairs = [line.partition(" ") for line in done.stdout.splitlines()]
    return {name: value.strip() for name, _sep, value in pairs}


def sysctl(text: str, there: Mapping[str, list[str]], own: Collection[str]) -> str:
    """Return the role's kernel settings, with those of the host where they are stricter.

    Args:
        text: the file of the role.
        there: the values that the host has, in the kernel and in other files, by names with dots.
        own: names in the file that the description sets, which stay as they are.
    """
    lines = []
    for line in text.splitlines():
        name, equals, value = (part.strip() for part in line.partition("="))
        if equals and name in HIGHER and name not in own:
            numbers = [each for each in there.get(name, []) if each.isdecimal()]
            line = f"{name} = {max([value, *numbers], key=int)}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def sysctl_there(path: str) -> dict[str, list[str]]:
    """Return the values that the host has for what `sysctl` compares.

    Args:
        path: of the role's file, which does not count.
    """
    files = [file for each in SYSCTL_DIRECTORIES for file in glob.glob(f"{each}/*.conf")]
    texts = [Path(file).read_text(errors="replace") for file in [*files, SYSCTL_LAST]
             if file != path and os.path.isfile(file)]  # fmt: skip
    found: dict[str, list[str]] = {}
    for name in HIGHER:
        spelled = re.escape(name).replace(r"\.", "[./]")
        set_to = re.compile(rf"^\s*-?{spelled}\s*=\s*(\S+)\s*$", re.MULTILINE)
        found[name] = [value for text in texts for value in set_to.findall(text)]
        kernel = Path("/proc/sys", name.replace(".", "/"))
        if kernel.is_file():
            found[name].append(kernel.read_text().strip())
    return found


def seconds(duration: str) -> float:
    """Return a duration of fail2ban in seconds, such as "1d 12h"; 0 for what is none.

    Source: jail.conf(5), "Time formats".
    """
    if duration.strip() == "-1":
        return UNLIMITED
    parts = re.findall(r"(\d+) *([a-z]*)", duration)
    return sum(int(number) * UNITS.get(unit, 0) for number, unit in parts)


def fail2ban(text: str, there: Collection[str], own: Collection[str]) -> str:
    """Return the role's settings of fail2ban, with a longer limit of a ban where the host has one.

    Args:
        text: the file of the role.
        there: the texts of the host's own files, which would count less than the role's.
        own: names in the file that the description sets, which stay as they are.
    """
    name = "bantime.maxtime"
    line = re.compile(rf"^{re.escape(name)} *= *(.+?) *$", re.MULTILINE)
    ours = line.search(text)
    if not ours or name in own:
        return text
    longest = max(
        [ours[1], *(value for each in there for value in line.findall(each))], key=seconds
    )
    return text[: ours.start()] + f"{name} = {longest}" + text[ours.end() :]


def kept(kind: str, path: str, text: str, own: Collection[str]) -> str:
    """Return the text of a role's file in which no value is looser than the host's.

    Args:
        kind: "sshd", "sysctl" or "fail2ban".
        path: of the file on the host.
        text: what the role makes of it.
        own: names in the file that the description sets, which stay as they are.
    """
    if kind == "sshd":
        return sshd(text, sshd_there(path), own)
    if kind == "fail2ban":
        return fail2ban(
            text, [Path(file).read_text(errors="replace") for file in glob.glob(FAIL2BAN)], own
        )
    return sysctl(text, sysctl_there(path), own)

"""Says in the journal who did what to an application; the role hardening keeps such lines longer.

``journalctl -t django_stack _UID=0`` shows them. Only processes of root write lines with _UID=0.
"""

from __future__ import annotations

import syslog

NAME = "django_stack"


def sentence(application: str, play: str, by: str, told: str) -> str:
    """Return what is said, as one line without control characters.

    Args:
        application: its name.
        play: the name of the play, such as "Deploy the application".
        by: the user and the machine that run Ansible.
        told: what has happened.
    """
    text = " ".join(f"{application}: {play or 'a run'}, by {by}: {told}".split())
    return "".join(each if each.isprintable() else "?" for each in text)


def tell(text: str) -> None:
    """Write a line to the journal. The facility is the one of logins and sudo."""
    syslog.openlog(NAME, 0, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_NOTICE, text)
    syslog.closelog()

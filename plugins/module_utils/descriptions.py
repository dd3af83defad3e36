"""Says what a run applies, and compares two descriptions of a host by digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# By the names of roles and variables: digests of the text and of the rendered value, which is empty
# where the value cannot be rendered.
Roles = dict[str, dict[str, list[str]]]


def is_same(one: list[str], other: list[str]) -> bool:
    """Return whether two values of a variable are the same.

    A template can give another value, and another text the same one, so the rendered values count;
    the texts do where one of the values uses what a run does not know, such as a fact of the host.
    """
    texts, values = zip(one, other, strict=True)
    return values[0] == values[1] if all(values) else texts[0] == texts[1]


def changed(before: Roles, after: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """Return the variables of two descriptions that differ, sorted.

    Args:
        before: what is remembered. A role that is not in it was not set up, or by an earlier
            version.
        after: the description now.
    """
    found = []
    for role, now in after.items():
        if role not in before:
            continue
        known = before[role]
        for name in {*known, *now}:
            if name not in known or name not in now or not is_same(known[name], now[name]):
                found.append(name)
    return sorted(found)


def applied(roles: set[str], tags: Iterable[str], skipped: Iterable[str]) -> set[str]:
    """Return the roles that a run has applied.

    The variables of an application are for several roles, so that only a whole run applies them.

    Args:
        roles: those of the play, which do not name app_description.
        tags: those of the run, "all" without --tags.
        skipped: those of --skip-tags.
    """
    tags, skipped = set(tags), set(skipped)
    if tags == {"all"} and not skipped:
        return roles | {"app_description"}
    return {role for role in roles - skipped - {"app_description"} if "all" in tags or role in tags}

"""What the inventory gives beside what a play sets: a play's `vars` hide the inventory's values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def given(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a host's variables of the inventory and the command line, not rendered.

    Args:
        variables: all variables of the host. Without `hostvars` nothing is given.
    """
    if "hostvars" not in variables:
        return {}
    found: Mapping[str, Any] = variables["hostvars"].raw_get(variables["inventory_hostname"])
    return found


def places(variables: Mapping[str, Any]) -> str:
    """Return a sentence that says where Ansible looks for the variables of a host."""
    groups = " and ".join(f"{name}.yml" for name in ["all", *variables.get("group_names", [])])
    directory = Path(str(variables.get("inventory_dir") or "."), "group_vars")
    return f"Ansible reads this host's variables from {groups} in {directory}."


def misplaced(root: Path, inventories: Iterable[str]) -> list[str]:
    """Return one line for each directory of variables beside the playbooks of the collection.

    Ansible reads them for a playbook of the same directory only, and they win over the inventory's.

    Args:
        root: the directory of the collection.
        inventories: files or directories; what is beside one of them is read by all playbooks.
    """
    beside = {path if path.is_dir() else path.parent for path in map(Path, inventories)}
    lines = []
    for place in (root, root / "playbooks"):
        for name in ("group_vars", "host_vars"):
            path = place / name
            if place not in beside and any(each.is_file() for each in path.rglob("*")):
                lines.append(
                    f"{path}: only some of the playbooks would read it; move its files into "
                    f"{name} beside your inventory"
                )
    return lines


def merged(wanted: Any, own: Any) -> Any:  # noqa: ANN401 - lists and dictionaries of YAML
    """Return a given list or dictionary with what the play adds to it.

    Args:
        wanted: the given value. Of another type it stays as it is, and check_values refuses it.
        own: what the play adds: to a list at its beginning, to a dictionary with keys that win.
    """
    if isinstance(own, Mapping) and isinstance(wanted, Mapping):
        nested = {
            key: merged(wanted[key], value)
            for key, value in own.items()
            if isinstance(value, Mapping) and isinstance(wanted.get(key), Mapping)
        }
        return {**wanted, **own, **nested}
    if isinstance(own, (list, tuple)) and isinstance(wanted, (list, tuple)):
        known = [in_texts(item) for item in own]
        return [*own, *(item for item in wanted if in_texts(item) not in known)]
    return wanted


def in_texts(value: object) -> object:
    """Return a value in texts: the command line has texts where YAML has numbers and booleans."""
    if isinstance(value, Mapping):
        return {str(key): in_texts(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [in_texts(each) for each in value]
    text = str(value)
    return text.lower() if text.lower() in ("true", "false") else text


def in_force(wanted: object, used: object) -> bool:
    """Return whether a given value is in the value that is used.

    Args:
        wanted: the given value. Of a dictionary each key must be there, of a list each item.
        used: the value that the roles get.
    """
    if isinstance(wanted, Mapping) and isinstance(used, Mapping):
        return not lost_keys(wanted, used)
    if isinstance(wanted, (list, tuple)) and isinstance(used, (list, tuple)):
        known = [in_texts(item) for item in used]
        return all(in_texts(item) in known for item in wanted)
    return in_texts(wanted) == in_texts(used)


def lost_keys(wanted: Mapping[Any, Any], used: Mapping[Any, Any]) -> list[str]:
    """Return the keys of a given dictionary whose values are not in the one that is used."""
    known = {str(key): value for key, value in used.items()}
    return [
        str(key)
        for key, value in wanted.items()
        if str(key) not in known or not in_force(value, known[str(key)])
    ]


def complaint(name: str, wanted: object, used: object, intended: object, does: str) -> str:
    """Return why a given value is not what the roles need, or an empty text.

    The values are not in it, because they may be secret.

    Args:
        name: of a variable that site.yml sets.
        wanted: its value in the inventory or on the command line.
        used: the value that the roles get.
        intended: the value that site.yml sets. The command line can replace it.
        does: what site.yml does with the variable, such as `sets it to app_domains`.
    """
    if not in_force(wanted, intended):
        keys = ""
        if isinstance(wanted, Mapping) and isinstance(intended, Mapping):
            keys = f" of {', '.join(lost_keys(wanted, intended))}"
        return f"{name}: the value{keys} would not be used, because site.yml {does}"
    if in_texts(used) != in_texts(intended):
        return f"{name}: give it in the inventory, not on the command line: site.yml {does}"
    return ""

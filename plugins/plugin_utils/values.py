"""Checks variables of roles: types come from argument_specs, rules from checks.yml.

The functions work without Ansible; the action plugin `check_values` calls them with the values.

`roles/<role>/checks.yml` holds:

* `prefix`: a pattern for the names that are the role's; without it, `<role>_`.
* `renamed`: new names of variables by the old names that earlier versions had.
* `first`: variables that are checked before others are rendered, because a template that uses them
  may write a file. While one of them is wrong, what uses it is not rendered.
* `no_site`: variables that need no run of site.yml after a change: playbooks/deploy.yml applies
  them, or they are for the control machine.
* `includes`: roles that the role includes. It sets their required variables itself.
* `site`: what playbooks/site.yml does with variables that it sets, in the words of their READMEs.
* `checks`: a list. Each check has `name` (the variable), `should` (the end of "it should be ..."),
  rules, and where it is needed `secret: true` (no message shows the variable's value) and `when`
  (values that other variables must have, else the check is left out). All rules of a check must
  hold. They are the functions of RULES below, and `call`, a function of `value_functions`. With
  `warn: true` a broken check is a warning, and `should` the end of "the run goes on, but".
* checks of the form `name`, `reserved`, `inside`: names of settings that the dictionary may not
  have, as patterns, each with what sets them instead. `inside` lists the keys to the dictionaries
  of settings, `*` for all keys.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from . import settings, value_functions

Rules = Mapping[str, Any]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader is ten times as fast
KEYS_OF_A_CHECK = frozenset(
    {"name", "should", "secret", "when", "call", "suggest", "warn", "reserved", "inside"}
)
BOOLEANS = frozenset({"true", "false", "yes", "no", "on", "off", "1", "0"})  # Ansible's `bool`
TYPES = {
    "str": "a text, in quotes where YAML would make something else of it",
    "path": "a path",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "a dictionary",
    "list": "a list, its texts in quotes where YAML would make something else of them",
}


@dataclass(frozen=True)
class Unresolved:
    """A value that could not be rendered.

    Attributes:
        reason: Ansible's message, of one line.
    """

    reason: str

    @property
    def undefined(self) -> str:
        """The variable that is missing, where the reason names it."""
        found = re.search(r"'([A-Za-z_][A-Za-z0-9_]*)' is undefined", self.reason)
        return found[1] if found else ""


@dataclass(frozen=True)
class Role:
    """The rules of a role for its variables.

    Attributes:
        name: its short name.
        options: the options of argument_specs, by their names.
        checks: the checks of checks.yml.
        prefix: a pattern that the names of its variables match at their beginning.
        dependencies: short names of the roles that it depends on.
        first: variables that are checked before what uses them is rendered.
        renamed: new names by old ones, of variables that an earlier version had.
        no_site: variables that need no run of site.yml after a change.
        site: what site.yml does with the variables that it sets.
        includes: short names of the roles that it includes.
        passed: variables that the roles set that include this one.
    """

    name: str
    options: Mapping[str, Any]
    checks: list[Mapping[str, Any]] = field(default_factory=list)
    prefix: str = ""
    dependencies: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    renamed: Mapping[str, str] = field(default_factory=dict)
    no_site: list[str] = field(default_factory=list)
    site: Mapping[str, str] = field(default_factory=dict)
    includes: list[str] = field(default_factory=list)
    passed: frozenset[str] = frozenset()

    @property
    def secrets(self) -> set[str]:
        """The variables whose values no message shows."""
        return {check["name"] for check in self.checks if check.get("secret")} | {
            name for name, option in self.options.items() if option.get("no_log")
        }


@cache
def load_role(directory: Path) -> Role:
    """Read the rules of a role of the collection.

    Args:
        directory: of the role.

    Raises:
        OSError: a file cannot be read.
        ValueError: a check is of a variable that argument_specs does not know, or has an unknown
            rule.
    """

    def read(path: Path) -> dict[str, Any]:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER) or {}

    specs = read(directory / "meta" / "argument_specs.yml")["argument_specs"]
    options = next(iter(specs.values()))["options"]
    table = read(directory / "checks.yml")
    role = Role(
        name=directory.name,
        options=options,
        checks=table.get("checks", []),
        prefix=table.get("prefix", f"{directory.name}_"),
        first=table.get("first", []),
        renamed=table.get("renamed", {}),
        no_site=table.get("no_site", []),
        site=table.get("site", {}),
        includes=table.get("includes", []),
        dependencies=[
            dependency["role"].rsplit(".", 1)[-1]
            for dependency in read(directory / "meta" / "main.yml").get("dependencies", [])
        ],
    )
    if strange := {*role.no_site, *role.site} - set(options):
        raise ValueError(f"{directory.name}/checks.yml: no such variables: {strange}")
    for check in role.checks:
        unknown = set(check) - KEYS_OF_A_CHECK - set(RULES)
        told = "should" in check or "reserved" in check
        if unknown or check["name"] not in options or not told:
            raise ValueError(f"{directory.name}/checks.yml: {check}")
    return role


def with_dependencies(names: Iterable[str], directory: Path) -> list[Role]:
    """Read roles and those that they depend on or include, each once, dependencies first.

    Args:
        names: short or full names; names of other roles are ignored.
        directory: that holds the roles.
    """
    roles: dict[str, Role] = {}

    def add(name: str) -> None:
        path = directory / name
        if name in roles or not (path / "meta" / "argument_specs.yml").is_file():
            return
        role = load_role(path)
        for dependency in role.dependencies:
            add(dependency)
        roles[name] = role

    for name in names:
        add(name.rsplit(".", 1)[-1])
    for role in list(roles.values()):
        for name in role.includes:
            roles.setdefault(name, _as_included(load_role(directory / name)))
    return list(roles.values())


def _as_included(role: Role) -> Role:
    """Return a role whose required variables are set by the roles that include it."""
    passed = {name for name, option in role.options.items() if option.get("required")}
    options = {
        name: {key: value for key, value in option.items() if key != "required"}
        for name, option in role.options.items()
    }
    return replace(role, options=options, passed=frozenset(passed))


def is_text(value: object) -> bool:
    """Return whether a value is a text, or a number that Ansible makes one of."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def has_type(value: object, kind: str) -> bool:
    """Return whether a value has a type of argument_specs, without a loss by a conversion."""
    if kind == "str":
        return is_text(value)
    if kind == "path":
        return isinstance(value, str)
    if kind == "int":
        return is_text(value) and bool(re.fullmatch(r"-?[0-9]{1,18}", str(value)))
    if kind == "float":
        number = isinstance(value, float) and math.isfinite(value)
        return number or (
            is_text(value) and bool(re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", str(value)))
        )
    if kind == "bool":
        return isinstance(value, (bool, str, int)) and str(value).lower() in BOOLEANS
    if kind == "dict":
        return isinstance(value, Mapping)
    if kind == "list":
        return isinstance(value, (list, tuple))
    return True


def has_nul(value: object) -> bool:
    """Return whether a value holds the character NUL, which files and command lines cannot hold."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(has_nul(key) or has_nul(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(map(has_nul, value))


def mistyped(value: object, option: Mapping[str, Any]) -> str:
    """Return what a value should be, if it does not fit argument_specs.

    Args:
        value: the rendered value.
        option: the variable's entry in argument_specs.

    Returns:
        the end of a sentence "it should be ...", or an empty text.
    """
    kind = option.get("type", "str")
    if not has_type(value, kind):
        return TYPES[kind]
    if has_nul(value):
        return "without the character NUL"
    if "choices" in option and str(value) not in map(str, option["choices"]):
        *others, last = (str(choice) or "''" for choice in option["choices"])
        return f"{', '.join(others)} or {last}" if others else last
    if kind == "list":
        elements = option.get("elements", "raw")
        if not all(has_type(item, elements) for item in value):  # type: ignore[attr-defined]
            return f"{TYPES['list']}; each item {TYPES[elements]}"
    if "options" in option:
        for part in value if kind == "list" else [value]:  # type: ignore[attr-defined]
            wrong = misfit_of_parts(part, option["options"])
            if wrong:
                return wrong
    return ""


def misfit_of_parts(value: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return what a dictionary should be, where its keys or their values do not fit its options."""
    unknown = [str(key) for key in value if key not in options]
    if unknown:
        return f"a dictionary with no other keys than {', '.join(options)}"
    for key, option in options.items():
        if option.get("required") and key not in value:
            return f"a dictionary with the key {key}"
        wrong = mistyped(value[key], option) if value.get(key) is not None else ""
        if wrong:
            return f"a dictionary whose {key} is {wrong}"
    return ""


def _pattern(pattern: str) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, (str, int, float)) and re.fullmatch(pattern, str(value)) is not None
    )


def _items(value: object) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _range(limits: list[float]) -> Callable[[Any], bool]:
    lowest, highest = limits
    return lambda value: lowest <= float(value) <= highest


# Each rule's function gets the rule's argument and returns a test of a value.
RULES: dict[str, Callable[[Any], Callable[[Any], bool]]] = {
    # The whole text is like a regular expression.
    "match": _pattern,
    # One of the named kinds of value_functions.KINDS.
    "is": lambda kind: value_functions.KINDS[kind],
    # Equal to one of these, or to none of them.
    "one_of": lambda choices: lambda value: value in choices,
    "none_of": lambda choices: lambda value: value not in choices,
    # A number from the first to the second, both included.
    "range": _range,
    # A number above this.
    "above": lambda limit: lambda value: float(value) > limit,
    # From the first to the second number of items or characters.
    "length": lambda limits: lambda value: limits[0] <= len(value) <= limits[1],
    # No item twice.
    "unique": lambda _: lambda value: len(set(map(str, value))) == len(value),
    # Rules for each item of a list; a value that is no list is one item.
    "each": lambda rules: lambda value: all(fits(item, rules) for item in _items(value)),
    # Rules for each key of a dictionary, and for each value.
    "keys": lambda rules: lambda value: all(fits(key, rules) for key in value),
    "values": lambda rules: lambda value: all(fits(item, rules) for item in value.values()),
    # Rules for the values of some keys, which must be there.
    "item": lambda parts: lambda value: all(fits(value[key], parts[key]) for key in parts),
    # Of several sets of rules, one holds.
    "any": lambda several: lambda value: any(fits(value, rules) for rules in several),
    # A type of argument_specs.
    "type": lambda kind: lambda value: has_type(value, kind),
}


def fits(value: object, rules: Rules) -> bool:
    """Return whether a value keeps all rules.

    Args:
        value: of any type; a rule that cannot be asked of it is broken.
        rules: arguments by the names of RULES.
    """
    try:
        return all(RULES[name](argument)(value) for name, argument in rules.items())
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError):
        return False


def breaks(check: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Return whether a variable breaks a check of its role.

    Args:
        check: an entry of checks.yml.
        values: all rendered values whose types are right. A check that asks for another one is
            left out: that one has a complaint of its own.
    """
    condition = check.get("when", {})
    if check["name"] not in values or not set(condition) <= set(values):
        return False
    for name, wanted in condition.items():
        if str(values[name]) not in map(str, _items(wanted)):
            return False
    rules = {name: argument for name, argument in check.items() if name in RULES}
    if not fits(values[check["name"]], rules):
        return True
    if "call" not in check:
        return False
    try:
        return not value_functions.FUNCTIONS[check["call"]](values)
    except KeyError:
        return False
    except (TypeError, ValueError, AttributeError):
        return True


def suggestion(check: Mapping[str, Any], value: object) -> str:
    """Return what to write instead of the wrong items of a value; empty where nobody knows."""
    if "suggest" not in check:
        return ""
    found = map(value_functions.SUGGESTIONS[check["suggest"]], _items(value))
    likely = ", ".join(dict.fromkeys(filter(None, found)))
    return f"; write {likely}" if likely else ""


def is_wrong(name: str, value: object, role: Role) -> bool:
    """Return whether one variable of a role is wrong, whatever the others are.

    Args:
        name: of the variable.
        value: rendered, or Unresolved.
        role: whose variable it is.
    """
    return (
        isinstance(value, Unresolved)
        or bool(mistyped(value, role.options[name]))
        or any(breaks(check, {name: value}) for check in role.checks if check["name"] == name)
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like another one; empty where none is like it."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)), "")


def unknown_names(role: Role, names: Iterable[str], known: set[str]) -> list[str]:
    """Return the names that begin like the role's variables and that nobody knows, sorted."""
    return sorted(name for name in names if re.match(role.prefix, name) and name not in known)


def complaints(
    roles: Iterable[Role],
    values: Mapping[str, Any],
    names: Iterable[str] = (),
) -> list[str]:
    """Return one line for each wrong value of several roles.

    Args:
        roles: whose variables are checked.
        values: rendered values, or Unresolved, by the names of variables; what is not defined is
            not there.
        names: of all variables of the host, for those that have a new name.
    """
    roles, names = list(roles), list(names)
    lines: list[str] = []
    wrong: set[str] = set()
    usable: dict[str, Any] = {}
    unresolved: dict[str, tuple[Unresolved, bool]] = {}
    for role in roles:
        for name, option in role.options.items():
            if name not in values:
                if option.get("required"):
                    should = [
                        check["should"]
                        for check in role.checks
                        if check["name"] == name and "should" in check
                    ]
                    told = f"it should be {should[0]}" if should else "it should be given"
                    lines.append(f"{name}: {told}; it is not given")
                    wrong.add(name)
            elif isinstance(values[name], Unresolved):
                unresolved[name] = (values[name], name in role.secrets)
            elif should_be := mistyped(values[name], option):
                lines.append(f"{name}: it should be {should_be}")
                wrong.add(name)
            else:
                usable[name] = values[name]
    for role in roles:
        for check in role.checks:
            if check.get("warn"):
                continue
            lines += refused_names(check, usable)
            if breaks(check, usable):
                line = f"{check['name']}: it should be {check['should']}"
                if check["name"] not in role.secrets:
                    value = usable[check["name"]]
                    line += f", not {json.dumps(value, default=str, ensure_ascii=False)}"
                    line += suggestion(check, value)
                lines.append(line)
                wrong.add(check["name"])
    for name, (failure, secret) in unresolved.items():
        if failure.undefined in wrong or failure.undefined in unresolved:
            continue  # another line names the variable that it uses
        if failure.undefined:
            reason = f"the variable {failure.undefined}, which is not defined"
        else:
            reason = "a value that cannot be rendered" + ("" if secret else f" ({failure.reason})")
        lines.append(f"{name}: its template uses {reason}")
    return lines + [
        f"{name}: this variable is now called {role.renamed[name]}"
        for role in roles
        for name in sorted({*names} & {*role.renamed})
    ]


def refused_names(check: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Return one line for each setting in a dictionary that another variable sets.

    Args:
        check: an entry of checks.yml.
        values: all rendered values whose types are right.
    """
    value = values.get(check["name"])
    if "reserved" not in check or not isinstance(value, Mapping):
        return []
    found = settings.reserved_names(value, check["reserved"], check.get("inside", []))
    return [
        f"{check['name']}: {name} cannot be set here, because it is set by {instead}"
        for name, instead in found.items()
    ]


def warnings(roles: Iterable[Role], values: Mapping[str, Any]) -> list[str]:
    """Return one line for each value that a run accepts and that contradicts another one.

    Args:
        roles: whose variables are checked.
        values: rendered values without complaints.
    """
    return [
        f"{check['name']}: the run goes on, but {check['should']}"
        for role in roles
        for check in role.checks
        if check.get("warn") and breaks(check, values)
    ]


def unknown_variables(
    roles: Iterable[Role], names: Iterable[str], values: Mapping[str, Any]
) -> list[str]:
    """Return one line for each variable that begins like a role's and that no role knows.

    Args:
        roles: whose variables are checked.
        names: of all variables of the host.
        values: rendered values, with app_foreign_variables.
    """
    roles, names = list(roles), list(names)
    known = {name for role in roles for name in [*role.options, *role.renamed]}
    listed = values.get("app_foreign_variables")
    known |= {str(name) for name in listed} if isinstance(listed, (list, tuple)) else set()
    lines = []
    for role in roles:
        for name in unknown_names(role, names, known):
            known.add(name)
            alike = nearest(name, role.options)
            lines.append(
                f"{name}: there is no such variable."
                + (f" Did you mean {alike}?" if alike else "")
                + " (Of another role: app_foreign_variables)"
            )
    return lines

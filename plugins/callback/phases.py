"""Screen output with one line for each role: the collection's stdout callback."""

from __future__ import annotations

DOCUMENTATION = r"""
name: phases
type: stdout
short_description: One line for each role, with its time
description:
  - Prints a line as each role (and the facts, the handlers, the tasks outside of roles) ends,
    with its seconds and the number of results that were ok and changed.
  - Failed and unreachable hosts, warnings and deprecations are printed in full at once. The
    result of a task under C(no_log) is never printed.
  - A control character of a host's text is a question mark, so that no host writes to the
    terminal what it obeys.
  - With C(-v), C(--check) or C(--diff) the output is exactly that of
    P(ansible.builtin.default#callback).
extends_documentation_fragment:
  - default_callback
  - result_format_callback
options:
  live_line:
    description:
      - Show the task that runs on a line that is overwritten. Only on a terminal.
    type: bool
    default: true
    env:
      - name: ANSIBLE_PHASES_LIVE
    ini:
      - section: callback_phases
        key: live_line
requirements:
  - set as stdout callback in the configuration
author:
  - The engineers of django_stack (@clink)
"""

import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from ansible import constants as C
from ansible import context
from ansible.module_utils.common.text.converters import to_text
from ansible.playbook.handler import Handler
from ansible.playbook.role_include import IncludeRole
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible.utils.display import Display

if TYPE_CHECKING:
    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.playbook.included_file import IncludedFile
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

# Keys of a result that explain a failure, in reading order; -v shows the whole result.
TOLD = (
    "msg",
    "reason",
    "cmd",
    "rc",
    "exit_status",
    "status",
    "url",
    "argument_errors",
    "assertion",
)
STREAMS = ("stdout", "stderr", "module_stdout", "module_stderr")
STREAM_LINES = 30  # the last lines of a stream: a long log has the error at its end
CMD_LINES = 5  # the first lines of a command: the role has the whole script
CLEAR_LINE = "\x1b[K"
# A colour of Ansible's, the end of a Windows line, and what a terminal obeys instead of showing it.
CONTROL = re.compile(
    r"(\x1b\[(?:0|[01];3[0-7]|38;5;\d{1,3})m)|(\r)(?=\n)"
    r"|[^\n\t\x20-\x7e\xa0-\U0010ffff]|[\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def visible(text: str) -> str:
    """Return a text with a question mark for each character that a terminal would obey."""
    return CONTROL.sub(lambda found: found[1] or ("" if found[2] else "?"), text)


class VisibleDisplay:
    """Ansible's display, for texts of hosts: an intruder there could have written them."""

    def __init__(self, display: Display) -> None:
        """Keep the display, which does all the rest."""
        self._display = display

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - anything of the display
        """Return what the display has."""
        return getattr(self._display, name)

    def display(self, msg: object, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Print a text."""
        self._display.display(visible(to_text(msg)), *args, **kwargs)

    def _warning(self, warning: Any) -> None:  # noqa: ANN401 - Ansible's own class
        Display._warning(cast("Display", self), warning)

    def _deprecated(self, warning: Any) -> None:  # noqa: ANN401 - Ansible's own class
        Display._deprecated(cast("Display", self), warning)


def _unless_plain(method: Callable[..., None]) -> Callable[..., None]:
    """Make a method pass its event to the default callback where the run wants that one."""

    @wraps(method)
    def event(self: CallbackModule, *args: object, **kwargs: object) -> None:
        if self.plain:
            getattr(super(CallbackModule, self), method.__name__)(*args, **kwargs)
        else:
            self.clear_live()
            method(self, *args, **kwargs)

    return event


def _phase_of(task: Task) -> str:
    """Return the name of the phase that a task belongs to."""
    if isinstance(task, Handler):
        return "handlers"
    if task._role:
        # For an entry point other than main the phase has its name, so that a loop over roles
        # is one phase.
        parent = task._parent
        while parent and not isinstance(parent, IncludeRole):
            parent = parent._parent
        entry = str(parent._from_files.get("tasks", "main")) if parent else "main"
        entry = os.path.splitext(entry)[0]
        # The name of a collection's role is full; its last part is enough.
        name = str(task._role.get_name()).rpartition(".")[2]
        return name if entry in ("main", "setup") else entry
    if task.action.rpartition(".")[2] in ("gather_facts", "host_facts", "setup"):
        return "facts"
    return "tasks"


def _is_rescued(task: Task) -> bool:
    """Return whether the play has a rescue for a task, which then reports the failure."""
    passed, parent = {task._uuid}, task._parent  # Ansible copies blocks and keeps their uuids
    while parent:
        rescue = getattr(parent, "rescue", None) or []
        if rescue and passed.isdisjoint(each._uuid for each in [*rescue, *parent.always]):
            return True
        passed.add(parent._uuid)
        parent = parent._parent
    return False


def _told(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that explain a failed result."""
    if "censored" in result:
        yield str(result["censored"])
        return
    for key in TOLD:
        value = result.get(key)
        if value in (None, "", [], {}):
            continue
        if key == "cmd" and isinstance(value, list):
            value = " ".join(map(str, value))
        first, *rest = str(value).strip().splitlines() or [""]
        if key == "cmd" and len(rest) > CMD_LINES:
            rest = [*rest[: CMD_LINES - 1], "..."]
        yield f"{key}: {first}"
        yield from (f"  {line}" for line in rest)
    for key in STREAMS:
        lines = str(result.get(key) or "").strip().splitlines()
        if not lines:
            continue
        left_out = len(lines) - STREAM_LINES
        yield f"{key}: (the last {STREAM_LINES} lines)" if left_out > 0 else f"{key}:"
        yield from (f"  {line}" for line in lines[-STREAM_LINES:])


class CallbackModule(DefaultCallback):
    """Prints a line as each phase ends; leaves -v, --check and --diff to the default callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "phases"

    def __init__(self) -> None:
        """Start the clock, without a phase."""
        super().__init__()
        self._display: Any = VisibleDisplay(Display())
        self._began = time.monotonic()
        self._phase = ""
        self._phase_began = self._task_began = self._began
        self._counts: Counter[str] = Counter()

    @property
    def plain(self) -> bool:
        """Whether this run wants the default callback's output."""
        arguments = context.CLIARGS
        return bool(self._display.verbosity > 0 or arguments.get("check") or arguments.get("diff"))

    def clear_live(self) -> None:
        """Clear the live line before other output."""
        if self._is_live():
            sys.stdout.write(CLEAR_LINE)

    def _is_live(self) -> bool:
        return bool(self.get_option("live_line")) and sys.stdout.isatty()

    def _show_live(self, text: str) -> None:
        """Show a text on the live line, which the next output overwrites."""
        if self._is_live():
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write(f"{CLEAR_LINE}{text[:width]}\r")
            sys.stdout.flush()

    def _enter(self, phase: str, since: float | None = None) -> None:
        """Begin a phase; print the line of the previous phase if it is another one.

        Args:
            phase: its name; empty between plays.
            since: when it began, on the monotonic clock in seconds; now if not given.
        """
        if phase == self._phase:
            return
        now = since or time.monotonic()
        if self._counts:
            told = ", ".join(
                f"{self._counts[what]} {what}"
                for what in ("ok", "changed", "failed", "rescued", "unreachable", "ignored")
                if self._counts[what]
            )
            text = f"  {self._phase:<20} {now - self._phase_began:7.1f} s   {told}"
            bad = self._counts["failed"] or self._counts["unreachable"]
            color = C.COLOR_ERROR if bad else C.COLOR_CHANGED if self._counts["changed"] else None
            self._display.display(text, color=color)
        self._phase, self._phase_began = phase, now
        self._counts = Counter()

    def _explain(
        self, result: CallbackTaskResult, verdict: str, lines: Iterator[str], color: str
    ) -> None:
        """Print why a host failed a task: the name, the host, the place and the result."""
        task = result.task
        head = f"{verdict}: [{self.host_label(result)}] {task.get_name().strip()}"
        path = task.get_path()
        place = [f"    {os.path.relpath(path)}"] if path else []
        body = [f"    {line}" for line in lines]
        self._display.display(
            "\n".join(["", head, *place, *body, ""]),
            color=color,
            stderr=self.get_option("display_failed_stderr"),
        )

    def _begin_task(self, task: Task) -> None:
        if isinstance(task, TaskInclude):  # the included tasks take the time, not the include
            return
        if not isinstance(task, Handler):  # a skipped handler must not end the phase of its role
            self._enter(_phase_of(task))
        self._task_began = time.monotonic()
        self._show_live(f"  {task.get_name().strip()}")

    def _count(self, result: CallbackTaskResult, what: str) -> None:
        if isinstance(result.task, Handler):
            self._enter(_phase_of(result.task), self._task_began)
        self._counts[what] += 1

    @_unless_plain
    def v2_playbook_on_play_start(self, play: Play) -> None:
        """End the last phase of the previous play and print the play's name."""
        self._enter("")
        self._play = play
        self._display.display(f"\n{play.get_name().strip()}")

    @_unless_plain
    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        """Count the task towards its role."""
        self._begin_task(task)

    @_unless_plain
    def v2_playbook_on_cleanup_task_start(self, task: Task) -> None:
        """Count the task towards its role."""
        self._begin_task(task)

    @_unless_plain
    def v2_playbook_on_handler_task_start(self, task: Task) -> None:
        """Count the handler towards the phase of handlers."""
        self._begin_task(task)

    @_unless_plain
    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Count the result; print the message of a `debug` task."""
        if isinstance(result.task, TaskInclude):
            return
        self._count(result, "ok")
        self._counts["changed"] += bool(result.result.get("changed"))
        self._handle_warnings(result.result)
        if self._run_is_verbose(result) and "msg" in result.result:
            self._display.display(f"    {result.result['msg']}")

    @_unless_plain
    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        """Count the result and explain it, unless the play ignores or rescues the failure."""
        rescued = _is_rescued(result.task)
        self._count(result, "ignored" if ignore_errors else "rescued" if rescued else "failed")
        self._handle_warnings(result.result)
        if ignore_errors or rescued:
            return
        # The items of a loop have been explained one by one.
        if not (result.task.loop and "results" in result.result):
            self._explain(result, "FAILED", _told(result.result), C.COLOR_ERROR)

    @_unless_plain
    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        """Count the host and explain why Ansible cannot reach it."""
        self._count(result, "unreachable")
        self._handle_warnings(result.result)
        self._explain(result, "UNREACHABLE", _told(result.result), C.COLOR_UNREACHABLE)

    @_unless_plain
    def v2_runner_on_skipped(self, result: CallbackTaskResult) -> None:
        """Print nothing but the warnings."""
        self._handle_warnings(result.result)

    @_unless_plain
    def v2_runner_item_on_ok(self, result: CallbackTaskResult) -> None:
        """Print nothing but the warnings: the loop is counted as one result."""
        self._handle_warnings(result.result)
        if self._run_is_verbose(result) and "msg" in result.result:
            self._display.display(f"    {result.result['msg']}")

    @_unless_plain
    def v2_runner_item_on_failed(self, result: CallbackTaskResult) -> None:
        """Explain the item of a loop that failed, unless failing is allowed."""
        self._handle_warnings(result.result)
        if result.task.ignore_errors is True or _is_rescued(result.task):
            return

        def lines() -> Iterator[str]:
            if "censored" not in result.result:
                yield f"item: {self._get_item_label(result.result)}"
            yield from _told(result.result)

        self._explain(result, "FAILED", lines(), C.COLOR_ERROR)

    @_unless_plain
    def v2_runner_item_on_skipped(self, result: CallbackTaskResult) -> None:
        """Print nothing but the warnings."""
        self._handle_warnings(result.result)

    @_unless_plain
    def v2_runner_retry(self, result: CallbackTaskResult) -> None:
        """Show on the live line that the task is tried again."""
        tries = f"{result.result['attempts']} of {result.result['retries']}"
        self._show_live(f"  {result.task.get_name().strip()} (try {tries})")

    @_unless_plain
    def v2_runner_on_async_poll(self, result: CallbackTaskResult) -> None:
        """Print nothing: the live line shows the task."""

    @_unless_plain
    def v2_runner_on_async_ok(self, result: CallbackTaskResult) -> None:
        """Print nothing: the result itself is counted."""

    @_unless_plain
    def v2_playbook_on_include(self, included_file: IncludedFile) -> None:
        """Print nothing: the included tasks count towards their roles."""

    @_unless_plain
    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """End the last phase; print the standard recap and the whole time."""
        self._enter("")
        super().v2_playbook_on_stats(stats)
        self._display.display(f"Finished in {time.monotonic() - self._began:.1f} s")

"""Why a step or a service failed: the cause that is found, the lines that are shown, no secret."""

import re
from pathlib import Path
from string import Template

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import (
    causes,
    diagnosis,
    release_hints,
)

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "/var/www/shop/releases/dedc9bd49661-a279ff"
PLAN = release_hints.HINTS["plan"][1]


def outputs():
    """Return the real outputs of outputs.txt: (name, step, told, shown, output)."""
    text = (Path(__file__).parent / "outputs.txt").read_text()
    for name, section in re.findall(r"(?ms)^=== (.*?)\n(.*?)(?=^=== |\Z)", text):
        head, _, output = section.partition("\n\n")
        lines = [line.split(": ", 1) for line in head.splitlines()]
        (step,) = [value for key, value in lines if key == "step"]
        told = [value for key, value in lines if key == "told"]
        shown = [value for key, value in lines if key == "shown"]
        yield pytest.param(step, told, shown, output, id=name)


def advice(output, directory=""):
    found = diagnosis.cause_of(diagnosis.readable(output), directory)
    return found.told if found else ""


# --- Real outputs --------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "told", "shown", "output"), list(outputs()))
def test_a_message_says_what_to_do_and_shows_why(step, told, shown, output):
    noise = "".join(f"a line before {number}\n" for number in range(500))
    for text in (output, noise + output):
        what, _, lines = release_hints.explain(step, text).partition("It printed:\n")
        assert not [word for word in told if word not in what], what
        assert not [word for word in shown if word not in lines], lines
        assert len(lines.splitlines()) < 2 * diagnosis.LINES


def test_the_causes_of_real_outputs_are_sure_unless_they_say_perhaps():
    """A known cause replaces the hint of the step; a possible one comes before it."""
    for each in outputs():
        step, told, _, output = each.values
        assert (release_hints.HINTS[step][1] in release_hints.explain(step, output)) == (
            "Perhaps" in told
        )


# --- The table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", causes.CAUSES, ids=lambda cause: cause.advice[:40])
def test_a_row_of_the_table_can_be_read(cause):
    pattern = re.compile(cause.pattern, re.MULTILINE)
    groups = {name.rstrip("0123456789") for name in pattern.groupindex}
    known = {"directory", "package", "project", "headers", "built", "path", "host", "name",
             "handler"}  # fmt: skip
    assert set(Template(cause.advice).get_identifiers()) <= groups | known
    assert not pattern.search(""), "it finds nothing in nothing"


def variables():
    text = (ROOT / "roles/app_description/defaults/main.yml").read_text()
    for role in ("gunicorn", "celery_worker", "postgresql", "ca_certificates"):
        text += (ROOT / f"roles/{role}/defaults/main.yml").read_text()
    return set(re.findall(r"^(\w+):", text, re.M))


def test_the_advice_names_variables_that_there_are():
    told = " ".join(cause.advice for cause in causes.CAUSES)
    words = r"\b(?:app|gunicorn|celery_worker|postgresql|ca_certificates)_[a-z_]+"
    assert set(re.findall(words, told)) <= variables()

"""What is known of an application's releases, and what is decided from it; nothing but data."""

import json
import re
import subprocess
import time
from datetime import UTC, datetime, timedelta

import dotenv
import environ
import pytest
import yaml
from ansible_collections.clink.django_stack.plugins.module_utils import release_hints, releases
from ansible_collections.clink.django_stack.plugins.module_utils.releases import ReleaseError
from conftest import ROOT

RUN = {"by": "me@here"}
NOW = "2026-11-25 20:00:00 UTC"
PATH = "/etc/ansible/facts.d/clinic.fact"


def name(number):
    """Return the name of a release."""
    return f"{number:012x}-abcdef"


def at(number):
    """Return the time of its deploy: the higher the number, the later."""
    return f"2026-11-{number // 24 + 1:02} {number % 24:02}:00:00 UTC"


def entry(number, state="good", **more):
    """Return what the record says of it."""
    return {"revision": f"{number:040x}", "at": at(number), "state": state, "why": "", **more}


def record(*entries, live=0, **more):
    """Return a record of releases 1, 2, 3...: each a state, or a dictionary of its entry."""
    told = {}
    for number, given in enumerate(entries, 1):
        given = {"state": given} if isinstance(given, str) else given
        told[name(number)] = entry(number, **given)
    return {"releases": told, "release": name(live) if live else "", **more}


def request(number, kind="source", state="good"):
    """Return what app_release writes down of a request."""
    given = entry(number, state) if kind == "source" else {}
    return {
        "name": name(number), "kind": kind, "revision": f"{number:040x}", "environment": "e",
        "entry": given,
    }  # fmt: skip


def states(told):
    return {int(each[:12], 16): value["state"] for each, value in told["releases"].items()}


# --- The record ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "\n", " \n\t"])
def test_without_a_record_nothing_is_known(text):
    assert releases.parse(text, PATH) == {"releases": {}}


def test_a_record_is_read_as_it_was_written():
    told = record("good", "failed", {"state": "left", "migrated": ["app.0002_x"]}, live=1)
    assert releases.parse(releases.text_of(told), PATH) == told
    assert releases.text_of(told).endswith("}\n")


def test_a_record_of_an_earlier_version_is_read():
    old = {
        "release": name(1), "revision": "a" * 40, "environment": "b" * 64, "since": NOW,
        "releases": {name(1): {
            "revision": "a" * 40, "ref": 1.5, "by": "me@here", "at": NOW, "migrated": [],
            "seconds": 12, "state": "good", "why": "",
        }},
    }  # fmt: skip
    assert releases.parse(json.dumps(old), PATH) == old


WHOLE = releases.text_of(record("good", "good", live=2))


@pytest.mark.parametrize(
    "text",
    [
        *[WHOLE[:length] for length in (1, 10, len(WHOLE) // 2, len(WHOLE) - 3)],
        "\0" * 100,
        "not JSON",
        "[" * 100_000,
        "null",
        "[]",
        '"text"',
        "1",
        '{"releases": null}',
        '{"releases": []}',
        '{"releases": "x"}',
        '{"release": 1, "releases": {}}',
        '{"environment": null, "releases": {}}',
        '{"releases": {"../../../etc": {}}}',
        '{"releases": {"-abcdef": {}}}',
        json.dumps({"releases": {name(1): None}}),
        json.dumps({"releases": {name(1): []}}),
        json.dumps({"releases": {name(1) + "\n": {}}}),
        *[
            json.dumps({"releases": {name(1): {key: value}}})
            for key, value in {
                "at": 1, "until": None, "state": [], "revision": {}, "packages": 5,
                "migrated": "app.0001_x",
            }.items()
        ],
        json.dumps({"releases": {name(1): {"migrated": [1]}}}),
    ],
)  # fmt: skip
def test_a_damaged_record_says_how_to_go_on(text):
    with pytest.raises(ReleaseError) as told:
        releases.parse(text, PATH)
    assert f"mv {PATH} {PATH}.damaged" in str(told.value)
    assert "damaged: " in str(told.value)
    assert len(str(told.value)) < 1000


def test_an_entry_keeps_what_is_not_given_anew():
    told = releases.with_entry(record({"state": "good", "ref": "main"}), name(1), state="failed")
    assert told["releases"][name(1)] == entry(1, "failed", ref="main")


def test_nothing_changes_a_record_that_was_given():
    before = record("good", {"state": "good", "until": NOW}, "good", live=3)
    kept = json.loads(json.dumps(before))
    releases.activated(before, request(2, "rollback"), name(3), RUN, NOW)
    releases.failed(before, request(4), "check")
    releases.with_entry(before, name(1), state="left")
    assert before == kept


def test_the_oldest_entries_drop_out():
    told = record(*["good"] * releases.REMEMBERED, live=releases.REMEMBERED)
    new = releases.REMEMBERED + 1
    told = releases.activated(told, request(new), told["release"], RUN, NOW)
    assert name(1) not in told["releases"]
    assert len(told["releases"]) == releases.REMEMBERED


def test_broken_commits_do_not_make_a_rollback_forget():
    told = record("good", "good", live=2)
    for number in range(3, 200):
        told = releases.failed(told, request(number), "check")
    assert len(told["releases"]) == 2 + releases.FAILED
    assert releases.target(told, [name(1), name(2)], name(2), "") == name(1)
    told = releases.activated(told, request(200), name(2), RUN, NOW)
    for number in range(201, 300):
        told = releases.failed(told, request(number), "check")
    assert releases.target(told, [name(1), name(2), name(200)], name(200), "") == name(2)


def test_the_live_release_never_drops_out():
    told = record(*["good"] * 300, live=1)
    told = releases.activated(told, request(1, "live"), name(1), RUN, NOW)
    assert {name(1), name(300), name(202)} <= set(told["releases"])
    assert name(150) not in told["releases"]


# --- Names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["0123456789" * 4, "a" * 64])
def test_a_release_is_named_by_its_revision_and_its_recipe(revision):
    told = releases.name_of(revision, releases.digest(["x"]))
    assert told == f"{revision[:12]}-{releases.digest(['x'])[:6]}"
    assert releases.NAME.match(told)


@pytest.mark.parametrize(
    "revision",
    ["", "a" * 39, "a" * 41, "A" * 40, "a" * 40 + "\n", "\n" + "a" * 40, "../" * 14, "a" * 39 + "/",
     "HEAD", "-" * 40, "$(reboot)", "٠" * 40, "a" * 1_000_000 + "x"],
)  # fmt: skip
def test_what_is_no_revision_is_no_name(revision):
    with pytest.raises(ReleaseError, match="is not a commit") as told:
        releases.name_of(revision, "abcdef")
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", f"../{name(1)}", f"{name(1)}\n", "current"])
def test_what_is_no_name_does_not_match(text):
    assert not releases.NAME.match(text)


def test_a_digest_depends_on_values_and_not_on_the_order_of_keys():
    assert releases.digest({"a": 1, "b": 2}) == releases.digest({"b": 2, "a": 1})
    assert releases.digest({"a": 1}, []) != releases.digest({"a": 1})
    assert releases.digest(["a", "b"]) != releases.digest(["b", "a"])
    assert re.fullmatch(r"[0-9a-f]{64}", releases.digest({"ü": "心"}))


# --- What may be deployed, and what to go back to -------------------------------------------------


def test_a_release_that_was_taken_back_is_deployed_only_when_asked_for():
    told = record("good", "left", live=1)
    with pytest.raises(ReleaseError, match="app_retry=true"):
        releases.refuse_left(told, name(1), name(2), retry=False)
    releases.refuse_left(told, name(1), name(2), retry=True)
    releases.refuse_left(told, name(2), name(2), retry=False)  # it is live
    releases.refuse_left(told, name(1), name(3), retry=False)  # it is new


NONE = None  # no release
ALL = (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("entries", "built", "live", "wanted", "leads_to"),
    [
        # Without a name: the newest good one that is older than the live one.
        (["good", "good", "good"], ALL, 3, "", 2),
        (["good", "failed", "good"], ALL, 3, "", 1),
        (["good", "good", "good"], (1, 3), 3, "", 1),
        (["good", "good", "left"], ALL, 2, "", 1),
        (["good", "good", "good"], ALL, 2, "", 1),
        (["good", "good", "good"], ALL, 4, "", 3),  # nothing is known of the live one
        (["good"], ALL, 1, "", NONE),
        (["good", "good"], (2,), 2, "", NONE),
        (["failed", "left", "good"], ALL, 3, "", NONE),
        ([], ALL, 4, "", NONE),
        ([], (), 0, "", NONE),
        # With a name: any that is kept, has worked, and is not live.
        (["good", "good", "good"], ALL, 3, 1, 1),
        (["good", "good", "left"], ALL, 2, 3, 3),
        (["good", "good", "good"], ALL, 1, 3, 3),
        (["good", "failed", "good"], ALL, 3, 2, NONE),
        (["good", "good", "good"], (2, 3), 3, 1, NONE),
        (["good", "good", "good"], ALL, 3, 3, NONE),
        (["good", "good", "good"], ALL, 3, 9, NONE),
        (["good", "good", "good"], ALL, 3, "../../etc", NONE),
    ],
)
def test_a_rollback_leads_to(entries, built, live, wanted, leads_to):
    arguments = (
        record(*entries),
        map(name, built),
        name(live) if live else "",
        name(wanted) if isinstance(wanted, int) else wanted,
    )
    if leads_to:
        assert releases.target(*arguments) == name(leads_to)
    else:
        with pytest.raises(ReleaseError, match="no release to go back to.*playbooks/releases.yml"):
            releases.target(*arguments)


def test_pages_of_recent_releases_are_still_served():
    def ago(hours):
        return (datetime.now(UTC) - timedelta(hours=hours)).strftime(releases.TIME)

    told = record({"until": ago(30)}, {"until": ago(20)}, {"until": ago(1)}, "failed", "good")
    present = [name(number) for number in (1, 2, 3, 4, 5)]
    assert releases.carried(told, present, name(5), 24) == [name(5), name(2), name(3)]
    assert releases.carried(told, present, name(5), 0) == [name(5)]
    assert releases.carried(told, present[2:], name(5), 24) == [name(5), name(3)]
    assert releases.carried(told, present, name(3), 24) == [name(3), name(2)]
    assert releases.carried(told, [], "", 24) == []


def test_migrations_of_newer_releases_are_known():
    told = record(
        {"migrated": ["a.0001"]}, {"migrated": ["a.0002", "b.0001"]},
        {"state": "failed", "migrated": ["a.0003"]}, {"migrated": ["a.0003"]}, "good",
    )  # fmt: skip
    assert releases.migrated_after(told, name(2)) == ["a.0003"]
    assert releases.migrated_after(told, name(1)) == ["a.0002", "a.0003", "b.0001"]
    assert releases.migrated_after(told, name(5)) == []
    assert releases.migrated_after(told, name(9)) == ["a.0001", "a.0002", "a.0003", "b.0001"]


# --- What becomes of a release ------------------------------------------------------------------


def test_a_deploy_a_rollback_and_forward_again():
    told = releases.activated({"releases": {}}, request(1), "", RUN, at(1))
    told = releases.activated(told, request(2), name(1), RUN, at(2))
    assert (told["release"], told["revision"], told["environment"]) == (name(2), f"{2:040x}", "e")
    assert told["since"] == at(2)
    assert states(told) == {1: "good", 2: "good"}
    assert told["releases"][name(1)]["until"] == at(2)
    assert "until" not in told["releases"][name(2)]

    told = releases.activated(told, request(1, "rollback"), name(2), RUN, at(3))
    assert told["release"] == name(1)
    assert states(told) == {1: "good", 2: "left"}
    assert told["releases"][name(2)]["why"] == f"taken back by me@here at {at(3)}"
    assert told["releases"][name(2)]["until"] == at(3)
    assert "until" not in told["releases"][name(1)]
    with pytest.raises(ReleaseError):
        releases.target(told, [name(1), name(2)], name(1), "")

    forward = request(2, "rollback")
    assert releases.target(told, [name(1), name(2)], name(1), name(2)) == name(2)
    told = releases.activated(told, forward, name(1), RUN, at(4))
    assert told["release"] == name(2)
    assert states(told) == {1: "good", 2: "good"}, "what is older was not taken back"
    assert told["releases"][name(2)]["why"] == ""
    assert told["releases"][name(1)]["until"] == at(4)


def test_a_deploy_of_an_older_commit_takes_nothing_back():
    told = record("good", "good", live=2)
    again = {**request(1), "entry": entry(1) | {"at": at(5)}}
    told = releases.activated(told, again, name(2), RUN, at(5))
    assert states(told) == {1: "good", 2: "good"}
    assert releases.target(told, [name(1), name(2)], name(1), "") == name(2)


def test_a_new_environment_changes_no_verdict():
    before = record("good", "left", "good", live=3)
    told = releases.activated(before, request(3, "live"), name(3), RUN, NOW)
    assert told["releases"] == before["releases"]
    assert (told["environment"], told["since"]) == ("e", NOW)


def test_what_the_record_does_not_know_may_become_live():
    told = releases.activated({"releases": {}}, request(1, "live"), name(1), RUN, NOW)
    assert told["releases"] == {name(1): {"state": "good", "why": ""}}
    told = releases.activated({"releases": {}}, request(2), name(1), RUN, NOW)
    assert set(told["releases"]) == {name(2)}


def test_a_release_that_failed_is_written_down_with_its_step():
    told = releases.failed(record("good", live=1), request(2), "migrate")
    assert states(told) == {1: "good", 2: "failed"}
    assert told["releases"][name(2)]["why"] == "migrate"
    assert told["release"] == name(1)
    told = releases.activated(told, request(2), name(1), RUN, NOW)
    assert states(told) == {1: "good", 2: "good"}
    assert told["releases"][name(2)]["why"] == ""


@pytest.mark.parametrize(
    ("built", "live", "keep", "gone"),
    [
        ((1, 2, 3, 4, 5), 5, 2, [1, 2]),
        ((1, 2, 3, 4, 5), 1, 2, [2, 3]),
        ((1, 2, 3, 4, 5), 5, 0, [1, 2, 3, 4]),
        ((1, 2, 3, 4, 5), 5, 4, []),
        ((1, 2, 3, 4, 5), 5, 100, []),
        ((5,), 5, 0, []),
        ((), 0, 5, []),
    ],
)
def test_the_oldest_directories_go(built, live, keep, gone):
    told = record(*["good"] * 5)
    whole = [name(number) for number in built]
    half = [name(77), "lost+found", ".hidden"]
    live = name(live) if live else ""
    assert releases.pruned(told, whole, whole, live, keep) == [name(number) for number in gone]
    found = releases.pruned(told, [*whole, *half], whole, live, keep)
    assert found == sorted([name(number) for number in gone] + half)


def test_a_directory_that_the_record_does_not_know_goes_first():
    whole = [name(1), name(2), name(99)]
    assert releases.pruned(record("good", "good"), whole, whole, name(2), 1) == [name(99)]


def test_the_table_tells_what_became_of_each():
    told = record(
        {"by": "you@there", "ref": "main", "seconds": 12}, {"state": "failed", "why": "check"},
        {"state": "left", "why": "taken back by me@here"}, "good", "good",
        live=5, since=NOW,
    )  # fmt: skip
    lines = releases.table(told, [name(1), name(5)], name(5), "clinic", {}).splitlines()
    assert lines[0] == f"clinic: {name(5)} is live since {NOW}"
    assert [line.split()[:2] for line in lines[2:]] == [
        [name(5), "live"], [name(4), "gone"], [name(3), "taken"], [name(2), "failed"],
        [name(1), "kept"],
    ]  # fmt: skip
    assert "you@there" in lines[-1] and "12" in lines[-1] and "main" in lines[-1]
    assert lines[5].endswith("check")
    assert lines[4].endswith("taken back by me@here")


def test_the_table_of_a_host_without_releases():
    told = releases.table({"releases": {}}, [], "", "clinic", {})
    assert told.startswith("clinic: no release is live since -\n")
    holder = {"by": "me@here", "since": NOW}
    told = releases.table({"releases": {}}, [], "", "clinic", holder)
    assert f"me@here has been deploying since {NOW}" in told


def test_the_table_leaves_out_what_is_long_gone():
    many = releases.SHOWN + 10
    told = record("failed", "good", *["good"] * many, live=many + 2)
    table = releases.table(told, [name(2)], name(many + 2), "clinic", {})
    assert name(1) in table and name(2) in table
    assert name(3) not in table
    assert name(13) in table


# --- What the application's own processes print ---------------------------------------------------

NOTHING = {
    "debug": False, "celery": {}, "warnings": [], "silenced": [], "migrated": [], "behind": [],
    "secure_cookies": [], "media_root": "",
}  # fmt: skip
CELERY = {
    "transport": "redis", "acks_late": True, "quorum": False, "confirms": False,
    "visibility_timeout": 30,
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "not JSON", "[]", "1", "null", '"text"', "[" * 120_000, "{" * 120_000, "9" * 9000,
     '{"a": ' * 50_000, "\0\x1b[2J", "{}\nTraceback"],
)  # fmt: skip
def test_what_is_no_report_reports_nothing(text):
    assert releases.report(text) in ({}, NOTHING)


@pytest.mark.parametrize(
    "value",
    [
        "app.0001_x", 1, None, True, {"app.0001_x": 1}, [["app.0001_x"]], [{"a": "b"}, 1, None],
        ["../../etc/passwd"], ["/etc/passwd"], ["a b"], ["a\nb"], ["a\x1b[2J"], ["$(reboot)"],
        ["app.0001_x\n"], [""], ["x" * 301], ["--option"], ["ä"],
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "key", ["warnings", "silenced", "migrated", "behind", "celery", "secure_cookies"]
)
def test_a_report_of_another_form_is_left_out(key, value):
    assert releases.report(json.dumps({key: value})) == NOTHING


@pytest.mark.parametrize(
    ("told", "warned"),
    [
        ({}, []),
        ({"media_root": ["/srv/my uploads"]}, ["MEDIA_ROOT is /srv/my uploads"]),
        ({"media_root": ["/srv/\x1b[2J"]}, []),
        ({"media_root": ["srv"]}, []),
        ({"secure_cookies": ["CSRF_COOKIE_SECURE"]}, ["CSRF_COOKIE_SECURE is on"]),
        ({"secure_cookies": ["X_COOKIE_SECURE"]}, []),
    ],
)
def test_settings_that_do_not_fit_the_description_are_warned_of(told, warned):
    found = release_hints.setting_warnings(releases.report(json.dumps(told)))
    assert [text.startswith(begin) for text, begin in zip(found, warned, strict=True)] == [
        True for _ in warned
    ]


@pytest.mark.parametrize("value", [1, "true", [True], {}, None, "yes"])
def test_only_true_is_true(value):
    assert releases.report(json.dumps({"debug": value}))["debug"] is False


def test_a_report_is_the_last_line_and_no_more_than_is_known_of():
    text = 'step: check\n{"debug": false}\n'
    text += '{"debug": true, "warnings": ["security.W004"], "behind": ["a.0001_x"], "path": "/"}\n'
    assert releases.report(text) == {
        **NOTHING, "debug": True, "warnings": ["security.W004"], "behind": ["a.0001_x"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "known"),
    [("visibility_timeout", "3600; reboot", None), ("visibility_timeout", True, None),
     ("visibility_timeout", 1.5, 1.5), ("acks_late", "yes", False), ("quorum", 1, False),
     ("extra", "x", None)],
)  # fmt: skip
def test_a_report_about_celery_has_known_forms_only(key, value, known):
    told = releases.report(json.dumps({"celery": CELERY | {key: value}}))["celery"]
    assert told.get(key) == known
    assert told.keys() == CELERY.keys()


@pytest.mark.parametrize("transport", ["Redis!", "../x", 1, None, "x" * 31, "redis\n"])
def test_an_unknown_kind_of_broker_reports_nothing_about_celery(transport):
    assert releases.report(json.dumps({"celery": CELERY | {"transport": transport}})) == NOTHING


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        ({}, []),
        ({"acks_late": False}, ["W001"]),
        ({"visibility_timeout": 3599}, []),
        ({"visibility_timeout": 3600}, ["W002"]),
        ({"visibility_timeout": None, "acks_late": False}, ["W001", "W002"]),
        ({"transport": "sqs", "visibility_timeout": None}, []),
        ({"transport": "amqp", "visibility_timeout": None}, ["W003", "W004"]),
        ({"transport": "amqp", "quorum": True, "confirms": True}, []),
    ],
)
def test_settings_of_celery_that_lose_tasks_are_named(change, warned):
    told = release_hints.celery_warnings(CELERY | change, [])
    assert [re.findall(r"django_stack\.(W\d+)", each) for each in told] == [[w] for w in warned]
    silenced = [f"django_stack.{each}" for each in warned]
    assert release_hints.celery_warnings(CELERY | change, silenced) == []
    assert release_hints.celery_warnings({}, []) == []
    for is_django, place in ((True, "SILENCED_SYSTEM_CHECKS."), (False, "in Celery's settings.")):
        told = release_hints.celery_warnings(CELERY | change, [], is_django)
        assert all(each.endswith(place) for each in told)


def test_a_report_of_megabytes_is_cut():
    text = json.dumps({"migrated": ["a.0001_x"] * 500_000, "warnings": ["w" * 5_000_000]})
    begun = time.monotonic()
    told = releases.report(text)
    assert len(told["migrated"]) == 1000
    assert told["warnings"] == []
    assert time.monotonic() - begun < 2


STEPS = ["imports", "check", "migrate"]


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("", "imports"),
        ("step: imports\nstep: check\nTraceback\n", "check"),
        ("step: check\nstep: fetch\nstep: keys\n", "check"),  # these would blame nobody
        ("step: fetch\n", "imports"),
        ("step: migrate; reboot\nstep: MIGRATE\n step: migrate\nstep:migrate\n", "imports"),
        ("step: migrate\r\n", "imports"),
        ("x step: migrate\n" + "step: check", "check"),
    ],
)
def test_a_step_is_one_that_was_asked_for(text, step):
    assert releases.step_of(text, STEPS) == step


@pytest.mark.parametrize(
    ("text", "revision"),
    [
        (f"revision: {'a' * 40}\n", "a" * 40),
        (f"revision: {'b' * 40}\nrevision: {'a' * 40}\n", "a" * 40),
        (f"revision: {'a' * 40}\nrevision: ../../etc\n", ""),
        (f"revision: {'a' * 40} x\n", ""),
        (f"remote: revision: {'a' * 40}\n", ""),
        (f"revision: {'a' * 41}", ""),
        ("", ""),
    ],
)
def test_a_printed_value_has_the_form_that_is_wanted(text, revision):
    assert releases.printed(text, "revision", releases.REVISION) == revision


# --- What an operator is told --------------------------------------------------------------------


def test_a_failure_says_what_to_mend_and_the_last_that_was_printed():
    text = "step: check\n" + "".join(f"line {number}\n" for number in range(50))
    told = release_hints.explain("check", text, "Its time was over.").splitlines()
    assert told[0] == release_hints.HINTS["check"][1]
    assert told[1:4] == [
        'The step "check" failed, and the site is as it was.', "Its time was over.",
        "It printed:",
    ]  # fmt: skip
    assert told[4:] == [f"line {number}" for number in range(30, 50)]


def test_a_failure_without_output_is_short():
    assert "printed" not in release_hints.explain("shared", "step: shared\n")
    assert "printed" not in release_hints.explain("shared", " \n ")
    assert release_hints.explain("unknown", "").startswith('The step "unknown" failed')


def test_a_report_of_the_services_is_passed_on_as_a_whole():
    report = "clinic-watch.service does not go on:\nZeroDivisionError\npostgres://u:secret@h/"
    told = release_hints.explain_report("services", report)
    assert told.startswith("clinic-watch.service does not go on:\nZeroDivisionError\n")
    assert told.endswith('The step "services" failed, and the site is as it was.')
    assert "secret" not in told


def test_no_control_character_reaches_a_terminal():
    hostile = "\x1b[2J\x1b]0;title\x07 \x9b31m back\x08space \r\x00 ü 心\ttab\n" + "x" * 10**6
    told = release_hints.explain("check", hostile)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", told)
    assert "ü 心\ttab" in told
    assert len(told) < 2000


def test_every_step_has_a_hint_and_a_verdict():
    steps = set()
    for name in ("imports.py", "prepare.py"):
        code = (ROOT / "roles/app/files" / name).read_text()
        steps |= set(re.findall(r"^def (\w+)\(\) -> None:", code, re.M))
    for file in (ROOT / "roles/app/files").iterdir():
        steps |= set(re.findall(r"step: (\w+)", file.read_text()))
    told = (ROOT / "plugins/module_utils/release_steps.py").read_text()
    steps |= set(re.findall(r'\(\["(\w+)"\]', told)) | {"before_migrate", "services"}
    assert steps <= set(release_hints.HINTS)
    assert {"fetch", "download", "source", "packages", "check", "migrate", "trial"} <= steps


@pytest.mark.parametrize(
    ("step", "blames"), [("fetch", False), ("agent", False), ("packages", True), ("check", True),
                         ("keys", False), ("trial", True), ("services", True), ("", True)],
)  # fmt: skip
def test_a_release_is_to_blame_for_what_its_code_does(step, blames):
    assert release_hints.blames_release(step) is blames


# --- The environment ----------------------------------------------------------------------------

NASTY = yaml.safe_load((ROOT / "tests" / "environment.yml").read_text())
PASSWORD = "it's $HOME %41 \\ \"#/@:?&"
VALUES = {
    "nasty": {**NASTY, "PASSWORD": PASSWORD, "a_lower": "x", "NUMBER": 5, "TRUE": True},
    "typical": {"SECRET_KEY": "django-insecure-!@#$%^&*(-_=+)", "HTTPS": "true"},
    "one": {"A": "b"},
    "empty": {},
}
HEADER = "#\n# Ansible managed\n#"


@pytest.fixture(params=VALUES)
def values(request):
    return VALUES[request.param]


def strings(values):
    return {key: str(value) for key, value in values.items()}


def test_the_shell_reads_the_environment(values, tmp_path):
    path = tmp_path / "environment"
    path.write_text(releases.environment_text(values, HEADER))
    told = subprocess.run(
        ["env", "-i", "sh", "-c", 'set -a; . "$0"; exec /usr/bin/env -0', path],
        capture_output=True,
        text=True,
    )
    assert not told.stderr
    read = dict(line.split("=", 1) for line in told.stdout.split("\0") if line)
    want = strings(values)
    assert {name: read.get(name) for name in want} == want
    assert set(read) - set(want) <= {"PWD", "OLDPWD", "SHLVL", "_"}


def as_systemd_reads(text):
    """Return what systemd makes of a file, as src/basic/env-file.c does in double quotes."""
    read = {}
    for line in text.splitlines():
        if line and not line.startswith(("#", ";")):
            key, value = line.split("=", 1)
            assert value[0] == value[-1] == '"'
            read[key] = re.sub(r"""\\([\\"$`])""", r"\1", value[1:-1])
    return read


def test_systemd_reads_the_environment(values):
    assert as_systemd_reads(releases.environment_text(values, HEADER)) == strings(values)


def test_python_dotenv_reads_the_dotenv_file(values, tmp_path):
    path = tmp_path / ".env"
    path.write_text(releases.dotenv_text(values, HEADER))
    assert dotenv.dotenv_values(path, interpolate=False) == strings(values)


def test_python_dotenv_reads_it_as_projects_do(values, tmp_path):
    """load_dotenv() interpolates ${NAME} in any quotes, so a value with it cannot survive there."""
    path = tmp_path / ".env"
    path.write_text(releases.dotenv_text(values, HEADER))
    want = {name: value for name, value in strings(values).items() if "${" not in value}
    read = dotenv.dotenv_values(path)
    assert {name: read.get(name) for name in want} == want


def test_django_environ_reads_the_dotenv_file(values, tmp_path, monkeypatch):
    path = tmp_path / ".env"
    path.write_text(releases.dotenv_text(values, HEADER))
    monkeypatch.setattr(environ.Env, "ENVIRON", {})
    environ.Env.read_env(str(path), overwrite=True)
    assert environ.Env.ENVIRON == strings(values)


@pytest.mark.parametrize("text_of", [releases.environment_text, releases.dotenv_text])
def test_the_variables_have_an_order_and_a_header(text_of):
    told = text_of({"b": "1", "A": "2", "C": "3"}, HEADER)
    assert told.startswith(HEADER + "\n")
    assert [line.partition("=")[0] for line in told.splitlines()[3:]] == ["A", "b", "C"]
    assert told.endswith("\n") and not told.endswith("\n\n")


def test_the_clock_is_what_the_record_has():
    told = datetime.strptime(releases.clock(), releases.TIME).replace(tzinfo=UTC)
    assert abs(told.timestamp() - time.time()) < 5

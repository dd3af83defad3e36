"""Which services are stopped because a description no longer has them."""

import pytest
from ansible.module_utils import basic
from ansible_collections.clink.django_stack.plugins.module_utils import processes, units
from ansible_collections.clink.django_stack.plugins.modules import (
    outdated_services,
    retired_services,
)


@pytest.fixture
def run(monkeypatch, run_module):
    """Give a function that runs the module; `run.done` has what systemctl was asked for."""

    def systemctl(*words, **settings):
        run.done.append(" ".join(words))
        return units.Result(run.code, "it hangs", 0.1)

    def call(*services, check=False, module=retired_services, **more):
        return run_module(module, check, services=list(services), **more)

    monkeypatch.setattr(units, "systemctl", systemctl)
    monkeypatch.setattr(
        basic.AnsibleModule, "warn", lambda module, text: run.done.append(text[:15])
    )
    run = call
    run.done, run.code = [], 0
    return run


@pytest.fixture
def celery(tmp_path):
    """A service of the role, with its file on the host."""
    own = tmp_path / "celery.service"
    own.write_text("[Unit]\nDescription=Celery worker of shop\n")
    return {
        "unit": "celery.service",
        "own": str(own),
        "text": "Description=Celery worker of shop\n",
    }


def test_a_service_of_the_role_is_stopped_once(run, celery, tmp_path):
    told = run(celery)
    assert (told["changed"], told["stopped"]) == (True, ["celery.service"])
    assert run.done[0] == "disable --now celery.service"
    assert not (tmp_path / "celery.service").exists()
    assert run(celery)["changed"] is False


@pytest.mark.parametrize(
    "text", ["[Unit]\nDescription=My own worker\n", "Description=Celery worker of shop2\n", None]
)
def test_a_service_that_somebody_else_has_made_goes_on(run, celery, tmp_path, text):
    own = tmp_path / "celery.service"
    own.unlink()
    if text:
        own.write_text(text)
    assert run(celery)["changed"] is False
    assert run.done == []


def test_what_does_not_stop_is_told_and_tried_again(run, celery, tmp_path):
    run.code = 1
    assert run(celery)["msg"] == "celery.service does not stop: it hangs"
    assert (tmp_path / "celery.service").exists()


def test_a_look_stops_nothing(run, celery, tmp_path):
    assert run(celery, check=True)["changed"] is True
    assert not any("disable" in each for each in run.done)
    assert (tmp_path / "celery.service").exists()


def test_what_a_host_still_has_is_found_and_nothing_is_stopped(run, celery, monkeypatch, tmp_path):
    absent = {"unit": "celery-beat.service", "own": str(tmp_path / "absent"), "text": ""}
    has = {"shop": ["shop-report.service", "shop-report.timer", "shop-mail.service"]}
    monkeypatch.setattr(processes, "installed", lambda application: has[application])
    told = run(
        module=outdated_services,
        retired=[celery, absent],
        application="shop",
        processes=["shop-mail.service"],
    )
    assert told["retired"] == [celery]
    assert told["left"] == ["shop-report.service", "shop-report.timer"]
    assert told["changed"] is False
    assert run.done == []

"""A program of the package index is installed without showing the password of the index."""

import json

import pytest
import yaml
from ansible.module_utils import basic
from ansible_collections.clink.django_stack.plugins.modules import index_program
from conftest import ROOT

VARIABLES = {"UV_INDEX_PRIVATE_PASSWORD": "index-password-of-the-tests", "PIP_RETRIES": 1}


@pytest.fixture
def run(monkeypatch, run_module, tmp_path):
    """Give a function that runs the module; `run.commands` has what it ran, with variables."""

    def command(module, words, environ_update):
        call.commands.append((words, environ_update))
        return (1, "", call.fails) if call.fails and "install" in words else (0, "", "")

    def call(check=False, **more):
        given = {
            "program": str(tmp_path / "uv" / "bin" / "uv"), "packages": ["uv==0.13.9"],
            "variables": json.dumps(VARIABLES), **more,
        }  # fmt: skip
        return run_module(index_program, check, **given)

    monkeypatch.setattr(basic.AnsibleModule, "run_command", command)
    monkeypatch.setattr(
        basic.AnsibleModule, "log", lambda module, text, **_: call.logged.append(text)
    )
    call.commands, call.logged, call.fails = [], [], ""
    return call


def test_the_variables_reach_pip_by_its_environment_alone(run, tmp_path):
    assert run() == {"changed": True}
    place = tmp_path / "uv"
    assert [words[:3] for words, _ in run.commands] == [
        ["/usr/bin/python3", "-m", "venv"],
        [f"{place}/bin/pip", "install", "--quiet"],
    ]
    assert run.commands[1][0][-1] == "uv==0.13.9"
    assert [given for _, given in run.commands] == [VARIABLES | {"PIP_RETRIES": "1"}] * 2
    shown = json.dumps([run.logged, [words for words, _ in run.commands]])
    assert run.logged and "index-password-of-the-tests" not in shown


def test_pip_verifies_the_hashes_of_versions_that_are_known(run, tmp_path):
    for role, package in (("app/files/uv.txt", "uv"), ("certbot/files/certbot.txt", "certbot")):
        hashes = (ROOT / "roles" / role).read_text()
        (pin,) = [each for each in index_program.pinned(hashes) if each.startswith(f"{package}==")]
        run(packages=[pin], hashes=hashes)
        listed = tmp_path / "uv" / "requirements.txt"
        assert run.commands[-1][0][-3:] == ["--require-hashes", "--requirement", str(listed)]
        assert listed.read_text() == hashes
        run(packages=[f"{package}==0.0.1"], hashes=hashes)
        assert run.commands[-1][0][-1] == f"{package}==0.0.1"


def test_the_hashes_are_of_the_default_versions():
    given = yaml.safe_load((ROOT / "roles/app_description/defaults/main.yml").read_text())
    uv = given["app_uv_version"]
    assert f"uv=={uv}" in index_program.pinned((ROOT / "roles/app/files/uv.txt").read_text())
    certbot = (ROOT / "roles/certbot/files/certbot.in").read_text().strip().partition("==")[2]
    assert f"'{certbot}'" in (ROOT / "roles/certbot/defaults/main.yml").read_text()


def test_nothing_is_run_for_a_program_that_is_there_or_in_check_mode(run, tmp_path):
    assert run(check=True) == {"changed": True}
    (tmp_path / "uv" / "bin").mkdir(parents=True)
    (tmp_path / "uv" / "bin" / "uv").touch()
    assert run() == {"changed": False}
    assert not run.commands


def test_a_failure_is_told_without_the_login_of_an_index(run):
    run.fails = "no answer of https://t0ken@index.example.com/simple"
    told = run()["msg"]
    assert "ended with 1: no answer of https://***@index.example.com" in told

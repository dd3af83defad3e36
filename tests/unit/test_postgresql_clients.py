"""The lines of pg_hba.conf for clients of other hosts, and lines that PostgreSQL refuses."""

import json
import os
from contextlib import nullcontext

import pytest
from ansible_collections.clink.django_stack.plugins.modules import postgresql_clients
from ansible_collections.clink.django_stack.plugins.modules.postgresql_clients import merged

DEBIAN = """\
# PostgreSQL Client Authentication Configuration File
local   all             postgres                                peer
host    all             all             127.0.0.1/32            scram-sha-256
"""
SHOP = {"database": "shop", "user": "shop", "address": "10.0.0.5"}
LINE = "hostssl\tshop\tshop\t10.0.0.5/32\tscram-sha-256"


def client(**given):
    return {"type": "hostssl", "method": "scram-sha-256", **SHOP, **given}


def rules_of(text):
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_a_client_has_a_line_after_those_of_others():
    told = merged(DEBIAN, [client(), client(address="2001:db8::7/32", type="host"), client()])
    assert told.startswith(DEBIAN)
    assert rules_of(told)[2:] == [LINE, "host\tshop\tshop\t2001:db8::/32\tscram-sha-256"]
    assert merged(told, [client(), client(address="2001:db8::/32", type="host")]) == told


def test_a_client_that_is_not_listed_loses_its_line():
    both = merged(DEBIAN, [client(), client(user="reports")])
    assert rules_of(merged(both, [client()]))[2:] == [LINE]
    assert merged(both, []) == DEBIAN
    assert merged(DEBIAN, []) == DEBIAN


def test_lines_that_somebody_has_added_after_ours_stay_there():
    own = "host wiki wiki 10.0.0.9/32 reject"
    told = merged(merged(DEBIAN, [client()]) + own + "\n", [client(user="ada"), client()])
    assert rules_of(told)[2:] == [LINE.replace("\tshop\t10", "\tada\t10"), LINE, own]


def test_lines_without_their_end_are_not_replaced():
    cut = merged(DEBIAN, [client()]).replace(postgresql_clients.END, "host all all all reject")
    with pytest.raises(postgresql_clients.ClientsError, match="line 4"):
        merged(cut, [client()])


def test_a_diff_shows_no_line_of_others():
    own = 'host wiki all all ldap ldapserver=x ldapbindpasswd="secret"\n'
    told = postgresql_clients.shown(merged(own, [client()]) + own)
    assert told.splitlines()[1:-1] == [LINE]
    assert postgresql_clients.shown(own) == ""


# --- The module -----------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, run_module, tmp_path):
    """Give a function that runs the module on a server that refuses lines with some word."""
    path = tmp_path / "pg_hba.conf"
    path.write_text(DEBIAN)
    path.chmod(0o640)

    def command(words, _limit):
        (statement,) = (word.partition("=")[2] for word in words if word.startswith("--command="))
        printed = ""
        if statement == "show hba_file":
            printed = str(path)
        elif "pg_hba_file_rules" in statement:
            run.checked.append(path.read_text())
            lines = enumerate(path.read_text().splitlines(), 1)
            printed = "\n".join(
                json.dumps({"line_number": number, "error": "SSL is disabled"})
                for number, line in lines
                if run.refused and run.refused in line
            )
        elif "pg_reload_conf" in statement:
            run.loaded = path.stat().st_mtime + 1
        elif "pg_conf_load_time" in statement:
            printed = str(run.loaded)
        return postgresql_clients.units.Result(2 if run.down else 0, printed, 0.1)

    def call(*clients, check=False):
        return run_module(postgresql_clients, check, clients=list(clients))

    monkeypatch.setattr(postgresql_clients.units, "run", command)
    monkeypatch.setattr(postgresql_clients.units, "psql", lambda port, *options: [*options])
    monkeypatch.setattr(postgresql_clients, "acting_as", lambda user: nullcontext())
    run = call
    run.path, run.loaded, run.refused, run.down, run.checked = path, 9e9, "", False, []
    return run


def test_the_second_run_changes_nothing(run):
    run.loaded = 1.0
    assert run(SHOP)["changed"] is True
    assert LINE in run.path.read_text()
    assert run.path.stat().st_mode & 0o777 == 0o640
    assert run.loaded > run.path.stat().st_mtime
    assert run(SHOP)["changed"] is False


def test_what_an_interrupted_run_has_written_is_loaded(run):
    run(SHOP)
    run.loaded = 1.0
    assert run(SHOP)["changed"] is True


def test_without_clients_nobody_elses_file_is_looked_at(run):
    run.refused, run.loaded = "peer", 1.0
    assert run() == {"changed": False}
    assert run.path.read_text() == DEBIAN


def test_a_file_that_postgresql_refuses_does_not_stay(run):
    run.refused, run.loaded = "hostssl", 1.0
    told = run(SHOP)
    assert f"{run.path}, line 5: SSL is disabled" in told["msg"]
    assert LINE in run.checked[0]
    assert run.path.read_text() == DEBIAN
    assert run.loaded == 1.0


def test_a_line_of_others_that_postgresql_refuses_is_named_at_each_run(run):
    run(SHOP)
    text = run.path.read_text()
    run.refused = "peer"
    assert "line 2" in run(SHOP)["msg"]
    assert "line 2" in run(SHOP, SHOP | {"user": "ada"})["msg"]
    assert run.path.read_text() == text


def test_check_mode_writes_nothing(run):
    assert run(SHOP, check=True)["changed"] is True
    assert run.path.read_text() == DEBIAN
    assert run.checked == []


def test_a_server_that_does_not_answer_is_told(run):
    run.down = True
    assert "does not answer" in run(SHOP)["msg"]


def test_a_file_of_another_user_is_not_replaced(run, monkeypatch):
    monkeypatch.setattr(postgresql_clients.os, "geteuid", lambda: os.getuid() + 1)
    assert "does not belong to the user postgres" in run(SHOP)["msg"]
    assert run.path.read_text() == DEBIAN

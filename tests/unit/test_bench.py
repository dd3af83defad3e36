"""What tools/bench.py reads out of other programs' words."""

from __future__ import annotations

import json

import pytest

from tools import bench

WRK = """\
Running 5s test @ http://127.0.0.1/health/
  2 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    14.21ms    3.10ms  62.11ms   91.12%
    Req/Sec   570.31     60.12   720.00     80.00%
  Latency Distribution
     50%   13.40ms
     99%    1.20s
  5690 requests in 5.01s, 1.20MB read
{extra}Requests/sec:   1135.72
Transfer/sec:    245.27KB
"""


@pytest.mark.parametrize(
    ("extra", "failed"),
    [
        ("", 0),
        ("  Non-2xx or 3xx responses: 12\n", 12),
        (
            "  Socket errors: connect 1, read 2, write 0, timeout 4\n"
            "  Non-2xx or 3xx responses: 12\n",
            19,
        ),
    ],
)
def test_reads_wrk(extra, failed):
    assert bench.wrk(WRK.format(extra=extra)) == (1135.72, 1200.0, failed)


def test_refuses_wrk_without_figures():
    with pytest.raises(bench.BenchError, match="unable to connect"):
        bench.wrk("unable to connect to 127.0.0.1:http Connection refused\n")


def test_counts_only_what_ran_on_the_host():
    duration = {"start": "2026-01-01T00:00:59.500000Z", "end": "2026-01-01T00:01:00.250000Z"}
    results = {
        "Gathering Facts": {"action": "gather_facts"},
        "Check": {"action": "ansible.builtin.assert"},
        "Install": {"action": "ansible.builtin.apt", "changed": False},
        "Build": {"action": "ansible.builtin.command", "skipped": True},
        "Pack": {"action": "ansible.builtin.command", bench.DELEGATED: {}},
    }
    tasks = [
        {"task": {"name": name, "duration": duration}, "hosts": {"droplet": result}}
        for name, result in results.items()
    ]
    tasks.append({"task": {"name": "Flush", "duration": {"start": duration["start"]}}, "hosts": {}})
    report = "a warning\n" + json.dumps({"plays": [{"tasks": tasks}]}, indent=4)
    assert bench.on_host(report) == {"0 Gathering Facts": 0.75, "2 Install": 0.75}


def test_counts_only_connections_from_outside(monkeypatch):
    journal = "".join(
        f"Accepted publickey for root from {address} port 41234 ssh2: ED25519 SHA256:x\n"
        f"Starting session: command for root from {address} port 41234 id 0\n"
        for address in ("172.17.0.1", "127.0.0.1")
    )
    monkeypatch.setattr(bench.droplet, "execute", lambda *_: journal)
    assert bench.sshd(None) == (1, 1)


def test_refuses_a_run_that_did_something_else(monkeypatch):
    monkeypatch.setattr(bench, "SETTLE", 0)
    monkeypatch.setattr(bench, "sshd", lambda _: (0, 0))
    done = iter([(1.0, "ok=9 changed=0 failed=0"), (2.0, "ok=9 changed=1 failed=0\n")])
    with pytest.raises(bench.BenchError, match="site: no ' changed=0 '"):
        bench.repeat("site", None, lambda: next(done), lambda: bench.NO_CHANGE)


def test_sets_tables():
    head, rows = ["way", "s"], [["bash", "1.0"], ["site.yml", "12.5"]]
    assert bench.table(head, rows, markdown=True) == (
        "| way      |    s |\n| -------- | ---: |\n| bash     |  1.0 |\n| site.yml | 12.5 |"
    )
    assert bench.table(head, rows, markdown=False) == (
        "  way           s\n  --------   ----\n  bash        1.0\n  site.yml   12.5"
    )


def test_compares_with_the_floor():
    floor = bench.Way("bash", 50.0, 2.0, bench.Runs([1.0, 3.0, 2.0], 1, 1))
    fast = bench.Way("mitogen", None, 9.0, bench.Runs([8.0, 10.0, 9.0], 1, 2), 40)
    assert bench.costs([floor, fast], floor) == [
        ["bash", "50.0 (1.0x)", "2.0 (1.0x)", "1.0-3.0", "-", "1", "1"],
        ["mitogen", "-", "9.0 (4.5x)", "8.0-10.0", "40", "1", "2"],
    ]
    assert bench.costs([floor], None) == [["bash", "50.0", "2.0", "1.0-3.0", "-", "1", "1"]]

"""What tools/bench.py reads out of other programs' words."""

from __future__ import annotations

import shutil
import sys
import time

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


def test_refuses_a_run_that_did_something_else(monkeypatch):
    monkeypatch.setattr(bench, "SETTLE", 0)
    printed = ["ok=9 changed=0 failed=0", "ok=9 changed=1 failed=0"]
    done = iter(bench.Run(1.0, 0.5, text) for text in printed)
    with pytest.raises(bench.BenchError, match="(?s)site: no .*changed=1"):
        bench.repeat("site", lambda: next(done))


def test_counts_the_cpu_of_commands(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "CACHE", tmp_path)
    run = bench.measure("busy", [sys.executable, "-c", "sum(range(5_000_000)); print('done')"])
    assert run.printed == "done\n"
    assert 0.02 < run.cpu <= run.seconds + 0.1


def test_a_command_that_fails_is_told_with_its_output(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "CACHE", tmp_path)
    with pytest.raises(bench.BenchError, match="(?s)exit code 3;.*the reason"):
        bench.measure("bad", ["sh", "-c", "echo the reason; exit 3"])


def test_tells_when_the_other_release_serves(monkeypatch):
    begun = time.monotonic()
    monkeypatch.setattr(bench, "answer", lambda _: "2" if time.monotonic() > begun + 0.3 else "1")

    def once():
        time.sleep(0.6)
        return bench.Run(0.6, 0.1, "")

    run = bench.until_it_serves(None, 2, once)
    assert 0.3 <= run.serves < 0.6
    with pytest.raises(bench.BenchError, match="release 3 does not serve"):
        bench.until_it_serves(None, 3, lambda: bench.Run(0.0, 0.0, ""))


def test_the_same_source_is_the_same_archive(monkeypatch, tmp_path):
    shutil.copytree(bench.SAMPLE, tmp_path / "source")
    monkeypatch.setattr(bench, "SOURCE", tmp_path / "source")
    bench.edit(1)
    first = bench.source()
    bench.edit(2)
    assert bench.source() != first
    bench.edit(1)
    assert bench.source() == first


def test_sets_tables():
    head, rows = ["way", "s"], [["bash", "1.0"], ["site.yml", "12.5"]]
    assert bench.table(head, rows, markdown=True) == (
        "| way      |    s |\n| -------- | ---: |\n| bash     |  1.0 |\n| site.yml | 12.5 |"
    )
    assert bench.table(head, rows, markdown=False) == (
        "  way           s\n  --------   ----\n  bash        1.0\n  site.yml   12.5"
    )


def test_a_row_has_medians_and_ranges():
    runs = [bench.Run(seconds, seconds / 2, "", 1.0) for seconds in (4.0, 2.0, 3.0)]
    assert bench.row("deploy", runs, []) == [
        *("deploy", "3.0 (2.0-4.0)", "1.5 (1.0-2.0)", "1.0 (1.0-1.0)", "-", "-"),
    ]
    cold = [bench.Run(50.0, 20.0, "")]
    assert bench.row("site", cold, []) == ["site", "50.0", "20.0", "-", "-"]

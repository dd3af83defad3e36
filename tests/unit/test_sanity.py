"""The gates of the ecosystem, and what ansible-test may find."""

import sys

import pytest
from conftest import ROOT

from tools import sanity


@pytest.mark.parametrize(
    ("name", "code", "printed", "passed"),
    [
        ("ansible-test", 0, "WARNING: another locale", True),
        ("ansible-test", 1, "ERROR: a finding", False),
        ("ansible-test", 0, "WARNING: All targets skipped.", False),
        ("galaxy-importer", 0, "Importer processing completed successfully", True),
        ("galaxy-importer", 0, "WARNING: no changelog", False),
        ("galaxy-importer", 0, "ERROR: no tags", False),
    ],
)
def test_a_gate_passes_without_findings(monkeypatch, tmp_path, capsys, name, code, printed, passed):
    monkeypatch.setattr(sanity, "TREE", tmp_path)
    program = f"print({printed!r}); raise SystemExit({code})"
    assert sanity.passes(name, sys.executable, "-c", program) is passed
    assert (printed in capsys.readouterr().out) is not passed


def test_each_ignored_finding_has_a_reason_and_a_path():
    for file in (ROOT / "tests" / "sanity").glob("ignore-*.txt"):
        for line in file.read_text().splitlines():
            finding, _sep, reason = line.partition(" # ")
            assert reason, line
            assert (ROOT / finding.split()[0]).exists(), line

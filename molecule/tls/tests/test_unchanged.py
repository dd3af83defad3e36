"""Runs of site.yml that find all as it should be, HTTPS included."""

import pytest
from droplets import changed, playbook


@pytest.mark.parametrize("mode", [[], ["--check", "--diff"]], ids=["run", "check"])
def test_nothing_is_changed(mode, door):
    run = playbook("--limit", door.name, *mode)
    assert run.returncode == 0, run.stdout + run.stderr
    assert changed(run.stdout) == ["0"], run.stdout

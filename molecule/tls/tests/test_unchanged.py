"""A run of site.yml in check mode that finds all as it should be, HTTPS included.

The run without check mode that changes nothing is in test_secrets.py.
"""

from droplets import changed, playbook

testinfra_hosts = ["ansible://*-13"]  # one run has all droplets


def test_check_mode_finds_nothing_to_change():
    run = playbook("--check", "--diff")
    assert run.returncode == 0, run.stdout + run.stderr
    assert set(changed(run.stdout)) == {"0"}, run.stdout

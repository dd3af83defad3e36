"""The smallest project on a host that has no optional part, as converge has left it."""

from droplets import changed
from projects import APP, done


def test_the_site_answers_and_the_hook_of_the_switch_has_run(host, door):
    assert door.ask("/").text == "a shop"
    assert "switched" in host.check_output(f"journalctl --quiet --output=cat --identifier={APP}")


def test_no_optional_service_is_there(host):
    units = ["postgresql", "redis-server", "rabbitmq-server", "celery", "celery-beat"]
    told = host.run("systemctl is-active " + " ".join(units)).stdout.split()
    assert "active" not in told, told


def test_a_second_run_changes_nothing(project):
    assert changed(done(project.site())) == ["0"]

"""sudo-rs asks for a password in other words, and who would wait in vain is told first."""

from types import SimpleNamespace

import pytest
from ansible.plugins.become.sudo import BecomeModule as Sudo
from ansible.plugins.loader import become_loader
from ansible_collections.clink.django_stack.plugins.plugin_utils import hosts, sudo_rs

RS = "sudo-rs 0.2.8"


def plugin(cls=Sudo, **given):
    """A become plugin with the options of an inventory."""
    options = {"become_pass": "a password", "become_exe": "/opt/a sudo", **given}
    made = cls()
    made.get_option = options.get
    return made


@pytest.fixture
def ours():
    """The become plugin of this collection, which asks for a password."""
    become = become_loader.get("clink.django_stack.sudo")
    become.set_options(direct={"become_pass": "a password"})
    shell = SimpleNamespace(ECHO="echo", COMMAND_SEP=";", SHELL_FAMILY="sh", executable="/bin/sh")
    become.command = become.build_become_command("id", shell)
    return become


@pytest.mark.parametrize(
    ("printed", "asks"),
    [
        ("{}", True),
        ("[sudo: {}] Password: ", True),
        ("Last login: today\n[sudo: {}] Password: ", True),
        ("[sudo: authenticate] Password: ", False),
        ("", False),
    ],
)
def test_the_question_is_recognised(ours, printed, asks):
    assert ours.prompt in ours.command
    assert ours.check_password_prompt(printed.format(ours.prompt).encode()) == asks


def test_a_wrong_password_and_a_missing_one_are_told_apart(ours):
    assert ours.check_incorrect_password(b"sudo-rs: Authentication failed, try again.\n")
    assert ours.check_missing_password(b"sudo-rs: interactive authentication is required\n")


@pytest.mark.skipif(sudo_rs.is_known(Sudo()), reason="this ansible-core recognises sudo-rs")
def test_sudo_rs_is_refused_before_the_first_change():
    told = sudo_rs.refusal(plugin(), RS, "droplet")
    assert told.startswith("Nothing was touched: sudo on droplet is sudo-rs")
    assert "ansible_become_method: clink.django_stack.sudo" in told
    assert "ansible_become_exe: sudo.ws" in told


def test_every_other_way_to_root_is_taken(ours):
    other = plugin()
    other.name = "doas"
    for become, version in [
        (plugin(), "Sudo version 1.9.16p2"),
        (plugin(), "sh: sudo: not found"),
        (plugin(become_pass=None), RS),
        (other, RS),
        (ours, RS),
        (None, RS),
    ]:
        assert sudo_rs.refusal(become, version, "droplet") == ""


def test_the_host_is_asked_for_the_sudo_that_is_used():
    asked = []

    def execute(command, **_):
        asked.append(command)
        return {"stdout": "Welcome\nhost-sudo sudo-rs 0.2.8\nhost-kernel Linux\n"}

    connection = SimpleNamespace(become=plugin())
    action = SimpleNamespace(_connection=connection, _low_level_execute_command=execute)
    assert hosts._asked(action).sudo == RS
    assert asked[0].startswith("sudo='/opt/a sudo'\n")
    connection.become = None
    hosts._asked(action)
    assert asked[1].startswith("sudo=sudo\n")

"""How a droplet is run, and what it refuses."""

import io
import json
import socket
import tarfile
import threading

import pytest

from tools import droplet


def test_cgroup_v1_needs_a_namespace_only():
    run = droplet.options({"CgroupVersion": "1", "SecurityOptions": ["name=seccomp"]})
    assert run["cgroupns"] == "private"
    assert "volumes" not in run
    assert run["security_opt"] == ["seccomp=unconfined"]


def test_cgroup_v2_shares_the_hosts_tree():
    run = droplet.options({"CgroupVersion": "2", "SecurityOptions": ["name=apparmor"]})
    assert run["cgroupns"] == "host"
    assert run["volumes"] == {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}}
    assert "apparmor=unconfined" in run["security_opt"]


@pytest.mark.parametrize("info", [{}, {"CgroupVersion": "2", "SecurityOptions": None}])
def test_never_privileged(info):
    run = droplet.options(info)
    assert "privileged" not in run
    assert run["cap_add"] == [
        "DAC_READ_SEARCH", "NET_ADMIN", "SYS_ADMIN", "SYS_NICE", "SYS_PTRACE",
    ]  # fmt: skip


def test_a_droplet_without_ipv6_makes_no_socket_of_it():
    (profile,) = droplet.options({}, ipv6=False)["security_opt"]
    (rule,) = json.loads(profile.partition("=")[2])["syscalls"]
    assert rule["names"] == ["socket"]
    assert rule["args"] == [{"index": 0, "value": socket.AF_INET6, "op": "SCMP_CMP_EQ"}]


def test_ports_open_to_this_machine_only():
    assert droplet.bindings(["2222:22", "8080:80"]) == {
        "22/tcp": ("127.0.0.1", 2222),
        "80/tcp": ("127.0.0.1", 8080),
    }
    assert droplet.bindings([]) == {"22/tcp": ("127.0.0.1", None)}


@pytest.mark.parametrize("text", ["8080", "a:80", "0:80", "70000:80", ":80", "80:"])
def test_what_is_not_two_ports_is_refused(text):
    with pytest.raises(droplet.DropletError, match="HOSTPORT:PORT"):
        droplet.bindings([text])


def test_a_changed_recipe_changes_the_image(tmp_path, monkeypatch):
    before = droplet.image_name("13")
    recipe = tmp_path / "Dockerfile"
    recipe.write_text(droplet.RECIPE.read_text() + "RUN true\n")
    monkeypatch.setattr(droplet, "RECIPE", recipe)
    assert droplet.image_name("13") != before
    assert droplet.image_name("13") != droplet.image_name("12")


def test_a_fresh_droplet_gets_the_key(tmp_path, monkeypatch):
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA droplet\n")
    (tmp_path / "key").touch()
    monkeypatch.setattr(droplet, "KEY", tmp_path / "key")
    with tarfile.open(fileobj=io.BytesIO(droplet.authorized_keys())) as archive:
        modes = {member.name: member.mode for member in archive.getmembers()}
    assert modes == {"root/.ssh": 0o700, "root/.ssh/authorized_keys": 0o600}


def test_images_of_all_releases_are_made_at_once(monkeypatch):
    all_began = threading.Barrier(len(droplet.RELEASES), timeout=5)

    def make(_, release):
        all_began.wait()  # breaks unless each has begun before one has ended
        return release, True

    monkeypatch.setattr(droplet, "ensure_image", make)
    assert droplet.ensure_images(None) == list(droplet.RELEASES)


@pytest.mark.parametrize("arguments", [["up"], ["images", "one"]])
def test_a_command_line_without_sense_is_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        droplet.main(arguments)
    assert "name a droplet" in capsys.readouterr().err

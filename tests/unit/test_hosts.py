"""What a host is: which ones are refused, and which versions the roles use there."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.clink.django_stack.plugins.action import check_values, host_facts
from ansible_collections.clink.django_stack.plugins.plugin_utils import hosts
from conftest import EXAMPLE, FACTS, ROOT, Renderer

# NAME, ID, VERSION_ID and PRETTY_NAME, as the distributions write them.
DEBIAN = "Debian GNU/Linux"
SUPPORTED = [
    (DEBIAN, "debian", "12", "Debian GNU/Linux 12 (bookworm)"),
    (DEBIAN, "debian", "13", "Debian GNU/Linux 13 (trixie)"),
    ("Ubuntu", "ubuntu", "24.04", "Ubuntu 24.04.3 LTS"),
    ("Ubuntu", "ubuntu", "26.04", "Ubuntu 26.04 LTS"),
]
OTHERS = [
    (DEBIAN, "debian", "11", "Debian GNU/Linux 11 (bullseye)"),
    (DEBIAN, "debian", "14", "Debian GNU/Linux 14 (forky)"),
    (DEBIAN, "debian", "", "Debian GNU/Linux forky/sid"),
    ("Ubuntu", "ubuntu", "22.04", "Ubuntu 22.04.5 LTS"),
    ("Ubuntu", "ubuntu", "25.10", "Ubuntu 25.10"),
    ("Raspbian GNU/Linux", "raspbian", "12", "Raspbian GNU/Linux 12 (bookworm)"),
    ("Linux Mint", "linuxmint", "22.1", "Linux Mint 22.1"),
    (DEBIAN, "debian", "12", "Armbian 24.5.1 bookworm"),  # a derivative that keeps ID and NAME
    ("Kali GNU/Linux", "kali", "2026.3", "Kali GNU/Linux Rolling"),
    ("Devuan GNU/Linux", "devuan", "5", "Devuan GNU/Linux 5 (daedalus)"),
]
WITHOUT_APT = [
    ("Fedora Linux", "fedora", "43", "Fedora Linux 43 (Server Edition)"),
    ("Alpine Linux", "alpine", "3.22.1", "Alpine Linux v3.22"),
    ("Arch Linux", "arch", "", "Arch Linux"),
]
APT = ("apt-get", "dpkg-query", "python3")


def printed(system=SUPPORTED[1], programs=APT, packages=(), clusters=(), offers=None, more=()):
    """Return what the look prints: clusters are texts such as "15", "15 ours", "15 ours manual"."""
    lines = ["Welcome! host-os of a login shell"]
    if system:
        keys = ("NAME", "ID", "VERSION_ID", "PRETTY_NAME")
        lines += [f'host-os {key}="{value}"' for key, value in zip(keys, system, strict=True)]
    lines += ["host-kernel Linux", *(f"host-program {name}" for name in programs)]
    lines += [f"host-package {package}" for package in packages]
    for cluster in clusters:
        version, *words = cluster.split()
        path = f"/etc/postgresql/{version}/main"
        lines += [f"host-cluster {path}", f"host-cluster /var/lib/postgresql/{version}/main"]
        lines += [f"host-settings {path}"] if "ours" in words else []
        lines += [f"host-manual {path}"] if "manual" in words else []
    for name, version in (offers or {}).items():
        lines += [f"host-offer {name}:", "host-offer   Installed: (none)"]
        lines += [f"host-offer   Candidate: {version}", "host-offer   Version table:"]
        lines += [f"host-offer      {version} 500", "host-offer         500 http://x/ y/main"]
    return "\n".join([*lines, *more, ""])


class Look:
    """An action plugin on a host that answers by a text; keeps what was run there."""

    def __init__(self, plugin, *answers):
        self.answers, self.ran, self.become = list(answers), [], []
        self.environments = []
        self.plugin = plugin
        plugin._low_level_execute_command = self.shell
        plugin._execute_module = self.module

    def shell(self, command, sudoable=True, executable=None):
        self.become.append(sudoable)
        told = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return {"rc": 0, "stdout": told, "stderr": ""}

    def module(self, name, arguments, task_vars):
        self.ran.append((name, arguments, self.plugin._task.check_mode))
        self.environments.append(self.plugin._task.environment)
        return {"ansible_facts": {"memtotal_mb": 2048}, "invocation": {}}


def plugin(kind, *answers, check_mode=False, arguments=None):
    """Return an action plugin of a host, and what it runs there."""
    action = kind.ActionModule(
        task=SimpleNamespace(
            _role=None,
            args=arguments or {},
            check_mode=check_mode,
            async_val=0,
            diff=False,
            action="x",
            environment=[],
        ),
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="unused"), become=None),
        play_context=None,
        loader=None,
        templar=SimpleNamespace(template=lambda value: value, available_variables={}),
        shared_loader_obj=None,
    )
    return action, Look(action, *answers)


def gather(*answers, check_mode=False, **variables):
    """Return the facts of a host, and what ran on it."""
    action, look = plugin(host_facts, *answers, check_mode=check_mode)
    result = action.run(task_vars={"inventory_hostname": "droplet", **variables})
    return result["ansible_facts"], look


# --- Which hosts are refused ----------------------------------------------------------------------


@pytest.mark.parametrize("system", SUPPORTED)
def test_a_supported_distribution_passes(system):
    offers = {"postgresql": "17+278"}
    facts, look = gather(printed(system, offers=offers))
    assert facts["memtotal_mb"] == 2048
    assert facts[hosts.VERSIONS]["postgresql"] == "17"
    assert [name for name, *_ in look.ran] == ["ansible.builtin.setup"]
    assert look.become == [False], "a host is refused before sudo is tried"


@pytest.mark.parametrize("system", OTHERS + WITHOUT_APT)
def test_another_distribution_is_refused_by_its_name(system):
    programs = APT if system in OTHERS else ("python3",)
    action, look = plugin(host_facts, printed(system, programs))
    with pytest.raises(AnsibleActionFail) as told:
        action.run(task_vars={"inventory_hostname": "droplet"})
    assert not look.ran, "nothing runs on it"
    message = str(told.value)
    assert message.startswith("Nothing was touched: droplet has ") and "\n" not in message
    assert system[3] in message
    assert hosts.SUPPORTED_TEXT in message
    assert (f"{hosts.OVERRIDE}: true" in message) == (system in OTHERS)


def test_a_system_without_a_name_is_refused():
    message = hosts.refusal(hosts.read("host-kernel FreeBSD\n"), "box", True, True)
    assert "box has FreeBSD, without apt-get and dpkg-query;" in message
    message = hosts.refusal(hosts.read("sh: not found"), "box", False, True)
    assert "box has an unknown system" in message


@pytest.mark.parametrize("system", OTHERS)
@pytest.mark.parametrize("value", [True, "true", "yes", 1])
def test_the_user_can_try_another_distribution_with_apt(system, value):
    offers = {"postgresql": "18+289"}
    facts, _ = gather(printed(system, offers=offers), **{hosts.OVERRIDE: value})
    assert facts[hosts.VERSIONS]["postgresql"] == "18"


@pytest.mark.parametrize("system", WITHOUT_APT)
def test_without_apt_nobody_can_try(system):
    with pytest.raises(AnsibleActionFail, match="without apt-get and dpkg-query"):
        gather(printed(system, ("python3",)), **{hosts.OVERRIDE: True})


@pytest.mark.parametrize("value", ["maybe", "", None, ["true"]])
def test_the_permission_is_true_or_false(value):
    with pytest.raises(AnsibleActionFail, match=f"{hosts.OVERRIDE}: it should be true or false"):
        gather(printed(), **{hosts.OVERRIDE: value})


def test_a_host_without_python_is_told_how_to_get_it():
    told = printed(SUPPORTED[3], ("apt-get", "dpkg-query"), offers={"postgresql": "18+1"})
    with pytest.raises(AnsibleActionFail, match="has no Python.*apt-get install python3"):
        gather(told)
    facts, _ = gather(told, ansible_python_interpreter="/opt/python/bin/python")
    assert facts[hosts.VERSIONS]["postgresql"] == "18"


@pytest.mark.parametrize("role", ["nginx", "redis", "postgresql", "gunicorn"])
def test_a_role_that_is_used_alone_is_refused_too(role):
    action, look = plugin(check_values, printed(OTHERS[3]), arguments={"roles": [role]})
    with pytest.raises(AnsibleActionFail, match="droplet has Ubuntu 22.04.5 LTS"):
        action.run(task_vars={"inventory_hostname": "droplet", "ansible_facts": {}})
    assert not look.ran


def test_a_description_alone_needs_no_host():
    action, look = plugin(
        check_values, printed(OTHERS[3]), arguments={"roles": ["app_description"]}
    )
    action.run(task_vars={"inventory_hostname": "droplet"})
    assert not look.become


def test_what_the_documents_say_is_what_is_supported():
    for path in ROOT.glob("roles/*/meta/main.yml"):
        platforms = yaml.safe_load(path.read_text())["galaxy_info"]["platforms"]
        told = {platform["name"].lower(): platform["versions"] for platform in platforms}
        assert told == {name: list(found.values()) for name, found in hosts.SUPPORTED.items()}
    row = next(
        line for line in (ROOT / "README.md").read_text().splitlines() if "| Server |" in line
    )
    assert hosts.SUPPORTED_TEXT in row
    for versions in hosts.SUPPORTED.values():
        assert all(version in hosts.SUPPORTED_TEXT for version in versions)


# --- Which versions -------------------------------------------------------------------------------

CHOICES = [  # clusters, what is on offer; the version
    ([], "15+248", "15"),
    ([], "16+257build1.1", "16"),
    ([], "18+288.pgdg13+1", "18"),
    ([], "18+289", "18"),
    ([], "(none)", ""),
    (["15"], "17+278", "15"),  # after an upgrade of the distribution
    (["15 ours"], "18+288.pgdg12+1", "15"),
    (["15 ours", "17"], "17+278", "15"),  # the new package has made an empty one
    (["15 ours manual", "17 ours"], "17+278", "17"),  # after pg_upgradecluster
    (["15 ours manual", "17"], "17+278", "17"),
    (["15 ours manual"], "17+278", "15"),
    (["15", "17"], "17+278", ""),
    (["15 ours", "17 ours"], "17+278", ""),
    (["15", "17"], None, ""),
]  # fmt: skip


@pytest.mark.parametrize(("clusters", "offered", "version"), CHOICES)
def test_a_cluster_keeps_its_version(clusters, offered, version):
    offers = {"postgresql": offered} if offered else {}
    assert hosts.read(printed(clusters=clusters, offers=offers)).postgresql == version


@pytest.mark.parametrize("text", ["", "17 ours"])
def test_without_a_version_the_variable_is_refused_by_its_name(checker, text):
    versions = hosts.read(printed(clusters=["15 ours", text] if text else [])).facts[hosts.VERSIONS]
    message = checker.message(
        {"ansible_facts": {**FACTS, hosts.VERSIONS: versions}}, ["postgresql", "backup"]
    )
    assert "postgresql_version: it should be a major version such as 17; set it if" in message


@pytest.mark.parametrize(
    ("packages", "offered", "version"),
    [
        ([], "2.50-1build2", "2.50"),
        ([], "2.57.0-1.pgdg13+1", "2.57.0"),
        (["ii  pgbackrest 2.45-1"], "2.55.1-1", "2.45"),
        (["rc  pgbackrest 2.45-1"], "2.55.1-1", "2.55.1"),  # removed, with its settings left
        ([], "(none)", ""),
    ],
)
def test_the_installed_pgbackrest_counts_before_the_one_on_offer(packages, offered, version):
    host = hosts.read(printed(packages=packages, offers={"pgbackrest": offered}))
    assert host.pgbackrest == version


@pytest.mark.parametrize("version", ["2.46", "2.57.0", "3.0"])
def test_a_new_pgbackrest_knows_sftp(checker, version):
    values = {
        "backup_pgbackrest_version": version,
        "backup_repository": "sftp://ada@example.com/clinic",
    }
    assert "pgBackRest" not in checker.message(values, ["backup"])


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_new_host_gets_its_lists_of_packages_first(check_mode):
    filled = printed(offers={"postgresql": "17+278", "pgbackrest": "2.55.1-1"})
    facts, look = gather(printed(), filled, check_mode=check_mode)
    assert facts[hosts.VERSIONS] == {"postgresql": "17", "pgbackrest": "2.55.1"}
    name, arguments, checked = look.ran[0]
    assert (name, arguments["update_cache"], checked) == ("ansible.builtin.apt", True, False)
    assert look.ran[1][2] == check_mode, "the mode of the run is as before"
    assert look.environments == [[{"NEEDRESTART_SUSPEND": "1"}], []], "apt restarts no services"


def test_directories_that_the_user_may_not_read_are_read_as_root():
    hidden = printed(offers={"postgresql": "17+278"}, more=["host-hidden /etc/postgresql"])
    facts, look = gather(hidden, printed(clusters=["15 ours"]))
    assert look.become == [False, True]
    assert facts[hosts.VERSIONS]["postgresql"] == "15"


def test_the_packages_are_known_before_the_names_of_those_to_install():
    facts, _ = gather(
        printed(
            packages=["ii  chrony 4.6.1-3", "rc  ntpsec 1.2", "bad"], offers={"postgresql": "17+1"}
        )
    )
    assert list(facts["packages"]) == ["chrony"]


def test_the_command_looks_at_a_real_machine(tmp_path):
    """The command reads the files that are there, with a plain shell."""
    command = hosts.LOOK
    for place in ("/etc/postgresql", "/var/lib/postgresql", "/etc/os-release"):
        command = command.replace(place, f"{tmp_path}{place}")
    main = tmp_path / "etc/postgresql/15/main"
    (main / "conf.d").mkdir(parents=True)
    (main / "conf.d/django_stack.conf").touch()
    (main / "start.conf").write_text("# manual\nmanual\n")
    (tmp_path / "etc/postgresql/17/main").mkdir(parents=True)
    (tmp_path / "var/lib/postgresql/16/main").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('NAME="A \\"b\\""\nID=x\n# NAME=no\n')
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
    host = hosts.read(done.stdout)
    assert (host.clusters, host.ours, host.manual) == ({"15", "16", "17"}, {"15"}, {"15"})
    assert (host.system["NAME"], host.system["ID"], host.kernel) == ('A "b"', "x", "Linux")
    assert bool(host.packages) == Path("/usr/bin/dpkg-query").exists()


# --- What differs on Ubuntu -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def renderer(tmp_path_factory):
    """Give what renders variables of the roles."""
    return Renderer(tmp_path_factory.mktemp("hosts"))


@pytest.mark.parametrize(
    ("installed", "wanted"), [([], True), (["chrony"], False), (["ntpsec"], False)]
)
def test_a_time_service_is_kept(renderer, installed, wanted):
    facts = FACTS | {"packages": {name: [] for name in installed}}
    expressions = {"names": "{{ __hardening_apt_packages }}"}
    told = renderer.render("ubuntu", EXAMPLE | {"facts": facts}, {}, expressions)
    assert ("systemd-timesyncd" in told["names"]) == wanted, "its package would remove chrony"


@pytest.mark.parametrize(
    ("active", "wanted"),
    [
        ("ssh.service", ["reload ssh.service"]),
        ("ssh.socket ssh.service", ["daemon-reload", "restart ssh.socket ssh.service"]),
        ("ssh.socket", ["daemon-reload", "restart ssh.socket"]),
    ],
)
def test_sshd_gets_its_ports_from_systemd_where_that_listens(renderer, tmp_path, active, wanted):
    command = renderer.render("ubuntu", EXAMPLE, {}, {"command": "{{ __sshd_reload }}"})["command"]
    stub = tmp_path / "systemctl"
    stub.write_text(
        f'#!/bin/sh\n[ "$1" != is-active ] || {{ echo " {active} " | grep -q " $3 "; exit; }}\n'
        f'echo "$*" >>{tmp_path}/ran\n'
    )
    stub.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["/bin/sh", "-ec", command], check=True, env=path)
    assert (tmp_path / "ran").read_text().splitlines() == wanted


@pytest.mark.parametrize(("wanted", "state"), [(True, "file"), (False, "absent")])
def test_needrestart_is_there_only_where_it_restarts(renderer, wanted, state):
    expressions = {"names": "{{ __hardening_apt_packages }}", "files": "{{ __hardening_settings }}"}
    given = EXAMPLE | {"hardening_restart_services": wanted}
    told = renderer.render("ubuntu", given, {}, expressions)
    (file,) = (each for each in told["files"] if each["dest"].startswith("/etc/needrestart/"))
    assert (("needrestart" in told["names"]), file["state"]) == (wanted, state)


def test_apport_does_not_start_where_core_dumps_are_off(renderer):
    told = renderer.render("ubuntu", EXAMPLE, {}, {"files": "{{ __hardening_settings }}"})
    files = {file["dest"]: file.get("content", "") for file in told["files"]}
    drop_in = files["/etc/systemd/system/apport.service.d/django_stack.conf"]
    path = drop_in.partition("ConditionPathExists=!")[2].strip()
    assert path in files, "the file that turns them off is the role's"

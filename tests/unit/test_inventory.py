"""Each public variable in the group_vars of one's own inventory: in force, or refused by name."""

from types import SimpleNamespace

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.clink.django_stack.plugins.plugin_utils import inventory, values
from conftest import EXAMPLE, FACTS, ROLES, ROOT

SECRET = "s3cr3t-s3cr3t-s3cr3t"
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
OF_ROLES = {
    path.name: values.load_role(path)
    for path in sorted((ROOT / "roles").iterdir())
    if (path / "meta" / "argument_specs.yml").is_file()
}
PUBLIC = {name: role for role in OF_ROLES.values() for name in role.options}
PLAYS = {path: yaml.safe_load(path.read_text()) for path in PLAYBOOKS}
SET_BY_SITE = {name for name in PLAYS[ROOT / "playbooks" / "site.yml"][0]["vars"] if name in PUBLIC}

# A description without what its owner leaves out.
SHOP = {
    "app_name": "shop",
    "app_source": {"git": "https://example.com/shop.git"},
    "app_domains": ["shop.example"],
    "app_celery": "shop",
}
# Values of variables that site.yml sets: they are used, alone or beside those of site.yml.
IN_FORCE = {
    "postgresql_archive_timeout": 90,
    "postgresql_log_days": 7,
    "postgresql_databases": {
        "wiki": {"owner": "wiki", "password": SECRET}, "shop": {"attributes": ["CREATEDB"]},
    },
    "sshd_allow_agent_forwarding": True,
    "fail2ban_jails": ["recidive"],
    "redis_password_fallbacks": ["f" * 20],
    "redis_users": {"wiki": "on >secret ~wiki:* +@all"},
    "backup_directories": ["/srv/wiki"],
    "backup_files": ["/etc/wiki.conf"],
    "nginx_links_up_to": ["/srv/front"],
    "nginx_static": {"/docs/": "{{ app_root }}/docs"},
    "nginx_uploads": ["/docs/"],
    "certificate_directory": "/etc/ssl/shop-two",
    "certbot_install_environment": {"HTTPS_PROXY": "http://proxy.example"},
    "ufw_allow_udp": [51820],
    "monitor_units": ["wiki.service"],
    "monitor_probes": {"wiki.service": "curl --fail http://127.0.0.1:81/"},
    "monitor_certificate_names": ["wiki.example"],
    "monitor_certificate_issued": True,
    "monitor_queues": ["reports"],
    "monitor_queue_command": "/usr/local/bin/lengths",
    "monitor_beat_command": "/usr/local/bin/due",
}  # fmt: skip
# Values that could only be used instead of what the stack needs.
REFUSED = {
    "app_trial_settings": {"preload_app": True},
    "postgresql_archive_command": "cp %p /srv/wal/%f",
    "processes_worker_command": ["celery", "worker"],
    "processes_worker_stop_timeout": 20,
    "redis_password": SECRET,
    "rabbitmq_user": "wiki",
    "rabbitmq_password": SECRET,
    "exporters_postgresql_port": 5433,
    "exporters_redis_address": "redis://127.0.0.1:6380",
    "exporters_redis_password": SECRET,
    "backup_name": "wiki",
    "backup_key": SECRET,
    "backup_database": "none",
    "backup_postgresql_version": 16,
    "backup_port": 5433,
    "nginx_maintenance_file": "/srv/maintenance",
    "nginx_site": "wiki",
    "nginx_server_names": ["wiki.example"],
    "nginx_uploads_domain": "uploads.example",
    "nginx_upstream": ["127.0.0.1:8000"],
    "nginx_health_path": "/health/",
    "nginx_certificates": {"/etc/ssl/wiki": ["shop.example"]},
    "certificate_source": "files",
    "certificate_names": {"wiki": ["wiki.example"]},
    "certbot_certificates": {"wiki": ["wiki.example"]},
    "certbot_directory": "/etc/ssl/wiki",
    "certbot_webroot": "/srv/acme",
    "monitor_site": {"name": "wiki.example"},
    "monitor_postgresql_port": 5433,
    "monitor_environment_file": "/etc/wiki",
    "monitor_beat": "beat.service",
    "monitor_release": "/etc/wiki.fact",
}
# The same for a part of a value, and a description in which another value is in force.
OTHERS = [
    ({"nginx_static": {"/static/": "/srv/static", "/x/": "/srv/x"}}, "of /static/"),
    ({"nginx_static": ["/x/"]}, "nginx_static: it should be a dictionary"),
    ({"fail2ban_jails": "recidive"}, "fail2ban_jails: it should be a list"),
    ({"postgresql_databases": {"shop": {"owner": "wiki"}}}, "of shop"),
    ({"backup_postgresql_version": 16, "app_database": f"postgresql://a:{SECRET}@db.local/x"}, ""),
    ({"postgresql_archive_command": "cp %p /x/%f", "backup_repository": "none"}, ""),
    ({"redis_password": "{{ app_broker_password }}"}, ""),
    ({"nginx_server_names": ["shop.example"]}, ""),
    ({"ufw_allow_udp": ["443", 53], "app_certificate": "selfsigned"}, ""),
    ({"sshd_allow_agent_forwarding": False, "app_source": {"git": "git@x.local:y", "agent": True}},
     "app_source has agent: true"),
    ({"guarded_change_files": ["/x"]}, "each role that includes guarded_change sets it"),
    ({"guarded_change_second": 5}, "Did you mean guarded_change_seconds?"),
    ({"guarded_change_seconds": 1}, "guarded_change_seconds: it should be"),
]  # fmt: skip


class Run:
    """site.yml with an inventory outside of this repository, as Ansible sees it."""

    def __init__(self, directory):
        """Read the playbook once."""
        self.group_vars = directory / "group_vars" / "all.yml"
        self.group_vars.parent.mkdir()
        self.hosts = directory / "hosts.yml"
        self.hosts.write_text("web: {hosts: {droplet: {}}}\n")
        self.play = self._manage({})[2]

    def _manage(self, given):
        self.group_vars.write_text(yaml.safe_dump(given))
        loader = DataLoader()
        hosts = InventoryManager(loader, [str(self.hosts)])
        manager = VariableManager(loader, hosts)
        play = getattr(self, "play", None)
        if play is None:
            play = Playbook.load(str(ROOT / "site.yml"), manager, loader).get_plays()[0]
        loader.set_basedir(play._included_path)
        HostVars(hosts, manager, loader)
        return loader, manager, play, hosts.get_host("droplet")

    def variables(self, given, command_line=None):
        """Return all variables of the host at the first task, not rendered."""
        loader, manager, play, host = self._manage(given)
        manager._extra_vars = command_line or {}
        task = play.pre_tasks[0].block[0]
        found = manager.get_vars(play=play, host=host, task=task)
        return found | {"ansible_facts": FACTS}, loader, task

    def ask(self, given, command_line=None, role=None):
        """Return what check_values says, and a function that renders a variable.

        `role` stands for the one that has the task, where it is used without the playbooks.
        """
        from ansible_collections.clink.django_stack.plugins.action import check_values

        found, loader, task = self.variables(given, command_line)
        templar = Templar(loader=loader, variables=found)
        action = check_values.ActionModule(
            task=task.copy(), connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="unused")),
            play_context=None, loader=loader, templar=templar, shared_loader_obj=None,
        )  # fmt: skip
        action._task.args = {"roles": ROLES}
        action._task._role = role
        missing = {"failed": True, "msg": "file not found"}  # the host is blank
        action._execute_module = lambda *_, **__: missing
        said = action.run(task_vars=found)
        return said.get("msg", ""), lambda name: templar.template(found[name])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("own"))


def test_every_variable_that_site_yml_sets_has_a_row_here_and_a_word_in_its_readme():
    assert set(IN_FORCE) | set(REFUSED) == SET_BY_SITE
    assert {name for role in OF_ROLES.values() for name in role.site} == SET_BY_SITE


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_no_other_playbook_hides_what_the_inventory_gives(path):
    for play in PLAYS[path]:
        assert {name for name in play.get("vars", {}) if name in PUBLIC} <= SET_BY_SITE


def test_what_site_yml_does_not_set_is_in_force(site):
    wanted = {name: f"the value of {name}" for name in PUBLIC if name not in SET_BY_SITE}
    found, _, _ = site.variables(wanted)
    assert {name: found[name] for name in wanted} == wanted


def test_what_can_be_added_to_is_in_force_beside_what_the_stack_needs(site):
    said, used = site.ask(SHOP | IN_FORCE)
    assert said == ""
    for name, value in IN_FORCE.items():
        assert inventory.in_force(value, used(name)) or name == "nginx_static", name
    assert used("nginx_static") == {
        "/docs/": "/var/www/shop/docs",
        "/static/": "/var/www/shop/staticfiles",
        "/media/": "/var/www/shop/shared/media",
    }
    database = used("postgresql_databases")["shop"]
    assert database["owner"] == "shop_owner" and database["user"] == "shop"
    assert database["password"] == used("app_database_owner_password")
    assert database["user_password"] == used("app_database_password")
    assert {"sshd", "nginx-limit-req"} < set(used("fail2ban_jails"))
    assert {"nginx.service", "gunicorn.socket"} < set(used("monitor_units"))
    assert "celery.service" in used("monitor_probes") and "celery" in used("monitor_queues")
    assert "/var/www/shop/current" in used("nginx_links_up_to")
    assert "/etc/shop/environment" in used("backup_files")


def test_what_would_not_be_used_is_refused_by_name(site):
    said, _ = site.ask(SHOP | REFUSED)
    lines = dict(line.split(": ", 1) for line in said.splitlines()[1:])
    assert set(lines) == set(REFUSED)
    for name, line in lines.items():
        assert (
            line == f"the value would not be used, because site.yml {PUBLIC[name].site[name]}"
            or (line.startswith("the value of ") and isinstance(REFUSED[name], dict))
        )
    assert SECRET not in said


def test_a_play_of_another_project_may_replace_what_the_inventory_gives(site):
    said, _ = site.ask(SHOP | {"redis_password": SECRET}, role=object())
    assert said == ""


@pytest.mark.parametrize(("given", "told"), OTHERS)
def test_a_part_of_a_value_and_a_value_of_another_description(site, given, told):
    said, _ = site.ask(SHOP | given)
    assert told in said if told else said == ""
    assert SECRET not in said


@pytest.mark.parametrize("name", ["fail2ban_jails", "ufw_allow_udp", "nginx_site", "redis_users"])
def test_the_command_line_does_not_replace_what_the_stack_needs(site, name):
    value = (IN_FORCE | REFUSED)[name]
    said, _ = site.ask(
        SHOP | {"exporters_enabled": ["redis"], "app_certificate": "selfsigned"}, {name: value}
    )
    assert f"{name}: " in said and said.count("\n") == 1


def test_the_command_line_replaces_a_default_of_site_yml(site):
    said, used = site.ask(SHOP, {"certificate_directory": "/etc/ssl/shop-two"})
    assert said == "" and used("certificate_directory") == "/etc/ssl/shop-two"


@pytest.mark.parametrize(
    ("tags", "skipped", "refused"),
    [(["all"], [], True), (["app"], [], True), (["nginx"], [], False), (["all"], ["app"], False)],
)
def test_a_missing_source_is_refused_by_a_run_that_fetches_it(site, tags, skipped, refused):
    given = SHOP | {"app_source": {"directory": "nowhere"}}
    said, _ = site.ask(given, {"ansible_run_tags": tags, "ansible_skip_tags": skipped})
    place = site.hosts.parent / "nowhere"
    line = f"app_source: there is no directory {place} on the control machine"
    assert said.splitlines()[1:] == [line] * refused


# --- which description a command reads ----------------------------------------------------------


def read_by(path, *inventories):
    """Return the variables of the first host of each inventory, as a playbook sees them."""
    loader = DataLoader()
    book = Playbook.load(str(path), VariableManager(loader), loader)
    play = book.get_plays()[0]
    for inventory_file in inventories:
        loader = DataLoader()
        hosts = InventoryManager(loader, [str(inventory_file)])
        manager = VariableManager(loader, hosts)
        loader.set_basedir(play._included_path or book._basedir)
        yield manager.get_vars(play=play, host=hosts.get_hosts()[0])


@pytest.mark.parametrize("path", [ROOT / "site.yml", *PLAYBOOKS], ids=lambda path: path.stem)
def test_every_command_reads_the_description_beside_the_inventory(path, tmp_path):
    groups = {"all": "web", "project": "project", "production": "production"}
    shipped = [ROOT / "inventories" / f"{name}.yml" for name in ("production", "demo")]
    for name, group in groups.items():
        place = tmp_path / name
        (place / "group_vars").mkdir(parents=True)
        (place / "hosts.yml").write_text(f"{group}: {{hosts: {{droplet: {{}}}}}}\n")
        (place / "group_vars" / f"{name}.yml").write_text("app_name: shop\napp_root: /srv/shop\n")
    own = [tmp_path / name / "hosts.yml" for name in groups]
    *read_of_own, production, demo = read_by(path, *own, *shipped)
    for read in read_of_own:
        assert (read["app_name"], read["app_root"]) == ("shop", "/srv/shop")
        names = {"app_source", "app_health_path", "nginx_content_security_policy"}
        assert [key for key in names if key in read and read[key] == EXAMPLE[key]] == []
    for read in (production, demo):
        assert {key: read[key] for key in EXAMPLE if key != "app_domains"} == {
            key: value for key, value in EXAMPLE.items() if key != "app_domains"
        }


def test_a_host_without_a_description_is_told_what_is_missing_and_where_it_belongs(site):
    said, _ = site.ask({})
    for name in ("app_name", "app_source", "app_domains"):
        assert f"\n{name}: it should be" in said
    where = site.group_vars.parent
    assert said.endswith(
        f"\nAnsible reads this host's variables from all.yml and web.yml in {where}."
    )


def test_variables_beside_the_playbooks_are_refused(tmp_path):
    clone, own = tmp_path / "clone", tmp_path / "own" / "hosts.yml"
    (clone / "group_vars").mkdir(parents=True)
    (clone / "playbooks" / "host_vars").mkdir(parents=True)
    assert inventory.misplaced(clone, [str(own), "droplet,"]) == []
    (clone / "group_vars" / "all.yml").write_text("app_name: shop\n")
    (clone / "playbooks" / "host_vars" / "droplet.yml").write_text("app_name: shop\n")
    for source in (own, clone / "inventories" / "production.yml"):
        told = inventory.misplaced(clone, [str(source)])
        assert [line.split(": ")[0] for line in told] == [
            str(clone / "group_vars"), str(clone / "playbooks" / "host_vars"),
        ]  # fmt: skip
    # An inventory beside site.yml has its group_vars there, too.
    (clone / "hosts.yml").touch()
    for source in (clone, clone / "hosts.yml"):
        assert len(inventory.misplaced(clone, [str(source)])) == 1
    assert inventory.misplaced(ROOT, [str(own)]) == []

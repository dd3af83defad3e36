"""Which changes of a description only site.yml applies."""

from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleError
from ansible.module_utils import basic
from ansible_collections.clink.django_stack.plugins.action import applied_description
from ansible_collections.clink.django_stack.plugins.module_utils import descriptions
from ansible_collections.clink.django_stack.plugins.modules import applied_description as applying
from ansible_collections.clink.django_stack.plugins.plugin_utils import inventory, values
from conftest import ROLES, ROOT

ONE, TWO = ["text", "value"], ["text2", "value2"]


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ({"nginx": {"nginx_x": ONE}}, {"nginx": {"nginx_x": ONE}}, []),
        ({"nginx": {"nginx_x": ONE}}, {"nginx": {"nginx_x": TWO}}, ["nginx_x"]),
        # given now and not then, and the other way round
        ({"nginx": {}}, {"nginx": {"nginx_x": ONE}}, ["nginx_x"]),
        ({"nginx": {"nginx_x": ONE}}, {"nginx": {}}, ["nginx_x"]),
        # a template with another value; the same value in other words
        ({"nginx": {"nginx_x": ["text", "1"]}}, {"nginx": {"nginx_x": ["text", "2"]}}, ["nginx_x"]),
        ({"nginx": {"nginx_x": ["text", "1"]}}, {"nginx": {"nginx_x": ["text2", "1"]}}, []),
        # what uses a fact of the host, which a deploy does not read
        ({"nginx": {"nginx_x": ["text", "1"]}}, {"nginx": {"nginx_x": ["text", ""]}}, []),
        ({"nginx": {"nginx_x": ["text", ""]}}, {"nginx": {"nginx_x": ["text2", ""]}}, ["nginx_x"]),
        # a role that was never set up by this version
        ({}, {"nginx": {"nginx_x": ONE}}, []),
        ({"nginx": {"b": ONE, "a": ONE}, "redis": {"c": ONE}}, {"nginx": {}, "redis": {}},
         ["a", "b", "c"]),
    ],
)  # fmt: skip
def test_a_change_is_named_and_nothing_else(before, after, names):
    assert descriptions.changed(before, after) == names


@pytest.mark.parametrize(
    ("tags", "skipped", "roles"),
    [
        (["all"], [], {"app_description", "app", "nginx", "redis"}),
        (["all"], ["redis"], {"app", "nginx"}),
        (["nginx", "redis"], [], {"nginx", "redis"}),
        (["nginx", "redis"], ["nginx"], {"redis"}),
        (["always"], [], set()),
    ],
)
def test_a_run_with_tags_applies_the_roles_of_its_tags(tags, skipped, roles):
    assert descriptions.applied({"app", "nginx", "redis"}, tags, skipped) == roles


def test_only_what_is_given_is_digested_and_no_value_is_kept():
    def template(value):
        if "ansible_facts" in str(value):
            raise AnsibleError("no facts")
        return value

    action = object.__new__(applied_description.ActionModule)
    action._templar = SimpleNamespace(template=template)
    role = values.load_role(ROOT / "roles" / "app_description")
    given = {
        "app_celery": "secret", "app_source": {"git": "x"}, "nginx_http3": True,
        "ansible_host": "x", "app_memory_percent": "{{ ansible_facts }}",
    }  # fmt: skip
    told = action._digests(role, given)
    assert set(told) == {"app_celery", "app_memory_percent"}
    assert told["app_memory_percent"][1] == ""
    assert "secret" not in str(told)
    again = action._digests(role, {"app_celery": "other"})
    assert again["app_celery"][1] != told["app_celery"][1]


def test_numbers_and_texts_of_the_same_look_are_the_same():
    """Extra variables are texts where the inventory has numbers."""
    texts = inventory.in_texts({"a": ("1", "true")})
    assert inventory.in_texts({"a": [1, True]}) == texts


@pytest.mark.parametrize("role", ROLES)
def test_variables_without_a_need_for_site_yml_exist(role):
    assert set(values.load_role(ROOT / "roles" / role).no_site) <= set(
        values.load_role(ROOT / "roles" / role).options
    )


@pytest.mark.parametrize("state", ["applied", "compared"])
def test_digests_reach_no_log_and_no_result(arguments, state, monkeypatch, tmp_path, capsys):
    given = {"redis": {"redis_password": ["digest-of-template", "digest-of-value"]}}
    arguments({"application": "clinic", "state": state, "given": given})
    logged = []
    monkeypatch.setattr(applying, "PLACE", tmp_path)
    monkeypatch.setattr(
        basic.AnsibleModule,
        "log",
        lambda self, text, log_args=None: logged.append([text, log_args]),
    )
    monkeypatch.setattr(applying.files, "replace", lambda *arguments: None)
    with pytest.raises(SystemExit):
        applying.main()
    assert logged
    assert "digest" not in f"{logged}{capsys.readouterr()}"

"""The users of Redis: their file, and how the running Redis loads it."""

import hashlib
import os

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import queues
from ansible_collections.clink.django_stack.plugins.modules import redis_users

RULES = {"default": "on #ab ~* &*\n -@all", "exporter": "on #cd +info"}


class Server:
    """A Redis: what it knows, and what it was asked."""

    def __init__(self, logins=(), able=(), answer=""):
        self.logins, self.able, self.answer, self.asked = logins, able, answer, []

    def client(self, url):
        server, session = self, {"user": None}

        class Client:
            def ask(self, *words):
                server.asked.append(words)
                if words[0] == "AUTH":
                    if words[1:] not in server.logins:
                        raise queues.QueueError("WRONGPASS invalid username-password pair")
                    session["user"] = words[1:]
                    return b"OK"
                if session["user"] is None:
                    raise queues.QueueError("NOAUTH Authentication required.")
                if session["user"] not in server.able:
                    raise queues.QueueError("NOPERM no permissions to run the 'acl|load' command")
                if server.answer:
                    raise queues.QueueError(server.answer)
                return b"OK"

            def close(self):
                """Do nothing."""

        return Client()


@pytest.fixture
def load(monkeypatch):
    def loaded(server):
        monkeypatch.setattr(queues, "Client", server.client)
        return redis_users.load("::1", 6379, [("root", "r"), ("new",), ("old",)])

    return loaded


def test_the_administrator_comes_after_the_default_user():
    digest = hashlib.sha256(b"secret").hexdigest()
    assert redis_users.text_of(RULES, "secret") == (
        "user default on #ab ~* &* -@all\n"
        f"user root on #{digest} ~* &* +@all\n"
        "user exporter on #cd +info\n"
    )


def test_the_administrator_loads_the_users(load):
    server = Server([("root", "r")], [("root", "r")])
    assert load(server) == ""
    assert server.asked == [("AUTH", "root", "r"), ("ACL", "LOAD")]


def test_a_redis_of_an_earlier_version_lets_the_application_load_them(load):
    assert load(Server([("old",)], [("old",)])) == ""


def test_a_redis_that_nobody_may_tell_has_to_restart(load):
    assert load(Server()).startswith("NOAUTH")
    assert load(Server([("old",)])).startswith(("NOAUTH", "NOPERM"))
    unknown = Server([("old",)], [("old",)], "ERR This Redis instance is not configured to use")
    assert redis_users.refused(load(unknown)) == ""


def test_a_refusal_quotes_no_password(load):
    answer = "ERR /etc/redis/users.acl:3: Error in user declaration '>secret': WARNING: ACL errors"
    said = redis_users.refused(load(Server([("root", "r")], [("root", "r")], answer)))
    assert "line 3" in said and "secret" not in said


def test_root_reads_only_its_own_file(tmp_path):
    own, link, twin = (tmp_path / name for name in ("own", "link", "twin"))
    own.write_text("user default\n")
    link.symlink_to(own)
    assert redis_users.own_content(own) == b"user default\n"
    assert redis_users.own_content(link) is None
    os.mkfifo(tmp_path / "pipe")
    assert redis_users.own_content(tmp_path / "pipe") is None
    twin.hardlink_to(own)
    assert redis_users.own_content(own) is None
    assert redis_users.own_content(tmp_path / "none") is None

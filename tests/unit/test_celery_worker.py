"""The program of celery.service: which tasks it returns to their queues."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest

PROGRAM = Path(__file__).parents[2] / "roles/celery_worker/files/celery_worker.py"
PUBLISHER = {"cmd": "lpush", "db": "0", "psub": "0"}


@pytest.fixture
def program():
    spec = spec_from_file_location("celery_worker", PROGRAM)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Broker:
    """Kombu's connection, channel and QoS, as far as the program uses them."""

    def __init__(self, kind="redis", hostname="127.0.0.1", clients=(), held=None):
        self.transport = SimpleNamespace(driver_type=kind)
        self.hostname, self.clients, self.held = hostname, clients, held
        self.default_channel, self.qos, self.client = self, self, self
        self.unacked_key = "unacked"
        self.connection_pool = SimpleNamespace(connection_kwargs={"db": 0})
        self.amqp = SimpleNamespace(TaskConsumer=lambda channel: self.done.append("declared"))
        self.done, self.limits, self.asked = [], {}, False

    def connection_for_read(self, transport_options):
        self.limits = transport_options
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.done.append("closed")

    def hgetall(self, key):
        assert key == "unacked"
        return self.held or {}

    def client_list(self):
        self.asked = True
        return [PUBLISHER, *self.clients]

    def restore_by_tag(self, tag):
        self.done.append(tag)


def task(**headers):
    return json.dumps([{"body": "", "headers": headers}, "", "celery"]).encode()


HELD = {b"one": task(id="1"), b"two": task(id="2", redelivered=True), b"three": task(id="3")}


def test_the_tasks_of_a_dead_worker_are_returned_once(program):
    broker = Broker(held=HELD)
    assert program.recover(broker) == 2
    assert broker.done == ["declared", b"one", b"three", "closed"]
    assert 0 < broker.limits["socket_timeout"] <= 5


@pytest.mark.parametrize(
    "other",
    [
        {"clients": [PUBLISHER | {"cmd": "brpop"}]},
        {"clients": [PUBLISHER | {"psub": "1"}]},
        {"kind": "amqp"},
        {"hostname": "redis.example.com"},
        {"hostname": None},
    ],
)
def test_the_tasks_of_another_worker_stay(program, other):
    broker = Broker(held=HELD, **other)
    assert program.recover(broker) == 0
    assert broker.done == ["closed"]


def test_a_worker_of_another_database_does_not_matter(program):
    assert (
        program.recover(Broker(held=HELD, clients=[PUBLISHER | {"cmd": "brpop", "db": "1"}])) == 2
    )


def test_without_tasks_nothing_is_asked(program):
    broker = Broker()
    assert program.recover(broker) == 0
    assert not broker.asked


def test_an_error_reaches_celery_which_logs_it(program):
    with pytest.raises(ValueError):
        program.recover(Broker(held={b"one": b"no JSON"}))

"""The program of celery.service: which tasks it returns to their queues."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest

PROGRAM = Path(__file__).parents[2] / "roles/celery_worker/files/celery_worker.py"
WORKER = "celery@droplet"


@pytest.fixture
def program():
    spec = spec_from_file_location("celery_worker", PROGRAM)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Broker:
    """Kombu's connection, channel and QoS, as far as the program uses them."""

    def __init__(self, kind="redis", hostname="127.0.0.1", held=None):
        class QoS:
            taken: list[str] = []

            def append(self, message, tag):
                self.taken.append(f"{tag} {json.dumps(message._raw)}")

        self.taking = QoS
        channel = SimpleNamespace(QoS=QoS)
        self.transport = SimpleNamespace(driver_type=kind, Channel=channel)
        self.hostname, self.held = hostname, held
        self.default_channel, self.qos, self.client = self, self, self
        self.unacked_key = "unacked"
        self.amqp = SimpleNamespace(TaskConsumer=lambda channel: self.done.append("declared"))
        self.done, self.limits = [], {}

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

    def restore_by_tag(self, tag):
        self.done.append(tag)


def task(worker=WORKER, **headers):
    message = {"body": "", "headers": headers}
    message |= {"django_stack_worker": worker} if worker else {}
    return json.dumps([message, "", "celery"]).encode()


HELD = {
    b"one": task(id="1"),
    b"two": task(id="2", redelivered=True),
    b"three": task(id="3"),
    b"of a worker that lives": task("clinic-reports@droplet", id="4"),
    b"of another program": task("", id="5"),
}


def test_the_tasks_of_a_dead_worker_are_returned_once(program):
    broker = Broker(held=HELD)
    assert program.recover(broker, WORKER) == 2
    assert broker.done == ["declared", b"one", b"three", "closed"]
    assert 0 < broker.limits["socket_timeout"] <= 5


def test_another_worker_finds_its_own_tasks_only(program):
    broker = Broker(held=HELD)
    assert program.recover(broker, "clinic-reports@droplet") == 1
    assert broker.done == ["declared", b"of a worker that lives", "closed"]


@pytest.mark.parametrize(
    "other", [{"kind": "amqp"}, {"hostname": "redis.example.com"}, {"hostname": None}]
)
def test_a_broker_elsewhere_is_left_alone(program, other):
    broker = Broker(held=HELD, **other)
    append = broker.taking.append
    assert program.recover(broker, WORKER) == 0
    assert broker.done == ["closed"]
    assert broker.taking.append is append


def test_a_task_that_is_taken_has_the_name_of_its_worker(program):
    broker = Broker()
    program.recover(broker, WORKER)
    message = SimpleNamespace(_raw={"headers": {"id": "1"}})
    broker.taking().append(message, "tag")
    tag, _, text = broker.taking.taken[0].partition(" ")
    assert tag == "tag"
    assert program.is_left(f'[{text}, "", "celery"]', WORKER)
    assert not program.is_left(f'[{text}, "", "celery"]', "other@droplet")


def test_without_tasks_nothing_is_declared(program):
    broker = Broker()
    assert program.recover(broker, WORKER) == 0
    assert broker.done == ["closed"]


def test_an_error_reaches_celery_which_logs_it(program):
    broker = Broker(held={b"one": b"no JSON"})
    append = broker.taking.append
    with pytest.raises(ValueError):
        program.recover(broker, WORKER)
    assert broker.taking.append is not append  # what it takes later is signed

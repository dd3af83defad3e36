"""The hash of a password for RabbitMQ's definitions."""

import base64
import hashlib

from ansible.plugins.loader import init_plugin_loader
from conftest import ROOT

init_plugin_loader([str(ROOT / "collections")])

from ansible_collections.clink.django_stack.plugins.filter.rabbitmq_hash import (  # noqa: E402 - found by the loader
    rabbitmq_hash,
)


def test_the_hash_has_a_salt_of_four_bytes_and_the_digest_of_both():
    told = base64.b64decode(rabbitmq_hash("x" * 20))
    assert told[4:] == hashlib.sha256(told[:4] + b"x" * 20).digest()


def test_the_same_password_gives_the_same_hash_and_another_one_another_salt():
    assert rabbitmq_hash("x" * 20) == rabbitmq_hash("x" * 20)
    assert (
        base64.b64decode(rabbitmq_hash("y" * 20))[:4]
        != base64.b64decode(rabbitmq_hash("x" * 20))[:4]
    )

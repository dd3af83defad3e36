"""The hash of a password, beside passlib's."""

import pytest
from ansible.errors import AnsibleFilterError
from ansible.plugins.loader import init_plugin_loader
from conftest import ROOT
from passlib.hash import sha512_crypt as passlibs

init_plugin_loader([str(ROOT / "collections")])

from ansible_collections.clink.django_stack.plugins.filter.sha512_crypt import (  # noqa: E402 - found by the loader
    sha512_crypt,
)

PASSWORDS = [
    *("", "x", "Hello world!", 'it\'s "$y" \\ #1', "klinik\u00e4"),
    *("a" * 63, "b" * 64, "c" * 200, 123456789012),
]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("salt", ["s", "saltstring", "./azAZ0123456789"])
def test_the_hash_is_that_of_passlib(password, salt):
    assert sha512_crypt(password, salt) == passlibs.using(rounds=5000, salt=salt).hash(
        str(password)
    )


@pytest.mark.parametrize("salt", ["", "a" * 17, "a$b", "a b", "\u00e4", "a\n"])
def test_a_wrong_salt_is_refused(salt):
    with pytest.raises(AnsibleFilterError, match="salt"):
        sha512_crypt("x", salt)


def test_a_password_that_crypt_would_cut_is_refused():
    with pytest.raises(AnsibleFilterError, match="NUL"):
        sha512_crypt("x\0y", "salt")

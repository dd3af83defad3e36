"""Networks without parts of them: what a service may connect to."""

import ipaddress

import pytest
import yaml
from ansible_collections.clink.django_stack.plugins.plugin_utils.addresses import networks_without
from conftest import ROOT

WORLD = ["0.0.0.0/0", "::/0"]


@pytest.mark.parametrize(
    ("networks", "without", "left"),
    [
        (["10.0.0.0/24"], ["10.0.0.192/26"], ["10.0.0.0/25", "10.0.0.128/26"]),
        (["10.0.0.0/24"], ["10.0.0.0/8"], []),
        (["10.0.0.0/24"], ["10.1.0.0/24", "::1"], ["10.0.0.0/24"]),
        (["10.0.0.0/25", "10.0.0.128/25"], [], ["10.0.0.0/24"]),
        (["::/127"], ["::1"], ["::/128"]),
    ],
)
def test_the_rest_of_networks_is_complete(networks, without, left):
    assert networks_without(networks, without) == left


@pytest.mark.parametrize("hole", ["169.254.0.0/16", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0"])
def test_nothing_else_is_left_out(hole):
    left = [ipaddress.ip_network(each) for each in networks_without(WORLD, [hole])]
    network = ipaddress.ip_network(hole)
    same = [each for each in left if each.version == network.version]
    world = 2**network.max_prefixlen
    if network.version == 6:
        assert sum(each.num_addresses for each in same) == world - network.num_addresses
    assert not any(each.overlaps(network) for each in same)
    assert sum(each.num_addresses for each in left if each.version == 4) == (
        2**32 - (network.num_addresses if network.version == 4 else 0)
    )


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "239.1.2.3"),
        *("fd00:ec2::254", "fd20:ce::254", "fd00:42::42", "fe80::1", "ff02::1"),
        *(
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::6464:64c8",
            "64:ff9b::a83f:8110",
            "::ffff:169.254.169.254",
        ),
    ],
)
def test_no_application_reaches_a_metadata_server(address):
    assert not reaches(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "::1", "10.0.0.2", "172.17.0.1", "192.168.1.1", "8.8.8.8", "168.62.0.1"),
        *("2001:4860:4860::8888", "fd12:3456::1", "64:ff9b::808:808", "100.64.0.1"),
    ],
)
def test_an_application_reaches_all_others(address):
    assert reaches(address)


def reaches(address):
    path = ROOT / "roles/app_description/vars/main/environment.yml"
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    left = networks_without(described["__app_networks"], described["__app_forbidden_networks"])
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(each) for each in left)

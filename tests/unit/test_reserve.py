"""The file that reserves space on the disk."""

import os
from types import SimpleNamespace

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import checks, reserve


@pytest.fixture
def disk(monkeypatch, tmp_path):
    """Give a disk with some free MB, and the path of a reserve on it."""
    told = SimpleNamespace(free=1000, place=tmp_path / "reserve")
    monkeypatch.setattr(
        os, "statvfs", lambda path: SimpleNamespace(f_bavail=told.free, f_frsize=reserve.MB)
    )
    return told


def test_it_is_made_where_there_is_room_and_takes_all_its_blocks(disk):
    reserve.keep(2, disk.place)
    told = disk.place.stat()
    assert told.st_size == 2 * reserve.MB
    assert told.st_blocks * 512 >= 2 * reserve.MB
    assert told.st_mode & 0o777 == 0o600


def test_it_is_given_up_when_the_disk_is_full_and_made_again_when_there_is_room(disk):
    reserve.keep(100, disk.place)
    disk.free = 64
    reserve.keep(100, disk.place)
    assert disk.place.exists() and not reserve.missing(100, disk.place)
    disk.free = 63
    reserve.keep(100, disk.place)
    assert not disk.place.exists() and reserve.missing(100, disk.place)
    disk.free = 299
    reserve.keep(100, disk.place)
    assert not disk.place.exists() and reserve.missing(100, disk.place)
    disk.free = 300
    assert not reserve.missing(100, disk.place)
    reserve.keep(100, disk.place)
    assert disk.place.exists()


def test_its_size_follows_the_setting(disk):
    reserve.keep(2, disk.place)
    reserve.keep(3, disk.place)
    reserve.keep(3, disk.place)
    assert disk.place.stat().st_size == 3 * reserve.MB
    reserve.keep(0, disk.place)
    reserve.keep(0, disk.place)
    assert not disk.place.exists() and not reserve.missing(0, disk.place)


def test_a_half_made_one_is_made_anew(disk):
    disk.place.with_name("reserve.new").write_text("cut off")
    reserve.keep(1, disk.place)
    assert disk.place.stat().st_size == reserve.MB


def test_it_is_a_problem_only_when_it_was_used_up():
    assert checks.judge_reserve(False, 256) == []
    (row,) = checks.judge_reserve(True, 256)
    assert row.certain and "256 MB" in row.wrong and "768 MB" in row.advice

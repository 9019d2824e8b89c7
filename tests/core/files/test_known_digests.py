"""Digests are remembered for speed, and never in place of a file that changed."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from vqazoo.files import known_digests
from vqazoo.files.known_digests import LEAST, joined_sha256, known_sha256, reading_all
from vqazoo.files.reading import open_plain
from vqazoo.files.writing import cache_home


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VQAZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def settled(monkeypatch):
    """As if all files had been written long ago: a test cannot set the time of an entry."""
    monkeypatch.setattr(known_digests, "SETTLED", -1.0)


@pytest.fixture
def reads(monkeypatch):
    """The files that were opened."""
    opened = []

    def counted(file, root=None):
        opened.append(file.name)
        return open_plain(file, root)

    monkeypatch.setattr(known_digests, "open_plain", counted)
    return opened


@pytest.fixture
def large(tmp_path):
    file = tmp_path / "large"
    file.write_bytes(bytes(LEAST))
    return file


def sha256(*files):
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def change(file):
    """Another byte, of the same size at the same time of change."""
    before = os.stat(file)
    with file.open("r+b") as opened:
        opened.write(b"x")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_large_file_is_read_once(large, settled, reads):
    assert {joined_sha256([large]) for _ in range(3)} == {sha256(large)}
    assert reads == ["large"]


def test_a_small_file_is_read_each_time(tmp_path, settled, reads):
    small = tmp_path / "small"
    small.write_bytes(bytes(LEAST - 1))
    assert {joined_sha256([small]) for _ in range(3)} == {sha256(small)}
    assert len(reads) == 3


def test_several_files_have_the_digest_of_their_joined_contents(tmp_path, large, settled, reads):
    second = tmp_path / "second"
    second.write_bytes(b"more")
    for _ in range(2):
        assert joined_sha256([large, second]) == sha256(large, second)
        assert joined_sha256([second, large]) == sha256(second, large)
    assert len(reads) == 4
    second.write_bytes(b"less")
    assert joined_sha256([large, second]) == sha256(large, second)


def test_a_byte_that_changed_is_noticed_though_size_and_time_are_set_back(large, settled):
    joined_sha256([large])
    change(large)
    assert joined_sha256([large]) == sha256(large)


def test_another_file_in_its_place_is_noticed_though_size_and_time_are_equal(
    large, tmp_path, settled
):
    joined_sha256([large])
    other = tmp_path / "other"
    other.write_bytes(b"x" * LEAST)
    status = os.stat(large)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, large)
    assert joined_sha256([large]) == sha256(large)


def test_a_file_that_was_just_written_is_read_each_time(large, reads):
    assert [joined_sha256([large]) for _ in range(2)] == [sha256(large)] * 2
    assert len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(large, settled, monkeypatch):
    def changing(file, root=None):
        change(file)
        return open_plain(file, root)

    monkeypatch.setattr(known_digests, "open_plain", changing)
    joined_sha256([large])
    assert known_sha256([large]) is None


def test_what_is_verified_is_read_whatever_was_remembered(large, settled, reads):
    joined_sha256([large])
    known = json.loads((cache_home() / known_digests.KNOWN).read_text())
    known[str(large)][-1] = "0" * 64
    (cache_home() / known_digests.KNOWN).write_text(json.dumps(known))
    assert joined_sha256([large]) == "0" * 64
    with reading_all():
        assert joined_sha256([large]) == sha256(large)
    assert joined_sha256([large]) == sha256(large)  # which was put right


@pytest.mark.parametrize("content", ["", "[]", "{", '{"large": 3}', "[" * 100_000])
def test_a_broken_memory_is_none(large, settled, content):
    joined_sha256([large])
    (cache_home() / known_digests.KNOWN).write_text(content)
    assert joined_sha256([large]) == sha256(large)


def test_a_cache_that_cannot_be_written_costs_time_alone(large, settled, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VQAZOO_CACHE", str(tmp_path / "file" / "cache"))
    assert [joined_sha256([large]) for _ in range(2)] == [sha256(large)] * 2


def test_only_the_latest_files_are_remembered(large, settled, monkeypatch, tmp_path):
    monkeypatch.setattr(known_digests, "MOST_REMEMBERED", 2)
    for name in "abc":
        (tmp_path / name).write_bytes(bytes(LEAST))
        joined_sha256([tmp_path / name])
    assert [bool(known_sha256([tmp_path / name])) for name in "abc"] == [False, True, True]

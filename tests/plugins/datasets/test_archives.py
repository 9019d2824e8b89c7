"""The table of official archives: well formed, and light to import."""

from __future__ import annotations

import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from vqazoo_datasets import benchmarks, manifest
from vqazoo_datasets.archives import ARCHIVES, BY_HAND
from vqazoo_datasets.download import Archive

ALL = [(name, archive) for name, archives in ARCHIVES.items() for archive in archives]


def test_the_module_loads_nothing_heavy() -> None:
    code = (
        "import sys, vqazoo_datasets.archives\n"
        "print(*{'torch', 'numpy', 'PIL', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_name_is_a_dataset_with_a_page_for_a_person() -> None:
    assert set(ARCHIVES) <= set(BY_HAND)
    for name in BY_HAND:
        assert any(hasattr(m, name.upper().replace("-", "_")) for m in (manifest, benchmarks))
    for text in BY_HAND.values():
        assert re.match(r"https?://\S+ : \S", text)
        assert "\n" not in text


@pytest.mark.parametrize(("name", "archive"), ALL, ids=[f"{n}-{a.file}" for n, a in ALL])
def test_an_entry_is_well_formed(name: str, archive: Archive) -> None:
    address = urlsplit(archive.url)
    assert address.scheme in ("http", "https")
    assert address.netloc
    assert not re.search(r"[\\/]", archive.file)
    assert archive.what
    assert re.fullmatch(r"([0-9a-f]{64})?", archive.sha256)
    assert re.fullmatch(r"([0-9a-f]{32})?", archive.md5)
    assert archive.bytes >= 0
    assert not archive.into.startswith("/")
    assert ".." not in archive.into
    assert archive.file.endswith((".zip", ".tar")) is archive.unpack
    if archive.top:
        assert archive.unpack


def test_files_of_one_data_root_have_different_names() -> None:
    for archives in ARCHIVES.values():
        assert len({archive.file for archive in archives}) == len(archives)


def test_checksums_are_not_repeated() -> None:
    sums = {archive.url: archive.sha256 for _, archive in ALL if archive.sha256}
    assert len(set(sums.values())) == len(sums)

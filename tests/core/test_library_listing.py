"""transformers' listing of its own files, remembered between processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vqazoo.library_listing import read_listing, remembered, written

LISTING = {
    frozenset({"torch"}): {"modeling_a": {"AModel", "AHead"}},
    frozenset(): {"configuration_a": {"AConfig"}},
    "b": {frozenset({"vision", "torch"}): {"processing_b": {"B"}}, "inner": {}},
}


class Folder:
    """A folder of models and what decides with it, both older than the clock of a file system."""

    def __init__(self, root: Path) -> None:
        self.models, self.code = root / "models", root / "import_utils.py"
        (self.models / "a").mkdir(parents=True)
        for file in (self.code, self.models / "a" / "one.py", self.models / "a" / "two.py"):
            file.write_text("__all__ = ['One']")
        self.looks = 0

    def look(self) -> dict[Any, Any]:
        self.looks += 1
        return LISTING

    def ask(self) -> dict[Any, Any]:
        return remembered(self.models, self.code, self.look)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("VQAZOO_CACHE", str(tmp_path / "cache"))
    later = time.time_ns() + 10**10
    monkeypatch.setattr("vqazoo.library_listing.time.time_ns", lambda: later)
    return Folder(tmp_path)


def test_a_listing_is_the_same_after_it_was_written() -> None:
    assert read_listing(json.loads(json.dumps(written(LISTING)))) == LISTING


def test_it_is_looked_for_once_while_nothing_changes(folder: Folder) -> None:
    assert [folder.ask() for _ in range(3)] == [LISTING] * 3
    assert folder.looks == 1


def rewritten(folder: Folder) -> None:
    """Another content of the same size, with the old time of change."""
    file = folder.models / "a" / "one.py"
    status = file.stat()
    file.write_text("__all__ = ['Two']")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(folder: Folder) -> None:
    (folder.models / "fresh.py").write_text("__all__ = ['One']")
    os.replace(folder.models / "fresh.py", folder.models / "a" / "one.py")


CHANGES = {
    "rewritten": rewritten,
    "replaced": replaced,
    "added": lambda folder: (folder.models / "a" / "three.py").touch(),
    "removed": lambda folder: (folder.models / "a" / "two.py").unlink(),
    "renamed": lambda folder: (folder.models / "a").rename(folder.models / "z"),
    "an empty folder": lambda folder: (folder.models / "b").mkdir(),
    "the code that lists": lambda folder: folder.code.write_text("# another release"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_it_is_looked_for_anew(folder: Folder, change: str) -> None:
    folder.ask()
    time.sleep(0.01)  # the clock of the file system
    CHANGES[change](folder)
    assert folder.ask() == LISTING
    assert folder.looks == 2
    folder.ask()
    assert folder.looks == 2


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '"state"', "{listing}"],
    ids=["empty", "cut", "a list", "a word", "another kind"],
)
def test_a_damaged_memory_is_made_again(folder: Folder, tmp_path: Path, content: str) -> None:
    folder.ask()
    (file,) = (tmp_path / "cache").glob("listing-*.json")
    kept = json.loads(file.read_text())
    file.write_text(content.replace("{listing}", json.dumps({**kept, "listing": [[["x"], 3]]})))
    assert folder.ask() == LISTING
    assert folder.looks == 2
    folder.ask()
    assert folder.looks == 2


def test_files_of_the_last_moments_are_not_remembered(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    monkeypatch.setattr("vqazoo.library_listing.time.time_ns", lambda: now - 10**10)
    folder.ask()
    folder.ask()
    assert folder.looks == 2
    assert not (tmp_path / "cache").exists()


def test_without_a_cache_it_is_looked_for_each_time(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert [folder.ask() for _ in range(2)] == [LISTING] * 2
    assert folder.looks == 2


NAMES = """
from transformers import BertConfig, BertModel
import json, sys, transformers
from transformers.utils.import_utils import _LazyModule
modules = [m for name, m in sorted(sys.modules.items()) if isinstance(m, _LazyModule)]
of_each = [[m.__name__, sorted(dir(m)), m._class_to_module] for m in modules]
print(json.dumps(of_each, sort_keys=True))
"""
LOOKS = """
from transformers.utils import import_utils
names = [file for file in opened if "/transformers/models/" in file and file.endswith(".py")]
print(len(names))
"""
OPENED = """
import sys, torch
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
"""
LEAN = "from vqazoo.lean_imports import without_unused\nwith without_unused():"


@pytest.mark.proof  # three processes that import transformers
def test_transformers_names_the_same_when_its_listing_is_remembered(tmp_path: Path) -> None:
    indented = NAMES.replace("\n", "\n    ")
    plain, first, second = (
        subprocess.run(
            [sys.executable, "-c", OPENED + code + LOOKS],
            check=True,
            timeout=120,
            capture_output=True,
            env={**os.environ, "VQAZOO_CACHE": str(tmp_path)},
        ).stdout.splitlines()
        for code in (NAMES, LEAN + indented, LEAN + indented)
    )
    assert plain[0] == first[0] == second[0]
    reads = [int(told[1]) for told in (plain, first, second)]
    assert reads[1] < 0.6 * reads[0]  # it looks once, where it does so twice
    assert reads[2] < 0.05 * reads[0]  # the modules themselves

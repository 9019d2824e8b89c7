"""`vqazoo data prepare` that is killed loses nothing whole, and takes nothing half for whole."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.datasets.test_download import Server, server, zipped  # noqa: F401
from tests.support.warm import finished, python

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals"),
]
PROGRAM = """
import sys, time
from vqazoo.cli import main
from vqazoo_datasets import archives, unpack
from vqazoo_datasets.download import Archive
address, sha256, entry = sys.argv[1:4]
archives.ARCHIVES["clevr"] = (Archive(address, "CLEVR_v1.0.zip", sha256=sha256, what="CLEVR"),)
write = unpack._write_entry
unpack._write_entry = lambda *a: (a[0].name == entry and time.sleep(60), write(*a))
main(["data", "prepare", "clevr", "--data-root", sys.argv[4]])
"""
HELD = 1 << 20  # bytes of the first answer
MIDDLE = "CLEVR_v1.0/images/40.png"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def until(there: Callable[[], bool]) -> None:
    last = time.monotonic() + 120
    while not there():
        assert time.monotonic() < last
        time.sleep(0.02)


def killed_when(there: Callable[[], bool], *arguments: object) -> None:
    child = python(PROGRAM, *arguments)
    until(there)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL


def test_kill_9_of_download_and_unpacking_changes_no_bit(
    server: Server,  # noqa: F811
    tmp_path: Path,
) -> None:
    rng = random.Random(0)
    entries = {f"CLEVR_v1.0/images/{n}.png": rng.randbytes(30_000) for n in range(80)}
    server.files["/clevr.zip"] = content = zipped(entries)
    known = f"{server.url}/clevr.zip", hashlib.sha256(content).hexdigest()
    whole, root = tmp_path / "whole", tmp_path / "root"
    done = finished(PROGRAM, *known, "none", whole)
    assert done.returncode == 0, done.stderr
    assert tree(whole / "CLEVR_v1.0") == {
        n.removeprefix("CLEVR_v1.0/"): c for n, c in entries.items()
    }

    server.holds_at = HELD
    archive, part = root / ".downloads/CLEVR_v1.0.zip", root / ".downloads/CLEVR_v1.0.zip.part"
    killed_when(lambda: part.exists() and part.stat().st_size >= HELD, *known, "none", root)
    server.holds_at = -1
    server.goes_on.set()
    assert not archive.exists()

    fresh = root / ".unpacking-CLEVR_v1.0.zip"
    killed_when(lambda: (fresh / MIDDLE).with_name("39.png").exists(), *known, MIDDLE, root)
    assert server.asked[-1]["Range"] == f"bytes={HELD}-"
    assert archive.read_bytes() == content
    assert not (root / "CLEVR_v1.0").exists()

    done = finished(PROGRAM, *known, "none", root)
    assert done.returncode == 0, done.stderr
    assert len(server.asked) == 3, "what was whole is not fetched again"
    assert tree(root / "CLEVR_v1.0") == tree(whole / "CLEVR_v1.0")
    assert {child.name for child in root.iterdir()} == {child.name for child in whole.iterdir()}
    assert {child.name for child in archive.parent.iterdir()} == {
        child.name for child in (whole / ".downloads").iterdir()
    }

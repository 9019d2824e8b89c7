"""A checkpoint folder to do harm to, and a process that a bad folder can neither fill nor stop."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.errors import VqazooError

resource = pytest.importorskip("resource")  # limits of a process; not on Windows

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1"
HEADROOM = 1 << 30  # bytes that a refused folder may take, imports of libraries included
LONGEST = 60  # seconds


@pytest.fixture(autouse=True)
def little_memory_and_time() -> Iterator[None]:
    """Little memory and little time, so that a hole ends a test and not the machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + HEADROOM

    def stop(*_: Any) -> None:
        raise AssertionError(f"not done after {LONGEST} seconds")

    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


@pytest.fixture(name="folder")
def copied_folder(tmp_path: Path, toy: str) -> Path:
    """A copy of a small checkpoint that loads."""
    for name in ("config.json", "model.safetensors", "answers.json"):
        (tmp_path / "model").mkdir(exist_ok=True)
        shutil.copyfile(GOLDEN / "linear" / name, tmp_path / "model" / name)
    return tmp_path / "model"


def refused(folder: Path, told: str, kind: type[VqazooError] = VqazooError) -> None:
    """Loading ends in one printable sentence that says `told`."""
    with pytest.raises(kind, match=told) as raised:
        load_checkpoint(folder)
    message = str(raised.value)
    assert message.isprintable()
    assert len(message) < 1500


def reseal(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda config: None) -> None:
    """Change config.json and make its digests true, as an attacker would."""
    config = json.loads((folder / "config.json").read_text())
    for name in ("model.safetensors", "answers.json"):
        if (folder / name).is_file():
            config["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return Path.touch, (self.made,)


def evil_pickle(made: Path) -> bytes:
    return pickle.dumps(Evil(made))

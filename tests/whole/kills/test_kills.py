"""A few of the kills of `make kills`; the others take minutes."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest

from tests.whole.kills.kills import SIGNALS, killed
from tests.whole.kills.scenes import SCENES


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
@pytest.mark.parametrize(("name", "longest"), [("save-twice", 0.5), ("unpack", 0.3)])
def test_a_killed_writer_loses_nothing(tmp_path, name, longest):
    scene = SCENES[name](tmp_path / name, tmp_path)
    rng = random.Random(0)
    for sent in SIGNALS:
        killed(scene, sent, rng.uniform(0, longest), tmp_path / "told.txt")


def test_what_is_lost_is_noticed(tmp_path):
    """The script itself: a checkpoint that is gone after a kill is a loss."""
    scene = SCENES["save"](tmp_path / "save", tmp_path)

    def work(root: Path = scene.root) -> None:
        shutil.rmtree(root / "model")

    scene.work = work  # type: ignore[method-assign]
    with pytest.raises(Exception, match="no checkpoint folder"):
        killed(scene, signal.SIGKILL, 0.3, tmp_path / "told.txt")

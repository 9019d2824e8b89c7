"""`vqazoo.train` without `out`: each run has a folder of its own, and none is left empty."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqazoo
from vqazoo.errors import ConfigError, VqazooError
from vqazoo.training.run_folder import named_folder

COLOURS = ("red", "blue", "green", "yellow")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows() -> list[dict[str, Any]]:
    return [
        {"image": Image.new("RGB", (64, 64), one), "question": "what color?", "answer": one}
        for one in COLOURS
    ]


def test_rows_train_without_a_folder_and_a_second_run_has_the_next(here: Path) -> None:
    for name in ("train", "train-2"):
        vqazoo.train(rows(), epochs=3, encoder="tiny-clip", head="linear", report=str)
        again = vqazoo.load(str(here / "runs" / name))
        assert again.answer(rows()[0]["image"], "what color?").text in COLOURS
    assert sorted(each.name for each in (here / "runs").iterdir()) == ["train", "train-2"]


def test_a_run_that_cannot_begin_leaves_no_folder(here: Path) -> None:
    with pytest.raises(VqazooError, match=r"mine.csv' does not exist"):
        vqazoo.train(str(here / "mine.csv"), encoder="tiny-clip")
    with pytest.raises(VqazooError, match=r"training.epochs' is 0"):
        vqazoo.train(rows(), encoder="tiny-clip", head="linear", epochs=0)
    assert list((here / "runs").iterdir()) == []


def test_whoever_goes_on_says_with_which_run() -> None:
    with pytest.raises(ConfigError, match=r"give its folder with out="):
        vqazoo.train(resume=True)


def test_eight_runs_that_begin_at_once_have_eight_folders() -> None:
    taken, all_began = [], threading.Barrier(8)

    def begin() -> None:
        all_began.wait()
        with named_folder(None, resume=False) as folder:
            taken.append(folder)
            all_began.wait()

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 8

"""Which questions share a picture: by content where it is known, else by path."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vqazoo
from vqazoo.data import Example
from vqazoo.evaluation.clusters import content_key, told_by_content
from vqazoo.evaluation.mistakes import group_mistakes
from vqazoo.features.cache import cache_root
from vqazoo.files.keys import FileKeys
from vqazoo.interfaces import Answer


def asked(image: Path, number: int) -> Example:
    return Example(image, "what?", ("red",), str(number))


def test_copies_of_a_picture_are_one_where_the_cache_knows_them(
    picture: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(picture, tmp_path / "copy.png"))
    examples = [asked(picture, 0), asked(copy, 1), asked(tmp_path / "gone.png", 2)]
    cache = tmp_path / "cache"
    assert told_by_content(examples, cache) == [str(e.image) for e in examples]
    assert not cache.exists(), "nothing is read or written"
    keys = FileKeys(cache_root(cache))
    keys.keys([picture, copy])
    keys.save()
    first, second, gone = told_by_content(examples, cache)
    assert first == second != str(picture)
    assert gone == str(tmp_path / "gone.png")
    Image.new("RGB", (9, 9)).save(copy)  # another picture under the name of before
    first, second, _ = told_by_content(examples, cache)
    assert (first, second) != (first, first)


def test_pictures_in_memory_are_told_by_what_they_show() -> None:
    white, black = Image.new("RGB", (8, 8), "white"), Image.new("RGB", (8, 8))
    assert content_key(white) == content_key(white.copy()) != content_key(black)
    assert content_key(np.zeros((8, 8, 3), np.uint8)) != content_key(np.ones((8, 8, 3), np.uint8))
    assert content_key(torch.zeros(3, 8, 8)) == content_key(torch.zeros(3, 8, 8)) != ""
    assert content_key("photo.png") == content_key(Path("photo.png")) == ""


def test_rows_that_share_a_picture_in_memory_are_no_more_certain_than_its_files(
    table: Path,
) -> None:
    model = vqazoo.load("tiny-clip-linear-easyvqa")
    opened = [Image.open(table.parent / f"{n}.png").convert("RGB") for n in range(3)]
    rows = [
        {"image": opened[n], "question": "is there a circle?", "answer": "yes"}
        for n in range(3)
        for _ in range(10)
    ]
    metric = vqazoo.evaluate(model, rows, report=lambda line: None).metric("accuracy")
    assert metric.interval_method is not None
    assert metric.interval_method.endswith("over pictures")
    low, high = metric.interval or (0.0, 0.0)
    assert high - low > 0.4, "three pictures tell little, however often they are asked about"


def test_groups_of_mistakes_have_intervals_over_pictures(tmp_path: Path) -> None:
    examples = [asked(tmp_path / f"{n // 5}.png", n) for n in range(40)]
    right = [n // 5 < 4 for n in range(40)]
    answers = [Answer("red" if one else "no", 0.5) for one in right]
    mistakes = group_mistakes(examples, answers, "m", "table", "test")
    low, high = mistakes.interval
    assert low == pytest.approx(0.157, abs=0.05)  # of 4 in 8 pictures, not 20 in 40 questions
    assert high == pytest.approx(1 - low)
    assert mistakes.to_json()["interval"] == (low, high)

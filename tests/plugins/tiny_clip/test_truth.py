"""Whether captions are true of scenes, and captions that are false on purpose."""

from __future__ import annotations

import json
import random

import pytest

from vqazoo.cli import run
from vqazoo_tiny_clip.pretrain import write_pictures
from vqazoo_tiny_clip.render import Shape, draw_scene, write_caption
from vqazoo_tiny_clip.truth import is_true, is_true_of

RED_SQUARE = Shape("rectangle", "red", (255, 0, 0), 10, 10, 4, 4)  # small, top left
ORANGE_STAR = Shape("star", "orange", (255, 140, 0), 50, 12, 9, 9)  # large, top right
RED_CIRCLE = Shape("circle", "red", (255, 0, 0), 32, 32, 6, 6)  # medium, center
SCENE = (RED_SQUARE, ORANGE_STAR, RED_CIRCLE)


@pytest.mark.parametrize(
    "caption",
    [
        "a red square",
        "there is a small red rectangle at the top left",
        "a medium circle in the center and an orange star at the top right",
        "a red shape and a red circle and a star",
        "a picture of a red square left of an orange star",
        "an image with a red circle below a red rectangle",
        "three shapes",
        "three objects",
        "how many shapes are there? three",
        "what color is the star? orange",
        "what is the orange shape? star",
        "is there no blue shape? yes",
        "does the image contain a star? yes",
        "is there not a circle in the image? no",
        "is a cross present? no",
    ],
)
def test_true_captions_are_taken(caption):
    assert is_true(caption, SCENE)


@pytest.mark.parametrize(
    "caption",
    [
        "a blue square",
        "a large red square",
        "a red square at the top",
        "an orange square",
        "a star and a star",
        "a red square right of an orange star",
        "two shapes",
        "two circles",
        "how many shapes are there? two",
        "what color is the cross? red",
        "what is the red shape? circle",
        "is there a red shape? no",
        "does the image not contain a star? yes",
        "is a circle present? maybe",
        "a red red square",
        "red",
        "",
    ],
)
def test_false_and_meaningless_captions_are_refused(caption):
    assert not is_true(caption, SCENE)


def test_every_caption_that_is_written_is_true():
    rng = random.Random(11)
    for _ in range(2000):
        scene = draw_scene(rng)
        caption = write_caption(rng, scene)
        assert is_true(caption, scene.objects), caption


def test_the_wrong_share_changes_only_the_captions_it_marks(tmp_path):
    write_pictures(tmp_path / "clean", 40, 3)
    write_pictures(tmp_path / "noisy", 40, 3, wrong_share=0.4)
    clean, noisy = (
        [json.loads(line) for line in (tmp_path / n / "captions.jsonl").read_text().splitlines()]
        for n in ("clean", "noisy")
    )
    assert sum(not row["correct"] for row in noisy) == 16
    for row, other in zip(clean, noisy, strict=True):
        assert "correct" not in row
        assert row["objects"] == other["objects"]
        assert is_true_of(other["caption"], other["objects"]) == other["correct"]
        assert (row["caption"] == other["caption"]) or not other["correct"]
    name = clean[7]["image"]
    assert (tmp_path / "clean" / name).read_bytes() == (tmp_path / "noisy" / name).read_bytes()


def test_a_share_above_one_is_wrong_usage(tmp_path):
    assert run(["render-captions", "--out", str(tmp_path / "x"), "--wrong-share", "1.5"]) == 2
    assert not (tmp_path / "x").exists()

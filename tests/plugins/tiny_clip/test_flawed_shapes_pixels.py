"""flawed-shapes: truths recomputed from the pixels, and what flaws do to pixels."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqazoo_tiny_clip.flawed_shapes as made

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "teal": (0, 128, 128),
    "brown": (165, 42, 42),
    "purple": (128, 0, 128),
    "orange": (255, 140, 0),
    "pink": (255, 105, 180),
}
SHAPES = ("rectangle", "triangle", "circle", "cross", "star")
SKIN = ((236, 188, 160), (205, 145, 110), (150, 98, 70), (95, 62, 48))


def pixels(file: Path) -> np.ndarray:
    """(64, 64, 3) whole numbers."""
    return np.asarray(Image.open(file)).astype(int)


# ---- truths from pixels ---------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """An object as its pixels show it; shape and place are empty where they cannot be told."""

    colour: str
    shape: str
    place: str


def look(file: Path) -> list[Seen]:
    """The objects of a flawless picture: connected pixels of one colour."""
    image = pixels(file)
    values, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    other = {
        (y, x)
        for y, x in zip(*np.nonzero((image != values[counts.argmax()]).any(axis=2)), strict=True)
    }
    found = []
    while other:
        start = min(other)
        other.remove(start)
        group, border = [start], [start]
        while border:
            y, x = border.pop()
            for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                if near in other and (image[near] == image[start]).all():
                    other.remove(near)
                    group.append(near)
                    border.append(near)
        distance = {name: np.abs(image[start] - rgb).max() for name, rgb in COLOURS.items()}
        colour = min(distance, key=lambda name: distance[name])
        assert distance[colour] <= 24, (file, image[start])
        found.append(Seen(colour, *shape_and_place(np.array(group))))
    return found


def shape_and_place(group: np.ndarray) -> tuple[str, str]:
    (top, left), (bottom, right) = group.min(axis=0), group.max(axis=0)
    if min(top, left) == 0 or max(bottom, right) == 63:  # it may go on outside
        return "", ""
    inside = [(low + high + 1) / 2 for low, high in ((top, bottom), (left, right))]
    row, column = (
        "" if abs(c - 64 / 3) < 1.5 or abs(c - 128 / 3) < 1.5 else "012"[int(3 * c / 64)]
        for c in inside
    )
    place = f"{dict(zip('012', ('top', '', 'bottom'), strict=True)).get(row, '?')} "
    place += dict(zip("012", ("left", "", "right"), strict=True)).get(column, "?")
    place = "" if "?" in place else place.strip() or "center"
    height, width = bottom - top + 1, right - left + 1
    if min(height, width) < 9:
        return ("rectangle" if len(group) == height * width else ""), place
    rows = np.bincount(group[:, 0] - top, minlength=height)
    full = len(group) / (height * width)
    if full > 0.97:
        return "rectangle", place
    if len(set(rows.tolist())) == 2:
        return "cross", place
    if rows.argmax() >= height - 2 and rows[0] <= 3:
        return "triangle", place
    return ("circle" if full > 0.7 else "star" if full < 0.5 else ""), place


def truth_of(question: str, seen: list[Seen]) -> str | None:
    """The answer that the objects give to a question; None if they leave it open."""
    colours = [name for name in COLOURS if re.search(rf"\b{name}\b", question)]
    shapes = [name for name in SHAPES if re.search(rf"\b{name}(s|es)?\b", question)]
    assert len(colours) + len(shapes) == 1, question
    if shapes and any(not one.shape for one in seen):
        return None
    asked = [one for one in seen if one.colour in colours or one.shape in shapes]
    if question.startswith(("is there", "does")):
        return "yes" if asked else "no"
    if question.startswith("how many"):
        return str(len(asked))
    if not asked:
        return "unanswerable"
    field = (
        "place"
        if question.startswith(("where", "in which"))
        else "colour"
        if "color" in question
        else "shape"
    )
    values = {getattr(one, field) for one in asked}
    if "" in values:
        return None
    (value,) = values  # else it should not have been asked
    return value


def test_every_truth_is_what_the_pixels_show(facts: list[dict[str, Any]]) -> None:
    checked: Counter[str] = Counter()
    for row in [row for row in facts if row["level"] == "flawless"][:800]:
        seen = look(row["image"])
        for asked in row["asked"]:
            truth = truth_of(asked["question"], seen)
            if truth is not None:
                assert truth == asked["truth"], (row["image"], asked["question"], seen)
                checked[asked["kind"]] += 1
                checked["unanswerable"] += truth == "unanswerable"
    assert set(checked) == {*made.ASKS, "unanswerable"}
    assert min(checked.values()) > 80, checked


def test_the_oracle_tells_a_wrong_truth() -> None:
    seen = [Seen("red", "circle", "top"), Seen("red", "star", "left"), Seen("blue", "star", "")]
    assert truth_of("how many stars are there?", seen) == "2"
    assert truth_of("what is the blue shape?", seen) == "star"
    assert truth_of("where is the circle?", seen) == "top"
    assert truth_of("where is the blue shape?", seen) is None
    assert truth_of("is there a green shape?", seen) == "no"
    assert truth_of("what color is the cross?", seen) == "unanswerable"
    with pytest.raises(ValueError, match="unpack"):
        truth_of("what color is the star?", seen)


def test_a_flaw_that_leaves_a_picture_readable_leaves_its_colours(
    facts: list[dict[str, Any]],
) -> None:
    """The object asked for is still the only one of its hue, in weakly dark pictures too."""
    checked = 0
    for row in facts:
        for asked in row["asked"]:
            if row["flaw"] != "dark" or row["level"] != "weak" or asked["kind"] != "colour":
                continue
            if asked["truth"] in COLOURS:
                light = pixels(row["image"]) / 0.5 ** row["strength"]
                distance = np.abs(light - COLOURS[asked["truth"]]).max(axis=2)
                room = 24 + 12 * 2 ** row["strength"]  # jitter of the colour and grain
                assert (distance <= room).sum() >= 8, row
                checked += 1
    assert checked > 100


# ---- flaws ----------------------------------------------------------------------------------


def of(facts: list[dict[str, Any]], flaw: str, level: str, most: int = 150) -> list[np.ndarray]:
    rows = [row for row in facts if (row["flaw"], row["level"]) == (flaw, level)]
    assert len(rows) > most
    return [pixels(row["image"]) for row in rows[:most]]


def background_share(image: np.ndarray) -> float:
    _, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    return float(counts.max() / counts.sum())


def steepest(image: np.ndarray) -> int:
    """The largest difference of neighbouring pixels, in levels."""
    return int(max(np.abs(np.diff(image, axis=0)).max(), np.abs(np.diff(image, axis=1)).max()))


def skin_share(image: np.ndarray) -> float:
    return float(max((image == rgb).all(axis=2).mean() for rgb in SKIN))


def test_dark_and_bright_pictures_have_little_left_of_255_levels(
    facts: list[dict[str, Any]],
) -> None:
    """Four stops leave 255 / 16 levels and the grain; two and a half leave 255 / 5.7."""
    assert max(image.max() for image in of(facts, "dark", "strong")) <= 26
    assert min(image.max() for image in of(facts, "dark", "weak")) >= 39
    assert min(image.min() for image in of(facts, "bright", "strong")) >= 229
    assert np.mean([image.min() < 229 for image in of(facts, "bright", "weak")]) > 0.99


def test_a_strong_blur_leaves_no_edge(facts: list[dict[str, Any]]) -> None:
    """Its deviation is 1.2 * 2.5 pixels or more: an edge of 255 levels rises by 34 a pixel."""
    assert max(map(steepest, of(facts, "blurred", "strong"))) <= 45
    assert np.median([steepest(image) for image in of(facts, "blurred", "weak")]) > 45


def test_a_finger_hides_all_objects_or_hardly_one(facts: list[dict[str, Any]]) -> None:
    strong, weak = of(facts, "covered", "strong"), of(facts, "covered", "weak")
    left = [
        1 - background_share(image[(image != finger).any(axis=2)][:, None])
        for image in strong
        for finger in SKIN
        if 0.0 < (image == finger).all(axis=2).mean() < 0.95
    ]
    assert np.mean(left) < 0.05  # of what the finger leaves, nearly all is background
    assert np.mean([skin_share(image) for image in strong]) > 0.35
    assert 0.05 < np.mean([skin_share(image) for image in weak]) < 0.2


def test_objects_are_out_of_the_frame_or_nearly_whole(facts: list[dict[str, Any]]) -> None:
    strong = [1 - background_share(image) for image in of(facts, "cut off", "strong")]
    weak = [1 - background_share(image) for image in of(facts, "cut off", "weak")]
    assert np.mean(strong) < 0.01
    assert max(strong) < 0.08
    assert np.mean(weak) > 0.04


def test_strengths_keep_to_the_limits(facts: list[dict[str, Any]]) -> None:
    found = defaultdict(list)
    for row in facts:
        found[row["flaw"], row["level"]].append(row["strength"])
    for (flaw, level), strengths in found.items():
        if flaw:
            low, high = getattr(made.LIMITS[flaw], level)
            assert low - 1e-3 <= min(strengths) <= max(strengths) <= high + 1e-3
    counts = Counter(row["level"] for row in facts)
    for level, share in {"flawless": 0.54, "weak": 0.32, "strong": 0.14}.items():
        assert counts[level] / len(facts) == pytest.approx(share, abs=0.015)

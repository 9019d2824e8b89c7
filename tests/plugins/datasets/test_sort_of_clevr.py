"""Sort-of-CLEVR: answers recomputed from the pixels, questions, seeds, and interrupted drawings."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqazoo_datasets.sort_of_clevr as made
from vqazoo.data import DatasetReader, Example, open_dataset
from vqazoo.errors import DataError, UnknownNameError
from vqazoo.files.writing import write_file
from vqazoo_datasets.sort_of_clevr import Thing, answers, ask, paint, place, rows

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 156, 0),
    "gray": (128, 128, 128),
    "yellow": (255, 255, 0),
}
COLOUR = re.compile("|".join(COLOURS))
IMAGES = 50


@dataclass(frozen=True)
class Seen:
    """An object as its pixels show it; twice the place of its centre, so that it is whole."""

    shape: str
    x: int
    y: int


def reader(root: Path, seed: int = 0) -> DatasetReader:
    return open_dataset("sort-of-clevr", {"data_root": str(root), "images": IMAGES, "seed": seed})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Example]]:
    root = tmp_path_factory.mktemp("clevr")
    return {split: reader(root).read(split) for split in ("train", "test")}


def by_drawing(drawn: dict[str, list[Example]]) -> dict[Path, list[Example]]:
    found = defaultdict(list)
    for example in drawn["train"] + drawn["test"]:
        found[example.image].append(example)
    return found


def look(file: Path) -> dict[str, Seen]:
    """The objects by colour, from the pixels alone; fails for any pixel of another colour."""
    pixels = np.asarray(Image.open(file))
    assert pixels.shape == (75, 75, 3)
    seen, coloured = {}, 0
    for name, colour in COLOURS.items():
        ys, xs = np.nonzero((pixels == colour).all(axis=2))
        assert xs.size, f"{file} has no {name} object"
        coloured += xs.size
        left, right, top, bottom = map(int, (xs.min(), xs.max(), ys.min(), ys.max()))
        assert (right - left, bottom - top) == (10, 10)  # of 11 x 11 pixels, nothing over it
        places = set(zip(xs.tolist(), ys.tolist(), strict=True))
        corners = [(x, y) in places for x in (left, right) for y in (top, bottom)]
        assert all(corners) or not any(corners)
        assert len(places) == 121 if all(corners) else 80 < len(places) < 110
        seen[name] = Seen("square" if all(corners) else "circle", left + right, top + bottom)
    white = int((pixels == 255).all(axis=2).sum())
    assert white + coloured == 75 * 75
    return seen


def answered(question: str, seen: dict[str, Seen]) -> str:
    """The answer that the pixels give; fails if they leave it open."""
    (colour,) = COLOUR.findall(question)
    one = seen[colour]
    middle = 75 - 1  # twice that of pixels 0 to 74
    if "left side" in question or "upper half" in question:
        place = one.x if "left side" in question else one.y
        assert place != middle
        return "yes" if place < middle else "no"
    if question.startswith("how many objects have the shape of"):
        return str(Counter(other.shape for other in seen.values())[one.shape])
    if "closest" not in question and "furthest" not in question:
        assert question == f"what is the shape of the {colour} object?"
        return one.shape
    far = {name: (one.x - o.x) ** 2 + (one.y - o.y) ** 2 for name, o in seen.items() if o != one}
    wanted = min(far.values()) if "closest" in question else max(far.values())
    (shape,) = {seen[name].shape for name, distance in far.items() if distance == wanted}
    return shape


def test_every_answer_is_what_the_pixels_show(drawn: dict[str, list[Example]]) -> None:
    checked: Counter[str] = Counter()
    for file, examples in by_drawing(drawn).items():
        seen = look(file)
        for example in examples:
            assert example.answers == (answered(example.question, seen),), example
            checked[COLOUR.sub("", example.question)] += 1
    assert len(checked) == 6
    assert checked.total() == IMAGES * 20


def test_one_drawing_in_fifty_is_for_testing(drawn: dict[str, list[Example]]) -> None:
    assert {split: len(rows) for split, rows in drawn.items()} == {"train": 980, "test": 20}
    train, test = ({e.image for e in drawn[split]} for split in ("train", "test"))
    assert (len(train), len(test)) == (49, 1)
    assert all(file.is_file() for file in train | test)


def test_a_drawing_has_ten_distinct_questions_of_each_kind(
    drawn: dict[str, list[Example]],
) -> None:
    for examples in by_drawing(drawn).values():
        kinds = Counter(e.question_type for e in examples)
        assert kinds == {"relational": 10, "non-relational": 10}
        assert len({e.question for e in examples}) == 20
        assert len({id(e.image) for e in examples}) == 1  # one path, not twenty
        for example in examples:
            related = any(word in example.question for word in ("closest", "furthest", "how many"))
            assert (example.question_type == "relational") is related


def test_question_ids_are_unique_and_the_order_is_that_of_drawing(
    drawn: dict[str, list[Example]],
) -> None:
    for split, examples in drawn.items():
        assert [e.question_id for e in examples] == [f"{split}-{n}" for n in range(len(examples))]
        names = [e.image.name for e in examples]
        assert names == sorted(names)


def test_all_answers_occur(drawn: dict[str, list[Example]]) -> None:
    found = {e.answers[0] for e in drawn["train"]}
    assert {"circle", "square", "yes", "no", "1", "2", "3", "4", "5"} <= found


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_seed_alone_decides(drawn: dict[str, list[Example]], tmp_path: Path) -> None:
    first = drawn["train"][0].image.parents[1]
    reader(tmp_path).read("test")
    again = content(tmp_path / first.name)
    assert again == content(first)
    reader(tmp_path, seed=1).read("test")
    (other,) = (folder for folder in tmp_path.iterdir() if folder.name != first.name)
    different = content(other)
    assert different.keys() == again.keys()
    assert all(different[name] != again[name] for name in again)


def test_what_is_drawn_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = reader(tmp_path).read("train")
    monkeypatch.setattr(made, "place", lambda rng: pytest.fail("drawn again"))
    assert reader(tmp_path).read("train") == first
    with pytest.raises(UnknownNameError, match=r"'tset'\. Did you mean 'test'\?"):
        reader(tmp_path).read("tset")


# ---- scenes ---------------------------------------------------------------------------------


def test_objects_never_overlap_and_always_allow_ten_questions_of_a_kind() -> None:
    rng = random.Random(0)
    for _ in range(500):
        things = place(rng)
        assert [thing.colour for thing in things] == list(COLOURS)
        for i, one in enumerate(things):
            assert 5 <= min(one.x, one.y) <= max(one.x, one.y) <= 69
            for other in things[:i]:
                assert max(abs(one.x - other.x), abs(one.y - other.y)) > 10
        assert len(list(ask(things, rng))) == 20


def test_a_scene_with_too_few_questions_is_placed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([9, 10, 10, 10, 10])
    tried = []

    def few(kind: str, things: list[Thing]) -> list[int]:
        tried.append(kind)
        return [0] * next(counts)

    monkeypatch.setattr(made, "rows", few)
    assert len(place(random.Random(0))) == 6
    assert len(tried) == 3


def test_an_open_answer_is_not_asked_for() -> None:
    """The red circle has two squares and a circle equally near, and two equally far."""
    things = [
        Thing("red", "circle", 37, 20),
        Thing("green", "square", 49, 20),
        Thing("blue", "square", 25, 20),
        Thing("orange", "circle", 37, 32),
        Thing("gray", "square", 7, 60),
        Thing("yellow", "circle", 67, 60),
    ]
    for order in (things, things[::-1], things[2:] + things[:2]):
        assert answers("relational", things[0], order) == ("", "", "3")
        assert answers("relational", things[4], order) == ("circle", "circle", "3")
    assert answers("non-relational", things[0], things) == ("circle", "", "yes")
    assert answers("non-relational", things[5], things) == ("circle", "no", "no")
    asked = {question for kind in made.KINDS for _, question, _ in rows(kind, things)}
    assert "is the red object on the left side of the image?" not in asked
    assert "what is the shape of the object closest to the red object?" not in asked
    assert "what is the shape of the object closest to the gray object?" in asked


def test_the_oracle_tells_a_wrong_drawing(tmp_path: Path) -> None:
    things = place(random.Random(0))
    moved = [*things[:5], Thing("yellow", "square", things[0].x + 3, things[0].y)]
    paint(moved).save(tmp_path / "0.png")
    with pytest.raises(AssertionError):
        look(tmp_path / "0.png")


# ---- what goes wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("how", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("step", ["paint", "write_file"])
def test_a_drawing_that_is_stopped_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: BaseException, step: str
) -> None:
    real, calls = getattr(made, step), []

    def stop(*given: Any) -> Any:
        calls.append(given)
        if step == "write_file" or len(calls) == 30:
            raise how
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(made, step, stop)
        with pytest.raises((DataError, KeyboardInterrupt)) as caught:
            reader(tmp_path).read("train")
    if isinstance(how, OSError):
        assert re.search(r"could not be written .*No space left.*--data-root", str(caught.value))
    assert list(tmp_path.iterdir()) == []
    assert len(reader(tmp_path).read("train")) == 980


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 7)
    left = tmp_path / f".v{made.VERSION}-seed0-{IMAGES}.7" / "train"
    left.mkdir(parents=True)
    (left / "99999.png").touch()
    assert len(reader(tmp_path).read("test")) == 20
    assert [path.name for path in tmp_path.iterdir()] == [f"v{made.VERSION}-seed0-{IMAGES}"]
    assert not list(tmp_path.rglob("99999.png"))


def test_a_process_that_was_faster_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = reader(tmp_path / "a").read("test")
    real = write_file

    def faster(file: Path, data: bytes) -> None:
        real(file, data)
        (tmp_path / "a" / file.parents[0].name.split(".")[1]).rename(
            tmp_path / "b" / file.parents[0].name.split(".")[1]
        )

    monkeypatch.setattr(made, "write_file", faster)
    found = reader(tmp_path / "b").read("test")
    assert [e.question for e in found] == [e.question for e in expected]
    assert len(list((tmp_path / "b").iterdir())) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"train": 7}',
        '{"train": [[1, 2]]}',
        '{"train": [[1, 2, 3, 4]]}',
        '{"train": [7]}',
        '{"train": [[]]}',
        "\xff",
    ],
)
def test_a_broken_list_of_questions_says_how_to_draw_anew(tmp_path: Path, text: str) -> None:
    reader(tmp_path).read("train")
    (file,) = tmp_path.rglob("questions.json")
    whole = json.loads(file.read_text())
    file.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"cannot be read .*remove .*, and it is drawn anew\."):
        reader(tmp_path).read("train")
    file.write_text(json.dumps(whole))
    assert len(reader(tmp_path).read("train")) == 980

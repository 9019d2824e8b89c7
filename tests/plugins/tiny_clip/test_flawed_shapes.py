"""flawed-shapes: examples, people, shares of answer types, seeds, and interrupted drawings."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqazoo_tiny_clip.flawed_shapes as made
from vqazoo.data import Example, digest
from vqazoo.data.answers import select_answer
from vqazoo.errors import DataError, UnknownNameError
from vqazoo.evaluation.metrics import vqa_accuracy
from vqazoo.evaluation.metrics.reliability import average_precision
from vqazoo.files.writing import write_file
from vqazoo.quality import QUALITY_QUESTION
from vqazoo.registry import registry
from vqazoo_heads.linear import NOT_ANSWERABLE, TYPES, answer_type
from vqazoo_tiny_clip.measuring import HELD_OUT_SEED
from vqazoo_tiny_clip.render import draw_scene, write_caption

GOLDEN = "6a67fadc733591f7a18f3a6335cd1d2d44e64570e60b381e8e67855e00901e41"
FEW = {"train": 20, "validation": 3, "test": 4}


# ---- examples -------------------------------------------------------------------------------


def test_counts_are_those_of_the_manifest(drawn: dict[str, list[Example]]) -> None:
    manifest = registry.manifest("dataset", "flawed-shapes")
    assert {split: len(rows) for split, rows in drawn.items()} == manifest.counts
    assert tuple(drawn) == manifest.splits
    pictures = {split: len({e.image for e in rows}) for split, rows in drawn.items()}
    assert pictures == {"train": 12_000, "validation": 1_000, "test": 2_000}
    for split, rows in drawn.items():
        assert len({e.question_id for e in rows}) == len(rows), split
        assert len({(e.image, e.question) for e in rows}) == len(rows), split


def test_no_picture_occurs_twice_nor_in_pretraining(drawn: dict[str, list[Example]]) -> None:
    files = {example.image for rows in drawn.values() for example in rows}
    assert len({sha256(file.read_bytes()).digest() for file in files}) == len(files) == 15_000
    assert not {0, HELD_OUT_SEED} & set(made.SEEDS.values())
    assert len(set(made.SEEDS.values())) == 3
    own = {Image.open(e.image).tobytes() for e in drawn["test"]}
    for seed in (0, HELD_OUT_SEED):
        rng = Random(seed)
        for _ in range(300):
            scene = draw_scene(rng)
            write_caption(rng, scene)
            assert scene.paint().tobytes() not in own


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_all_seven_answer_types_occur_as_in_vizwiz(
    drawn: dict[str, list[Example]], split: str
) -> None:
    counts = Counter(answer_type(select_answer(e.answers)) for e in drawn[split])
    shares = {kind: counts[kind] / len(drawn[split]) for kind in TYPES}
    assert all(0.08 < share < 0.25 for share in shares.values()), shares
    assert 0.28 < sum(shares[kind] for kind in NOT_ANSWERABLE) < 0.35


def test_flags_and_types_follow_the_most_frequent_answer(drawn: dict[str, list[Example]]) -> None:
    for example in drawn["train"] + drawn["test"]:
        kind = answer_type(select_answer(example.answers))
        assert example.answerable is (kind not in NOT_ANSWERABLE)
        assert (
            example.answer_type
            == {
                "unanswerable": "unanswerable",
                "unsuitable": "unanswerable",
                "yes": "yes/no",
                "no": "yes/no",
                "number": "number",
                "colour": "other",
                "other": "other",
            }[kind]
        )
        assert example.question_type in made.ASKS
        assert len(example.answers) == len(example.confidences) == 10
        assert set(example.confidences) <= {"yes", "maybe", "no"}


def test_people_mostly_agree_with_the_truth(
    facts: list[dict[str, Any]], drawn: dict[str, list[Example]]
) -> None:
    agree, best = defaultdict(list), defaultdict(list)
    truths = [(row["level"], asked["truth"]) for row in facts for asked in row["asked"]]
    for (level, truth), example in zip(truths, drawn["train"], strict=True):
        agree[level].append(select_answer(example.answers) == truth)
        best[level].append(vqa_accuracy.accuracy(truth, example.answers))
    everything = [one for rows in agree.values() for one in rows]
    assert np.mean(everything) > 0.97
    assert np.mean(agree["flawless"]) > np.mean(agree["weak"])
    assert 0.98 < np.mean(best["flawless"]) < 1
    assert 0.97 < np.mean(best["weak"]) < np.mean(best["flawless"])


def test_those_who_agree_are_surer(drawn: dict[str, list[Example]]) -> None:
    sure = defaultdict(list)
    for example in drawn["test"]:
        chosen = select_answer(example.answers)
        for answer, confidence in zip(example.answers, example.confidences, strict=True):
            sure[answer == chosen].append(confidence == "yes")
    assert np.mean(sure[True]) == pytest.approx(0.8, abs=0.02)
    assert np.mean(sure[False]) == pytest.approx(0.4, abs=0.05)


def test_the_question_alone_gives_little(drawn: dict[str, list[Example]]) -> None:
    """The most frequent training answer, and share of unanswerable ones, of each question text."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    refused = defaultdict(list)
    for example in drawn["train"]:
        answers[example.question][select_answer(example.answers)] += 1
        refused[example.question].append(not example.answerable)
    guesses = [answers[e.question].most_common(1)[0][0] for e in drawn["test"]]
    right = [
        guess == select_answer(e.answers) for guess, e in zip(guesses, drawn["test"], strict=True)
    ]
    unanswerable = np.array([not e.answerable for e in drawn["test"]])
    chance = np.array([np.mean(refused[e.question]) for e in drawn["test"]])
    found = average_precision(unanswerable, chance)
    assert np.mean(right) == pytest.approx(0.410, abs=0.005)
    assert found == pytest.approx(0.478, abs=0.005)
    assert unanswerable.mean() == pytest.approx(0.321, abs=0.005)


def test_the_flaw_alone_does_not_give_answerability(facts: list[dict[str, Any]]) -> None:
    """Most flawed pictures can be answered for, and flawless ones have open questions."""
    flawed, open_ = defaultdict(list), ("unanswerable", "unsuitable image")
    for row in facts:
        flawed[row["level"] != "flawless"] += [a["truth"] in open_ for a in row["asked"]]
    assert 0.1 < np.mean(flawed[False]) < 0.3
    assert 0.3 < np.mean(flawed[True]) < 0.6


# ---- drawing --------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "PICTURES", FEW)


def read(root: Path, split: str = "train") -> list[Example]:
    return made.FlawedShapes(str(root), "scene").read(split)


def test_the_first_examples_are_known(drawn: dict[str, list[Example]]) -> None:
    assert digest(drawn["train"][:100]) == GOLDEN


@pytest.mark.usefixtures("few")
def test_it_is_drawn_alike_everywhere_and_once(
    tmp_path: Path, drawn: dict[str, list[Example]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(tmp_path / "a")
    assert digest(first) == digest(drawn["train"][: len(first)])
    read(tmp_path / "b", "test")
    assert content(tmp_path / "a") == content(tmp_path / "b")
    monkeypatch.setattr(made, "draw_picture", lambda rng: pytest.fail("drawn again"))
    assert read(tmp_path / "a") == first
    with pytest.raises(UnknownNameError, match=r"'tset'\. Did you mean 'test'\?"):
        read(tmp_path / "a", "tset")


@pytest.mark.usefixtures("few")
def test_the_default_place_is_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQAZOO_CACHE", str(tmp_path))
    (image,) = {example.image.parents[2] for example in made.FlawedShapes("", "scene").read("test")}
    assert image == tmp_path / "flawed-shapes"


@pytest.mark.usefixtures("few")
def test_an_equal_picture_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, before = made.draw_picture, []

    def twice(rng: Random) -> Any:
        if len(before) % 2 == 0:
            before.append(real(rng))
            return before[-1]
        before.append(before[-1])
        return before[-1]

    monkeypatch.setattr(made, "draw_picture", twice)
    images = {example.image for split in FEW for example in read(tmp_path, split)}
    assert len({image.read_bytes() for image in images}) == len(images) == sum(FEW.values())


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("how", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("step", ["draw_picture", "write_file"])
def test_a_drawing_that_is_stopped_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: BaseException, step: str
) -> None:
    real, calls = getattr(made, step), []

    def stop(*given: Any) -> Any:
        calls.append(given)
        if step == "write_file" or len(calls) == 12:
            raise how
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(made, step, stop)
        with pytest.raises((DataError, KeyboardInterrupt)) as caught:
            read(tmp_path)
    if isinstance(how, OSError):
        assert re.search(r"could not be written .*No space left.*data_root", str(caught.value))
    assert list(tmp_path.iterdir()) == []
    assert len({example.image for example in read(tmp_path)}) == 20


@pytest.mark.usefixtures("few")
def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 7)
    left = tmp_path / f".v{made.VERSION}.7" / "train"
    left.mkdir(parents=True)
    (left / "99999.png").touch()
    read(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"v{made.VERSION}"]
    assert not list(tmp_path.rglob("99999.png"))


@pytest.mark.usefixtures("few")
def test_a_process_that_was_faster_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [example.question for example in read(tmp_path / "a")]

    def faster(file: Path, data: bytes) -> None:
        write_file(file, data)
        (tmp_path / "a" / f"v{made.VERSION}").rename(tmp_path / "b" / f"v{made.VERSION}")

    monkeypatch.setattr(made, "write_file", faster)
    assert [example.question for example in read(tmp_path / "b")] == expected
    assert len(list((tmp_path / "b").iterdir())) == 1


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"train": 7}',
        '{"train": [7]}',
        '{"train": [{"image": "a.png"}]}',
        '{"train": [{"image": 7, "asked": []}]}',
        "\xff",
    ],
)
def test_a_broken_list_of_questions_says_how_to_draw_anew(tmp_path: Path, text: str) -> None:
    read(tmp_path)
    (file,) = tmp_path.rglob("questions.json")
    file.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"cannot be read .*remove .*, and it is drawn anew\."):
        read(tmp_path)


# ---- flaws ----------------------------------------------------------------------------------


def test_asked_for_flaws_it_names_those_that_were_drawn(drawn: dict[str, list[Example]]) -> None:
    root = drawn["test"][0].image.parents[2]
    flaws = made.FlawedShapes(str(root), "flaws").read("test")
    manifest = registry.manifest("dataset", "flawed-shapes")
    assert len(flaws) == manifest.other_counts["test"] == len({e.image for e in flaws})
    content = json.loads((root / f"v{made.VERSION}" / made.QUESTIONS).read_text())["test"]
    for example, facts in zip(flaws, content, strict=True):
        named = Counter(example.answers)
        strong, drawn_flaw = facts["level"] == "strong", facts["flaw"] if facts["strength"] else ""
        assert set(named) == {made.LABELS[drawn_flaw]} | ({"unrecognizable"} if strong else set())
        assert set(named.values()) == {5}
        assert (example.image.name, example.question) == (facts["image"], QUALITY_QUESTION)
    assert made.FlawedShapes(str(root), "scene").read("test") == drawn["test"]

"""Rows that give choices: own tables, Hub layouts, A-OKVQA, ScienceQA, Visual7W."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqazoo
from vqazoo.data import Example, open_dataset
from vqazoo.errors import DataError
from vqazoo.evaluation.score import score
from vqazoo.interfaces import Answer
from vqazoo.registry import registry
from vqazoo.testing import check_reader

COLOURS = {"red": ["red", "blue", "green"], "blue": ["green", "blue"], "green": ["red", "green"]}


def picture(file: Path, color: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), color).save(file)
    return file


def dump(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def a_okvqa(root: Path) -> None:
    names = list(COLOURS)
    for split in ("train", "val", "test"):
        records = []
        for number, (color, choices) in enumerate(COLOURS.items()):
            picture(root / f"{split}2017" / f"{number:012}.jpg", color)
            known = {
                "correct_choice_idx": choices.index(color),
                "direct_answers": [color] * 7 + ["bright"] * 3,
                "rationales": ["One sees it.", "It is so.", "Look."],
            }
            records.append(
                {
                    "split": split,
                    "image_id": number,
                    "question_id": f"22Mex{split}{number}",
                    "question": "What color is it?",
                    "choices": choices,
                    "difficult_direct_answer": color == names[0],
                    **(known if split != "test" else {}),
                }
            )
        dump(root / f"aokvqa_v1p0_{split}.json", records)


def scienceqa(root: Path) -> None:
    problems: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        for color, choices in COLOURS.items():
            number = str(len(problems) + 1)
            picture(root / "images" / split / number / "image.png", color)
            problems[number] = {
                "question": "What color is it?",
                "choices": choices,
                "answer": choices.index(color),
                "hint": "",
                "image": "image.png",
                "topic": "physics",
                "split": split,
            }
    problems["99"] = {**problems["1"], "image": None}
    dump(root / "problems.json", problems)


def visual7w(root: Path) -> None:
    images = []
    for split in ("train", "val", "test"):
        for color, choices in COLOURS.items():
            number = len(images)
            picture(root / "images" / f"v7w_{number}.jpg", color)
            pair = {
                "qa_id": 1000 + number,
                "image_id": number,
                "question": "What color is it?",
                "answer": color,
                "type": "what",
                "multiple_choices": [choice for choice in choices if choice != color],
            }
            images.append({"filename": f"v7w_{number}.jpg", "split": split, "qa_pairs": [pair]})
    dump(
        root / "dataset_v7w_telling.json",
        {"dataset": "visual7w-telling", "images": images, "boxes": []},
    )


LAYOUTS = {"a-okvqa": a_okvqa, "scienceqa": scienceqa, "visual7w": visual7w}


def opened(name: str, root: Path, **args: Any) -> Any:
    return open_dataset(name, registry.fill("dataset", name, {"data_root": str(root), **args}))


def test_guessing_finds_a_choice_that_is_given_twice_twice_as_often() -> None:
    choices = {"1": ("red", "Red", "blue"), "2": ("red", "green", "red", "blue")}
    examples = [
        Example(Path("a.png"), "what is it?", ("red",), name, choices=given)
        for name, given in choices.items()
    ]
    scored = score(examples, [Answer("red", 1.0)] * 2, "table", "val")
    (chance,) = (metric.value for metric in scored if metric.name == "choice-chance-accuracy")
    assert chance == pytest.approx((2 / 3 + 2 / 4) / 2)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_release_gives_choices_and_the_right_one(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    check_reader(name, data_root=str(tmp_path))
    examples = opened(name, tmp_path).read("val")
    assert [example.answers for example in examples] == [("red",), ("blue",), ("green",)]
    assert [set(example.choices) for example in examples] == [set(c) for c in COLOURS.values()]
    assert all(example.image.is_file() for example in examples)
    gold = [Answer(example.answers[0], 1.0) for example in examples]
    metrics = {metric.name: metric for metric in score(examples, gold, name, "val")}
    assert metrics["choice-accuracy"].value == 1
    assert metrics["choice-chance-accuracy"].value == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert "|choices:of each question|data:" in metrics["choice-accuracy"].signature
    wrong = [Answer("green", 1.0)] * 3
    (third,) = {m.value for m in score(examples, wrong, name, "val") if m.name == "choice-accuracy"}
    assert third == pytest.approx(1 / 3)


def test_the_direct_task_of_a_okvqa_has_ten_answers_and_no_choices(tmp_path: Path) -> None:
    a_okvqa(tmp_path)
    reader = opened("a-okvqa", tmp_path, mode="direct")
    assert [len(reader.read(split)) for split in ("train", "val", "test")] == [3, 2, 3]
    (first, _) = reader.read("val")
    assert (len(first.answers), first.choices) == (10, ())
    (hidden, *_) = opened("a-okvqa", tmp_path).read("test")
    assert (hidden.answers, len(hidden.choices)) == ((), 3)


@pytest.mark.parametrize(("mode", "states"), [("direct", True), ("multiple-choice", False)])
def test_a_okvqa_states_its_own_score_of_direct_answers(
    mode: str, states: bool, tmp_path: Path
) -> None:
    a_okvqa(tmp_path)
    examples = opened("a-okvqa", tmp_path, mode=mode).read("val")
    gold = [Answer(example.answers[0], 1.0) for example in examples]
    told: list[str] = []
    metrics = {m.name: m for m in score(examples, gold, "a-okvqa", "val", report=told.append)}
    assert ("a-okvqa-direct" in metrics) == states
    assert any("a-okvqa-direct" in line for line in told) != states
    if states:
        by_hand = [min(1, e.answers.count(e.answers[0]) / 3) for e in examples]
        assert metrics["a-okvqa-direct"].value == pytest.approx(sum(by_hand) / len(by_hand))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("a-okvqa", {"choices": ["red"]}, "'choices' is .*but a list of 2 texts or more"),
        ("a-okvqa", {"correct_choice_idx": 3}, "'correct_choice_idx' is 3, but the 3 choices"),
        ("a-okvqa", {"correct_choice_idx": True}, "'correct_choice_idx' is True"),
    ],
)
def test_a_record_of_another_form_is_named(
    name: str, change: Any, words: str, tmp_path: Path
) -> None:
    a_okvqa(tmp_path)
    file = tmp_path / "aokvqa_v1p0_val.json"
    records = json.loads(file.read_text())
    dump(file, [{**records[0], **change}, *records[1:]])
    with pytest.raises(DataError, match=rf"record 1: {words}"):
        opened(name, tmp_path).read("val")


def test_a_model_is_trained_and_scored_by_choosing(tmp_path: Path) -> None:
    visual7w(tmp_path / "data")
    vqazoo.train(
        out=tmp_path / "run",
        encoder="tiny-clip",
        head="mlp",
        data={"type": "visual7w", "args": {"data_root": str(tmp_path / "data")}},
        set=["training.epochs=2", "training.device='cpu'"],
        report=lambda line: None,
    )
    model = vqazoo.load(f"dir:{tmp_path / 'run/best'}")
    found = vqazoo.evaluate(model, opened("visual7w", tmp_path / "data"), split="test")
    right = [row["answer"] == row["selected"] for row in found.predictions]
    assert found.metric("choice-accuracy").value == pytest.approx(sum(right) / 3)
    choices = [choice for example in found.predictions.examples for choice in example.choices]
    unknown = sum(choice not in model.answers.texts for choice in choices)
    assert found.metric("choice-unscored-share").value == pytest.approx(unknown / len(choices))
    assert "|decode:choices of each question" in found.model
    examples = opened("visual7w", tmp_path / "data").read("test")
    for row, example in zip(found.predictions, examples, strict=True):
        if set(example.choices) <= set(model.answers.texts):
            choice = model.choice(example.image, example.question, example.choices)
            assert row["answer"] == choice.text
            assert row["score"] == pytest.approx(choice.probabilities[choice.text], abs=2e-3)
    same = model.predict(examples)  # by pictures, not by cached features in half precision
    assert [row["answer"] for row in same] == [row["answer"] for row in found.predictions]


def table(folder: Path, name: str, text: str) -> list[Example]:
    picture(folder / "a.png", "red")
    (folder / name).write_text(text, encoding="utf-8")
    args = registry.fill("dataset", "table", {"test": str(folder / name)})
    reader = open_dataset("table", args)
    examples = reader.read("test")
    assert [e.choices for e in reader.stream("test")] == [e.choices for e in examples]
    return list(examples)


def test_a_table_gives_choices_in_a_column(tmp_path: Path) -> None:
    (one, other) = table(
        tmp_path,
        "t.csv",
        "image,question,answer,choices\na.png,what?,red,red|dark blue\na.png,who?,me,\n",
    )
    assert (one.choices, one.answers) == (("red", "dark blue"), ("red",))
    assert (other.choices, other.answers) == ((), ("me",))
    row = {"image": "a.png", "question": "what?", "choices": ["red", "blue"]}
    (one, other) = table(
        tmp_path,
        "t.jsonl",
        json.dumps({**row, "answer": 1}) + "\n" + json.dumps({**row, "answer": "Red"}) + "\n",
    )
    assert (one.answers, other.answers) == (("blue",), ("Red",))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("green,red|blue", "the answer 'green' in 'answer' is none of the choices"),
        ("red,red", "has the single choice 'red', but two or more"),
    ],
)
def test_choices_that_do_not_fit_are_named(cells: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"line 2: .*{words}"):
        table(tmp_path, "t.csv", f"image,question,answer,choices\na.png,what?,{cells}\n")


def test_exported_choices_are_read_back(tmp_path: Path) -> None:
    from vqazoo.evaluation.tables import to_datasets, write_parquet

    scienceqa(tmp_path / "data")
    examples = opened("scienceqa", tmp_path / "data").read("val")
    (tmp_path / "out").mkdir()
    write_parquet(examples, tmp_path / "out/val.parquet")
    back = opened(f"hf:{tmp_path / 'out'}", tmp_path / "unpacked").read("val")
    assert [(e.choices, e.answers) for e in back] == [(e.choices, e.answers) for e in examples]
    assert to_datasets(examples)["choices"][0] == list(examples[0].choices)


def test_choices_the_model_does_not_know_are_never_chosen(tmp_path: Path) -> None:
    model = vqazoo.load("tiny-clip-linear-easyvqa")
    file = picture(tmp_path / "a.png", "red")
    rows = [
        {"image": file, "question": "what color?", "answer": "red", "choices": ["red", "zebra"]},
        {"image": file, "question": "what color?", "answer": "ox", "choices": ["ox", "zebra"]},
        {"image": file, "question": "what color?", "answer": "red", "choices": []},
    ]
    found = vqazoo.evaluate(model, rows)
    (known, unknown, free) = found.predictions
    assert (known["answer"], known["score"]) == ("red", 0.5)
    assert (unknown["answer"], unknown["score"]) == ("", 0)
    assert free["answer"] == model.answer(file, "what color?").text
    assert found.metric("choice-unscored-share").value == 0.75
    assert found.metric("choice-accuracy").questions == 2

"""The truth is kept as published; every dataset's own answers, given as predictions, are right."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from vqazoo.cli import run
from vqazoo.data import Example, open_dataset
from vqazoo.data.answers import AnswerList, apply_rule, same_answer
from vqazoo.data.comparison import RULES, STEMS, Stems, rule
from vqazoo.errors import ConfigError
from vqazoo.evaluation.agreement import accuracies, vqa_accuracies
from vqazoo.evaluation.mistakes import group_mistakes
from vqazoo.evaluation.score import score
from vqazoo.interfaces import Answer
from vqazoo.manifests import DatasetManifest
from vqazoo.registry import registry


def daquar(root: Path) -> list[str]:
    """Published answers, in the published order of naming."""
    answers = ["table, chair", "lamp", "chair, table", "window, door, lamp"]
    lines = [f"what is on the wall in the image{n} ?\n{a}\n" for n, a in enumerate(answers)]
    (root / "qa.894.raw.test.txt").write_text("".join(lines))
    return answers


def nlvr(root: Path) -> list[str]:
    labels = ["true", "false", "true"]
    (root / "test").mkdir()
    (root / "test/test.json").write_text(
        "".join(
            json.dumps(
                {
                    "sentence": "There is a box.",
                    "label": label,
                    "identifier": f"{n}-0",
                    "directory": "1",
                }
            )
            + "\n"
            for n, label in enumerate(labels)
        )
    )
    return labels


RAW = (("surfing", "surf"), ("horses", "horse"), ("riding horses", "ride horse"))


def okvqa(root: Path) -> list[str]:
    questions = [{"question_id": n, "image_id": n, "question": "what?"} for n in range(len(RAW))]
    notes = [
        {
            "question_id": n,
            "answers": [
                {"answer": stem, "raw_answer": raw, "answer_confidence": "yes"} for _ in range(10)
            ],
        }
        for n, (raw, stem) in enumerate(RAW)
    ]
    names = ("OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json")
    (root / names[0]).write_text(json.dumps({"questions": questions}))
    (root / names[1]).write_text(json.dumps({"annotations": notes}))
    return [stem for _, stem in RAW]


WRITERS = {"daquar": (daquar, "test"), "nlvr": (nlvr, "test"), "okvqa": (okvqa, "val")}


def read(name: str, root: Path) -> tuple[list[Example], list[str]]:
    writer, split = WRITERS[name]
    published = writer(root)
    return open_dataset(name, {"data_root": str(root)}).read(split), published


@pytest.mark.parametrize("name", WRITERS)
def test_published_answers_are_kept_and_given_back_are_right(name: str, tmp_path: Path) -> None:
    examples, published = read(name, tmp_path)
    assert [example.answers[0] for example in examples] == published
    given = [Answer(text, 1.0) for text in published]
    metrics = {one.name: one for one in score(examples, given, name, WRITERS[name][1], wups=False)}
    named = {
        "accuracy",
        "squad-exact-match",
        *(["vqa-accuracy", "vqa-accuracy-always"] if name == "okvqa" else []),
    }
    assert {metric: metrics[metric].value for metric in named} == dict.fromkeys(named, 1.0)
    manifest = registry.manifest("dataset", name)
    assert isinstance(manifest, DatasetManifest)
    assert f"|comparison:{manifest.comparison}|" in metrics["accuracy"].signature
    assert {example.comparison.name for example in examples} == {manifest.comparison}
    assert not group_mistakes(examples, given, "m", name, "test").count


@pytest.mark.parametrize("name", WRITERS)
def test_eval_compare_and_prediction_files_follow_the_same_rule(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples, published = read(name, tmp_path)
    file = tmp_path / "mine.csv"
    with open(file, "w", newline="") as handle:
        csv.writer(handle).writerows(
            [
                ("question_id", "answer"),
                *((e.question_id, text) for e, text in zip(examples, published, strict=True)),
            ]
        )
    where = ["--data", name, "--data-root", str(tmp_path), "--split", WRITERS[name][1]]
    assert (
        run(["eval", "--predictions", str(file), *where, "--json", "--out", str(tmp_path / "out")])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["accuracy"]["value"] == 1.0
    with open(tmp_path / "out/predictions.csv", newline="") as handle:
        assert {row["correct"] for row in csv.DictReader(handle)} == {"1"}
    assert run(["compare", str(file), str(file), *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["first"] == 1.0


def test_sets_are_compared_as_sets_and_learnt_in_one_order(tmp_path: Path) -> None:
    examples, _ = read("daquar", tmp_path)
    assert [
        same_answer(examples[0], text)
        for text in (
            "table, chair",
            "chair, table",
            "Chair,Table",
            "chair",
            "chair, table, lamp",
        )
    ] == [True, True, True, False, False]
    learnt = [example.target for example in apply_rule("most-frequent", examples, 0)]
    assert learnt == ["chair, table", "lamp", "chair, table", "door, lamp, window"]


def test_labels_have_synonyms_and_are_learnt_as_yes_and_no(tmp_path: Path) -> None:
    examples, _ = read("nlvr", tmp_path)
    assert [
        same_answer(examples[0], text)
        for text in (
            "true",
            "True",
            "yes",
            "Yes.",
            "false",
            "no",
            "maybe",
        )
    ] == [True] * 4 + [False] * 3
    assert [e.target for e in apply_rule("most-frequent", examples, 0)] == ["yes", "no", "yes"]
    known = AnswerList(("yes", "no"), (5, 4))
    metrics = {
        m.name: m.value for m in score(examples, [Answer("yes", 1.0)] * 3, "nlvr", "test", known)
    }
    assert metrics["known-answer-share"] == 1.0
    assert metrics["constant-answer-accuracy"] == pytest.approx(2 / 3)
    assert metrics["accuracy"] == pytest.approx(2 / 3)


def test_what_people_said_is_right_though_the_release_stems_it(tmp_path: Path) -> None:
    examples, _ = read("okvqa", tmp_path)
    for words in zip(*RAW, strict=True):
        given = [Answer(text, 1.0) for text in words]
        assert accuracies(examples, given).tolist() == [1.0] * 3
        assert vqa_accuracies(examples, given).tolist() == [1.0] * 3
    # a word is stemmed as it is in other answers; "ride" was only said within an answer
    wrong = [Answer(text, 1.0) for text in ("riding", "surfing", "surfing horses")]
    assert vqa_accuracies(examples, wrong).tolist() == [0.0] * 3
    assert vqa_accuracies(examples[2:], [Answer("Riding  horses", 1.0)]).tolist() == [1.0]
    assert [e.target for e in apply_rule("most-frequent", examples, 0)] == [raw for raw, _ in RAW]
    assert [e.targets for e in apply_rule("soft", examples, 0)] == [((r, 1.0),) for r, _ in RAW]
    known = AnswerList(tuple(raw for raw, _ in RAW), (3, 2, 1))
    metrics = {
        m.name: m.value for m in score(examples, [Answer("surf", 1.0)] * 3, "okvqa", "val", known)
    }
    assert metrics["known-answer-share"] == 1.0


def test_an_unknown_rule_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'set-of-things'"):
        rule("set-of-thing")


def test_every_manifest_names_a_rule_that_is_known_or_its_readers_own() -> None:
    for name in registry.names("dataset"):
        manifest = registry.manifest("dataset", name)
        assert isinstance(manifest, DatasetManifest)
        assert manifest.comparison in {*RULES, STEMS}, name


REAL = os.environ.get("VQAZOO_TEST_DATA", "")
FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "daquar": ("daquar", "test", {}),
    "cocoqa": ("cocoqa", "test", {}),
    "easy-vqa": ("", "test", {}),
    "sort-of-clevr": ("", "test", {"images": 50}),
}


@pytest.mark.parametrize("name", FILES)
def test_the_own_answers_of_real_releases_score_all(name: str, tmp_path: Path) -> None:
    folder, split, args = FILES[name]
    if folder:
        if not (Path(REAL) / folder).is_dir() or not REAL:
            pytest.skip("VQAZOO_TEST_DATA does not name a folder with this data")
        args = {**args, "data_root": str(Path(REAL) / folder)}
    elif name == "easy-vqa":
        pytest.importorskip("easy_vqa")
    else:
        args = {**args, "data_root": str(tmp_path)}
    examples = open_dataset(name, registry.fill("dataset", name, args)).read(split)
    given = [Answer(example.answers[0], 1.0) for example in examples]
    assert accuracies(examples, given).mean() == 1.0


def test_stems_are_read_from_any_table_that_has_them(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "question": "what?", "answer": [{"answer": stem, "raw_answer": raw}] * 4}
        for raw, stem in RAW
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    args = registry.fill("dataset", "table", {"train": str(tmp_path / "t.jsonl")})
    examples = open_dataset("table", args).read("train")
    assert [example.answers[0] for example in examples] == [stem for _, stem in RAW]
    assert [e.target for e in apply_rule("most-frequent", examples, 0)] == [raw for raw, _ in RAW]
    given = [Answer(raw, 1.0) for raw, _ in RAW]
    assert accuracies(examples, given).mean() == vqa_accuracies(examples, given).mean() == 1.0


@pytest.mark.parametrize(
    ("given", "stem"),
    [
        ("horses", "horse"),
        ("horse", "horse"),
        ("buses", "bus"),
        ("puppies", "puppy"),
        ("riding", "ride"),
        ("swimming", "swim"),
        ("surfing", "surf"),
        ("Riding  Horses", "ride horse"),
        ("gas", "gas"),
        ("king", "king"),
        ("glass", "glass"),
        ("s", "s"),
        ("ing", "ing"),
        ("", ""),
        ("cats", "cats"),
        ("spring", "spring"),
        ("surfing.", "surf."),
        ("horses, (buses)", "horse, (bus)"),
        (".", "."),
    ],
)
def test_inflected_words_that_nobody_said_are_stemmed_to_published_words(
    given: str, stem: str
) -> None:
    said = ("horse", "bus", "puppy", "ride", "swim", "surf", "glass", "k")
    assert Stems((word, word) for word in said).stem(given) == stem


ODD = ("Yes", "No.", "3", "on the left", "a", "the", "it's a dog", "T-shirt", "2.5", "red, blue")


def vizwiz(root: Path) -> None:
    (root / "val.json").write_text(
        json.dumps(
            [
                {
                    "image": f"{n}.jpg",
                    "question": "what?",
                    "answerable": 1,
                    "answers": [{"answer": text, "answer_confidence": "yes"}] * 10,
                }
                for n, text in enumerate(ODD)
            ]
        )
    )


def vqav2(root: Path) -> None:
    questions = [{"question_id": n, "image_id": n, "question": "what?"} for n in range(len(ODD))]
    notes = [{"question_id": n, "answers": [{"answer": text}] * 10} for n, text in enumerate(ODD)]
    (root / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(
        json.dumps({"questions": questions})
    )
    (root / "v2_mscoco_val2014_annotations.json").write_text(json.dumps({"annotations": notes}))


def gqa(root: Path) -> None:
    (root / "val_balanced_questions.json").write_text(
        json.dumps(
            {
                str(n): {
                    "question": "what?",
                    "imageId": "1",
                    "answer": text,
                    "types": {"structural": "query"},
                }
                for n, text in enumerate(ODD)
            }
        )
    )


def textvqa(root: Path) -> None:
    (root / "TextVQA_0.5.1_val.json").write_text(
        json.dumps(
            {
                "data": [
                    {"question_id": n, "question": "what?", "image_id": "a", "answers": [text] * 10}
                    for n, text in enumerate(ODD)
                ]
            }
        )
    )


def vqa_rad(root: Path) -> None:
    (root / "testset.json").write_text(
        json.dumps(
            [
                {
                    "qid": n,
                    "image_name": "a.jpg",
                    "question": "what?",
                    "answer": answer,
                    "answer_type": "OPEN",
                    "question_type": "PRES",
                }
                for n, answer in enumerate([*ODD, 4, 0.5])
            ]
        )
    )


def table(root: Path) -> None:
    with open(root / "test.csv", "w", newline="") as handle:
        rows = [("a.png", "what?", text) for text in ODD]
        csv.writer(handle).writerows([("image", "question", "answer"), *rows])


OTHERS = {
    "vizwiz": vizwiz,
    "vqav2": vqav2,
    "gqa": gqa,
    "textvqa": textvqa,
    "vqa-rad": vqa_rad,
    "table": table,
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_own_answers_of_other_datasets_score_all(name: str, tmp_path: Path) -> None:
    OTHERS[name](tmp_path)
    more = {"data_root": str(tmp_path)} if name != "table" else {"test": str(tmp_path / "test.csv")}
    reader = open_dataset(name, registry.fill("dataset", name, more))
    split = "val" if "val" in reader.splits() else "test"
    examples = reader.read(split)
    given = [Answer(example.answers[0], 1.0) for example in examples]
    metrics = {one.name: one.value for one in score(examples, given, name, split, wups=False)}
    assert metrics["accuracy"] == metrics["squad-exact-match"] == 1.0
    assert metrics.get("vqa-accuracy", 1.0) == metrics.get("vqa-accuracy-always", 1.0) == 1.0


def test_answers_of_known_words_are_stemmed_word_by_word_as_the_release_stems_them() -> None:
    """No rule of endings leads from "mice" or "ran" to what the release writes."""
    stems = Stems([("mice", "mouse"), ("he ran", "he run"), ("new york city", "new york")])
    assert stems.stem("Mice ran") == "mouse run"
    assert stems.stem("new york city") == "new york"
    assert stems.stem("city") == "city", "which word became which is not known"

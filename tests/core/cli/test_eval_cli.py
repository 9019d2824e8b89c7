"""`vqazoo eval` of models and of others' answers, and `vqazoo compare`."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.errors import DataError
from vqazoo.evaluation.metrics import wups
from vqazoo_datasets import manifest

MODEL = "tiny-clip-lstm-easyvqa"


def data(file: Path, name: str = "table") -> list[str]:
    return ["--data", name, "--set", f"test={file}"]


@pytest.fixture(scope="module")
def answered(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a model answered the table."""
    out = tmp_path_factory.mktemp("answered")
    assert run(["eval", MODEL, *data(table), "--out", str(out)]) == 0
    return out


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """Four questions with known answers, and two files of answers: a right 3, b right 1."""
    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    write(
        tmp_path / "table.csv",
        [
            ("image", "question", "answer", "question_id"),
            *(
                ("0.png", "what?", text, f"q{n}")
                for n, text in enumerate(("cat", "dog", "2", "no"))
            ),
        ],
    )
    for name, answers in (("a", ["cat", "dog", "2", "yes"]), ("b", ["cat", "", "3", "yes"])):
        rows = [(f"q{n}", answer) for n, answer in enumerate(answers)]
        write(tmp_path / f"{name}.csv", [("question_id", "answer"), *reversed(rows)])
    return tmp_path


def write(file: Path, rows: list[Any]) -> None:
    with open(file, "w", newline="") as handle:
        csv.writer(handle).writerows(rows)


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capsys.readouterr()
    assert run([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def error(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 1) -> str:
    capsys.readouterr()
    assert run([str(one) for one in arguments]) == code
    told = capsys.readouterr()
    assert told.out == ""
    if code == 1:
        assert told.err.startswith("Error: ")
        assert told.err.count("\n") == 1
    return told.err


# ---- eval -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.jsonl"])
def test_answers_in_a_file_score_as_the_model_that_gave_them(
    table: Path, answered: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    by_model = json.loads((answered / "metrics.json").read_text())
    found = document(capsys, "eval", "--predictions", answered / name, *data(table))
    assert len(found) > 10
    of_model = {metric["name"]: metric for metric in by_model}
    baselines = {"constant-answer-accuracy", "known-answer-share"}  # of a model's answer list
    absent = of_model.keys() - found.keys()
    calibration = {n for n in absent if n.endswith("-before") or n.startswith("validated-")}
    assert {name for name in absent - calibration if "/answer-count=" not in name} == baselines
    for metric, told in found.items():
        assert told["value"] == pytest.approx(of_model[metric]["value"], abs=1e-5), metric
        own = of_model[metric][
            "signature"
        ]  # a file does not say whether it is of calibrated scores
        assert told["signature"] == own.replace("calibrated answer score", "answer score")


def test_everything_is_written_beside_the_scores(answered: Path) -> None:
    assert {file.name for file in answered.iterdir()} >= {
        "predictions.csv",
        "predictions.jsonl",
        "metrics.json",
        "answers.png",
        "confusion.png",
        "risk-coverage.png",
    }
    for file in answered.glob("*.png"):
        with Image.open(file) as picture:
            picture.verify()


def test_a_score_is_what_counting_gives(four: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "eval", "--predictions", four / "a.csv", *data(four / "table.csv"))
    assert found["accuracy"]["value"] == 0.75
    assert found["accuracy"]["questions"] == 4
    assert "risk-coverage-area" not in found  # nobody said how sure the answers are
    out = four / "out"
    assert (
        run(
            [
                "eval",
                "--predictions",
                str(four / "a.csv"),
                *data(four / "table.csv"),
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert "accuracy" in capsys.readouterr().out
    assert not (out / "risk-coverage.png").exists()
    assert (out / "answers.png").is_file()


def test_pictures_need_not_be_there_to_score_answers(
    four: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (four / "0.png").unlink()
    arguments = ["eval", "--predictions", four / "a.csv", *data(four / "table.csv")]
    assert document(capsys, *arguments)["accuracy"]["value"] == 0.75
    assert "does not exist" in error(capsys, *arguments, "--skip-missing", "--out", four / "out")


def test_questions_without_a_picture_are_left_out_of_both(
    four: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(four)  # `compare` lists missing pictures in the current folder
    rows = (four / "table.csv").read_text().replace("0.png,what?,no", "none.png,what?,no")
    (four / "table.csv").write_text(rows)
    arguments = [*data(four / "table.csv"), "--skip-missing"]
    for name in ("a", "b"):
        lines = (four / f"{name}.csv").read_text().splitlines()
        (four / f"{name}.csv").write_text("\n".join(x for x in lines if not x.startswith("q3")))
    found = document(
        capsys, "eval", "--predictions", four / "a.csv", *arguments, "--out", four / "o"
    )
    assert found["accuracy"]["value"] == 1
    found = document(capsys, "compare", four / "a.csv", four / "b.csv", *arguments)
    assert (found["questions"], found["first"]) == (3, 1)


def test_mistakes_of_usage_exit_with_2(four: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = ("--predictions", four / "a.csv")
    assert "either MODEL or --predictions" in error(capsys, "eval", code=2)
    assert "not both" in error(capsys, "eval", MODEL, *predictions, code=2)
    assert "needs --data" in error(capsys, "eval", *predictions, code=2)
    table = data(four / "table.csv")
    assert "--record" in error(capsys, "eval", *predictions, *table, "--record", code=2)
    assert "--data" in error(capsys, "compare", four / "a.csv", four / "b.csv", code=2)


def test_mistakes_in_files_are_one_sentence(four: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = data(four / "table.csv")
    assert "cannot be read" in error(capsys, "eval", "--predictions", four / "none.csv", *table)
    write(four / "c.csv", [("question_id", "answer"), ("q0", "cat")])
    assert "has no answer to questions" in error(
        capsys, "eval", "--predictions", four / "c.csv", *table
    )
    assert "cannot be made" in error(
        capsys, "eval", "--predictions", four / "a.csv", *table, "--out", four / "a.csv"
    )
    assert "Did you mean 'test'" in error(
        capsys, "compare", four / "a.csv", four / "b.csv", *table, "--split", "tset"
    )
    unlabelled = four / "unlabelled.csv"
    write(
        unlabelled,
        [("image", "question", "question_id"), *(("0.png", "what?", f"q{n}") for n in range(4))],
    )
    for verb in (
        ["eval", "--predictions", four / "a.csv"],
        ["compare", four / "a.csv", four / "b.csv"],
    ):
        assert "has no answers: nothing can be" in error(capsys, *verb, *data(unlabelled))


def test_wups_is_left_out_aloud_without_wordnet(
    four: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    def absent() -> None:
        raise DataError("WordNet 3.0 was not found: install it.")

    monkeypatch.setattr(wups, "wordnet_similarity", absent)
    arguments = ["eval", "--predictions", four / "a.csv", *data(four / "table.csv")]
    assert "WordNet" in error(capsys, *arguments, "--wups")
    monkeypatch.setattr(manifest, "TABLE", replace(manifest.TABLE, wups=True))
    capsys.readouterr()
    assert run([str(one) for one in arguments]) == 0
    told = capsys.readouterr()
    assert "Left out WUPS: WordNet 3.0 was not found" in told.err
    assert "wups" not in told.out


def test_dollars_in_questions_are_drawn_as_dollars(four: Path) -> None:
    rows = (four / "table.csv").read_text().replace("what?", "is $5 ^{ more than $4 \\frac?")
    (four / "table.csv").write_text(rows)
    assert (
        run(
            [
                "eval",
                "--predictions",
                str(four / "a.csv"),
                *data(four / "table.csv"),
                "--out",
                str(four / "out"),
            ]
        )
        == 0
    )


# ---- compare --------------------------------------------------------------------------------


def test_the_difference_is_what_counting_gives(
    four: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = data(four / "table.csv")
    found = document(capsys, "compare", four / "a.csv", four / "b.csv", *table)
    assert (found["metric"], found["questions"]) == ("accuracy", 4)
    assert (found["first"], found["second"], found["difference"]) == (0.75, 0.25, 0.5)
    assert (found["first_better"], found["second_better"]) == (2, 0)
    assert found["interval"] == [0.0, 1.0]
    assert found["p_value"] == pytest.approx(0.5, abs=0.02)  # two of four ways to swap two gaps
    other = document(capsys, "compare", four / "b.csv", four / "a.csv", *table)
    assert other["difference"] == -0.5
    assert other["p_value"] == pytest.approx(found["p_value"], abs=0.02)


def test_several_answers_are_compared_by_vqa_accuracy(
    four: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = ["cat|cat|dog", "dog|dog|dog", "2|3|3", "no|yes|yes"]
    write(
        four / "table.csv",
        [
            ("image", "question", "answer", "question_id"),
            *(("0.png", "what?", answer, f"q{n}") for n, answer in enumerate(people)),
        ],
    )
    found = document(capsys, "compare", four / "a.csv", four / "b.csv", *data(four / "table.csv"))
    assert found["metric"] == "vqa-accuracy"
    # Of three people, each is left out once: a third of those that two of the others say.
    first = [np.mean([1, 1, 2]) / 3, 2 / 3, np.mean([0, 1, 1]) / 3, np.mean([2, 1, 1]) / 3]
    assert found["first"] == pytest.approx(np.mean(first))


def test_equal_files_do_not_differ(
    table: Path, answered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copy(answered / "predictions.csv", answered / "copy.csv")
    found = document(capsys, "compare", answered / "predictions.jsonl", copy, *data(table))
    assert (found["difference"], found["p_value"], found["interval"]) == (0, 1, [0, 0])
    assert run(["compare", str(copy), str(copy), *data(table)]) == 0
    out = capsys.readouterr().out
    assert "on 72 questions of table, test" in out
    assert "p = 1 " in out


@pytest.mark.proof
def test_two_runs_are_compared_without_any_option(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"type": "table", "args": {"train": str(table), "test": str(table)}}
    runs = [tmp_path / name for name in ("few", "more")]
    for out, epochs in zip(runs, (1, 4), strict=True):
        vqazoo.train(
            own,
            out=out,
            encoder="tiny-clip",
            head="linear",
            epochs=epochs,
            device="cpu",
            report=len,
        )
    capsys.readouterr()
    found = document(capsys, "compare", *runs)
    scores = [vqazoo.evaluate(f"dir:{run / 'best'}", report=len).metric("accuracy") for run in runs]
    assert (found["first"], found["second"]) == tuple(score.value for score in scores)
    assert found["verdict"].count("ifference is") == 1
    assert found == document(capsys, "compare", *runs, "--split", "test")
    others = {"type": "table", "args": {"train": str(table), "test": str(tmp_path / "t.csv")}}
    rows = (table.read_text().splitlines())[:5]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    for row in rows[1:]:
        shutil.copy(table.parent / row.split(",")[0], tmp_path)
    vqazoo.train(
        others,
        out=tmp_path / "other",
        encoder="tiny-clip",
        head="linear",
        epochs=1,
        device="cpu",
        report=len,
    )
    capsys.readouterr()
    assert run(["compare", str(runs[0]), str(tmp_path / "other")]) == 1
    assert "name other questions: name those to ask both with --data" in capsys.readouterr().err
    given = document(capsys, "compare", runs[0], tmp_path / "other", "--data", tmp_path / "t.csv")
    assert given["questions"] == 4


def test_a_seed_repeats_the_numbers(four: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", four / "a.csv", four / "b.csv", *data(four / "table.csv")]
    one, two = (document(capsys, *arguments, "--seed", 3) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("verb", ["eval", "errors"])
def test_a_folder_that_is_not_there_or_has_no_recipe_is_told(verb, tmp_path, capsys):
    from vqazoo.cli import run

    assert run([verb, f"dir:{tmp_path / 'nowhere'}"]) == 1
    assert "There is no checkpoint folder" in capsys.readouterr().err
    assert run([verb, f"dir:{tmp_path}"]) == 1
    assert "has no recipe.toml, so nothing tells its data: name the dataset with --data" in (
        capsys.readouterr().err
    )


# ---- what is printed ------------------------------------------------------------------------


def test_the_score_is_said_first_in_lines_that_fit(
    four: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", "--predictions", str(four / "a.csv"), *data(four / "table.csv")]
    assert run(arguments) == 0
    told = capsys.readouterr()
    first, *rows = told.out.splitlines()
    assert first.startswith("accuracy 75.00% (95% interval ")
    assert first.endswith(" on 4 questions of table, test.")
    assert rows[0].split()[:2] == ["accuracy", "75.00%"]
    assert len(rows) < 10
    assert not [line for line in told.out.splitlines() if len(line) > 100 or "bleu" in line]
    assert "Next: 'vqazoo errors'" in told.err
    assert "3 undefined for these answers: --all or --json shows all, and signatures." in told.err
    assert run([*arguments, "--all"]) == 0
    every = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert every["bleu-2"].split()[1] == "undefined"
    assert every["bleu-1"].split()[1].endswith("%")
    assert "|data:table|split:test|n:4" in every["chrf"]
    told_json = document(capsys, *arguments)
    assert told_json["bleu-3"]["undefined"] == "no answer of people has 3 words"
    assert "undefined" not in told_json["bleu-1"]
    assert set(told_json) == set(every)


def test_a_packaged_model_is_set_beside_the_question_alone() -> None:
    from vqazoo.evaluation.summary import NOTHING_BESIDE
    from vqazoo.zoo.beside import known_beside

    beside = known_beside(MODEL, "easy-vqa", "test")
    assert 0.6 < beside.question_only["accuracy"] < 0.7
    assert known_beside(MODEL, "easy-vqa", "train") == NOTHING_BESIDE
    assert known_beside(MODEL, "table", "test") == NOTHING_BESIDE


def test_a_file_of_somebody_else_is_not_overwritten(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "predictions.csv"
    own.write_text("what I predict\n")
    asked = ["eval", "tiny-clip-gru-easyvqa", *data(table), "--out", str(tmp_path)]
    assert run(asked) == 1
    assert "vqazoo did not write it" in capsys.readouterr().err
    assert own.read_text() == "what I predict\n"
    own.write_text("question_id,image,question,answer\n")  # as a former release began
    assert run(asked) == 0
    assert own.read_text().startswith("question_id,image,image_path,")

"""`vqazoo eval` and its like answer as they are asked to, say so, and read a folder once."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vqazoo
from tests.core.cli.test_eval_cli import data, document, error, write
from tests.core.test_captions_and_ranking import build
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.cli import run
from vqazoo.data import Example
from vqazoo.errors import ConfigError
from vqazoo.evaluation.answering import Asking
from vqazoo.evaluation.metrics.significance import standard_error
from vqazoo.evaluation.score import score
from vqazoo.interfaces import Answer
from vqazoo.registry import registry

CANDIDATES = ["red", "blue circle", "a shape", "nothing"]
OPENED: list[str] = []
sys.addaudithook(
    lambda event, args: OPENED.append(str(args[0])) if event == "open" and OPENED else None
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GIT model of random weights."""
    place = tmp_path_factory.mktemp("model") / "git"
    save_checkpoint(build(frames=0), place)
    return place


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    (tmp_path / "answers.txt").write_text("\n".join(CANDIDATES))
    return tmp_path / "answers.txt"


def predicted(out: Path) -> list[str]:
    return [json.loads(line)["answer"] for line in (out / "predictions.jsonl").open()]


def rows_of(table: Path) -> list[dict[str, Any]]:
    from vqazoo.data import open_dataset
    from vqazoo.registry import registry

    args = registry.fill("dataset", "table", {"test": str(table)})
    return [
        {"image": one.image, "question": one.question}
        for one in open_dataset("table", args).read("test")
    ]


@pytest.mark.parametrize(
    ("options", "signed"),
    [
        (
            ["beam_size=3", "length_penalty=-1"],
            "decode:beam_size=3,length_penalty=-1.0,strategy=beam",
        ),
        (
            ["strategy=nucleus", "temperature=1.0", "seed=4"],
            "decode:seed=4,strategy=nucleus,temperature=1.0",
        ),
        (["repetition_penalty=1.5", "max_tokens=3"], "decode:max_tokens=3,repetition_penalty=1.5"),
        ([], ""),
    ],
)
def test_eval_answers_by_the_options_and_signs_them(
    options: list[str], signed: str, folder: Path, table: Path, tmp_path: Path, capsys: Any
) -> None:
    told = [part for one in options for part in ("--decode", one)]
    out = tmp_path / "out"
    found = document(
        capsys,
        "eval",
        f"dir:{folder}",
        *data(table),
        *told,
        "--device",
        "cpu",
        "--out",
        out,
        "--cache",
        tmp_path / "cache",
    )
    decode: dict[str, Any] = {}
    for one in options:
        name, _, value = one.partition("=")
        decode[name] = value if name == "strategy" else json.loads(value)
    expected = vqazoo.load(f"dir:{folder}").predict(rows_of(table), **decode)
    same = [a == b.text for a, b in zip(predicted(out), expected.answers, strict=True)]
    assert sum(same) >= 0.85 * len(same)  # features are kept in half precision
    for metric in found.values():
        assert metric["signature"].partition("|decode:")[2].partition("|")[0] == signed[7:]


def test_eval_chooses_among_candidates(
    folder: Path, listed: Path, table: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    told = ["--candidates", listed, "--device", "cpu", "--out", out, "--cache", tmp_path / "cache"]
    found = document(capsys, "eval", f"dir:{folder}", *data(table), *told)
    model = vqazoo.load(f"dir:{folder}")
    for row, said in list(zip(rows_of(table), predicted(out), strict=True))[:9]:
        assert model.rank(row["image"], row["question"], CANDIDATES).text == said
    assert "|decode:rank of 4 candidates,sha256=" in found["accuracy"]["signature"]


def test_errors_takes_them_too(
    folder: Path, listed: Path, table: Path, tmp_path: Path, capsys: Any
) -> None:
    told = ["--candidates", listed, "--device", "cpu", "--cache", tmp_path / "cache"]
    found = document(capsys, "errors", f"dir:{folder}", *data(table), *told)
    measured = document(capsys, "eval", f"dir:{folder}", *data(table), *told)
    assert found["score"] == pytest.approx(measured["accuracy"]["value"])


def test_what_cannot_be_done_is_told(folder: Path, listed: Path, table: Path, capsys: Any) -> None:
    model = f"dir:{folder}"
    both = ["--decode", "beam_size=2", "--candidates", listed]
    assert "--decode is for answers that are written" in error(
        capsys, "eval", model, *data(table), *both
    )
    assert "read by strategy=beam" in error(
        capsys,
        "eval",
        model,
        *data(table),
        "--decode",
        "strategy=greedy",
        "--decode",
        "beam_size=2",
    )
    strange = listed.with_name("strange.txt")
    strange.write_text("zebra\n")
    assert "knows none of the 1 candidates, such as 'zebra'" in error(
        capsys, "eval", "tiny-clip-linear-easyvqa", *data(table), "--candidates", strange
    )
    assert "--decode takes key=value" in error(capsys, "eval", model, *data(table), "--decode", "x")
    told = error(
        capsys, "eval", "--predictions", listed, "--data", "table", "--decode", "a=1", code=2
    )
    assert "are for a MODEL" in told


def test_a_captioner_is_not_asked_questions(table: Path, tmp_path: Path, capsys: Any) -> None:
    from tests.plugins.blip.tiny import CAPTIONS, blip

    blip(tmp_path / "captioner", CAPTIONS)
    captioner = vqazoo.load(f"dir:{tmp_path / 'captioner'}")
    ref, picture = f"dir:{tmp_path / 'captioner'}", str(table.parent / "0.png")
    for verb in (["ask", ref, picture, "what is this?"], ["eval", ref, *data(table)]):
        told = error(capsys, *verb)
        assert "describes pictures and reads no question" in told
        assert "vqazoo caption" in told
    with pytest.raises(ConfigError, match=r"call model\.caption"):
        captioner.rank(picture, "what is this?", CANDIDATES)
    assert captioner.caption(picture).text


@pytest.mark.parametrize("verb", ["eval", "errors"])
def test_a_folder_is_read_once(verb: str, folder: Path, table: Path, tmp_path: Path) -> None:
    OPENED.append("on")
    try:
        told = ["--device", "cpu", "--cache", str(tmp_path / "cache"), "--json"]
        assert run([verb, f"dir:{folder}", *data(table), *told]) == 0
    finally:
        opened = list(OPENED)
        OPENED.clear()
    for name in ("model.safetensors", "config.json"):
        assert opened.count(str(folder / name)) == 1, name


# ---- intervals ------------------------------------------------------------------------------


def asked(picture: int, number: int) -> Example:
    return Example(Path(f"{picture}.jpg"), f"what {number}?", ("red",), f"{picture}-{number}")


def answers(right: Any) -> list[Answer]:
    return [Answer("red" if one else "blue", 0.5) for one in right]


def test_asking_each_question_twice_does_not_narrow_the_interval() -> None:
    right = np.random.default_rng(0).random(120) < 0.6
    once = [asked(n, 0) for n in range(120)]
    twice = [asked(n, k) for n in range(120) for k in (0, 1)]
    (narrow,) = [m for m in score(once, answers(right), "table", "t") if m.name == "accuracy"]
    (same,) = [
        m for m in score(twice, answers(np.repeat(right, 2)), "table", "t") if m.name == "accuracy"
    ]
    assert same.interval == pytest.approx(narrow.interval)
    assert same.smallest_difference == pytest.approx(narrow.smallest_difference)
    assert same.interval_method == "bootstrap over pictures"
    assert narrow.smallest_difference == pytest.approx(
        2.8016 * math.sqrt(2) * right.std(ddof=1) / math.sqrt(120), rel=1e-3
    )


def test_compare_draws_pictures_and_tells_the_smallest_difference(
    tmp_path: Path, capsys: Any
) -> None:
    from PIL import Image

    rng = np.random.default_rng(1)
    right = [np.repeat(rng.random(12) < 0.5, 5) for _ in range(2)]
    for n in range(12):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{n}.png")
    head = ("image", "question", "answer", "question_id")
    write(tmp_path / "t.csv", [head, *((f"{n // 5}.png", "q?", "red", f"q{n}") for n in range(60))])
    for name, said in zip("ab", right, strict=True):
        rows = [(f"q{n}", "red" if one else "no") for n, one in enumerate(said)]
        write(tmp_path / f"{name}.csv", [("question_id", "answer"), *rows])
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    found = document(capsys, "compare", *files, *data(tmp_path / "t.csv"))
    assert (found["questions"], found["pictures"]) == (60, 12)
    gaps = right[0].astype(float)[::5] - right[1][::5]  # a picture's questions are all alike
    error_of_mean = gaps.std(ddof=1) / math.sqrt(12)
    assert found["smallest_difference"] == pytest.approx(2.8016 * error_of_mean, rel=1e-3)
    drawn = rng.choice(gaps, (4000, 12)).mean(axis=1)
    expected = np.quantile(drawn, [0.025, 0.975])
    assert found["interval"] == pytest.approx(expected, abs=0.09)
    assert run(["compare", *map(str, files), *data(tmp_path / "t.csv")]) == 0
    assert "difference that they can show" in capsys.readouterr().out


def test_the_standard_error_is_that_of_statsmodels_cluster_robust_mean() -> None:
    """By hand: residual sums of pictures, (C / (C - 1)) correction."""
    rng = np.random.default_rng(2)
    pictures = rng.integers(0, 30, 200)
    scores = rng.random(200) * 0.5 + (pictures % 2) * 0.5
    sums = [(scores - scores.mean())[pictures == one].sum() for one in set(pictures.tolist())]
    count = len(sums)
    expected = math.sqrt(count / (count - 1) * sum(one**2 for one in sums)) / 200
    assert standard_error(scores, pictures.tolist()) == pytest.approx(expected)
    assert expected > 2 * standard_error(scores)


# ---- answers of few people, scores that are no probabilities ---------------------------------


def people(number: int, *said: str) -> Example:
    return Example(Path(f"{number}.jpg"), "what?", said, str(number))


def test_one_question_of_few_answers_does_not_remove_vqa_accuracy() -> None:
    examples = [people(n, *["red"] * 10) for n in range(9)] + [people(9, "red", "blue")]
    told: list[str] = []
    found = {
        m.name: m for m in score(examples, answers([1] * 10), "table", "t", report=told.append)
    }
    assert found["vqa-accuracy"].questions == 9
    assert found["vqa-accuracy"].value == 1
    assert found["accuracy"].questions == 10
    assert told == [
        "Measured vqa-accuracy: 9 of 10 questions have the 3 answers that it needs, and only they "
        "count."
    ]
    known = vqazoo.data.answers.AnswerList(("red",), (1,))
    quick = score(examples, answers([1] * 10), "table", "t", known, quick=True)
    assert {m.name: m.questions for m in quick}["vqa-accuracy"] == 9
    few = [people(n, "red") for n in range(9)] + [people(9, *["red"] * 10)]
    told.clear()
    names = {m.name for m in score(few, answers([1] * 10), "table", "t", report=told.append)}
    assert "vqa-accuracy" not in names
    assert told == [
        "Left out vqa-accuracy: 1 of 10 questions have the 3 answers that it needs, too few."
    ]


def test_scores_that_are_no_probabilities_rank_but_are_not_calibrated() -> None:
    examples = [people(n, "red") for n in range(4)]
    told: list[str] = []
    given = [Answer("red", 13.5), Answer("blue", -3.0), Answer("red", 2.0), Answer("red", 9.0)]
    found = {m.name: m.value for m in score(examples, given, "table", "t", report=told.append)}
    assert "calibration-error" not in found
    assert found["coverage-at-1-percent-risk"] == 0.75
    assert told == [
        "Left out calibration-error: 'score' goes from -3 to 13.5, but probabilities are from 0 to "
        "1; what only ranks the answers was measured."
    ]


def test_a_column_that_nobody_reads_may_be_as_long_as_it_likes(
    table: Path, tmp_path: Path, capsys: Any
) -> None:
    rows = rows_of(table)
    long = "x" * 200_000
    from vqazoo.data import open_dataset
    from vqazoo.registry import registry

    args = registry.fill("dataset", "table", {"test": str(table)})
    ids = [one.question_id for one in open_dataset("table", args).read("test")]
    head = ("question_id", "answer", "notes")
    write(tmp_path / "p.csv", [head, *((one, "red", long) for one in ids)])
    found = document(capsys, "eval", "--predictions", tmp_path / "p.csv", *data(table))
    assert found["accuracy"]["questions"] == len(rows)
    write(tmp_path / "p.csv", [head, *((one, long, "") for one in ids)])
    told = error(capsys, "eval", "--predictions", tmp_path / "p.csv", *data(table))
    assert "'answer' has 200,000 characters, but at most 10,000 are read" in told


def test_a_signature_tells_what_differs_from_the_defaults_and_is_read(folder: Path) -> None:
    model = vqazoo.load(f"dir:{folder}")
    decode = registry.manifest("head", "git-decoder").decode
    plain = {name: arg.default for name, arg in decode.items()}
    own = {name: plain[name] for name in ("max_tokens", "repetition_penalty", "beam_size")}
    model.config = replace(model.config, decode=own)
    assert Asking().signature(model) == "", "the model's own, but the head's too"
    model.config = replace(model.config, decode={**own, "max_tokens": 7, "temperature": 0.3})
    assert Asking().signature(model) == "max_tokens=7", "a greedy answer has no temperature"
    asked = Asking({"max_tokens": plain["max_tokens"]})
    assert asked.signature(model) == f"max_tokens={plain['max_tokens']}", "in place of the model's"

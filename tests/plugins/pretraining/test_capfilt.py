"""CapFilt: what is decided, how it is counted, and the whole verb on a small set."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from vqazoo.cli import run
from vqazoo.toolkit.decoding import write
from vqazoo_pretraining.capfilt import decide, filter_figures, summary
from vqazoo_pretraining.captions import Pair, check_pictures, read_pairs

NOISY = [
    Pair(Path("a.png"), "web a", "1", correct=True),
    Pair(Path("b.png"), "web b", "2", correct=False),
    Pair(Path("c.png"), "web c", "3", correct=False),
    Pair(Path("d.png"), "web d", "4", correct=True),
]


@pytest.fixture
def decisions():
    web, other = torch.tensor([0.9, 0.1, 0.2, 0.4]), torch.tensor([0.8, 0.7, 0.3, 0.49])
    return decide(NOISY, web, ["s a", "s b", "s c", "s d"], other, 0.5)


def test_texts_are_kept_replaced_or_dropped(decisions):
    assert [one.outcome for one in decisions] == ["kept", "replaced", "dropped", "dropped"]
    assert [one.keeps_synthetic for one in decisions] == [True, True, False, False]


def test_an_empty_synthetic_text_is_never_kept():
    (one,) = decide(NOISY[:1], torch.tensor([0.1]), [""], torch.tensor([0.9]), 0.5)
    assert one.outcome == "dropped"


def test_the_report_counts_texts_and_how_right_the_filter_was(decisions):
    told = summary(decisions, human=7)
    assert (told["kept"], told["replaced"], told["dropped"]) == (1, 1, 2)
    assert told["texts"] == {"human": 7, "web": 1, "synthetic": 2, "all": 10}
    assert told["removed_share"] == {"web": 0.75, "synthetic": 0.5}
    assert told["filter_of_web_texts"] == {
        "texts": 4,
        "wrong": 2,
        "removed": 3,
        "removed_and_wrong": 2,
        "precision": 0.6667,
        "recall": 1.0,
        "right_before": 0.5,
        "right_after": 1.0,
    }
    assert "filter_of_synthetic_texts" not in told
    assert [one["web"] for one in told["examples"]["dropped"]] == ["web c", "web d"]


def test_nothing_removed_has_no_precision():
    told = filter_figures([True, False], [False, False])
    assert (told["precision"], told["recall"], told["right_after"]) == (None, 0.0, 0.5)


@pytest.fixture(scope="module")
def start(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("start")
    arguments = [
        "pretrain",
        "--data",
        shapes,
        "--out",
        out,
        "--steps",
        8,
        "--batch-size",
        16,
        "--dim",
        16,
        "--layers",
        1,
        "--heads",
        2,
        "--set",
        "objectives.args.queue=32",
    ]
    assert run([str(one) for one in arguments]) == 0
    return out


def capfilt(*arguments: object) -> int:
    return run(["capfilt", *map(str, arguments)])


def test_the_verb_writes_a_set_that_can_be_trained_on(start, shapes, noisy, tmp_path, capsys):
    out = tmp_path / "clean"
    code = capfilt(
        "--data",
        noisy,
        "--human",
        shapes,
        "--start",
        start,
        "--out",
        out,
        "--steps",
        2,
        "--batch-size",
        16,
        "--threshold",
        0.3,
        "--json",
    )
    assert code == 0, capsys.readouterr().err
    told = json.loads((out / "report.json").read_text())
    assert json.loads(capsys.readouterr().out) == told
    assert told["filter_of_web_texts"]["wrong"] == 16
    pairs = read_pairs([out / "captions.jsonl"])
    check_pictures(pairs)
    assert len(pairs) == told["texts"]["all"]
    rows = [json.loads(line) for line in (out / "captions.jsonl").read_text().splitlines()]
    human = [row for row in rows if row["source"] == "human"]
    assert [row["caption"] for row in human] == [pair.caption for pair in read_pairs([shapes])]
    decided = [json.loads(line) for line in (out / "decisions.jsonl").read_text().splitlines()]
    assert len(decided) == 40
    for name in ("kept", "replaced", "dropped"):
        assert sum(one["outcome"] == name for one in decided) == told[name]
    for one in decided:
        assert one["web"]["kept"] == (one["web"]["match"] >= 0.3)
    kept = sum(one["web"]["kept"] for one in decided)
    assert sum(row["source"] == "web" for row in rows) == kept == told["texts"]["web"]


def test_captioner_and_filter_are_two_copies(start, shapes, noisy, tmp_path, monkeypatch):
    trained = []
    from vqazoo_pretraining import capfilt as module

    def record(subject, names, *rest, **more):
        trained.append((subject, tuple(names)))

    monkeypatch.setattr(module, "fit", record)
    capfilt(
        "--data",
        noisy,
        "--human",
        shapes,
        "--start",
        start,
        "--out",
        tmp_path / "x",
        "--batch-size",
        16,
    )
    (captioner, first), (judge, second) = trained
    assert (first, second) == (("lm",), ("itc", "itm"))
    assert captioner is not judge
    own = {p.data_ptr() for p in captioner.parameters()}
    assert not own & {p.data_ptr() for p in judge.parameters()}


def test_what_is_missing_is_told_in_one_sentence(start, shapes, noisy, tmp_path, capsys):
    def told(**changed: object) -> str:
        given = {"data": noisy, "human": shapes, "start": start, "out": tmp_path / "y", **changed}
        arguments = [part for name, value in given.items() for part in (f"--{name}", value)]
        assert capfilt(*arguments, "--batch-size", 16, "--steps", 1) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("Error: ")
        return error

    assert "do not exist" in told(human=tmp_path / "no.jsonl")
    assert "no checkpoint folder" in told(start=tmp_path)
    (tmp_path / "few.jsonl").write_text(shapes.read_text().splitlines()[0] + "\n")
    (tmp_path / "000000.png").write_bytes((shapes.parent / "000000.png").read_bytes())
    assert "1 training pairs, but a batch takes 16" in told(human=tmp_path / "few.jsonl")


def test_the_captioner_draws_from_the_nucleus_of_its_own_probabilities(
    start, shapes, noisy, tmp_path, monkeypatch
):
    """Li et al. 2022, BLIP, section 4.2: nucleus sampling with p = 0.9, nothing sharpened."""
    from vqazoo_pretraining import capfilt as module

    given = {}

    def record(subject, pictures, rows, **decode):
        given.update(decode)
        return ["a red circle"] * len(rows)

    monkeypatch.setattr(module, "write_captions", record)
    code = capfilt(
        "--data",
        noisy,
        "--human",
        shapes,
        "--start",
        start,
        "--out",
        tmp_path / "z",
        "--steps",
        1,
        "--batch-size",
        16,
        "--strategy",
        "nucleus",
    )
    assert code == 0
    del given["seed"]
    likely = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.04, 0.01]).log()[None]  # (1, 6)
    drawn = Counter(
        write(
            lambda tokens, state: (likely, state),
            (torch.zeros(1),),
            5,
            1,
            1,
            seed=seed,
            first=likely,
            **given,
        )[0][0].tokens[0]
        for seed in range(2000)
    )
    assert set(drawn) == {0, 1, 2, 3}, "the smallest set that holds 0.9"
    for token, share in enumerate((0.4, 0.3, 0.15, 0.1)):
        assert drawn[token] / 2000 == pytest.approx(share / 0.95, abs=0.04)

"""Words that a reader of text found go with their question, from data to the head that copies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqazoo
from tests.support.toy import toy as toy
from vqazoo.cli import run
from vqazoo.data import Example, OcrToken, digest, open_dataset
from vqazoo.data.asking import pair
from vqazoo.data.ocr import read_ocr_tokens
from vqazoo.errors import ConfigError, DataError
from vqazoo.evaluation.answering import Asking
from vqazoo.evaluation.exported import columns_of
from vqazoo.evaluation.row_answers import RowAnswers
from vqazoo.features.sources import CachedFeatures, LiveFeatures
from vqazoo.interfaces import Features
from vqazoo.registry import registry

BOX = [0.1, 0.2, 0.5, 0.3]
STOP = OcrToken("STOP", (0.1, 0.2, 0.5, 0.3))
EXIT = OcrToken("exit", (0.5, 0.5, 1.0, 1.0))
OBJECTS = [{"text": "STOP", "box": BOX, "confidence": 0.9}]
HEAD = {"type": "m4c", "args": {"dim": 16, "layers": 1, "heads": 2, "steps": 3}}


@pytest.mark.parametrize("given", [[STOP], OBJECTS, json.dumps(OBJECTS)])
def test_words_are_read_as_tokens_objects_or_json(given: Any) -> None:
    assert read_ocr_tokens(given, "Row 1") == (STOP,)


@pytest.mark.parametrize("given", [None, "", " ", float("nan")])
def test_nothing_is_not_the_same_as_no_words(given: Any) -> None:
    assert read_ocr_tokens(given, "Row 1") is None
    assert read_ocr_tokens([], "Row 1") == read_ocr_tokens("[]", "Row 1") == ()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("STOP", "Row 1: 'ocr_tokens' is 'STOP', but a list of objects such as"),
        ({"text": "a", "box": BOX}, "but a list of objects such as"),
        (["STOP"], "a token of 'ocr_tokens' is 'STOP', but a list of objects"),
        ([{"text": 5, "box": BOX}], "a token of 'ocr_tokens' is {'text': 5"),
        ([{"text": "a", "box": BOX[:3]}], "a token of 'ocr_tokens' is {'text': 'a'"),
        ([{"text": "a", "box": [10, 20, 50, 30]}], "divide pixels by the picture's width"),
        ([{"text": "a", "box": [0.5, 0.2, 0.1, 0.3]}], "the box of 'a' in 'ocr_tokens' is [0.5"),
        ([{"text": "a", "box": [float("nan"), 0, 1, 1]}], "each from 0 to 1, were expected"),
    ],
)
def test_words_that_cannot_be_read_are_told(given: Any, told: str) -> None:
    with pytest.raises(DataError) as caught:
        read_ocr_tokens(given, "Row 1")
    assert told in str(caught.value)


def test_features_keep_words_with_their_rows() -> None:
    features = Features(torch.zeros(3, 2)).with_ocr([(STOP,), None, (EXIT,)])
    assert features.index(torch.tensor([2, 0, 2])).ocr_tokens == ((EXIT,), (STOP,), (EXIT,))
    assert features.index(slice(1, None)).ocr_tokens == (None, (EXIT,))
    assert features.to("cpu").detach().ocr_tokens == features.ocr_tokens


def test_every_fusion_hands_words_on() -> None:
    spec = vqazoo.interfaces.TowerSpec(6, 8)
    tokens, mask = torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)
    image, text = Features(torch.zeros(2, 6), tokens, mask), Features(torch.zeros(2, 6))
    fusion = registry.build("fusion", "sum", spec, spec, **registry.fill("fusion", "sum", {}))
    assert fusion(image, text).ocr_tokens is None
    assert fusion(image, text.with_ocr([(STOP,), ()])).ocr_tokens == ((STOP,), ())


def test_words_of_one_picture_are_those_of_all_questions_about_it() -> None:
    assert pair("a.png", ["what?", "where?"], OBJECTS).ocr == [(STOP,), (STOP,)]
    assert pair(["a.png", "b.png"], "what?", [[STOP], []]).ocr == [(STOP,), ()]
    assert pair("a.png", "what?").ocr is None
    with pytest.raises(ConfigError, match="There are 2 images, but ocr_tokens is"):
        pair(["a.png", "b.png"], "what?", OBJECTS)


def test_words_tell_data_apart_and_are_exported() -> None:
    plain = Example(Path("a.png"), "what?", ("stop",), "1")
    read, other = replace(plain, ocr_tokens=(STOP,)), replace(plain, ocr_tokens=(EXIT,))
    assert len({digest([e]) for e in (plain, read, other, replace(plain, ocr_tokens=()))}) == 4
    assert columns_of(plain)["ocr_tokens"] == ""
    assert read_ocr_tokens(columns_of(read)["ocr_tokens"], "Row 1") == (STOP,)


# ---- one model, asked in every way ---------------------------------------------------------------


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Eight pictures with a word each, as JSON lines."""
    rng, lines = np.random.default_rng(0), []
    for number, word in enumerate(("zor", "kip", "lux", "mab", "fen", "dro", "tiv", "gul")):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(
            tmp_path / f"{number}.png"
        )
        found = [{"text": word, "box": BOX}] if number else []
        told = {"question": "what does it say?", "answer": word, "ocr_tokens": found}
        lines.append(json.dumps({"image": f"{number}.png", **told}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    return tmp_path / "rows.jsonl"


def test_answers_are_the_same_by_whichever_way_the_words_come(
    toy: str, rows: Path, tmp_path: Path
) -> None:
    model = vqazoo.train(
        out=tmp_path / "run",
        encoder=toy,
        head=HEAD,
        data=str(rows),
        set=["training.epochs=2", f'training.cache="{tmp_path / "cache"}"'],
        report=lambda line: None,
    )
    examples = open_dataset("table", registry.fill("dataset", "table", {"train": str(rows)})).read(
        "train"
    )
    expected = [model.answer(e.image, e.question, ocr_tokens=e.ocr_tokens) for e in examples]

    pictures, words = [e.image for e in examples], [e.ocr_tokens for e in examples]
    same = [
        model.answer(pictures, "what does it say?", ocr_tokens=words),
        model.predict(examples).answers,
        vqazoo.load(f"dir:{tmp_path / 'run' / 'best'}").predict(examples).answers,
        model.answer_examples(pictures, examples),
    ]
    for answers in same:
        assert [a.text for a in answers] == [e.text for e in expected]
        assert [a.score for a in answers] == pytest.approx([e.score for e in expected], rel=1e-4)
    told = RowAnswers(model, Asking()).records(examples)
    assert [record["answer"] for record in told] == [e.text for e in expected]

    found = vqazoo.evaluate(model, examples, cache=tmp_path / "cache", report=lambda line: None)
    assert [row["answer"] for row in found.predictions] == [e.text for e in expected]
    numbers = torch.tensor([3, 1])
    cached: tuple[Any, ...] = (lambda steps, _: iter(steps), tmp_path / "cache")
    for source, given in ((CachedFeatures, cached), (LiveFeatures, ())):
        made = source(model, examples, *given)
        assert made.batch(numbers)[1].ocr_tokens == (words[3], words[1])


def test_who_leaves_the_words_out_is_told_once(toy: str, rows: Path, tmp_path: Path) -> None:
    model = vqazoo.create(encoder=toy, head=HEAD, answers=["zor", "kip"])
    with pytest.raises(ConfigError, match="nobody says which: give ocr_tokens with the picture"):
        model.answer(rows.parent / "1.png", "what does it say?")
    for among in (model.rank, model.choice):
        with pytest.raises(ConfigError, match="GivesLogits, Writes or RanksAnswers"):
            among(rows.parent / "1.png", "what does it say?", ["zor", "kip"])
    bare = tmp_path / "bare.jsonl"
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    bare.write_text("\n".join(json.dumps({**line, "ocr_tokens": None}) for line in lines))
    with pytest.raises(DataError, match="comes without OCR tokens, but the head 'm4c' copies"):
        vqazoo.train(
            out=tmp_path / "run", encoder=toy, head=HEAD, data=str(bare), report=lambda line: None
        )


def test_ask_reads_the_words_from_a_file(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = vqazoo.create(encoder="tiny-clip", head=HEAD, answers=["zor", "kip"])
    model.save(tmp_path / "saved")
    file, picture, question = tmp_path / "words.json", rows.parent / "1.png", "what does it say?"
    asked = ["ask", f"dir:{tmp_path / 'saved'}", str(picture), question, "--ocr-tokens"]
    file.write_text(json.dumps(OBJECTS))
    assert run([*asked, str(file), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["answers"]
    assert told["text"] == model.answer(picture, question, ocr_tokens=OBJECTS).text
    for content, problem in (("{", "'ocr_tokens' is '{', but a list"), ("", "is '{}', but a list")):
        file.write_text(content)
        assert run([*asked, str(file)]) == 1
        assert problem in capsys.readouterr().err
    assert run([*asked, str(tmp_path / "none.json")]) == 1
    assert "none.json' cannot be read" in capsys.readouterr().err
    assert run([*asked, str(file), "--explain", str(tmp_path / "sheet.png")]) == 1
    assert "--ocr-tokens is without --candidates and --explain" in capsys.readouterr().err

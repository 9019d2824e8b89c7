"""The reader of NLVR: sentences that are true or false of a drawing, as yes/no questions."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vqazoo.data import Example
from vqazoo.errors import ConfigError, DataError, UnknownNameError
from vqazoo_datasets.nlvr import NLVR


def record(identifier: str, sentence: str, label: str, directory: str = "2") -> dict[str, Any]:
    item = {"y_loc": 80, "type": "square", "color": "Yellow", "x_loc": 40, "size": 20}
    return {
        "sentence": sentence,
        "label": label,
        "identifier": identifier,
        "directory": directory,
        "evals": {"r1": label, "r6": label},
        "structured_rep": [[item], [item], [item, {**item, "color": "#0099ff"}]],
    }


GOOD = [
    record("3125-1", "There is a tower with four blocks.", "true"),
    record("1514-3", "one of the grey square has exactly four objects", "false", "0"),
]


def lines(records: list[Any]) -> str:
    return "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in records)


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(text.encode()))
    elif file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(file.stem, text)
    else:
        file.write_text(text, encoding="utf-8")
    return file


def refused(folder: Path, text: str) -> str:
    file = write(folder, "dev/dev.json", text)
    with pytest.raises(DataError) as caught:
        NLVR(str(folder)).read("dev")
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("end", ["", ".gz", ".zip"])
def test_sentences_are_read_as_questions(tmp_path: Path, end: str) -> None:
    write(tmp_path, "dev/dev.json" + end, lines(GOOD))
    reader = NLVR(str(tmp_path))
    assert reader.splits() == ["dev"]
    images = tmp_path / "dev/images"
    assert reader.read("dev") == [
        Example(
            images / "2/dev-3125-1-0.png", GOOD[0]["sentence"], ("true",), "3125-1", learnt=("yes",)
        ),
        Example(
            images / "0/dev-1514-3-0.png", GOOD[1]["sentence"], ("false",), "1514-3", learnt=("no",)
        ),
    ]


def test_every_split_has_its_folder(tmp_path: Path) -> None:
    for split in ("test", "train", "dev"):
        write(tmp_path, f"{split}/{split}.json", lines(GOOD))
    reader = NLVR(str(tmp_path))
    assert reader.splits() == ["train", "dev", "test"]
    assert reader.read("test")[0].image == tmp_path / "test/images/2/test-3125-1-0.png"


def test_unknown_splits_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data-root DIR"):
        NLVR("")
    with pytest.raises(DataError, match="is not a folder"):
        NLVR(str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"no NLVR sentences: 'train/train\.json' or"):
        NLVR(str(tmp_path))
    write(tmp_path, "dev/dev.json", lines(GOOD))
    with pytest.raises(UnknownNameError, match=r"'val'.*The splits are dev\."):
        NLVR(str(tmp_path)).read("val")


def test_malformed_files_are_refused(tmp_path: Path) -> None:
    whole = lines(GOOD)
    assert "line 2: this is not valid JSON or cut off" in refused(tmp_path, whole[:-40])
    assert "line 2: this is not valid JSON" in refused(tmp_path, whole.replace("\n", "\n\n", 1))
    assert "line 1: this is '[1]', but an object was expected" in refused(tmp_path, "[1]\n")
    assert "line 1: this is not valid JSON" in refused(tmp_path, "[" * 100_000)
    assert "is empty, but an object a line was expected" in refused(tmp_path, "\n")
    assert "the question id '3125-1' occurs twice" in refused(tmp_path, lines([GOOD[0], GOOD[0]]))


@pytest.mark.parametrize("key", ["sentence", "label", "identifier", "directory"])
def test_a_missing_field_is_named(tmp_path: Path, key: str) -> None:
    kept = {name: value for name, value in GOOD[1].items() if name != key}
    assert f"line 2: '{key}' is missing" in refused(tmp_path, lines([GOOD[0], kept]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "maybe"}, "the label is 'maybe', but true or false was expected"),
        ({"label": True}, "'label' is True, but str was expected"),
        ({"sentence": 5}, "'sentence' is 5, but str was expected"),
        ({"identifier": 5}, "'identifier' is 5, but str was expected"),
        ({"directory": 2}, "'directory' is 2, but str was expected"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert f"line 2: {said}" in refused(tmp_path, lines([GOOD[0], {**GOOD[1], **change}]))


@pytest.mark.parametrize("name", ["hidden", "hidden_final", "hidden2"])
def test_the_hidden_split_names_no_directory(tmp_path: Path, name: str) -> None:
    records = [{k: v for k, v in one.items() if k not in ("directory", "evals")} for one in GOOD]
    write(tmp_path, f"hidden/{name}.json", lines(records))
    drawing = tmp_path / "hidden/images/3/hidden-3125-1-0.png"
    drawing.parent.mkdir(parents=True)
    drawing.touch()
    reader = NLVR(str(tmp_path))
    assert reader.splits() == ["hidden"]
    found = reader.read("hidden")
    assert [e.answers for e in found] == [("true",), ("false",)]
    assert found[0].image == drawing
    assert found[1].image == tmp_path / "hidden/images/hidden-1514-3-0.png"


def test_other_splits_must_name_a_directory(tmp_path: Path) -> None:
    write(tmp_path, "dev/dev.json", lines([{k: v for k, v in GOOD[0].items() if k != "directory"}]))
    with pytest.raises(DataError, match="'directory' is missing"):
        NLVR(str(tmp_path)).read("dev")

"""Tables in, tables out: `model.predict`, `datasets` and pandas in both directions."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from vqazoo.cli import run
from vqazoo.data import open_dataset
from vqazoo.errors import ConfigError, DataError, ImageError
from vqazoo.evaluation.agreement import accuracies
from vqazoo.evaluation.predictions import COLUMNS, read_predictions
from vqazoo.evaluation.tables import to_datasets, write_parquet


@pytest.fixture(scope="module")
def predictions(picker, split):
    return picker.predict(split)


@pytest.fixture(scope="module")
def records(split):
    """The split as a list of dicts with the pictures in memory."""
    return [
        {
            "image": opened(example.image),
            "question": example.question,
            "answers": list(example.answers),
            "question_id": example.question_id,
        }
        for example in split
    ]


def opened(file) -> Image.Image:
    with Image.open(file) as picture:
        return picture.convert("RGB")


def texts(predictions) -> list[str]:
    return [row["answer"] for row in predictions]


def test_every_row_has_the_answer_that_the_model_gives_it_alone(picker, split, predictions):
    alone = [picker.answer(one.image, one.question) for one in split[:9]]
    assert texts(predictions)[:9] == [answer.text for answer in alone]
    scores = [row["score"] for row in predictions[:9]]
    assert scores == pytest.approx([answer.score for answer in alone], abs=1e-5)
    assert len(predictions) == len(split)
    assert list(predictions[0]) == list(COLUMNS)


def test_the_size_of_a_batch_changes_nothing(picker, split, predictions):
    assert texts(picker.predict(split, batch_size=7)) == texts(predictions)


def test_lists_of_dicts_data_frames_and_datasets_give_the_same_table(picker, predictions, records):
    pandas = pytest.importorskip("pandas")
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_list(records)
    for given in (
        records,
        pandas.DataFrame(records),
        whole,
        whole.cast_column("image", datasets.Image(decode=False)),
        whole.to_iterable_dataset(),
        (row for row in records),
    ):
        found = picker.predict(given)
        assert texts(found) == texts(predictions)
        assert [row["correct"] for row in found] == [row["correct"] for row in predictions]


def test_accuracy_is_the_share_that_eval_counts(split, predictions):
    assert predictions.accuracy() == pytest.approx(accuracies(split, predictions.answers).mean())


def test_without_answers_there_is_no_accuracy_and_rows_are_numbered(picker, records):
    found = picker.predict([{"image": r["image"], "question": r["question"]} for r in records[:2]])
    assert [row["question_id"] for row in found] == ["1", "2"]
    assert found[0]["correct"] is None
    with pytest.raises(DataError, match="no answers to compare with"):
        found.accuracy()


def test_empty_cells_of_a_data_frame_are_no_answers(picker, records):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "image": [r["image"] for r in records[:2]],
            "question": ["what shape is it?"] * 2,
            "answer": ["circle", None],
        }
    )
    found = picker.predict(frame)
    assert [row["selected"] for row in found] == ["circle", None]
    assert found.to_pandas()["selected"][0] == "circle"


def test_the_csv_is_a_prediction_file_that_eval_scores(split, predictions, table, tmp_path, capsys):
    file = tmp_path / "predictions.csv"
    predictions.to_csv(file)
    assert [answer.text for answer in read_predictions(file, split)] == texts(predictions)
    asked = ["eval", "--predictions", str(file), "--data", "table", "--set", f"test={table}"]
    assert run([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["accuracy"]["value"] == pytest.approx(predictions.accuracy())


def test_pandas_reads_the_csv_as_the_data_frame(predictions, tmp_path):
    pandas = pytest.importorskip("pandas")
    predictions.to_csv(tmp_path / "predictions.csv")
    read = pandas.read_csv(tmp_path / "predictions.csv", dtype={"question_id": str})
    made = predictions.to_pandas()
    assert list(read.columns) == list(made.columns)
    assert list(read["answer"]) == list(made["answer"])
    assert np.allclose(read["score"], made["score"], rtol=1e-5)
    assert list(read["correct"]) == [int(one) for one in made["correct"]]


def test_a_dataset_of_the_answers_keeps_rows_and_types(predictions):
    pytest.importorskip("datasets")
    found = predictions.to_datasets()
    assert found.to_list() == predictions.rows
    assert found.features["score"].dtype == "float64"
    assert found.features["answer_type"].dtype == "string"


def test_a_split_becomes_a_dataset_with_pictures(split):
    datasets = pytest.importorskip("datasets")
    found = to_datasets(split)
    assert isinstance(found.features["image"], datasets.Image)
    assert found[5]["image"].convert("RGB").tobytes() == opened(split[5].image).tobytes()
    assert found["answers"][:] == [list(example.answers) for example in split]


def test_an_exported_dataset_is_read_back_by_both_libraries(table, split, tmp_path, capsys):
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "exported"
    asked = ["data", "export", "table", "--set", f"test={table}", "--to", str(folder)]
    assert run([*asked, "--json"]) == 0
    told = {"file": str(folder / "test.parquet"), "questions": len(split), "left_out": 0}
    assert json.loads(capsys.readouterr().out) == {"test": told}

    ours = open_dataset(f"hf:{folder}", {"data_root": str(tmp_path / "pictures")}).read("test")
    assert [(e.question, e.answers, e.question_id) for e in ours] == (
        [(e.question, e.answers, e.question_id) for e in split]
    )
    assert all(
        a.image.read_bytes() == b.image.read_bytes() for a, b in zip(ours, split, strict=True)
    )

    theirs = datasets.load_dataset(
        "parquet",
        data_files={"test": told["file"]},
        split="test",
        cache_dir=str(tmp_path / "cache"),
    )
    assert isinstance(theirs.features["image"], datasets.Image)
    assert theirs["question"][:] == [example.question for example in split]
    assert theirs[0]["image"].convert("RGB").tobytes() == opened(split[0].image).tobytes()


def test_a_dataset_that_the_package_datasets_saved_can_be_learnt_from(split, records, tmp_path):
    """As docs/how-to/python.md says: `to_parquet`, then `hf:FOLDER`."""
    datasets = pytest.importorskip("datasets")
    columns = ("image", "question", "answers")
    rows = [{column: record[column] for column in columns} for record in records]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "train.parquet")
    read = open_dataset(f"hf:{tmp_path}", {"data_root": str(tmp_path / "pictures")}).read("train")
    assert [(e.question, e.answers) for e in read] == [(e.question, e.answers) for e in split]
    assert opened(read[0].image).tobytes() == opened(split[0].image).tobytes()


def test_an_export_that_fails_leaves_no_file(split, tmp_path):
    from dataclasses import replace

    pytest.importorskip("datasets")
    gone = replace(split[-1], image=tmp_path / "gone.png")
    with pytest.raises(DataError, match="cannot be written"):
        write_parquet([*split, gone], tmp_path / "test.parquet")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_split_and_a_missing_picture_stop_an_export(table, tmp_path, capsys):
    asked = ["data", "export", "table", "--to", str(tmp_path / "out"), "--set"]
    assert run([*asked, f"test={table}", "--split", "tset"]) == 1
    assert "Did you mean 'test'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    broken = tmp_path / "questions.csv"
    with open(broken, "w", newline="") as handle:
        csv.writer(handle).writerows([("image", "question", "answer"), ("no.png", "what?", "a")])
    assert run([*asked, f"test={broken}"]) == 1
    assert "1 of 1 pictures does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out" / "test.parquet").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "has no rows"),
        ("easy-vqa", "'easy-vqa', but a table was expected"),
        ({"train": [], "test": []}, "a dict, but a table was expected, such as its part 'train'"),
        (7, "a int, but a table was expected"),
        (["what?"], "Row 1 is a str, but a dict"),
        ([{"bild": "a.png", "question": "what?"}], "Row 1 has no 'image', but only 'bild'"),
        ([{"bild": "a.png", "frage": "what?"}], "no 'image' and no 'question', but only 'bild'"),
        ([{"image": "a.png"}], "Row 1 has no 'question'"),
        ([{"image": "a.png", "question": None}], "Row 1: the question is None"),
        ([{"image": {"bytes": b"no picture"}, "question": "what?"}], "Row 1: the bytes"),
        # Pillow would hand it to another program.
        ([{"image": {"bytes": b"%!PS-Adobe-3.0 EPSF-3.0"}, "question": "?"}], "Row 1: the bytes"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_sentence(picker, data, message):
    with pytest.raises(DataError, match=message):
        picker.predict(data)


def test_a_batch_has_one_row_or_more(picker):
    with pytest.raises(ConfigError, match="batch_size is 0"):
        picker.predict([], batch_size=0)


def test_a_picture_that_is_missing_is_named(picker):
    with pytest.raises(ImageError, match=r"'gone\.png' does not exist"):
        picker.predict([{"image": "gone.png", "question": "what?"}])


def test_a_file_that_cannot_be_written_is_one_sentence(predictions, tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        predictions.to_csv(tmp_path / "no" / "folder" / "predictions.csv")


@pytest.mark.parametrize(
    ("package", "method", "hint"),
    [
        ("pandas", "to_pandas", "pip install 'pandas'"),
        ("datasets", "to_datasets", r"pip install 'vqazoo\[hf\]'"),
    ],
)
def test_a_package_that_is_missing_is_asked_for(predictions, monkeypatch, package, method, hint):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=hint):
        getattr(predictions, method)()


def test_pictures_named_by_their_files_keep_their_names(picker, split):
    table = [{"image": str(split[0].image), "question": "what?"}]
    assert picker.predict(table)[0]["image"] == split[0].image.name
    assert picker.predict([{"image": opened(split[0].image), "question": "?"}])[0]["image"] == ""


def test_damaged_pictures_of_a_later_batch_are_told_by_their_rows(picker, split, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    rows = [{"image": str(one.image), "question": "what?"} for one in split[:7]]
    rows[4]["image"] = rows[6]["image"] = str(tmp_path / "bad.png")
    with pytest.raises(ImageError, match=r"pictures of 2 rows .*\(rows 5, 7\)"):
        picker.predict(rows, batch_size=3)

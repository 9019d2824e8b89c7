"""`vqazoo data init` on tables as people write them, and data by its settings or as rows."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.data import open_dataset
from vqazoo.data.doubts import doubts_of
from vqazoo.data.own_files import data_settings
from vqazoo.errors import ConfigError, DataError
from vqazoo.registry import registry
from vqazoo.training.own_rows import kept_rows

MODEL = "tiny-clip-gru-easyvqa"
BAD = """Bild;Frage;Antwort;set
0;wie heißt es?;rot;train
0;Wie heißt  es?;rot;train
1;was?;N/A;train
1;was?;blau;train
3;wo?;hier;train
9;wo?;;train
2;;x;train
1;neu?;ja;val
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(5):
        color = (40 * number, 9, 90)
        Image.new("RGB", (32, 32), color).save(tmp_path / f"images/COCO_{number:06d}.png")
    (tmp_path / "images/COCO_000003.png").write_text("broken")
    (tmp_path / "bad.csv").write_bytes(BAD.encode("cp1252"))
    rows = [
        f"{n},is it red?,{('yes', 'no')[n % 2]},{('train', 'test')[n > 2]}" for n in (0, 1, 2, 4)
    ]
    (tmp_path / "good.csv").write_text("image_id,question,answer,split\n" + "\n".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_wrong_row_is_told_at_once_with_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "init", "bad.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert any("not UTF-8 (line 2); it is read as cp1252" in note for note in told["notes"])
    assert any("separated by semicolons" in note for note in told["notes"])
    assert told["columns"]["image_column"] == "Bild"
    assert told["columns"]["answer_column"] == "Antwort"
    train = told["splits"]["train"]
    assert [row["line"] for row in train["unusable"]] == [8]
    lines = {doubt["what"].split(",")[0]: doubt["lines"] for doubt in train["doubts"]}
    assert lines == {
        "rows whose picture is not there": [7],
        "rows whose picture cannot be opened": [6],
        "rows without an answer": [7],
        'rows that say "N/A" or the like': [4],
        "rows that repeat an earlier one": [3],
        "rows with another answer to the same question about the same picture": [4, 5],
    }
    (both,) = told["splits"]["validation"]["doubts"]
    assert (both["lines"], "also in train" in both["what"]) == ([9], True)


def test_what_is_printed_shows_columns_rows_and_the_next_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "init", "good.csv", "--out", "sub.toml"]) == 0
    out = capsys.readouterr().out
    assert "image = 'image_id', question = 'question'" in out
    assert "COCO_000001.png  is it red?  no" in out
    assert "suggest --data sub.toml " in out
    assert run(["data", "init", "good.csv", "--out", "sub.toml"]) == 0  # as it was
    (folder / "sub.toml").write_text("mine")
    assert run(["data", "init", "good.csv", "--out", "sub.toml"]) == 1  # nothing is overwritten
    assert "there already" in capsys.readouterr().err
    assert (folder / "sub.toml").read_text() == "mine"


def test_what_to_do_next_leaves_out_what_has_no_picture_and_does_not_hide_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"images/COCO_00000{n}.png,is it red?,yes" for n in (0, 1, 2)]
    rows += ["images/gone.png,is it red?,no", "images/COCO_000000.png,,no"]
    (folder / "t.csv").write_text("image,question,answer\n" + "\n".join(rows) + "\n")
    assert run(["data", "init", "t.csv", "--out", "t.toml"]) == 0
    wrong, following = capsys.readouterr().out.splitlines()[-2:]
    assert wrong.startswith("Correct or remove the rows that cannot be used")
    assert following.startswith("Next: vqazoo suggest --data t.toml --skip-missing  tries")
    (folder / "t.csv").write_text("image,question,answer\n" + "\n".join(rows[:-1] + rows[:1]))
    assert run(["data", "info", "t.toml"]) == 0
    told = capsys.readouterr().err
    assert "rows that repeat an earlier one: 1 (line 6)" in told  # as a spreadsheet numbers them


def test_settings_are_read_from_wherever_they_lie(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "deep").mkdir()
    assert run(["data", "init", "good.csv", "--out", "deep/mine.toml"]) == 0
    written = tomllib.loads((folder / "deep/mine.toml").read_text())
    assert written["args"]["train"] == "../good.csv"
    assert written["args"]["image_pattern"] == "COCO_{id:06d}.png"
    monkeypatch.chdir(folder / "images")
    settings = data_settings(Path("../deep/mine.toml"))
    reader = open_dataset("table", registry.fill("dataset", "table", settings["args"]))
    assert [len(reader.read(split)) for split in ("train", "test")] == [3, 1]
    assert all(example.image.is_file() for example in reader.read("train"))
    assert run(["data", "info", "../deep/mine.toml"]) == 0
    capsys.readouterr()
    assert run(["eval", MODEL, "--data", "../deep/mine.toml", "--json"]) == 0
    assert "accuracy" in json.loads(capsys.readouterr().out)


def test_settings_that_name_nothing_are_told(folder: Path) -> None:
    (folder / "x.toml").write_text("args = {}")
    with pytest.raises(DataError, match="names no dataset"):
        data_settings(Path("x.toml"))
    with pytest.raises(DataError, match="cannot be read"):
        data_settings(Path("none.toml"))


def test_a_folder_of_pictures_becomes_a_table_to_fill_in(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cats", "dogs"):
        (folder / "classes" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "classes" / name / "1.png")
    assert run(["data", "init", "images"]) == 0
    table = (folder / "images/questions.csv").read_text()
    assert table.startswith("image,question,answer\nCOCO_000000.png,,\n")
    assert run(["data", "init", "classes", "--out", "classes.toml"]) == 0
    settings = data_settings(Path("classes.toml"))
    examples = open_dataset("table", registry.fill("dataset", "table", settings["args"])).read(
        "train"
    )
    assert [e.answers for e in examples] == [("cats",), ("dogs",)]
    assert run(["data", "init", "good.txt"]) == 1
    (folder / "empty").mkdir()
    assert run(["data", "init", "empty", "--out", "e.toml"]) == 1
    assert "no pictures" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["json", "jsonl", "xlsx", "parquet", "tsv"])
def test_each_kind_of_table_is_looked_at(
    folder: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pandas = pytest.importorskip("pandas")
    frame, file = pandas.read_csv("good.csv"), f"t.{suffix}"
    if suffix == "json":
        frame.to_json(file, orient="records")
    elif suffix == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    elif suffix == "tsv":
        frame.to_csv(file, sep="\t", index=False)
    else:
        pytest.importorskip({"xlsx": "openpyxl", "parquet": "pyarrow"}[suffix])
        getattr(frame, {"xlsx": "to_excel", "parquet": "to_parquet"}[suffix])(file, index=False)
    assert run(["data", "init", file, "--json"]) == 0
    splits = json.loads(capsys.readouterr().out)["splits"]
    assert {name: read["questions"] for name, read in splits.items()} == {"train": 3, "test": 1}
    assert not any(read["unusable"] or read["doubts"] for read in splits.values())


def test_doubts_count_what_was_silent() -> None:
    from vqazoo.data import Example

    one = Example(Path("a.png"), "what?", ("x",), "1")
    told = list(map(str, doubts_of([one] * 5)))
    assert told == [
        "rows that repeat an earlier one: 4 (rows 2, 3, 4, 5)",
        "rows that are all about one picture: 5 (rows 1, 2, 3, 4, 5)",
    ]
    other = Example(Path("b.png"), "what?", ("x", "y"), "2")
    agreeing = Example(Path("b.png"), "what?", ("y",), "3")
    assert doubts_of([one, other, agreeing]) == []


SETTINGS = ["training.epochs=1", "training.device='cpu'"]


def _silent(line: str) -> None:
    pass


def rows_in_memory() -> list[dict[str, Any]]:
    return [
        {
            "image": Image.new("RGB", (32, 32), (60 * number, 9, 9)),
            "question": "is it red?",
            "answer": ("yes", "no")[number % 2],
            "answer_type": "yes/no",
        }
        for number in range(4)
    ]


@pytest.mark.parametrize("kind", ["frame", "dataset"])
def test_tables_in_memory_are_kept_with_the_run(tmp_path: Path, kind: str) -> None:
    rows = rows_in_memory()
    data: Any
    if kind == "frame":
        data = pytest.importorskip("pandas").DataFrame(rows)
    else:
        data = pytest.importorskip("datasets").Dataset.from_list(rows)
    kept = kept_rows(data, tmp_path)
    examples = open_dataset(kept["type"], kept["args"]).read("train")
    assert [e.answers for e in examples] == [(row["answer"],) for row in rows]
    assert {e.answer_type for e in examples} == {"yes/no"}
    assert [Image.open(e.image).getpixel((0, 0)) for e in examples] == [
        row["image"].getpixel((0, 0)) for row in rows
    ]
    with pytest.raises(ConfigError, match="have a part 'dev'"):
        kept_rows({"dev": rows}, tmp_path)
    assert kept_rows("easy-vqa", tmp_path) == "easy-vqa"


def test_a_run_on_rows_repeats_from_its_recipe(tmp_path: Path) -> None:
    rows, out = rows_in_memory(), tmp_path / "run"
    flags: dict[str, Any] = {"encoder": "tiny-clip", "head": "linear"}
    data = {"train": rows[:2], "validation": rows[2:]}
    vqazoo.train(data, out=out, epochs=1, device="cpu", report=_silent, **flags)
    recipe = tomllib.loads((out / "recipe.toml").read_text())
    assert recipe["data"]["validation_split"] == "validation"
    assert recipe["training"]["epochs"] == 1
    vqazoo.train(out=tmp_path / "again", config=out / "recipe.toml", report=_silent)
    weights = [(tmp_path / r / "best/model.safetensors").read_bytes() for r in ("run", "again")]
    assert weights[0] == weights[1]
    assert vqazoo.evaluate(str(out / "best"), rows, report=_silent).metrics


def test_training_warns_of_rows_that_are_not_meant_so(folder: Path, tmp_path: Path) -> None:
    rows = [{"image": "images/COCO_000000.png", "question": "what?", "answer": "N/A"}] * 2
    rows += [{"image": "images/COCO_000001.png", "question": "what?", "answer": "x"}]
    told: list[str] = []
    flags = {"encoder": "tiny-clip", "head": "linear", "data": rows}
    vqazoo.train(out=tmp_path / "run", set=SETTINGS, report=told.append, **flags)
    warned = [line for line in told if line.startswith("Warning: rows")]
    assert [line.split(":")[1].strip().split(" ")[2] for line in warned] == ["say", "repeat"]


def test_a_column_of_picture_names_wins_over_one_that_counts_rows(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{row};images\\COCO_{4 - row:06d}.png;was?;ja" for row in (0, 2)]
    (folder / "excel.csv").write_text("ID;Bild;Frage;Antwort\n" + "\n".join(rows))
    assert run(["data", "init", "excel.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["columns"]["image_column"] == "Bild"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,question,where\nimages/COCO_000000.png,what?,here\n", "No row to learn"),
        ("image,question,answer\nCOCO_000000,what?,cat\nnone,why?,dog\n", "image_root=FOLDER"),
    ],
)
def test_a_table_that_cannot_be_learnt_is_not_recommended_for_training(
    folder: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "t.csv").write_text(text)
    assert run(["data", "init", "t.csv"]) == 0
    out = capsys.readouterr().out
    assert said in out
    assert "Next: vqazoo" not in out


def test_counts_that_pandas_wrote_as_floats_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pandas = pytest.importorskip("pandas")
    images = [f"images/COCO_00000{n}.png" for n in (0, 1, 2)]
    frame = pandas.DataFrame({"image": images, "question": "how many?", "answer": [1, None, 2]})
    frame.to_csv("t.csv", index=False)
    assert run(["data", "init", "t.csv", "--json"]) == 0
    doubts = json.loads(capsys.readouterr().out)["splits"]["train"]["doubts"]
    assert [doubt["lines"] for doubt in doubts if '"3.0"' in doubt["what"]] == [[2, 4]]


def test_objects_of_a_json_list_on_one_line_are_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"image": "images/COCO_000000.png", "question": "what?", "answer": "cat"}
    (folder / "t.json").write_text(json.dumps([row, {**row, "answer": ""}, {**row, "question": 3}]))
    assert run(["data", "init", "t.json", "--json"]) == 0
    train = json.loads(capsys.readouterr().out)["splits"]["train"]
    assert [bad["row"] for bad in train["unusable"]] == [3]
    assert [doubt["rows"] for doubt in train["doubts"] if "without" in doubt["what"]] == [[2]]


PICTURE = "images/COCO_000000.png"


def init(folder: Path, table: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    (folder / "t.csv").write_text(table)
    status = run(["data", "init", "t.csv", "--out", "t.toml"])
    return status, *capsys.readouterr()


def test_of_numbered_columns_of_answers_the_first_is_read_and_the_others_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = f"image,question,answer1,answer2\n{PICTURE},is it red?,yes,no\n"
    status, out, _ = init(folder, rows, capsys)
    assert (status, "column 'answer1', and none from 'answer2'" in out) == (0, True)
    assert "is it red?  yes" in out


def test_a_table_without_a_header_is_refused_by_every_verb(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = init(folder, f"{PICTURE},is it red?,yes\n" * 2, capsys)
    assert (status, (folder / "t.toml").exists()) == (1, False)
    assert f"'{PICTURE}' stands where the name of a column was expected" in err
    assert run(["data", "info", "t.csv"]) == 1
    assert "write one such as  image,question,answer  above it" in capsys.readouterr().err


def test_addresses_that_are_not_read_are_no_missing_column_of_answers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "image,question,answer\nhttps://example.org/1.jpg,is it red?,yes\n"
    _, out, _ = init(folder, rows, capsys)
    assert "--set web=true" in out
    assert "answer_column" not in out


def test_one_picture_is_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = init(folder, f"image,question,answer\n{PICTURE},is it red?,yes\n", capsys)
    assert "train: 1 question about 1 picture\n" in out

"""Columns as people name and fill them, in tables of their own and in parquet of others."""

from __future__ import annotations

import csv
import io
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_socket
from PIL import Image

from vqazoo.cli import run
from vqazoo.data import Example, open_dataset
from vqazoo.data.columns import PictureNames, matched
from vqazoo.errors import ConfigError, DataError
from vqazoo.evaluation.score import score
from vqazoo.interfaces import Answer
from vqazoo.registry import registry

LABELLED = """image,question,answer,answer_type,question_type,answerable,choices,question_id
a.png,what is it?,cat,other,what,yes,cat|dog,x1
b.png,how many?,3,number,how,1,2|3,x2
a.png,is it?,,yes/no,is,unanswerable,,x3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pictures")
    for number, name in enumerate(("a", "b", "000000000042")):
        Image.new("RGB", (8, 8), (60 * number, 0, 9)).save(made / f"{name}.png")
    return made


def table(file: Path, content: str, **args: str) -> Any:
    file.write_text(content, encoding=args.get("encoding", "utf-8"))
    return registry.build("dataset", "table", train=str(file), **args)


def read(file: Path, content: str, **args: str) -> list[Example]:
    read: list[Example] = table(file, content, **args).read("train")
    return read


def refused(file: Path, content: str, **args: str) -> str:
    with pytest.raises(DataError) as caught:
        read(file, content, **args)
    return str(caught.value)


# ---- names of columns ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Filename,Question,Answer",
        "img,QUESTION,answers",
        "File Name,question,label",
        "image_path,Questions,Labels",
        "image_id,prompt,ANSWER",
    ],
)
def test_columns_are_read_by_their_usual_names(folder: Path, header: str) -> None:
    (example,) = read(folder / "t.csv", f"{header}\na.png,what?,cat\n")
    assert example == Example(folder / "a.png", "what?", ("cat",), "1")


def test_a_column_named_as_asked_is_taken_before_others() -> None:
    wanted = {"image_column": "image", "answer_column": "label", "question_column": "question"}
    there = ["answer", "Image", "path", "label", "query", "Question"]
    assert matched(there, wanted) == {
        "image_column": "Image",
        "question_column": "Question",
        "answer_column": "label",
    }
    assert matched(["Image", "IMAGE"], {"image_column": "image"}) == {}  # which is not clear


def test_all_missing_columns_are_told_at_once_with_the_flags_to_add(folder: Path) -> None:
    message = refused(folder / "t.csv", "Bild,Frage,answer\na.png,was?,x\n")
    assert "no column 'image' and no column 'question', but only 'Bild', 'Frage', 'answer'" in (
        message
    )
    assert message.endswith("--set image_column=NAME --set question_column=NAME")
    close = refused(folder / "t.csv", "image,my qestion,answer\na.png,was?,x\n")
    assert close.endswith("--set 'question_column=my qestion'")


def test_of_several_missing_columns_nothing_is_guessed_without_its_name(folder: Path) -> None:
    message = refused(folder / "t.csv", "Bild,Frage,Antwort\na.png,was?,x\n")
    assert "only 'Antwort', 'Bild', 'Frage'. Rename the columns, or name others" in message


def test_the_flags_that_a_message_gives_are_taken(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "t.csv").write_text("Bild,Frage,answer\na.png,was?,x\n")
    flags = ["--set", "image_column=Bild", "--set", "question_column=Frage"]
    assert run(["data", "info", str(folder / "t.csv"), *flags]) == 0
    assert "1, 1 distinct" in capsys.readouterr().out


# ---- what cells hold -------------------------------------------------------------------------


def test_types_answerability_and_choices_are_read(folder: Path) -> None:
    first, second, third = read(folder / "t.csv", LABELLED)
    assert (first.answer_type, first.question_type, first.answerable) == ("other", "what", True)
    assert first.choices == ("cat", "dog")
    assert (second.answers, second.answerable, second.choices) == (("3",), True, ("2", "3"))
    assert (third.answers, third.answerable) == ((), False)


def test_other_columns_of_labels_can_be_named(folder: Path) -> None:
    content = "image,question,answer,kind\na.png,what?,cat,animal\n"
    (example,) = read(folder / "t.csv", content, answer_type_column="kind")
    assert example.answer_type == "animal"
    assert "--set answer_type_column=" in refused(
        folder / "t.csv", content, answer_type_column="sort"
    )


def test_a_cell_that_is_no_truth_value_is_told(folder: Path) -> None:
    content = "image,question,answer,answerable\na.png,what?,cat,perhaps\n"
    message = refused(folder / "t.csv", content)
    assert "line 2: the cell 'answerable' is 'perhaps', but 1, 0, true" in message


def test_numbers_truth_values_and_lists_of_json_are_answers(folder: Path) -> None:
    rows = [{"image": "a.png", "question": "q?", "answer": a} for a in (3, 2.0, True, [4, "four"])]
    examples = read(folder / "t.json", json.dumps(rows))
    assert [e.answers for e in examples] == [("3",), ("2",), ("yes",), ("4", "four")]


def test_truth_values_are_the_same_answers_whoever_wrote_the_file(folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"image": "a.png", "question": "q?", "answer": [True, False]})
    frame.to_csv(folder / "t.csv", index=False)  # writes True
    frame.to_json(folder / "t.json", orient="records")  # writes true
    spreadsheet = frame.to_csv(index=False).replace("True", "TRUE").replace("False", "FALSE")
    for name, content in (
        ("t.csv", (folder / "t.csv").read_text()),
        ("u.csv", spreadsheet),
        ("t.json", (folder / "t.json").read_text()),
    ):
        assert [e.answers for e in read(folder / name, content)] == [("yes",), ("no",)]
    rows = "image,question,answer,choices\na.png,q?,True,True|False\na.png,r?,true,\n"
    chosen, written = read(folder / "v.csv", rows)
    assert (chosen.answers, written.answers) == (("True",), ("true",))  # words that people chose


def test_a_number_among_choices_that_are_numbers_is_one_of_them(folder: Path) -> None:
    row = {"image": "a.png", "question": "q?", "answer": 2, "choices": [1, 2, 3]}
    (example,) = read(folder / "t.json", json.dumps([row]))
    assert (example.answers, example.choices) == (("2",), ("1", "2", "3"))
    (example,) = read(folder / "t.json", json.dumps([{**row, "choices": ["1", "2", "3"]}]))
    assert example.answers == ("3",)  # the number of a choice, from 0


def test_a_blank_answer_is_kept_out_of_learning_and_scores_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "t.csv").write_text("image,question,answer\na.png,q?,red\nb.png,q?,\na.png,r?,  \n")
    assert run(["data", "info", str(folder / "t.csv")]) == 0
    assert "2 with 0, 1 with 1" in capsys.readouterr().out
    told: list[str] = []
    examples = table(folder / "t.csv", (folder / "t.csv").read_text()).read("train")
    metrics = score(examples, [Answer("red", 1.0)] * 3, "table", "train", report=told.append)
    assert {m.name: m.value for m in metrics}["accuracy"] == 1.0
    assert "Left out 2 of 3 questions without an answer." in told


def test_all_bad_rows_are_told_at_once(folder: Path) -> None:
    content = "image,question,answer\na.png,,x\na.png,good?,x\n,what?,x\n"
    message = refused(folder / "t.csv", content)
    assert "2 rows cannot be used (lines 2, 4); of the first: " in message
    assert "line 2: the question is empty" in message


# ---- names of pictures -----------------------------------------------------------------------


def test_names_of_pictures_are_made_of_cells(folder: Path) -> None:
    content = "image_id,split,question,answer\n42,train,what?,cat\n"
    (example,) = read(folder / "t.csv", content, image_pattern="{id:012d}.png")
    assert example.image == folder / "000000000042.png"
    (example,) = read(
        folder / "t.csv", content, image_pattern="{split}2014/COCO_{split}2014_{image_id:012d}.jpg"
    )
    assert example.image == folder / "train2014/COCO_train2014_000000000042.jpg"
    rows = [{"image": 42, "question": "what?"}]
    (example,) = read(folder / "t.json", json.dumps(rows), image_pattern="{id:012d}.png")
    assert example.image.is_file()
    assert "with an image_pattern such as" in refused(folder / "t.json", json.dumps(rows))


@pytest.mark.parametrize("pattern", ["{id", "{id.real}", "{id[0]}", "{id!r}", "a.jpg", "{id:{x}}"])
def test_a_pattern_that_reaches_into_cells_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="pattern"):
        PictureNames(pattern)


def test_a_cell_that_does_not_fit_the_pattern_is_told(folder: Path) -> None:
    content = "image,question\nx,what?\n"
    message = refused(folder / "t.csv", content, image_pattern="{id:012d}.png")
    assert "line 2: the cell 'image' is 'x', but the pattern '{id:012d}.png'" in message


# ---- splits in one file ----------------------------------------------------------------------

SPLITS = "image,question,answer,Split\na.png,p?,x,train\na.png,q?,x,VAL\nb.png,r?,x,test\n"


def test_a_column_tells_the_splits_of_one_file(folder: Path) -> None:
    reader = table(folder / "t.csv", SPLITS)
    assert reader.splits() == ["train", "validation", "test"]
    for split, question in (("train", "p?"), ("validation", "q?"), ("test", "r?")):
        assert [e.question for e in reader.read(split)] == [question]
        assert [e.question for e in reader.stream(split)] == [question]


def test_a_column_with_one_split_says_nothing(folder: Path) -> None:
    content = "image,question,answer,split\na.png,p?,x,test2015\nb.png,q?,x,test2015\n"
    reader = table(folder / "t.csv", content)
    assert reader.splits() == ["train"]
    assert len(reader.read("train")) == 2
    assert len(table(folder / "t.csv", SPLITS, split_column="").read("train")) == 3


def test_a_run_validates_on_the_rows_that_say_so(folder: Path, tmp_path: Path) -> None:
    from vqazoo.training.settings import gather_config

    (tmp_path / "t.csv").write_text(SPLITS)
    flags = {"encoder": "tiny-clip", "head": "linear", "data": str(tmp_path / "t.csv")}
    assert gather_config(None, [], flags).data.validation_split == "validation"


# ---- other files -----------------------------------------------------------------------------


def test_a_workbook_holds_the_same(folder: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in csv.reader(io.StringIO(LABELLED)):
        book.active.append([int(cell) if cell in "0123456789" and cell else cell for cell in row])
    book.save(folder / "t.xlsx")
    read_back = registry.build("dataset", "table", train=str(folder / "t.xlsx")).read("train")
    assert read_back == read(folder / "t.csv", LABELLED)
    (folder / "no.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match="damaged or no workbook"):
        registry.build("dataset", "table", train=str(folder / "no.xlsx")).read("train")


def test_another_encoding_is_read_where_it_is_said(folder: Path) -> None:
    content = "image,question,answer\na.png,où?,café\n"
    (example,) = read(folder / "t.csv", content, encoding="cp1252")
    assert (example.question, example.answers) == ("où?", ("café",))
    with pytest.raises(DataError, match=r"--set encoding=cp1252"):
        registry.build("dataset", "table", train=str(folder / "t.csv")).read("train")


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("cp1525", "as 'cp1525' .unknown encoding: cp1525.: name another encoding"),
        ("ascii", "as 'ascii' .*: name another encoding"),
        ("utf-16", "has no rows"),  # one line of Chinese characters, to whoever believes it
    ],
)
def test_an_encoding_that_a_file_does_not_have_is_told(
    folder: Path, encoding: str, told: str
) -> None:
    (folder / "t.csv").write_bytes("image,question,answer\na.png,où?,é\n".encode("cp1252"))
    with pytest.raises(DataError, match=told):
        open_dataset("table", {"train": str(folder / "t.csv"), "encoding": encoding}).read("train")


def test_paths_of_windows_are_found(folder: Path) -> None:
    (folder / "photos").mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / "photos" / "c.png")
    (example,) = read(folder / "t.csv", "image,question\nphotos\\c.png,what?\n")
    assert example.image == folder / "photos" / "c.png"


def test_pictures_of_web_servers_are_asked_for_only_where_that_is_said(folder: Path) -> None:
    pytest.importorskip("aiohttp")
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    handler = partial(QuietFiles, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/a.png"
        content = f"image,question\n{address},what?\n"
        assert "allow it with  --set web=true" in refused(folder / "t.csv", content)
        reader = registry.build("dataset", "table", train=str(folder / "t.csv"), web=True)
        (example,) = reader.read("train")
        assert example.image.read_bytes() == (folder / "a.png").read_bytes()
        server.shutdown()


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


# ---- export ----------------------------------------------------------------------------------


def without_picture(example: Example) -> dict[str, Any]:
    names = [name for name in Example.__slots__ if name not in ("image", "comparison")]
    return {name: getattr(example, name) for name in names} | {"rule": example.comparison.name}


def test_a_table_survives_export(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    row = {"image": "a.png", "question": "q?", "rephrasing_of": "x1", "question_id": "x4"}
    said = [{"answer": "a", "answer_confidence": "yes", "raw_answer": "A!"}]
    lines = [
        *csv.DictReader(io.StringIO(LABELLED.replace("cat|dog", "").replace("2|3", ""))),
        {**row, "answer": [*said, {**said[0], "answer": "b"}], "choices": ["a", "b"]},
        {**row, "question_id": "x5", "answer": "c", "group": "tail"},
    ]
    content = "\n".join(json.dumps(line) for line in lines)
    examples = read(folder / "t.jsonl", content)
    assert examples[3].confidences == ("yes", "yes")
    assert examples[4].group == "tail"
    assert_survives(examples, folder, tmp_path)


def test_soft_answers_survive_export_beside_others(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    row = {"image": "a.png", "question": "q?", "choices": []}
    soft = [{"answer": "yes", "weight": 0.7}, {"answer": "no", "weight": 1 / 3}]
    lines = [
        {**row, "question_id": "soft", "answer": soft},
        {**row, "question_id": "hard", "answer": ["no", "yes"]},
        {**row, "question_id": "none", "answer": []},
    ]
    examples = read(folder / "t.jsonl", "\n".join(map(json.dumps, lines)))
    assert examples[0].weighted == (("yes", 0.7), ("no", 1 / 3))
    assert_survives(examples, folder, tmp_path)


def assert_survives(examples: list[Example], folder: Path, tmp_path: Path) -> None:
    """What `t.jsonl` of the folder holds is read back from what is exported of it."""
    command = ["data", "export", str(folder / "t.jsonl"), "--to", str(tmp_path / "out")]
    assert run(command) == 0
    args = {"data_root": str(tmp_path / "unpacked")}
    exported = tmp_path / "out" / "train.parquet"
    hf = open_dataset(f"hf:{tmp_path / 'out'}", registry.fill("dataset", "hf:x", args))
    own = registry.build("dataset", "table", train=str(exported))
    for back in (hf.read("train"), own.read("train")):
        assert [*map(without_picture, back)] == [*map(without_picture, examples)]
        assert [e.image.read_bytes() for e in back] == [e.image.read_bytes() for e in examples]


def test_parquet_of_others_takes_the_same_columns(folder: Path, tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [
        {"image_id": 42, "Question": "what?", "label": 3, "answer_type": "number", "split": "val"},
        {"image_id": 42, "Question": "why?", "label": None, "answer_type": "", "split": "train"},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "all.parquet")
    args = {"image_pattern": "{id:012d}.png", "image_root": str(folder), "split_column": "split"}
    reader = registry.build("dataset", "hf", str(tmp_path), **args)
    assert sorted(reader.splits()) == ["train", "validation"]
    (example,) = reader.read("validation")
    assert (example.answers, example.answer_type) == (("3",), "number")
    assert example.image.is_file()
    assert reader.read("train")[0].answers == ()
    assert [e.question for e in reader.stream("train")] == ["why?"]

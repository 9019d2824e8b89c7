"""`vqazoo predict`: the answers of `model.predict` in a file, whatever happens on the way."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vqazoo
from tests.support.warm import python
from tests.whole.families.published import PUBLISHED
from vqazoo.cli import run
from vqazoo.evaluation import answer_file, answer_parts, row_answers
from vqazoo.evaluation.predictions import ANSWER_COLUMNS
from vqazoo.evaluation.row_answers import RowAnswers

MODEL = "tiny-clip-linear-flawedshapes"  # says answerability as well
CAPTIONER = "Salesforce/blip-image-captioning-base"
PACKAGED = (
    "tiny-clip-gru-easyvqa",
    "tiny-clip-lstm-easyvqa",
    "tiny-clip-linear-easyvqa",
    "tiny-clip-mlp-sortofclevr",
    "tiny-clip-git-easyvqa",
    "tiny-clip-med-easyvqa",
    pytest.param("effnet-minilm-mlp-daquar", marks=pytest.mark.proof),
)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 72 rows of the table are three parts."""
    monkeypatch.setattr(answer_parts, "PART_ROWS", 32)


def command(table: Path, out: Path, *more: object, model: str = MODEL) -> list[str]:
    data = ["--data", "table", "--set", f"test={table}"]
    cache = ["--cache", str(table.parent / "nothing-cached")]
    return ["predict", model, *data, *cache, "--out", str(out), *map(str, more)]


def predict(table: Path, out: Path, *more: object, model: str = MODEL) -> Path:
    assert run(command(table, out, *more, model=model)) == 0
    return out


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    capsys.readouterr()
    assert run(arguments) == 1
    told = capsys.readouterr()
    assert told.out == ""
    return told.err.splitlines()[-1]


def read(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        records: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
        return records
    return [json.loads(line) for line in file.read_text().splitlines()]


def rows_of(table: Path) -> list[dict[str, Any]]:
    with open(table, newline="") as handle:
        return [
            {"image": table.parent / row["image"], "question": row["question"]}
            for row in csv.DictReader(handle)
        ]


def agree(records: list[dict[str, Any]], table: Path, model: vqazoo.VQAModel) -> None:
    """Records of a file are what the model predicts in memory."""
    predicted = model.predict(rows_of(table))
    assert len(records) == len(predicted) == 72
    for record, row in zip(records, predicted, strict=True):
        assert tuple(record) == ANSWER_COLUMNS
        assert record["error"] is None
        for name in ("question_id", "image", "question", "answer", "answer_type"):
            assert record[name] == row[name]
        assert record["score"] == pytest.approx(row["score"], abs=1e-5)
        if row["answerable"] is None:
            assert record["answerable"] is None
        else:
            assert record["answerable"] == pytest.approx(row["answerable"], abs=1e-5)


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The answers of a run that nobody disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_parts, "PART_ROWS", 32)
        return predict(table, tmp_path_factory.mktemp("whole") / "answers.jsonl")


def test_the_file_holds_what_the_model_predicts_in_memory(table: Path, whole: Path) -> None:
    records = read(whole)
    agree(records, table, vqazoo.load(MODEL))
    assert all(0 <= record["answerable"] <= 1 for record in records)
    assert sorted(whole.parent.iterdir()) == [whole]  # no parts are left


@pytest.mark.parametrize("model", PACKAGED)
def test_every_packaged_model_gives_the_answers_of_predict(
    table: Path, tmp_path: Path, model: str
) -> None:
    agree(read(predict(table, tmp_path / "a.jsonl", model=model)), table, vqazoo.load(model))


@pytest.mark.parametrize(
    "name",
    [
        "microsoft/git-base-vqav2",
        "dandelin/vilt-b32-finetuned-vqa",
        "Salesforce/blip-vqa-base",
        "Salesforce/blip2-opt-2.7b",
    ],
)
def test_so_does_a_published_one(table: Path, tmp_path: Path, name: str) -> None:
    reference = f"dir:{PUBLISHED[name](tmp_path / 'published')}"
    out = predict(table, tmp_path / "a.jsonl", model=reference)
    predicted = vqazoo.load(reference).predict(rows_of(table))
    for record, row in zip(read(out), predicted, strict=True):
        assert record["answer"] == row["answer"]
        assert record["score"] == pytest.approx(row["score"], abs=1e-5)


def test_a_captioner_describes_where_nothing_is_asked_and_refuses_questions(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = f"dir:{PUBLISHED[CAPTIONER](tmp_path / 'blip')}"
    told = refused(capsys, command(table, tmp_path / "a.jsonl", model=reference))
    assert "describes pictures and reads no question" in told
    silent = tmp_path / "pictures.csv"
    pictures = [row["image"] for row in rows_of(table)][:6]
    silent.write_text("image,question\n" + "".join(f"{picture},\n" for picture in pictures))
    records = read(predict(silent, tmp_path / "b.jsonl", model=reference))
    captions = vqazoo.load(reference).caption(pictures)
    assert [record["answer"] for record in records] == [caption.text for caption in captions]


def test_parquet_and_csv_hold_the_same(
    table: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_file, "GROUP_PARTS", 2)
    records = read(whole)
    assert read(predict(table, tmp_path / "a.parquet")) == records
    with open(predict(table, tmp_path / "a.csv"), newline="") as handle:
        for row, record in zip(csv.DictReader(handle), records, strict=True):
            assert row["answer"] == record["answer"]
            assert float(row["score"]) == pytest.approx(record["score"], rel=1e-5)
            assert row["error"] == ""


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_eval_scores_the_file(
    table: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = predict(table, tmp_path / f"a{suffix}")
    scores = []
    for asked in (["--predictions", str(out)], [MODEL]):
        capsys.readouterr()
        assert run(["eval", *asked, "--data", "table", "--set", f"test={table}", "--json"]) == 0
        scores.append(json.loads(capsys.readouterr().out)["accuracy"]["value"])
    assert scores[0] == scores[1]


def test_a_candidate_list_is_chosen_from(table: Path, tmp_path: Path) -> None:
    listed = tmp_path / "candidates.txt"
    listed.write_text("yes\nno\n")
    out = predict(
        table, tmp_path / "a.jsonl", "--candidates", listed, model="tiny-clip-git-easyvqa"
    )
    assert {record["answer"] for record in read(out)} <= {"yes", "no"}


# ---- rows that fail -------------------------------------------------------------------------


@pytest.fixture
def flawed(table: Path, tmp_path: Path) -> Path:
    """The table with a picture that is not there, and one that is cut off."""
    for picture in table.parent.glob("*.png"):
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    (tmp_path / "3.png").unlink()
    (tmp_path / "5.png").write_bytes((tmp_path / "5.png").read_bytes()[:60])
    (tmp_path / "questions.csv").write_text(table.read_text())
    return tmp_path / "questions.csv"


def test_rows_that_cannot_be_answered_are_told_and_counted(
    flawed: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = read(predict(flawed, flawed.with_name("a.jsonl")))
    assert "Answered 66 of 72 rows" in capsys.readouterr().out
    for record, sound in zip(records, read(whole), strict=True):
        if record["image"] in ("3.png", "5.png"):
            assert record["answer"] is record["score"] is record["answerable"] is None
            wrong = "does not exist" if record["image"] == "3.png" else "truncated or damaged"
            assert wrong in record["error"]
        else:
            assert record["answer"] == sound["answer"]
            assert record["score"] == pytest.approx(sound["score"], abs=1e-5)
            assert record["error"] is None


def test_eval_says_which_questions_have_no_answer(
    flawed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = predict(flawed, flawed.with_name("a.csv"))
    data = ["--data", "table", "--set", f"test={flawed}"]
    told = refused(capsys, ["eval", "--predictions", str(out), *data])
    assert "has no answer to questions of the split: 6 of them (10, 11, 12, ...)" in told


def test_the_json_document_counts_too(flawed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = predict(flawed, flawed.with_name("a.jsonl"), "--json")
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "rows": 72, "failed": 6}


# ---- going on -------------------------------------------------------------------------------


class StoppedError(Exception):
    """The process ended here."""


@pytest.fixture
def begun(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of which one part was answered when the process ended."""
    out = tmp_path / "answers.jsonl"
    given: list[int] = []
    answer = RowAnswers.records

    def once(self: RowAnswers, rows: Any, told: Any) -> Any:
        if given:
            raise StoppedError
        given.append(len(rows))
        return answer(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(RowAnswers, "records", once)
        with pytest.raises(StoppedError):
            run(command(table, out))
    assert not out.exists()
    return out


def test_a_run_goes_on_where_it_stopped_and_writes_the_same_file(
    table: Path, whole: Path, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    answer = RowAnswers.records
    monkeypatch.setattr(
        RowAnswers,
        "records",
        lambda self, rows, told: asked.append(len(rows)) or answer(self, rows, told),
    )
    assert predict(table, begun).read_bytes() == whole.read_bytes()
    assert asked == [32, 8]  # the first part was not answered again


def test_a_damaged_part_is_answered_anew(table: Path, whole: Path, begun: Path) -> None:
    part = begun.with_name("answers.jsonl.parts") / "part-000000.jsonl"
    part.write_bytes(part.read_bytes()[:-9])
    assert predict(table, begun).read_bytes() == whole.read_bytes()


def test_another_model_data_or_option_is_noticed(
    table: Path, begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"image_root={table.parent}"
    for changed, arguments in (
        ("model", command(table, begun, model="tiny-clip-lstm-easyvqa")),
        ("data arguments", command(table, begun, "--set", root)),
        ("data", ["predict", MODEL, "--data", "easy-vqa", "--out", str(begun)]),
    ):
        told = refused(capsys, arguments)
        assert f"holds answers of a run that differs in its {changed} ('" in told
        assert "remove the folder" in told


def test_another_way_of_asking_is_noticed(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, out = tmp_path / "candidates.txt", tmp_path / "a.csv"
    listed.write_text("yes\nno\n")
    model = "tiny-clip-git-easyvqa"
    with monkeypatch.context() as patch:
        patch.setattr(answer_parts.AnswerParts, "join", lambda self, count: stop())
        with pytest.raises(StoppedError):
            run(command(table, out, "--candidates", listed, model=model))
    told = refused(capsys, command(table, out, model=model))
    assert "differs in its way of asking ('rank of 2 candidates" in told


def test_changed_rows_and_pictures_are_noticed(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for file in table.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    own, out = folder / table.name, tmp_path / "a.csv"
    with monkeypatch.context() as patch:
        patch.setattr(answer_parts.AnswerParts, "join", lambda self, count: stop())
        with pytest.raises(StoppedError):
            run(command(own, out))
    text = own.read_text()
    own.write_text(text.replace("are there several?", "is it red?", 1))
    assert "Rows 1 to 32 of the data, or their pictures, changed" in refused(
        capsys, command(own, out)
    )
    own.write_text(text)
    (folder / "23.png").write_bytes((folder / "0.png").read_bytes())
    assert "Rows 65 to 72 of the data" in refused(capsys, command(own, out))
    own.write_text("".join(text.splitlines(keepends=True)[:33]))
    assert "The data has fewer rows than were answered" in refused(capsys, command(own, out))


def stop() -> None:
    raise StoppedError


def test_a_file_that_is_there_is_not_overwritten(
    table: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answers.jsonl"
    out.write_text("mine")
    assert "is there already, and is not overwritten" in refused(capsys, command(table, out))
    assert out.read_text() == "mine"


@pytest.mark.parametrize("name", ["questions.csv/a.csv", f"{'n' * 252}.csv", f"{'n' * 246}.csv"])
def test_a_place_that_cannot_be_written_is_told_before_a_model_is_looked_for(
    table: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    told = refused(capsys, command(table, table.parent / name, model="no-such-model"))
    assert told.startswith("Error: The answers cannot be written to '")
    assert "name another file" in told


@pytest.fixture
def untidied(
    table: Path, begun: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A file that is whole, of a process that ended before it tidied; nothing is asked any more."""
    with monkeypatch.context() as patch:
        patch.setattr(answer_parts.AnswerParts, "tidy", lambda self: stop())
        with pytest.raises(StoppedError):
            run(command(table, begun))
    assert begun.read_bytes() == whole.read_bytes()
    monkeypatch.setattr(RowAnswers, "records", stop)
    yield begun
    assert begun.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("left", ["all", answer_parts.JOINED])
def test_only_the_tidying_is_left_to_do(
    table: Path, untidied: Path, left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in untidied.with_name("answers.jsonl.parts").iterdir():
        if left not in ("all", file.name):
            file.unlink()
    predict(table, untidied)
    assert "Answered 72 of 72 rows" in capsys.readouterr().out
    assert sorted(untidied.parent.iterdir()) == [untidied]


def test_a_whole_file_is_not_taken_for_the_answers_of_something_else(
    table: Path, untidied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / table.name
    other.write_text(table.read_text().replace("are there several?", "is it red?", 1))
    before = {p.name for p in tmp_path.rglob("*")}
    root = f"image_root={table.parent}"
    for arguments in (
        command(table, untidied, model="tiny-clip-lstm-easyvqa"),
        command(other, untidied, "--set", root),
        command(table, untidied, "--uncalibrated"),
    ):
        assert "is there already, and is not overwritten" in refused(capsys, arguments)
    assert {p.name for p in tmp_path.rglob("*")} == before


def test_a_file_that_another_process_wrote_meanwhile_is_not_overwritten(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Both saw that there was none; the other one is done when this one has loaded its model."""
    from vqazoo.zoo import predict as module

    load, out = module.load_found, tmp_path / "a.jsonl"

    def slowly(found: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(module, "load_found", load)
            predict(table, out, model="tiny-clip-gru-easyvqa")
        return load(found)

    monkeypatch.setattr(module, "load_found", slowly)
    told = refused_at_last(capsys, command(table, out))
    assert "is there already, and is not overwritten" in told
    assert len(read(out)) == 72
    assert sorted(tmp_path.iterdir()) == [out]


def refused_at_last(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """As `refused`, where another command printed its result meanwhile."""
    assert run(arguments) == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_a_full_disk_costs_nothing_that_was_answered(
    table: Path,
    begun: Path,
    whole: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(file: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(answer_parts, "write_file", full)
        told = refused(capsys, command(table, begun))
    assert "(No space left on device)" in told
    assert "the same command goes on" in told
    assert predict(table, begun).read_bytes() == whole.read_bytes()


def test_another_ending_is_refused_before_anything_is_read(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = refused(capsys, command(table, tmp_path / "answers.xlsx", model="no-such-model"))
    assert ".parquet, .csv or .jsonl was expected" in told
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    told = refused(capsys, command(table, tmp_path / "a.parquet", model="no-such-model"))
    assert "pip install 'vqazoo[hf]'" in told


def test_memory_holds_one_part_at_a_time(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vqazoo.data import Example

    drawn: list[int] = []

    def rows() -> Iterator[Example]:
        for number in range(1000):
            drawn.append(number)
            yield Example(table.parent / "0.png", "what?", (), str(number))

    parts = answer_parts.in_parts(rows())
    next(parts)
    assert len(drawn) == 32


# ---- the cache ------------------------------------------------------------------------------


@pytest.fixture
def cache(table: Path, tmp_path: Path) -> Path:
    """A cache with the features of all pictures of the table."""
    folder = tmp_path / "cache"
    data = ["--data", "table", "--set", f"test={table}", "--cache", str(folder)]
    assert run(["eval", MODEL, *data]) == 0
    return folder


def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Gathers the pictures that are decoded to be encoded."""
    seen: list[Path] = []
    look = row_answers.tried_ahead

    def looking(model: Any, batches: Any) -> Any:
        batches = list(batches)
        seen.extend(path for batch in batches for path in batch)
        return look(model, batches)

    monkeypatch.setattr(row_answers, "tried_ahead", looking)
    return seen


def test_features_that_are_cached_are_not_encoded_again(
    table: Path, whole: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = sorted(file.stat().st_mtime_ns for file in cache.rglob("*.safetensors"))
    seen = encoded(monkeypatch)
    records = read(predict(table, tmp_path / "a.jsonl", "--cache", cache))
    assert not seen
    for record, live in zip(records, read(whole), strict=True):
        assert record["answer"] == live["answer"]
        assert record["score"] == pytest.approx(live["score"], abs=5e-3)  # half precision
    assert sorted(file.stat().st_mtime_ns for file in cache.rglob("*.safetensors")) == kept


def test_pictures_that_the_cache_lacks_are_encoded_as_it_would_keep_them(
    flawed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = flawed.with_name("7.png")
    sound.write_bytes(sound.read_bytes() + b"\0")  # other bytes, the same picture
    seen = encoded(monkeypatch)
    records = read(predict(flawed, flawed.with_name("a.jsonl"), "--cache", cache))
    assert {path.name for path in seen} == {"3.png", "5.png", "7.png"}
    assert [r["image"] for r in records if r["error"]] == ["3.png"] * 3 + ["5.png"] * 3
    sound.write_bytes(sound.read_bytes()[:-1])
    seen.clear()
    again = read(predict(flawed, flawed.with_name("b.jsonl"), "--cache", cache))
    assert "7.png" not in {path.name for path in seen}
    for record, other in zip(records, again, strict=True):
        score, known = record.pop("score"), other.pop("score")
        assert score == known or score == pytest.approx(known, abs=1e-5)
        assert record.pop("answerable") == pytest.approx(other.pop("answerable"), abs=1e-5)
        assert record == other


def test_what_is_cached_meanwhile_does_not_change_the_file(
    table: Path, begun: Path, whole: Path
) -> None:
    place = table.parent / "nothing-cached"
    data = ["--data", "table", "--set", f"test={table}", "--cache", str(place)]
    try:
        assert run(["eval", MODEL, *data]) == 0
        assert predict(table, begun).read_bytes() == whole.read_bytes()
    finally:
        shutil.rmtree(place)


# ---- Ray ------------------------------------------------------------------------------------


class Reversed:
    """A cluster whose actors are done in the wrong order."""

    device = "cpu"

    def spread(self, make: Any, tasks: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        work = make()
        for task in reversed(list(tasks)):
            yield task, work(task)


@contextlib.contextmanager
def reversing(*arguments: Any) -> Iterator[Reversed]:
    yield Reversed()


def test_parts_that_are_done_in_another_order_stand_in_theirs(
    table: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqazoo.zoo.predict.ray_cluster", reversing)
    out = predict(table, tmp_path / "a.jsonl", "--engine", "ray", "--workers", 2)
    assert out.read_bytes() == whole.read_bytes()


def test_a_run_goes_on_with_another_engine(
    table: Path, begun: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqazoo.zoo.predict.ray_cluster", reversing)
    assert predict(table, begun, "--engine", "ray").read_bytes() == whole.read_bytes()


def test_an_actor_that_has_another_model_says_so(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recalibrated = vqazoo.load(MODEL)
    recalibrated.calibration = None
    monkeypatch.setattr("vqazoo.zoo.predict.ray_cluster", reversing)
    for other in (vqazoo.load("tiny-clip-lstm-easyvqa"), recalibrated):
        monkeypatch.setattr("vqazoo.zoo.predict.load", lambda reference, other=other: other)
        told = refused(capsys, command(table, tmp_path / "a.jsonl", "--engine", "ray"))
        assert f"'{MODEL}' is another model on the node" in told


def test_workers_are_those_of_ray(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = refused(capsys, command(table, tmp_path / "a.csv", "--workers", 2))
    assert "add --engine=ray" in told
    monkeypatch.setitem(sys.modules, "ray", None)
    told = refused(capsys, command(table, tmp_path / "a.csv", "--engine", "ray"))
    assert "pip install 'vqazoo[ray]'" in told


# Kills an actor as soon as it is at work.
KILLER = """
import os, signal, sys, threading, time
from pathlib import Path
from vqazoo.cli import main
from vqazoo.evaluation import answer_file, answer_parts, row_answers
answer_parts.PART_ROWS = 8
log, mine = Path(sys.argv.pop(1)), os.getsid(0)

def kill():
    while True:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                name = (process / "cmdline").read_bytes()
                if name.startswith(b"ray::Actor.do") and os.getsid(int(process.name)) == mine:
                    os.kill(int(process.name), signal.SIGKILL)
                    log.write_text("killed")
                    return
            except OSError:
                pass
        time.sleep(0.001)

threading.Thread(target=kill, daemon=True).start()
main(sys.argv[1:])
"""


@pytest.mark.apart
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_two_actors_of_ray_one_of_which_is_killed_write_the_same_file(
    table: Path, whole: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    out, log = tmp_path / "answers.jsonl", tmp_path / "killed"
    arguments = command(table, out, "--engine", "ray", "--workers", 2)
    subprocess.run(
        [sys.executable, "-c", KILLER, str(log), *arguments],
        check=True,
        timeout=300,
        start_new_session=True,
    )
    assert log.exists()
    for record, other in zip(read(out), read(whole), strict=True):
        assert record.pop("score") == pytest.approx(other.pop("score"), abs=1e-5)
        assert record.pop("answerable") == pytest.approx(other.pop("answerable"), abs=1e-5)
        assert record == other


# ---- kill -9 --------------------------------------------------------------------------------


@pytest.mark.proof
def test_kill_9_at_any_time_costs_the_open_part_at_most(
    table: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers.jsonl"
    program = (
        "import sys, time; from vqazoo.cli import main; from vqazoo.evaluation import answer_parts;"
        "answer_parts.PART_ROWS = 32; write = answer_parts.write_file;"
        "answer_parts.write_file = lambda *a: (write(*a), time.sleep(0.3));"
        "main(sys.argv[1:])"
    )
    kept, kills = 0, 0
    for _ in range(12):
        child = python(program, *command(table, out))
        until = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < until:
            parts = list(out.with_name(f"{out.name}.parts").glob("part-*"))
            if len(parts) > kept:
                kept = len(parts)
                os.kill(child.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.02)
        if child.wait(60) == 0:
            break
    assert kills >= 2
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [out]

"""Corrected answers are kept as a table of one's own, and a model learns from it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

import vqazoo
from vqazoo.data import Example
from vqazoo.errors import ConfigError, DataError, QuestionError
from vqazoo.registry import registry
from vqazoo_demo.examples import EXAMPLES
from vqazoo_demo.flagging import FlaggedTable

RED = Image.new("RGB", (8, 6), "red")


@pytest.fixture
def flagged(tmp_path: Path) -> FlaggedTable:
    return FlaggedTable(tmp_path / "flagged.csv")


def read(table: FlaggedTable) -> list[Example]:
    """As `train --data table` reads it."""
    found: list[Example] = registry.build("dataset", "table", train=str(table.file)).read("train")
    return found


def test_the_table_reader_reads_what_was_flagged(flagged: FlaggedTable) -> None:
    assert flagged.add(RED, ' what, "exactly"\nis this? ', "a red  field", "blue (a model)") == 1
    assert flagged.add(RED, "is it red?", "yes|yes|no", "no (a model)") == 2
    one, other = read(flagged)
    assert (one.question, one.answers) == ('what, "exactly" is this?', ("a red field",))
    assert (other.question, other.answers) == ("is it red?", ("yes", "yes", "no"))
    assert one.image == other.image, "one picture is kept once"
    assert len(list(flagged.pictures.iterdir())) == 1
    with Image.open(one.image) as kept:
        assert kept.tobytes() == RED.tobytes()


def test_pictures_are_told_apart_by_shape_too(flagged: FlaggedTable) -> None:
    flagged.add(RED, "what is this?", "wide", "")
    flagged.add(RED.transpose(Image.Transpose.ROTATE_90), "what is this?", "high", "")
    assert len({example.image for example in read(flagged)}) == 2


def test_nothing_but_the_pixels_is_kept_of_a_photograph(
    flagged: FlaggedTable, tmp_path: Path
) -> None:
    exif = RED.getexif()
    exif[0x010E] = "taken at home"
    RED.save(tmp_path / "photo.png", exif=exif)
    with Image.open(tmp_path / "photo.png") as photo:
        flagged.add(photo, "what is this?", "red", "")
    (kept,) = flagged.pictures.iterdir()
    assert b"taken at home" not in kept.read_bytes()


def test_a_model_is_trained_on_what_was_flagged(flagged: FlaggedTable, tmp_path: Path) -> None:
    pictures = [example.paint().resize((64, 64)) for example in EXAMPLES[:3]]
    for picture, name in zip(pictures, ("ellipse", "arrow", "box"), strict=True):
        flagged.add(picture, "what is this called?", name, "no (a model)")
    vqazoo.train(
        out=tmp_path / "run",
        encoder="tiny-clip",
        head="mlp",
        data={"type": "table", "args": {"train": str(flagged.file)}},
        set=["training.epochs=1", "data.validation_fraction=0.34"],
        report=lambda line: None,
    )
    model = vqazoo.load(f"dir:{tmp_path / 'run' / 'best'}")
    assert set(model.answers.texts) <= {"ellipse", "arrow", "box"}
    assert len(model.answers.texts) == 2  # one picture is held out


@pytest.mark.parametrize("answer", ["", "  ", "|", " | "])
def test_an_empty_answer_is_refused_and_nothing_is_written(
    flagged: FlaggedTable, answer: str
) -> None:
    with pytest.raises(DataError, match="right answer is empty: write it in the box"):
        flagged.add(RED, "what is this?", answer, "")
    with pytest.raises(QuestionError, match="empty"):
        flagged.add(RED, " ", "red", "")
    assert not flagged.file.exists()
    assert not flagged.pictures.exists()


def test_rows_of_before_stay_and_a_full_disk_loses_none(
    flagged: FlaggedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged.add(RED, "what is this?", "red", "")
    before = flagged.file.read_bytes()

    def full(file: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vqazoo_demo.flagging.write_file", full)
        with pytest.raises(DataError, match=r"No space left on device.*--flagged"):
            flagged.add(RED, "and this?", "red", "")
    assert flagged.file.read_bytes() == before
    assert FlaggedTable(flagged.file).add(RED, "and this?", "red", "") == 2
    with open(flagged.file, newline="") as handle:
        assert [row["question"] for row in csv.DictReader(handle)] == ["what is this?", "and this?"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"picture,text\na.png,what?\n", "has the columns picture, text"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_is_another_table_is_not_touched(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (file := tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"{said}.*--flagged"):
        FlaggedTable(file)
    assert file.read_bytes() == content


def test_the_file_must_be_a_csv_in_a_folder_that_exists(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"flagged\.txt', but a file that ends in \.csv"):
        FlaggedTable(tmp_path / "flagged.txt")
    with pytest.raises(ConfigError, match="does not exist"):
        FlaggedTable(tmp_path / "nowhere" / "flagged.csv")

"""Pictures in tar files and stores: read where they are, with the keys of their content."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from vqazoo.data import Example, open_dataset, usable
from vqazoo.errors import DataError
from vqazoo.files.elsewhere import place_of
from vqazoo.files.keys import FileKeys
from vqazoo.media.images import open_image
from vqazoo.registry import registry
from vqazoo.testing import check_reader
from vqazoo_datasets.webdataset import expanded


def png(red: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (red, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def tar(file: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file


def sample(key: str, red: int) -> dict[str, bytes]:
    row = {"question": f"which red is {key}?", "answers": [str(red)]}
    return {f"{key}.png": png(red), f"{key}.json": json.dumps(row).encode()}


def read(pattern: object) -> list[Example]:
    reader = open_dataset(f"webdataset:{pattern}", {})
    return [example for split in reader.splits() for example in reader.read(split)]


def test_samples_of_many_files_are_read_in_order(tmp_path: Path) -> None:
    for number in range(3):
        tar(tmp_path / f"train-{number:03d}.tar", sample(f"a{number}", number * 9))
    tar(tmp_path / "val-000.tar", {"b.png": png(7), "b.txt": b"is it red?", "b.cls": b"7"})
    reader = open_dataset(
        f"webdataset:{tmp_path}/{{train-000,train-001,train-002,val-000}}.tar", {}
    )
    assert reader.splits() == ["train", "val"]
    train, (val,) = reader.read("train"), reader.read("val")
    assert [e.question_id for e in train] == ["a0", "a1", "a2"]
    assert [e.answers for e in train] == [("0",), ("9",), ("18",)]
    assert (val.question, val.answers) == ("is it red?", ("7",))
    check_reader(f"webdataset:{tmp_path}/train-{{000..002}}.tar")


@pytest.mark.unpickles
def test_a_picture_is_read_from_its_place_and_known_by_its_content(tmp_path: Path) -> None:
    tar(tmp_path / "train.tar", sample("a", 90) | sample("b", 200))
    first, second = read(tmp_path / "train.tar")
    assert open_image(pickle.loads(pickle.dumps(second.image))).getpixel((0, 0)) == (200, 0, 0)
    assert FileKeys(tmp_path).key(first.image) == hashlib.sha256(png(90)).hexdigest()
    assert usable([first, second], True, tmp_path / "missing.txt") == ([first, second], 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.tar"]


def test_several_questions_share_a_picture(tmp_path: Path) -> None:
    rows = json.dumps([{"question": "what?"}, {"question": "who?"}]).encode()
    asked = read(tar(tmp_path / "0.tar", {"a.png": png(1), "a.json": rows}))
    assert [e.question_id for e in asked] == ["a-1", "a-2"]
    assert asked[0].image == asked[1].image


LABELLED = {
    "question": "is it red?",
    "question_id": "q1",
    "answers": ["yes", "no"],
    "choices": ["yes", "no"],
    "answer_type": "yes/no",
    "question_type": "is it",
    "answerable": True,
    "group": "head",
    "rephrasing_of": "q0",
    "answer_confidence": ["yes", "maybe"],
    "raw_answer": ["Yes!", "No."],
}


def one(tmp_path: Path, row: dict[str, object]) -> Example:
    file = tar(tmp_path / "0.tar", {"a.png": png(1), "a.json": json.dumps(row).encode()})
    (example,) = read(file)
    return example


def test_all_that_a_table_says_of_a_question_is_read(tmp_path: Path) -> None:
    example = one(tmp_path, LABELLED)
    table = tmp_path / "0.jsonl"
    table.write_text(json.dumps({**LABELLED, "image": "a.png"}))
    reader = open_dataset("table", registry.fill("dataset", "table", {"train": str(table)}))
    (expected,) = reader.read("train")
    assert expected == replace(example, image=expected.image)
    assert (example.answer_type, example.question_type) == ("yes/no", "is it")
    assert (example.answerable, example.group) == (True, "head")
    assert example.confidences == ("yes", "maybe")


def test_keys_are_found_as_columns_of_a_table_are(tmp_path: Path) -> None:
    example = one(tmp_path, {"Question": "what?", "label": "cat", "Answer Type": "animal"})
    assert (example.question, example.answers) == ("what?", ("cat",))
    assert example.answer_type == "animal"


def test_a_label_that_is_none_is_told_with_its_sample(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sample 'a': the cell 'answerable' is 'perhaps'"):
        one(tmp_path, {**LABELLED, "answerable": "perhaps"})


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"a.png": png(1)}, "neither 'json' nor 'txt'"),
        ({"a.txt": b"what?"}, "there are 0 pictures"),
        ({"a.png": png(1), "a.json": b"[1]"}, "an object with 'question'"),
        ({"a.png": png(1), "a.json": b"{"}, "not valid"),
        (
            sample("a", 1) | {"z.txt": b"?"} | {f"x/{k}": v for k, v in sample("a", 1).items()},
            "0 p",
        ),
    ],
)
def test_an_incomplete_sample_is_named(
    tmp_path: Path, members: dict[str, bytes], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        read(tar(tmp_path / "a.tar", members))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: data.rindex(b"b.json")],  # at the header of a member
        lambda data: data[:1600],  # inside a member
        lambda data: data[:1024] + b"\xff" * 512 + data[1536:],  # a header
        lambda data: b"no tar at all" * 90,
        lambda data: b"",
    ],
)
def test_a_damaged_tar_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tar(tmp_path / "a.tar", sample("a", 1) | sample("b", 2))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"a\.tar"):
        read(file)


def test_compressed_and_absent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "a.tar")
    with pytest.raises(DataError, match=r"ends in '\.gz'"):
        read(tmp_path / "a.tar.gz")


def test_patterns_are_expanded_as_by_a_shell() -> None:
    assert expanded("a{08..10}.tar") == ["a08.tar", "a09.tar", "a10.tar"]
    assert expanded("{a,b}{0..1}") == ["a0", "a1", "b0", "b1"]
    with pytest.raises(DataError, match="count upwards"):
        expanded("a{3..1}.tar")
    with pytest.raises(DataError, match="braces in braces"):
        expanded("{a{0..1},b}.tar")
    with pytest.raises(DataError, match="count upwards"):
        expanded("a{0..999999999999}.tar")


def test_a_table_and_its_pictures_may_lie_in_a_store() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/vqa/pictures/1.png", png(50))
    store.pipe("/vqa/t.csv", b"image,question,answer\npictures/1.png,what?,red\n")
    store.pipe("/vqa/train.tar", tar_bytes(sample("a", 60)))
    (example,) = open_dataset("table", {"train": "memory://vqa/t.csv"}).read("train")
    assert str(example.image) == "memory://vqa/pictures/1.png"
    assert open_image(example.image).getpixel((0, 0)) == (50, 0, 0)
    (packed,) = read("memory://vqa/train.tar")
    assert open_image(packed.image).getpixel((0, 0)) == (60, 0, 0)


def tar_bytes(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def test_an_object_that_changed_is_another_picture(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    picture = place_of("memory://vqa/changing.png")
    keys = []
    for red in (1, 2):
        store.pipe("/vqa/changing.png", png(red))
        keys += FileKeys(tmp_path).keys([picture])
    assert keys == [hashlib.sha256(png(red)).hexdigest() for red in (1, 2)]


@pytest.mark.parametrize("address", ["https://example.org/1.png", "s3://a//b", "ftp://a/b"])
def test_other_addresses_are_not_read(address: str) -> None:
    with pytest.raises(DataError, match="not read"):
        place_of(address)


def test_a_file_address_is_a_path(tmp_path: Path) -> None:
    assert place_of(f"file://{tmp_path}/1.png") == tmp_path / "1.png"


def test_files_of_the_webdataset_library_are_read_as_it_reads_them(tmp_path: Path) -> None:
    library = pytest.importorskip("webdataset")
    picture = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(picture, "PNG")
    file = tmp_path / "train-000.tar"
    with library.TarWriter(str(file)) as tar:
        for number in range(3):
            said = {"question": f"what is {number}?", "answers": [str(number)]}
            tar.write({"__key__": f"a/{number:03}", "png": picture.getvalue(), "json": said})
    theirs = list(library.WebDataset(str(file), shardshuffle=False))
    ours = open_dataset(f"webdataset:{file}", {}).read("train")
    assert [e.image.read_bytes() for e in ours] == [sample["png"] for sample in theirs]
    assert [e.question_id for e in ours] == [sample["__key__"] for sample in theirs]
    asked = [json.loads(sample["json"]) for sample in theirs]
    assert [(e.question, list(e.answers)) for e in ours] == [
        (a["question"], a["answers"]) for a in asked
    ]

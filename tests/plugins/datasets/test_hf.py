"""The reader of Hugging Face datasets: folders of parquet files, and repositories."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from operator import length_hint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from vqazoo.data import Example
from vqazoo.errors import ConfigError, DataError, UnknownNameError
from vqazoo.registry import registry
from vqazoo_datasets.hf import HuggingFace

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def picture(shade: int, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2), (shade, 0, 0)).save(stream, kind)
    return stream.getvalue()


def row(number: int, shade: int, answers: Any, **other: Any) -> dict[str, Any]:
    return {
        "image": {"bytes": picture(shade), "path": f"{shade}.png"},
        "question": f"what is {number}?",
        "answers": answers,
        "question_id": number,
        **other,
    }


GOOD = [row(7, 1, ["cat", "black cat"]), row(8, 1, ["dog"]), row(9, 2, None)]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def reader(folder: Path | str, **args: str) -> HuggingFace:
    default = {
        "image_column": "image",
        "question_column": "question",
        "answer_column": "answers",
        "id_column": "question_id",
        "choices_column": "choices",
        "data_root": str(Path(folder) / "cache"),
    }
    filled = registry.fill("dataset", "hf:x", {**default, **args})
    return HuggingFace(str(folder), **filled)


def refused(folder: Path, rows: list[dict[str, Any]], **args: str) -> str:
    write(folder / "train.parquet", rows)
    with pytest.raises(DataError) as caught:
        reader(folder, **args).read("train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def unpacked(folder: Path, data: bytes, kind: str = "png") -> Path:
    digest = hashlib.sha256(data).hexdigest()
    return folder / digest[:2] / f"{digest}.{kind}"


# ---- folders --------------------------------------------------------------------------------


def test_a_parquet_file_is_read_in_order_and_its_pictures_are_unpacked(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", GOOD)
    first, second, third = reader(tmp_path).read("train")
    red = unpacked(tmp_path / "cache", picture(1))
    assert first == Example(red, "what is 7?", ("cat", "black cat"), "7")
    assert (second.answers, third.answers) == (("dog",), ())
    assert first.image is second.image
    assert red.read_bytes() == picture(1)
    files = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert sorted(files) == sorted({first.image, third.image})


def test_pictures_are_written_once_and_mended_when_cut(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", GOOD)
    first, _, third = reader(tmp_path).read("train")
    os.utime(first.image, (1, 1))
    third.image.write_bytes(b"cut")
    assert reader(tmp_path).read("train")[2].image.read_bytes() == picture(2)
    assert first.image.stat().st_mtime == 1


def test_without_data_root_pictures_go_to_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "train.parquet", GOOD)
    monkeypatch.setenv("VQAZOO_CACHE", str(tmp_path / "chosen"))
    example = reader(tmp_path, data_root="").read("train")[0]
    assert example.image == unpacked(tmp_path / "chosen/hf", picture(1))
    assert example.image.is_file()
    monkeypatch.delenv("VQAZOO_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    example = reader(tmp_path, data_root="").read("train")[0]
    assert example.image == unpacked(tmp_path / "home/.cache/vqazoo/hf", picture(1))


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("PNG", "png"),
        ("JPEG", "jpg"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tif"),
        ("WEBP", "webp"),
    ],
)
def test_the_ending_is_told_by_the_first_bytes(tmp_path: Path, kind: str, end: str) -> None:
    data = picture(3, kind)
    image = {"bytes": data, "path": None}
    write(tmp_path / "train.parquet", [row(1, 1, "x", image=image)])
    assert reader(tmp_path).read("train")[0].image == unpacked(tmp_path / "cache", data, end)


def test_bytes_of_another_kind_are_kept_and_plain_bytes_are_taken(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [row(1, 1, "x", image=b"what is this")])
    file = unpacked(tmp_path / "cache", b"what is this", "bin")
    assert reader(tmp_path).read("train")[0].image == file
    assert file.read_bytes() == b"what is this"


def test_paths_are_relative_to_the_folder(tmp_path: Path) -> None:
    other = [row(1, 1, "x", image={"bytes": None, "path": "pictures/a.png"})]
    write(tmp_path / "train.parquet", other)
    write(tmp_path / "test.parquet", [row(n, 1, "x", image="/b.png") for n in (1, 2)])
    assert reader(tmp_path).read("train")[0].image == tmp_path / "pictures/a.png"
    one, two = reader(tmp_path).read("test")
    assert one.image is two.image
    assert one.image == Path("/b.png")


def test_splits_are_told_by_the_file_names(tmp_path: Path) -> None:
    write(tmp_path / "data/train-00000-of-00002.parquet", GOOD[:2])
    write(tmp_path / "data/train-00001-of-00002.parquet", GOOD[2:])
    write(tmp_path / "data/validation-00000-of-00001-4ba6.parquet", GOOD[1:])
    write(tmp_path / "test-dev.parquet", GOOD[:1])
    found = reader(tmp_path)
    assert sorted(found.splits()) == ["test-dev", "train", "validation"]
    assert [e.question_id for e in found.read("train")] == ["7", "8", "9"]
    assert [e.question_id for e in found.read("validation")] == ["8", "9"]
    with pytest.raises(UnknownNameError, match=r"Did you mean 'validation'\?"):
        found.read("validaton")


def test_many_rows_are_read_in_batches(tmp_path: Path) -> None:
    rows = [row(n, n % 5, [str(n)]) for n in range(200)]
    write(tmp_path / "train.parquet", rows)
    examples = reader(tmp_path).read("train")
    assert [e.question_id for e in examples] == [str(n) for n in range(200)]
    assert len({id(e.image) for e in examples}) == 5


@pytest.mark.parametrize(
    ("cell", "answers"),
    [
        ("cat", ("cat",)),
        (["cat", " ", "dog "], ("cat", "dog ")),
        ([{"answer": "cat", "answer_id": 1}, {"answer": "dog", "answer_id": 2}], ("cat", "dog")),
        ({"answer": "cat"}, ("cat",)),
        ("", ()),
        ([], ()),
        (None, ()),
    ],
)
def test_answers_may_be_a_text_a_list_or_objects(
    tmp_path: Path, cell: Any, answers: tuple[str, ...]
) -> None:
    write(tmp_path / "train.parquet", [row(1, 1, cell)])
    (example,) = reader(tmp_path).read("train")
    assert (example.answers, example.confidences) == (answers, ())


def test_confidences_are_taken_where_all_answers_have_one(tmp_path: Path) -> None:
    def answers(*confidences: str | None) -> list[dict[str, Any]]:
        return [{"answer": "cat", "answer_confidence": one} for one in confidences]

    told = [("yes", "maybe", "no"), ("yes", None), ("yes", "0.7")]
    rows = [row(n, 1, answers(*each)) for n, each in enumerate(told)]
    write(tmp_path / "train.parquet", rows)
    examples = reader(tmp_path).read("train")
    assert [e.confidences for e in examples] == [("yes", "maybe", "no"), (), ()]
    assert examples[1].answers == ("cat", "cat")


def test_columns_can_be_named_and_others_are_not_read(tmp_path: Path) -> None:
    named = {"picture": "a.png", "text": "what?", "label": "cat", "key": "x", "audio": b"1"}
    write(tmp_path / "train.parquet", [named])
    names = {"image_column": "picture", "question_column": "text", "answer_column": "label"}
    (example,) = reader(tmp_path, **names, id_column="key").read("train")
    assert example == Example(tmp_path / "a.png", "what?", ("cat",), "x")


def test_without_answers_or_ids_there_are_none_and_row_numbers(tmp_path: Path) -> None:
    for part in ("0", "1"):
        rows = [{"image": "a.png", "question": "what?"}] * 2
        write(tmp_path / f"train-0000{part}-of-00002.parquet", rows)
    examples = reader(tmp_path).read("train")
    assert [(e.question_id, e.answers) for e in examples] == [(n, ()) for n in "1234"]


def test_what_the_package_datasets_writes_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    columns: dict[str, list[Any]] = {name: [each[name] for each in GOOD] for name in GOOD[0]}
    features = datasets.Features(
        image=datasets.Image(),
        question=datasets.Value("string"),
        answers=datasets.List(datasets.Value("string")),
        question_id=datasets.Value("int64"),
    )
    made = datasets.Dataset.from_dict(columns, features=features)
    made.to_parquet(str(tmp_path / "train-00000-of-00001.parquet"))
    written = reader(tmp_path).read("train")
    assert [e.image for e in written] == [
        unpacked(tmp_path / "cache", picture(shade)) for shade in (1, 1, 2)
    ]
    assert [e.answers for e in written] == [("cat", "black cat"), ("dog",), ()]


# ---- refused --------------------------------------------------------------------------------


def test_unsuited_folders_and_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="have no parquet files, but <split>"):
        reader(tmp_path)
    with pytest.raises(DataError, match="folder '/no/such/folder' of the dataset 'hf' does not"):
        reader("/no/such/folder", data_root="x")
    with pytest.raises(ConfigError, match="each must be another one"):
        reader(tmp_path, answer_column="question")


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00002",),
        ("train", "train-00000-of-00001"),
        ("train-00000-of-00001", "data/train-00000-of-00001"),
        ("train-00000-of-00002", "train-00001-of-00003"),
    ],
)
def test_files_that_are_no_whole_set_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        write(tmp_path / f"{name}.parquet", GOOD)
    with pytest.raises(DataError, match=r"files of 'train', .* but one whole set was expected"):
        reader(tmp_path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "train.parquet", GOOD)
    whole = file.read_bytes()
    for content in (whole[:-50], b"", b"PAR1" + whole[40:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"is damaged or no parquet file") as caught:
            reader(tmp_path).read("train")
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"image": pa.array([], pa.string()), "question": pa.array([], pa.string())}),
        tmp_path / "train.parquet",
    )
    with pytest.raises(DataError, match="'train' has no rows"):
        reader(tmp_path).read("train")


@pytest.mark.parametrize(
    ("column", "there", "argument"),
    [
        ("image", "images", "image_column"),
        ("question", "Qestion", "question_column"),
        ("answers", "answerz", "answer_column"),
        ("question_id", "question_ids", "id_column"),
    ],
)
def test_a_missing_column_names_those_that_are_there(
    tmp_path: Path, column: str, there: str, argument: str
) -> None:
    renamed = [{there if name == column else name: cell for name, cell in GOOD[0].items()}]
    message = refused(tmp_path, renamed)
    assert f"no column '{column}', but only" in message
    assert f"'{there}'" in message
    assert f"Did you mean '{there}'?" in message
    assert f"argument {argument}" in message


def test_a_column_that_one_file_lacks_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", GOOD[:1])
    write(tmp_path / "train-1.parquet", [{"image": "a.png", "question_id": 5}])
    with pytest.raises(DataError, match=r"train-1\.parquet', row 1: 'question' is None"):
        reader(tmp_path).read("train")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": None}, "'image' is None, but bytes or a path was expected"),
        ({"image": 7}, "'image' is 7, but bytes or a path"),
        ({"image": {"bytes": b"", "path": None}}, "'image' is {'bytes': b'', 'path': None}"),
        ({"question": None}, "'question' is None, but a text was expected"),
        ({"question": " "}, "the question is empty"),
        ({"question": "x" * 2001}, "the question has 2,001 characters"),
        ({"answers": [{"label": "x"}]}, "'answers' is [{'label': 'x'}], but a text"),
        ({"question_id": None}, "'question_id' is None, but a text or a whole number"),
        ({"question_id": 1.5}, "'question_id' is 1.5, but a text or a whole number"),
    ],
)
def test_a_bad_cell_is_named_by_its_row(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    message = refused(tmp_path, [{**GOOD[0], **change}])
    assert f"'{tmp_path / 'train.parquet'}', row 1: {said}" in message


def test_ids_must_be_unique(tmp_path: Path) -> None:
    message = refused(tmp_path, [GOOD[0], GOOD[1], GOOD[0]])
    assert "row 3: the question_id '7' occurs twice" in message
    assert "argument id_column" in message


def test_a_picture_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("a file, no folder")
    message = refused(tmp_path, GOOD, data_root=str(tmp_path / "full"))
    assert "cannot be written" in message
    assert "argument data_root" in message


@pytest.mark.parametrize("name", ["pyarrow", "datasets"])
def test_an_absent_package_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(tmp_path / "train.parquet", GOOD)
    monkeypatch.setitem(sys.modules, name, None)
    found = reader(tmp_path) if name == "pyarrow" else reader("owner/name")
    with pytest.raises(DataError, match=f"'{name}', which is not installed: run  pip install") as e:
        found.read("train")
    assert "'vqazoo[hf]'" in str(e.value)


# ---- repositories ---------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The package datasets with one repository, `owner/name:small`; gives what was asked of it."""
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[Any, ...]] = []
    columns: dict[str, list[Any]] = {name: [each[name] for each in GOOD] for name in GOOD[0]}
    made = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())

    def check(repository: str, config: str | None) -> None:
        if (repository, config) != ("owner/name", "small"):
            raise ValueError(f"BuilderConfig '{config}' not found.\nAvailable: ['small']")

    def names(repository: str, config: str | None) -> list[str]:
        check(repository, config)
        return ["train", "test"]

    def load(repository: str, config: str | None, split: str) -> Any:
        check(repository, config)
        asked.append((repository, config, split))
        if split == "test":
            raise ConnectionError("offline")
        return made

    fake = SimpleNamespace(get_dataset_split_names=names, load_dataset=load, Image=datasets.Image)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return asked


def test_a_repository_is_read_with_its_pictures_undecoded(
    tmp_path: Path, hub: list[tuple[Any, ...]]
) -> None:
    found = reader("owner/name:small", data_root=str(tmp_path))
    assert found.splits() == ["train", "test"]
    first, second, third = found.read("train")
    assert first == Example(unpacked(tmp_path, picture(1)), "what is 7?", ("cat", "black cat"), "7")
    assert first.image is second.image
    assert third.image.read_bytes() == picture(2)
    assert length_hint(found.stream("train")) == 3
    assert hub == [("owner/name", "small", "train")]
    with pytest.raises(UnknownNameError, match="The splits are train, test"):
        found.read("val")


def test_whatever_the_package_raises_is_one_sentence(hub: list[tuple[Any, ...]]) -> None:
    with pytest.raises(DataError, match=r"'owner/name' cannot be loaded \(ValueError: ") as caught:
        reader("owner/name").splits()
    assert "\n" not in str(caught.value)
    assert "Available: ['small']): check name and network" in str(caught.value)
    with pytest.raises(DataError, match=r"with the config 'large' cannot be loaded"):
        reader("owner/name:large").read("train")
    with pytest.raises(DataError, match=r"\(ConnectionError: offline\)"):
        reader("owner/name:small").read("test")


def test_bad_rows_of_a_repository_are_named(tmp_path: Path, hub: list[tuple[Any, ...]]) -> None:
    found = reader(
        "owner/name:small",
        data_root=str(tmp_path),
        answer_column="question_id",
        id_column="answers",
    )
    with pytest.raises(DataError, match="'owner/name:small', split 'train', row 1: 'answers'"):
        found.read("train")


def test_without_a_network_the_real_package_is_one_sentence() -> None:
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match=r"'owner/no-such-name' cannot be loaded") as caught:
        reader("owner/no-such-name").splits()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "said", [b"{", b"[1]", b'{"info": 3}', b'{"info": {"features": [1]}}', b"[" * 100_000, b"\xff"]
)
def test_metadata_that_cannot_be_read_are_told_for_numbers_may_stand_for_names(tmp_path, said):
    table = pa.Table.from_pylist([row(1, 1, 0)]).replace_schema_metadata({"huggingface": said})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match="has metadata of the package datasets that cannot be read"):
        reader(tmp_path).read("train")


@pytest.mark.parametrize("said", [b"{}", b'{"info": null}', b'{"info": {"features": null}}'])
def test_metadata_that_say_nothing_of_the_columns_are_none(tmp_path, said):
    table = pa.Table.from_pylist(GOOD).replace_schema_metadata({"huggingface": said})
    pq.write_table(table, tmp_path / "train.parquet")
    assert [one.answers for one in reader(tmp_path).read("train")][1] == ("dog",)


@pytest.mark.parametrize("later", [0, 1])
def test_a_column_that_only_some_files_of_a_split_have_is_read(tmp_path: Path, later: int) -> None:
    plain = {"image": {"bytes": picture(1), "path": "a.png"}, "question": "what?"}
    more = {"answers": ["x"], "choices": ["x", "y"], "question_id": "q7", "split": "test"}
    for number, columns in enumerate((plain, plain | more) if later else (plain | more, plain)):
        write(tmp_path / f"train-{number:05d}-of-00002.parquet", [columns])
    data = reader(tmp_path, split_column="split")
    assert sorted(data.splits()) == ["test", "train"]
    (example,), (streamed,), (other,) = data.read("test"), data.stream("test"), data.read("train")
    assert example.answers == ("x",)
    for one in (example, streamed):
        assert (one.question_id, one.choices) == ("q7", ("x", "y"))
    assert (other.answers, other.choices) == ((), ())
    assert length_hint(data.stream("test")) == 1


def test_files_of_a_split_whose_classes_differ_are_refused(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for number, names in enumerate((["no", "yes"], ["yes", "no"])):
        features = {
            "question": datasets.Value("string"),
            "answer": datasets.ClassLabel(names=names),
        }
        rows = {"question": ["what?"], "answer": ["yes"]}
        made = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
        made.to_parquet(tmp_path / f"train-{number:05d}-of-00002.parquet")
    with pytest.raises(DataError, match=r"says of the column 'answer' .* as one data set"):
        reader(tmp_path, image_pattern="a.png{question}").read("train")

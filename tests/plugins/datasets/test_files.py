"""Files of releases: plain, gzipped or zipped; lists of JSON, one record at a time."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqazoo.errors import ConfigError, DataError
from vqazoo_datasets.files import (
    data_folder,
    field,
    find_file,
    json_records,
    need_file,
    optional,
    read_lines,
    read_text,
)

TEXT = "first line\nzweite Zeile: Bär 😀\n"


def zipped(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def told(call: Callable[..., object], *given: Any) -> str:
    """The message of the DataError that a call raises; one line that says what to do next."""
    with pytest.raises(DataError) as caught:
        call(*given)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def records(file: Path, key: str | None = None) -> list[dict[str, Any]]:
    return list(json_records(file, key))


# ---- which file -----------------------------------------------------------------------------


def test_a_data_root_is_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset 'vizwiz' needs .*--data-root DIR"):
        data_folder("vizwiz", "")
    absent = tmp_path / "absent"
    message = told(data_folder, "vizwiz", str(absent))
    assert message == f"The data root '{absent}' is not a folder: check --data-root."
    assert data_folder("vizwiz", str(tmp_path)) == tmp_path


def test_the_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert data_folder("vizwiz", "~") == tmp_path


def test_a_plain_file_comes_before_a_packed_one_and_the_first_name_before_others(
    tmp_path: Path,
) -> None:
    assert find_file(tmp_path, ["a.json", "b.json"]) is None
    for name in ("b.json", "a.json.zip", "a.json.gz", "a.json"):
        (tmp_path / name).touch()
        assert find_file(tmp_path, ["a.json", "b.json"]) == tmp_path / name


def test_brackets_in_a_name_are_no_pattern_and_folders_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "a[1].json").touch()
    (tmp_path / "b.json").mkdir()
    assert find_file(tmp_path, ["a[1].json"]) == tmp_path / "a[1].json"
    assert find_file(tmp_path, ["b.json"]) is None
    assert find_file(tmp_path / "elsewhere", [str(tmp_path / "a[1].json")]) is not None


def test_two_files_that_fit_one_pattern_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a1.json").touch()
    assert find_file(tmp_path, ["a*.json"]) == tmp_path / "a1.json"
    (tmp_path / "a2.json").touch()
    message = told(find_file, tmp_path, ["a*.json"])
    assert "holds both 'a1.json' and 'a2.json', but one file was expected" in message


def test_a_file_that_is_not_there_is_named_with_its_folder(tmp_path: Path) -> None:
    message = told(need_file, tmp_path, ["a.json", "b.json"], "questions file")
    assert f"'{tmp_path}' has no questions file: 'a.json' or 'b.json' was expected" in message
    assert "vqazoo data prepare" in message


# ---- text -----------------------------------------------------------------------------------


def test_plain_gzipped_and_zipped_text_is_the_same(tmp_path: Path) -> None:
    data = TEXT.encode()
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "marked.txt").write_bytes(TEXT.encode("utf-8-sig"))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(data))
    zipped(tmp_path / "a.txt.zip", {"folder/": b"", "folder/other name.txt": data})
    zipped(tmp_path / "mac.txt.zip", {"a.txt": data, "__MACOSX/._a.txt": b"\x00\x05"})
    for name in ("a.txt", "marked.txt", "a.txt.gz", "a.txt.zip", "mac.txt.zip"):
        assert read_text(tmp_path / name) == TEXT


def test_lines_are_stripped_and_only_blank_ones_at_the_end_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b" a \r\n\r\n\tb\n\n \n")
    assert read_lines(file) == ["a", "", "b"]
    file.write_bytes(b"")
    assert read_lines(file) == []


@pytest.mark.parametrize("keep", [1, 5, 12, 30, -9, -1])
def test_a_truncated_gz_is_told(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "a.json.gz"
    file.write_bytes(gzip.compress(TEXT.encode() * 9)[:keep])
    message = told(read_text, file)
    assert f"'{file}' is truncated or damaged (" in message
    assert "get the file again" in message


def test_a_damaged_or_foreign_archive_is_told(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"x" * 500))
    packed[-6] ^= 1  # of the checksum
    for name, content in (
        ("a.gz", bytes(packed)),
        ("b.gz", b"<html>"),
        ("c.zip", b"<html>"),
        ("d.zip", b""),
        ("e.zip", zipped(tmp_path / "whole.zip", {"a": b"x" * 500}).read_bytes()[:60]),
    ):
        (tmp_path / name).write_bytes(content)
        assert "is truncated or damaged" in told(read_text, tmp_path / name)


def test_an_encrypted_zip_is_told(tmp_path: Path) -> None:
    data = bytearray(zipped(tmp_path / "a.zip", {"a": b"x"}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    message = told(read_text, tmp_path / "a.zip")
    assert "password" in message


@pytest.mark.parametrize("count", [0, 2])
def test_a_zip_must_hold_one_file(tmp_path: Path, count: int) -> None:
    file = zipped(tmp_path / "a.zip", {f"{i}.json": b"[]" for i in range(count)})
    message = told(read_text, file)
    assert f"'{file}' holds {count} files, but one was expected: unzip it" in message


def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    message = told(read_text, tmp_path)  # a folder
    assert "cannot be read" in message
    assert "damaged" not in message


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_text_that_is_not_utf8_names_line_and_byte(tmp_path: Path, mark: bytes) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(mark + b"one\ntwo\n\xe9t\xe9\n")
    assert f"'{file}', line 3: the byte 0xe9 is not UTF-8" in told(read_text, file)


# ---- JSON -----------------------------------------------------------------------------------

LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUE = st.recursive(
    LEAF,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(st.text(max_size=5), VALUE, max_size=4), max_size=5)
COMMON = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@COMMON
@given(
    rows=RECORDS,
    others=st.dictionaries(st.text(max_size=9), VALUE, max_size=3),
    first=st.booleans(),
    ascii_only=st.booleans(),
    style=st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}, {"indent": "\t"}]),
)
def test_records_are_what_the_json_module_reads(
    tmp_path: Path,
    rows: list[Any],
    others: dict[str, Any],
    first: bool,
    ascii_only: bool,
    style: dict[str, Any],
) -> None:
    file = tmp_path / "a.json"
    others.pop("annotations", None)
    own = {"annotations": rows}
    document = own | others if first else others | own
    file.write_text(json.dumps(document, ensure_ascii=ascii_only, **style), encoding="utf-8")
    assert records(file, "annotations") == json.loads(file.read_bytes())["annotations"]
    file.write_text(json.dumps(rows, ensure_ascii=ascii_only, **style), encoding="utf-8")
    assert records(file) == json.loads(file.read_bytes())


def test_whitespace_escapes_and_nested_keys_of_that_name_do_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(
        ' \r\n{\t"info" : {"questions": [1, "]"]} ,\n"a\\"b": "questions", "questions"\t:\n [ '
        '{"q" : "\\u00e4 \\ud83d\\ude00 \\"]}, \\\\"} \n, {"q": "日本 }]"} ] , "end": [[]] } \n'
    )
    assert [r["q"] for r in records(file, "questions")] == ['ä 😀 "]}, \\', "日本 }]"]


@pytest.mark.parametrize("text", ['{"a": []}', '{ "b": 1, "a": [ \n ] }', '{"a":[],"b":2}'])
def test_an_empty_list_has_no_records(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert records(tmp_path / "a.json", "a") == []
    (tmp_path / "a.json").write_text(" [ ] ")
    assert records(tmp_path / "a.json") == []


def test_records_come_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"a": 1}, {"a": 2}, broken')
    stream = json_records(tmp_path / "a.json")
    assert [next(stream), next(stream)] == [{"a": 1}, {"a": 2}]
    assert "is not valid JSON or cut off" in told(next, stream)


@pytest.mark.parametrize("key", [None, "a"])
def test_a_document_cut_off_anywhere_is_told(tmp_path: Path, key: str | None) -> None:
    rows = [{"image": "x", "n": [1, {"y": None}]}, {"image": "ö"}]
    whole = json.dumps(rows if key is None else {"info": {"v": "2"}, "a": rows, "z": True})
    file = tmp_path / "a.json"
    for cut in range(len(whole)):
        file.write_text(whole[:cut])
        assert str(file) in told(records, file, key)


BROKEN = [
    '[{"a": 1},]',
    "[,]",
    '[{"a": 1} {"a": 2}]',
    "[] []",
    "[] x",
    "{",
    "",
    "nonsense",
    '[{"a": 01}]',
    "[{'a': 1}]",
    '[{"a": "\n"}]',
    "[" * 100_000,
    '[{"a": ' + "9" * 5000 + "}]",
]


@pytest.mark.parametrize("text", BROKEN, ids=[text[:12] for text in BROKEN])
def test_what_the_json_module_refuses_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    for written, key in ((text, None), (f'{{"a": {text}}}', "a"), (f'{{"b": {text}}}', "a")):
        with pytest.raises((ValueError, RecursionError)):
            json.loads(written)
        file.write_text(written)
        told(records, file, key)


@pytest.mark.parametrize("text", ['{"a": [],}', '{1: 2, "a": []}', '{"a" []}', '{"a": []', "{}}"])
def test_a_broken_top_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    told(records, tmp_path / "a.json", "a")


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ('{"a": []}', None, "has no list: "),
        ('{"a": {}}', "a", "has no list under 'a'"),
        ('{"b": []}', "a", "has no key 'a'"),
        ("{}", "a", "has no key 'a'"),
        ("[]", "a", "is no JSON object with the key 'a'"),
        ("[{}, 7]", None, "record 2: this is '7', but an object was expected"),
        ('{"a": [null]}', "a", "record 1: this is 'None', but an object"),
        ('[{}, {"a": ["\\ud83d"]}]', None, "record 2: it holds half a character"),
    ],
)
def test_another_document_than_expected_is_told(
    tmp_path: Path, text: str, key: str | None, said: str
) -> None:
    (tmp_path / "a.json").write_text(text)
    message = told(records, tmp_path / "a.json", key)
    assert said in message
    assert "get the file again" in message


def test_a_field_must_be_there_and_of_its_type() -> None:
    record = {"a": "x", "n": 7, "t": True, "null": None}
    assert field(record, "a", str, "here") == "x"
    assert field(record, "n", (int, str), "here") == 7
    assert optional(record, "n", int, None, "here") == 7
    assert optional(record, "null", str, "", "here") == optional(record, "b", str, "", "") == ""
    for name, kind, said in (
        ("b", str, "here: 'b' is missing, but str was expected"),
        ("n", str, "here: 'n' is 7, but str was expected"),
        ("t", int, "here: 't' is True, but int was expected"),
        ("null", str, "here: 'null' is None, but str was expected"),
        ("a", (int, list), "here: 'a' is 'x', but int or list was expected"),
    ):
        assert said in told(field, record, name, kind, "here")
    assert "'n' is 7" in told(optional, record, "n", str, "", "here")

"""Text files that users write are read by one reader, whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vqazoo.data.text_files import decoded, json_objects
from vqazoo.errors import DataError
from vqazoo_datasets.files import read_text
from vqazoo_datasets.rows import read_rows
from vqazoo_pretraining.captions import read_pairs

MARK = b"\xef\xbb\xbf"  # of a byte order, which some editors write first


@pytest.mark.parametrize("read", [read_rows, read_text, lambda file: read_pairs([file])])
def test_the_byte_that_is_no_text_is_named_also_behind_a_byte_order_mark(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(MARK + b"image,question,caption\na.png,x,caf\xe9\n")
    with pytest.raises(DataError, match=r"a\.csv', line 2: the byte 0xe9 is not UTF-8: "):
        read(file)


def test_a_byte_order_mark_is_no_character() -> None:
    assert decoded(MARK + b"yes", Path("a.txt")) == "yes"


def test_objects_come_with_the_number_of_their_line() -> None:
    text = '{"a": "x\u2028y"}\n\n  \n{"b": 1}\r\n'
    assert list(json_objects(Path("a"), text, "{}")) == [(1, {"a": "x\u2028y"}), (4, {"b": 1})]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", r"line 2: this is not valid JSON .* such as EXAMPLE"),
        ("[" * 100_000, r"line 2: this is not valid JSON"),
        ("true", r"line 2: this is a JSON boolean, but an object"),
        (r'{"a": ["\uD83D"]}', r"line 2: .*half a character"),
    ],
)
def test_a_line_that_is_no_object_is_told(line: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        list(json_objects(Path("a"), "{}\n" + line, "EXAMPLE"))

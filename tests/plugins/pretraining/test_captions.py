"""Reading captioned pictures: formats, what is wrong with a row, parts without common pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vqazoo.errors import DataError
from vqazoo_pretraining.captions import Pair, check_pictures, read_pairs, split

COCO = {
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
    "annotations": [
        {"id": 1, "image_id": 9, "caption": "a dog "},
        {"id": 2, "image_id": 7, "caption": "a cat\n on a mat"},
    ],
}


def test_three_formats_tell_the_same(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"image": "b.png", "caption": "a dog", "id": 1}\n\n'
        '{"image": "a.png", "caption": " a cat on a  mat", "id": "2"}\n'
    )
    (tmp_path / "a.csv").write_text('id,image,caption\n1,b.png,a dog\n2,a.png,"a cat on a mat"\n')
    (tmp_path / "a.json").write_text(json.dumps(COCO))
    expected = [
        Pair(tmp_path / "b.png", "a dog", "1"),
        Pair(tmp_path / "a.png", "a cat on a mat", "2"),
    ]
    for name in ("a.jsonl", "a.csv", "a.json"):
        assert read_pairs([tmp_path / name]) == expected
    both = read_pairs([tmp_path / "a.csv", tmp_path / "a.json"])
    assert both == expected * 2


def test_known_truth_is_read_from_both_kinds_of_rows(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"image": "b.png", "caption": "x", "correct": false}\n')
    (tmp_path / "a.csv").write_text("image,caption,correct\nb.png,x,True\nb.png,y,\n")
    found = [pair.correct for pair in read_pairs([tmp_path / "a.jsonl", tmp_path / "a.csv"])]
    assert found == [False, True, None]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "x", "ends in '.txt'"),
        ("a.jsonl", "", "has no captions"),
        ("a.jsonl", '{"image": "a.png", "caption": "x"}\n{"image"', "line 2: this is not valid"),
        ("a.jsonl", '["a.png", "x"]', "line 1: this is a JSON list"),
        ("a.jsonl", r'{"image": "a.png", "caption": "\ud83d"}', "half a character"),
        ("a.jsonl", '{"image": "a.png", "captions": "x"}', "Did you mean 'captions'"),
        ("a.jsonl", '{"image": "a.png", "caption": 3}', "'caption' is 3"),
        ("a.jsonl", '{"image": "a.png", "caption": " "}', "'caption' is"),
        ("a.jsonl", '{"image": "a.png", "caption": "x", "correct": 1}', "'correct' is 1"),
        ("a.jsonl", '{"image": "a.png", "caption": "%s"}' % ("x" * 2001), "2,001 characters"),
        ("a.csv", "picture,caption\na,b\n", "no column 'image'"),
        ("a.csv", "image,caption\na.png,a,b\n", "line 2: the number of cells"),
        ("a.csv", 'image,caption\na.png,"a"b\n', "line 2: the row is not valid"),
        ("a.json", "[", "not valid JSON"),
        ("a.json", '{"annotations": []}', "no list 'images'"),
        ("a.json", '{"images": [{"id": 1}], "annotations": []}', "image 1: "),
        ("a.json", '{"images": [], "annotations": [{"image_id": 1}]}', "annotation 1: "),
    ],
)
def test_what_is_wrong_is_told_with_file_and_row(tmp_path, name, content, told):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        read_pairs([tmp_path / name])
    assert name in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(DataError, match="do not exist"):
        read_pairs([tmp_path / "no.jsonl"])
    (tmp_path / "a.jsonl").write_bytes(b'{"image":\n"\xff"}')
    with pytest.raises(DataError, match="line 2: the byte 0xff"):
        read_pairs([tmp_path / "a.jsonl"])


def test_pictures_that_do_not_exist_are_counted(tmp_path):
    (tmp_path / "a.png").touch()
    pairs = [Pair(tmp_path / f"{n}.png", "x", n) for n in "abc"]
    with pytest.raises(DataError, match=r"2 of 3 rows .*b\.png' \(id b\)"):
        check_pictures(pairs)
    check_pictures(pairs[:1])


def test_no_picture_is_in_both_parts():
    pairs = [Pair(Path(f"{n % 10}.png"), f"caption {n}", str(n)) for n in range(30)]
    train, held_out = split(pairs, 0.2, seed=0)
    assert len({pair.image for pair in held_out}) == 2
    assert not {pair.image for pair in train} & {pair.image for pair in held_out}
    assert sorted(train + held_out, key=lambda pair: int(pair.id)) == pairs
    assert split(pairs, 0.2, seed=0) == (train, held_out)
    assert split(pairs, 0.2, seed=1) != (train, held_out)
    with pytest.raises(DataError, match="1 distinct picture"):
        split(pairs[:1], 0.5, seed=0)

"""DAQUAR in its official forms: pairs of one split, or all pairs and lists of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqazoo.data import DatasetReader, Example, open_dataset
from vqazoo.errors import DataError, UnknownNameError

PAIRS = [
    ("what is on the right side of the black telephone in the image3 ?", "desk"),
    ("what is on the wall in the image5 ?", "table, chair"),
    ("how many chairs are there in the image3 ?", "6"),
    ("what is under the desk in the image12 ?", "garbage_bin"),
]


def lines(pairs: list[tuple[str, str]]) -> str:
    return "".join(f"{question}\n{answer}\n" for question, answer in pairs)


def release(root: Path, pairs: list[tuple[str, str]] = PAIRS) -> None:
    (root / "all_qa_pairs.txt").write_text(lines(pairs))
    (root / "train_images_list.txt").write_text("image3\nimage12\nimage4")
    (root / "test_images_list.txt").write_text("image5\r\n\r\n")


def reader(root: Path) -> DatasetReader:
    return open_dataset("daquar", {"data_root": str(root)})


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        reader(root).read("train")
    message = str(caught.value)
    assert str(root) in message
    assert message.endswith("vqazoo data prepare.")
    return message


def test_all_pairs_are_split_by_the_lists_of_images(tmp_path: Path) -> None:
    release(tmp_path)
    assert reader(tmp_path).splits() == ["train", "test"]
    found = reader(tmp_path).read("train")
    picture = tmp_path / "images" / "image3.jpg"
    assert found[0] == Example(
        picture, "what is on the right side of the black telephone?", ("desk",), "1"
    )
    assert [e.question_id for e in found] == ["1", "3", "4"]
    assert [e.image.name for e in found] == ["image3.jpg", "image3.jpg", "image12.jpg"]
    assert found[0].image is found[1].image
    assert [e.question_id for e in reader(tmp_path).read("test")] == ["2"]


def test_pairs_of_one_split_need_no_list_and_come_first(tmp_path: Path) -> None:
    (tmp_path / "qa.894.raw.test.txt").write_text(lines(PAIRS[:2]))
    assert reader(tmp_path).splits() == ["test"]
    assert [e.image.name for e in reader(tmp_path).read("test")] == ["image3.jpg", "image5.jpg"]
    release(tmp_path)
    assert len(reader(tmp_path).read("test")) == 2
    assert len(reader(tmp_path).read("train")) == 3


def test_several_things_are_kept_as_published_and_learnt_in_the_order_of_the_alphabet(
    tmp_path: Path,
) -> None:
    for answer in ("table, chair", "chair,table", " table ,chair, table,"):
        (tmp_path / "qa.894.raw.train.txt").write_text(lines([(PAIRS[0][0], answer)]))
        (found,) = reader(tmp_path).read("train")
        assert (found.answers, found.to_learn) == ((answer.strip(),), ("chair, table",))
    (tmp_path / "qa.894.raw.train.txt").write_text(lines([(PAIRS[0][0], "f,c,a,e,b,g,d")]))
    assert reader(tmp_path).read("train")[0].to_learn == ("a, b, c, d, e, f, g",)


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("what is there in the image7 ?", "what is there?"),
        ("what is there in this image7 ?", "what is there?"),
        ("what is there in image7?", "what is there?"),
        ("what is there in the image 7", "what is there?"),
        ("what is on the left side of the image7 ?", "what is on the left side?"),
        ("what is there, in the image7 ?", "what is there?"),
        ("what is in the image7 on the floor in the image7 ?", "what is on the floor?"),
        ("what is left of the image1 in the image7 ?", "what is left?"),
        ("what is the image7 in the mirror ?", "what is in the mirror?"),
        ("what is the image on the wall in the image7 ?", "what is the image on the wall?"),
        ("what is on the desk in th eimage7 ?", "what is on the desk?"),  # as in the release
        ("what is on the desk in theimage7 ?", "what is on the desk?"),
        ("what shows the subimage7 in the image7 ?", "what shows the subimage7?"),
    ],
)
def test_the_name_of_the_image_is_taken_out(tmp_path: Path, asked: str, read: str) -> None:
    (tmp_path / "qa.894.raw.train.txt").write_text(lines([(asked, "x")]))
    (example,) = reader(tmp_path).read("train")
    assert example.question == read
    assert example.image.name == "image7.jpg"


def test_pictures_may_be_png(tmp_path: Path) -> None:
    release(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "image3.png").touch()
    assert reader(tmp_path).read("train")[2].image == tmp_path / "images" / "image12.png"


def test_a_split_that_is_not_there_is_told_with_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'qa\.894\.raw\.train\.txt' or 'all_qa_pairs\.txt' or "):
        reader(tmp_path).check_split("train")
    release(tmp_path)
    (tmp_path / "train_images_list.txt").unlink()
    assert reader(tmp_path).splits() == ["test"]
    with pytest.raises(
        DataError, match=r"no list of the images of 'train': 'train_images_list\.txt'"
    ):
        reader(tmp_path).read("train")
    with pytest.raises(UnknownNameError, match=r"'tests'\. Did you mean 'test'\?"):
        reader(tmp_path).read("tests")


def test_an_odd_number_of_lines_is_cut_off(tmp_path: Path) -> None:
    release(tmp_path)
    (tmp_path / "all_qa_pairs.txt").write_text(lines(PAIRS) + "what is in the image3 ?\n")
    assert "has 9 lines, but questions and answers alternate: it is cut off" in refused(tmp_path)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what is on the wall ?", "desk"),  # no image
        ("what is in the image ?", "desk"),
        ("in the image3 ?", "desk"),  # nothing else
        ("", "desk"),
        (PAIRS[0][0], ""),
        (PAIRS[0][0], " , "),
        ("desk", PAIRS[0][0]),  # a line is missing before
    ],
)
def test_a_bad_pair_is_named_by_its_line(tmp_path: Path, question: str, answer: str) -> None:
    release(tmp_path, [PAIRS[0], (question, answer), PAIRS[1]])
    message = refused(tmp_path)
    assert f"all_qa_pairs.txt', line 3: the question {question[:60]!r}" in message
    assert "lacks the name of an image, other words or an answer" in message

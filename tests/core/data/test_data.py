"""Readers by name, pictures that are there, questions refused, splits by image, the digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqazoo.data import (
    DatasetReader,
    Example,
    check_question,
    digest,
    open_dataset,
    present,
    split_by_image,
)
from vqazoo.errors import ConfigError, DataError, QuestionError, UnknownNameError


def examples(images: int, each: int = 3) -> list[Example]:
    return [
        Example(Path(f"{image}.png"), f"question {i}?", ("yes",), f"{image}-{i}")
        for i in range(each)
        for image in range(images)
    ]


def test_questions_are_stripped_and_bad_ones_refused() -> None:
    assert check_question("  what is this?\n") == "what is this?"
    assert check_question("日本語は? 😀") == "日本語は? 😀"
    assert len(check_question("x" * 2000)) == 2000
    for question, said in (
        ("", "The question is empty"),
        (" \n ", "The question is empty"),
        ("x" * 10_000, "has 10,000 characters, but at most 2,000 are read"),
        ("caf\udce9?", r"holds the broken character '\\udce9'"),
    ):
        with pytest.raises(QuestionError, match=said):
            check_question(question)


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.3, 0.99, 1.0])
def test_no_image_is_on_both_sides_and_no_question_is_lost(fraction: float) -> None:
    everything = examples(20)
    kept, held_out = split_by_image(everything, fraction, seed=0)
    assert kept
    assert held_out
    assert not {e.image for e in kept} & {e.image for e in held_out}
    order = {e.question_id: i for i, e in enumerate(everything)}
    for side in (kept, held_out):
        places = [order[e.question_id] for e in side]
        assert places == sorted(places)
    assert len(kept) + len(held_out) == len(everything)
    assert len({e.image for e in held_out}) == min(max(1, round(20 * fraction)), 19)


def test_the_split_depends_on_the_seed_alone() -> None:
    everything = examples(20)
    again = split_by_image(everything[::-1], 0.3, seed=0)[1]
    assert {e.image for e in split_by_image(everything, 0.3, seed=0)[1]} == {e.image for e in again}
    other = split_by_image(everything, 0.3, seed=1)[1]
    assert {e.image for e in other} != {e.image for e in again}
    with pytest.raises(DataError, match="there is 1 distinct image, but at least 2 are needed"):
        split_by_image(examples(1), 0.3, seed=0)


def test_the_digest_tells_any_change_but_that_of_the_folder() -> None:
    plain = Example(Path("a/1.png"), "what?", ("cat", "dog"), "1")
    moved = Example(Path("b/1.png"), "what?", ("cat", "dog"), "1")
    assert digest([plain]) == digest([moved])
    others = [
        Example(Path("a/2.png"), "what?", ("cat", "dog"), "1"),
        Example(Path("a/1.png"), "who?", ("cat", "dog"), "1"),
        Example(Path("a/1.png"), "what?", ("catdog",), "1"),
        Example(Path("a/1.png"), "what?", ("dog", "cat"), "1"),
        Example(Path("a/1.png"), "what?", ("cat", "dog"), "2"),
    ]
    digests = {digest(rows) for rows in ([plain], [plain, plain], [], *([o] for o in others))}
    assert len(digests) == 8


# ---- readers by name ------------------------------------------------------------------------


def test_a_dataset_is_opened_by_its_name_with_the_defaults_of_its_manifest(table: Path) -> None:
    reader = open_dataset("table", {"train": str(table)})
    assert isinstance(reader, DatasetReader)
    assert reader.splits() == ["train"]
    assert len(reader.read("train")) == 72


def test_an_unknown_dataset_or_argument_is_refused_with_a_suggestion(table: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'vizwiz'"):
        open_dataset("vizwis", {})
    with pytest.raises(ConfigError, match=r"trian.*Did you mean 'train'"):
        open_dataset("table", {"trian": str(table)})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("table:x", "The dataset 'table' takes nothing, but 'x' was given: write 'table'."),
        ("hf", "'hf' takes a repository, .* after a colon, but '' was given: write 'hf:...'."),
        ("hf:", "after a colon, but '' was given"),
    ],
)
def test_a_variant_is_given_where_one_is_taken(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_dataset(name, {})


class Fixed(DatasetReader):
    def splits(self) -> list[str]:
        return ["train", "val"]

    def read(self, split: str) -> list[Example]:
        return []


def test_an_unknown_split_is_refused_with_a_suggestion() -> None:
    Fixed().check_split("val")
    with pytest.raises(UnknownNameError) as caught:
        Fixed().check_split("vall")
    assert str(caught.value) == (
        "Unknown split 'vall'. Did you mean 'val'? The splits are train, val."
    )


# ---- pictures that are there ----------------------------------------------------------------


@pytest.fixture
def some(tmp_path: Path) -> list[Example]:
    """Two questions about each of 0.png to 4.png, of which 0.png and 3.png are there."""
    for name in ("0.png", "3.png"):
        (tmp_path / name).touch()
    return [
        Example(tmp_path / f"{n % 5}.png", "what?", (), str(n))
        for n in (3, 1, 4, 0, 2, 8, 6, 9, 5, 7)
    ]


def test_nothing_is_written_if_every_picture_is_there(some: list[Example], tmp_path: Path) -> None:
    whole = [example for example in some if example.image.is_file()]
    for skip in (False, True):
        assert present(whole, skip, tmp_path / "out" / "missing.txt") == (whole, 0)
    assert present([], False, tmp_path / "out" / "missing.txt") == ([], 0)
    assert not (tmp_path / "out").exists()


def test_questions_without_their_picture_are_left_out_on_demand(
    some: list[Example], tmp_path: Path
) -> None:
    kept, left_out = present(some, True, tmp_path / "out" / "missing.txt")
    assert [example.question_id for example in kept] == ["3", "0", "8", "5"]
    assert left_out == 6
    listed = (tmp_path / "out" / "missing.txt").read_text().splitlines()
    assert listed == [str(tmp_path / f"{n}.png") for n in (1, 2, 4)]


def test_missing_pictures_stop_with_one_sentence(some: list[Example], tmp_path: Path) -> None:
    file = tmp_path / "out" / "missing.txt"
    with pytest.raises(DataError) as caught:
        present(some, False, file)
    assert str(caught.value) == (
        f"3 of 5 pictures do not exist, such as '{tmp_path / '1.png'}' (all in '{file}'): fetch "
        f"them, or leave out 6 questions with --skip-missing."
    )
    assert len(file.read_text().splitlines()) == 3


def test_without_a_file_the_sentence_names_the_first_few() -> None:
    with pytest.raises(DataError, match=r"20 of 20 pictures do not exist, such as .* and 17 more:"):
        present(examples(20), True, None)
    with pytest.raises(DataError, match=r"1 of 1 pictures does not exist, '[^']+': check"):
        present(examples(1), True, None)


@pytest.mark.parametrize("skip", [False, True])
def test_if_every_picture_is_missing_the_folder_is_wrong(tmp_path: Path, skip: bool) -> None:
    file = tmp_path / "missing.txt"
    with pytest.raises(DataError, match=r"^20 of 20 pictures .*: check the data root, or image_ro"):
        present(examples(20), skip, file)


def test_odd_names_and_folders_are_missing_pictures(some: list[Example], tmp_path: Path) -> None:
    odd = [Path("x" * 5000), Path("a\0.png"), tmp_path]
    rows = [some[0], *(Example(image, "what?", (), "x") for image in odd)]
    assert present(rows, True, tmp_path / "missing.txt") == (some[:1], 3)

"""WUPS against hand-worked sets and nltk's own similarity; no WordNet means an error."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqazoo.errors import DataError
from vqazoo.evaluation.metrics import wups as module
from vqazoo.evaluation.metrics.wups import (
    DOWN,
    NEEDED,
    VARIABLE,
    Similarity,
    things,
    wordnet_folder,
    wordnet_similarity,
    wups,
)

SIMILAR = {frozenset(("table", "chair")): 0.8, frozenset(("table", "desk")): 0.95}


def toy(first: str, second: str) -> float:
    """Table and desk are close, table and chair less so, anything else is unlike."""
    return 1.0 if first == second else SIMILAR.get(frozenset((first, second)), 0.0)


# ---- sets, by hand ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "truth", "at_0", "at_9"),
    [
        ("table", "table", 1, 1),
        ("chair", "table", 0.8, 0.08),
        ("desk", "table", 0.95, 0.95),
        ("cow", "table", 0, 0),
        ("table, chair", "table", 0.8, 0.08),  # one way 1 x 0.8, the other 1
        ("table", "table, chair", 0.8, 0.08),
        ("chair, table", "table,chair", 1, 1),
        ("table, table", "table", 1, 1),
        ("Table", " tABLE ", 1, 1),
        ("table,, ,", "table", 1, 1),
        ("desk, chair", "table", 0.76, 0.076),  # 0.95 x 0.8, and 0.95 x 0.08
        ("desk", "table, chair", 0.0, 0.0),  # a desk is nothing like a chair here
        ("table, cow", "table", 0, 0),
        ("3", "3", 1, 1),
        ("3", "4", 0, 0),
        ("", "", 1, 1),
        ("", "table", 0, 0),
        ("table", "", 0, 0),
        (" , ", "table", 0, 0),
    ],
)
def test_sets_worked_by_hand(answer: str, truth: str, at_0: float, at_9: float) -> None:
    assert wups(answer, truth, 0.0, toy) == pytest.approx(at_0, abs=1e-12)
    assert wups(answer, truth, 0.9, toy) == pytest.approx(at_9, abs=1e-12)


def test_a_similarity_at_the_threshold_counts_in_full_and_one_below_a_tenth() -> None:
    assert wups("chair", "table", 0.8, toy) == 0.8
    assert wups("chair", "table", math.nextafter(0.8, 1), toy) == pytest.approx(0.8 * DOWN)
    assert wups("desk", "table", 0.96, toy) == pytest.approx(0.095)
    assert wups("desk", "table", 1.0, toy) == pytest.approx(0.095)


def test_things_are_the_distinct_parts_between_commas() -> None:
    assert things("Chair, table ,chair,, Stop Sign") == ["chair", "table", "stop sign"]
    assert things("") == things(" ,") == []


@given(
    st.lists(st.sampled_from(["table", "chair", "desk", "cow"]), max_size=4),
    st.lists(st.sampled_from(["table", "chair", "desk", "cow"]), max_size=4),
    st.sampled_from([0.0, 0.9]),
)
def test_wups_is_symmetric_in_range_and_one_for_equal_sets(
    said: list[str], wanted: list[str], threshold: float
) -> None:
    value = wups(",".join(said), ",".join(wanted), threshold, toy)
    assert value == pytest.approx(wups(",".join(wanted), ",".join(said), threshold, toy))
    assert 0.0 <= value <= 1.0
    assert (value == 1.0) == (set(said) == set(wanted))


# ---- real WordNet -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def similarity() -> Iterator[Similarity]:
    pytest.importorskip("nltk")
    wordnet_similarity.cache_clear()
    try:
        yield wordnet_similarity()
    except DataError as error:
        pytest.skip(f"needs WordNet 3.0: {error}")
    wordnet_similarity.cache_clear()


WORDS = ["chair", "table", "dog", "cat", "red", "blue", "two", "3", "lamp", "stop sign", "qqqq", ""]


@pytest.mark.filterwarnings("ignore:The multilingual")
def test_similarity_is_the_largest_of_nltks_over_all_noun_senses(
    similarity: Similarity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Net(WordNetCorpusReader):
        def map_wn(self, version: str = "wordnet") -> None:
            """Without nltk's own copy of WordNet."""

    for file in wordnet_folder().iterdir():  # nltk itself needs the line ends of Unix
        (tmp_path / file.name).write_bytes(file.read_bytes().replace(b"\r\n", b"\n"))
    tmp_path.chmod(0o700)
    monkeypatch.setattr(nltk.data, "path", [*nltk.data.path, str(tmp_path)])
    net: Any = Net(str(tmp_path), omw_reader=None)
    for first in WORDS:
        for second in WORDS:
            expected = 1.0 if first == second else 0.0
            if first != second:
                for one in net.synsets(first.replace(" ", "_"), "n"):
                    for other in net.synsets(second.replace(" ", "_"), "n"):
                        expected = max(expected, net.wup_similarity(one, other) or 0.0)
            assert similarity(first, second) == pytest.approx(expected), (first, second)


def test_known_values_of_wordnet(similarity: Similarity) -> None:
    assert similarity("dog", "cat") == pytest.approx(0.857, abs=1e-3)
    assert similarity("couch", "sofa") == 1.0  # one sense in common
    assert similarity("chairs", "chair") == 1.0  # plurals are reduced by WordNet
    assert similarity("qqqq", "qqqq") == 1.0
    assert similarity("qqqq", "chair") == 0.0
    assert similarity("quickly", "dog") == 0.0  # no noun
    assert similarity("stop sign", "dog") == similarity("dog", "stop sign")


def test_wups_of_real_words(similarity: Similarity) -> None:
    near = similarity("dog", "cat")
    assert wups("dog", "cat", 0.0, similarity) == pytest.approx(near)
    assert wups("dog", "cat", 0.9, similarity) == pytest.approx(DOWN * near)
    assert wups("sofa, lamp", "lamp, couch", 0.9, similarity) == 1.0
    assert 0.0 < wups("2", "3", 0.9, similarity) < 0.2


# ---- no WordNet ---------------------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Nothing opened before, and no WordNet named."""
    wordnet_similarity.cache_clear()
    monkeypatch.delenv(VARIABLE, raising=False)
    yield monkeypatch
    wordnet_similarity.cache_clear()


def fake_wordnet(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in NEEDED:
        (folder / name).touch()
    return folder


def test_without_nltk_there_is_an_error_that_names_it(fresh: pytest.MonkeyPatch) -> None:
    fresh.setitem(sys.modules, "nltk", None)
    with pytest.raises(DataError, match=r"'nltk', which is not installed.*vqazoo\[wups\]"):
        wordnet_similarity()


def test_without_nltk_a_named_wordnet_does_not_help(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh.setenv(VARIABLE, str(fake_wordnet(tmp_path / "wordnet")))
    fresh.setitem(sys.modules, "nltk", None)
    with pytest.raises(DataError, match="'nltk', which is not installed"):
        wordnet_similarity()


def test_a_named_folder_without_wordnet_is_an_error(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match=rf"'{tmp_path}' \(from {VARIABLE}\) has no data\.noun"):
        wordnet_similarity()


@pytest.mark.parametrize("name", NEEDED)
def test_a_folder_with_a_part_of_wordnet_only_names_what_is_missing(
    fresh: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    folder = fake_wordnet(tmp_path / "wordnet")
    (folder / name).unlink()
    fresh.setenv(VARIABLE, str(folder))
    with pytest.raises(DataError, match=f"has no {name}"):
        wordnet_similarity()


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_the_needed_files_are_enough_whatever_their_line_ends(
    line_end: bytes, similarity: Similarity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = wordnet_folder()
    for name in NEEDED:
        text = (real / name).read_bytes().replace(b"\r\n", b"\n")
        (tmp_path / name).write_bytes(text.replace(b"\n", line_end))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    wordnet_similarity.cache_clear()
    assert wordnet_similarity()("dog", "cat") == similarity("dog", "cat")


def test_no_wordnet_anywhere_is_an_error_that_says_what_to_do(fresh: pytest.MonkeyPatch) -> None:
    nltk = pytest.importorskip("nltk")
    fresh.setattr(nltk.data, "path", [])
    fresh.setattr(importlib.util, "find_spec", lambda name: None)
    fresh.setattr(module, "DEBIAN", "/nowhere")
    with pytest.raises(DataError, match=rf"it was not found: run  pip install.*{VARIABLE}"):
        wordnet_folder()


def test_wordnet_is_found_in_nltks_folders_then_debians(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nltk = pytest.importorskip("nltk")
    fresh.setattr(nltk.data, "path", [str(tmp_path)])
    fresh.setattr(importlib.util, "find_spec", lambda name: None)
    debian = fake_wordnet(tmp_path / "debian")
    fresh.setattr(module, "DEBIAN", str(debian))
    assert wordnet_folder() == debian
    installed = fake_wordnet(tmp_path / "corpora" / "wordnet")
    assert wordnet_folder() == installed


def test_another_release_of_wordnet_is_refused(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("nltk")
    folder = fake_wordnet(tmp_path / "wordnet")
    fresh.setenv(VARIABLE, str(folder))
    with pytest.raises(DataError, match=r"defined on WordNet 3\.0, but .* has another"):
        wordnet_similarity()
    (folder / "data.adj").write_text("  1 WordNet 3.1 Copyright 2011 by Princeton University.\n")
    with pytest.raises(DataError, match=r"defined on WordNet 3\.0, but .* has 3\.1"):
        wordnet_similarity()
    (folder / "lexnames").write_text("broken\n")
    with pytest.raises(DataError, match=r"cannot be read"):
        wordnet_similarity()

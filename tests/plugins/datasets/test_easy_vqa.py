"""The reader of the packaged easy-VQA data."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from vqazoo.errors import DataError, UnknownNameError
from vqazoo.registry import registry

easy_vqa = pytest.importorskip("easy_vqa", reason="the package easy-vqa is not installed")


def test_counts_are_the_published_ones() -> None:
    reader = registry.build("dataset", "easy-vqa")
    assert reader.splits() == ["train", "test"]
    for split, questions, images in (("train", 38_575, 4_000), ("test", 9_673, 1_000)):
        examples = reader.read(split)
        assert len(examples) == questions
        assert len({example.image for example in examples}) == images
        assert len({example.question_id for example in examples}) == questions
        assert all(image.is_file() for image in {example.image for example in examples})


def test_rows_agree_with_the_packages_own_functions() -> None:
    reader = registry.build("dataset", "easy-vqa")
    for split in ("train", "test"):
        texts, answers, image_ids = getattr(easy_vqa, f"get_{split}_questions")()
        paths = getattr(easy_vqa, f"get_{split}_image_paths")()
        examples = reader.read(split)
        assert [example.question for example in examples] == texts
        assert [example.answers for example in examples] == [(answer,) for answer in answers]
        assert [example.image for example in examples] == [Path(paths[i]) for i in image_ids]
    counts = Counter(example.answers[0] for example in reader.read("train"))
    assert set(counts) == set(easy_vqa.get_answers())


def test_an_unknown_split_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"'tests'\. Did you mean 'test'\?"):
        registry.build("dataset", "easy-vqa").read("tests")


def test_a_missing_package_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'vqazoo\[easy-vqa\]'"):
        registry.build("dataset", "easy-vqa")


@pytest.mark.parametrize(
    "content", ["", "[[1, 2]]", '[["q", "a", "not a number"]]', "{}x", "7", json.dumps([None])]
)
def test_a_damaged_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    (tmp_path / "data" / "test").mkdir(parents=True)
    (tmp_path / "data" / "test" / "questions.json").write_text(content)
    spec = ModuleSpec("easy_vqa", None, is_package=True)
    assert spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(DataError, match=r"questions\.json' cannot be read .*force-reinstall"):
        registry.build("dataset", "easy-vqa").read("test")

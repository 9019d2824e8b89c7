"""The runner refuses what vqazoo refuses, in the same words, and opens what it opens as it does."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqazoo.data import check_question, examples
from vqazoo.errors import ImageError, QuestionError
from vqazoo.media import images
from vqazoo_export.runner import asking
from vqazoo_export.tokens import runner_files

ROOT = Path(__file__).parents[3]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def palette_with_transparency(file: Path) -> None:
    image = Image.fromarray(noise(9, 12)).convert("P")
    image.save(file, transparency=3)


def turned(file: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(9, 12, 3)).save(file, exif=exif)


PICTURES: dict[str, Callable[[Path], None]] = {
    "colour.png": lambda file: Image.fromarray(noise(9, 12, 3)).save(file),
    "grey.jpg": lambda file: Image.fromarray(noise(9, 12)).save(file),
    "turned.jpg": turned,
    "alpha.webp": lambda file: Image.fromarray(noise(9, 12, 4)).save(file, lossless=True),
    "palette.png": palette_with_transparency,
    "wide.png": lambda file: Image.fromarray(noise(9, 12).astype(np.uint16) * 257).save(file),
    "float.tiff": lambda file: Image.fromarray(noise(9, 12).astype("f4") / 255).save(file),
    "deep.pgm": lambda file: Image.fromarray(noise(9, 12).astype(np.uint16)).save(file),
    "cmyk.jpg": lambda file: Image.fromarray(noise(9, 12, 4), "CMYK").save(file),
}
REFUSED: dict[str, Callable[[Path], object]] = {
    "missing.png": lambda file: None,
    "folder": lambda file: file.mkdir(),
    "text.png": lambda file: file.write_text("no picture"),
    "long.png": lambda file: Image.new("L", (1001, 10)).save(file),
    "cut.png": lambda file: file.write_bytes(_png()[:-40]),
    "deep.tiff": lambda file: Image.fromarray(noise(9, 12).astype("i4")).save(file),
    "strange.tiff": lambda file: Image.fromarray(np.full((4, 4), 7, "f4")).save(file),
}


def _png() -> bytes:
    import io

    buffer = io.BytesIO()
    Image.fromarray(noise(40, 40, 3)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_opened_as_vqazoo_opens_them(name: str, tmp_path: Path) -> None:
    PICTURES[name](tmp_path / name)
    expected = images.open_image(tmp_path / name)
    assert np.array_equal(asking.opened(str(tmp_path / name)), expected)


@pytest.mark.parametrize("name", REFUSED)
def test_pictures_are_refused_where_vqazoo_refuses_them(name: str, tmp_path: Path) -> None:
    REFUSED[name](tmp_path / name)
    with pytest.raises(ImageError) as expected:
        images.open_image(tmp_path / name)
    with pytest.raises(asking.Refused) as refused:
        asking.opened(str(tmp_path / name))
    assert str(refused.value).split(" ")[:4] == str(expected.value).split(" ")[:4]


@pytest.mark.parametrize("question", ["", " \n", "a" * 2001, "what\ud800?"], ids=repr)
def test_questions_are_refused_in_the_words_of_vqazoo(question: str) -> None:
    with pytest.raises(QuestionError) as expected:
        check_question(question)
    with pytest.raises(asking.Refused) as refused:
        asking.checked(question)
    assert str(refused.value) == str(expected.value)
    assert asking.checked(" what? ") == "what?"


def test_the_bounds_are_those_of_vqazoo() -> None:
    assert asking.LONGEST_QUESTION == examples.MAX_QUESTION_CHARACTERS
    assert (asking.MAX_PIXELS, asking.MAX_ASPECT) == (images.MAX_PIXELS, images.MAX_ASPECT)
    assert tuple(asking.FORMATS.split()) == images.FORMATS
    assert asking.SIXTEEN_BITS == images.SIXTEEN_BITS


@pytest.mark.parametrize("tokenizers", [False, True])
def test_requirements_are_the_bounds_of_this_project(tokenizers: bool) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = {*project["dependencies"], *project["optional-dependencies"]["export"]}
    told = runner_files(tokenizers)["requirements.txt"].decode().splitlines()
    assert set(told) <= allowed
    assert any(line.startswith("tokenizers") for line in told) == tokenizers

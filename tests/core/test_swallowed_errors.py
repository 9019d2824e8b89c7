"""A fault of ours is not told as a mistake of the user, and nothing is caught without a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqazoo.errors import ImageError
from vqazoo.media import images, video

ROOT = Path(__file__).parents[2]
SOURCES = [
    *(ROOT / "vqazoo").rglob("*.py"),
    *(ROOT / "plugins").rglob("*.py"),
]
EVERYTHING = ("Exception", "BaseException")


def fault(*_: object, **__: object) -> None:
    raise TypeError("a fault of ours")


def catching_everything(tree: ast.AST) -> Iterator[int]:
    """Lines of `except:`, `except Exception` and `suppress(Exception)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            named = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            named = node.args
        else:
            continue
        if any(one is None or ast.unparse(one) in EVERYTHING for one in named):
            yield node.lineno


def test_whoever_catches_everything_says_why():
    """Of `serve` its own tests decide, which look at what is answered and logged."""
    silent = []
    for source in SOURCES:
        if "vqazoo_serve" in source.parts:
            continue
        text = source.read_text(encoding="utf-8")
        for line in catching_everything(ast.parse(text)):
            if "  # " not in text.splitlines()[line - 1]:
                silent.append(f"{source.relative_to(ROOT)}:{line}")
    assert not silent


def test_the_search_above_finds_each_way_to_catch_everything():
    text = (
        "try: f()\nexcept: pass\n"
        "try: f()\nexcept (OSError, Exception): pass\n"
        "try: f()\nexcept BaseException as error: pass\n"
        "with contextlib.suppress(Exception): f()\n"
        "try: f()\nexcept ValueError: pass\n"
    )
    assert sorted(catching_everything(ast.parse(text))) == [2, 4, 6, 7]


@pytest.mark.parametrize("kind", ["file", "PIL image"])
def test_a_fault_while_a_picture_is_converted_is_no_damaged_picture(kind, tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(file := tmp_path / "fine.png")
    monkeypatch.setattr(images, "_to_rgb", fault)
    with pytest.raises(TypeError, match="a fault of ours"):
        images.open_image(file if kind == "file" else Image.open(file))


def test_a_fault_while_a_film_is_read_is_no_damaged_film(tmp_path, monkeypatch):
    av = pytest.importorskip("av")
    with av.open(str(file := tmp_path / "fine.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert video.open_video(file, 2)
    monkeypatch.setattr(video, "_times", fault)
    with pytest.raises(TypeError, match="a fault of ours"):
        video.open_video(file, 2)


def test_what_pillow_raises_is_a_damaged_picture_of_whatever_kind(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(file := tmp_path / "fine.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fault)
    with pytest.raises(ImageError, match="truncated or damaged"):
        images.open_image(file)

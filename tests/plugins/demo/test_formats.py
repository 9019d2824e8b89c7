"""With a Pillow that has known holes, the demo decodes no format of strangers but PNG."""

from __future__ import annotations

from pathlib import Path

import PIL
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page is made with Gradio")
from vqazoo.errors import ImageError
from vqazoo.media.images import FORMATS
from vqazoo_demo.page import _opened

OLD, NEW = "12.3.0", "13.0.0"
OTHERS = ["JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO"]


def uploaded(folder: Path, kind: str, suffix: str) -> str:
    Image.new("RGB", (16, 16), "teal").save(file := folder / f"photo.{suffix}", format=kind)
    return str(file)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_other_formats_are_refused_before_they_are_decoded(kind, suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(PIL, "__version__", OLD)
    file = uploaded(tmp_path, kind, suffix)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was handed to Pillow"))
    with pytest.raises(
        ImageError, match=r"reads PNG only, since its Pillow 12\.3\.0 has known holes"
    ):
        _opened(file)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_png_is_read_whatever_its_name_and_with_every_pillow(version, tmp_path, monkeypatch):
    monkeypatch.setattr(PIL, "__version__", version)
    assert _opened(uploaded(tmp_path, "PNG", "jpg")).size == (16, 16)


@pytest.mark.parametrize("kind", OTHERS)
def test_with_a_sound_pillow_every_format_is_read(kind, tmp_path, monkeypatch):
    assert kind in FORMATS
    monkeypatch.setattr(PIL, "__version__", NEW)
    assert _opened(uploaded(tmp_path, kind, "photo")).size == (16, 16)


@pytest.mark.parametrize("start", [b"", b"\x89PNG", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_hardly_there_is_refused_in_a_sentence(start, tmp_path, monkeypatch):
    monkeypatch.setattr(PIL, "__version__", OLD)
    (tmp_path / "photo.png").write_bytes(start)
    with pytest.raises(ImageError):
        _opened(str(tmp_path / "photo.png"))

"""One HTML page about a model's mistakes: no script, nothing fetched. Imports jinja2 and Pillow."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vqazoo.amounts import percent
from vqazoo.data import Example
from vqazoo.data.answers import select_answer
from vqazoo.errors import ImageError
from vqazoo.evaluation.mistakes.groups import MISTAKE, Mistakes
from vqazoo.files.replacing import check_replaceable
from vqazoo.interfaces import Answer
from vqazoo.media.video import still
from vqazoo.templates import fill

THUMBNAIL = 160  # longer side of an embedded picture, in pixels
QUALITY = 80  # of JPEG
MOST_BYTES = 4 << 20  # of all embedded pictures, before base64
SHOWN = 4  # mistakes of a group
MOST_GROUPS = 12  # of a grouping that show mistakes; the others stand in the table only
LONGEST = 300  # characters of a question or answer that are shown
TITLE = "<title>Mistakes of "  # by which a page is known, among its FIRST_BYTES
FIRST_BYTES = 4096
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"


class Thumbnail(NamedTuple):
    """A small copy of a picture as a data address, or why there is none."""

    source: str = ""
    absent: str = ""


def write_page(mistakes: Mistakes, note: str = "", pictures: bool = True) -> str:
    """A whole HTML page of mistakes, which needs no other file.

    Args:
        note: about passing the page on, such as the licence of the pictures.
        pictures: whether small copies are embedded, up to MOST_BYTES of them all.
    """
    return fill(
        __file__,
        "page.html",
        mistakes=mistakes,
        note=note,
        policy=POLICY,
        with_pictures=pictures,
        thumbnail=_Thumbnails().of,
        least=MISTAKE,
        most_groups=MOST_GROUPS,
        most_mistakes=SHOWN,
        short=_short,
        sure=_sure,
        expected=_expected,
    )


def check_page_place(file: Path) -> None:
    """Raise DataError where a page would take the place of a file that is none."""
    check_replaceable(file, TITLE.encode(), FIRST_BYTES, "name another file")


class _Thumbnails:
    """Small copies of pictures while a page is written, and what is left for them."""

    def __init__(self) -> None:
        self.bytes_left = MOST_BYTES
        self.made: dict[Path, bytes] = {}

    def of(self, file: Path) -> Thumbnail:
        content = self.made.get(file)
        if content is None:
            try:
                content = self.made[file] = _jpeg(file)
            except ImageError:
                return Thumbnail(absent="no picture")
        if len(content) > self.bytes_left:
            return Thumbnail(absent="left out: the page is full")
        self.bytes_left -= len(content)
        return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(content).decode()}")


def _sure(answer: Answer) -> str:
    return "" if math.isnan(answer.score) else f" ({percent(answer.score, 0)} sure)"


def _expected(example: Example) -> str:
    return select_answer(example.answers)


def _short(words: str) -> str:
    return words if len(words) <= LONGEST else f"{words[:LONGEST]} …"


def _jpeg(file: Path) -> bytes:
    """A small JPEG of a picture file."""
    picture = still(file)
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()

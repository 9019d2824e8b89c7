"""Two pictures of one question as one: the left beside the right. Imports torch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from vqazoo.files.elsewhere import DistantFile
from vqazoo.media.images import open_image


class Beside(DistantFile):
    """A picture that is made when it is read: two, one beside the other, at the height of the
    larger one.

    Attributes:
        pictures: the left and the right picture.
    """

    pictures: tuple[Path, Path]

    def __reduce__(self) -> Any:
        return (beside, self.pictures)

    def absolute(self) -> DistantFile:
        """As of `DistantFile`."""
        return beside(*(part.absolute() for part in self.pictures))

    def read_bytes(self) -> bytes:
        """A PNG of both. Raises OSError or ImageError if one cannot be read."""
        opened = [open_image(part) for part in self.pictures]
        height = max(picture.height for picture in opened)
        scaled = [
            picture
            if picture.height == height
            else picture.resize((max(1, round(picture.width * height / picture.height)), height))
            for picture in opened
        ]
        whole = Image.new("RGB", (sum(picture.width for picture in scaled), height))
        whole.paste(scaled[0], (0, 0))
        whole.paste(scaled[1], (scaled[0].width, 0))
        encoded = io.BytesIO()
        whole.save(encoded, "PNG")
        return encoded.getvalue()

    def stamp(self) -> list[Any]:
        """What the file system says of both."""
        stamps: list[Any] = []
        for part in self.pictures:
            if isinstance(part, DistantFile):
                if not (stamp := part.stamp()):
                    return []
                stamps += stamp
            else:
                status = part.stat()
                stamps += [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        return stamps


def beside(left: Path, right: Path) -> Beside:
    """The picture of two."""
    made = Beside(f"{left}+{right.name}")
    made.pictures = (left, right)
    return made

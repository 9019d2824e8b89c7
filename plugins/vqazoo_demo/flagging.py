"""Wrong answers that a person corrected, kept as a table that `train --data table` reads.

Imports Pillow.
"""

from __future__ import annotations

import csv
import io
from hashlib import sha256
from pathlib import Path

from filelock import FileLock
from PIL import Image

from vqazoo.data import check_question
from vqazoo.errors import ConfigError, DataError
from vqazoo.files.csv_cells import FLAGGED, csv_text, from_cell
from vqazoo.files.writing import write_file

COLUMNS = list(FLAGGED)


class FlaggedTable:
    """A CSV of questions with the right answer, and a folder beside it with their pictures.

    Each picture is a PNG named by its pixels, so that one that is flagged twice is kept once, and
    nothing else that was in its file, such as the place where it was taken, is kept. `given` says
    what the models answered; training does not read it. An apostrophe stands before a text that a
    spreadsheet would run as a formula; `table` takes it away again.
    """

    def __init__(self, file: Path) -> None:
        """Raises ConfigError or DataError: the file is not such a table, or cannot be one."""
        self.file = file.expanduser()
        self.pictures = self.file.with_name(f"{self.file.stem}-pictures")
        if self.file.suffix.lower() != ".csv":
            raise ConfigError(
                f"The table of flagged answers is '{file}', but a file that ends in .csv was "
                f"expected: name one with --flagged."
            )
        if not self.file.parent.is_dir():
            raise ConfigError(
                f"The folder of the table of flagged answers '{file}' does not exist: make it, or "
                f"name another file with --flagged."
            )
        self._rows()

    def add(self, picture: Image.Image, question: str, answer: str, given: str) -> int:
        """Keep one; how many rows the table has now.

        Args:
            answer: the right one; several are separated by `|`, as in any table of one's own.
            given: what the models answered.

        Raises:
            DataError: the answer is empty, or the files cannot be written.
            QuestionError: the question is empty or too long.
        """
        if not answer.replace("|", "").strip():
            raise DataError("The right answer is empty: write it in the box.")
        row = [_one_line(check_question(question)), _one_line(answer), _one_line(given)]
        try:
            with FileLock(self.file.with_name(f".{self.file.name}.lock")):
                image = self._keep(picture)
                rows = [*self._rows(), [image, *row]]
                write_file(self.file, csv_text([COLUMNS, *rows]).encode())
        except OSError as error:
            raise DataError(
                f"The table '{self.file}' cannot be written ({error}): free the disk, or start "
                f"the demo with another --flagged."
            ) from error
        return len(rows)

    def _keep(self, picture: Image.Image) -> str:
        """Save a picture unless it is there; its path, seen from the table."""
        content = io.BytesIO()
        picture.save(content, "PNG")
        name = f"{sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()[:16]}.png"
        self.pictures.mkdir(exist_ok=True)
        if not (self.pictures / name).exists():
            write_file(self.pictures / name, content.getvalue())
        return f"{self.pictures.name}/{name}"

    def _rows(self) -> list[list[str]]:
        """The rows there are, without the header; none if there is no file yet."""
        try:
            text = self.file.read_bytes().decode("utf-8-sig")
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"The table of flagged answers '{self.file}' cannot be read ({error}): name "
                f"another file with --flagged."
            ) from error
        if rows and rows[0] != COLUMNS:
            raise DataError(
                f"'{self.file}' has the columns {', '.join(rows[0])[:80]}, but a table of flagged "
                f"answers has {', '.join(COLUMNS)}: name another file with --flagged."
            )
        return [[from_cell(cell) for cell in row] for row in rows[1:]]


def _one_line(text: str) -> str:
    return " ".join(text.split())

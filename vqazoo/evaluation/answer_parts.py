"""A file of answers, made of parts that are kept beside it until all are there. Imports no torch.

`answers.parquet.parts` holds `plan.json`, which says what is asked, and a file for each thousand
rows or so, JSON lines that are written whole or not at all. A run that was stopped goes on with the
first part that is not there. When all are, they are joined in order, and the folder goes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo.evaluation.answer_file import Record, check_ending, record_lines, write_answers
from vqazoo.files.elsewhere import DistantFile
from vqazoo.files.json_text import json_text
from vqazoo.files.keys import read_object
from vqazoo.files.switch import sibling, sync
from vqazoo.files.writing import json_bytes, while_writing, write_file

PART_ROWS = 1024  # rows that a kill can cost; a multiple of the rows that are asked at once
PLAN, JOINED = "plan.json", "joined.json"


@dataclass(frozen=True)
class Part:
    """Rows that are answered together.

    Attributes:
        number: from 0 on; rows: what is asked, without the answers of people, pictures by absolute
            paths; digest: tells whether these are the rows of before.
    """

    number: int
    rows: Sequence[Example]
    digest: str


@dataclass(frozen=True)
class Counts:
    """Rows of a file of answers, how many of them have an error in the place of an answer, and how
    many answers were held back."""

    rows: int
    failed: int
    held_back: int = 0


def in_parts(examples: Iterator[Example]) -> Iterator[Part]:
    """The rows in parts, of which one is in memory at a time.

    Raises:
        DataError: there are no rows.
    """
    number = 0
    asked = (
        Example(
            e.image.absolute() if e.image.name else e.image,
            e.question,
            (),
            e.question_id,
            choices=e.choices,
            ocr_tokens=e.ocr_tokens,
            image_path=e.image_path,
        )
        for e in examples
    )
    while rows := list(islice(asked, PART_ROWS)):
        yield Part(number, rows, _digest(rows))
        number += 1
    if not number:
        raise DataError("The split has no rows: name another split, or add rows.")


def _digest(rows: Sequence[Example]) -> str:
    """SHA-256 of questions, of what was read in the pictures, and of what the file system says of
    them."""
    stamps: dict[str, list[Any]] = {}
    state = hashlib.sha256()
    for row in rows:
        name = str(row.image)
        if name not in stamps:
            try:
                stamps[name] = _stamp(row.image)
            except (OSError, ValueError, TypeError):  # not there, or no file of this machine
                stamps[name] = []
        cells = [row.question_id, name, row.question, *stamps[name], *row.choices]
        if row.ocr_tokens is not None:
            cells.append(row.ocr_tokens)
        state.update(json_text(cells, ascii_only=True).encode() + b"\n")
    return state.hexdigest()


def _stamp(image: Path) -> list[Any]:
    """What tells whether a picture is the one of before. Raises OSError, ValueError, TypeError."""
    if isinstance(image, DistantFile):
        return image.stamp()
    status = os.stat(image)
    return [status.st_size, status.st_mtime_ns]


def _together(digests: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


class AnswerParts:
    """The parts of one file of answers; one process works on them at a time.

    Attributes:
        out: the file that is to be; folder: where its parts are until then.
    """

    def __init__(self, out: Path) -> None:
        """Raises DataError: the file has another ending than those that are written, or what
        writes it is not installed."""
        self.out = out
        self.folder = out.with_name(f"{out.name}.parts")
        check_ending(out)

    def check_free(self) -> None:
        """Before the work: whether there can be such a file.

        Raises:
            DataError: there is one that these parts are not of, or there cannot be one.
        """
        with self.writing():
            self.out.absolute().parent.mkdir(parents=True, exist_ok=True)
            self.folder.exists()  # or its name is too long
        if os.path.lexists(self.out) and not self._joined():
            raise self._there()

    def finished(self, plan: Mapping[str, Any], examples: Iterator[Example]) -> Counts | None:
        """What the file holds if all was joined and only the tidying was cut off; None: there is
        no file. Only while nobody else works on the parts.

        Args:
            plan: as for `begin`; examples: of which nothing is taken where there is no file.

        Raises:
            DataError: there is a file of that name, and it does not answer just that.
        """
        if not os.path.lexists(self.out):
            return None
        joined = self._joined()
        if joined.get("plan") != json.loads(json_bytes(plan)):
            raise self._there()
        if joined.get("asked") != _together(part.digest for part in in_parts(examples)):
            raise self._there()
        self.tidy()
        return Counts(joined["rows"], joined["failed"], joined.get("held_back", 0))

    def _joined(self) -> Mapping[str, Any]:
        """What was joined into the file that is there; nothing: it is not known to be whole."""
        joined = read_object(self.folder / JOINED)
        try:
            return joined if joined and self.out.stat().st_size == joined["bytes"] else {}
        except (OSError, KeyError):
            return {}

    def _there(self) -> DataError:
        return DataError(
            f"'{self.out}' is there already, and is not overwritten: remove it, or name another "
            f"file with --out."
        )

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Make the folder, or go on with the one that is there.

        Args:
            plan: what is asked of what; every run that goes on must have the same.

        Raises:
            DataError: the folder holds answers to something else, or cannot be written.
        """
        kept = read_object(self.folder / PLAN)
        parts = self.answered()
        if parts and not kept:
            raise DataError(
                f"'{self.folder}' holds parts of answers, but nothing says to what (its {PLAN} is "
                f"gone or damaged): remove the folder, and all is answered anew."
            )
        asked = json.loads(json_bytes(plan))
        for name in {**kept, **asked} if parts else ():
            if kept.get(name) != asked.get(name):
                raise DataError(
                    f"'{self.folder}' holds answers of a run that differs in its {name} "
                    f"({_brief(kept.get(name))}, now {_brief(asked.get(name))}): give the same "
                    f"as before to go on with it, name another file with --out, or remove the "
                    f"folder."
                )
        with self.writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(".*.new"):  # by a process that was killed
                left.unlink()
            write_file(self.folder / PLAN, json_bytes(plan))

    def planned(self, name: str) -> Any:
        """What the plan says of that name, where parts are kept or were joined; else None."""
        plan = read_object(self.folder / PLAN) if self.answered() else self._joined().get("plan")
        return plan.get(name) if isinstance(plan, dict) else None

    def answered(self) -> int:
        """How many parts are kept."""
        return len(list(self.folder.glob("part-*.jsonl")))

    def holds(self, part: Part) -> bool:
        """Whether a part was answered before; one that is damaged was not.

        Raises:
            DataError: it was, but its questions or pictures were others then.
        """
        head = self._head(part.number)
        if head is None:
            return False
        if head["digest"] != part.digest:
            first = part.number * PART_ROWS + 1
            raise DataError(
                f"Rows {first:,} to {first + len(part.rows) - 1:,} of the data, or their pictures, "
                f"changed since they were answered in '{self.folder}': remove the folder, and all "
                f"is answered anew, or name another file with --out."
            )
        return True

    def add(self, part: Part, records: Sequence[Record]) -> None:
        """Keep the answers to a part.

        Raises:
            DataError: they cannot be written.
        """
        lines = record_lines(records).encode()
        head = {
            "rows": len(records),
            "failed": sum(record["error"] is not None for record in records),
            "held_back": sum(bool(record["abstained"]) for record in records),
            "digest": part.digest,
            "sha256": hashlib.sha256(lines).hexdigest(),
        }
        with self.writing():
            write_file(self._file(part.number), json_text(head).encode() + b"\n" + lines)

    def join(self, count: int) -> Counts:
        """Write the file out of its parts, 0 to `count` - 1, and remove them.

        Raises:
            DataError: it cannot be written; or there are more parts than rows now.
        """
        if self._file(count).exists():
            raise DataError(
                f"The data has fewer rows than were answered in '{self.folder}': remove the "
                f"folder, and all is answered anew, or name another file with --out."
            )
        heads = [self._head(number, whole=False) or {} for number in range(count)]
        counts = Counts(
            *(sum(h.get(name, 0) for h in heads) for name in ("rows", "failed", "held_back"))
        )
        fresh = sibling(self.out, "new")
        with self.writing():
            try:
                parts = (self.records(number) for number in range(count))
                self.write(fresh, parts)
                joined = {
                    "rows": counts.rows,
                    "failed": counts.failed,
                    "held_back": counts.held_back,
                    "bytes": fresh.stat().st_size,
                    "plan": read_object(self.folder / PLAN),
                    "asked": _together(head.get("digest", "") for head in heads),
                }
                write_file(self.folder / JOINED, json_bytes(joined))
                os.replace(fresh, self.out)
                sync(self.out.absolute().parent)
            except OSError:
                fresh.unlink(missing_ok=True)
                raise
        self.tidy()
        return counts

    def write(self, file: Path, parts: Iterator[list[Record]]) -> None:
        """Write the records of all parts into a file, in the form of `out`. Raises OSError."""
        write_answers(file, self.out.suffix.lower(), parts)

    def _file(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.jsonl"

    def _head(self, number: int, whole: bool = True) -> dict[str, Any] | None:
        """The first line of a part; None: it is not there, or not as it was written."""
        try:
            with open(self._file(number), "rb") as handle:
                head: dict[str, Any] = json.loads(handle.readline())
                if whole and hashlib.sha256(handle.read()).hexdigest() != head["sha256"]:
                    return None
                return head if {"rows", "failed", "digest"} <= head.keys() else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def records(self, number: int) -> list[Record]:
        """The records of a part that is kept."""
        with open(self._file(number), encoding="utf-8", newline="\n") as handle:
            return [json.loads(line) for line in islice(handle, 1, None)]

    def tidy(self) -> None:
        """Remove the parts, and last what says that they are not needed any more; nothing where
        another process works on them by now."""
        # what is left is taken away by the next run
        with suppress(OSError, DataError), while_writing(self.folder, DataError):
            for file in self.folder.glob("part-*.jsonl"):
                file.unlink()
            for name in (PLAN, JOINED):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Say of an OSError in this block what it means for the file that is written."""
        try:
            yield
        except OSError as error:
            raise DataError(
                f"The answers cannot be written to '{self.out}' ({error.strerror or error}): free "
                f"space or name another file; parts that were answered are kept, and the same "
                f"command goes on with them."
            ) from error


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json_text(value)
    return f"'{text if len(text) <= 120 else text[:117] + '...'}'"

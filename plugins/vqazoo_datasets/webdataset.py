"""Reader of tar files in the layout of WebDataset: members of one name are one sample."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import IO, Any

from vqazoo.amounts import in_bytes
from vqazoo.data import DatasetReader, Example, check_question
from vqazoo.data.answer_cells import read_choices, read_chosen, with_lists
from vqazoo.data.columns import (
    ANSWER_COLUMN,
    ANSWER_TYPE_COLUMN,
    ANSWERABLE_COLUMN,
    CHOICES_COLUMN,
    CONFIDENCE_LISTS,
    GROUP_COLUMN,
    ID_COLUMN,
    QUESTION_COLUMN,
    QUESTION_TYPE_COLUMN,
    RAW_LISTS,
    labels,
    matched,
    name_of,
    rephrased,
)
from vqazoo.data.comparison import compared_by_stems
from vqazoo.data.ocr import OCR_COLUMN, read_ocr_tokens
from vqazoo.data.text_files import decoded
from vqazoo.errors import DataError, QuestionError
from vqazoo.files.elsewhere import StoredObject, member, place_of
from vqazoo.files.reading import parse_json

PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
JSON, QUESTION, ANSWER = "json", "txt", "cls"  # endings of the other members that are read
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*)\}")
LETTERS = re.compile(r"[A-Za-z][A-Za-z_]*")
MOST_FILES = 100_000
LONGEST_TEXT = 2**24  # bytes of a member that is no picture
BLOCK = 512  # bytes, of tar files


@dataclass
class Sample:
    """Members of one name: the picture as a path, and the others as text, by ending."""

    key: str
    pictures: list[Path] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


class WebDataset(DatasetReader):
    """`webdataset:PATTERN`, such as `webdataset:data/{train,test}-{000..003}.tar`.

    A pattern is expanded as a shell does: `{000..003}` and `{a,b}`. It may be an address of a
    store. The split of a file is the letters that its name begins with, or `train`.

    A sample has a picture (`jpg`, `png`, ...) and either `json`, an object with question and
    answers, or a list of such objects, or `txt`, the question, and `cls`, the answer, which may be
    left out; `json` may also have choices, of which the answer is one, or the number of one, from
    0; types of question and answer, whether the picture can answer, a group, and what `vqazoo data
    export` writes besides. Its keys are found as columns of `table` are. Members with other endings
    are not read. An id that is not given is the name of the sample, with the number of the question
    where there are several. Pictures stay in their tar file and are read from it when they are
    used; so it must not be compressed.
    """

    def __init__(
        self,
        variant: str,
        question_column: str,
        answer_column: str,
        id_column: str,
        choices_column: str,
        answer_type_column: str,
        question_type_column: str,
        answerable_column: str,
        group_column: str,
    ) -> None:
        """Raises DataError if a file of the pattern is not there, or of a kind that is not read."""
        self.names = {
            QUESTION_COLUMN: question_column,
            ANSWER_COLUMN: answer_column,
            ID_COLUMN: id_column,
            CHOICES_COLUMN: choices_column,
            ANSWER_TYPE_COLUMN: answer_type_column,
            QUESTION_TYPE_COLUMN: question_type_column,
            ANSWERABLE_COLUMN: answerable_column,
            GROUP_COLUMN: group_column,
        }
        self.meant: dict[tuple[str, ...], dict[str, str]] = {}  # of the keys of an object
        self.files: dict[str, list[Path]] = {}
        for text in expanded(variant):
            file = place_of(text)
            if file.suffix.lower() != ".tar":
                raise DataError(
                    f"'{file}' ends in '{file.suffix}', but .tar was expected, since pictures are "
                    f"read from their places in it: unpack one that is compressed."
                )
            if not file.is_file():
                raise DataError(f"The tar file '{file}' does not exist: check the pattern.")
            letters = LETTERS.match(file.name.removesuffix(file.suffix))
            split = letters[0].strip("_") if letters else "train"
            self.files.setdefault(split, []).append(file)

    def splits(self) -> list[str]:
        return list(self.files)

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        examples: list[Example] = []
        seen: set[str] = set()
        for file in self.files[split]:
            for sample in samples(file):
                examples += self._examples(sample, f"'{file}', sample '{sample.key}'", seen)
        if not examples:
            raise DataError(f"The split '{split}' has no samples: name another split.")
        return compared_by_stems(examples)

    def _examples(self, sample: Sample, where: str, seen: set[str]) -> Iterator[Example]:
        if len(sample.pictures) != 1:
            raise DataError(
                f"{where}: there are {len(sample.pictures)} pictures, but one was expected, whose "
                f"name is that of its texts: add it or remove the sample."
            )
        rows = self._rows(sample, where)
        for number, row in enumerate(rows, start=1):
            told = where if len(rows) == 1 else f"{where}, question {number}"
            own = sample.key if len(rows) == 1 else f"{sample.key}-{number}"
            meant = self._meant(row)
            given = row.get(meant.get(ID_COLUMN, ""), own)
            question_id = name_of(given)
            if question_id is None or question_id in seen:
                raise DataError(
                    f"{told}: the id {repr(given)[:60]} is empty, no text and no whole number, or "
                    f"occurs twice, but each must be unique: give others in "
                    f"'{self.names[ID_COLUMN]}'."
                )
            seen.add(question_id)
            column, choice = meant.get(ANSWER_COLUMN, ""), meant.get(CHOICES_COLUMN, "")
            choices = read_choices(row.get(choice), told, choice)
            said = read_chosen(row.get(column), choices, told, column, written=row.get(choice))
            said = with_lists(said, row.get(CONFIDENCE_LISTS), row.get(RAW_LISTS))
            yield Example(
                sample.pictures[0],
                self._question(row, meant, told),
                said.answers,
                question_id,
                confidences=said.confidences,
                learnt=said.learnt,
                weighted=said.weighted,
                rephrasing_of=rephrased(row, told),
                choices=choices,
                ocr_tokens=read_ocr_tokens(row.get(OCR_COLUMN), told),
                **labels(row, meant, told),
            )

    def _rows(self, sample: Sample, where: str) -> list[dict[str, Any]]:
        """Question, answers and id of each question of a sample."""
        if JSON not in sample.texts:
            if QUESTION not in sample.texts:
                raise DataError(
                    f"{where}: there is neither '{JSON}' nor '{QUESTION}', so no question: add one "
                    f"or remove the sample."
                )
            row = {self.names[QUESTION_COLUMN]: sample.texts[QUESTION].strip()}
            if ANSWER in sample.texts:
                row[self.names[ANSWER_COLUMN]] = sample.texts[ANSWER].strip()
            return [row]
        try:
            value = parse_json(sample.texts[JSON].encode())
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: its json is not valid ({error}): write it again.") from error
        rows = value if isinstance(value, list) else [value]
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise DataError(
                f"{where}: its json is {sample.texts[JSON][:60]!r}, but an object with "
                f"'{self.names[QUESTION_COLUMN]}', or a list of such, was expected."
            )
        return rows

    def _meant(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Of each argument the key that an object has for it."""
        keys = tuple(row)
        if keys not in self.meant:
            self.meant[keys] = matched(keys, self.names)
        return self.meant[keys]

    def _question(self, row: Mapping[str, Any], meant: Mapping[str, str], where: str) -> str:
        column = meant.get(QUESTION_COLUMN, self.names[QUESTION_COLUMN])
        value = row.get(column)
        if not isinstance(value, str):
            raise DataError(
                f"{where}: '{column}' is {repr(value)[:60]}, but a text was expected: mend it, or "
                f"name another with the argument question_column."
            )
        try:
            return check_question(value, f"{where}: the question")
        except QuestionError as error:
            raise DataError(str(error)) from error


def expanded(pattern: str) -> list[str]:
    """The names that a pattern stands for, in order: `{000..003}` counts, `{a,b}` chooses.

    Raises:
        DataError: there are too many, or it counts backwards.
    """
    if re.search(r"\{[^}]*\{", pattern):
        raise DataError(f"'{pattern[:80]}' has braces in braces, which are not read: list them.")
    pieces: list[list[str]] = []
    end, total = 0, 1
    for match in BRACES.finditer(pattern):
        first, last, choices = match.groups()
        if choices is None and int(last) - int(first) >= MOST_FILES:
            total = MOST_FILES + 1
        elif choices is None:
            names = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
        else:
            names = choices.split(",")
        total *= len(names) if total <= MOST_FILES else 1
        if not 0 < total <= MOST_FILES:
            raise DataError(
                f"'{match[0]}' in '{pattern[:80]}' stands for no file or for more than "
                f"{MOST_FILES:,}: count upwards, such as {{000..003}}."
            )
        pieces += [[pattern[end : match.start()]], names]
        end = match.end()
    pieces.append([pattern[end:]])
    return ["".join(parts) for parts in product(*pieces)]


def samples(file: Path) -> Iterator[Sample]:
    """The samples of a tar file: members in a row whose names are equal up to the first dot.

    Raises:
        DataError: the file cannot be read, is damaged, cut off or compressed.
    """
    current: Sample | None = None
    try:
        with _opened(file) as handle, tarfile.open(fileobj=handle, mode="r:") as archive:
            for entry in archive:
                if not entry.isfile():
                    continue
                folder, _, base = entry.name.rpartition("/")
                stem, _, ending = base.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                kind = ending.lower().rpartition(".")[2]
                if not stem or kind not in (*PICTURES, JSON, QUESTION, ANSWER):
                    continue
                if current is None or current.key != key:
                    if current is not None:
                        yield current
                    current = Sample(key)
                _add(current, kind, entry, archive, file)
            _check_end(handle, archive.offset, file)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DataError(
            f"'{file}' is damaged, cut off, or compressed ({error}): get or write it again as a "
            f"plain tar file."
        ) from error
    except OSError as error:
        raise DataError(f"'{file}' cannot be read ({error}): check the path.") from error
    if current is not None:
        yield current


def _add(
    sample: Sample, kind: str, entry: tarfile.TarInfo, archive: tarfile.TarFile, file: Path
) -> None:
    if entry.issparse():
        raise tarfile.ReadError(f"the member '{entry.name}' is sparse")
    if kind in PICTURES:
        sample.pictures.append(member(file, entry.name, entry.offset_data, entry.size))
        return
    if entry.size > LONGEST_TEXT:
        raise tarfile.ReadError(f"the member '{entry.name}' has {in_bytes(entry.size)}")
    content = archive.extractfile(entry)
    assert content is not None  # as it is a file
    data = content.read()
    if len(data) < entry.size:
        raise tarfile.ReadError(f"the member '{entry.name}' is cut off")
    sample.texts[kind] = decoded(data, Path(f"{file}/{entry.name}"))


def _check_end(handle: IO[bytes], offset: int, file: Path) -> None:
    """Raise DataError where the blocks of zeros are missing that every whole tar file ends with."""
    handle.seek(offset)
    last = handle.read(BLOCK)
    if len(last) < BLOCK or last.strip(b"\0"):
        raise DataError(
            f"'{file}' is cut off or damaged in the middle, since no end follows what was "
            f"read: get it again."
        )


def _opened(file: Path) -> IO[bytes]:
    return file.reader() if isinstance(file, StoredObject) else open(file, "rb")

"""Tables of pictures and questions in, tables of answers out.

Imports no torch; pandas, datasets and pyarrow when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vqazoo.data import Example
from vqazoo.data.answer_cells import Classes, class_names, read_choices, read_chosen, with_lists
from vqazoo.data.asking import check_at_least_one
from vqazoo.data.columns import (
    ANSWER_COLUMN,
    CHOICES_COLUMN,
    CONFIDENCE_LISTS,
    ID_COLUMN,
    IMAGE_COLUMN,
    OPTIONAL,
    QUESTION_COLUMN,
    RAW_LISTS,
    SPLIT_COLUMN,
    labels,
    matched,
    name_of,
    rephrased,
)
from vqazoo.data.comparison import TEXT, compared_by_stems
from vqazoo.data.ocr import OCR_COLUMN, ocr_of, read_ocr_tokens
from vqazoo.errors import ConfigError, DataError, ImageError
from vqazoo.evaluation.exported import to_datasets as to_datasets
from vqazoo.evaluation.exported import write_parquet as write_parquet
from vqazoo.evaluation.predictions import optional_package, rows, to_csv
from vqazoo.files.writing import write_file

if TYPE_CHECKING:
    from vqazoo.interfaces import Answer
    from vqazoo.model import VQAModel

COLUMNS = {  # of a table in memory, by what they are for; other usual names are read as these
    IMAGE_COLUMN: "image",
    QUESTION_COLUMN: "question",
    ANSWER_COLUMN: "answers",
    ID_COLUMN: "question_id",
    **{argument: name for argument, name in OPTIONAL.items() if argument != SPLIT_COLUMN},
}
NAMED_ROWS = 20  # rows named in a message


class Predictions(Sequence[dict[str, Any]]):
    """The answers to the rows of a table, in their order; see `VQAModel.predict`.

    A row is a dict: `question_id`, `image` (file name), `image_path` (as the table wrote it),
    `question`, `answer`, `score`, `answer_type`, `answerable`, `abstained`, and where the table had
    answers `selected`, the one that is expected, and `correct`; None where there is nothing to
    say. These are the columns of a prediction file.
    """

    def __init__(self, examples: Sequence[Example], answers: Sequence[Answer]) -> None:
        self.examples = examples
        self.answers = answers

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return rows(self.examples, self.answers)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: Any) -> Any:
        return self.rows[row]

    def __repr__(self) -> str:
        return f"<Predictions of {len(self)} questions>"

    def accuracy(self) -> float:
        """Share of correct answers among the questions that have one to compare with.

        Raises:
            DataError: none has.
        """
        known = [row["correct"] for row in self.rows if row["correct"] is not None]
        if not known:
            raise DataError(
                "The table has no answers to compare with: add a column 'answer' or 'answers'."
            )
        return sum(known) / len(known)

    def to_csv(self, file: str | Path) -> None:
        """Write a prediction file, which `vqazoo eval --predictions` reads.

        Raises:
            DataError: it cannot be written.
        """
        try:
            write_file(Path(file), to_csv(self.examples, self.answers).encode())
        except OSError as error:
            raise DataError(
                f"The predictions '{file}' cannot be written ({error.strerror}): name another file."
            ) from error

    def to_pandas(self) -> Any:
        """A pandas DataFrame."""
        return optional_package("pandas").DataFrame(self.rows)

    def to_datasets(self) -> Any:
        """A `datasets.Dataset`."""
        datasets = optional_package("datasets")
        kinds = {"score": "float64", "answerable": "float64", "correct": "bool"}
        features = {name: datasets.Value(kinds.get(name, "string")) for name in self.rows[0]}
        return datasets.Dataset.from_list(self.rows, features=datasets.Features(features))


def predict_rows(
    model: VQAModel,
    data: Any,
    batch_size: int,
    decode: Mapping[str, Any],
    candidates: Sequence[str] | None = None,
    calibrated: bool = True,
    abstain_at_risk: float | None = None,
    on_picture: Callable[[Any], None] = lambda picture: None,
) -> Predictions:
    """What `VQAModel.predict` does; with candidates, each answer is chosen among these, else those
    of rows with choices among their own.

    Args:
        on_picture: receives the picture of each row, in their order.
    """
    how: dict[str, Any] = {"calibrated": calibrated, "abstain_at_risk": abstain_at_risk}
    check_at_least_one("batch_size", batch_size)
    table = table_rows(data)
    examples: list[Example] = []
    answers: list[Answer] = []
    while batch := list(islice(table, batch_size)):
        pictures = [picture for picture, _ in batch]
        asked = [example for _, example in batch]
        questions = [example.question for example in asked]
        try:
            if candidates is None and not decode and have_choices(asked):
                check_not_held_back(abstain_at_risk)
                answers += model.answer_examples(pictures, asked, calibrated)
            elif candidates is None:
                read = ocr_of(asked)
                answers += model.answer(pictures, questions, ocr_tokens=read, **how, **decode)
            else:
                ranked = model.rank(pictures, questions, candidates, calibrated=calibrated)
                answers += cast("list[Answer]", ranked)
        except ImageError as error:
            rest = chain(pictures, (picture for picture, _ in table))
            raise _all_damaged(error, rest, len(examples) + 1) from error
        examples += asked
        for picture in pictures:
            on_picture(picture)
    if not examples:
        raise DataError("The table has no rows: give one or more.")
    if all(example.comparison is TEXT for example in examples):
        examples = compared_by_stems(examples)
    return Predictions(examples, answers)


def _all_damaged(error: ImageError, pictures: Iterable[Any], first: int) -> ImageError:
    """The error that tells of all rows whose picture cannot be read, not of the first alone."""
    from vqazoo.media.images import open_image
    from vqazoo.media.video import Video, is_video, still

    rows: list[int] = []
    for number, picture in enumerate(pictures, start=first):
        try:
            if is_video(picture):
                still(picture)
            elif not isinstance(picture, Video):
                open_image(picture)
        except ImageError:
            rows.append(number)
    if not rows:
        return error
    shown = ", ".join(map(str, rows[:NAMED_ROWS])) + (", ..." if len(rows) > NAMED_ROWS else "")
    several = "rows" if len(rows) > 1 else "row"
    return ImageError(
        f"The pictures of {len(rows):,} {several} cannot be read ({several} {shown}); of the "
        f"first: {str(error).rstrip('.')}; or leave these rows out."
    )


def table_rows(data: Any) -> Iterator[tuple[Any, Example]]:
    """The picture and the example of each row, one row in memory at a time."""
    if isinstance(data, (str, Path, Mapping)) or not isinstance(data, Iterable):
        given = f"{data!r}"[:60] if isinstance(data, (str, Path)) else f"a {type(data).__name__}"
        hint = ""
        if isinstance(data, Mapping):
            hint = f", such as its part {next(iter(data), 'train')!r}"
        raise DataError(
            f"The data is {given}, but a table was expected{hint}: give a list of dicts, a pandas "
            f"DataFrame, a datasets.Dataset, or what a dataset reader of vqazoo read."
        )
    classes = _classes(data)
    records: Any = data
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # a DataFrame, which iterates names
        records = data.to_dict("records")
    for number, row in enumerate(records, start=1):
        if isinstance(row, Example):
            yield row.image, row
        elif isinstance(row, Mapping):
            yield _row(row, number, classes)
        else:
            raise DataError(
                f"Row {number} is a {type(row).__name__}, but a dict with 'image' and 'question' "
                f"was expected: write one."
            )


def _classes(data: Any) -> dict[str, Classes]:
    """Names of the classes in the answer columns of a `datasets.Dataset`."""
    features: Any = getattr(data, "features", None)
    if not hasattr(features, "to_dict"):
        return {}
    described = features.to_dict()
    column = matched(described, COLUMNS).get(ANSWER_COLUMN, "")
    return {column: class_names(described.get(column))}


def _row(
    row: Mapping[str, Any], number: int, classes: Mapping[str, Classes]
) -> tuple[Any, Example]:
    meant = matched(row, COLUMNS)
    missing = [repr(COLUMNS[a]) for a in (IMAGE_COLUMN, QUESTION_COLUMN) if a not in meant]
    if missing:
        raise DataError(
            f"Row {number} has no {' and no '.join(missing)}, but only "
            f"{', '.join(map(repr, row))}: rename the column{'s' * (len(missing) > 1)}."
        )
    picture, question = row[meant[IMAGE_COLUMN]], row[meant[QUESTION_COLUMN]]
    if isinstance(picture, Mapping):  # of a datasets.Dataset that does not decode
        picture = _decoded(picture, number)
    if not isinstance(question, str):
        raise DataError(
            f"Row {number}: the question is {question!r}, but text was expected: write one."
        )
    where, column, choice = (
        f"Row {number}",
        meant.get(ANSWER_COLUMN, ""),
        meant.get(CHOICES_COLUMN, ""),
    )
    choices = read_choices(row.get(choice), where, choice)
    said = read_chosen(
        row.get(column), choices, where, column, classes.get(column), row.get(choice)
    )
    said = with_lists(said, row.get(CONFIDENCE_LISTS), row.get(RAW_LISTS))
    named = picture if isinstance(picture, (str, Path)) else getattr(picture, "filename", "")
    example = Example(
        Path(named or ""),
        question,
        said.answers,
        _question_id(row, meant.get(ID_COLUMN, ""), number),
        confidences=said.confidences,
        learnt=said.learnt,
        weighted=said.weighted,
        rephrasing_of=rephrased(row, where),
        choices=choices,
        ocr_tokens=read_ocr_tokens(row.get(OCR_COLUMN), where),
        image_path=str(named or ""),
        **labels(row, meant, where),
    )
    return picture, example


def _question_id(row: Mapping[str, Any], column: str, number: int) -> str:
    """The id of a row; in a table without a column of ids, or in a row without one, its number."""
    named = name_of(row.get(column, number))
    if named is None:
        raise DataError(
            f"Row {number}: '{column}' is {repr(row[column])[:60]}, but a text or a whole number "
            f"was expected: write one, or leave the column out."
        )
    return named


def _decoded(cell: Mapping[str, Any], number: int) -> Any:
    """The picture of an object with `bytes` or `path`."""
    from io import BytesIO

    from PIL import Image

    from vqazoo.media.images import FORMATS

    if cell.get("bytes"):
        Image.init()
        readable = [name for name in FORMATS if name in Image.OPEN]
        try:
            return Image.open(BytesIO(cell["bytes"]), formats=readable)
        except OSError as error:
            raise DataError(
                f"Row {number}: the bytes of the picture cannot be read ({error}): give another "
                f"picture."
            ) from error
    return cell.get("path")


def check_not_held_back(risk: float | None) -> None:
    """Raises ConfigError: answers to questions that give choices are to be held back."""
    if risk is not None:
        raise ConfigError(
            "abstain_at_risk is for answers of the model's own, but the rows give choices to "
            "choose from: leave it out, or the column of choices."
        )


def have_choices(examples: Sequence[Example]) -> bool:
    """Whether a question gives answers to choose from."""
    return any(example.choices for example in examples)

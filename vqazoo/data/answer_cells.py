"""Answers out of a cell of a table, in whatever standard layout others wrote it.

Tables of `VQAModel.predict` and the datasets `table` and `hf` all read answers here. Imports only
the standard library.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vqazoo.data.answers import normalise
from vqazoo.errors import DataError

CONFIDENCES = ("yes", "maybe", "no")
WANTED = "a text, a list of texts, or a list of objects with 'answer'"
WRITTEN = re.compile(  # a list, an object or an array, as text
    r"""\s*(\[\s*([uU]?['"]|[{\]\d-]|None|null) | \{\s*['"] | array\(\[ | \[[^\]]*,.*\]\s*$
    | \(\s*[uU]?('[^']*'|"[^"]*")\s*,.*\)\s*$)""",
    re.VERBOSE | re.DOTALL,
)
UNLABELLED = -1  # of a ClassLabel

Classes = Any  # names of classes, where a feature of `datasets` has them: see `class_names`


@dataclass(frozen=True)
class Said:
    """The answers of one row.

    Attributes:
        answers: as published.
        confidences: of each, `yes`, `maybe` or `no`; empty unless all have one.
        learnt: of each what the person said, `raw_answer`; empty unless all have one.
        weighted: answers with their `weight`, best first; `answers` is then the best. Empty unless
            all have one.
    """

    answers: tuple[str, ...] = ()
    confidences: tuple[str, ...] = ()
    learnt: tuple[str, ...] = ()
    weighted: tuple[tuple[str, float], ...] = ()


def read_answers(value: Any, where: str, column: str, classes: Classes = None) -> Said:
    """The answers of one row.

    Read are a text; a list, tuple or array of texts, or of objects with `answer`, as in VQA and
    VizWiz; the object of lists that `datasets` makes of a sequence of those; any of these written
    as JSON or as Python prints it; the numbers of a ClassLabel, if its names are known. A number is
    the text that writes it (3 and 3.0 are `3`), a truth value is `yes` or `no`. Nothing, NaN and
    blank texts are no answer. Objects may have a `weight` from 0 to 1, as `vqazoo label` writes
    them.

    Args:
        where: the row, for messages; column: its column.
        classes: what `class_names` found in the column's feature.

    Raises:
        DataError: anything else, such as bytes or an infinite number.
    """

    shown = repr(value)[:60]

    def unfit(content: Any, hint: str = "write the answers as texts") -> DataError:
        kind = type(content).__name__
        return DataError(
            f"{where}: '{column}' is {shown}, but {WANTED} was expected, and this holds {kind}: "
            f"{hint}."
        )

    value = _named(_plain(value), classes)
    if isinstance(value, str) and WRITTEN.match(value):
        value = _parsed(value)
        if isinstance(value, str):
            raise unfit(value, "it starts like a list that cannot be read; write it as JSON")
    if isinstance(value, Mapping) and isinstance(value.get("answer"), (list, tuple)):
        columns, value = value, _rows(value)
        if value is None:
            raise unfit(columns, "its lists differ in length; give each answer its own")
    entries = value if isinstance(value, (list, tuple)) else [value]
    answers: list[str] = []
    confidences: list[Any] = []
    raw: list[Any] = []
    weights: list[Any] = []
    for entry in entries:
        if isinstance(entry, Mapping) and "answer" not in entry:
            raise unfit(entry)
        text = entry["answer"] if isinstance(entry, Mapping) else entry
        if text is None:
            continue
        if isinstance(text, int | float) and math.isfinite(text):
            text = number_text(text)
        if not isinstance(text, str):
            raise unfit(text)
        if text.strip():
            answers.append(str(text))
            fields = entry if isinstance(entry, Mapping) else {}
            confidences.append(fields.get("answer_confidence"))
            raw.append(fields.get("raw_answer"))
            weights.append(fields.get("weight"))
    if any(weight is not None for weight in weights):
        return _weighted(answers, weights, where, column)
    known = all(confidence in CONFIDENCES for confidence in confidences)
    said = all(isinstance(answer, str) and answer.strip() for answer in raw)
    return Said(tuple(answers), tuple(confidences) if known else (), tuple(raw) if said else ())


def number_text(number: float) -> str:
    """A number as people write it as an answer, a truth value as `yes` or `no`."""
    if isinstance(number, bool):
        return "yes" if number else "no"
    return str(int(number)) if number == int(number) else str(number)


def with_lists(said: Said, confidences: Any, learnt: Any) -> Said:
    """The answers with their confidences and learnt words from columns of their own, as
    `vqazoo data export` writes them; what is not there for every answer is left as it was."""
    count = len(said.answers)
    for name, value in (("confidences", _plain(confidences)), ("learnt", _plain(learnt))):
        texts = tuple(value) if isinstance(value, list | tuple) else ()
        known = all(isinstance(text, str) for text in texts)
        if known and count == len(texts) and (name == "learnt" or set(texts) <= set(CONFIDENCES)):
            said = replace(said, **{name: texts})
    return said


def _weighted(answers: Sequence[str], weights: Sequence[Any], where: str, column: str) -> Said:
    """Answers with weights; the heaviest is the answer, of equals the first."""
    for answer, weight in zip(answers, weights, strict=True):
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not 0 <= weight <= 1:
            raise DataError(
                f"{where}: in '{column}' the answer {answer[:60]!r} has the weight {weight!r}, but "
                f"a number from 0 to 1 was expected of every answer of the row: correct it, or "
                f"leave all weights out."
            )
    if not any(weights):
        raise DataError(
            f"{where}: in '{column}' every answer has the weight 0: give one a larger weight, or "
            f"remove the row."
        )
    pairs = [(answer, float(weight)) for answer, weight in zip(answers, weights, strict=True)]
    pairs.sort(key=lambda pair: -pair[1])
    return Said((pairs[0][0],), weighted=tuple(pairs))


def read_choices(value: Any, where: str, column: str, classes: Classes = None) -> tuple[str, ...]:
    """The choices of one row, in any layout of `read_answers`; empty: it gives none.

    Raises:
        DataError: they cannot be read, there is a single one, or one of several is blank.
    """
    listed = _plain(value)
    if isinstance(listed, str) and WRITTEN.match(listed):
        listed = _parsed(listed)
    blank = [isinstance(listed, list | tuple) and _is_blank(entry) for entry in listed or ()]
    if any(blank) and not all(blank):  # left out, it would move the numbers of the others
        raise DataError(
            f"{where}: '{column}' has a blank choice: fill it in or take it out; a number in the "
            f"answer counts all choices from 0."
        )
    choices = tuple(text.strip() for text in read_answers(value, where, column, classes).answers)
    if len(choices) == 1:
        raise DataError(
            f"{where}: '{column}' has the single choice {choices[0][:60]!r}, but two or more were "
            f"expected: add the others, or leave the cell empty."
        )
    return choices


def _is_blank(entry: Any) -> bool:
    return entry is None or (isinstance(entry, str) and not entry.strip())


def read_chosen(
    value: Any,
    choices: Sequence[str],
    where: str,
    column: str,
    classes: Classes = None,
    written: Any = None,
) -> Said:
    """As `read_answers`, of a row that gives choices: a whole number is that of a choice, from 0.

    Args:
        written: the choices as the row has them; where these are numbers, a number is one of them.

    Raises:
        DataError: as `read_answers`; or no answer is among the choices, or none has that number.
    """
    number = _whole(_plain(value))
    counted = not _are_numbers(_plain(written))
    if choices and counted and classes is None and number is not None:
        if not 0 <= number < len(choices):
            raise DataError(
                f"{where}: '{column}' is {number}, but the {len(choices)} choices have the numbers "
                f"0 to {len(choices) - 1}: correct it."
            )
        value = choices[number]
    said = read_answers(value, where, column, classes)
    known = set(map(normalise, choices))
    if choices and said.answers and not known & set(map(normalise, said.answers)):
        raise DataError(
            f"{where}: the answer {said.answers[0][:60]!r} in '{column}' is none of the choices "
            f"({', '.join(map(repr, choices))[:120]}): correct one of them."
        )
    return said


def _whole(value: Any) -> int | None:
    """A whole number; where cells are missing, pandas and parquet have those of a column as
    floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _are_numbers(choices: Any) -> bool:
    if isinstance(choices, str) and WRITTEN.match(choices):
        choices = _parsed(choices)
    return isinstance(choices, list) and any(isinstance(choice, int | float) for choice in choices)


def class_names(feature: Any) -> Classes:
    """Where a feature of `datasets`, as JSON, holds a ClassLabel: its names, at the same place.

    Args:
        feature: one value of `Features.to_dict()`, or of the metadata that `datasets` writes into
            parquet files.

    Returns:
        A tuple of names; a dict of what its fields have; None where there is no ClassLabel.
    """
    if isinstance(feature, list) and len(feature) == 1:
        return class_names(feature[0])
    if not isinstance(feature, Mapping):
        return None
    kind = feature.get("_type")
    if kind == "ClassLabel":
        return tuple(feature.get("names") or ())
    if kind in ("Sequence", "List", "LargeList"):
        return class_names(feature.get("feature"))
    fields = {name: class_names(field) for name, field in feature.items() if name != "_type"}
    known = {name: names for name, names in fields.items() if names is not None}
    return known or None


def _named(value: Any, classes: Classes) -> Any:
    """The value with the numbers of classes replaced by their names."""
    if classes is None or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_named(child, classes) for child in value]
    if isinstance(value, Mapping) and isinstance(classes, Mapping):
        return {name: _named(child, classes.get(name)) for name, child in value.items()}
    if isinstance(classes, tuple) and isinstance(value, int) and not isinstance(value, bool):
        if value == UNLABELLED:
            return None
        return classes[value] if 0 <= value < len(classes) else value
    return value


def _plain(value: Any) -> Any:
    """Arrays, scalars and missing values of numpy, pandas and torch as those of Python."""
    if isinstance(value, str) or value is None:
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {name: _plain(child) for name, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    if hasattr(value, "tolist"):  # numpy, torch, pandas
        return _plain(value.tolist())
    return value


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Objects out of an object of lists; None if the lists differ in length."""
    count = len(columns["answer"])
    lists = {name: column for name, column in columns.items() if isinstance(column, (list, tuple))}
    if any(len(column) != count for column in lists.values()):
        return None
    return [{name: column[row] for name, column in lists.items()} for row in range(count)]


def _parsed(text: str) -> Any:
    """The list or object that a text writes; the text itself if none can be read."""
    try:
        return _plain(json.loads(text))
    except (ValueError, RecursionError):
        pass
    try:
        return _plain(ast.literal_eval(_with_commas(text)))
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        return text


def _with_commas(text: str) -> str:
    """As numpy prints arrays, "['a' 'b']" has no commas; Python would join the two texts."""
    tokens = list(tokenize.generate_tokens(io.StringIO(text.strip()).readline))
    skipped = (tokenize.NL, tokenize.NEWLINE)
    kept = [token for token in tokens if token.type not in skipped]
    words: list[str] = []
    for before, token in zip([None, *kept], kept, strict=False):
        if before and before.type == token.type == tokenize.STRING:
            words.append(",")
        words.append(token.string)
    return " ".join(words)


def cell_texts(value: Any, separator: str) -> Sequence[Any]:
    """The parts of a cell of CSV: a list written as text is one part, else the separator splits."""
    if not separator or WRITTEN.match(value):
        return [value]
    return [part.strip() for part in value.split(separator)]

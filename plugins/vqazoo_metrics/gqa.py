"""The metrics of GQA beside accuracy, which need its official files of questions and choices.

Grounding, which needs maps of attention and scene graphs, is not computed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo.interfaces import Answer
from vqazoo.metrics import AnswerMetric

COMMON = ["color", "material", "shape"]  # what all choices of such a question are
SAID = 3  # ids named in a message


class OfficialQuestions(AnswerMetric):
    """A metric that reads the official file of the questions."""

    def __init__(self, questions: str) -> None:
        """Raises DataError: no such file."""
        self.file = _named(questions, "questions", "val_all_questions.json")

    def rows(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Iterator[tuple[int, str, Mapping[str, Any], str]]:
        """Row, id, record and answer of each question of the balanced set, which alone counts.

        Raises:
            DataError: the file lacks a question or what is said of it.
        """
        records = _table(self.file)
        absent = [e.question_id for e in examples if e.question_id not in records]
        if absent:
            raise DataError(
                f"'{self.file}' lacks {len(absent):,} questions of the split "
                f"({', '.join(absent[:SAID])}): name the file of the same split."
            )
        for row, (example, answer) in enumerate(zip(examples, answers, strict=True)):
            record = records[example.question_id]
            if record.get("isBalanced", True):
                yield row, example.question_id, record, answer.text

    def said(self, question_id: str, record: Mapping[str, Any], *names: str) -> Any:
        """What the file says of a question.

        Raises:
            DataError: it does not.
        """
        value: Any = record
        for name in names:
            if not isinstance(value, Mapping) or name not in value:
                raise DataError(
                    f"'{self.file}', question {question_id!r}: there is no "
                    f"'{'.'.join(names)}': use the official file of release 1.2."
                )
            value = value[name]
        return value


class Consistency(OfficialQuestions):
    """Of questions that were answered rightly: how many that follow from them were, too.

    These are mostly not in the balanced set, so answers to all questions are needed.
    """

    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        right = {
            e.question_id: answer.text == e.answers[0]
            for e, answer in zip(examples, answers, strict=True)
        }
        scores = np.full(len(examples), np.nan)
        for row, name, record, _ in self.rows(examples, answers):
            entailed = [other for other in self.said(name, record, "entailed") if other != name]
            if not right[name] or not entailed:
                continue
            absent = [other for other in entailed if other not in right]
            if absent:
                raise DataError(
                    f"Consistency needs answers to all that follows from question {name!r}, but "
                    f"{', '.join(absent[:SAID])} are not in the split: answer a split of all "
                    f"questions, such as val-all."
                )
            scores[row] = np.mean([right[other] for other in entailed])
        return {} if np.isnan(scores).all() else {"": scores}


class Distribution(OfficialQuestions):
    """Chi-square of given against true answers in each group of questions, averaged by size."""

    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        true: dict[str, Counter[str]] = defaultdict(Counter)
        given: dict[str, Counter[str]] = defaultdict(Counter)
        for row, name, record, answer in self.rows(examples, answers):
            group = self.said(name, record, "groups", "global")
            if group is not None:
                true[group][examples[row].answers[0]] += 1
                given[group][answer] += 1
        total = sum(counts.total() for counts in true.values())
        if not total:
            return {}
        summed = sum(
            counts.total() * sum((given[group][a] - n) ** 2 / n for a, n in counts.items())
            for group, counts in true.items()
        )
        return {"": summed / total / 100}


class Choices(OfficialQuestions):
    """Validity: the answer is one that the question allows, such as a colour. Plausibility: it
    occurs of that object in the data."""

    def __init__(self, questions: str, choices: str) -> None:
        """Raises DataError: a file is missing."""
        super().__init__(questions)
        self.choices = _named(choices, "choices", "val_choices.json")

    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        choices = _table(self.choices)
        scores = {kind: np.full(len(examples), np.nan) for kind in ("valid", "plausible")}
        for row, name, record, answer in self.rows(examples, answers):
            common = "Common" in self.said(name, record, "types", "detailed")
            for kind, values in scores.items():
                offered = choices.get(name, {}).get(kind)
                if offered is None:
                    raise DataError(
                        f"'{self.choices}' has no '{kind}' of question {name!r}: name the choices "
                        f"of the same split."
                    )
                values[row] = answer in (COMMON if common else offered)
        if np.isnan(scores["valid"]).all():
            return {}
        return {"gqa-validity": scores["valid"], "gqa-plausibility": scores["plausible"]}


def _named(file: str, argument: str, such_as: str) -> Path:
    path = Path(file).expanduser()
    if not file or not path.is_file():
        what = f"'{file}' is no file" if file else "none is named"
        raise DataError(
            f"This metric of GQA needs the official file of {argument}, but {what}: give it with  "
            f"--metric-set NAME.{argument}=FOLDER/{such_as} ."
        )
    return path


def _table(file: Path) -> dict[str, dict[str, Any]]:
    try:
        table = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"'{file}' cannot be read ({error}): get the file again.") from error
    if not isinstance(table, dict) or not all(isinstance(each, dict) for each in table.values()):
        raise DataError(f"'{file}' is no JSON object of objects by question: get the file again.")
    return table

"""Scoring a split: its questions are read, asked and scored here, and nowhere else. Imports torch.

`vqazoo.evaluate` takes what a user names; `vqazoo eval`, `errors`, `compare`, `recipe run` and
`sweep` share its steps: `read_split`, `evaluate_questions`, `scored`; so does the validation of a
training run, by `evaluate_features`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqazoo.calibration.abstaining import guess_of
from vqazoo.config import config_digest
from vqazoo.data import DatasetReader, Example, open_dataset, usable
from vqazoo.data.answers import AnswerList
from vqazoo.data.examples import MISSING_IMAGES
from vqazoo.errors import DataError, UnknownNameError, did_you_mean
from vqazoo.evaluation.abstentions import abstentions, by_validation
from vqazoo.evaluation.answering import Asking, answer_features, answer_split
from vqazoo.evaluation.metric import Metric, by_name
from vqazoo.evaluation.metrics import wups as wups_metric
from vqazoo.evaluation.results import write_results
from vqazoo.evaluation.score import score
from vqazoo.evaluation.tables import Predictions, predict_rows
from vqazoo.features.sources import FeatureSource
from vqazoo.files.writing import METRICS, json_bytes, write_file
from vqazoo.interfaces import Answer
from vqazoo.model import BATCH, VQAModel
from vqazoo.progress import Progress, Report
from vqazoo.registry import registry

IN_MEMORY = "rows in memory"  # data without a registered reader, in signatures
WHOLE = "all"  # the split of data that has none


@dataclass(frozen=True)
class Questions:
    """Questions of a split, ready to be asked.

    Attributes:
        data: name of the dataset as the registry spells it, for signatures; split: of the split.
    """

    data: str
    split: str
    examples: Sequence[Example]

    @property
    def answered(self) -> bool:
        """Whether any question has an answer of people, so that something can be scored."""
        return any(example.answers for example in self.examples)


@dataclass(frozen=True)
class Evaluation:
    """The answers to a split, and what they score.

    Attributes:
        model: what answered: its reference, parts and config digest, and how it was asked; empty
            for answers of others.
        data, split: names as in the signatures of the metrics.
        metrics: each with its signature; empty where no question has an answer of people.
        predictions: the answers with their questions: a sequence of dicts with `to_csv`,
            `to_pandas`, `examples` and `answers`.
        plain: of a calibrated model, the head's own scores of the answers.
    """

    model: str
    data: str
    split: str
    metrics: tuple[Metric, ...]
    predictions: Predictions
    plain: tuple[float, ...] = ()

    def metric(self, name: str) -> Metric:
        """The metric of a name, such as `accuracy`.

        Raises:
            UnknownNameError: it was not measured.
            DataError: nothing was, since the split has no answers.
        """
        metrics = {metric.name: metric for metric in self.metrics}
        if not metrics:
            raise self.unanswered()
        if name not in metrics:
            raise UnknownNameError(
                f"The metric {name!r} was not measured.{did_you_mean(name, metrics)} "
                f"Measured were {', '.join(metrics)}."
            )
        return metrics[name]

    def unanswered(self) -> DataError:
        """What to raise where scores are needed, but no question has an answer of people."""
        return DataError(
            f"The split '{self.split}' of '{self.data}' has no answers: nothing can be scored."
        )

    def to_json(self) -> Mapping[str, dict[str, Any]]:
        """The metrics under their names, as `vqazoo eval --json` prints them."""
        return by_name(self.metrics)

    def write(self, folder: str | Path, pictures: bool = True, seed: int = 0) -> None:
        """Write what `vqazoo eval --out` does: predictions, `metrics.json` and pictures.

        Args:
            pictures: whether to draw the answers, the confusions, and risk against coverage.
            seed: chooses the questions in the picture of answers.

        Raises:
            DataError: the folder cannot be written.
        """
        out = Path(folder).expanduser()
        examples, answers = self.predictions.examples, self.predictions.answers
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_results(out, self.data, examples, answers, seed, pictures, self.plain)
            if self.metrics:
                content = json_bytes([metric.to_json() for metric in self.metrics])
                write_file(out / METRICS, content)
        except OSError as error:
            raise DataError(
                f"The results cannot be written to '{out}' ({error}): name another folder."
            ) from error


def read_split(
    data: str | DatasetReader,
    args: Mapping[str, Any],
    split: str,
    skip_missing: bool = False,
    missing: Path = Path(MISSING_IMAGES),
    report: Report = print,
    look: bool = True,
) -> Questions:
    """The questions of a split whose pictures are there.

    Args:
        data: name of a dataset, with its arguments, or a reader.
        skip_missing: leave out questions without a readable picture, and report it; False: stop.
        missing: where such pictures are listed.
        look: whether to look for pictures; False: they are not needed.

    Raises:
        UnknownNameError, ConfigError, DataError: the dataset, its arguments, a file, the split or
            a picture cannot be used.
    """
    reader, name = named_reader(data, args, split)
    examples = reader.read(split)
    if look:
        examples = with_pictures(examples, skip_missing, missing, report)
    return Questions(name, split, examples)


def named_reader(
    data: str | DatasetReader, args: Mapping[str, Any], split: str
) -> tuple[DatasetReader, str]:
    """The reader of a dataset that has the split, and the dataset's name in signatures.

    Raises:
        As `read_split`.
    """
    if isinstance(data, DatasetReader):
        reader, name = data, data.registered_as or f"{type(data).__name__} (not registered)"
    else:
        name = registry.canonical("dataset", data)
        reader = open_dataset(name, registry.fill("dataset", name, dict(args)))
    reader.check_split(split)
    return reader, name


def with_pictures(
    examples: Sequence[Example], skip_missing: bool, missing: Path, report: Report
) -> list[Example]:
    """Those whose picture can be used; see `read_split`."""
    kept, left_out = usable(examples, skip_missing, missing)
    if left_out:
        report(f"Left out {left_out:,} questions without a picture, listed in '{missing}'.")
    return kept


def evaluate_questions(
    model: VQAModel,
    questions: Questions,
    asking: Asking | None = None,
    wups: bool | None = None,
    cache: str | Path = "",
    report: Report = print,
    progress: Progress = lambda steps, _: iter(steps),
    reference: str = "",
) -> Evaluation:
    """Ask a model every question of a split, and score what it answers.

    Args:
        asking: decode options or candidates; None: the model's own way.
        wups, cache, report: as for `vqazoo.evaluate`; reference: by which the model was loaded.

    Raises:
        ConfigError, CacheError, ImageError: as `answer_split`.
        DataError: WUPS was asked for, but WordNet is not there.
    """
    asking = asking or Asking()
    _check_wups(wups)
    plain: list[float] = []
    answers = answer_split(model, questions.examples, asking, progress, cache, report, plain=plain)
    return _of_model(model, questions, answers, asking, wups, report, reference, plain=plain)


def evaluate_features(
    model: VQAModel, questions: Questions, source: FeatureSource, start: int = 0
) -> Evaluation:
    """As `evaluate_questions`, of features that are there; measures only what is quick to measure.

    Args:
        source: whose rows from `start` on are the questions.
    """
    examples = questions.examples
    answers = answer_features(model, source, len(examples), start, examples=examples)
    return _of_model(model, questions, answers, Asking(), quick=True)


def evaluate_table(
    model: VQAModel,
    rows: Iterable[Any],
    split: str = WHOLE,
    asking: Asking | None = None,
    wups: bool | None = None,
    report: Report = print,
    reference: str = "",
) -> Evaluation:
    """As `evaluate_questions`, of rows as `VQAModel.predict` takes them; nothing is cached."""
    asking = asking or Asking()
    asking.check(model)
    _check_wups(wups)
    predicted = predict_rows(
        model,
        rows,
        BATCH,
        asking.decode,
        asking.candidates,
        asking.calibrated,
        asking.abstain_at_risk,
    )
    questions = Questions(IN_MEMORY, split, predicted.examples)
    return _of_model(model, questions, predicted.answers, asking, wups, report, reference)


def scored(
    questions: Questions,
    answers: Sequence[Answer],
    known: AnswerList | None = None,
    wups: bool | None = None,
    report: Report = print,
    decode: str = "",
    model: str = "",
    quick: bool = False,
    confidence: str = "answer score",
) -> Evaluation:
    """The evaluation of given answers, of whoever gave them.

    Args:
        known, wups, decode, quick, confidence: as for `score`; model: what answered, see
            `Evaluation`. Of answers that were held back, what they were is scored.
    """
    metrics: list[Metric] = []
    if questions.answered:
        examples, data, split = questions.examples, questions.data, questions.split
        said = [guess_of(answer) for answer in answers]
        metrics = score(examples, said, data, split, known, wups, report, decode, quick, confidence)
    predictions = Predictions(questions.examples, answers)
    return Evaluation(model, questions.data, questions.split, tuple(metrics), predictions)


def signature(model: VQAModel, reference: str = "") -> str:
    """What tells one model from another: its reference, parts and config digest."""
    config = model.config
    parts = (
        f"image:{config.image_encoder.type}",
        f"text:{config.text_encoder.type}",
        f"fusion:{config.fusion.type}",
        f"head:{config.head.type}",
        f"config:{config_digest(config)[:8]}",
    )
    return "|".join((reference or "in memory", *parts))


def known_answers(model: VQAModel) -> AnswerList | None:
    """The answers that a model learnt, for its baselines; None: it has no list."""
    return model.answers if len(model.answers) else None


def _of_model(
    model: VQAModel,
    questions: Questions,
    answers: Sequence[Answer],
    asking: Asking,
    wups: bool | None = None,
    report: Report = print,
    reference: str = "",
    quick: bool = False,
    plain: Sequence[float] = (),
) -> Evaluation:
    how = asking.signature(model, questions.examples)
    made_by = signature(model, reference) + (f"|decode:{how}" if how else "")
    if asking.abstain_at_risk is not None:
        made_by += f"|abstain_at_risk:{asking.abstain_at_risk:g}"
    known, confidence = known_answers(model), asking.confidence(model)
    found = scored(questions, answers, known, wups, report, how, made_by, quick, confidence)
    chosen = asking.candidates is not None or asking.chooses(questions.examples)
    if quick or not questions.answered or chosen:
        return found
    where = questions.examples, answers, questions.data, questions.split
    metrics = [*found.metrics, *abstentions(*where, asking.abstain_at_risk, how)]
    if model.calibration is None or not asking.calibrated or asking.decode:
        return replace(found, metrics=tuple(metrics))
    metrics += by_validation(*where, plain, model.calibration, how)
    return replace(found, metrics=tuple(metrics), plain=tuple(plain))


def _check_wups(wanted: bool | None) -> None:
    """Raise DataError where WUPS is asked for without WordNet, before the questions are asked."""
    if wanted:
        wups_metric.wordnet_similarity()

"""Scoring a split: its questions are read, asked and scored here, and nowhere else. Imports torch.

`vqazoo.evaluate` takes what a user names; `vqazoo eval`, `errors`, `compare`, `recipe run` and
`sweep` share its steps: `read_split`, `evaluate_questions`, `scored`; so does the validation of a
training run, by `evaluate_features`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vqazoo.answering import BATCH
from vqazoo.calibration.abstaining import guess_of
from vqazoo.config import config_digest
from vqazoo.data import DatasetReader, Example, open_dataset, usable
from vqazoo.data.answers import AnswerList
from vqazoo.data.own_files import dataset_of_file
from vqazoo.evaluation.abstentions import abstentions, by_validation
from vqazoo.evaluation.answering import Asking, answer_features, answer_split
from vqazoo.evaluation.checks import Checking, with_checks
from vqazoo.evaluation.chosen_metrics import Chosen, build_metrics
from vqazoo.evaluation.clusters import content_key, told_by_content
from vqazoo.evaluation.evaluation import Evaluation
from vqazoo.evaluation.flaws import flaw_metrics
from vqazoo.evaluation.metric import Metric, told_by_path
from vqazoo.evaluation.metrics import wups as wups_metric
from vqazoo.evaluation.metrics.significance import Pictures
from vqazoo.evaluation.score import score
from vqazoo.evaluation.tables import Predictions, predict_rows
from vqazoo.faults import faults_named
from vqazoo.features.sources import FeatureSource
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel
from vqazoo.progress import Progress, Report, in_lines, unshown
from vqazoo.registry import registry

IN_MEMORY = "rows in memory"  # data without a registered reader, in signatures
WHOLE = "all"  # the split of data that has none


@dataclass(frozen=True)
class Questions:
    """Questions of a split, ready to be asked.

    Attributes:
        data: name of the dataset as the registry spells it, for signatures; split: of the split.
        metrics: by which the answers are scored beside the dataset's own, with their arguments.
    """

    data: str
    split: str
    examples: Sequence[Example]
    metrics: Chosen = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether any question has an answer of people, so that something can be scored."""
        return any(example.answers for example in self.examples)


def read_split(
    data: str | DatasetReader,
    args: Mapping[str, Any],
    split: str,
    skip_missing: bool = False,
    missing: Path | None = None,
    report: Report = print,
    look: bool = True,
) -> Questions:
    """The questions of a split whose pictures are there.

    Args:
        data: name of a dataset, with its arguments, a file that one reads, or a reader.
        skip_missing: leave out questions without a readable picture, and report it; False: stop.
        missing: the file in which such pictures are listed; None: nowhere.
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
        named, given = dataset_of_file(data, split)
        name = registry.canonical("dataset", named)
        reader = open_dataset(name, registry.fill("dataset", name, {**given, **args}))
    reader.check_split(split)
    return reader, name


def with_pictures(
    examples: Sequence[Example], skip_missing: bool, missing: Path | None, report: Report
) -> list[Example]:
    """Those whose picture can be used; see `read_split`."""
    kept, left_out = usable(examples, skip_missing, missing, in_lines(report))
    if left_out:
        listed = f", listed in '{missing}'" if missing else ""
        report(f"Left out {left_out:,} questions without a picture{listed}.")
    return kept


@faults_named()
def evaluate_questions(
    model: VQAModel,
    questions: Questions,
    asking: Asking | None = None,
    wups: bool | None = None,
    cache: str | Path = "",
    report: Report = print,
    progress: Progress = unshown,
    reference: str = "",
    checking: Checking | None = None,
) -> Evaluation:
    """Ask a model every question of a split, and score what it answers.

    Args:
        asking: decode options or candidates; None: the model's own way.
        checking: what is checked beside the score; None: nothing.
        wups, cache, report: as for `vqazoo.evaluate`; reference: by which the model was loaded.

    Raises:
        ConfigError, CacheError, ImageError: as `answer_split`.
        DataError: WUPS was asked for, but WordNet is not there; or a metric lacks what it needs.
    """
    asking = asking or Asking()
    _check_wups(wups)
    build_metrics(questions.metrics)
    plain: list[float] = []
    answers = answer_split(model, questions.examples, asking, progress, cache, report, plain=plain)
    told = told_by_content(questions.examples, cache)
    evaluation = _of_model(
        model, questions, answers, asking, wups, report, reference, plain=plain, pictures=told
    )
    if checking is None:
        return evaluation
    sources = [example.image for example in questions.examples]
    return with_checks(evaluation, model, sources, told, asking, checking, progress, report)


def evaluate_features(
    model: VQAModel,
    questions: Questions,
    source: FeatureSource,
    start: int = 0,
    progress: Progress = unshown,
) -> Evaluation:
    """As `evaluate_questions`, of features that are there; measures only what is quick to measure.

    Args:
        source: whose rows from `start` on are the questions.
        progress: shows the batches that are answered.
    """
    examples = questions.examples
    answers = answer_features(
        model, source, len(examples), start, examples=examples, progress=progress
    )
    return _of_model(model, questions, answers, Asking(), quick=True)


@faults_named()
def evaluate_table(
    model: VQAModel,
    rows: Iterable[Any],
    split: str = WHOLE,
    asking: Asking | None = None,
    wups: bool | None = None,
    report: Report = print,
    reference: str = "",
    checking: Checking | None = None,
    progress: Progress = unshown,
    metrics: Chosen | None = None,
) -> Evaluation:
    """As `evaluate_questions`, of rows as `VQAModel.predict` takes them; nothing is cached.

    To be checked, all pictures are kept until the end.
    """
    asking = asking or Asking()
    asking.check(model)
    _check_wups(wups)
    build_metrics(metrics or {})
    seen: list[str] = []
    sources: list[Any] = []

    def on_picture(picture: Any) -> None:
        seen.append(content_key(picture))
        if checking is not None:
            sources.append(picture)

    predicted = predict_rows(
        model,
        rows,
        BATCH,
        asking.decode,
        asking.candidates,
        asking.calibrated,
        asking.abstain_at_risk,
        on_picture,
    )
    questions = Questions(IN_MEMORY, split, predicted.examples, metrics or {})
    told = [key or path for key, path in zip(seen, told_by_path(predicted.examples), strict=True)]
    evaluation = _of_model(
        model, questions, predicted.answers, asking, wups, report, reference, pictures=told
    )
    if checking is None:
        return evaluation
    return with_checks(evaluation, model, sources, told, asking, checking, progress, report)


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
    pictures: Pictures | None = None,
) -> Evaluation:
    """The evaluation of given answers, of whoever gave them.

    Args:
        known, wups, decode, quick, confidence, pictures: as for `score`; model: what answered, see
            `Evaluation`. Of answers that were held back, what they were is scored.
    """
    metrics: Sequence[Metric] = ()
    if questions.answered:
        examples, data, split = questions.examples, questions.data, questions.split
        said = [guess_of(answer) for answer in answers]
        metrics = score(
            examples,
            said,
            data,
            split,
            known,
            wups,
            report,
            decode,
            quick,
            confidence,
            pictures,
            questions.metrics,
        )
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
    pictures: Pictures | None = None,
) -> Evaluation:
    how = asking.signature(model, questions.examples)
    made_by = signature(model, reference) + (f"|decode:{how}" if how else "")
    if asking.abstain_at_risk is not None:
        made_by += f"|abstain_at_risk:{asking.abstain_at_risk:g}"
    known, confidence = known_answers(model), asking.confidence(model)
    found = scored(
        questions, answers, known, wups, report, how, made_by, quick, confidence, pictures
    )
    chosen = asking.candidates is not None or asking.chooses(questions.examples)
    if quick or not questions.answered or chosen:
        return found
    where = questions.examples, answers, questions.data, questions.split
    metrics = [*found.metrics, *abstentions(*where, asking.abstain_at_risk, how)]
    if model.head_manifest.flaws:
        metrics += flaw_metrics(*where, how)
    if model.calibration is None or not asking.calibrated or asking.decode:
        return replace(found, metrics=tuple(metrics))
    metrics += by_validation(*where, plain, model.calibration, how)
    return replace(found, metrics=tuple(metrics), plain=tuple(plain))


def _check_wups(wanted: bool | None) -> None:
    """Raise DataError where WUPS is asked for without WordNet, before the questions are asked."""
    if wanted:
        wups_metric.wordnet_similarity()

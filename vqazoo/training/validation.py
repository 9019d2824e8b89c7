"""Validation of a run: what is measured, which value chooses the best model. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from vqazoo.card.facts import VALIDATION
from vqazoo.config import RunConfig, TrainingConfig
from vqazoo.data.answers import MOST_FREQUENT, apply_rule, select_answer
from vqazoo.errors import ConfigError, TrainingError
from vqazoo.evaluation.metric import Metric
from vqazoo.evaluation.split import Questions, evaluate_features, known_answers, scored
from vqazoo.evaluation.summary import main_metric
from vqazoo.evaluation.tables import have_choices
from vqazoo.features.sources import FeatureSource
from vqazoo.interfaces import Answer, Head, Targets
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.progress import Progress, unshown
from vqazoo.toolkit.losses import batch_sums, row_units
from vqazoo.training.data import RunData
from vqazoo.training.doubts import doubts_of_answers, doubts_of_fit, doubts_of_pictures
from vqazoo.training.optimisation import AveragedWeights
from vqazoo.training.question_alone import answers_by_question
from vqazoo.training.run_folder import save_best
from vqazoo.training.steps import check_weights, joined_loss, kept_best, move, take

LOSS_BATCH = 512  # validation rows whose loss is computed at once
LEARNT = 200  # training questions, at most, that the best model is asked to compare


class Validation:
    """The validation questions of a run, and the best model so far, which is kept in a folder."""

    def __init__(
        self,
        model: VQAModel,
        data: RunData,
        config: RunConfig,
        best: Path,
        environment: Mapping[str, Any],
        progress: Progress = unshown,
    ) -> None:
        """Prepare the targets of the loss; `progress` shows the batches that are answered.

        Raises:
            ConfigError: the loss is monitored, but no validation question has one.
        """
        self._model, self._config, self._first = model, config, data.train_count
        self._best, self._environment, self._progress = best, environment, progress
        self._questions = Questions(config.data.type, VALIDATION, data.validation)
        self._train = data.train
        learnt = data.train[: min(LEARNT, len(data.validation))]
        self._learnt = Questions(config.data.type, config.data.train_split, learnt)
        examples = apply_rule(MOST_FREQUENT, data.validation, config.seed)
        self._targets = move(model.head.targets(examples), model.device)
        check_monitor(config.training, model.head, self._targets)
        self.doubts: list[str] = []  # about the best model of this process' epochs

    def run(
        self,
        source: FeatureSource,
        averaged: AveragedWeights,
        best: float,
        epoch: int,
    ) -> tuple[dict[str, float | None], float]:
        """Validation values and the monitored one; a model that is as good as `best` is saved.

        Args:
            source: of the rows of all examples of the run.
            averaged: averages of what trains, which are validated.

        Raises:
            TrainingError: weights or the loss are not finite.
        """
        model, config = self._model, self._config
        with averaged.in_place():
            weights = (p for p in model.parameters() if p.requires_grad)
            check_weights(weights, epoch, self._best)
            evaluation = evaluate_features(
                model, self._questions, source, self._first, self._progress
            )
            metrics = evaluation.metrics
            values: dict[str, float | None] = {metric.name: metric.value for metric in metrics}
            values["loss"] = mean_loss(model, source, self._targets, self._first)
            check_validation(values["loss"], epoch, self._best)
            value = monitored(config.training, values)
            if value >= best:  # of equals the later, which learnt longer
                save_best(model, self._best, config, metrics, self._environment)
                answers = [answer.text for answer in evaluation.predictions.answers]
                gold = [select_answer(example.to_learn) for example in self._questions.examples]
                self.doubts = list(doubts_of_answers(answers, gold, values))
                self.doubts += () if self.doubts else self._doubts_of_pictures(metrics)
                self.doubts += self._doubts_of_fit(metrics, source)
        return values, value

    def _doubts_of_pictures(self, metrics: Sequence[Metric]) -> Iterator[str]:
        """Whether the score on validation says more than that of the question alone does."""
        best, alone = main_metric(metrics), self._alone
        if best is not None and best.interval is not None and best.name in alone:
            yield from doubts_of_pictures(best.name, best.value, best.interval[0], alone[best.name])

    @cached_property
    def _alone(self) -> dict[str, float]:
        """What the answers of the most similar training questions score, by the metric's name;
        nothing where the model never sees the picture or the question, or chooses among given
        answers, or several hold."""
        model, asked = self._model, self._questions
        one_sided = model.fusion_manifest.ignores or model.head_manifest.flaws
        if one_sided or have_choices(asked.examples):
            return {}
        said = answers_by_question(self._train, asked.examples, self._config.seed)
        answers = [Answer(text, math.nan) for text in said]
        evaluation = scored(asked, answers, known_answers(model), quick=True)
        return {metric.name: metric.value for metric in evaluation.metrics}

    def _doubts_of_fit(self, metrics: Sequence[Metric], source: FeatureSource) -> Iterator[str]:
        """What the score on training questions says of that on validation."""
        learnt = evaluate_features(self._model, self._learnt, source).metrics
        best = main_metric(metrics)
        same = [metric for metric in learnt if best is not None and metric.name == best.name]
        if best is not None and best.interval is not None and same:
            rows, high = same[0].questions, best.interval[1]
            yield from doubts_of_fit(best.name, same[0].value, rows, best.value, high)


def mean_loss(model: VQAModel, source: FeatureSource, targets: Targets, first: int) -> float | None:
    """Loss of the rows from `first` on together, in eval mode; None if they teach nothing."""
    units = row_units(model.head, targets)
    sums = dict.fromkeys(units, 0.0)
    count = len(next(iter(targets.values())))
    with evaluating(model), torch.inference_mode():
        for start in range(0, count, LOSS_BATCH):
            rows = torch.arange(start, min(start + LOSS_BATCH, count))  # (b,)
            fused = model.fusion(*source.batch(rows + first))
            terms, _ = batch_sums(model.head, fused, take(targets, rows.to(model.device)))
            for name, total in terms.items():
                sums[name] += total.item()
    counted = {name: each.double().sum().item() for name, each in units.items()}
    return joined_loss(model.head, sums, counted)


def monitored(training: TrainingConfig, values: Mapping[str, float | None]) -> float:
    """The value that chooses the best model, higher is better."""
    value = values.get(training.monitor)
    if value is None:
        there = [name for name, measured in values.items() if measured is not None]
        raise ConfigError(
            f"training.monitor is '{training.monitor}', but the validation questions only allow "
            f"{', '.join(there)}: choose one of these."
        )
    return -value if training.monitor == "loss" else value


def check_monitor(training: TrainingConfig, head: Head, validation: Targets) -> None:
    """Raise ConfigError if the loss is monitored, but no validation question has one."""
    units = {name: each.double().sum().item() for name, each in row_units(head, validation).items()}
    if training.monitor == "loss" and joined_loss(head, dict.fromkeys(units, 0.0), units) is None:
        raise ConfigError(
            "training.monitor is 'loss', but none of the validation questions has an answer that "
            "the head can learn, so they have no loss: monitor accuracy, or give other questions "
            "or more answers (data.most_answers)."
        )


def check_validation(loss: float | None, epoch: int, best: Path) -> None:
    """Raise TrainingError for a validation loss that is no number."""
    if loss is not None and not math.isfinite(loss):
        raise TrainingError(
            f"The validation loss is {loss} in epoch {epoch}: lower training.learning_rate or look "
            f"at the validation questions{kept_best(best)}."
        )

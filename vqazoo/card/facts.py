"""What the files of a checkpoint folder say, read for the model card. Imports no torch."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vqazoo.card.energy import CARBON, ENERGY
from vqazoo.config import Block, DataConfig, ModelConfig, RunConfig, fill_block, parse, run_config
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError, ConfigError, PluginError, UnknownNameError
from vqazoo.files.writing import ANSWERS, BLOCKS, CONFIG, DECODE, ENVIRONMENT, METRICS, RECIPE
from vqazoo.hub.files import BUNDLED
from vqazoo.manifests import DatasetManifest, EncoderManifest, FusionManifest, HeadManifest
from vqazoo.registry import registry

LOG = "log.jsonl"
LOSS_FIGURE = "loss.png"
PICTURES = {
    LOSS_FIGURE: "loss and validation accuracy by epoch",
    "answers.png": "questions with the model's answers, green right, red wrong",
    "confusion.png": "type of the answer given by type of the question",
    "risk-coverage.png": "share of wrong answers by share of questions answered",
    "calibration.png": "share of right answers by how sure the model says it is",
    "checks.png": "scores of changed questions and pictures, and by strength of damage",
}
VALIDATION = "validation"  # the split name of metrics that the training loop measures


@dataclass(frozen=True)
class Measured:
    """One entry of metrics.json.

    Attributes:
        data: dataset that was scored, from the signature.
        interval_method: what the interval was drawn over; empty: an older release, questions.
        others: as in `vqazoo.evaluation.metric.Metric`.
    """

    name: str
    value: float
    split: str
    questions: int
    signature: str
    date: str
    data: str
    interval: tuple[float, float] | None = None
    interval_method: str = ""
    smallest_difference: float | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p_value: float | None = None
    undefined: str = ""

    @property
    def kind(self) -> tuple[str, str, str]:
        """Base, field and group of `accuracy/answer-type=number`; else the name and blanks."""
        base, _, part = self.name.partition("/")
        field, _, group = part.partition("=")
        return base, field, group


@dataclass(frozen=True)
class Facts:
    """What is known of a trained model.

    Attributes:
        name: of the model; listed: whether the zoo has it under this name.
        checkpoint: config.json; model: the parts in it.
        recipe: recipe.toml; None if there is none, as in a folder saved by hand.
        environment: environment.json or nothing; answers: None if there is no answers.json.
        log: one table an epoch; empty if there is no log.
        pictures: files beside the card, out of PICTURES.
    """

    name: str
    listed: bool
    checkpoint: Mapping[str, Any]
    model: ModelConfig
    recipe: RunConfig | None
    metrics: Sequence[Measured]
    environment: Mapping[str, Any]
    answers: AnswerList | None
    log: Sequence[Mapping[str, Any]]
    pictures: frozenset[str]

    @property
    def data(self) -> DataConfig | None:
        """What it was trained on."""
        return self.recipe.data if self.recipe else None

    @property
    def dataset(self) -> DatasetManifest | None:
        if self.data is None:
            return None
        return registry.manifest("dataset", self.data.type)

    @property
    def languages(self) -> list[str]:
        """Of questions and answers, as the Hub spells them; empty: nobody says."""
        stated = self.recipe.language if self.recipe else ""
        told = stated or (self.dataset.language if self.dataset else "")
        return [language.strip() for language in told.split(",") if language.strip()]

    @property
    def fusion(self) -> FusionManifest:
        return registry.manifest("fusion", self.model.fusion.type)

    @property
    def head(self) -> HeadManifest:
        return registry.manifest("head", self.model.head.type)

    @property
    def shows_pictures(self) -> bool:
        """Whether pictures of the dataset may be passed on."""
        return self.dataset is not None and self.dataset.shows_pictures

    def encoder(self, tower: str) -> EncoderManifest:
        """The manifest of the `image` or `text` encoder."""
        block = self.model.image_encoder if tower == "image" else self.model.text_encoder
        return registry.manifest("encoder", block.type)

    def reference(self, tower: str) -> Mapping[str, str] | None:
        """Where the weights of the `image` or `text` encoder come from; None: from this folder."""
        towers = self.checkpoint.get("towers", {})
        return _source(towers.get("both", towers.get(tower, {})))

    def license(self, tower: str) -> str:
        """The licence of an encoder's weights, in words."""
        reference = self.reference(tower)
        if reference is None:
            return "none: no pretrained weights"
        if reference.get("license"):
            return reference["license"]
        if reference["kind"] == "hub":
            return "see its repository"
        return self.encoder(tower).license or "not stated"

    def base_models(self) -> list[str]:
        """Hub repositories of the encoders' weights."""
        repositories: list[str] = []
        for tower in ("image", "text"):
            reference = self.reference(tower)
            if reference and reference["kind"] == "hub":
                repositories.append(reference["source"])
            elif reference and reference["kind"] == "package":
                repositories += self.encoder(tower).base_model
        return list(dict.fromkeys(repositories))

    def scored(self) -> list[tuple[str, str]]:
        """Dataset and split of every score: what the recipe tests first, validation last."""
        pairs = dict.fromkeys((m.data, m.split) for m in self.metrics)
        own = (self.data.type, self.data.test_split) if self.data else None
        return sorted(pairs, key=lambda pair: (pair != own, pair[1] == VALIDATION, pair))

    def find(self, name: str, where: tuple[str, str]) -> Measured | None:
        """A metric by its name; the last one measured if there are several."""
        metrics = [m for m in self.metrics if m.name == name and (m.data, m.split) == where]
        return metrics[-1] if metrics else None


def read_facts(files: Mapping[str, bytes], name: str, listed: bool) -> Facts:
    """Facts from the contents of a checkpoint folder.

    Raises:
        CheckpointError: there is no config.json, or a file cannot be understood.
        UnknownNameError, PluginError: a part of the model is not installed.
    """
    if CONFIG not in files:
        raise CheckpointError(
            f"The card of '{name}' cannot be made: there is no {CONFIG}, which names the parts of "
            f"the model; use the folder as `vqazoo train` wrote it."
        )
    recipe, reading = None, RECIPE
    try:
        if RECIPE in files:
            recipe = run_config(tomllib.loads(files[RECIPE].decode("utf-8-sig")))
        reading = CONFIG
        checkpoint = _checkpoint(json.loads(files[CONFIG]))
        blocks = {
            role: fill_block(kind, parse(Block, checkpoint[role], role))
            for role, kind in BLOCKS.items()
        }
        reading = ENVIRONMENT
        environment = _environment(json.loads(files.get(ENVIRONMENT, b"{}")))
        reading = METRICS
        metrics = [_measured(entry) for entry in json.loads(files.get(METRICS, b"[]"))]
        reading = LOG
        log = [_logged(json.loads(line)) for line in files.get(LOG, b"").splitlines() if line]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, ConfigError) as error:
        raise CheckpointError(
            f"The card of '{name}' cannot be made: {reading} is not as `vqazoo train` and `vqazoo "
            f"eval` write it ({type(error).__name__}: {' '.join(str(error).split())}); get the "
            f"folder again."
        ) from error
    answers = None
    if ANSWERS in files:
        try:
            saved = json.loads(files[ANSWERS])
        except (ValueError, RecursionError):
            saved = None  # which no answer list is
        answers = AnswerList.from_json(saved, ANSWERS)
    pictures = frozenset(PICTURES) & frozenset(files)
    model = ModelConfig(**blocks, decode=_table(checkpoint.get(DECODE, {})))
    return Facts(
        name, listed, checkpoint, model, recipe, metrics, environment, answers, log, pictures
    )


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a table was expected, not {value!r}")
    return value


def _source(tower: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Where an encoder's weights come from, also when they are included."""
    reference: Mapping[str, str] | None = tower.get(BUNDLED) or tower.get("reference")
    return reference


def _checkpoint(value: Any) -> dict[str, Any]:
    """config.json, with what the card takes from it."""
    config = _table(value)
    for tower in _table(config.get("towers", {})).values():
        tower["reference"]
        reference = _source(tower)
        if reference is not None:
            str(reference["kind"]), str(reference["source"])
    pixels = _table(config.get("preprocess", {}))
    width, height = pixels.get("size", (0, 0))
    if not isinstance(pixels.get("mode", ""), str):
        raise TypeError(f"a mode was expected, not {pixels['mode']!r}")
    counts = _table(config.get("parameters", {"total": 0, "trainable": 0}))
    int(width), int(height), int(counts["total"]), int(counts["trainable"])
    return config


def _logged(value: Any) -> dict[str, Any]:
    line = _table(value)
    float(line["seconds"]), float(line.get("encoding_seconds", 0.0))
    float(line.get(ENERGY, 0.0)), float(line.get(CARBON, 0.0))
    return line


def _environment(value: Any) -> dict[str, Any]:
    environment = _table(value)
    if not isinstance(parts := _table(environment.get("energy", {})).get("parts", []), list):
        raise TypeError(f"a list was expected, not {parts!r}")
    return environment


def _measured(entry: Any) -> Measured:
    data = re.search(r"(?:^|\|)data:([^|]*)", entry["signature"])
    dataset = data[1] if data else ""
    with suppress(UnknownNameError, PluginError):  # of a plugin that is not here
        dataset = registry.canonical("dataset", dataset)  # older releases kept what users typed
    return Measured(
        str(entry["name"]),
        float(entry["value"]),
        str(entry["split"]),
        int(entry["questions"]),
        str(entry["signature"]),
        str(entry.get("date", "")),
        dataset,
        _ends(entry.get("interval")),
        str(entry.get("interval_method", "")),
        _number(entry.get("smallest_difference")),
        _number(entry.get("difference")),
        _ends(entry.get("difference_interval")),
        _number(entry.get("p_value")),
        str(entry.get("undefined", "")),
    )


def _ends(low_high: Any) -> tuple[float, float] | None:
    return (float(low_high[0]), float(low_high[1])) if low_high else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)

"""The model card: README.md of a checkpoint folder, generated from what the run recorded.

Every number comes from the folder's files; what was not recorded is said to be so. Generated
sections stand between marks, and what people write around them survives: see card/prose.py.
Front matter follows the Hugging Face Hub's model cards.
Imports jinja2 and huggingface_hub, but no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqazoo.card import checks as card_checks
from vqazoo.card import metrics as card_metrics
from vqazoo.card import sections as card_sections
from vqazoo.card import training as card_training
from vqazoo.card.energy import co2_eq_emissions
from vqazoo.card.facts import LOG, LOSS_FIGURE, PICTURES, Facts, read_facts
from vqazoo.card.hub_results import hub_results
from vqazoo.card.prose import join, marked, merge, prose, sections, unmatched, with_stated
from vqazoo.catalogue import list_models
from vqazoo.config import read_toml
from vqazoo.errors import CheckpointError, ConfigError
from vqazoo.files.places import public
from vqazoo.files.reading import MIB, read_plain
from vqazoo.files.switch import recover, steady
from vqazoo.files.writing import (
    ANSWERS,
    BEST,
    CARD,
    CONFIG,
    ENVIRONMENT,
    EVAL_RESULTS,
    METRICS,
    RECIPE,
    editing,
    json_bytes,
    write_file,
)
from vqazoo.templates import fill

if TYPE_CHECKING:
    from vqazoo.evaluation.metric import Metric

__all__ = [
    "PICTURES",
    "card_files",
    "card_text",
    "merge",
    "prose",
    "refresh",
    "render_card",
    "with_stated",
    "write_card",
]

LARGEST_FILE = 32 * MIB  # of a file that a card is made from
EXAMPLES = "answers.png"  # holds pictures of the dataset; the others are plots
DRAWN = (  # what `eval` draws
    EXAMPLES,
    "confusion.png",
    "risk-coverage.png",
    "calibration.png",
    card_checks.FIGURE,
)
TASK = "visual-question-answering"
SECTIONS: dict[str, Callable[[Facts], str]] = {  # generated ones of card.md
    "summary": card_metrics.headline,
    "parts": card_sections.parts,
    "run": card_sections.how_to_run,
    "data": card_sections.data,
    "metrics": card_metrics.metrics,
    card_checks.SECTION: card_checks.checks,
    "types": card_metrics.types,
    "abstention": card_metrics.abstention,
    "failures": card_metrics.failures,
    "examples": card_sections.examples,
    "training": card_training.training,
    "origin": card_training.origin,
    "reproduce": card_training.reproduce,
    "cite": card_training.cite,
}


def render_card(files: Mapping[str, bytes], name: str) -> str:
    """A card with nothing in it that somebody wrote.

    Args:
        files: contents of a checkpoint folder by name: config.json, and as far as they are there
            recipe.toml, metrics.json, environment.json, answers.json, log.jsonl; of pictures only
            the names count.
        name: of the model, as a user types it.

    Raises:
        CheckpointError: a file is missing or broken.
        UnknownNameError, PluginError: a part of the model is not installed.
    """
    facts = read_facts(files, name, name in list_models())
    kind = public(facts.data.type) if facts.data else "its training data"
    body = fill(
        __file__,
        "card.md",
        name=name,
        kind=kind,
        checked=card_checks.checked(facts.metrics),
        section=lambda section: marked(section, SECTIONS[section](facts)),
    )
    return join(front_matter(facts), body)


def front_matter(facts: Facts) -> dict[str, Any]:
    """Metadata for the Hub; its results are all metrics that are defined, in percent."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=public(metric.data) or "unknown",
            dataset_name=public(metric.data) or "unknown",
            dataset_split=metric.split,
            metric_type=metric.name,
            metric_value=round(100 * metric.value, 2),
        )
        for metric in facts.metrics
        # Checks are of changed pictures, which are not the dataset's.
        if not card_checks.is_check(metric) and not metric.undefined
    ]
    front = card_sections.description(facts)
    if emissions := co2_eq_emissions(facts):
        front["co2_eq_emissions"] = emissions
    if not results:
        front["model_name"] = facts.name
    else:
        card = ModelCardData(model_name=facts.name, eval_results=results)
        front["model-index"] = card.to_dict()["model-index"]
    return front


# ---- folders --------------------------------------------------------------------------------


@dataclass(frozen=True)
class RenewedCard:
    """What writing a card did.

    Attributes:
        renewed: generated sections in it, in order; deleted: those that a person left out.
        edited: whether the text around them is not as generated.
        unmarked: whether there was a card without marks, which is kept as text.
        unmatched: marks without a partner.
    """

    file: Path
    name: str
    renewed: list[str]
    deleted: list[str]
    edited: bool
    unmarked: bool
    unmatched: list[str]

    def facts(self) -> dict[str, Any]:
        """All but the file, for JSON."""
        return {key: value for key, value in vars(self).items() if key != "file"}


def write_card(folder: Path, name: str = "") -> RenewedCard:
    """Write README.md of a checkpoint folder anew, keeping what people wrote in it.

    The log and the loss curve of the run folder around it are copied into it. Scores of data sets
    of the Hub are written beside it as the Hub reads them.

    Args:
        name: of the model; empty: the recipe's, else that of the folder (of the run, for `best`).

    Raises:
        CheckpointError: a file is missing or broken, or cannot be written.
        UnknownNameError, PluginError: a part of the model is not installed.
    """
    with editing(folder):
        return _write(folder, card_files(folder), name)


def refresh(folder: Path, measured: Sequence[Metric], results: Path | None = None) -> None:
    """Add metrics to a checkpoint folder's metrics.json, replacing older ones of the same
    signature, and write its card anew.

    Args:
        results: folder with the pictures that `eval` drew, which are copied beside the card.

    Raises:
        CheckpointError, UnknownNameError, PluginError: as `write_card`.
    """
    with editing(folder):
        _write(folder, _with_metrics(folder, measured, results))


def _with_metrics(
    folder: Path, measured: Sequence[Metric], results: Path | None
) -> dict[str, bytes]:
    """What a card is made from, with the new metrics and pictures."""
    files = card_files(folder)
    try:
        known = json.loads(files.get(METRICS, b"[]"))
        fresh = [metric.to_json() for metric in measured]
        renewed = {_whatever_sure(metric["signature"]) for metric in fresh}
        kept = card_checks.without_older(
            [m for m in known if _whatever_sure(m["signature"]) not in renewed], fresh
        )
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"'{folder / METRICS}' is not a list of metrics ({error}): delete it, or get the "
            f"checkpoint again."
        ) from error
    files[METRICS] = json_bytes([*kept, *fresh])
    facts = read_facts(files, "", False)
    shown = DRAWN if facts.shows_pictures else [name for name in DRAWN if name != EXAMPLES]
    for picture in shown:
        if results is not None and (results / picture).is_file():
            files[picture] = (results / picture).read_bytes()
    return files


def _whatever_sure(signature: str) -> str:
    """A signature that does not tell calibrated scores from others: a model's card has one."""
    return signature.replace("confidence:calibrated answer score", "confidence:answer score")


def card_files(folder: Path) -> dict[str, bytes]:
    """What a card is made from: the files of a checkpoint folder, and of the run folder around it.

    Raises:
        CheckpointError: it is not a checkpoint folder, or a file cannot be read.
    """
    return steady(folder, lambda: _card_files(folder))


def _card_files(folder: Path) -> dict[str, bytes]:
    recover(folder)
    if not (folder / CONFIG).is_file():
        inside = (folder / BEST / CONFIG).is_file()
        hint = f"name '{folder / BEST}'" if inside else "name the folder that holds it"
        raise CheckpointError(f"'{folder}' has no {CONFIG}, so it is no checkpoint folder: {hint}.")
    names = (CONFIG, RECIPE, METRICS, ENVIRONMENT, ANSWERS, LOG, CARD, *PICTURES)
    run = folder.absolute().parent
    try:
        files = {n: read_plain(folder / n, LARGEST_FILE) for n in names if (folder / n).is_file()}
        if folder.absolute().name == BEST and (run / RECIPE).is_file():
            for name in (LOG, LOSS_FIGURE):
                if (run / name).is_file():
                    files[name] = (run / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"'{folder}' cannot be read ({error}): check its rights.") from error
    return files


def model_name(folder: Path, recipe: Mapping[str, Any]) -> str:
    """The name of the model in a folder: the recipe's, else the folder's, else the run's."""
    folder = folder.absolute()
    own = folder.parent.name if folder.name == BEST else folder.name
    return str(recipe.get("name") or own or "model")


def card_text(content: bytes, folder: Path) -> str:
    """The card of a folder as text. Raises CheckpointError if it is not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"'{folder / CARD}' is not UTF-8 text ({error}): save it as UTF-8."
        ) from error


def _write(folder: Path, files: Mapping[str, bytes], name: str = "") -> RenewedCard:
    """Write the card, and those of the files that differ from what the folder holds."""
    if not name:
        try:
            name = model_name(folder, read_toml(folder / RECIPE) if RECIPE in files else {})
        except ConfigError as error:
            raise CheckpointError(f"The card of '{folder}' cannot be made: {error}") from error
    old = card_text(files.get(CARD, b""), folder)
    fresh = render_card(files, name)
    first = card_checks.first_time(folder / METRICS, files.get(METRICS, b"[]"))
    card = merge(old, fresh, first)
    written = {**files, CARD: card.encode()}
    if results := hub_results(read_facts(files, name, False)).content:
        written[EVAL_RESULTS] = results
    try:
        for file, content in written.items():
            place = folder / file
            if not place.is_file() or place.read_bytes() != content:
                place.parent.mkdir(exist_ok=True)
                write_file(place, content)
    except OSError as error:
        raise CheckpointError(
            f"The card of '{folder}' cannot be written ({error}): free space or check its rights."
        ) from error
    renewed, offered = sections(card), sections(fresh)
    return RenewedCard(
        folder / CARD,
        name,
        renewed,
        [section for section in offered if section not in renewed],
        prose(card) != prose(fresh),
        bool(old.strip()) and not sections(old),
        unmatched(card),
    )

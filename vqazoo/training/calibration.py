"""Calibrating a model: the best one of a run at its end, or any one on a user's questions.

Imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.calibration import Calibration
from vqazoo.card import model_name, write_card
from vqazoo.card.facts import PICTURES, VALIDATION
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import config_with_calibration, write_calibration
from vqazoo.config import RunConfig, read_toml
from vqazoo.data import DatasetReader, Example
from vqazoo.errors import CheckpointError, ConfigError, DataError
from vqazoo.evaluation.calibrating import fit, in_words, why_not
from vqazoo.evaluation.clusters import content_key
from vqazoo.evaluation.evidence import Evidence, gather
from vqazoo.evaluation.split import IN_MEMORY, WHOLE, Questions, read_split, with_pictures
from vqazoo.evaluation.tables import table_rows
from vqazoo.features.encoding import encode_pictures
from vqazoo.features.sources import (
    LiveImages,
    LiveQuestions,
    PairedFeatures,
    Side,
    image_side,
    question_side,
)
from vqazoo.files.reading import memory, read_plain
from vqazoo.files.replacing import check_new, new_folder
from vqazoo.files.switch import steady
from vqazoo.files.writing import (
    CARD,
    CONFIG,
    ENVIRONMENT,
    METRICS,
    RECIPE,
    read_config,
    write_folder,
)
from vqazoo.interfaces import Features
from vqazoo.keywords import names_keywords
from vqazoo.model import VQAModel, pick_device
from vqazoo.modes import evaluating
from vqazoo.progress import Progress, Report, unshown
from vqazoo.training.data import read_run_data
from vqazoo.zoo.evaluate import tell_leak
from vqazoo.zoo.models import Found, find, load_found, whole_reference
from vqazoo.zoo.recipes import run_recipe_of

KEPT = (RECIPE, METRICS, ENVIRONMENT, CARD, *PICTURES)  # of a repository, besides what is loaded


def calibrate_best(
    best: Path,
    validation: Sequence[Example],
    config: RunConfig,
    device: torch.device,
    report: Report,
    progress: Progress,
) -> None:
    """Fit temperatures and thresholds of the best model to the validation questions, and keep them
    in its checkpoint; what cannot be fitted is reported.

    Frozen encoders are not asked again: their features are in the cache of the run.

    Raises:
        CheckpointError: the checkpoint cannot be read or written.
    """
    model, training = load_checkpoint(best).to(device), config.training
    live = training.features == "live"
    evidence = _evidence(model, validation, live, training.cache, report, progress)
    if reason := why_not(evidence):
        report(f"Not calibrated: {reason}.")
        return
    calibration = fit(evidence, config.data.type, VALIDATION)
    write_calibration(best, calibration)
    report(f"The best model is {in_words(calibration)}.")


def _evidence(
    model: VQAModel,
    examples: Sequence[Example],
    live: bool,
    cache: str,
    report: Report,
    progress: Progress,
) -> Evidence:
    """What a model answers to examples with files of pictures; frozen encoders have a cache."""
    with evaluating(model):
        images: Side
        questions: Side
        if live or model.trains_tower("image"):
            images = LiveImages(model, examples)
        else:
            images = image_side(model, examples, progress, cache, report)
        if live or model.trains_tower("text"):
            questions = LiveQuestions(model, examples)
        else:
            questions = question_side(model, examples, progress, cache, report)
        source = PairedFeatures(images, questions)
        return gather(model, source, examples, progress=progress)


@names_keywords
def calibrate(
    model: str | VQAModel,
    data: Any = None,
    split: str = "",
    *,
    out: str | Path | None = None,
    data_args: Mapping[str, Any] | None = None,
    skip_missing: bool = False,
    missing: str | Path | None = None,
    device: str = "auto",
    cache: str | Path = "",
    report: Report = print,
    progress: Progress = unshown,
) -> Calibration:
    """Fit a model's calibration to questions whose answers are known; nothing is trained.

    Args:
        model: a model, whose `calibration` is set; or a reference, as `vqazoo.load` takes it.
        data: name of a dataset, a reader of one, or a table as `VQAModel.predict` takes it. None:
            the validation questions of the recipe of a referenced model.
        split: of a dataset; default: `validation`.
        out: folder for a copy of a referenced model with its new calibration. None: it is written
            into the folder itself, which must be given as `dir:PATH`.
        data_args, skip_missing, missing, device, cache, report, progress: as for `vqazoo.evaluate`.

    Raises:
        DataError: there are too few questions with answers, or a file, row or picture is unusable.
        ConfigError: the arguments do not fit each other.
        VqazooError: as `vqazoo.load`, of a reference.
    """
    reference = whole_reference(model) if isinstance(model, str) else ""
    target = _target(reference, out)
    found = find(reference, names=KEPT) if reference else None
    # Of before it is loaded: a folder that is replaced since then is not taken for that model.
    fitted_to = read_config(found.folder)["sha256"] if found and found.folder else None
    loaded = load_found(found).to(pick_device(device)) if found else model
    assert not isinstance(loaded, str)
    place = Path(missing) if missing else None
    if data is None or isinstance(data, str | DatasetReader):
        named = _named(found, data, split, data_args or {}, report)
        examples = with_pictures(named.examples, skip_missing, place, report)
        name, split = named.data, named.split
        if data is not None and found and found.folder is not None:
            tell_leak(found.folder, examples, report)
        evidence = _evidence(loaded, examples, False, str(cache), report, progress)
    else:
        name, split = IN_MEMORY, split or WHOLE
        pairs = list(table_rows(data))
        examples = [example for _, example in pairs]
        keys = [content_key(picture) for picture, _ in pairs]
        evidence = gather(loaded, _Shown(loaded, pairs), examples, pictures=keys, progress=progress)
    if reason := why_not(evidence):
        raise DataError(f"The model cannot be calibrated on '{split}' of '{name}': {reason}.")
    calibration = fit(evidence, name, split)
    loaded.calibration = calibration
    if found is not None and target is not None:
        if found.folder is None:
            loaded.save(target)
        elif out is None:
            write_calibration(target, calibration, fitted_to)
            write_card(target)
        else:
            _write_copy(found.folder, target, calibration, fitted_to)
        report(f"'{target}' is {in_words(calibration)}.")
    return calibration


class _Shown:
    """Pictures in memory, encoded for each batch."""

    def __init__(self, model: VQAModel, pairs: Sequence[tuple[Any, Example]]) -> None:
        self._model, self._pairs = model, pairs

    def batch(self, rows: Tensor) -> tuple[Features, Features]:
        asked = [self._pairs[row] for row in rows.tolist()]
        pictures, numbers = distinct_objects([picture for picture, _ in asked])
        image = encode_pictures(self._model, [self._model.transform(each) for each in pictures])
        place = numbers.to(self._model.device)
        return image.index(place), self._model.encode_text([e.question for _, e in asked])


def distinct_objects(values: Sequence[Any]) -> tuple[list[Any], Tensor]:
    """The distinct objects in order of first use, and for each row the number of its own."""
    number: dict[int, int] = {}
    rows = [number.setdefault(id(value), len(number)) for value in values]
    first = {id(value): value for value in values}
    return [first[key] for key in number], torch.tensor(rows)


def _target(reference: str, out: str | Path | None) -> Path | None:
    """The folder that is written; None: of a model in memory."""
    if not reference:
        if out is not None:
            raise ConfigError("A model in memory is calibrated as it is: leave out 'out', save it.")
        return None
    if out is None and not reference.startswith("dir:"):
        raise ConfigError(
            f"'{reference}' is no folder of your own, so a copy of it is calibrated: name a folder "
            f"for it with --out."
        )
    target = Path(reference.removeprefix("dir:") if out is None else out).expanduser()
    if out is not None:
        check_new(target, ConfigError)
    return target


def _named(
    found: Found | None,
    data: str | DatasetReader | None,
    split: str,
    args: Mapping[str, Any],
    report: Report,
) -> Questions:
    """The questions of a dataset that is named, or those that a recipe validates on."""
    if data is not None:
        return read_split(data, args, split or VALIDATION, report=report, look=False)
    if found is None or found.folder is None:
        raise ConfigError(
            "No data is named, and no recipe of the model says any: give data, with answers that "
            "the model did not learn from."
        )
    recipe = run_recipe_of(found.folder)
    own = replace(recipe.data, args={**recipe.data.args, **args})
    if split:
        return read_split(own.type, own.args, split, report=report, look=False)
    run = read_run_data(replace(recipe, data=own), None)
    return Questions(own.type, VALIDATION, run.validation)


def _write_copy(
    folder: Path, target: Path, calibration: Calibration, fitted_to: Mapping[str, str] | None
) -> None:
    """A checkpoint folder with all that it holds and its new calibration, whole or not at all."""

    def read() -> dict[str, bytes]:
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        names = {file.relative_to(folder).as_posix(): file for file in files}
        kept = {name: file for name, file in names.items() if not name.startswith(".")}
        return {name: read_plain(file, memory()) for name, file in kept.items()}

    try:
        with new_folder(target, ConfigError) as fresh:
            contents = steady(folder, read)
            config = read_config(folder, contents.get(CONFIG))
            contents[CONFIG] = config_with_calibration(folder, config, calibration, fitted_to)
            write_folder(fresh, contents)
            recipe = read_toml(fresh / RECIPE) if (fresh / RECIPE).is_file() else {}
            write_card(fresh, model_name(target, recipe))
    except OSError as error:
        raise CheckpointError(
            f"The copy could not be written to '{target}' ({error}): free space or name another "
            f"folder."
        ) from error

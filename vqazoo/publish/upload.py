"""What a push uploads: the files of a checkpoint folder that others may see. Imports torch.

Only the names listed here are read. What they may say is decided by `vqazoo.files.places`.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqazoo.card import PICTURES, card_text, render_card, with_stated
from vqazoo.card.facts import LOG, read_facts
from vqazoo.card.hub_results import hub_results
from vqazoo.config import RunConfig, parse, plain, run_config, shareable, to_toml
from vqazoo.errors import CheckpointError, ConfigError, WeightsError
from vqazoo.files.included import read_included
from vqazoo.files.places import Places, check_loadable, is_local, without_notes
from vqazoo.files.reading import memory, parse_json, read_plain, shown
from vqazoo.files.tensors_header import check_tensors_header
from vqazoo.files.writing import (
    ANSWERS,
    CARD,
    CONFIG,
    ENVIRONMENT,
    EVAL_RESULTS,
    METRICS,
    MODEL_SIGNATURE,
    RECIPE,
    REQUIRED,
    WEIGHTS,
)
from vqazoo.hub.requests import HubRef

EXTRAS = (CARD, METRICS, RECIPE, ENVIRONMENT, LOG, *PICTURES)  # what is taken besides REQUIRED
TRAVELLING = (*EXTRAS, EVAL_RESULTS, MODEL_SIGNATURE)  # what others get besides REQUIRED
LICENSE = re.compile("[a-z0-9][a-z0-9.+-]*")
LANGUAGE = re.compile("[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True)
class Upload:
    """The files of one push.

    Attributes:
        weights: file of the trained tensors.
        files: contents of all others by name, but for the card.
        card: the folder's, as people edited it; fresh: as generated now, without edits.
        left_out: data sets whose scores the Hub is not told, as it has them under no known id.
    """

    weights: Path
    files: Mapping[str, bytes]
    card: str
    fresh: str
    left_out: tuple[str, ...] = ()

    def sizes(self, card: str) -> dict[str, int]:
        """Bytes of every file by name, with this card."""
        sizes = {WEIGHTS: self.weights.stat().st_size}
        sizes |= {name: len(content) for name, content in self.files.items()}
        return {**sizes, CARD: len(card.encode())}


def front_statements(license: str, language: str) -> dict[str, Any]:
    """Front matter that states a licence and languages, as the Hub spells them.

    Args:
        license, language: as a user says them; empty: nothing is stated.

    Raises:
        ConfigError: one is spelt in another way.
    """
    if license and not LICENSE.fullmatch(license):
        raise ConfigError(
            f"The licence is {license!r}, but an identifier as the Hub spells it was expected, "
            f"such as mit, apache-2.0, cc-by-4.0 or other."
        )
    languages = [code.strip() for code in language.split(",") if code.strip()]
    if not all(LANGUAGE.fullmatch(code) for code in languages):
        raise ConfigError(
            f"The language is {language!r}, but codes as the Hub spells them were expected, such "
            f"as en, or en,de."
        )
    stated: dict[str, Any] = {"license": license} if license else {}
    if languages:
        stated["language"] = languages if len(languages) > 1 else languages[0]
    return stated


def prepare(
    folder: Path,
    source: Path,
    name: str,
    stated: Mapping[str, Any] | None = None,
    ref: HubRef | None = None,
) -> Upload:
    """Read what a push uploads.

    Args:
        folder: the checkpoint folder; source: that with config, weights and answers, which is
            another one if encoders are included.
        name: of the model, for its card.
        stated: of the front matter of its card, whatever that says.
        ref: where it goes, which is the source of its scores.

    Raises:
        CheckpointError: a file cannot be read, is a link that leads out of the folder, or has a
            path of this machine where others need another, or one among its answers.
        WeightsError: an encoder is read from this machine, so nobody else could load the model.
    """
    files = {file: read_plain(source / file, memory()) for file in REQUIRED if file != WEIGHTS}
    config = json.loads(files[CONFIG])
    check_loadable(config, included=source != folder)
    _check_notes(source / WEIGHTS)
    included = read_included(source, config)
    for file in EXTRAS:
        if os.path.lexists(folder / file):
            files[file] = read_plain(folder / file, memory())
    own = card_text(files.pop(CARD, b""), folder)
    here = Places(folder.absolute(), source.absolute())
    here.learn(json.loads(read_plain(folder / CONFIG, memory())))
    files |= _without_paths(files, folder / RECIPE, here)  # which learns the recipe's places
    _check_answers(files[ANSWERS], here)
    for file, content in included.items():
        _check_included(file, content, here)
    fresh = render_card(files, here.value(name))
    if stated:
        own, fresh = (with_stated(card, stated) if card else "" for card in (own, fresh))
    own, fresh = here.text(own), here.text(fresh)
    results = hub_results(read_facts(files, here.value(name), False), _source(ref))
    if results.content:
        files[EVAL_RESULTS] = results.content
    return Upload(source / WEIGHTS, files | included, own or fresh, fresh, results.left_out)


def _source(ref: HubRef | None) -> dict[str, str]:
    """Where the Hub's results say that the scores can be read."""
    if ref is None:
        return {}
    from huggingface_hub import constants

    place = f"{constants.ENDPOINT}/{ref.repo}/blob/{ref.revision or 'main'}/{METRICS}"
    return {"source_url": place, "source_name": "vqazoo eval"}


def _check_notes(weights: Path) -> None:
    """Refuse a weights file whose notes name a place of this machine: its digest is recorded."""
    content = read_plain(weights, memory())
    check_tensors_header(content, weights)
    header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    notes = header.get("__metadata__", {})
    if Places(weights.parent).document(notes) != notes:
        raise CheckpointError(
            f"The metadata of '{weights}' name a path of this machine: load the model and save it "
            f"anew, which writes none."
        )


def _check_answers(content: bytes, here: Places) -> None:
    """Refuse answers that name a place of this machine: their digest is recorded.

    One that only looks like a path is data: `/home` or `c:\\windows` may stand on a picture.
    """
    saved = parse_json(content)
    saved.pop("counts", None)  # numbers
    for place, answer in enumerate(saved.pop("answers")):
        if here.named_in(answer):
            raise CheckpointError(
                f"{ANSWERS} has as answer {place} {shown(answer)}, a path of this machine: train "
                f"with answers that leave it out."
            )
    if here.document(saved) != saved:
        raise CheckpointError(
            f"{ANSWERS} names a path of this machine beside its answers: load the model and save "
            f"it anew, which writes none."
        )


def _check_included(name: str, content: bytes, here: Places) -> None:
    """Refuse an encoder's file that names a place of this machine, such as a second folder.

    Tokens and merges are data, as answers are.
    """
    text = content.decode("utf-8", errors="replace")
    if any(here.named_in(line) for line in text.splitlines()):
        raise WeightsError(
            f"The encoder's file '{name}' names a path of this machine, which must not be "
            f"published and leads nowhere elsewhere: take it out of the file, and train again."
        )


def _without_paths(files: Mapping[str, bytes], recipe: Path, here: Places) -> dict[str, bytes]:
    """All files but those a model is loaded from, without places of this machine."""
    cleaned = {}
    if RECIPE in files:
        try:
            config = run_config(tomllib.loads(files[RECIPE].decode("utf-8-sig")))
        except (ValueError, ConfigError) as error:
            raise CheckpointError(f"'{recipe}' is not a recipe ({error}): correct it.") from error
        cleaned[RECIPE] = _recipe(config, here)
    for name in (METRICS, ENVIRONMENT, LOG):
        if name in files:
            cleaned[name] = here.json(name, files[name], lines=name == LOG)
    cleaned |= {name: without_notes(files[name]) for name in PICTURES if name in files}
    return cleaned


def _recipe(config: RunConfig, here: Places) -> bytes:
    """The recipe as others may see it; `here` learns the paths in it."""
    data, training = config.data, config.training
    here.learn(plain(config))
    folder = data.type.partition(":")[2]
    for value in (*data.args.values(), folder, data.answers, training.cache):
        if isinstance(value, str) and is_local(value):
            here.add(value)
    shared = plain(shareable(config))
    return to_toml(parse(RunConfig, here.document(shared))).encode()

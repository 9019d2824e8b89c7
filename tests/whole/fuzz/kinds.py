"""The folders that are damaged, and what reads each: it loads as before, or says a sentence."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_bytes

from tests.plugins.encoders.tiny import hf_clip, hf_text, open_clip_configs
from tests.support.hostile import GOLDEN
from tests.whole.fuzz.damage import copied, damage
from vqazoo.card import card_files, render_card
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import saved_tensors
from vqazoo.errors import CacheError, VqazooError
from vqazoo.features.cache import FeatureCache
from vqazoo.files.included import INCLUDED
from vqazoo.interfaces import Features
from vqazoo.registry import registry
from vqazoo.training.state import read_log, read_position

KEYS = ["a", "b", "c"]
WEIGHTS = "model.safetensors"
READ = (".json", ".jsonl", ".safetensors", ".toml", ".txt")
LINE = {"stage": 1, "epoch": 1, "loss": 0.5, "lr": 0.001, "seconds": 1.0}


@dataclass(frozen=True)
class Kind:
    """A folder, what reads a copy of it, and whether a stranger may have made it."""

    folder: Path
    read: Callable[[Path], None]
    special: bool
    weight: int


def make_kinds(root: Path) -> dict[str, Kind]:
    """All of them; the encoder 'toy' must be registered."""
    checkpoint = root / "made" / "checkpoint"
    checkpoint.mkdir(parents=True)
    for name in ("config.json", WEIGHTS, "answers.json"):
        shutil.copyfile(GOLDEN / "linear" / name, checkpoint / name)
    run = root / "made" / "run"
    shutil.copytree(GOLDEN / "linear", run / "best")
    lines = [json.dumps({**LINE, "epoch": number}) + "\n" for number in (1, 2, 3)]
    (run / "log.jsonl").write_text("".join(lines))
    position = {"epoch": 3, "total": 3}
    state = {"model.x": torch.zeros(2), "optimiser.step.x": torch.zeros(1)}
    metadata = {"config": "0" * 64, "position": json.dumps(position), "scaler": "{}", "data": "{}"}
    (run / "state.safetensors").write_bytes(safetensors_bytes(state, metadata))
    text, clip = hf_text(root / "made" / "text", "bert"), hf_clip(root / "made" / "clip", "clip")
    open_clip = root / "made" / "open-clip"
    open_clip.mkdir()
    config = {"model_cfg": open_clip_configs(root / "made")["tiny-vit"], "preprocess_cfg": {}}
    (open_clip / "open_clip_config.json").write_text(json.dumps(config))
    cache = FeatureCache(root / "made" / "cache", {"made": "here"})
    with cache.writing():
        cache.add(KEYS, Features(torch.arange(6.0).reshape(3, 2)))
    answers = shutil.ignore_patterns("inputs.json", "outputs.json")
    including = GOLDEN.parent / "format-2" / "hf-text"
    including = Path(shutil.copytree(including, root / "made" / "including", ignore=answers))
    return {
        "checkpoint": Kind(checkpoint, read_checkpoint, True, 4),
        "run": Kind(run, read_run, False, 3),
        "cache": Kind(cache.folder, read_cache, False, 3),
        "text": Kind(text, read_text, True, 2),
        "clip": Kind(clip, read_clip, True, 1),
        "open-clip": Kind(open_clip, read_open_clip, True, 1),
        "including": Kind(including, read_checkpoint, True, 2),
    }


def attempt(kinds: dict[str, Kind], seed: int, place: Path) -> tuple[str, str]:
    """Harm one file of one folder, and read it; the kind, and `loaded` or the error's name.

    Raises:
        AssertionError: it ends in anything but a sentence or a load, or the load is not correct.
    """
    chance = random.Random(seed)
    name = chance.choices(list(kinds), [kind.weight for kind in kinds.values()])[0]
    kind = kinds[name]
    folder = copied(kind.folder, place / "tried" / name)
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.suffix in READ)
    file = chance.choice(files)
    harm = damage(file, chance, kind.special)
    if name in ("checkpoint", "including") and chance.random() < 0.7:
        seal(folder)
    told = f"seed {seed}: {harm} of {file.relative_to(folder.parent)}"
    try:
        kind.read(folder)
    except VqazooError as error:
        return name, type(error).__name__
    except BaseException as error:
        raise AssertionError(f"{told}: {type(error).__name__}: {str(error)[:300]}") from error
    return name, "loaded"


def seal(folder: Path) -> None:
    """Make the digests in config.json true, as an attacker would, where it is one."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_bytes()) if file.is_file() else {}
        for name in (WEIGHTS, "answers.json"):
            if (folder / name).is_file():
                digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
                config["sha256"][name] = digest
        for one in (one for tower in config["towers"].values() for one in tower.get("files", [])):
            small = folder / one["source"] / one["file"]
            if one["kind"] == INCLUDED and small.is_file():
                one["sha256"] = hashlib.sha256(small.read_bytes()).hexdigest()
        file.write_text(json.dumps(config))
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError):
        return


def read_checkpoint(folder: Path) -> None:
    model = load_checkpoint(folder)
    stored, found = load_file(folder / WEIGHTS), saved_tensors(model)
    assert stored.keys() == found.keys()
    for name, tensor in stored.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, equal_nan=True)
    render_card(card_files(folder), "tried")


def read_run(run: Path) -> None:
    position = read_position(run / "state.safetensors")
    log = read_log(run / "log.jsonl", position.total)
    assert all(type(entry["epoch"]) is int for entry in log)
    render_card(card_files(run / "best"), "tried")


def read_cache(folder: Path) -> None:
    cache = FeatureCache(folder, {"made": "here"})
    there = [key for key in KEYS if key not in cache.missing(KEYS)]
    cache.drop_unreadable(there)
    there = [key for key in there if key not in cache.missing(KEYS)]
    cache.damaged()
    if not there:
        return
    try:
        rows = cache.read(there).batch(torch.arange(len(there)))
    except CacheError:
        return
    assert all(len(tensor) == len(there) for tensor in rows.values())


def read_text(folder: Path) -> None:
    _ask("hf-text", folder, {"pooling": "auto", "normalize": False})


def read_clip(folder: Path) -> None:
    _ask("hf-clip", folder, {})


def read_open_clip(folder: Path) -> None:
    encoder = registry.build(
        "encoder", "open-clip:x", f"local-dir:{folder}", frozenset({"image"}), activation="auto"
    )
    assert encoder.spec.image is not None


def _ask(name: str, folder: Path, args: dict[str, Any]) -> None:
    """Load an encoder; its tensors are then those of the file."""
    encoder = registry.build("encoder", f"{name}:x", str(folder), frozenset({"text"}), **args)
    encoder.load_pretrained()
    stored = load_file(folder / WEIGHTS)
    for key, tensor in encoder.state_dict().items():
        own = stored.get(key.removeprefix("model."))
        assert own is None or torch.allclose(own.float(), tensor, equal_nan=True), key

"""Loading a model from a checkpoint folder: built, then every tensor of the file in its place.

Referenced encoders must be those that the model was trained on. Imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from vqazoo.building import assemble, build_towers
from vqazoo.checkpoint.allowance import Allowance, largest_number
from vqazoo.checkpoint.folder import FAILURES, TRAIN_AGAIN, Folder, read_folder
from vqazoo.checkpoint.saving import saved_tensors
from vqazoo.compatibility import check_compatible
from vqazoo.errors import CheckpointError
from vqazoo.files.reading import shown
from vqazoo.files.writing import BLOCKS, CONFIG, WEIGHTS
from vqazoo.hub.files import pinned, pinned_commits
from vqazoo.interfaces import Encoder, Preprocess, fingerprint
from vqazoo.model import VQAModel
from vqazoo.toolkit.assigning import assign
from vqazoo.toolkit.finite import bounded_names, check_finite, check_pretrained, fill_pretrained
from vqazoo.toolkit.read_files import check_files
from vqazoo.toolkit.unfilled import Unfilled

DTYPES = ("float32", "float64", "float16", "bfloat16")
LISTED = 10  # tensor names listed in an error


def load_checkpoint(path: Path, content: bytes | None = None) -> VQAModel:
    """The model in a checkpoint folder, in eval mode on the CPU.

    Args:
        content: of config.json, if it was read before.

    Raises:
        CheckpointError: as `read_folder`; or tensors are missing, left over, infinite, or of
            another shape.
        WeightsError: a referenced encoder cannot be had, or is of nan.
    """
    folder = read_folder(path, content, finite=False)  # looked at below, once
    model = _build(folder)
    said = folder.config.get("dtype", "float32")
    if said not in DTYPES:
        raise CheckpointError(
            f"'{path / CONFIG}' says the dtype {shown(said)}, but one of {', '.join(DTYPES)} was "
            f"expected: get the checkpoint again."
        )
    model.to(getattr(torch, said))
    model.set_trainable(folder.config["trainable"])
    try:
        _load_references(model, folder)
        _check_preprocess(model, folder)
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"'{path / CONFIG}' describes its encoders or pixels in an unknown way ({error!r}): "
            f"get the checkpoint again."
        ) from error
    expected = saved_tensors(model)
    _check_tensors(expected, folder)
    assign(model, folder.tensors, expected)
    check_finite(folder.tensors, f"'{path / WEIGHTS}'", TRAIN_AGAIN, bounded_names(model))
    model.calibration = folder.calibration
    return model.eval()


def _build(folder: Folder) -> VQAModel:
    """The model, not filled yet, unless config.json asks for more than its file justifies."""
    config, where = folder.model, folder.path / CONFIG
    stored = folder.tensors
    rest = {name: tensor for name, tensor in stored.items() if not name.startswith("towers.")}
    towers = folder.config["towers"]
    referenced = any(
        isinstance(tower, dict) and tower.get("reference") for tower in towers.values()
    )
    try:
        with pinned(pinned_commits(folder.config)):
            check_compatible(*(getattr(config, block).type for block in BLOCKS))
            held = None if referenced else stored
            with Allowance("larger encoders", held, config, where, unfilled=True):
                encoders = build_towers(config, apart="both" not in towers)
            with Allowance("a larger fusion or head", rest, config, where, unfilled=True):
                return assemble(config, encoders, folder.answers)
    except FAILURES as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"The parts that '{where}' describes cannot be built ({shown(reason)[1:-1]}; "
            f"{largest_number(config)}): get the checkpoint again."
        ) from error


def _load_references(model: VQAModel, folder: Folder) -> None:
    """Load each referenced encoder once and check that it is the one the model was trained on."""
    blocks = {"both": "image_encoder", "image": "image_encoder", "text": "text_encoder"}
    for key, module in model.towers.items():
        encoder, name = cast(Encoder, module), folder.config[blocks[key]]["type"]
        saved = folder.config["towers"][key]
        if fingerprint(encoder) != saved["fingerprint"]:
            raise CheckpointError(
                f"The encoder '{name}' has other tensor names or shapes here than when this "
                f"checkpoint was trained: install the library versions that its card names."
            )
        check_files(encoder, saved, name)
        if saved["reference"] is None:
            continue
        trained_on = saved["reference"]["sha256"]
        with pinned(pinned_commits(folder.config)), Unfilled():
            fill_pretrained(encoder, name)
        if encoder.reference:  # else it has no weights of its own, and is still to be filled
            check_pretrained(encoder, name)
        actual = encoder.reference.sha256 if encoder.reference else "none"
        if actual != trained_on:
            digest, source, revision = (
                shown(saved["reference"][key]).strip("'")
                for key in ("sha256", "source", "revision")
            )
            raise CheckpointError(
                f"The weights of the encoder '{name}' ({encoder.reference}) have SHA-256 "
                f"{actual[:12]}, but the checkpoint was trained on {digest[:12]} from {source} "
                f"{revision}: fetch those weights."
            )


def _check_preprocess(model: VQAModel, folder: Folder) -> None:
    """Pixels must be made as in training; what an adapter understood less of then stays so."""
    said = folder.config["preprocess"]
    saved, encoder = Preprocess.from_json(said), model.image_encoder
    made = encoder.spec.preprocess
    margins = "margins" in made.to_json() and "margins" not in said
    sides = isinstance(made.resize, tuple) and not isinstance(saved.resize, tuple)
    if made.size == saved.size and (margins or sides):
        encoder.spec = encoder.spec.prepared(saved)
    elif made != saved:
        raise CheckpointError(
            f"The image encoder prepares pixels as {model.image_encoder.spec.preprocess}, but the "
            f"checkpoint was trained with {shown(saved, 400)}: install the library versions its "
            f"card names."
        )


def _check_tensors(expected: Mapping[str, Tensor], folder: Folder) -> None:
    """Names, shapes and dtypes must agree exactly."""
    stored = folder.tensors
    problems = {
        "missing": sorted(expected.keys() - stored.keys()),
        "left over": sorted(stored.keys() - expected.keys()),
        "of another shape or dtype": [
            f"{name} {tuple(stored[name].shape)} {stored[name].dtype} instead of "
            f"{tuple(tensor.shape)} {tensor.dtype}"
            for name, tensor in sorted(expected.items())
            if name in stored
            and (stored[name].shape, stored[name].dtype) != (tensor.shape, tensor.dtype)
        ],
    }
    descriptions = [
        f"{len(names)} {kind}: {', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}"
        for kind, names in problems.items()
        if names
    ]
    if descriptions:
        raise CheckpointError(
            f"The tensors in '{folder.path / WEIGHTS}' do not fit the model "
            f"({'; '.join(descriptions)}): the file belongs to another config; get the whole "
            f"folder again."
        )

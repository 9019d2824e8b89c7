"""The checkpoint folder: save, load and check; see docs/reference/checkpoint.md. Imports torch.

A folder holds what was trained; frozen pretrained encoders are referenced, not copied. It is
written beside its final place and renamed, so a killed save never leaves a half folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from vqazoo.building import assemble, build_towers
from vqazoo.checkpoint.allowance import Allowance, largest_number
from vqazoo.compatibility import check_compatible
from vqazoo.config import Block, ModelConfig, fill_block, parse, plain
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError, VqazooError
from vqazoo.files.included import with_folders
from vqazoo.files.reading import check_answer_lengths, parse_json, read_plain, shown, size
from vqazoo.files.switch import recover, steady
from vqazoo.files.tensors_header import check_tensors_header
from vqazoo.files.writing import (
    ANSWERS,
    BLOCKS,
    CONFIG,
    DECODE,
    FORMAT_VERSION,
    LARGEST,
    PICKLES,
    REQUIRED,
    WEIGHTS,
    json_bytes,
    read_config,
    verified,
    write_folder,
)
from vqazoo.hub.files import pinned, pinned_commits
from vqazoo.interfaces import Encoder, Preprocess, dtype_name, fingerprint
from vqazoo.manifests import fill_args
from vqazoo.model import OBJECT, VQAModel
from vqazoo.registry import registry
from vqazoo.toolkit.finite import bounded_names, check_finite, check_pretrained
from vqazoo.toolkit.read_files import check_files
from vqazoo.version import __version__

DTYPES = ("float32", "float64", "float16", "bfloat16")
TRAIN_AGAIN = "get the checkpoint again, or train it with a lower training.learning_rate"
LISTED = 10  # tensor names listed in an error
# What constructors and torch raise at sizes and texts that nobody meant.
FAILURES = (OSError, ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError)


# ---- saving ---------------------------------------------------------------------------------


def save_checkpoint(
    model: VQAModel, folder: Path, extra: Mapping[str, bytes] | None = None
) -> None:
    """Write a complete checkpoint folder, replacing an older one only when the new one is whole.

    Args:
        extra: further files by name, such as the recipe, the metrics and the card.

    Raises:
        CheckpointError: the disk is full, the folder or answers are refused, or a weight is nan or
            infinite; an older one stays.
    """
    _check_named(model)
    check_answer_lengths(model.answers.texts, "The model")
    advice = f"'{folder}' was not written; train with a lower training.learning_rate"
    check_finite(saved_tensors(model), "the model", advice, bounded_names(model))
    weights = safetensors_bytes(
        {name: tensor.detach().cpu().contiguous() for name, tensor in saved_tensors(model).items()},
        metadata={"format": "pt", "format_version": str(FORMAT_VERSION)},
    )
    answers = json_bytes(model.answers.to_json())
    config = json_bytes(describe(model, weights, answers))
    contents = {CONFIG: config, ANSWERS: answers, WEIGHTS: weights, **(extra or {})}
    for name, most in LARGEST.items():
        if len(contents[name]) > most:
            raise CheckpointError(
                f"The checkpoint was not saved to '{folder}': {name} would have "
                f"{size(len(contents[name]))}, but at most {size(most)} are read; shorten it."
            )
    try:
        write_folder(folder, contents)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint could not be saved to '{folder}' ({error}): free space or choose "
            f"another folder; an older checkpoint there is unchanged."
        ) from error


def _check_named(model: VQAModel) -> None:
    """Raise CheckpointError for a part without a name, which nobody could build again."""
    for kind, block in (("fusion", model.config.fusion), ("head", model.config.head)):
        if block.type.startswith(OBJECT):
            name = block.type.removeprefix(OBJECT)
            raise CheckpointError(
                f"The {kind} is an object of the class {name}, which a checkpoint cannot name: "
                f"offer the class as an entry point (docs/reference/contracts.md), or in this "
                f"process with registry.register, and create the model with its name; until then "
                f"keep "
                f"model.{kind}.state_dict()."
            )


def saved_tensors(model: VQAModel) -> dict[str, Tensor]:
    """The tensors a checkpoint holds: all but those that a reference provides unchanged.

    One that has several names, as tied embeddings do, is held under the first.
    """
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    second_names = every - {name for name, _ in model.named_parameters()}
    left_out = referenced_names(model) | second_names
    return {name: t for name, t in model.state_dict().items() if name not in left_out}


def referenced_names(model: VQAModel) -> set[str]:
    """State names that come from encoder references unchanged."""
    names = set()
    for key, encoder in model.towers.items():
        if cast(Encoder, encoder).reference is not None:
            names |= {
                f"towers.{key}.{name}"
                for name in encoder.state_dict()
                if not model.holds(f"{key}.{name}")
            }
    return names


def describe(model: VQAModel, weights: bytes, answers: bytes) -> dict[str, Any]:
    """The content of config.json."""
    preprocess = model.image_encoder.spec.preprocess
    assert preprocess is not None
    references = {}
    for key, encoder in model.towers.items():
        reference = cast(Encoder, encoder).reference
        references[key] = {
            "reference": asdict(reference) if reference else None,
            "fingerprint": fingerprint(encoder),
            "files": [asdict(file) for file in cast(Encoder, encoder).files],
        }
    parts = plain(model.config)
    if not parts[DECODE]:  # which came later: other checkpoints look as before
        del parts[DECODE]
    return {
        "format_version": FORMAT_VERSION,
        "vqazoo_version": __version__,
        **_precision(model),
        **parts,
        "preprocess": preprocess.to_json(),
        "towers": references,
        "trainable": [*model.trainable, *model.altered],
        "parameters": count_parameters(model),
        "sha256": {
            WEIGHTS: hashlib.sha256(weights).hexdigest(),
            ANSWERS: hashlib.sha256(answers).hexdigest(),
        },
    }


def _precision(model: VQAModel) -> dict[str, str]:
    """The dtype of all that is not whole numbers, where it is one and not float32."""
    found = {one.dtype for one in model.state_dict().values() if one.is_floating_point()}
    single = found.pop() if len(found) == 1 else torch.float32
    return {} if single == torch.float32 else {"dtype": dtype_name(single)}


def count_parameters(model: VQAModel) -> dict[str, int]:
    """Numbers in all parameters, and in those that train."""
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
    }


# ---- loading --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Folder:
    """A checkpoint folder whose files were read and verified, before any part is built."""

    path: Path
    config: dict[str, Any]
    model: ModelConfig
    answers: AnswerList
    tensors: dict[str, Tensor]


def read_folder(path: Path, content: bytes | None = None) -> Folder:
    """Read and verify the files of a folder; of one that is saved meanwhile, the old or the new.

    Args:
        content: of config.json, if it was read before.

    Raises:
        CheckpointError: files are missing, altered, unsafe, or written by a newer release.
        UnknownNameError, ConfigError, PluginError: a part is not installed or does not fit.
    """

    def read() -> Folder:
        if content is None:
            return _read_once(path)
        try:
            return _read_once(path, content)
        except VqazooError:
            with contextlib.suppress(CheckpointError):
                if read_plain(path / CONFIG, LARGEST[CONFIG]) != content:  # saved since
                    return _read_once(path)
            raise

    return steady(path, read, sealed=True)


def _read_once(path: Path, content: bytes | None = None) -> Folder:
    try:
        recover(path)
        if not path.is_dir():
            raise CheckpointError(f"There is no checkpoint folder '{path}': check the path.")
        pickles = sorted(file.name for file in path.iterdir() if file.suffix.casefold() in PICKLES)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The folder '{path}' cannot be read ({error}): check the path and its permissions."
        ) from error
    if pickles:
        raise CheckpointError(
            f"The folder '{path}' holds '{pickles[0]}', a pickle, which can run code when it is "
            f"read: only .safetensors is read; convert the weights where they come from."
        )
    missing = [name for name in REQUIRED if not os.path.lexists(path / name)]
    if missing:
        if CONFIG not in missing:
            read_config(
                path, content
            )  # says so if others published the model in transformers' layout
        raise CheckpointError(
            f"The folder '{path}' has no {' and no '.join(missing)}: it is not a complete "
            f"checkpoint; get it again, or name the folder that holds {CONFIG}."
        )
    config = with_folders(read_config(path, content), path)
    answers = _read_answers(path / ANSWERS, config)
    weights = verified(path / WEIGHTS, config)
    check_tensors_header(weights, path / WEIGHTS)
    blocks = {}
    for where, kind in BLOCKS.items():
        blocks[where] = fill_block(kind, parse(Block, config[where], where))
        if kind != "encoder" and ":" in (name := blocks[where].type):
            raise CheckpointError(
                f"'{path / CONFIG}' has the {kind} {shown(name)}, but only encoders take a variant "
                f"after a colon: get the checkpoint again."
            )
    try:
        tensors = safetensors_load(weights)
    except (SafetensorError, *FAILURES) as error:
        raise CheckpointError(
            f"'{path / WEIGHTS}' is not a safetensors file ({error}): get the checkpoint again."
        ) from error
    check_finite(tensors, f"'{path / WEIGHTS}'", TRAIN_AGAIN)
    decode = _decode_defaults(path / CONFIG, blocks["head"].type, config.get(DECODE, {}))
    return Folder(path, config, ModelConfig(**blocks, decode=decode), answers, tensors)


def _decode_defaults(file: Path, head: str, said: Any) -> dict[str, Any]:
    """The decode options that a config names, checked.

    Raises:
        CheckpointError: they are no table; ConfigError: the head does not take one.
    """
    if not isinstance(said, dict):
        raise CheckpointError(
            f"'{file}': '{DECODE}' is {shown(said)}, but a table was expected; get the checkpoint "
            f"again."
        )
    manifest = registry.manifest("head", head)
    filled = fill_args(f"'{file}', {DECODE}", manifest.decode, said)
    return {name: filled[name] for name in said}


def _read_answers(file: Path, config: Mapping[str, Any]) -> AnswerList:
    content = verified(file, config)
    try:
        saved = parse_json(content)
    except ValueError as error:
        raise CheckpointError(
            f"'{file}' is not an answer list ({error}): get the checkpoint again."
        ) from error
    answers = AnswerList.from_json(saved, ANSWERS)
    check_answer_lengths(answers.texts, f"'{file}'")
    return answers


def load_checkpoint(path: Path, content: bytes | None = None) -> VQAModel:
    """The model in a checkpoint folder, in eval mode on the CPU.

    Args:
        content: of config.json, if it was read before.

    Raises:
        CheckpointError: as `read_folder`; or tensors are missing, left over, infinite, or of
            another shape.
        WeightsError: a referenced encoder cannot be had, or is of nan.
    """
    folder = read_folder(path, content)
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
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(folder.tensors[name])
    check_finite(expected, f"'{path / WEIGHTS}'", TRAIN_AGAIN, bounded_names(model))
    return model.eval()


def _build(folder: Folder) -> VQAModel:
    """The model with random weights, unless config.json asks for more than its file justifies."""
    config, where = folder.model, folder.path / CONFIG
    stored = folder.tensors
    rest = {name: tensor for name, tensor in stored.items() if not name.startswith("towers.")}
    towers = folder.config["towers"]
    referenced = any(isinstance(one, dict) and one.get("reference") for one in towers.values())
    try:
        with pinned(pinned_commits(folder.config)):
            check_compatible(*(getattr(config, block).type for block in BLOCKS))
            with Allowance("larger encoders", None if referenced else stored, config, where):
                encoders = build_towers(config, apart="both" not in towers)
            with Allowance("a larger fusion or head", rest, config, where):
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
        with pinned(pinned_commits(folder.config)):
            encoder.load_pretrained()
        check_pretrained(encoder, name)
        found = encoder.reference.sha256 if encoder.reference else "none"
        if found != saved["reference"]["sha256"]:
            digest, source, revision = (
                shown(saved["reference"][key]).strip("'")
                for key in ("sha256", "source", "revision")
            )
            raise CheckpointError(
                f"The weights of the encoder '{name}' ({encoder.reference}) have SHA-256 "
                f"{found[:12]}, but the checkpoint was trained on {digest[:12]} from {source} "
                f"{revision}: fetch those weights."
            )


def _check_preprocess(model: VQAModel, folder: Folder) -> None:
    """Pixels must be made as in training; what an adapter understood less of then stays so."""
    said = folder.config["preprocess"]
    saved, encoder = Preprocess.from_json(said), model.image_encoder
    made = encoder.spec.preprocess
    assert made is not None
    margins = "margins" in made.to_json() and "margins" not in said
    sides = isinstance(made.resize, tuple) and not isinstance(saved.resize, tuple)
    if made.size == saved.size and (margins or sides):
        encoder.spec = replace(encoder.spec, preprocess=saved)
    elif made != saved:
        raise CheckpointError(
            f"The image encoder prepares pixels as {model.image_encoder.spec.preprocess}, but the "
            f"checkpoint was trained with {shown(saved, 400)}: install the library versions its "
            f"card names."
        )


def _check_tensors(expected: Mapping[str, Tensor], folder: Folder) -> None:
    """Names, shapes and dtypes must agree exactly."""
    found = folder.tensors
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "left over": sorted(found.keys() - expected.keys()),
        "of another shape or dtype": [
            f"{name} {tuple(found[name].shape)} {found[name].dtype} instead of "
            f"{tuple(tensor.shape)} {tensor.dtype}"
            for name, tensor in sorted(expected.items())
            if name in found
            and (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype)
        ],
    }
    told = [
        f"{len(names)} {kind}: {', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}"
        for kind, names in problems.items()
        if names
    ]
    if told:
        raise CheckpointError(
            f"The tensors in '{folder.path / WEIGHTS}' do not fit the model ({'; '.join(told)}): "
            f"the file belongs to another config; get the whole folder again."
        )

"""Checkpoints that hold their encoders too, so that they load alone. Imports torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from vqazoo.amounts import size
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.config import Block
from vqazoo.errors import CheckpointError, VqazooError, WeightsError
from vqazoo.files.encoder_files import LARGEST_SMALL
from vqazoo.files.included import INCLUDED
from vqazoo.files.places import WEIGHTS_FILE, check_tower, public
from vqazoo.files.reading import INCLUDED_FOLDERS, parse_json, read_plain
from vqazoo.files.writing import CONFIG, INCLUDING_VERSION, WEIGHTS, json_bytes, write_file
from vqazoo.hub.files import BUNDLED
from vqazoo.hub.requests import HubRef, asked
from vqazoo.interfaces import Encoder, FileReference, WeightsReference
from vqazoo.registry import registry

REDISTRIBUTABLE = {
    "mit",
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "isc",
    "unlicense",
}
# Where transformers notes in a config or tokenizer where it was read from; it reads none of these.
NOTES = re.compile(r"_?name_or_path|\w+_file")


def bundle_encoders(
    folder: Path, out: Path, stated_license: str, report: Callable[[str], None]
) -> Path:
    """Write config, answers, and a weights file that holds every tensor.

    Of an encoder in a folder of this machine, the config and tokenizer files are written too, into
    a folder beside the weights (`encoder-text`). Those of encoders on the Hub are not; they still
    come from their repository.

    Args:
        stated_license: what the user says of weights that do not state a licence that is known to
            allow passing them on.

    Raises:
        WeightsError: the licence of an encoder does not allow it, as far as is known; or it cannot
            be built without what is on this machine alone.
    """
    model = load_checkpoint(folder)
    image, text = model.blocks
    blocks = {"both": image, "image": image, "text": text}
    bundled: dict[str, WeightsReference] = {}
    included: dict[str, dict[str, bytes]] = {}
    for key, module in model.towers.items():
        encoder, name = cast(Encoder, module), blocks[key].type
        if (source := _folder_of(encoder.files, name)) is not None:
            _licensed(name, WeightsReference("file", str(source)), stated_license)
            included[key] = _small_files(encoder.files, source)
            type = _leading_to(source, name, INCLUDED_FOLDERS[key])
            blocks[key] = replace(blocks[key], type=type)
        else:
            read = {"files": [asdict(file) for file in encoder.files]}
            check_tower(name, read, included=True)
        if encoder.reference is not None:
            bundled[key] = _licensed(name, encoder.reference, stated_license)
            encoder.reference = None
    if "both" in model.towers:
        blocks["image"] = blocks["text"] = blocks["both"]
    model.config = replace(
        model.config,
        image_encoder=_without_file(blocks["image"]),
        text_encoder=_without_file(blocks["text"]),
    )
    save_checkpoint(model, out)
    config = json.loads((out / CONFIG).read_bytes())
    for key, reference in bundled.items():
        config["towers"][key][BUNDLED] = asdict(reference)
    for key, files in included.items():
        config["format_version"] = INCLUDING_VERSION
        _include(config["towers"][key], INCLUDED_FOLDERS[key], files, out)
    write_file(out / CONFIG, json_bytes(config))
    if included:
        _check_alone(out)
    before, after = (size((place / WEIGHTS).stat().st_size) for place in (folder, out))
    report(
        f"With {' and '.join(map(_named, bundled.values())) or 'no referenced encoder'} included, "
        f"{WEIGHTS} has {after} instead of {before}."
    )
    return out


# ---- encoders in folders --------------------------------------------------------------------


def _folder_of(files: tuple[FileReference, ...], name: str) -> Path | None:
    """The one folder of this machine that an encoder reads, if its name leads there."""
    sources = {reference.source for reference in files if reference.kind == "file"}
    source = sources.pop() if len(sources) == 1 else ""
    return Path(source) if source and _leading_to(Path(source), name, name) else None


def _leading_to(source: Path, name: str, place: str) -> str:
    """An encoder's name with another place for the folder in it; empty if it names no such one."""
    for colon in re.finditer(":", name):
        named = Path(name[colon.end() :]).expanduser()
        if named.absolute() == source:
            return name[: colon.end()] + place
    return ""


def _small_files(files: tuple[FileReference, ...], source: Path) -> dict[str, bytes]:
    """The contents of an encoder's files by name, without notes of where they come from.

    Raises:
        WeightsError: one cannot be read, or has changed since the encoder was built.
    """
    contents = {}
    for reference in files:
        if reference.kind != "file":
            continue
        try:
            content = read_plain(source / reference.file, LARGEST_SMALL, source)
        except CheckpointError as error:
            raise WeightsError(f"The encoder's folder cannot be included: {error}") from error
        if hashlib.sha256(content).hexdigest() != reference.sha256:
            raise WeightsError(f"'{source / reference.file}' was changed meanwhile: push again.")
        contents[reference.file] = (
            _without_notes(content) if reference.file.endswith(".json") else content
        )
    return contents


def _without_notes(content: bytes) -> bytes:
    """A JSON file whose notes of paths have no folders; as it is where it has none."""
    try:
        said = parse_json(content)
    except ValueError:  # a tokenizer's length of 1e30, for instance, which libraries read
        said = json.loads(content)
    if not isinstance(said, dict):
        return content
    clean = {
        key: public(value) if isinstance(value, str) and NOTES.fullmatch(key) else value
        for key, value in said.items()
    }
    return content if clean == said else json.dumps(clean, indent=2, ensure_ascii=False).encode()


def _include(tower: dict[str, Any], place: str, files: Mapping[str, bytes], out: Path) -> None:
    """Write an encoder's files into a checkpoint, and say so in its tower's entry."""
    for name, content in files.items():
        (out / place / name).parent.mkdir(parents=True, exist_ok=True)
        write_file(out / place / name, content)
    for entry in tower["files"]:
        if entry["kind"] == "file":
            digest = hashlib.sha256(files[entry["file"]]).hexdigest()
            entry |= {"kind": INCLUDED, "source": place, "sha256": digest}


def _check_alone(out: Path) -> None:
    """Raise WeightsError if a model needs more of an encoder's folder than was included."""
    try:
        load_checkpoint(out)
    except VqazooError as error:
        reason = str(error).replace(f"{out}/", "").rstrip(".")
        raise WeightsError(
            f"The encoder's folder cannot be included, because the model would not load with what "
            f"was copied of it ({reason}): upload the folder to a Hub repository, and train with "
            f"that."
        ) from error


# ---- licences -------------------------------------------------------------------------------


def _named(reference: WeightsReference) -> str:
    return f"{reference} (licence {reference.license})"


def _without_file(block: Block) -> Block:
    """`timm:resnet18@weights.safetensors` as `timm:resnet18`: the checkpoint has the weights."""
    return replace(block, type=WEIGHTS_FILE.sub("", block.type))


def _licensed(name: str, reference: WeightsReference, stated: str) -> WeightsReference:
    """The reference with its licence, or WeightsError if nothing allows passing the weights on."""
    manifest = registry.manifest("encoder", name)
    known_license = reference.license or manifest.license or _hub_license(reference)
    if not stated and known_license.lower() not in REDISTRIBUTABLE:
        raise WeightsError(
            f"The licence of the weights of '{name}' is "
            f"{repr(known_license) if known_license else 'not stated'}, which is not known to "
            f"allow passing them on: leave out --include-encoder, or, if you know that you "
            f"may, name it with --encoder-license."
        )
    source = public(reference.source) if reference.kind == "file" else reference.source
    return replace(reference, source=source, license=stated or known_license)


def _hub_license(reference: WeightsReference) -> str:
    """What the card of the encoder's own repository says."""
    if reference.kind != "hub":
        return ""
    from huggingface_hub import HfApi

    ref = HubRef(reference.source, reference.revision)
    info = asked(lambda: HfApi().model_info(ref.repo, revision=ref.revision), ref)
    license = getattr(info.card_data, "license", None)
    return license if isinstance(license, str) else ""

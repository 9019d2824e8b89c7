"""Checkpoints that hold their encoders' weights too, so that they load alone. Imports torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

from vqazoo.amounts import size
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.config import Block
from vqazoo.errors import WeightsError
from vqazoo.files.places import WEIGHTS_FILE, check_tower, public
from vqazoo.files.writing import CONFIG, WEIGHTS, json_bytes, write_file
from vqazoo.hub.files import BUNDLED
from vqazoo.hub.requests import HubRef, asked
from vqazoo.interfaces import Encoder, WeightsReference
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


def bundle_encoders(
    folder: Path, out: Path, stated_license: str, report: Callable[[str], None]
) -> Path:
    """Write config, answers, and a weights file that holds every tensor.

    Config and tokenizer files of `hf-...` encoders are not in it; they still come from their
    repository.

    Args:
        stated_license: what the user says of weights that do not state a licence that is known to
            allow passing them on.

    Raises:
        WeightsError: the licence of an encoder does not allow it, as far as is known; or it cannot
            be built without a folder of this machine.
    """
    model = load_checkpoint(folder)
    image, text = model.blocks
    blocks = {"both": image, "image": image, "text": text}
    bundled: dict[str, WeightsReference] = {}
    for key, module in model.towers.items():
        encoder = cast(Encoder, module)
        files = {"files": [asdict(one) for one in encoder.files]}
        check_tower(blocks[key].type, files, included=True)
        if encoder.reference is not None:
            bundled[key] = _licensed(blocks[key].type, encoder.reference, stated_license)
            encoder.reference = None
    model.config = replace(
        model.config, image_encoder=_without_file(image), text_encoder=_without_file(text)
    )
    save_checkpoint(model, out)
    config = json.loads((out / CONFIG).read_bytes())
    for key, reference in bundled.items():
        config["towers"][key][BUNDLED] = asdict(reference)
    write_file(out / CONFIG, json_bytes(config))
    before, after = (size((one / WEIGHTS).stat().st_size) for one in (folder, out))
    report(
        f"With {' and '.join(map(_named, bundled.values())) or 'no referenced encoder'} included, "
        f"{WEIGHTS} has {after} instead of {before}."
    )
    return out


def _named(reference: WeightsReference) -> str:
    return f"{reference} (licence {reference.license})"


def _without_file(block: Block) -> Block:
    """`timm:resnet18@weights.safetensors` as `timm:resnet18`: the checkpoint has the weights."""
    return replace(block, type=WEIGHTS_FILE.sub("", block.type))


def _licensed(name: str, reference: WeightsReference, stated: str) -> WeightsReference:
    """The reference with its licence, or WeightsError if nothing allows passing the weights on."""
    manifest = registry.manifest("encoder", name)
    found = reference.license or manifest.license or _hub_license(reference)
    if not stated and found.lower() not in REDISTRIBUTABLE:
        raise WeightsError(
            f"The licence of the weights of '{name}' is {repr(found) if found else 'not stated'}, "
            f"which is not known to allow passing them on: leave out --include-encoder, or, if you "
            f"know that you may, name it with --encoder-license."
        )
    source = public(reference.source) if reference.kind == "file" else reference.source
    return replace(reference, source=source, license=stated or found)


def _hub_license(reference: WeightsReference) -> str:
    """What the card of the encoder's own repository says."""
    if reference.kind != "hub":
        return ""
    from huggingface_hub import HfApi

    ref = HubRef(reference.source, reference.revision)
    info = asked(lambda: HfApi().model_info(ref.repo, revision=ref.revision), ref)
    license = getattr(info.card_data, "license", None)
    return license if isinstance(license, str) else ""

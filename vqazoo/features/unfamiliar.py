"""Pictures of another kind than an image encoder's packaged weights learnt. Imports Pillow."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from vqazoo.config import Block
from vqazoo.errors import ImageError
from vqazoo.manifests import EncoderManifest
from vqazoo.media.images import open_image
from vqazoo.names import parse_ref
from vqazoo.registry import load_object, registry

SAMPLE = 20  # pictures of a data set that are looked at
MANY = 0.5  # share of them from which on it is told


def is_unfamiliar(block: Block, picture: Image.Image) -> bool:
    """Whether a picture, in RGB, is of another kind than the encoder of an image block learnt."""
    manifest = _manifest(block)
    named = manifest.unfamiliar if manifest else ""
    return bool(named) and bool(load_object(named)(picture))


def advice(block: Block) -> str:
    """The end of a sentence: what the encoder learnt, and what to do."""
    manifest = _manifest(block)
    learnt = manifest.learnt if manifest else "others"
    return (
        f"but the image encoder '{block.type}' learnt {learnt}: its answers to "
        f"others are little more than guesses from the question; choose another encoder "
        f"(vqazoo list encoders) or model (vqazoo list models)."
    )


def told_unfamiliar(block: Block, pictures: Iterable[Path], seed: int) -> str:
    """A sentence about a data set of which many pictures are unfamiliar; else empty.

    Args:
        pictures: of which some are looked at, drawn by the seed; those that cannot be read, or are
            not files, are not.
    """
    manifest = _manifest(block)
    if not manifest or not manifest.unfamiliar:
        return ""
    known = sorted(set(pictures))
    sample = random.Random(seed).sample(known, min(SAMPLE, len(known)))
    opened = [image for picture in sample if (image := _opened(picture)) is not None]
    count = sum(is_unfamiliar(block, image) for image in opened)
    if not opened or count < MANY * len(opened):
        return ""
    return f"{count} of {len(opened)} pictures looked at are of another kind, {advice(block)}"


def _opened(picture: Path) -> Image.Image | None:
    try:
        return open_image(picture)
    except ImageError:  # told where it is needed; a video
        return None


def _manifest(block: Block) -> EncoderManifest | None:
    """That of an encoder with a name; None: it was given as an object."""
    if parse_ref(block.type).name not in registry.names("encoder"):
        return None
    manifest: EncoderManifest = registry.manifest("encoder", block.type)
    return manifest

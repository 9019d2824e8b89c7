"""Figures of TinyCLIP on held-out pictures: retrieval and zero-shot. Imports torch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vqazoo.media.pixels import pixels
from vqazoo_tiny_clip.model import PREPROCESS, TinyCLIP
from vqazoo_tiny_clip.render import COLOURS, NUMBERS, SHAPES, Scene, draw_scene, write_caption
from vqazoo_tiny_clip.tokenizer import TinyCodec

HELD_OUT_SEED = 2**32  # added to the seed: pictures that are never trained on
RETRIEVAL_PAIRS = 1000
ZERO_SHOT_PICTURES = 2000
PLACES = (
    "top left",
    "top",
    "top right",
    "left",
    "center",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
# One prompt an attribute; {} is replaced by each class name.
PROMPTS = {
    "shape": "a picture of a {}",
    "colour": "a picture of a {} shape",
    "place": "a picture of a shape at the {}",
    "size": "a picture of a {} shape",
    "count": "a picture of {} shapes",
}


@torch.inference_mode()
def measure(model: TinyCLIP, codec: TinyCodec, seed: int) -> dict[str, Any]:
    """Retrieval and zero-shot figures on held-out pictures; every value is a share in [0, 1]."""
    rng = random.Random(HELD_OUT_SEED + seed)
    return {"retrieval": _retrieval(model, codec, rng), "zero_shot": _zero_shot(model, codec, rng)}


def _retrieval(model: TinyCLIP, codec: TinyCodec, rng: random.Random) -> dict[str, Any]:
    """Recall at 1 and 5 among pairs whose captions all differ."""
    pairs: dict[str, Scene] = {}
    while len(pairs) < RETRIEVAL_PAIRS:
        scene = draw_scene(rng)
        pairs.setdefault(write_caption(rng, scene), scene)
    image = encode_pictures(model, [scene.paint() for scene in pairs.values()])  # (n, D)
    text = encode_texts(model, codec, list(pairs))  # (n, D)
    similarity = image @ text.T  # (n, n)
    figures: dict[str, Any] = {"pairs": len(pairs)}
    for name, matrix in (("image_to_text", similarity), ("text_to_image", similarity.T)):
        rank = (matrix > matrix.diagonal()[:, None]).sum(dim=1)  # (n,), 0 is best
        for k in (1, 5):
            figures[f"{name}_recall_at_{k}"] = round((rank < k).float().mean().item(), 4)
    return figures


def _zero_shot(model: TinyCLIP, codec: TinyCodec, rng: random.Random) -> dict[str, Any]:
    """Accuracy of naming an attribute by the nearest prompt; pictures with one object, but for
    `count`, where any number of objects of one or several shapes is drawn.
    """
    scenes = [draw_scene(rng) for _ in range(ZERO_SHOT_PICTURES)]
    single = [scene for scene in scenes if len(scene.objects) == 1]
    truths: dict[str, tuple[list[Scene], list[str], Sequence[str]]] = {
        "shape": (single, [s.objects[0].name for s in single], tuple(SHAPES)),
        "colour": (single, [s.objects[0].colour for s in single], tuple(COLOURS)),
        "place": (single, [s.objects[0].place for s in single], PLACES),
        "size": (single, [s.objects[0].size for s in single], ("small", "medium", "large")),
        "count": (
            [s for s in scenes if len(s.objects) > 1],
            [NUMBERS[len(s.objects)] for s in scenes if len(s.objects) > 1],
            NUMBERS[2:],
        ),
    }
    figures = {}
    for attribute, (shown, names, classes) in truths.items():
        image = encode_pictures(model, [scene.paint() for scene in shown])  # (n, D)
        prompts = [PROMPTS[attribute].format(name) for name in classes]
        nearest = (image @ encode_texts(model, codec, prompts).T).argmax(dim=1).tolist()  # (n,)
        right = sum(classes[i] == name for i, name in zip(nearest, names, strict=True))
        figures[attribute] = {
            "accuracy": round(right / len(shown), 4),
            "chance": round(1 / len(classes), 4),
            "pictures": len(shown),
            "prompt": PROMPTS[attribute],
        }
    return figures


def encode_pictures(model: TinyCLIP, pictures: Sequence[Image.Image]) -> Tensor:
    """Vectors (n, D) of any number of pictures."""
    parts = [
        model.encode_image(to_pixels(pictures[i : i + 256])) for i in range(0, len(pictures), 256)
    ]
    return torch.cat(parts)


def encode_texts(model: TinyCLIP, codec: TinyCodec, texts: Sequence[str]) -> Tensor:
    """Vectors (n, D) of texts."""
    ids, mask = codec.tokenize(texts)
    return model.pool_text(model.text_states(ids), mask)


def to_pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """Pixels (B, 3, 64, 64) of pictures."""
    return torch.stack([pixels(picture, PREPROCESS) for picture in pictures])

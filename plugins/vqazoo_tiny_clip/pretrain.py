"""Pretraining of TinyCLIP on rendered, captioned pictures, and its figures. Imports torch.

The loss is CLIP's (Radford et al. 2021, section 2.3, figure 3): each picture must find its caption
among those of the batch, and each caption its picture. Equal captions share the target.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save as safetensors_bytes
from torch import Tensor
from torch.nn import functional as F

from vqazoo.errors import TrainingError
from vqazoo.files.json_text import json_text, known_numbers
from vqazoo.files.writing import json_bytes, json_lines, write_file
from vqazoo.media.pixels import pixels
from vqazoo.modes import evaluating
from vqazoo_tiny_clip.model import PREPROCESS, TOKENIZER, WEIGHTS, TinyCLIP, TinyCLIPConfig
from vqazoo_tiny_clip.render import COLOURS, NUMBERS, SHAPES, Scene, draw_scene, write_caption
from vqazoo_tiny_clip.tokenizer import TinyCodec, train_tokenizer
from vqazoo_tiny_clip.truth import is_true, objects_json

LOG, FIGURES, CURVE = "log.jsonl", "figures.json", "loss.png"
WEIGHT_DECAY, BETAS, CLIP_NORM, WARMUP = 0.05, (0.9, 0.98), 1.0, 100
LARGEST_SCALE = math.log(100)  # CLIP section 2.5: the temperature is kept above 1/100
LOG_EVERY = 50
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


def pretrain(
    out: Path,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Train from random weights and write weights (float16), tokenizer, log, curve and figures.

    Returns:
        The figures: retrieval and zero-shot, on pictures rendered from another seed.

    Raises:
        TrainingError: the loss or a weight is not finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(seed)
    write_file(out / TOKENIZER, (tokenizer.to_str(pretty=True) + "\n").encode())
    config = TinyCLIPConfig(vocab_size=tokenizer.get_vocab_size())
    codec = TinyCodec(tokenizer, config.context_length)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = TinyCLIP(config)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0}],
        lr=learning_rate,
        betas=BETAS,
    )
    report(f"{sum(p.numel() for p in model.parameters()):,} parameters, {config.vocab_size} pieces")
    log: list[dict[str, float]] = []
    started, total = time.perf_counter(), 0.0
    for step in range(1, steps + 1):
        warm = min(1.0, step / WARMUP)
        rate = learning_rate * warm * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        images, captions = render_batch(rng, batch_size)
        loss = contrastive_loss(model, codec, images, captions)
        if not torch.isfinite(loss):
            raise TrainingError(f"The loss is {loss.item()} in step {step}: lower --learning-rate.")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=LARGEST_SCALE)
        total += loss.item()
        if step % LOG_EVERY == 0 or step == steps:
            since = step % LOG_EVERY or LOG_EVERY
            line = {
                "step": step,
                "loss": round(total / since, 4),
                "learning_rate": rate,
                "scale": round(model.logit_scale.exp().item(), 2),
                "seconds": round(time.perf_counter() - started, 1),
            }
            total = 0.0
            log.append(line)
            report(json_text(known_numbers(line), ascii_only=True))
            save(model, out, log)
    with evaluating(model):
        figures = measure(model, codec, seed)
    figures["training_seconds"] = round(time.perf_counter() - started, 1)
    figures["options"] = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    write_file(out / FIGURES, json_bytes(figures))
    return figures


def render_batch(rng: random.Random, count: int) -> tuple[Tensor, list[str]]:
    """Pixels (B, 3, 64, 64) of fresh pictures, and a caption for each."""
    scenes = [draw_scene(rng) for _ in range(count)]
    captions = [write_caption(rng, scene) for scene in scenes]
    return to_pixels([scene.paint() for scene in scenes]), captions


def to_pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """Pixels (B, 3, 64, 64) of pictures."""
    return torch.stack([pixels(picture, PREPROCESS) for picture in pictures])


def contrastive_loss(
    model: TinyCLIP, codec: TinyCodec, images: Tensor, captions: Sequence[str]
) -> Tensor:
    """Scalar loss of (B, 3, H, W) pictures and B captions."""
    ids, mask = codec.tokenize(captions)  # (B, L)
    image = model.encode_image(images)  # (B, D)
    text = model.pool_text(model.text_states(ids), mask)  # (B, D)
    logits = model.logit_scale.exp() * image @ text.T  # (B, B)
    numbers: dict[str, int] = {}
    number = torch.tensor([numbers.setdefault(caption, len(numbers)) for caption in captions])
    equal = (number[:, None] == number[None]).float()  # (B, B), symmetric
    target = equal / equal.sum(dim=1, keepdim=True)  # (B, B), rows sum to 1
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def save(model: TinyCLIP, out: Path, log: Sequence[dict[str, float]]) -> None:
    """Write weights, log and curve; each file is replaced in one step.

    Raises:
        TrainingError: a weight is not finite; the files of before stay.
    """
    if not torch.stack(
        [torch.isfinite(weight).all() for weight in model.state_dict().values()]
    ).all():
        raise TrainingError(
            "Weights are nan or infinite after the last step, which are not saved: lower "
            "--learning-rate."
        )
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    write_file(out / WEIGHTS, safetensors_bytes(tensors, metadata={"format": "pt"}))
    write_file(out / LOG, json_lines(log))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([line["step"] for line in log], [line["loss"] for line in log], color="#1f4e9c")
    axes.set_xlabel("step")
    axes.set_ylabel("contrastive loss")
    axes.grid(alpha=0.3)
    FigureCanvasAgg(figure).print_png(str(out / CURVE))


# ---- figures --------------------------------------------------------------------------------


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


def write_pictures(out: Path, count: int, seed: int, wrong_share: float = 0.0) -> None:
    """Write `count` rendered pictures as PNG and `captions.jsonl` into a folder.

    Args:
        wrong_share: share of the pictures that get another picture's caption, false of them; then
            each row says in `correct` whether its caption is its own. The pictures and the true
            captions are the same for every share.
    """
    rng = random.Random(seed)
    out.mkdir(parents=True, exist_ok=True)
    scenes, captions = [], []
    for number in range(count):
        scenes.append(draw_scene(rng))
        scenes[-1].paint().save(out / f"{number:06d}.png")
        captions.append(write_caption(rng, scenes[-1]))
    draw = random.Random(f"wrong {seed}")  # of its own, so that the pictures stay the same
    wrong = set(draw.sample(range(count), round(wrong_share * count)))
    lines = []
    for number, (scene, caption) in enumerate(zip(scenes, captions, strict=True)):
        row: dict[str, Any] = {"image": f"{number:06d}.png", "caption": caption}
        if number in wrong:
            row["caption"] = false_caption(draw, scene)
        if wrong_share:
            row["correct"] = number not in wrong
        lines.append(json_text({**row, "objects": objects_json(scene)}, ascii_only=True))
    write_file(out / "captions.jsonl", ("\n".join(lines) + "\n").encode())


def false_caption(rng: random.Random, scene: Scene) -> str:
    """A caption of another random scene that is false of this one."""
    while True:
        caption = write_caption(rng, draw_scene(rng))
        if not is_true(caption, scene.objects):
            return caption

"""Ratios, each side by side in one run: adapters and `answer` against the raw forward passes, and
training with and without grouping by image. Prints seconds and ratios.

    python tests/benchmarks/answering.py
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from torch.nn import functional as F

import vqazoo
from vqazoo.data import Example
from vqazoo.features.sources import LiveFeatures
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels
from vqazoo.registry import registry
from vqazoo.training.steps import make_batches
from vqazoo_tiny_clip.render import draw_scene

ROUNDS = 15
POOLED = frozenset({"pooled"})
BOTH = frozenset({"pooled", "tokens"})


def compare(name: str, ours: Callable[[], object], raw: Callable[[], object], rounds: int) -> None:
    """Interleave both, so that a busy machine slows both; print medians and their ratio."""
    seconds: dict[str, list[float]] = {"ours": [], "raw": []}
    for turn in range(rounds + 2):
        pairs = [("ours", ours), ("raw", raw)]
        for side, run in pairs if turn % 2 else reversed(pairs):
            started = time.perf_counter()
            run()
            if turn >= 2:  # the first two rounds warm up
                seconds[side].append(time.perf_counter() - started)
    a, b = statistics.median(seconds["ours"]), statistics.median(seconds["raw"])
    print(f"{name:58} {1000 * a:9.2f} ms {1000 * b:9.2f} ms  ratio {a / b:.3f}")


@torch.inference_mode()
def adapters() -> None:
    """The encoder adapters against their library's own forward pass, B = 8."""
    import open_clip
    import timm

    clip = registry.build(
        "encoder", "open-clip:ViT-B-32", "ViT-B-32", frozenset({"image", "text"})
    ).eval()
    raw = open_clip.create_model("ViT-B-32").eval()
    batch = torch.randn(8, 3, 224, 224)
    ids, mask = clip.tokenize(["what is in this picture?"] * 8)
    full = F.pad(ids, (0, 77 - ids.shape[1]))
    compare(
        "open-clip:ViT-B-32 image, pooled",
        lambda: clip.encode_image(batch, POOLED),
        lambda: raw.encode_image(batch, normalize=True),
        ROUNDS,
    )
    compare(
        "open-clip:ViT-B-32 image, pooled and tokens",
        lambda: clip.encode_image(batch, BOTH),
        lambda: raw.encode_image(batch, normalize=True),
        ROUNDS,
    )
    compare(
        "open-clip:ViT-B-32 question, pooled",
        lambda: clip.encode_text(ids, mask, POOLED),
        lambda: raw.encode_text(full, normalize=True),
        ROUNDS,
    )
    ours = registry.build("encoder", "timm:resnet50", "resnet50", frozenset({"image"})).eval()
    model = timm.create_model("resnet50", num_classes=0).eval()
    compare(
        "timm:resnet50 image, pooled",
        lambda: ours.encode_image(batch, POOLED),
        lambda: model(batch),
        ROUNDS,
    )


@torch.inference_mode()
def answering(picture: Path) -> None:
    """`answer` against the same pieces called by hand, and ten questions against ten calls."""
    for encoder in ("tiny-clip", "open-clip:ViT-B-32"):
        model = vqazoo.create(encoder=encoder, head="mlp", answers=["red", "blue", "yes", "no"])
        preprocess = model.image_encoder.spec.preprocess
        question = "what color is the shape?"

        def pieces(model=model, preprocess=preprocess, question=question) -> object:
            image = pixels(open_image(picture), preprocess)[None]
            ids, mask = model.text_encoder.tokenize([question])
            fused = model.fusion(
                model.image_encoder.encode_image(image, POOLED),
                model.text_encoder.encode_text(ids, mask, POOLED),
            )
            return model.head.predict(fused, 1)

        rounds = 200 if encoder == "tiny-clip" else ROUNDS
        compare(
            f"answer with {encoder}",
            lambda model=model, question=question: model.answer(picture, question),
            pieces,
            rounds,
        )
        ten = [f"is there a shape number {n}?" for n in range(10)]
        compare(
            f"answer with {encoder}: 10 questions at once / 10 calls",
            lambda model=model, ten=ten: model.answer(picture, ten),
            lambda model=model, ten=ten: [model.answer(picture, one) for one in ten],
            rounds // 5 or 3,
        )


def grouping(folder: Path) -> None:
    """One pass over 8 questions about each of 64 pictures, training the encoder (tiny-clip)."""
    rng = random.Random(0)
    examples = []
    for number in range(64):
        file = folder / f"{number}.png"
        draw_scene(rng).paint().save(file)
        examples += [
            Example(
                file, f"is there a shape number {n}?", ("yes", "no")[n % 2 :][:1], f"{number}-{n}"
            )
            for n in range(8)
        ]
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["yes", "no"])
    model.set_trainable(["*"])
    model.train()
    source, targets = LiveFeatures(model, examples), model.head.targets(examples)
    images = [example.image for example in examples]

    def epoch(grouped: bool) -> None:
        for rows in make_batches(images, 32, grouped, seed=0):
            fused = model.fusion(*source.batch(rows))
            loss, _ = model.head.loss(fused, {name: t[rows] for name, t in targets.items()})
            loss.backward()

    compare(
        "training 512 questions, grouped by image / not grouped",
        lambda: epoch(True),
        lambda: epoch(False),
        5,
    )


def main() -> None:
    names = ("torch", "timm", "open_clip_torch")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"{datetime.now(UTC).date()}, {torch.get_num_threads()} threads, {versions}")
    print(f"{'':58} {'ours':>12} {'raw':>12}")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture = folder / "picture.png"
        draw_scene(random.Random(0)).paint().save(picture)
        adapters()
        answering(picture)
        grouping(folder)


if __name__ == "__main__":
    main()

"""Pretraining of TinyCLIP on rendered, captioned pictures, and its figures. Imports torch.

The loss is CLIP's (Radford et al. 2021, section 2.3, figure 3): each picture must find its caption
among those of the batch, and each caption its picture. Equal captions share the target.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqazoo.card.facts import LOG
from vqazoo.errors import DataError, TrainingError
from vqazoo.files.json_text import json_text
from vqazoo.files.locks import writer
from vqazoo.files.tensors_bytes import safetensors_bytes
from vqazoo.files.writing import json_bytes, json_lines, write_file
from vqazoo.modes import evaluating
from vqazoo.plots import BLUE, new_figure, plain_axes, save_figure
from vqazoo.toolkit.shares import ALONE, Share, share_batch_norms
from vqazoo.training.engine import Engine
from vqazoo.training.run_folder import LOCK, one_writer, writing
from vqazoo.training.step_run import StepRun
from vqazoo.training.stepping import Log, Plan, step_engine, take_steps, warmed_cosine
from vqazoo_tiny_clip.measuring import measure, to_pixels
from vqazoo_tiny_clip.model import TOKENIZER, WEIGHTS, TinyCLIP, TinyCLIPConfig
from vqazoo_tiny_clip.render import Scene, draw_scene, write_caption
from vqazoo_tiny_clip.tokenizer import TinyCodec, train_tokenizer
from vqazoo_tiny_clip.truth import is_true, objects_json

FIGURES, CURVE = "figures.json", "loss.png"
CAPTIONS = "captions.jsonl"  # beside rendered pictures
DEVICE = "cpu"  # where the packaged weights were made
WEIGHT_DECAY, BETAS, CLIP_NORM, WARMUP = 0.05, (0.9, 0.98), 1.0, 100
LARGEST_SCALE = math.log(100)  # CLIP section 2.5: the temperature is kept above 1/100
LOG_EVERY = 50


def pretrain(
    out: Path,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    report: Callable[[str], None],
    resume: bool = False,
    accumulate: int = 1,
    precision: str = "fp32",
    save_every: int = LOG_EVERY,
) -> dict[str, Any]:
    """Train from random weights and write weights (float16), tokenizer, log, curve and figures.

    Args:
        resume: go on with the run of the same options in `out`, from the step it saved last.
        accumulate: batches of a step; pictures and captions are compared within their batch.

    Returns:
        The figures: retrieval and zero-shot, on pictures rendered from another seed. Of several
        processes only the first measures; the others give none.

    Raises:
        TrainingError: the loss or a weight is not finite, or `out` holds another run.
    """
    with one_writer(out), step_engine(DEVICE, precision, accumulate) as (engine, accumulate):
        if not engine.first:
            report = lambda line: None  # noqa: E731
        options = {
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
            "accumulate": accumulate,
            "precision": precision,
            "save_every": save_every,
        }
        run = StepRun(out, options, resume)
        run.know_data({})
        return _pretrain(run, options, engine, report)


def _pretrain(
    run: StepRun, options: Mapping[str, Any], engine: Engine, report: Callable[[str], None]
) -> dict[str, Any]:
    seed = options["seed"]
    tokenizer = train_tokenizer(seed)
    if engine.first:
        with writing(run.out):
            run.out.mkdir(parents=True, exist_ok=True)
            write_file(run.out / TOKENIZER, (tokenizer.to_str(pretty=True) + "\n").encode())
    config = TinyCLIPConfig(vocab_size=tokenizer.get_vocab_size())
    codec = TinyCodec(tokenizer, config.context_length)
    torch.manual_seed(seed)
    model = TinyCLIP(config)
    share = Share(engine.processes, engine.rank)
    share_batch_norms(model, share)
    report(f"{sum(p.numel() for p in model.parameters()):,} parameters, {config.vocab_size} pieces")

    plan = Plan(
        options["steps"],
        options["batch_size"],
        warmed_cosine(options["learning_rate"], WARMUP, options["steps"]),
        seed,
        options["save_every"],
        LOG_EVERY,
        BETAS,
        WEIGHT_DECAY,
        CLIP_NORM,
        options["accumulate"],
        run.out / LOG,
    )
    subject = RenderedPictures(model, codec, plan, share, run.out)
    take_steps(subject, plan, run, engine, report)
    if not engine.first:
        return {}
    started = time.perf_counter()
    with evaluating(model):
        figures = measure(model, codec, seed)
    figures["training_seconds"] = round(run.seconds + time.perf_counter() - started, 1)
    figures["options"] = dict(options)
    with writing(run.out):
        write_file(run.out / FIGURES, json_bytes(figures))
    return figures


class RenderedPictures:
    """A `StepSubject`: TinyCLIP, which learns from pictures that are drawn for each batch.

    Every process draws all scenes and captions of a batch, and paints its share.
    """

    def __init__(
        self, model: TinyCLIP, codec: TinyCodec, plan: Plan, share: Share, out: Path
    ) -> None:
        self.losses: nn.Module = _Contrast(model, codec, share)
        self.owner: nn.Module = model
        self._model, self._share, self._out = model, share, out
        self._count, self._rng = plan.batch_size, random.Random(plan.seed)

    def kept(self) -> dict[str, Tensor]:
        return self._model.state_dict(keep_vars=True)

    def counters(self) -> dict[str, Any]:
        return {"random": self._rng.getstate()}

    def go_on(self, counters: Mapping[str, Any]) -> None:
        version, words, spare = counters["random"]
        self._rng.setstate((version, tuple(words), spare))

    def batch(self) -> tuple[Tensor, list[str]]:
        return render_batch(self._rng, self._count, self._share)

    def after_step(self) -> None:
        with torch.no_grad():
            self._model.logit_scale.clamp_(max=LARGEST_SCALE)

    def told(self) -> dict[str, float]:
        return {"scale": round(self._model.logit_scale.exp().item(), 2)}

    def save(self, log: Log) -> None:
        with writing(self._out):
            save(self._model, self._out, log)


class _Contrast(nn.Module):
    """What processes that train together run: the loss of a batch."""

    def __init__(self, model: TinyCLIP, codec: TinyCodec, share: Share) -> None:
        super().__init__()
        self.model = model
        self._codec, self._share = codec, share

    def forward(self, batch: tuple[Tensor, Sequence[str]]) -> dict[str, Tensor]:
        return {"loss": contrastive_loss(self.model, self._codec, *batch, self._share)}


def render_batch(rng: random.Random, count: int, share: Share = ALONE) -> tuple[Tensor, list[str]]:
    """Pixels (b, 3, 64, 64) of a share of `count` fresh pictures, and the captions of all."""
    scenes = [draw_scene(rng) for _ in range(count)]
    captions = [write_caption(rng, scene) for scene in scenes]
    return to_pixels([scene.paint() for scene in scenes[share.rows(count)]]), captions


def contrastive_loss(
    model: TinyCLIP,
    codec: TinyCodec,
    images: Tensor,
    captions: Sequence[str],
    share: Share = ALONE,
) -> Tensor:
    """Scalar loss of B pictures and captions: a share's part, of its pictures (b, 3, H, W)."""
    here, count = share.rows(len(captions)), len(captions)
    ids, mask = codec.tokenize(captions)  # (B, L)
    image = model.encode_image(images)  # (b, D)
    text = model.pool_text(model.text_states(ids[here]), mask[here])  # (b, D)
    scale = model.logit_scale.exp()
    logits = scale * image @ share.gathered(text).T  # (b, B)
    back = logits.T if share.alone else scale * text @ share.gathered(image).T  # (b, B)
    numbers: dict[str, int] = {}
    number = torch.tensor([numbers.setdefault(caption, len(numbers)) for caption in captions])
    equal = (number[:, None] == number[None]).float()  # (B, B), symmetric
    target = (equal / equal.sum(dim=1, keepdim=True))[here]  # (b, B), rows sum to 1
    forth = share.cross_entropy(logits, target, count)
    return (forth + share.cross_entropy(back, target, count)) / 2


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
    figure = new_figure(3.6)
    axes = figure.subplots()
    axes.plot([line["step"] for line in log], [line["loss"] for line in log], color=BLUE)
    axes.set_xlabel("step")
    axes.set_ylabel("contrastive loss")
    plain_axes(axes)
    save_figure(figure, out / CURVE)


def write_pictures(
    out: Path, count: int, seed: int, wrong_share: float = 0.0, question: str = ""
) -> None:
    """Write `count` rendered pictures as PNG and `captions.jsonl` into a folder.

    Args:
        wrong_share: share of the pictures that get another picture's caption, false of them; then
            each row says in `correct` whether its caption is its own. The pictures and the true
            captions are the same for every share.
        question: what each row asks, if anything.

    Raises:
        DataError: another process writes pictures into the folder. OSError: it cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    with writer(out / LOCK, out, DataError):
        # Until it is written anew there is none: it would tell of the pictures of another seed.
        (out / CAPTIONS).unlink(missing_ok=True)
        lines = _painted(out, count, seed, wrong_share, question)
        write_file(out / CAPTIONS, ("\n".join(lines) + "\n").encode())


def _painted(out: Path, count: int, seed: int, wrong_share: float, question: str) -> list[str]:
    """The lines of the captions, as JSON; all as for `write_pictures`."""
    rng = random.Random(seed)
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
        if question:
            row["question"] = question
        if number in wrong:
            row["caption"] = false_caption(draw, scene)
        if wrong_share:
            row["correct"] = number not in wrong
        lines.append(json_text({**row, "objects": objects_json(scene)}, ascii_only=True))
    return lines


def false_caption(rng: random.Random, scene: Scene) -> str:
    """A caption of another random scene that is false of this one."""
    while True:
        caption = write_caption(rng, draw_scene(rng))
        if not is_true(caption, scene.objects):
            return caption

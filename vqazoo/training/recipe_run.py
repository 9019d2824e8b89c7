"""Running a recipe: train, score, measure the question-only baseline, write the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vqazoo.card import refresh
from vqazoo.config import Block, RunConfig, TrainingConfig, fill_block
from vqazoo.evaluation.answering import Asking
from vqazoo.evaluation.metric import Metric
from vqazoo.evaluation.split import evaluate_questions, read_split
from vqazoo.files.writing import BEST, METRICS, json_bytes, write_file
from vqazoo.keywords import names_keywords
from vqazoo.manifests import FusionManifest
from vqazoo.model import kinds, pick_device
from vqazoo.progress import Progress, Report
from vqazoo.registry import registry
from vqazoo.training.loop import run_training
from vqazoo.training.run_folder import one_writer
from vqazoo.training.state import STATE

BASELINE = "question-only"  # what the baseline sees: in names of metrics, and of its folder


@names_keywords
def run_recipe(
    config: RunConfig,
    out: Path,
    resume: bool,
    report: Report,
    progress: Progress,
    decode: Mapping[str, Any] | None = None,
    candidates: Sequence[str] | None = None,
) -> Path:
    """Train, score the test split, measure the question-only baseline, and write the card.

    Args:
        out: run folder; what was finished there is not done again when `resume` is set.
        decode, candidates: how the test split is answered; see
            `vqazoo.evaluation.answering.Asking`.

    Returns:
        The checkpoint folder, ready to push.

    Raises:
        VqazooError: see the message.
    """
    with one_writer(out):
        return _run_recipe(config, out, resume, report, progress, decode, candidates)


def _run_recipe(
    config: RunConfig,
    out: Path,
    resume: bool,
    report: Report,
    progress: Progress,
    decode: Mapping[str, Any] | None,
    candidates: Sequence[str] | None,
) -> Path:
    data, results = config.data, out / config.data.test_split
    missing = out / "missing-test.txt"
    questions = read_split(  # before hours of training
        data.type, data.args, data.test_split, data.skip_missing, missing, report
    )
    device = pick_device(config.training.device)
    model = run_training(config, out, resume and (out / STATE).exists(), report, progress).to(
        device
    )
    asking, cache = Asking(decode or {}, candidates), config.training.cache
    evaluation = evaluate_questions(model, questions, asking, None, cache, report, progress)
    evaluation.write(results, seed=config.seed)
    if evaluation.metrics:
        metrics = list(evaluation.metrics)
        baseline = question_only(config)
        if baseline is not None:
            report("Training the baseline that sees only the question.")
            place = out / BASELINE
            blind = run_training(
                baseline, place, resume and (place / STATE).exists(), report, progress
            )
            guessed = evaluate_questions(
                blind.to(device), questions, asking, False, cache, report, progress
            )
            metrics += as_baseline(guessed.metrics, baseline.fusion)
            write_file(results / METRICS, json_bytes([metric.to_json() for metric in metrics]))
        refresh(out / BEST, metrics, results)
    return out / BEST


def question_only(config: RunConfig) -> RunConfig | None:
    """The same recipe with a fusion that never looks at the picture, and a frozen image encoder.

    That is the first one by name which ignores the image and fits head and text encoder, with both
    encoders frozen; or, where none fits, the recipe's own fusion with its `blind_args`, and what
    trains of the text encoder. None if the recipe's own never looks, or if there is neither.

    Since the picture does not matter, the text encoder of the former reads it too if it can.
    """
    fusion = registry.manifest("fusion", config.fusion.type)
    head = registry.manifest("head", config.head.type)
    text = registry.manifest("encoder", config.text_encoder.type)
    if fusion.ignores == "image":
        return None
    for name, blind in registry.usable(FusionManifest):
        reads = kinds(blind.requires, "text") <= text.text
        if blind.ignores == "image" and reads and blind.provides == head.requires:
            block = fill_block("fusion", Block(name))
            image = config.text_encoder if text.image else config.image_encoder
            return _blinded(config, block, image, trains=False)
    if fusion.blind_args and config.image_encoder != config.text_encoder:
        block = replace(config.fusion, args={**config.fusion.args, **fusion.blind_args})
        if block == config.fusion:  # it never looks
            return None
        return _blinded(config, block, config.image_encoder, trains=True)
    return None


def _blinded(config: RunConfig, fusion: Block, image: Block, trains: bool) -> RunConfig:
    """The recipe with that fusion and image encoder; the text encoder trains only if it may."""

    def kept(prefixes: list[str]) -> list[str]:
        return [prefix for prefix in prefixes if trains and prefix.partition(".")[0] == "text"]

    training = config.training
    first = [
        replace(stage, trainable=kept(stage.trainable), unfreeze_blocks=0)
        for stage in training.stages[:1]
    ]
    plain = replace(
        training,
        trainable=kept(training.trainable),
        unfreeze_blocks=0,
        stages=first,
        augment="none",
        lora=TrainingConfig().lora,
        loggers=[],
    )
    name = f"{config.name}-{BASELINE}" if config.name else ""
    return replace(config, image_encoder=image, fusion=fusion, training=plain, name=name)


def as_baseline(metrics: Sequence[Metric], fusion: Block) -> list[Metric]:
    """The accuracies of a question-only model, named and signed as such."""
    manifest = registry.manifest("fusion", fusion.type)
    args = "".join(f",{name}={value}" for name, value in manifest.blind_args.items())
    return [
        replace(
            metric,
            name=f"{BASELINE}-{metric.name}",
            signature=f"{BASELINE}-{metric.signature}|fusion:{fusion.type}{args}",
        )
        for metric in metrics
        if metric.name in ("accuracy", "vqa-accuracy")
    ]

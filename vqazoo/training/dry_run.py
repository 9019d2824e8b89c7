"""The shape table that `vqazoo train --dry-run` prints. Imports torch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import nn

from vqazoo.amounts import count
from vqazoo.building import build_model
from vqazoo.config import RunConfig
from vqazoo.data.examples import is_there
from vqazoo.interfaces import Features
from vqazoo.model import VQAModel, pick_device
from vqazoo.training.data import read_run_data
from vqazoo.training.estimate import estimate
from vqazoo.training.stages import stages, unfreeze

QUESTION = "what is in this picture?"


def shape_table(config: RunConfig) -> str:
    """Shapes and parameter counts of a model built with random weights, and how long the run will
    take; nothing is downloaded but, for Hub names, their small config files.
    """
    training = config.training
    data = read_run_data(config, out=None)
    model = build_model(config.model, data.answers, pretrained=False)
    unfreeze(model, stages(training)[0])
    shapes = describe_shapes(model)
    model = model.to(pick_device(training.device))
    took = estimate(model, data, training, config.seed)
    if took is None:
        return shapes
    epochs = sum(stage.epochs for stage in stages(training))
    absent = _absent({example.image for example in data.examples}, config.data.skip_missing)
    return f"{shapes}\n\n{took.told(epochs, model.device)}{absent}"


def _absent(images: Collection[Path], skipped: bool) -> str:
    """What a run will make of pictures that are not there, as a sentence; empty: all are."""
    missing = sorted(str(image) for image in images if not is_there(image))
    if not missing:
        return ""
    then = "their questions are left out" if skipped else "the run stops, but for --skip-missing"
    return (
        f" Not there: {count(len(missing))} of {count(len(images))} pictures, such as "
        f"'{missing[0]}': {then}."
    )


def describe_shapes(model: VQAModel) -> str:
    """One line a step: what goes in, what comes out, parameters. B stands for the batch size."""
    pixels = torch.zeros(2, 3, *model.image_encoder.spec.preprocess.size)
    with torch.no_grad():
        image = model.encode_image(pixels)
        text = model.encode_text([QUESTION, QUESTION])
        ids, _ = model.text_encoder.tokenize([QUESTION])
        fused = model.fusion(image, text)
    image_in, text_in = _shape(pixels.shape), _shape(ids.expand(2, -1).shape)
    rows = [("step", "in", "out", "parameters", "of which train")]
    if model.image_encoder is model.text_encoder:
        both = f"{_features(image)}; {_features(text)}"
        rows.append(_row("encoder", f"{image_in}; {text_in}", both, model.image_encoder))
    else:
        rows.append(_row("image encoder", image_in, _features(image), model.image_encoder))
        rows.append(_row("text encoder", text_in, _features(text), model.text_encoder))
    rows.append(
        _row("fusion", f"{_features(image)}; {_features(text)}", _features(fused), model.fusion)
    )
    known = f"{len(model.answers):,} answers"
    rows.append(_row("head", _features(fused), known, model.head))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i > 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(step: str, given: str, made: str, module: nn.Module) -> tuple[str, str, str, str, str]:
    parameters = list(module.parameters())
    total = sum(p.numel() for p in parameters)
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return step, given, made, count(total), count(trained)


def _features(features: Features) -> str:
    kept = {k: t for k, t in features.tensors().items() if k != "mask"}
    return ", ".join(f"{kind} {_shape(tensor.shape)}" for kind, tensor in kept.items())


def _shape(shape: torch.Size) -> str:
    return f"(B, {', '.join(str(size) for size in shape[1:])})"

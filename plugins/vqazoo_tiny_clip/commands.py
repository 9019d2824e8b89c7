"""The verbs `render-captions`, `pretrain-tiny-clip` and `pretrain-tiny-lm`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.options import JSON, make_folder
from vqazoo.cli.output import print_json, say
from vqazoo.cli.step_runs import gather_options, how_to_go_on, print_of_first, stepped


@click.command("render-captions")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--wrong-share",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of pictures with a false caption; rows then tell in 'correct' which.",
)
@click.option(
    "--question", default="", help="Asked in each row, so that  train --data table  reads the file."
)
@JSON
def render_captions(
    out: Path, count: int, seed: int, wrong_share: float, question: str, as_json: bool
) -> None:
    """Write rendered pictures of shapes (PNG) and their captions (captions.jsonl)."""
    from vqazoo.errors import DataError
    from vqazoo_tiny_clip.pretrain import write_pictures

    try:
        write_pictures(out, count, seed, wrong_share, question)
    except OSError as error:
        raise DataError(f"The pictures could not be written to '{out}' ({error}).") from error
    if as_json:
        print_json({"out": str(out), "pictures": count})
        return
    say(f"{count} pictures and captions.jsonl are in '{out}'.", err=True)


@click.command("pretrain-tiny-clip")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(min=1), default=1200, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=2), default=256, show_default=True)
@click.option("--learning-rate", type=float, default=2e-3, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@stepped(50)
@JSON
def pretrain(out: Path, resume: bool, as_json: bool, **given: Any) -> None:
    """Train TinyCLIP from random weights on rendered captions and measure it.

    The defaults are those of the packaged weights: about 15 minutes on 2 CPU cores.
    """
    from vqazoo_tiny_clip.pretrain import pretrain as run

    options = gather_options(given, out, resume)
    if not resume:
        make_folder(out)
    with told_when_interrupted(lambda: how_to_go_on(out, "vqazoo pretrain-tiny-clip")):
        figures = run(out, report=lambda line: say(line, err=True), resume=resume, **options)
    print_of_first(figures, as_json)


@click.command("pretrain-tiny-lm")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(min=1), default=400, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option(
    "--learning-rate", type=click.FloatRange(min=0, min_open=True), default=2e-3, show_default=True
)
@click.option("--dim", type=click.IntRange(min=4), default=96, show_default=True)
@click.option("--layers", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--heads", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@stepped(50)
@JSON
def pretrain_language_model(out: Path, resume: bool, as_json: bool, **given: Any) -> None:
    """Train a small language model on rendered captions and questions, without pictures.

    OUT/model is a transformers folder with tokenizer and chat template, for  vqazoo train
    --text-encoder hf-lm:OUT/model --head lm-generate .
    """
    from vqazoo_tiny_clip.language_model import pretrain as run

    options = gather_options(given, out, resume)
    if not resume:
        make_folder(out)
    with told_when_interrupted(lambda: how_to_go_on(out, "vqazoo pretrain-tiny-lm")):
        figures = run(out, report=lambda line: say(line, err=True), resume=resume, **options)
    print_of_first(figures, as_json)

"""The verbs `render-captions` and `pretrain-tiny-clip`: how the packaged weights were made."""

from __future__ import annotations

from pathlib import Path

import click

from vqazoo.cli.options import JSON
from vqazoo.cli.output import print_figures, print_json, say


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
@JSON
def render_captions(out: Path, count: int, seed: int, wrong_share: float, as_json: bool) -> None:
    """Write rendered pictures of shapes (PNG) and their captions (captions.jsonl)."""
    from vqazoo.errors import DataError
    from vqazoo_tiny_clip.pretrain import write_pictures

    try:
        write_pictures(out, count, seed, wrong_share)
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
@JSON
def pretrain(
    out: Path, steps: int, batch_size: int, learning_rate: float, seed: int, as_json: bool
) -> None:
    """Train TinyCLIP from random weights on rendered captions and measure it.

    The defaults are those of the packaged weights: about 15 minutes on 2 CPU cores.
    """
    from vqazoo.errors import TrainingError
    from vqazoo_tiny_clip.pretrain import pretrain as run

    def report(line: str) -> None:
        say(line, err=True)

    try:
        figures = run(out, steps, batch_size, learning_rate, seed, report)
    except OSError as error:
        raise TrainingError(f"'{out}' could not be written ({error}): free space.") from error
    (print_json if as_json else print_figures)(figures)

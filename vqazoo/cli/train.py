"""`vqazoo train`: train a model."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from vqazoo.cli.options import DATA_ROOT, DEVICE, SET, SKIP_MISSING, run_assignments


@click.command()
@click.option("--encoder", help="Both towers, such as tiny-clip or open-clip:ViT-B-32@openai.")
@click.option("--image-encoder", help="Replaces the image tower.")
@click.option("--text-encoder", help="Replaces the text tower.")
@click.option("--fusion", help="Joins image and question; default: the head's own choice.")
@click.option("--head", help="Gives the answers, such as lstm, gru, linear or mlp.")
@click.option("--data", help="Dataset, such as easy-vqa, or table for your own files.")
@DATA_ROOT
@SKIP_MISSING
@click.option("--config", type=click.Path(path_type=Path), help="TOML file; flags win over it.")
@SET
@click.option("--seed", type=click.IntRange(min=0), help="Seed of everything random; default 0.")
@DEVICE
@click.option("--out", type=click.Path(path_type=Path), help="Run folder to write.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--dry-run", is_flag=True, help="Print the filled config and the shapes, and stop.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def train(
    encoder: str | None,
    image_encoder: str | None,
    text_encoder: str | None,
    fusion: str | None,
    head: str | None,
    data: str | None,
    data_root: str | None,
    skip_missing: bool,
    config: Path | None,
    assignments: tuple[str, ...],
    seed: int | None,
    device: str | None,
    out: Path | None,
    resume: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Train a model on a dataset and keep the best checkpoint in OUT/best.

    Example: vqazoo train --encoder tiny-clip --head lstm --data easy-vqa --out runs/first
    """
    from vqazoo.config import to_toml
    from vqazoo.training import gather_config

    if out is None and not dry_run:
        raise click.UsageError("Missing option '--out': name the run folder to write.")
    flags = {
        "encoder": encoder,
        "image_encoder": image_encoder,
        "text_encoder": text_encoder,
        "fusion": fusion,
        "head": head,
        "data": data,
        "seed": seed,
    }
    assignments = run_assignments(assignments, data_root, skip_missing, device)
    filled = gather_config(config, assignments, flags, out if resume else None)
    if dry_run:
        from vqazoo.shapes import shape_table

        click.echo(to_toml(filled))
        click.echo(shape_table(filled))
        return
    from vqazoo.training import run

    assert out is not None
    run(filled, out, resume, (lambda _: None) if quiet else _report, None if quiet else progress)
    if not quiet and os.environ.get("RANK", "0") == "0":  # the first of several processes
        click.echo(f"The best model is in '{out / 'best'}': vqazoo eval dir:{out / 'best'} ...")


def _report(line: str) -> None:
    click.echo(line, err=True)


def progress(steps: Sequence[int], label: str) -> Iterator[int]:
    """A progress bar on a terminal; elsewhere nothing, since plain lines follow."""
    if not sys.stderr.isatty():
        return iter(steps)
    from tqdm import tqdm

    return iter(tqdm(steps, desc=label, leave=False))

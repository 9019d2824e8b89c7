"""`vqazoo check`: verify a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def check(folder: Path) -> None:
    """Verify a checkpoint FOLDER: files, digests, parts, tensors, encoder weights and card.

    Loads the model, so that a folder that passes also answers.
    """
    from vqazoo.checkpoint import load_checkpoint
    from vqazoo.folder import CARD, METRICS

    model = load_checkpoint(folder)
    config = model.config
    for role, block in (
        ("image encoder", config.image_encoder),
        ("text encoder", config.text_encoder),
        ("fusion", config.fusion),
        ("head", config.head),
    ):
        click.echo(f"{role:14} {block.type}")
    click.echo(f"{'answers':14} {len(model.answers):,}")
    for name in (CARD, METRICS):
        if not (folder / name).is_file():
            click.echo(f"Note: there is no {name}.", err=True)
    click.echo(f"'{folder}' is a complete checkpoint.")

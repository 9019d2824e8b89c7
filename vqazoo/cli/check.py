"""`vqazoo check`: verify a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

import click

from vqazoo.amounts import count
from vqazoo.cli.options import JSON, signed_by_options
from vqazoo.cli.output import print_json, print_table, say


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@signed_by_options
@JSON
def check(folder: Path, identity: str, issuer: str, as_json: bool) -> None:
    """Verify a checkpoint FOLDER: files, digests, parts, tensors, encoder weights and card.

    Loads the model, so that a folder that passes also answers. With --identity, its signature is
    checked before anything is loaded.
    """
    from vqazoo.checkpoint.loading import load_checkpoint
    from vqazoo.files.known_digests import reading_all
    from vqazoo.files.writing import CARD, METRICS
    from vqazoo.publish.signatures import signatory, signed_by, verify
    from vqazoo.zoo.models import checkpoint_folder

    folder = checkpoint_folder(Path(str(folder).removeprefix("dir:")).expanduser())
    if signer := signatory(identity, issuer):
        say(signed_by(signer, verify(folder, signer)), err=True)
    with reading_all():
        model = load_checkpoint(folder)
    config = model.config
    parts = {
        "image_encoder": config.image_encoder.type,
        "text_encoder": config.text_encoder.type,
        "fusion": config.fusion.type,
        "head": config.head.type,
    }
    lacking = [name for name in (CARD, METRICS) if not (folder / name).is_file()]
    if as_json:
        print_json({**parts, "answers": len(model.answers), "lacking": lacking})
        return
    rows = [(role.replace("_", " "), name) for role, name in parts.items()]
    print_table(("part", "name"), [*rows, ("answers", count(len(model.answers)))])
    for name in lacking:
        say(f"Note: there is no {name}.", err=True)
    say(f"'{folder}' is a complete checkpoint.")

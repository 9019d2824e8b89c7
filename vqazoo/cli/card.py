"""`vqazoo card`: the model card of a checkpoint folder, generated anew. Does not import torch."""

from __future__ import annotations

from pathlib import Path

import click

from vqazoo.cli.options import JSON
from vqazoo.cli.output import print_json, say


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", default="", help="Of the model; default: the recipe's, else the folder's.")
@JSON
def card(folder: Path, name: str, as_json: bool) -> None:
    """Write README.md of the checkpoint folder DIR anew from its other files.

    What stands between the marks <!-- vqazoo:NAME --> is generated; all other text is yours and is
    kept, and so are sections that you moved or deleted, and front matter that you added.

    Example: vqazoo card runs/first/best
    """
    from vqazoo.card import write_card
    from vqazoo.zoo.models import checkpoint_folder

    folder = checkpoint_folder(Path(str(folder).removeprefix("dir:")).expanduser())
    written = write_card(folder, name)
    if as_json:
        print_json({"file": str(written.file), **written.facts()})
        return
    say(f"Wrote '{written.file}' of the model '{written.name}'.")
    say(f"Generated: {', '.join(written.renewed)}.")
    if written.deleted:
        say(f"Left out, as you deleted them: {', '.join(written.deleted)}.")
    if written.unmarked:
        say(
            "The card had no marks of vqazoo: all of it is kept, and the generated sections stand "
            "below. For a card without the old text, delete the file and run this again."
        )
    elif written.edited:
        say("Kept: the text around them, which you edited.")
    for mark in written.unmatched:
        say(
            f"Note: the mark {mark} has no partner, so what follows it is kept as your text: add "
            f"the other mark, or delete this one.",
            err=True,
        )

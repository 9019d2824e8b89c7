"""`vqazoo convert`: pickled weights as safetensors."""

from __future__ import annotations

from pathlib import Path

import click

from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.options import JSON
from vqazoo.cli.output import print_json, say


@click.command()
@click.argument("source", metavar="REPO_OR_FOLDER")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new folder.")
@JSON
def convert(source: str, out: Path, as_json: bool) -> None:
    """Write the pickled weights of REPO_OR_FOLDER (.bin, .pt, .pth) as safetensors.

    For Hub repositories (OWNER/NAME, OWNER/NAME@REVISION), folders and single files that have
    nothing else. A pickle can run code when it is read: this reads tensors alone (torch's
    weights_only), yet convert only what you trust. Configs and tokenizers are copied.

    Example: vqazoo convert OWNER/NAME --out weights/name
    """
    from vqazoo.checkpoint.convert import convert as write

    with told_when_interrupted(lambda: _left(out)):
        done = write(source, out, lambda line: say(line, err=True))
    if as_json:
        print_json({**vars(done), "out": str(done.out)})
        return
    for name in done.written:
        say(f"Written: {name}")
    say(f"Copied: {', '.join(done.copied) or 'nothing'}")
    say(f"Left out: {', '.join(done.left_out) or 'nothing'}")
    say(f"'{done.out}' has the weights as safetensors.")


def _left(out: Path) -> str:
    """What an interrupted run left; a signal may come after the folder got its name."""
    if out.is_dir() and any(out.iterdir()):
        return f"'{out}' is there, and whole, since it is put in place at the end."
    return f"'{out}' was not made, since it is put in place at the end; run it again."

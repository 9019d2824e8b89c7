"""The verb `vqazoo demo`. Imports Gradio and uvicorn when it runs."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import click

from vqazoo.cli.completion import complete_model
from vqazoo.cli.options import DEVICE_OR_CPU, abstain_at_risk, listens_on


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL ...]", shell_complete=complete_model)
@listens_on(7860)
@click.option(
    "--flagged",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default="flagged.csv",
    show_default=True,
    help="Table that corrected answers go to; their pictures go beside it.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="How many answers of a model to show.",
)
@click.option(
    "--quality",
    default="",
    metavar="MODEL|none",
    help="Model that judges every picture; default: for models of drawn shapes the packaged one.",
)
@abstain_at_risk
@DEVICE_OR_CPU
def demo(
    models: tuple[str, ...],
    host: str,
    port: int,
    flagged: Path,
    top_k: int,
    quality: str,
    abstain_at_risk: float | None,
    device: str,
) -> None:
    """Open a web page that asks models about pictures.

    MODEL is a zoo name, dir:PATH or hub:OWNER/NAME; the packaged models can be chosen too.

    Example: vqazoo demo tiny-clip-lstm-easyvqa dir:runs/mine/best
    """
    from vqazoo.errors import missing_package
    from vqazoo_demo.asking import Models
    from vqazoo_demo.flagging import FlaggedTable

    if find_spec("gradio") is None:
        raise missing_package("The verb 'demo'", "gradio", "demo")
    table = FlaggedTable(flagged)
    zoo = Models(models, device, quality, abstain_at_risk)
    for name in zoo.chosen if models else ():
        zoo.load(name).holds_back(abstain_at_risk)
    with tempfile.TemporaryDirectory(prefix="vqazoo-demo-") as folder:
        # Read when Gradio is imported; pictures that were uploaded go when the demo stops.
        os.environ |= {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": folder,
            "GRADIO_EXAMPLES_CACHE": folder,  # else files of a folder .gradio here are served
        }
        from vqazoo_demo import page, server

        blocks = page.build(zoo, table, top_k, Path(folder))
        server.serve(blocks, host, port, Path(folder))

"""The verb `vqazoo export`. Imports no torch until it runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqazoo.amounts import size
from vqazoo.cli.completion import complete_model
from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.options import DATA_ROOT, JSON, dataset_args, make_folder, part
from vqazoo.cli.output import print_json, progress, say

if TYPE_CHECKING:
    from vqazoo.model import VQAModel

FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("model", shell_complete=complete_model)
@click.option(
    "--to",
    type=click.Choice(["onnx", "torch-export", "triton", "web"]),
    default="onnx",
    show_default=True,
    help="ONNX with a runner, torch.export archives, a model for Triton, or a browser page.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder to write.")
@click.option(
    "--graphs",
    type=click.Choice(["one", "three"]),
    default="one",
    show_default=True,
    help="Three: image encoder, text encoder, and fusion with head.",
)
@click.option("--int8", is_flag=True, help="8-bit weights, with a scale for each channel.")
@click.option(
    "--onnxruntime-web",
    "runtime",
    type=FOLDER,
    metavar="FOLDER",
    help="The folder dist of the unpacked package onnxruntime-web, for --to web.",
)
@part("--data", "dataset", "Dataset on whose questions to compare with the original.")
@DATA_ROOT
@click.option("--split", default="test", show_default=True, help="Which of its splits.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="How many of its questions.",
)
@JSON
def export(
    model: str,
    to: str,
    out: Path,
    graphs: str,
    int8: bool,
    runtime: Path | None,
    data: str | None,
    data_root: str | None,
    split: str,
    limit: int,
    as_json: bool,
) -> None:
    """Write MODEL for other runtimes, such as ONNX.

    MODEL is a zoo name, dir:PATH or hub:OWNER/NAME. OUT holds the graphs, manifest.json, and with
    ONNX graphs a runner: python OUT/run.py PICTURE QUESTION. Run the same command again after an
    interruption: it goes on with what is kept in the folder OUT.parts.

    Example: vqazoo export tiny-clip-lstm-easyvqa --out exported --int8 --data easy-vqa
    """
    if data is not None and to == "torch-export":
        raise click.UsageError("--data compares ONNX graphs: leave it out, or use --to onnx.")
    from vqazoo.zoo.models import load
    from vqazoo_export.folder import Options, export_model

    make_folder(out.absolute().parent)
    loaded = load(model)
    options = Options(to, graphs, int8, runtime)
    with told_when_interrupted(lambda: "run the same command again; what was done is kept."):
        manifest = export_model(
            loaded, model, out, options, lambda line: say(line, err=True), progress
        )
        summary: dict[str, Any] = {"out": str(out), "bytes": _size(manifest)}
        if data is not None:
            summary["agreement"] = _agreement(loaded, out, data, data_root, split, limit)
    if as_json:
        print_json(summary)
        return
    names = ", ".join(graph["file"] for graph in manifest["graphs"])
    say(f"Wrote '{out}': {names}, {size(summary['bytes'])} together.")
    if to == "onnx":
        say(f'Ask it, without vqazoo:  python {shlex.quote(str(out))}/run.py PICTURE "QUESTION"')
    if agreement := summary.get("agreement"):
        say(
            f"{agreement['same']:.2%} of {agreement['questions']:,} questions have the original's "
            f"answer; their scores differ by at most {agreement['score_difference']:.2g}."
        )
    elif int8:
        say("8-bit weights may change answers: --data NAME says how many are the same.")


def _size(manifest: dict[str, Any]) -> int:
    return sum(graph["bytes"] for graph in manifest["graphs"])


def _agreement(
    model: VQAModel, out: Path, data: str, data_root: str | None, split: str, limit: int
) -> dict[str, Any]:
    from vqazoo.data import open_dataset
    from vqazoo.errors import missing_package
    from vqazoo_export.agreement import agreement

    reader = open_dataset(data, dataset_args(data, {}, data_root, ()))
    reader.check_split(split)
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise missing_package("vqazoo export --data", "onnxruntime", "export") from error
    return agreement(model, out, reader.read(split)[:limit], progress)

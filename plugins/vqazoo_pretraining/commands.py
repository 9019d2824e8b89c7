"""The verbs `pretrain` and `capfilt`. Imports no torch until one runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.options import DEVICE, JSON, SET, make_folder
from vqazoo.cli.output import progress, say
from vqazoo.cli.step_runs import gather_options, how_to_go_on, print_of_first, stepped

FILE = click.Path(path_type=Path)
SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
OUT = click.option("--out", type=FILE, required=True, help="Folder to write.")
QUIET = click.option("--quiet", is_flag=True, help="Print nothing but the result and errors.")


@click.command("pretrain")
@click.option(
    "--data",
    type=FILE,
    multiple=True,
    help="Captions: .jsonl or .csv with image and caption, or COCO's .json; may be repeated.",
)
@click.option("--validation", type=FILE, help="Held-out captions; default: a share of --data.")
@click.option(
    "--validation-share",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Share of the pictures that is held out without --validation.",
)
@click.option(
    "--objective",
    default="itc,itm,lm",
    show_default=True,
    help="Contrast, matching, captions (for q-former lm means itg).",
)
@click.option(
    "--architecture", type=click.Choice(["blip", "q-former"]), default="blip", show_default=True
)
@click.option("--image-encoder", default="tiny-clip", show_default=True, help="Stays frozen.")
@click.option("--text-encoder", default="words:tiny-clip", show_default=True)
@click.option("--dim", type=click.IntRange(min=1), default=192, show_default=True)
@click.option("--layers", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--heads", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), help="Instead of epochs.")
@click.option("--batch-size", type=click.IntRange(min=2), default=128, show_default=True)
@click.option(
    "--learning-rate", type=click.FloatRange(min=0, min_open=True), default=5e-4, show_default=True
)
@click.option(
    "--hard-negatives/--no-hard-negatives",
    default=True,
    show_default=True,
    help="False pairs for matching: by similarity, or any.",
)
@SET
@SEED
@DEVICE
@stepped(200)
@OUT
@QUIET
@JSON
def pretrain(out: Path, quiet: bool, as_json: bool, resume: bool, **given: Any) -> None:
    """Pretrain a model on pictures with captions, the image tower frozen.

    OUT/checkpoint is a model for  vqazoo train --set training.start=dir:OUT/checkpoint ; of blip,
    OUT/captioner writes captions.

    Example: vqazoo pretrain --data captions.jsonl --out runs/blip
    """
    from vqazoo_pretraining.pretrain import Options, run

    given = {**given, "steps": given["steps"] or 0, "device": given["device"] or "auto"}
    asked = gather_options(given, out, resume, ("data",))
    options = Options(
        **{
            **asked,
            "data": [Path(file) for file in asked["data"]],
            "validation": Path(asked["validation"]) if asked["validation"] else None,
            "assignments": tuple(asked["assignments"]),
        }
    )
    if not resume:
        make_folder(out)
    report, bar = _output(quiet)
    with told_when_interrupted(lambda: how_to_go_on(out, "vqazoo pretrain")):
        figures = run(options, out, report, bar, resume)
    print_of_first(figures, as_json)


@click.command("capfilt")
@click.option("--data", type=FILE, help="Noisy captions.")
@click.option("--start", type=FILE, help="Folder that vqazoo pretrain has written.")
@click.option("--human", type=FILE, help="Captions to trust; never filtered.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Of each copy, on the trusted captions.",
)
@click.option("--batch-size", type=click.IntRange(min=2), default=128, show_default=True)
@click.option(
    "--learning-rate", type=click.FloatRange(min=0, min_open=True), default=2e-4, show_default=True
)
@click.option(
    "--strategy",
    type=click.Choice(["nucleus", "beam"]),
    default="nucleus",
    show_default=True,
    help="How the captioner writes.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Texts with a lower probability of matching are removed.",
)
@SEED
@DEVICE
@stepped(200)
@OUT
@QUIET
@JSON
def capfilt(out: Path, quiet: bool, as_json: bool, resume: bool, **given: Any) -> None:
    """Clean noisy captions with a captioner and a filter made of one pretrained model.

    OUT/captions.jsonl is the new set, OUT/decisions.jsonl tells of every noisy picture what was
    kept, replaced or dropped, OUT/report.json counts.

    Example: vqazoo capfilt --data web.jsonl --human coco.jsonl --start runs/blip --out runs/clean
    """
    from vqazoo_pretraining.capfilt import Options, run

    places = ("data", "start", "human")
    given = {**given, "device": given["device"] or "auto"}
    asked = gather_options(given, out, resume, places)
    options = Options(**{**asked, **{name: Path(asked[name]) for name in places}})
    if not resume:
        make_folder(out)
    report, bar = _output(quiet)
    with told_when_interrupted(lambda: how_to_go_on(out, "vqazoo capfilt")):
        counted = run(options, out, report, bar, resume)
    print_of_first(counted, as_json)


def _output(quiet: bool) -> tuple[Callable[[str], None], Any]:
    if quiet:
        return (lambda line: None), (lambda steps, label: iter(steps))
    return (lambda line: say(line, err=True)), progress

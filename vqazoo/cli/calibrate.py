"""`vqazoo calibrate`: temperatures and thresholds of a model, fitted to known answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqazoo.amounts import percent
from vqazoo.cli.completion import complete_model
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import CACHED_FEATURES, DEVICE_OR_AUTO, JSON, data_options, given_args
from vqazoo.cli.output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from vqazoo.calibration import Calibration


@click.command(cls=ExampleCommand)
@click.argument("model", shell_complete=complete_model)
@data_options
@click.option(
    "--split", default="", help="Which split to fit to; default: what the recipe validates on."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="New folder for a calibrated copy; needed where MODEL is no dir:PATH.",
)
@DEVICE_OR_AUTO
@CACHED_FEATURES
@JSON
def calibrate(
    model: str,
    data: str | None,
    data_root: str | None,
    assignments: tuple[str, ...],
    skip_missing: bool,
    split: str,
    out: Path | None,
    device: str,
    cache: str,
    as_json: bool,
) -> None:
    """Make the scores of MODEL (a zoo name or dir:PATH) probabilities of being right.

    Fits temperatures, and thresholds for --abstain-at-risk, to questions whose answers are known
    and that MODEL did not learn from; it trains nothing, and answers stay the same. 100 questions
    about 20 pictures are needed at least.

    Example: vqazoo calibrate {model} --data {dataset} --split test --out runs/calibrated
    """
    from vqazoo.training.calibration import calibrate as fit

    fitted = fit(
        model,
        data,
        split,
        out=out,
        data_args=given_args(data_root, assignments),
        skip_missing=skip_missing,
        device=device,
        cache=cache,
        report=lambda line: say(line, err=True),
        progress=progress,
    )
    if as_json:
        print_json(fitted.to_json())
    else:
        _print(fitted)


def _print(fitted: Calibration) -> None:
    from vqazoo.calibration.fitting import rows_needed

    rows = [
        (
            f"{risk:g}",
            "none" if score is None else percent(score),
            f"needs {rows_needed(risk):,} right answers at least" if score is None else "",
        )
        for risk, score in fitted.thresholds.items()
    ]
    print_table(("risk", "answers from a score of", ""), rows, right=("answers from a score of",))

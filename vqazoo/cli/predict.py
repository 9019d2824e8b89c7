"""`vqazoo predict`: answers to every row of a split, in a file of any length."""

from __future__ import annotations

from pathlib import Path

import click

from vqazoo.cli.completion import complete_model
from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import (
    CACHED_FEATURES,
    DEVICE_OR_AUTO,
    JSON,
    asking_for_data,
    confidence_flags,
    decode_flags,
    decode_request,
    given_args,
    named_data,
)
from vqazoo.cli.output import print_json, say


@click.command(cls=ExampleCommand)
@click.argument("model", shell_complete=complete_model)
@named_data
@click.option("--split", help="Which split to answer; default: the recipe's test split, or test.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="File of answers that ends in .parquet, .csv or .jsonl, and is not there yet.",
)
@DEVICE_OR_AUTO
@CACHED_FEATURES
@click.option(
    "--engine",
    type=click.Choice(["here", "ray"]),
    default="here",
    show_default=True,
    help="Where to answer: in this process, or in the actors of a Ray cluster.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    help="Actors of Ray; default: one a GPU, else one for four cores each.",
)
@decode_flags()
@confidence_flags
@JSON
def predict(
    model: str,
    data: str | None,
    data_root: str | None,
    assignments: tuple[str, ...],
    split: str | None,
    out: Path,
    device: str,
    cache: str,
    engine: str,
    workers: int,
    decode: tuple[str, ...],
    candidates: Path | None,
    uncalibrated: bool,
    abstain_at_risk: float | None,
    as_json: bool,
) -> None:
    """Answer every question of a split with MODEL (a zoo name or dir:PATH) into one file.

    The rows stand in their order, with score, answer type, answerability and, where a row could not
    be answered, the error. Run the same command again after an interruption: it goes on with what
    is kept in the folder OUT.parts, and the file is the same in the end. --decode and --candidates
    are those of 'vqazoo ask'.

    Example: vqazoo predict {model} --data {dataset} --out answers.parquet
    """
    options, chosen = decode_request(decode, candidates)
    from vqazoo.zoo.predict import predict_to_file

    with (
        told_when_interrupted(lambda: "run the same command again; answered parts are kept."),
        asking_for_data(),
    ):
        counts = predict_to_file(
            model,
            out,
            data,
            split or "",
            data_args=given_args(data_root, assignments),
            decode=options,
            candidates=chosen,
            calibrated=not uncalibrated,
            abstain_at_risk=abstain_at_risk,
            device=device,
            cache=cache,
            engine=engine,
            workers=workers,
            report=lambda line: say(line, err=True),
        )
    if as_json:
        print_json({"out": str(out), "rows": counts.rows, "failed": counts.failed})
        return
    answered = counts.rows - counts.failed
    failed = f"; of {counts.failed:,} the column 'error' says why not" if counts.failed else ""
    say(f"Answered {answered:,} of {counts.rows:,} rows in '{out}'{failed}.")

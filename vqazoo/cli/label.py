"""`vqazoo label`: a teacher's answers to every row of a split, to train on."""

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
@click.option(
    "--teacher",
    required=True,
    shell_complete=complete_model,
    help="The model that answers: a zoo name or dir:PATH.",
)
@named_data
@click.option("--split", help="Which split to label; default: the recipe's test split, or test.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="File of labels that ends in .jsonl or .csv, and is not there yet.",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="The smallest score of an answer that becomes a label; default: any.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Answers of a row that are kept, each with its score as weight.",
)
@DEVICE_OR_AUTO
@CACHED_FEATURES
@decode_flags()
@confidence_flags
@JSON
def label(
    teacher: str,
    data: str | None,
    data_root: str | None,
    assignments: tuple[str, ...],
    split: str | None,
    out: Path,
    min_confidence: float,
    top_k: int,
    device: str,
    cache: str,
    decode: tuple[str, ...],
    candidates: Path | None,
    uncalibrated: bool,
    abstain_at_risk: float | None,
    as_json: bool,
) -> None:
    """Let a teacher answer every question of a split, into one file to train on.

    Rows that the teacher is not sure of (--abstain-at-risk, --min-confidence) or cannot answer are
    not in the file; it is said how many. Train on it with its best answers, or with all of them by
    their weights: --set data.answer_rule=soft. Run the same command again after an interruption.

    Example: vqazoo label --teacher {model} --data {dataset} --out labels.jsonl
    """
    options, chosen = decode_request(decode, candidates)
    from vqazoo.zoo.label import label_to_file

    with (
        told_when_interrupted(lambda: "run the same command again; answered parts are kept."),
        asking_for_data(),
    ):
        counts = label_to_file(
            teacher,
            out,
            data,
            split or "",
            data_args=given_args(data_root, assignments),
            decode=options,
            candidates=chosen,
            calibrated=not uncalibrated,
            abstain_at_risk=abstain_at_risk,
            min_confidence=min_confidence,
            top_k=top_k,
            device=device,
            cache=cache,
            report=lambda line: say(line, err=True),
        )
    labelled = counts.rows - counts.failed - counts.held_back
    if as_json:
        print_json(
            {
                "out": str(out),
                "rows": counts.rows,
                "labelled": labelled,
                "held_back": counts.held_back,
                "failed": counts.failed,
            }
        )
        return
    say(
        f"Labelled {labelled:,} of {counts.rows:,} rows in '{out}'; {counts.held_back:,} answers "
        f"were held back, {counts.failed:,} rows could not be answered."
    )

"""`vqazoo eval`: answer and score a whole split, or score answers that others made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqazoo.cli.options import data_options, dataset_args, make_folder

if TYPE_CHECKING:
    from vqazoo.data import Example
    from vqazoo.interfaces import Answer

GRID = 12  # questions in the picture grid


@click.command("eval")
@click.argument("model", required=False)
@data_options
@click.option("--split", default="test", show_default=True, help="Which split to answer.")
@click.option(
    "--predictions", type=click.Path(path_type=Path),
    help="Score the answers in this CSV, JSON-lines or official submission file, with no model.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Folder for predictions and scores.")
@click.option("--record", is_flag=True, help="Write the scores into the model's metrics and card.")
@click.option("--wups", is_flag=True, help="Compute WUPS too; cocoqa and daquar always do.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, ...")
@click.option("--cache", default="", help="Folder of cached features; default: vqazoo's own.")
@click.option("--seed", default=0, help="Chooses the questions in the picture grid.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def eval_command(
    model: str | None,
    data: str | None,
    data_root: str | None,
    assignments: tuple[str, ...],
    skip_missing: bool,
    split: str,
    predictions: Path | None,
    out: Path | None,
    record: bool,
    wups: bool,
    device: str,
    cache: str,
    seed: int,
    as_json: bool,
) -> None:
    """Answer every question of a split with MODEL (a zoo name or dir:PATH) and score the answers.

    With --out, writes predictions (CSV, JSON lines, the official submission of vizwiz and vqav2),
    metrics.json and pictures.

    Example: vqazoo eval --predictions mine.csv --data vizwiz --data-root DIR --split val
    """
    if (model is None) == (predictions is None):
        raise click.UsageError("Give either MODEL or --predictions FILE, and not both.")
    if predictions is not None and data is None:
        raise click.UsageError("--predictions needs --data, the dataset that was answered.")
    if predictions is not None and record:
        raise click.UsageError("--record writes into a model's folder, so it needs MODEL.")
    from vqazoo.card import refresh
    from vqazoo.cli.train import progress
    from vqazoo.config import read_toml
    from vqazoo.data import open_dataset, present
    from vqazoo.evaluate import by_name, predict, score
    from vqazoo.folder import RECIPE, json_bytes, write_file
    from vqazoo.predictions import read_predictions

    def report(line: str) -> None:
        click.echo(line, err=True)

    args: dict[str, Any] = {}
    folder = None
    if model is not None:
        from vqazoo.zoo import resolve

        folder = resolve(model)
        if data is None:
            trained_on = read_toml(folder / RECIPE)["data"]
            data, args = trained_on["type"], dict(trained_on["args"])
    assert data is not None
    reader = open_dataset(data, dataset_args(data, args, data_root, assignments))
    reader.check_split(split)
    if out is not None:
        make_folder(out)
    examples = reader.read(split)
    known = None
    if predictions is None or skip_missing:  # who answers others' files need not have the pictures
        missing = (out or Path.cwd()) / "missing-images.txt"
        examples, left_out = present(examples, skip_missing, missing)
        if left_out:
            report(f"Left out {left_out:,} questions without a picture, listed in '{missing}'.")
    if predictions is not None:
        answers = read_predictions(predictions, examples)
    else:
        import vqazoo
        from vqazoo.features import CachedFeatures

        loaded = vqazoo.load(str(model), device)
        known = loaded.answers
        answers = predict(loaded, CachedFeatures(loaded, examples, progress, cache, report),
                          len(examples))  # fmt: skip
    if out is not None:
        _write_predictions(out, data, examples, answers, seed)
    if not any(example.answers for example in examples) and out is not None:
        report(f"The split '{split}' has no answers: wrote predictions only.")
        return
    metrics = score(examples, answers, data, split, known, wups or None, report)
    if out is not None:
        write_file(out / "metrics.json", json_bytes([metric.to_json() for metric in metrics]))
    if record and folder is not None:
        refresh(folder, metrics)
    if as_json:
        click.echo(json.dumps(by_name(metrics)))
        return
    width = max(len(metric.name) for metric in metrics)
    for metric in metrics:
        low_high = metric.interval
        interval = f"[{low_high[0]:.2%}, {low_high[1]:.2%}]" if low_high else ""
        click.echo(f"{metric.name:{width}} {metric.value:8.2%} {interval:17} {metric.signature}")


def _write_predictions(
    out: Path, data: str, examples: list[Example], answers: list[Answer], seed: int
) -> None:
    """Prediction files in every form that fits, and pictures of them."""
    import math

    import numpy as np

    from vqazoo.evaluate import accuracies
    from vqazoo.figures import answer_figure, confusion_figure, grid_rows, reliability_figure
    from vqazoo.folder import write_file
    from vqazoo.metrics.reliability import risk_coverage
    from vqazoo.predictions import (
        SUBMISSIONS,
        answerability_submission,
        submission,
        to_csv,
        to_json_lines,
    )

    write_file(out / "predictions.csv", to_csv(examples, answers).encode())
    write_file(out / "predictions.jsonl", to_json_lines(examples, answers).encode())
    if data in SUBMISSIONS:
        write_file(out / "submission.json", submission(data, examples, answers).encode())
    if data == "vizwiz" and all(answer.answerable is not None for answer in answers):
        content = answerability_submission(examples, answers)
        write_file(out / "submission-answerability.json", content.encode())
    shown = [
        row for row in grid_rows(examples, answers, GRID, seed) if examples[row].image.is_file()
    ]
    if shown:
        answer_figure(
            [examples[i] for i in shown], [answers[i] for i in shown], out / "answers.png"
        )
    labelled = [(e, a) for e, a in zip(examples, answers, strict=True) if e.answers]
    if not labelled:
        return
    scored, given = [e for e, _ in labelled], [a for _, a in labelled]
    confusion_figure(scored, given, out / "confusion.png")
    if not any(math.isnan(answer.score) for answer in given):
        confidence = np.array([answer.score for answer in given])
        curve = risk_coverage(accuracies(scored, given), confidence)
        reliability_figure(curve, out / "risk-coverage.png")

"""`vqazoo eval`: answer and score a whole split, or score answers that others made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vqazoo.cli.completion import complete_model
from vqazoo.cli.options import (
    JSON,
    asked,
    data_options,
    dataset_args,
    decode_options,
    make_folder,
)
from vqazoo.cli.output import print_json, print_table, progress, say


@click.command("eval")
@click.argument("model", required=False, shell_complete=complete_model)
@data_options
@click.option("--split", help="Which split to answer; default: the recipe's test split, or test.")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    help="Score the answers in this CSV, JSON-lines or official submission file, with no model.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for predictions and scores.")
@click.option("--record", is_flag=True, help="Write the scores into the model's metrics and card.")
@click.option("--wups", is_flag=True, help="Compute WUPS too; cocoqa and daquar always do.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, ...")
@click.option("--cache", default="", help="Folder of cached features; default: vqazoo's own.")
@click.option("--seed", default=0, help="Chooses the questions in the picture grid.")
@decode_options()
@JSON
def eval_command(
    model: str | None,
    data: str | None,
    data_root: str | None,
    assignments: tuple[str, ...],
    skip_missing: bool,
    split: str | None,
    predictions: Path | None,
    out: Path | None,
    record: bool,
    wups: bool,
    device: str,
    cache: str,
    seed: int,
    decode: tuple[str, ...],
    candidates: Path | None,
    as_json: bool,
) -> None:
    """Answer every question of a split with MODEL (a zoo name or dir:PATH) and score the answers.

    With --out, writes predictions (CSV, JSON lines, the official submission of vizwiz and vqav2),
    metrics.json and pictures. --decode and --candidates are those of 'vqazoo ask'; they stand in
    the signature of every score.

    Example: vqazoo eval --predictions mine.csv --data vizwiz --data-root DIR --split val
    """
    if (model is None) == (predictions is None):
        raise click.UsageError("Give either MODEL or --predictions FILE, and not both.")
    if predictions is not None and data is None:
        raise click.UsageError("--predictions needs --data, the dataset that was answered.")
    if record and not (model or "").startswith("dir:"):
        raise click.UsageError(
            "--record writes into a model's own folder, so MODEL must be dir:PATH."
        )
    if predictions is not None and (decode or candidates is not None):
        raise click.UsageError("--decode and --candidates are for a MODEL, not for --predictions.")
    options, chosen = asked(decode, candidates)
    from vqazoo.card import refresh
    from vqazoo.data import open_dataset, usable
    from vqazoo.evaluation.metric import by_name
    from vqazoo.evaluation.predictions import read_predictions
    from vqazoo.evaluation.results import write_results
    from vqazoo.evaluation.score import score
    from vqazoo.files.writing import RECIPE, json_bytes, write_file
    from vqazoo.zoo.recipes import trained_on

    def report(line: str) -> None:
        say(line, err=True)

    args: dict[str, Any] = {}
    found = folder = None
    if model is not None:
        from vqazoo.zoo.models import find

        found = find(model, names=(RECIPE,))
        folder = found.folder
        if folder is None and (data is None or record):
            raise click.UsageError(
                f"'{model}' was published without a recipe of vqazoo: name the dataset with "
                f"--data, and leave out --record."
            )
        if data is None:
            assert folder is not None
            own = trained_on(folder)
            data, args = own.type, own.args
            split = split or own.test_split
    assert data is not None
    split = split or "test"
    reader = open_dataset(data, dataset_args(data, args, data_root, assignments))
    reader.check_split(split)
    if out is not None:
        make_folder(out)
    examples = reader.read(split)
    known = None
    if predictions is None or skip_missing:  # who answers others' files need not have the pictures
        missing = (out or Path.cwd()) / "missing-images.txt"
        examples, left_out = usable(examples, skip_missing, missing)
        if left_out:
            report(f"Left out {left_out:,} questions without a picture, listed in '{missing}'.")
    how = ""
    if predictions is not None:
        answers = read_predictions(predictions, examples)
    else:
        from vqazoo.evaluation.answering import Asking, answer_split
        from vqazoo.model import pick_device
        from vqazoo.zoo.models import load_found

        assert found is not None
        loaded = load_found(found).to(pick_device(device))
        known = loaded.answers if len(loaded.answers) else None
        asking = Asking(options, chosen)
        answers = answer_split(loaded, examples, asking, progress, cache, report)
        how = asking.signature(loaded)
    if out is not None:
        write_results(out, data, examples, answers, seed)
    if not any(example.answers for example in examples) and out is not None:
        report(f"The split '{split}' has no answers: wrote predictions only.")
        return
    metrics = score(examples, answers, data, split, known, wups or None, report, how)
    if out is not None:
        write_file(out / "metrics.json", json_bytes([metric.to_json() for metric in metrics]))
    if record:
        assert folder is not None
        refresh(folder, metrics, out)
    if as_json:
        print_json(by_name(metrics))
        return
    rows = [
        (
            metric.name,
            f"{metric.value:.2%}",
            "[{:.2%}, {:.2%}]".format(*metric.interval) if metric.interval else "",
            metric.signature,
        )
        for metric in metrics
    ]
    print_table(("metric", "value", "95% interval", "signature"), rows, right=("value",))
    for metric in metrics:
        if metric.smallest_difference is not None:
            report(
                f"{metric.name}: the smallest difference between two models that these questions "
                f"can show is {100 * metric.smallest_difference:.2f} points, less if the models "
                f"share mistakes ('vqazoo compare' tells)."
            )

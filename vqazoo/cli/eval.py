"""`vqazoo eval`: answer and score a whole split, or score answers that others made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqazoo.amounts import percent
from vqazoo.cli.completion import complete_model
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import (
    CACHED_FEATURES,
    DEVICE_OR_AUTO,
    JSON,
    asking_for_data,
    confidence_flags,
    data_options,
    decode_flags,
    decode_request,
    given_args,
    make_folder,
)
from vqazoo.cli.output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from vqazoo.evaluation.evaluation import Evaluation
    from vqazoo.evaluation.metric import Metric


@click.command("eval", cls=ExampleCommand)
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
@click.option("--wups", is_flag=True, help="Compute WUPS too, as some datasets always do.")
@click.option(
    "--metrics",
    default="",
    metavar="NAMES",
    help="More metrics, with commas between them; vqazoo list metrics shows all.",
)
@click.option(
    "--metric-set",
    multiple=True,
    metavar="NAME.KEY=VALUE",
    help="Argument of a metric that --metrics names; may be repeated.",
)
@DEVICE_OR_AUTO
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    help="Of published checkpoints: float32, float16 or bfloat16.",
)
@CACHED_FEATURES
@click.option(
    "--checks",
    is_flag=True,
    help="Check what the score rests on: blank, strange and damaged pictures, shuffled words, ...",
)
@click.option(
    "--checks-rows",
    type=click.IntRange(min=1),
    metavar="N",
    help="Questions that --checks asks at most, drawn by picture; default: 1000.",
)
@click.option("--seed", default=0, help="Chooses the questions in the picture grid.")
@click.option("--all", "show_all", is_flag=True, help="Print every number, with its signature.")
@decode_flags()
@confidence_flags
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
    metrics: str,
    metric_set: tuple[str, ...],
    device: str,
    dtype: str,
    cache: str,
    checks: bool,
    checks_rows: int | None,
    seed: int,
    decode: tuple[str, ...],
    candidates: Path | None,
    uncalibrated: bool,
    abstain_at_risk: float | None,
    show_all: bool,
    as_json: bool,
) -> None:
    """Answer every question of a split with MODEL (a zoo name or dir:PATH) and score the answers.

    With --out, writes predictions (CSV, JSON lines, the submission that the dataset asks for),
    metrics.json and pictures. --checks asks some of the questions again, so that one sees what the
    score rests on. --decode and --candidates are those of 'vqazoo ask'; they stand in
    the signature of every score, which --all and --json print.

    Example: vqazoo eval --predictions mine.csv --data {official} --data-root DIR
    """
    if (model is None) == (predictions is None):
        raise click.UsageError("Give either MODEL or --predictions FILE, and not both.")
    if predictions is not None and data is None:
        raise click.UsageError("--predictions needs --data, the dataset that was answered.")
    from vqazoo.zoo.models import whole_reference

    model = model and whole_reference(model)
    if record and not (model or "").startswith("dir:"):
        raise click.UsageError(
            "--record writes into a model's own folder, so MODEL must be the path of one."
        )
    if predictions is not None and (decode or candidates is not None):
        raise click.UsageError("--decode and --candidates are for a MODEL, not for --predictions.")
    if checks_rows is not None and not checks:
        raise click.UsageError("--checks-rows goes with --checks.")
    if predictions is not None and checks:
        raise click.UsageError("--checks asks a MODEL again, so it is not for --predictions.")
    if predictions is not None and (uncalibrated or abstain_at_risk is not None):
        raise click.UsageError(
            "--uncalibrated and --abstain-at-risk are for a MODEL, not for --predictions."
        )
    options, chosen = decode_request(decode, candidates)
    from vqazoo.data.examples import MISSING_IMAGES
    from vqazoo.data.own_files import TEST
    from vqazoo.evaluation.checks import CHECKS_ROWS
    from vqazoo.evaluation.split import read_split, scored
    from vqazoo.zoo.evaluate import evaluate

    if record and _is_published(model or ""):
        raise click.UsageError(
            f"'{model}' was published without a recipe of vqazoo: leave out --record."
        )
    if out is not None:
        from vqazoo.evaluation.results import check_results_place

        make_folder(out)
        check_results_place(out)  # before anything is asked
    args, wanted = given_args(data_root, assignments), wups or None
    chosen_metrics = _chosen(metrics, metric_set)
    missing = out / MISSING_IMAGES if out else None
    if predictions is not None:
        from vqazoo.evaluation.clusters import told_by_content
        from vqazoo.evaluation.predictions import read_predictions

        assert data is not None
        questions = read_split(
            data, args, split or TEST, skip_missing, missing, _report, look=skip_missing
        )
        questions = replace(questions, metrics=chosen_metrics)
        answers = read_predictions(predictions, questions.examples)
        told = told_by_content(questions.examples, cache)
        evaluation = scored(questions, answers, wups=wanted, report=_report, pictures=told)
    else:
        assert model is not None
        with asking_for_data():
            evaluation = evaluate(
                model,
                data,
                split or "",
                data_args=args,
                decode=options,
                candidates=chosen,
                calibrated=not uncalibrated,
                abstain_at_risk=abstain_at_risk,
                skip_missing=skip_missing,
                missing=missing,
                wups=wanted,
                metrics=chosen_metrics,
                device=device,
                dtype=dtype,
                cache=cache,
                checks=checks,
                checks_rows=checks_rows or CHECKS_ROWS,
                report=_report,
                progress=progress,
            )
    if out is not None:
        evaluation.write(out, seed=seed)
    if not evaluation.metrics:
        if out is None:
            raise evaluation.unanswered()
        _report(f"The split '{evaluation.split}' has no answers: wrote predictions only.")
        return
    if record:
        from vqazoo.card import refresh
        from vqazoo.zoo.models import resolve

        assert model is not None
        refresh(resolve(model), (*evaluation.metrics, *evaluation.checks), out)
    if as_json:
        print_json(evaluation.to_json())
    else:
        if show_all:
            _print_all(evaluation.metrics)
        else:
            _print_short(evaluation, model)
        if evaluation.checks:
            _print_checks(evaluation.checks)


def _chosen(names: str, assignments: Sequence[str]) -> dict[str, Any]:
    """What --metrics and --metric-set ask for."""
    from vqazoo.config import set_value
    from vqazoo.errors import ConfigError
    from vqazoo.zoo.evaluate import named_metrics

    chosen: dict[str, Any] = {name.strip(): {} for name in names.split(",") if name.strip()}
    for assignment in assignments:
        set_value(chosen, assignment, "--metric-set")
    for name, args in chosen.items():
        if not isinstance(args, dict):
            raise ConfigError(
                f"--metric-set takes NAME.KEY=VALUE, but got '{name}={args}': write for instance "
                f"anls.threshold=0.5 ."
            )
    return named_metrics(chosen)


def _is_published(model: str) -> bool:
    """Whether others published it in a layout of their own, which keeps no scores."""
    from vqazoo.zoo.models import published

    return published(model) is not None


def _print_all(metrics: Sequence[Metric]) -> None:
    """A table of all scores, and what differences they can show."""
    from vqazoo.evaluation.summary import value_of

    rows = [
        (
            metric.name,
            value_of(metric),
            f"[{', '.join(map(percent, metric.interval))}]" if metric.interval else "",
            f"can show {percent(smallest)}" if (smallest := metric.smallest_difference) else "",
            metric.signature,
        )
        for metric in metrics
    ]
    columns = ("metric", "value", "95% interval", "smallest difference", "signature")
    print_table(columns, rows, right=("value", "smallest difference"))
    if any(metric.smallest_difference for metric in metrics):
        _report(
            "'can show': the smallest difference between two models that these questions can show "
            "(5% level, 80% power), less if the models share mistakes ('vqazoo compare' tells)."
        )


def _print_short(evaluation: Evaluation, model: str | None) -> None:
    """The score first, the few numbers that are defined here, and what to do next."""
    from vqazoo.evaluation.summary import (
        NOTHING_BESIDE,
        first_lines,
        in_sentences,
        next_step,
        row,
        short,
    )
    from vqazoo.zoo.beside import known_beside

    metrics = evaluation.metrics
    beside = known_beside(model, evaluation.data, evaluation.split) if model else NOTHING_BESIDE
    for line in first_lines(metrics, beside):
        say(line)
    listed = short(metrics, in_sentences(evaluation.predictions.examples))
    columns = ("metric", "value", "95% interval", "questions")
    print_table(columns, [row(metric) for metric in listed], right=("value", "questions"))
    if told := next_step(metrics):
        _report(told)
    undefined = sum(metric.undefined is not None for metric in metrics)
    left = f", {undefined} undefined for these answers" if undefined else ""
    _report(
        f"{len(listed)} of {len(metrics)} numbers{left}: --all or --json shows all, and signatures."
    )


def _print_checks(checks: Sequence[Metric]) -> None:
    """A table of what the score rests on."""
    from vqazoo.evaluation.checks_table import HEADINGS, rows_of_checks

    title = "What the score rests on (p: of the difference, paired by picture)"
    print_table(HEADINGS, rows_of_checks(checks), title, right=HEADINGS[1:])


def _report(line: str) -> None:
    say(line, err=True)

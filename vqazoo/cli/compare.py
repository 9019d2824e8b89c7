"""`vqazoo compare`: whether one model or file of answers is better than another, or what models
cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from vqazoo.cli.options import JSON, asking_for_data, data_options, given_args
from vqazoo.cli.output import print_json, progress, say
from vqazoo.data.own_files import TEST

if TYPE_CHECKING:
    from vqazoo.data import Example
    from vqazoo.interfaces import Answer

ANSWER_FILES = (".csv", ".jsonl")  # as `vqazoo eval --out` writes them


@click.command()
@click.argument("first")
@click.argument("second")
@data_options
@click.option("--split", help="Which split; default: the recipe's test split, or test.")
@click.option("--seed", default=0, help="Of resampling.")
@click.option(
    "--cost", is_flag=True, help="FIRST and SECOND are models: time, memory and money too."
)
@click.option(
    "--price-per-hour",
    type=click.FloatRange(min=0, min_open=True),
    help="With --cost: of the machine, in your currency; without it only seconds are told.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --cost: how many questions are asked, drawn by --seed; default: 100.",
)
@click.option("--device", help="With --cost: cpu, cuda, ...; default: cpu.")
@click.option("--dtype", help="With --cost, of published checkpoints: float32, float16, bfloat16.")
@JSON
def compare(
    first: str,
    second: str,
    data: str | None,
    data_root: str | None,
    assignments: tuple[str, ...],
    skip_missing: bool,
    split: str | None,
    seed: int,
    cost: bool,
    price_per_hour: float | None,
    rows: int | None,
    device: str | None,
    dtype: str | None,
    as_json: bool,
) -> None:
    """Compare FIRST and SECOND, models or prediction files, on the same questions.

    Models (run folders, zoo names, hub:OWNER/NAME) are asked the questions of --data, by default
    those that the recipe of FIRST names; files of 'vqazoo eval' are read. Scores are VQA accuracy
    where questions have several answers, else accuracy. Prints both means, their difference with a
    95% interval, the p-value of a paired randomisation test, and in one sentence whether the
    difference is real. Pictures are drawn and swapped with all their questions, which are not
    independent.

    With --cost, FIRST and SECOND are models, which are asked the same questions one after the
    other: prints score, time, memory and size side by side.

    Example: vqazoo compare runs/first runs/second
    """
    args = given_args(data_root, assignments)
    asks = not (_is_file(first) and _is_file(second))
    if data is None and (cost or not asks):
        raise click.UsageError("Missing option '--data': name the dataset that was answered.")
    if cost:
        assert data is not None
        from vqazoo.cli.cost import print_costs
        from vqazoo.zoo.cost import ASKED, compare_costs

        costs = compare_costs(
            (first, second),
            data,
            split or TEST,
            data_args=args,
            rows=rows or ASKED,
            device=device or "cpu",
            dtype=dtype or "float32",
            price_per_hour=price_per_hour,
            skip_missing=skip_missing,
            seed=seed,
            report=lambda line: say(line, err=True),
            progress=progress,
        )
        if as_json:
            print_json(costs.to_json())
        else:
            print_costs(costs, data, split or TEST, device or "cpu")
        return
    if any(value is not None for value in (price_per_hour, rows, device, dtype)):
        raise click.UsageError(
            "--price-per-hour, --rows, --device and --dtype go with --cost, where models are asked."
        )
    from vqazoo.errors import DataError
    from vqazoo.evaluation.agreement import measured
    from vqazoo.evaluation.clusters import told_by_content
    from vqazoo.evaluation.metrics.significance import OVER_PICTURES, drawn, smallest_difference
    from vqazoo.evaluation.metrics.significance import compare as paired
    from vqazoo.evaluation.metrics.verdict import verdict

    there = _answered((first, second), data, args, split, skip_missing)
    data, split, examples = there.data, there.split, there.examples
    labelled = [row for row, example in enumerate(examples) if example.answers]
    if not labelled:
        raise DataError(f"The split '{split}' of '{data}' has no answers: nothing can be compared.")
    scored = [examples[row] for row in labelled]
    scores = []
    for answers in there.answers:
        given = [answers[row] for row in labelled]
        metric, kept, question_scores = measured(scored, given)
        scores.append(question_scores)
    if len(kept) < len(scored):
        say(
            f"Compared {len(kept):,} of {len(scored):,} questions: the others have too few answers "
            f"for {metric}.",
            err=True,
        )
    pictures = told_by_content([scored[row] for row in kept])
    comparison = paired(scores[0], scores[1], seed, pictures=pictures)
    smallest = smallest_difference(scores[0] - scores[1], pictures)
    swapped = drawn(pictures)
    clusters = len(set(pictures)) if swapped == OVER_PICTURES else len(kept)
    names = (Path(first).name, Path(second).name)
    names = ("first", "second") if names[0] == names[1] else names
    said = verdict(comparison, smallest, clusters, swapped, names)
    document = {
        "metric": metric,
        "questions": len(kept),
        "pictures": len(set(pictures)),
        "first": float(scores[0].mean()),
        "second": float(scores[1].mean()),
        "difference": comparison.difference,
        "interval": list(comparison.interval),
        "interval_method": f"bootstrap over {swapped}",
        "smallest_difference": None if math.isnan(smallest) else smallest,
        "p_value": comparison.p_value,
        "first_better": comparison.better,
        "second_better": comparison.worse,
        "real": comparison.real,
        "verdict": said,
    }
    if as_json:
        print_json(document)
        return
    low, high = comparison.interval
    say(f"{metric} on {len(kept):,} questions of {data}, {split} ({len(set(pictures)):,} pictures)")
    say(f"first       {document['first']:8.2%}  {first}")
    say(f"second      {document['second']:8.2%}  {second}")
    say(f"difference  {comparison.difference:+8.2%}  95% interval [{low:+.2%}, {high:+.2%}]")
    shown = "  unknown" if math.isnan(smallest) else f"{smallest:8.2%}"
    say(f"smallest    {shown}  difference that they can show (5% level, 80% power)")
    say(
        f"better on   {comparison.better:,} and {comparison.worse:,} questions; "
        f"p = {comparison.p_value:.4g} (paired randomisation, 10,000 swaps of {swapped})"
    )
    say(said)


def _is_file(side: str) -> bool:
    return Path(side).is_file() or Path(side).suffix.lower() in ANSWER_FILES


class _Answered(NamedTuple):
    """Questions of a split, and the answers of both sides to each."""

    data: str
    split: str
    examples: Sequence[Example]
    answers: Sequence[Sequence[Answer]]


def _answered(
    sides: tuple[str, str],
    data: str | None,
    args: Mapping[str, Any],
    split: str | None,
    skip_missing: bool,
) -> _Answered:
    """Read files of answers, and ask models.

    Raises:
        DataError: both models name questions of their own, and these differ.
    """
    from vqazoo.data import digest
    from vqazoo.errors import DataError
    from vqazoo.evaluation.predictions import read_predictions
    from vqazoo.evaluation.split import read_split
    from vqazoo.zoo.evaluate import evaluate
    from vqazoo.zoo.models import whole_reference

    def report(line: str) -> None:
        say(line, err=True)

    asked = {}
    with asking_for_data():
        for side in dict.fromkeys(side for side in sides if not _is_file(side)):
            report(f"Asking '{side}'.")
            asked[side] = evaluate(
                whole_reference(side),
                data,
                split or "",
                data_args=args,
                skip_missing=skip_missing,
                report=report,
                progress=progress,
            )
    if not asked:
        assert data is not None
        look = skip_missing  # only then are pictures needed
        questions = read_split(data, args, split or TEST, skip_missing, report=report, look=look)
        where, name, examples = questions.data, questions.split, questions.examples
    else:
        first = next(iter(asked.values()))
        where, name, examples = first.data, first.split, first.predictions.examples
        if len({digest(each.predictions.examples) for each in asked.values()}) > 1:
            raise DataError(
                f"The recipes of '{sides[0]}' and '{sides[1]}' name other questions: name those to "
                f"ask both with --data."
            )
    answers = [
        asked[side].predictions.answers if side in asked else read_predictions(Path(side), examples)
        for side in sides
    ]
    return _Answered(where, name, examples, answers)

"""`vqazoo compare`: whether one file of answers is better than another, or what models cost."""

from __future__ import annotations

import math
from pathlib import Path

import click

from vqazoo.cli.options import JSON, data_options, given_args
from vqazoo.cli.output import print_json, say


@click.command()
@click.argument("first")
@click.argument("second")
@data_options
@click.option("--split", default="test", show_default=True, help="Which split was answered.")
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
    split: str,
    seed: int,
    cost: bool,
    price_per_hour: float | None,
    rows: int | None,
    device: str | None,
    dtype: str | None,
    as_json: bool,
) -> None:
    """Compare the answers in the prediction files FIRST and SECOND to the same questions.

    Scores are VQA accuracy where questions have several answers, else accuracy. Prints both means,
    their difference with a 95% interval, the p-value of a paired randomisation test, and in one
    sentence whether the difference is real. Pictures are drawn and swapped with all their
    questions, which are not independent.

    With --cost, FIRST and SECOND are models, which are asked the same questions one after the
    other: prints score, time, memory and size side by side.

    Example: vqazoo compare a/predictions.csv b/predictions.csv --data NAME --data-root DIR
    """
    if data is None:
        raise click.UsageError("Missing option '--data': name the dataset that was answered.")
    args = given_args(data_root, assignments)
    if cost:
        from vqazoo.cli.cost import print_costs
        from vqazoo.zoo.cost import ASKED, compare_costs

        costs = compare_costs(
            (first, second),
            data,
            split,
            data_args=args,
            rows=rows or ASKED,
            device=device or "cpu",
            dtype=dtype or "float32",
            price_per_hour=price_per_hour,
            skip_missing=skip_missing,
            seed=seed,
            report=lambda line: say(line, err=True),
        )
        if as_json:
            print_json(costs.to_json())
        else:
            print_costs(costs, data, split, device or "cpu")
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
    from vqazoo.evaluation.predictions import read_predictions
    from vqazoo.evaluation.split import read_split

    examples = read_split(
        data,
        args,
        split,
        skip_missing,
        report=lambda line: say(line, err=True),
        look=skip_missing,  # only then are pictures needed
    ).examples
    labelled = [row for row, example in enumerate(examples) if example.answers]
    if not labelled:
        raise DataError(f"The split '{split}' of '{data}' has no answers: nothing can be compared.")
    scored = [examples[row] for row in labelled]
    scores = []
    files = Path(first), Path(second)
    for file in files:
        answers = read_predictions(file, examples)
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
    names = (files[0].name, files[1].name)
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

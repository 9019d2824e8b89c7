"""`vqazoo eval`: answer and score a whole split."""

from __future__ import annotations

import json
from pathlib import Path

import click

GRID = 12  # questions in the picture grid


@click.command("eval")
@click.argument("model")
@click.option("--data", help="Dataset; default: the one the model was trained on.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE",
    help="Argument of the dataset, such as test=my.csv; may be repeated.",
)  # fmt: skip
@click.option("--split", default="test", show_default=True, help="Which split to answer.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for predictions and scores.")
@click.option("--record", is_flag=True, help="Write the scores into the model's metrics and card.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, ...")
@click.option("--seed", default=0, help="Chooses the questions in the picture grid.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def eval_command(
    model: str,
    data: str | None,
    assignments: tuple[str, ...],
    split: str,
    out: Path | None,
    record: bool,
    device: str,
    seed: int,
    as_json: bool,
) -> None:
    """Answer every question of a split with MODEL (a zoo name or dir:PATH) and score the answers.

    With --out, writes predictions.csv, metrics.json and answers.png.
    """
    import random

    import vqazoo
    from vqazoo.card import refresh
    from vqazoo.cli.train import progress
    from vqazoo.config import read_toml, set_value
    from vqazoo.evaluate import predict, predictions_csv, score
    from vqazoo.features import StoredFeatures
    from vqazoo.figures import answer_figure
    from vqazoo.folder import RECIPE, json_bytes, write_file
    from vqazoo.registry import registry
    from vqazoo.zoo import resolve

    folder = resolve(model)
    args: dict[str, object] = {}
    if data is None:
        trained_on = read_toml(folder / RECIPE)["data"]
        data, args = trained_on["type"], dict(trained_on["args"])
    for assignment in assignments:
        set_value(args, assignment)
    reader = registry.build("dataset", data, **args)
    reader.check_split(split)
    examples = reader.read(split)
    loaded = vqazoo.load(model, device)
    source = StoredFeatures(loaded, examples, progress)
    answers = predict(loaded, source, len(examples))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_file(out / "predictions.csv", predictions_csv(examples, answers).encode())
        shown = sorted(random.Random(seed).sample(range(len(examples)), min(GRID, len(examples))))
        answer_figure(
            [examples[i] for i in shown], [answers[i] for i in shown], out / "answers.png"
        )
    if not any(example.answers for example in examples) and out is not None:
        click.echo(f"The split '{split}' has no answers: wrote predictions only.", err=True)
        return
    metrics = score(loaded, examples, answers, data, split)
    measured = [metric.to_json() for metric in metrics]
    if out is not None:
        write_file(out / "metrics.json", json_bytes(measured))
    if record:
        refresh(folder, metrics)
    if as_json:
        click.echo(json.dumps(measured))
        return
    for metric in metrics:
        click.echo(f"{metric.name:26} {metric.value:8.2%}  {metric.signature}")

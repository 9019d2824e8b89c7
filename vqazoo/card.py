"""The model card: README.md of a checkpoint folder, generated from what the run recorded.

Front matter follows the Hugging Face Hub's model card metadata. Imports huggingface_hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from vqazoo.config import RunConfig, read_toml, run_config
from vqazoo.errors import CheckpointError, ConfigError
from vqazoo.evaluate import Metric
from vqazoo.folder import CARD, CONFIG, ENVIRONMENT, METRICS, RECIPE, json_bytes, write_file
from vqazoo.registry import registry
from vqazoo.zoo import list_models

TASK = "visual-question-answering"
PICTURES = {"loss.png": "loss and validation accuracy", "answers.png": "answers of the test split"}


def refresh(folder: Path, measured: Sequence[Metric]) -> None:
    """Add metrics to a checkpoint folder's metrics.json, replacing older ones of the same
    signature, and write its card anew.

    Raises:
        CheckpointError: the folder has no recipe, metrics or environment to make a card from.
    """
    try:
        config = run_config(read_toml(folder / RECIPE))
        known = json.loads((folder / METRICS).read_text())
        environment = json.loads((folder / ENVIRONMENT).read_text())
        parameters = json.loads((folder / CONFIG).read_text())["parameters"]
    except (OSError, ValueError, KeyError, ConfigError) as error:
        raise CheckpointError(
            f"The card of '{folder}' cannot be made ({error}): {RECIPE}, {METRICS}, {ENVIRONMENT} "
            f"and {CONFIG} of the training run are needed."
        ) from error
    fresh = [metric.to_json() for metric in measured]
    renewed = {metric["signature"] for metric in fresh}
    metrics = [metric for metric in known if metric["signature"] not in renewed] + fresh
    write_file(folder / METRICS, json_bytes(metrics))
    pictures = [name for name in PICTURES if (folder / name).is_file()]
    card = render_card(folder.name, config, metrics, environment, parameters, pictures)
    write_file(folder / CARD, card.encode())


def render_card(
    name: str,
    config: RunConfig,
    metrics: Sequence[Mapping[str, Any]],
    environment: Mapping[str, Any],
    parameters: Mapping[str, int],
    pictures: Sequence[str] = (),
) -> str:
    """The whole card as Markdown; every number comes from the arguments.

    Args:
        name: of the model, as a user types it.
        metrics: as in metrics.json; environment: as in environment.json.
        parameters: counts `total` and `trainable`.
        pictures: files beside the card to show, out of PICTURES.
    """
    front = ModelCardData(
        model_name=name,
        library_name="vqazoo",
        pipeline_tag=TASK,
        license="mit",
        language="en",
        datasets=[config.data.type],
        tags=[config.head.type, config.fusion.type],
        eval_results=[
            EvalResult(
                task_type=TASK,
                dataset_type=metric["signature"].split("data:")[1].split("|")[0],
                dataset_name=metric["signature"].split("data:")[1].split("|")[0],
                dataset_split=metric["split"],
                metric_type=metric["name"],
                metric_value=round(100 * metric["value"], 2),
            )
            for metric in metrics
        ],
    ).to_yaml()
    parts = {
        "image encoder": ("encoder", config.image_encoder),
        "text encoder": ("encoder", config.text_encoder),
        "fusion": ("fusion", config.fusion),
        "head": ("head", config.head),
    }
    part_rows = [
        f"| {role} | `{block.type}` | {registry.manifest(kind, block.type).summary} | "
        f"{_arguments(block.args)} |"
        for role, (kind, block) in parts.items()
    ]
    metric_rows = [
        f"| {m['name']} | {100 * m['value']:.2f}% | {m['questions']:,} ({m['split']}) | "
        f"`{m['signature'].replace('|', chr(92) + '|')}` | {m['date']} |"
        for m in metrics
    ]
    ref = name if name in list_models() else "dir:PATH-OF-THIS-FOLDER"
    counts = f"{parameters['trainable']:,} of {parameters['total']:,}"
    shown = "".join(f"![{PICTURES[name]}]({name})\n\n" for name in pictures)
    trained = "frozen" if not config.training.trainable else "partly or wholly trained"
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    data = registry.manifest("dataset", config.data.type)
    return f"""---
{front}
---

# {name}

Answers questions about pictures: image and question -> encoder -> fusion -> head -> answer.

| part | name | what it is | arguments |
| --- | --- | --- | --- |
{chr(10).join(part_rows)}

{counts} parameters were trained; the encoders are {trained}.

## How to run

```python
import vqazoo

model = vqazoo.load("{ref}")
print(model.answer("photo.jpg", "what color is the shape?"))
```

## Intended use

Research, teaching and baselines on pictures and questions like those of its training data.

## Not intended use

Pictures or questions of another kind than the training data; any use where a wrong answer can hurt
somebody, assistance for blind people included. The model always answers, also when it cannot know.

## Data

{data.summary} (`{config.data.type}`, trained on the split `{config.data.train_split}`;
source: {data.source}). Digests of what was read: `{json.dumps(environment["data_sha256"])}`.

## Metrics

| metric | value | questions | signature | date |
| --- | --- | --- | --- | --- |
{chr(10).join(metric_rows)}

`constant-answer-accuracy` is what always giving the most frequent training answer scores.
`known-answer-share` is the share of questions whose answer the model can give at all; the others
count as misses.

{shown}## How it was trained

`vqazoo train --config recipe.toml --out RUN` with the `recipe.toml` beside this card
(seed {config.seed}), on {environment["hardware"]} ({environment["device"]}),
{environment["date"][:10]}, Python {environment["python"]}, {versions}.

## Limits

It knows {config.data.type} only: its answers, its way of asking, its kind of picture. Scores say
nothing about others.
"""


def _arguments(args: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in args.items()) or "none"

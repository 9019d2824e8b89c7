"""Scores as the Hub's own results, `.eval_results/*.yaml`, beside the model-index of the card.

See https://huggingface.co/docs/hub/eval-results. Imports huggingface_hub, but no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vqazoo.amounts import count
from vqazoo.card.facts import VALIDATION, Facts, Measured
from vqazoo.errors import PluginError, UnknownNameError
from vqazoo.files.places import public
from vqazoo.registry import registry

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # owner/name
COMMIT_ID = re.compile("[0-9a-f]{40}")
TOLD = ("vqa-accuracy", "accuracy")  # scores of the model itself, of a whole split
TASK_ID = "default"  # of a data set with one configuration


class HubDataset(NamedTuple):
    """A data set as the Hub names it: `owner/name`, a commit or nothing, and its configuration."""

    id: str
    revision: str
    task: str


@dataclass(frozen=True)
class HubResults:
    """What the Hub is told of a model's scores.

    Attributes:
        content: of the YAML file; empty where there is nothing to tell.
        left_out: data sets that were scored, and that the Hub has under no known id.
    """

    content: bytes
    left_out: tuple[str, ...]


def hub_dataset(name: str) -> HubDataset | None:
    """A data set on the Hub, by its name here; None where it is not there, or nobody says."""
    try:
        manifest = registry.manifest("dataset", name)
    except (UnknownNameError, PluginError):  # of a plugin that is not here
        return None
    if not manifest.hub_variant:
        return HubDataset(manifest.hub_id, "", TASK_ID) if manifest.hub_id else None
    repo, _, config = name.partition(":")[2].partition(":")
    repo, _, revision = repo.partition("@")
    if not HUB_ID.fullmatch(repo) or Path(repo).exists():
        return None
    return HubDataset(repo, revision if COMMIT_ID.fullmatch(revision) else "", config or TASK_ID)


def hub_results(facts: Facts, source: Mapping[str, str] | None = None) -> HubResults:
    """The scores that `vqazoo eval --record` and `recipe run` measured, as the Hub reads them.

    Scores of the questions that chose the best epoch are none of them.

    Args:
        source: `source_url` and `source_name`: where the scores can be read; None: nowhere yet.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]

    entries, left_out = [], []
    for metric in _results(facts):
        if metric.undefined:
            continue
        dataset = hub_dataset(metric.data)
        if dataset is None:
            left_out.append(public(metric.data) or "unknown")
            continue
        entries.append(
            EvalResultEntry(
                dataset_id=dataset.id,
                task_id=dataset.task,
                value=round(100 * metric.value, 2),
                dataset_revision=dataset.revision or None,
                date=metric.date or None,
                notes=(
                    f"{metric.name} in percent, split {metric.split}, "
                    f"{count(metric.questions)} questions"
                ),
                **(source or {}),
            )
        )
    content = yaml_dump(eval_result_entries_to_yaml(entries)).encode() if entries else b""
    return HubResults(content, tuple(dict.fromkeys(left_out)))


def _results(facts: Facts) -> list[Measured]:
    """The last measured of each score, of each split that was not used to train."""
    own = facts.data.type if facts.data else ""
    where = [pair for pair in facts.scored() if pair != (own, VALIDATION)]
    return [metric for pair in where for name in TOLD if (metric := facts.find(name, pair))]

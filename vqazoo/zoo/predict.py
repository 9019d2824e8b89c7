"""A model of a reference asked every question of a split, the answers in a file of any length."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from operator import length_hint
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqazoo.cluster import ray_cluster
from vqazoo.errors import CheckpointError, ConfigError, did_you_mean
from vqazoo.files.writing import RECIPE
from vqazoo.keywords import names_keywords
from vqazoo.zoo.evaluate import chosen_data
from vqazoo.zoo.models import absolute, find, load, load_found

if TYPE_CHECKING:
    from vqazoo.cluster import Cluster
    from vqazoo.data import DatasetReader
    from vqazoo.evaluation.answer_file import Record
    from vqazoo.evaluation.answer_parts import AnswerParts, Counts, Part
    from vqazoo.evaluation.answering import Asking
    from vqazoo.evaluation.predicting import AnswerEngine
    from vqazoo.evaluation.row_answers import MakeRecord, RowAnswers
    from vqazoo.progress import Report

HERE, RAY = "here", "ray"
ENGINES = (HERE, RAY)


@names_keywords
def predict_to_file(
    reference: str,
    out: str | Path,
    data: str | DatasetReader | None = None,
    split: str = "",
    *,
    data_args: Mapping[str, Any] | None = None,
    decode: Mapping[str, Any] | None = None,
    candidates: Sequence[str] | None = None,
    calibrated: bool = True,
    abstain_at_risk: float | None = None,
    device: str = "auto",
    cache: str | Path = "",
    engine: str = HERE,
    workers: int = 0,
    report: Report = print,
) -> Counts:
    """Answer every row of a split as `VQAModel.predict` does, into a file, a part at a time.

    What is answered is kept in `<out>.parts` until all is; a run that was stopped goes on there.

    Args:
        reference: a model, as `vqazoo.load` takes it.
        out: a file that ends in .parquet, .csv or .jsonl, and is not there yet. Its columns are
            those of `vqazoo.evaluation.predictions.ANSWER_COLUMNS`.
        data, split, data_args, decode, candidates, calibrated, abstain_at_risk, device: as for
            `vqazoo.evaluate`.
        cache: folder of cached features, which are read where there are any.
        engine: `here`, or `ray`: the actors of the Ray cluster at RAY_ADDRESS, or of one that is
            started on this machine; every node reaches model and pictures by the same paths.
        workers: how many actors; 0: one a GPU, else one for some cores each.
        report: receives lines about how far it is.

    Returns:
        How many rows the file has, and how many could not be answered; of these `error` says why.

    Raises:
        DataError: the file is there already, or is begun with other data, another model or other
            options; or it cannot be written.
        ClusterError, WeightsError: there is no cluster, it loses its actors, or no Ray.
        VqazooError: as `vqazoo.evaluate`, but for rows that cannot be answered.
    """
    from vqazoo.evaluation.answer_parts import AnswerParts
    from vqazoo.evaluation.answering import Asking

    return answer_into(
        AnswerParts(Path(out).expanduser()),
        reference,
        (data, split, data_args),
        Asking(decode or {}, candidates, calibrated, abstain_at_risk),
        Workplace(device, cache, engine, workers),
        report=report,
    )


@dataclass(frozen=True)
class Workplace:
    """Where rows are answered; all as `predict_to_file` takes them."""

    device: str = "auto"
    cache: str | Path = ""
    engine: str = HERE
    workers: int = 0


def answer_into(
    parts: AnswerParts,
    reference: str,
    named: tuple[str | DatasetReader | None, str, Mapping[str, Any] | None],
    asking: Asking,
    place: Workplace,
    make: MakeRecord | None = None,
    more: Mapping[str, Any] | None = None,
    report: Report = print,
) -> Counts:
    """Answer a split into parts, and join these.

    Args:
        named: data, split and arguments of the data, as `predict_to_file` takes them.
        make: makes the records, also in actors of Ray; None: those of a file of answers.
        more: what the plan says besides.

    Raises:
        As `predict_to_file`.
    """
    from vqazoo.data import Counted
    from vqazoo.evaluation.predicting import (
        Request,
        answer_to_file,
        source_of_features,
        whole_digest_of,
    )
    from vqazoo.evaluation.row_answers import RowAnswers
    from vqazoo.evaluation.split import named_reader
    from vqazoo.model import pick_device

    device, cache, engine, workers = place.device, place.cache, place.engine, place.workers
    if engine not in ENGINES:
        raise ConfigError(
            f"Unknown engine {engine!r}.{did_you_mean(engine, ENGINES)} It must be one of "
            f"{', '.join(ENGINES)}."
        )
    if workers and engine != RAY:
        raise ConfigError(
            f"{workers} workers are asked for, but they are those of Ray: add --engine=ray, or "
            f"leave them out."
        )
    parts.check_free()
    found = find(reference, names=(RECIPE,))
    data, args, split = chosen_data(reference, found, *named)
    reader, name = named_reader(data, args, split)
    # With Ray, this one only says what is asked: the actors have models of their own.
    model = load_found(found).to(pick_device("cpu" if engine == RAY else device))
    asking.check(model)
    stream = reader.stream(split)
    total = length_hint(stream) or (stream.estimate if isinstance(stream, Counted) else 0)
    features, examples = source_of_features(parts, model, str(cache), stream)
    plan = {**Request(asking, name, split, args, features).plan(model), **(more or {})}
    with ExitStack() as stack:
        if engine == RAY:
            whole = whole_digest_of(model)
            del model
            kind = "" if device == "auto" else device
            cluster = stack.enter_context(ray_cluster("--engine=ray", workers, kind, report))
            where = absolute(reference), cluster.device, whole
            worker = partial(_answering, *where, asking, cache, features, make)
            answers: AnswerEngine = partial(_spread, cluster, worker)
        else:
            local = RowAnswers(model, asking, str(cache), features, make)
            stack.callback(local.close)
            answers = partial(_here, local)
        return answer_to_file(parts, plan, examples, answers, report, total)


def _here(
    answers: RowAnswers, parts: Iterator[Part], told: Callable[[int], None]
) -> Iterator[tuple[Part, list[Record]]]:
    for part in parts:
        yield part, answers.records(part.rows, told)


def _spread(
    cluster: Cluster,
    worker: Callable[[], Callable[[Part], list[Record]]],
    parts: Iterator[Part],
    told: Callable[[int], None],
) -> Iterator[tuple[Part, list[Record]]]:
    for part, records in cluster.spread(worker, parts):
        told(len(records))
        yield part, records


def _answering(
    reference: str,
    device: str,
    digest: str,
    asking: Asking,
    cache: str | Path,
    features: str,
    make: MakeRecord | None,
) -> Callable[[Part], list[Record]]:
    """What answers a part in an actor.

    Raises:
        CheckpointError: the reference leads to another model than where the work began.
    """
    from vqazoo.evaluation.predicting import whole_digest_of
    from vqazoo.evaluation.row_answers import RowAnswers
    from vqazoo.model import pick_device

    model = load(reference)
    if whole_digest_of(model) != digest:
        raise CheckpointError(
            f"'{reference}' is another model on the node '{platform.node()}' than on the one where "
            f"predict was started, or was replaced since: copy the folder to all nodes, or name "
            f"one that they share and that nobody writes meanwhile."
        )
    answers = RowAnswers(model.to(pick_device(device)), asking, str(cache), features, make)
    return lambda part: answers.records(part.rows)

"""A model of a reference asked every question of a split, the answers in a file of any length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqazoo.errors import ConfigError, did_you_mean
from vqazoo.files.writing import RECIPE
from vqazoo.zoo.evaluate import chosen_data
from vqazoo.zoo.models import find, load_found

if TYPE_CHECKING:
    from vqazoo.data import DatasetReader
    from vqazoo.evaluation.answer_parts import Counts, Part, Record
    from vqazoo.evaluation.row_answers import RowAnswers
    from vqazoo.progress import Report

HERE, RAY = "here", "ray"
ENGINES = (HERE, RAY)


def predict_to_file(
    reference: str,
    out: str | Path,
    data: str | DatasetReader | None = None,
    split: str = "",
    *,
    data_args: Mapping[str, Any] | None = None,
    decode: Mapping[str, Any] | None = None,
    candidates: Sequence[str] | None = None,
    device: str = "auto",
    cache: str | Path = "",
    engine: str = HERE,
    report: Report = print,
) -> Counts:
    """Answer every row of a split as `VQAModel.predict` does, into a file, a part at a time.

    What is answered is kept in `<out>.parts` until all is; a run that was stopped goes on there.

    Args:
        reference: a model, as `vqazoo.load` takes it.
        out: a file that ends in .parquet, .csv or .jsonl, and is not there yet. Its columns are
            those of `vqazoo.evaluation.predictions.ANSWER_COLUMNS`.
        data, split, data_args, decode, candidates, device: as for `vqazoo.evaluate`.
        cache: folder of cached features, which are read where there are any.
        engine: `here`, or `ray`: actors of a Ray cluster.
        report: receives lines about how far it is.

    Returns:
        How many rows the file has, and how many could not be answered; of these `error` says why.

    Raises:
        DataError: the file is there already, or is begun with other data, another model or other
            options; or it cannot be written.
        VqazooError: as `vqazoo.evaluate`, but for rows that cannot be answered.
    """
    from vqazoo.evaluation.answer_parts import AnswerParts
    from vqazoo.evaluation.answering import Asking
    from vqazoo.evaluation.predicting import Request, answer_to_file, source_of_features
    from vqazoo.evaluation.row_answers import RowAnswers
    from vqazoo.evaluation.split import named_reader
    from vqazoo.model import pick_device

    if engine not in ENGINES:
        raise ConfigError(
            f"Unknown engine {engine!r}.{did_you_mean(engine, ENGINES)} It must be one of "
            f"{', '.join(ENGINES)}."
        )
    parts = AnswerParts(Path(out).expanduser())
    if (counts := parts.finished()) is not None:
        return counts
    found = find(reference, names=(RECIPE,))
    data, args, split = chosen_data(reference, found, data, split, data_args)
    reader, name = named_reader(data, args, split)
    model = load_found(found).to(pick_device(device))
    asking = Asking(decode or {}, candidates)
    asking.check(model)
    features, examples = source_of_features(parts, model, str(cache), reader.stream(split))
    answers = RowAnswers(model, asking, str(cache), features)
    plan = Request(asking, name, split, args, features).plan(model)
    try:
        return answer_to_file(parts, plan, examples, _here(answers), report)
    finally:
        answers.close()


def _here(answers: RowAnswers) -> Any:
    def run(parts: Iterator[Part]) -> Iterator[tuple[Part, list[Record]]]:
        for part in parts:
            yield part, answers.records(part.rows)

    return run

"""A teacher answers what nobody did, into a file to train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqazoo.errors import ConfigError
from vqazoo.keywords import names_keywords
from vqazoo.zoo.predict import HERE, Workplace, answer_into

if TYPE_CHECKING:
    from vqazoo.data import DatasetReader
    from vqazoo.evaluation.answer_parts import Counts
    from vqazoo.progress import Report

LABELS_OF_A_ROW = 5  # answers of a row that are kept with their weights


@names_keywords
def label_to_file(
    teacher: str,
    out: str | Path,
    data: str | DatasetReader | None = None,
    split: str = "",
    *,
    data_args: Mapping[str, Any] | None = None,
    decode: Mapping[str, Any] | None = None,
    candidates: Sequence[str] | None = None,
    calibrated: bool = True,
    abstain_at_risk: float | None = None,
    min_confidence: float = 0.0,
    top_k: int = LABELS_OF_A_ROW,
    device: str = "auto",
    cache: str | Path = "",
    engine: str = HERE,
    workers: int = 0,
    report: Report = print,
) -> Counts:
    """Let a model answer a split, into a file that `table` reads; resumed as `predict_to_file`.

    Each row has the `top_k` best answers with their scores as weights, best first, of which the
    answer rules `soft` and `share` learn. Rows that are held back or cannot be answered are not
    in the file.

    Args:
        teacher: a model, as `vqazoo.load` takes it.
        out: a file that ends in .jsonl or .csv, and is not there yet.
        min_confidence: the smallest score of an answer that becomes a label.
        top_k: the most answers of a row.
        abstain_at_risk, and all others: as for `predict_to_file`.

    Returns:
        How many rows were asked, how many failed, and how many answers were held back.

    Raises:
        ConfigError: `min_confidence` or `top_k` is not one.
        VqazooError: as `predict_to_file`.
    """
    from vqazoo.evaluation.answering import Asking
    from vqazoo.evaluation.labels import Labelling, LabelParts

    if isinstance(min_confidence, bool) or not 0 <= min_confidence <= 1:
        raise ConfigError(
            f"min_confidence is {min_confidence!r}, but a score from 0 to 1 was expected, such as "
            f"0.8."
        )
    if isinstance(top_k, bool) or top_k < 1:
        raise ConfigError(f"top_k is {top_k!r}, but a whole number from 1 on was expected.")
    labelling = Labelling(float(min_confidence))
    return answer_into(
        LabelParts(Path(out).expanduser()),
        teacher,
        (data, split, data_args),
        Asking(decode or {}, candidates, calibrated, abstain_at_risk, top_k),
        Workplace(device, cache, engine, workers),
        labelling.record,
        {"top_k": top_k, "min_confidence": labelling.min_confidence, "records": "labels"},
        report,
    )

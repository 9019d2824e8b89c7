"""The section of the model card that says what the score rests on. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqazoo.amounts import percent
from vqazoo.card.facts import Facts, Measured
from vqazoo.card.metrics import public_signature, table
from vqazoo.evaluation.checks_table import CHECK, HEADINGS, checked_kind, rows_of_checks
from vqazoo.files.places import public

SECTION = "checks"
FIGURE = "checks.png"
DAMAGE = ("blur", "noise", "jpeg", "dark", "rotated")
STRONGEST = 3


def is_check(metric: Measured) -> bool:
    """Whether a metric is one of changed questions or pictures."""
    return metric.name.startswith(CHECK)


def checked(metrics: Sequence[Measured]) -> bool:
    """Whether any check was made."""
    return any(map(is_check, metrics))


def checks(facts: Facts) -> str:
    """A sentence, the table and the picture of the checks of each split that was checked."""
    parts = []
    for where in facts.scored():
        found = [m for m in facts.metrics if (m.data, m.split) == where and is_check(m)]
        if found:
            parts += [_said(found, where), table(HEADINGS, rows_of_checks(found))]
    if not parts:
        return "Not checked; `vqazoo eval dir:PATH-OF-THIS-FOLDER --checks --record` does it."
    parts.append(
        "Each row asks the same questions again. The difference is that from the unchanged "
        "questions, with its interval and the p-value of a paired randomisation test over "
        "pictures. What turning changes in the picture, such as left and above, changes the truth "
        "too. Damage is done in the size that the model sees; its values stand in the signatures."
    )
    if FIGURE in facts.pictures:
        last = next(m for m in facts.metrics if is_check(m))
        where = (last.data, last.split)
        members = [m for m in facts.metrics if (m.data, m.split) == where and is_check(m)]
        parts.append(f"![{_alt(members)}]({FIGURE})")
    return "\n\n".join(parts)


def _said(found: Sequence[Measured], where: tuple[str, str]) -> str:
    """What stays of the score without the picture, in words."""
    by_kind = {checked_kind(m.name): m for m in found}
    plain, blank = by_kind.get("plain"), by_kind.get("blank-pictures")
    data, split = where
    if plain is None or blank is None:
        return f"On questions of the split {split} of `{public(data)}`:"
    name = "VQA accuracy" if plain.name.endswith("vqa-accuracy") else "accuracy"
    constant = by_kind.get("constant-answer")
    beside = (
        f", where always giving the most frequent training answer scores {percent(constant.value)}"
        if constant
        else ""
    )
    return (
        f"On blank pictures it scores {percent(blank.value)} {name} instead of "
        f"{percent(plain.value)}{beside}: so much needs no picture "
        f"({plain.questions:,} questions of the split {split} of `{public(data)}`, "
        f"`{public_signature(blank).replace('`', chr(39))}`)."
    )


def _alt(found: Sequence[Measured]) -> str:
    """The picture in words."""
    by_kind = {checked_kind(m.name): m for m in found}
    named = {
        "unchanged": "plain",
        "blank pictures": "blank-pictures",
        "pictures of other questions": "shuffled-pictures",
        "words in another order": "shuffled-words",
        **{f"strongest {kind}": f"{kind}-{STRONGEST}" for kind in DAMAGE},
    }
    told = [
        f"{words} {percent(by_kind[kind].value, 0)}"
        for words, kind in named.items()
        if kind in by_kind
    ]
    return f"scores of changed questions and pictures: {', '.join(told)}"


# ---- metrics.json ---------------------------------------------------------------------------


def without_older(
    known: Sequence[Mapping[str, Any]], fresh: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Metrics that stay beside fresh ones: checks of a split are replaced all at once."""
    renewed = {_of(metric) for metric in fresh if str(metric["name"]).startswith(CHECK)}
    return [m for m in known if not (str(m["name"]).startswith(CHECK) and _of(m) in renewed)]


def _of(metric: Mapping[str, Any]) -> tuple[str, str]:
    """Dataset and split of a metric."""
    parts = str(metric["signature"]).split("|")
    data = next((part for part in parts if part.startswith("data:")), "")
    return data, str(metric["split"])


def first_time(file: Path, now: bytes) -> tuple[str, ...]:
    """The section, where the metrics hold checks and those in the file do not yet."""
    before = file.read_bytes() if file.is_file() else b"[]"
    return (SECTION,) if _holds(now) and not _holds(before) else ()


def _holds(metrics: bytes) -> bool:
    return any(str(metric["name"]).startswith(CHECK) for metric in json.loads(metrics))

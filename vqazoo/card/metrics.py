"""Sections of the model card that show numbers, as Markdown. Every number is one of metrics.json.

Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from vqazoo.amounts import count, percent
from vqazoo.card.alt_texts import alt_text
from vqazoo.card.calibration import calibrated
from vqazoo.card.facts import VALIDATION, Facts, Measured
from vqazoo.evaluation.checks_table import CHECK
from vqazoo.files.places import public
from vqazoo.files.writing import CALIBRATION

HEADLINES = (
    "accuracy",
    "vqa-accuracy",
    "constant-answer-accuracy",
    "constant-answer-vqa-accuracy",
    "question-only-accuracy",
    "question-only-vqa-accuracy",
    "known-answer-share",
    "flaw-ap-mean",
    "flaw-f1-mean",
)
QUESTION_ONLY = ("question-only-accuracy", "question-only-vqa-accuracy")
COUNTS = "answer-count"  # groups of questions by how often their answer was seen in training
MEANINGS = {
    "accuracy": "share of answers that are the most frequent answer of the question",
    "vqa-accuracy": "agreement with the people who answered",
    "constant-answer-accuracy": "what always giving the most frequent training answer scores",
    "constant-answer-vqa-accuracy": "the same, as agreement with people",
    "question-only-accuracy": "what the same model scores when it was trained without pictures",
    "question-only-vqa-accuracy": "the same, as agreement with people",
    "known-answer-share": "questions whose answer the model can give at all; the others are misses",
    "flaw-ap-mean": "average precision of each flaw of a picture, averaged over flaws",
    "flaw-f1-mean": "F1 of each flaw, said to be there from a probability of 0.5 on, averaged",
}
WRITES = {
    "known-answer-share": "questions whose answer is among those of training; the model writes its "
    "answers, so it may give others too",
}
TRUST = (
    "unanswerable-share",
    "answerability-",
    "risk-coverage-",
    "coverage-at-",
    "effective-reliability-",
    "calibration-error",
    "brier-score",
    "validated-",
)
FEW = 20  # questions below which a type is not called weak
WEAKEST = 3
LONG = 12  # rows from which on a table is folded


def headline(facts: Facts) -> str:
    """One or two sentences that say what the model reaches."""
    such = f" such as those of `{public(facts.data.type)}`" if facts.data else ""
    does = "Tells flaws of pictures" if facts.head.flaws else "Answers questions about pictures"
    start = f"{does}{such}."
    for where in facts.scored():
        agreement = facts.find("vqa-accuracy", where)
        best = agreement or facts.find("accuracy", where)
        if best is None:
            continue
        said = "VQA accuracy" if agreement else "accuracy"
        constant = facts.find(f"constant-answer-{best.name}", where)
        compared = (
            f"; always giving the most frequent training answer scores {percent(constant.value)}"
            if constant
            else ""
        )
        method = f", {best.interval_method}" if best.interval_method else ""
        between = f" (95% interval {_interval(best)}{method})" if best.interval else ""
        return (
            f"{start} On {best.questions:,} questions of the split {_where(where, facts)} it "
            f"reaches {percent(best.value)} {said}{between}{compared}."
        )
    return f"{start} It was not measured yet."


def metrics(facts: Facts) -> str:
    """The headline numbers, then all others folded away; each with its signature."""
    if not facts.metrics:
        return "Nothing was measured yet."
    first = [m for where in facts.scored() for name in HEADLINES if (m := facts.find(name, where))]
    others = [m for m in facts.metrics if m not in first and not m.name.startswith(CHECK)]
    shows = any(m.smallest_difference for m in first)
    rows = [
        (
            f"{m.name}",
            percent(m.value),
            _interval(m),
            *([_shown(m)] if shows else []),
            count(m.questions),
            _where((m.data, m.split), facts),
            _code(public_signature(m)),
            m.date,
        )
        for m in first
    ]
    columns = ["metric", "value", "95% interval", "questions", "split", "signature", "date"]
    shown = [*columns[:3], "can show", *columns[3:]] if shows else columns
    parts = [table(shown, rows)] if rows else []
    explained = MEANINGS | WRITES if facts.head.answer_mode == "generate" else MEANINGS
    meanings = [f"- `{name}`: {explained[name]}." for name in HEADLINES if _has(first, name)]
    if shows:
        meanings.append(
            "- can show: the smallest difference between two models that these questions can show "
            "(5% level, 80% power)."
        )
    parts += ["\n".join(meanings)] if meanings else []
    if others:
        rest = [
            (
                m.name,
                "undefined" if m.undefined else percent(m.value),
                count(m.questions),
                _where((m.data, m.split), facts),
                _code(public_signature(m)),
                m.date,
            )
            for m in others
        ]
        columns.remove("95% interval")
        parts.append(folded(f"All other metrics ({len(others)})", table(columns, rest)))
    return "\n\n".join(parts)


def types(facts: Facts) -> str:
    """Scores by answer type and question type, where the dataset names types."""
    parts = []
    for where in facts.scored():
        groups: dict[tuple[str, str], list[Measured]] = {}
        for metric in _of(facts, where):
            base, field, _ = metric.kind
            if field and field != COUNTS:
                groups.setdefault((base, field), []).append(metric)
        for (base, field), members in groups.items():
            shown, rows = _parts(field.replace("-", " "), base, members)
            title = cell(f"By {field.replace('-', ' ')}, split {_where(where, facts)}")
            if len(rows) > LONG:
                parts.append(folded(f"{title} ({len(rows)} types)", shown))
            else:
                parts.append(f"{title}:\n\n{shown}")
    if not parts:
        parts.append("Not measured: no scored split has questions or answers of named types.")
    return "\n\n".join([*parts, *pictures(facts, "confusion.png")])


def _parts(
    heading: str, base: str, members: Sequence[Measured], named: Callable[[str], str] = str
) -> tuple[str, list[tuple[str, ...]]]:
    """A table of parts of the questions, with intervals where there are any, and its rows."""
    between = any(m.interval for m in members)
    rows = [
        (
            named(m.kind[2]),
            percent(m.value),
            *([_interval(m)] if between else []),
            count(m.questions),
        )
        for m in members
    ]
    return table((heading, base, *(["95% interval"] if between else []), "questions"), rows), rows


def abstention(facts: Facts) -> str:
    """What is known about when the model should not answer."""
    rows = [
        (m.name, percent(m.value), count(m.questions), _where(where, facts))
        for where in facts.scored()
        for m in _of(facts, where)
        if m.name.startswith(TRUST)
    ]
    if not rows:
        nothing = (
            "Assistive use, for instance by blind people, needs figures that say when the model "
            "should not answer. None were measured: nothing speaks for such use."
        )
        fitted = calibrated(facts) if facts.checkpoint.get(CALIBRATION) else []
        return "\n\n".join([nothing, *fitted])
    advice = (
        "Assistive use, for instance by blind people, needs these figures: who cannot see the "
        "picture cannot notice a wrong answer. The model always answers, unless `abstain_at_risk` "
        "is asked for; `answer.score` says how sure it is."
    )
    for where in facts.scored():
        covered = [
            (m, match[1])
            for m in _of(facts, where)
            if (match := re.fullmatch(r"coverage-at-(\d+)-percent-risk", m.name))
        ]
        if covered:
            shares = ", ".join(
                f"{percent(m.value)} of the questions at a risk of {risk}%" for m, risk in covered
            )
            advice += (
                f" Answering only where it is surest, it could answer {shares} (split "
                f"{_where(where, facts)}, {covered[0][0].questions:,} questions; the thresholds "
                f"were chosen on these very questions, so expect less on others)."
            )
            break
    if not any(row[0].startswith("answerability-") for row in rows):
        advice += " Whether it notices questions that have no answer was not measured."
    else:
        advice += " `answer.answerable` says how likely the question has an answer."
    shown = table(("metric", "value", "questions", "split"), rows)
    drawn = pictures(facts, "risk-coverage.png", "calibration.png")
    return "\n\n".join([advice, *calibrated(facts), shown, *drawn])


def failures(facts: Facts) -> str:
    """Known failure modes: measured ones, and what was not measured."""
    parts = [_question_only(facts)]
    counted = False
    for where in facts.scored():
        members = [m for m in _of(facts, where) if m.kind[1] == COUNTS]
        if members:
            counted = True
            seen = "the right answer was seen in training"
            shown, _ = _parts(seen, members[0].kind[0], members, _times)
            parts.append(
                f"By how often the right answer occurred in training (split "
                f"{_where(where, facts)}):\n\n{shown}"
            )
    if not counted:
        parts.append("Accuracy by how often the right answer occurred was not measured.")
    for where in facts.scored():
        share = facts.find("known-answer-share", where)
        if share and share.split != VALIDATION:
            writes = facts.head.answer_mode == "generate"
            parts.append(
                f"The right answer of {percent(1 - share.value)} of the questions (split "
                f"{_where(where, facts)}) is not among those "
                f"{'of training, though it may write others' if writes else 'it knows'}."
            )
        weak = _weakest(facts, where)
        if weak:
            parts.append(f"Weakest types (split {_where(where, facts)}): {weak}.")
    return "\n\n".join(parts)


def _question_only(facts: Facts) -> str:
    for where in facts.scored():
        for name in QUESTION_ONLY:
            blind, full = facts.find(name, where), facts.find(name[14:], where)
            if blind and full:
                return (
                    f"Without pictures, trained and tested on the questions alone, it reaches "
                    f"{percent(blind.value)} {full.name} instead of {percent(full.value)} (split "
                    f"{_where(where, facts)}): so much of the score needs no picture "
                    f"({_code(public_signature(blind))})."
                )
    return (
        "How much of the score needs no picture was not measured: no question-only model of these "
        "parts was scored."
    )


def _weakest(facts: Facts, where: tuple[str, str]) -> str:
    """The types of questions with the lowest scores, where there are enough to tell."""
    typed = [m for m in _of(facts, where) if m.kind[1] not in ("", COUNTS) and m.questions >= FEW]
    if len(typed) <= WEAKEST:
        return ""
    low = sorted(typed, key=lambda m: m.value)[:WEAKEST]
    return ", ".join(
        f"{cell(m.kind[1].replace('-', ' '))} {_code(m.kind[2])} {percent(m.value)} "
        f"({m.questions:,} questions)"
        for m in low
    )


# ---- Markdown -------------------------------------------------------------------------------


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars and line breaks in cells are escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell(text) for text in line)} |" for line in lines)


def cell(text: str) -> str:
    """One line that fits into a table and holds no HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def folded(title: str, content: str) -> str:
    """A block that opens on a click."""
    return f"<details>\n<summary>{title}</summary>\n\n{content}\n\n</details>"


def pictures(facts: Facts, *names: str) -> list[str]:
    """Those of the pictures that stand beside the card."""
    return [f"![{alt_text(facts, name)}]({name})" for name in names if name in facts.pictures]


def public_signature(metric: Measured) -> str:
    """The signature with the dataset's public name."""
    return metric.signature.replace(f"data:{metric.data}", f"data:{public(metric.data)}")


def _interval(metric: Measured) -> str:
    low_high = metric.interval
    return f"{percent(low_high[0])} to {percent(low_high[1])}" if low_high else ""


def _shown(metric: Measured) -> str:
    return percent(metric.smallest_difference) if metric.smallest_difference else ""


def _where(where: tuple[str, str], facts: Facts) -> str:
    """The split, and the dataset if it is not the one of training."""
    data, split = where
    own = facts.data is not None and data == facts.data.type
    return (split if own else f"{split} of {public(data)}").replace("<", "&lt;")


def _of(facts: Facts, where: tuple[str, str]) -> list[Measured]:
    return [m for m in facts.metrics if (m.data, m.split) == where]


def _has(measured: Sequence[Measured], name: str) -> bool:
    return any(metric.name == name for metric in measured)


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`" if text else text


def _times(group: str) -> str:
    """`10-99` as words."""
    if group == "0":
        return "never, or it is not in the answer list"
    return f"{group.replace('-', ' to ').replace('+', ' or more')} times"

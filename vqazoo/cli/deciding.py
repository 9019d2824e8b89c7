"""What `vqazoo ask` does with --choices, --levels and --statement."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from vqazoo.cli.output import print_json, say

if TYPE_CHECKING:
    from vqazoo.decisions import DecisionQuestion
    from vqazoo.model import VQAModel


def typed_question(
    text: str, choices: str | None, levels: str | None, statement: bool
) -> DecisionQuestion | None:
    """The question that the options ask for; None: they ask for none.

    Raises:
        ConfigError: there are two of them, or the choices or levels cannot be used.
    """
    from vqazoo.decisions import ChoiceQuestion, PredicateQuestion, ScoreQuestion
    from vqazoo.errors import ConfigError

    if (choices is not None) + (levels is not None) + statement > 1:
        raise ConfigError("--choices, --levels and --statement exclude one another: give only one.")
    if choices is not None:
        return ChoiceQuestion(text, _parts(choices))
    if levels is not None:
        return ScoreQuestion(text, _parts(levels))
    return PredicateQuestion(text) if statement else None


def decide(
    model: VQAModel,
    image: str,
    question: DecisionQuestion,
    nearest: bool,
    calibrated: bool,
    as_json: bool,
    about: dict[str, str],
) -> None:
    """Print what the model decides.

    Raises:
        ConfigError: the model refuses the question.
    """
    from vqazoo.decisions import Predicate, Refusal
    from vqazoo.errors import ConfigError

    unknown = "nearest" if nearest else "unscored"
    (decision,) = model.decide(image, [question], unknown=unknown, calibrated=calibrated)
    if isinstance(decision, Refusal):
        raise ConfigError(decision.reason)
    if as_json:
        print_json({**about, "type": type(decision).__name__.lower(), **asdict(decision)})
        return
    if isinstance(decision, Predicate):
        say(f"{decision.probability:7.2%}  true")
        return
    for option, share in sorted(decision.probabilities.items(), key=lambda pair: -pair[1]):
        known = "  (not known to the model)" if option in decision.unscored else ""
        say(f"{share:7.2%}  {option}{known}")


def _parts(listed: str) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in listed.split(",")]

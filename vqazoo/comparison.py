"""When a given answer is the published one: rules that a dataset's manifest names.

The truth is kept as it was published; a rule says which words stand for the same answer, and is
applied to both sides before they are compared. Imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vqazoo.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Comparison:
    """A rule: two answers are the same if `read` makes one text of them.

    Attributes:
        name: as manifests and the signatures of metrics name it.
        read: from an answer to the text that is compared.
    """

    name: str
    read: Callable[[str], str]


def set_of_things(answer: str) -> str:
    """Things with commas between them, in alphabetical order: the order of naming means nothing."""
    things = {" ".join(part.split()).casefold() for part in answer.split(",")}
    return ", ".join(sorted(things - {""}))


def synonyms(words: Mapping[str, str]) -> Callable[[str], str]:
    """A rule's `read` by which some answers, in any case, stand for others."""

    def read(answer: str) -> str:
        return words.get(" ".join(answer.split()).casefold().rstrip(". "), answer)

    return read


TEXT = Comparison("text", lambda answer: answer)  # what is written, normalised
SET = Comparison("set-of-things", set_of_things)
TRUTH_VALUES = Comparison("yes-is-true", synonyms({"yes": "true", "no": "false"}))
RULES = {rule.name: rule for rule in (TEXT, SET, TRUTH_VALUES)}


def rule(name: str) -> Comparison:
    """The rule of that name. Raises ConfigError for a name that is not known."""
    if name not in RULES:
        raise ConfigError(
            f"Unknown comparison {name!r}.{did_you_mean(name, RULES)} It must be one of "
            f"{', '.join(RULES)}, or the reader must set it."
        )
    return RULES[name]

"""Typed questions of other interfaces, put into the words that a model reads.

What the interfaces have beyond a picture, a question and its options is decided here in one way for
all of them: text beside the picture is read before the question, and an option is its value, or
where the model does not know the value but its description, that. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from vqazoo.decisions import DecisionQuestion, PredicateQuestion, question_of


@dataclass(frozen=True)
class Words:
    """What a model knows, as `vqazoo.choosing.scoring.Scoring` tells it.

    Attributes:
        knows: whether it can score an option.
        yes_and_no: what it says for them.
    """

    knows: Callable[[str], bool]
    yes_and_no: tuple[str, str]

    def option(self, value: str | bool, description: str = "") -> str:
        """The words of an option; of true and false yes and no."""
        word = value if isinstance(value, str) else self.yes_and_no[0 if value else 1]
        if description and not self.knows(word) and self.knows(description):
            return description
        return word


def in_context(question: DecisionQuestion, context: str) -> DecisionQuestion:
    """The question with a text before it."""
    if not context:
        return question
    if isinstance(question, PredicateQuestion):
        return replace(question, statement=f"{context} {question_of(question.statement)}")
    return replace(question, text=f"{context} {question.text}")


def as_text(content: Any) -> str:
    """A text as it is, nothing for None, and compact JSON for what else JSON has."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

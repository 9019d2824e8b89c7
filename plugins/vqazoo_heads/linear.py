"""The *Less Is More* classifier: linear layers, answer-type gate, answerability. Imports torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList, normalise
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.classes import ClassHead, class_sum, class_targets, class_units, ranked_answers

TYPES = ("unanswerable", "unsuitable", "yes", "no", "number", "colour", "other")
_NUMBER_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|"
    "sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|"
    "hundred|thousand"
)
_COLOURS = (
    "red|green|blue|yellow|orange|purple|pink|brown|black|white|gr[ae]y|beige|tan|teal|turquoise|"
    "cyan|magenta|maroon|navy|gold|golden|silver|violet|lavender|olive|cream|ivory|khaki"
)
# The paper names the types but publishes no patterns; these are ours. The first that matches the
# whole normalised answer gives its type; anything else is `other`.
_PATTERNS = (
    ("unanswerable", r"unanswerable"),
    ("unsuitable", r"unsuitable( image)?"),
    ("yes", r"yes|yeah|yep"),
    ("no", r"no|nope"),
    ("number", rf"[$£€]?\d[\d.,:/ -]*%?|({_NUMBER_WORDS})([ -]({_NUMBER_WORDS}))*"),
    (
        "colour",
        rf"((light|dark|bright|pale) )?({_COLOURS})"
        rf"((,? and |, ?|/| )((light|dark|bright|pale) )?({_COLOURS}))*",
    ),
)
NOT_ANSWERABLE = ("unanswerable", "unsuitable")


def answer_type(answer: str) -> str:
    """One of TYPES, told from the answer alone."""
    text = normalise(answer)
    return next((name for name, pattern in _PATTERNS if re.fullmatch(pattern, text)), "other")


class Outputs(NamedTuple):
    """What the three branches say about B rows."""

    answer: Tensor  # (B, K) gated logits
    type: Tensor  # (B, 7) logits
    answerable: Tensor  # (B,) logit


class LinearHead(ClassHead):
    """LayerNorm, dropout, Linear(D -> 512) = h; no other non-linearity stands between the layers.

    answer = gate * Linear(Dropout(LayerNorm(h))), gate = sigmoid(Linear(type)), type = Linear(h).
    The gate multiplies logits, as published: a closed gate leaves a class with logit 0, not
    impossible. Answerability is sigmoid(Linear(h)) (Elnainay et al. 2023).

    The loss is a weighted sum of cross-entropy of answer and type, and binary cross-entropy of
    answerability: `Example.answerable`, and where nobody said it, whether the answer to learn is
    another than "unanswerable" and "unsuitable". An answer outside the list still teaches type and
    answerability; in scores it is a miss. Deviations from the published code: one head
    instead of ten averaged folds; the question vector stands first; no rotation at test time.

    Source: Deuser et al. 2022, arXiv 2206.05281, section 3, and its published demo.
    """

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        hidden_dim: int,
        dropout: float,
        answer_weight: float,
        type_weight: float,
        answerability_weight: float,
        label_smoothing: float,
        balance: float,
    ) -> None:
        super().__init__(answers, balance)
        self.label_smoothing = label_smoothing
        self.loss_weights = {
            "answer": answer_weight,
            "type": type_weight,
            "answerability": answerability_weight,
        }
        self.shared = nn.Sequential(
            nn.LayerNorm(fused.dim), nn.Dropout(dropout), nn.Linear(fused.dim, hidden_dim)
        )
        self.type_branch = nn.Linear(hidden_dim, len(TYPES))
        self.gate = nn.Linear(len(TYPES), len(answers))
        self.answer_branch = nn.Sequential(
            nn.LayerNorm(hidden_dim), nn.Dropout(dropout), nn.Linear(hidden_dim, len(answers))
        )
        self.answerability_branch = nn.Linear(hidden_dim, 1)

    def branches(self, fused: Features) -> Outputs:
        """Logits of all three branches."""
        h = self.shared(fused.pooled)  # (B, 512)
        types = self.type_branch(h)  # (B, 7)
        gate = self.gate(types).sigmoid()  # (B, K) in (0, 1)
        answer = self.answer_branch(h) * gate  # (B, K)
        return Outputs(answer, types, self.answerability_branch(h).squeeze(1))  # (B,)

    def logits(self, fused: Features) -> Tensor:
        """Gated scores (B, K) of the answers."""
        return self.branches(fused).answer

    def type_names(self) -> Sequence[str]:
        return TYPES

    def type_logits(self, fused: Features) -> Tensor:
        """Scores (B, 7) of the answer types."""
        return self.branches(fused).type

    def answerable_logits(self, fused: Features) -> Tensor:
        """Scores (B,): whether the picture can answer the question."""
        return self.branches(fused).answerable

    def targets(self, examples: Sequence[Example]) -> Targets:
        types = [answer_type(example.target) for example in examples]
        return {
            **class_targets(self.answers, examples),
            "type": torch.tensor([TYPES.index(name) for name in types]),
            "answerable": torch.tensor(
                [
                    float(kind not in NOT_ANSWERABLE if e.answerable is None else e.answerable)
                    for e, kind in zip(examples, types, strict=True)
                ]
            ),
        }

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        rows = torch.ones_like(targets["answerable"])  # (B,)
        answer = class_units(targets, self.class_weight)  # (B,)
        return {"answer": answer, "type": rows, "answerability": rows}

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        out = self.branches(fused)
        return {
            "answer": class_sum(out.answer, targets, self.smoothing, self.class_weight),
            "type": F.cross_entropy(out.type, targets["type"], reduction="sum"),
            "answerability": F.binary_cross_entropy_with_logits(
                out.answerable, targets["answerable"], reduction="sum"
            ),
        }

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        out = self.branches(fused)
        types = out.type.argmax(dim=1).tolist()
        answerable = out.answerable.sigmoid().tolist()
        return [
            [replace(answer, answer_type=TYPES[kind], answerable=chance) for answer in row]
            for row, kind, chance in zip(
                ranked_answers(self.answers, out.answer, top_k), types, answerable, strict=True
            )
        ]

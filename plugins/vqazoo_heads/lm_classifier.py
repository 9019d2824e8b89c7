"""A head that classifies with the states of a borrowed language model. Imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError, VqazooWarning
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.classes import (
    UNKNOWN,
    ClassHead,
    class_targets,
    ranked_scores,
    ranked_texts,
)
from vqazoo.toolkit.layers import to_width
from vqazoo_heads.language_model import borrowed

ONLY_WRITES = (
    "The head 'lm-classifier' needs a language model that reads in both directions, but the text "
    "encoder lends one that writes from left to right: use the head lm-generate, or a text encoder "
    "such as minilm-lm."
)


class LMClassifier(ClassHead):
    """A language model reads the fused tokens; one of its states goes through a linear layer.

    The language model is borrowed from the text encoder, so training.trainable decides whether it
    learns; gradients pass through a frozen one into the fusion. `read` chooses the state: `last`
    token (the original: with the image behind the question, its last patch), `first` (the class
    token of a question in front), or the `mean` over real tokens. The linear layer has no bias. A
    linear layer D -> W stands in front of the language model if the widths differ.

    Deviation from the original: the outputs are the known answers. With `full_vocabulary` they are
    all V word pieces, and answers of several pieces are neither learnt nor ever given, as there;
    their number is told when targets are made.

    Source: the clip-distilbert system (pmabbo13/imageqa), clipqa_bert.py.
    """

    piece_ids: Tensor  # (K',) int64: the word piece of each learnable answer, full vocabulary only

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        read: str,
        full_vocabulary: bool,
        label_smoothing: float,
    ) -> None:
        super().__init__(answers)
        model = borrowed(text_encoder, "decoder", ONLY_WRITES)
        self._borrowed = (model, text_encoder)  # in a tuple, so not registered
        self.read = read
        self.full_vocabulary = full_vocabulary
        self.label_smoothing = label_smoothing
        self.project = to_width(fused.dim, model.dim)
        if full_vocabulary:
            self.answers, piece_ids = _of_one_piece(answers, text_encoder)
            self.register_buffer("piece_ids", piece_ids)
        outputs = model.vocab_size if full_vocabulary else len(answers)
        self.output = nn.Linear(model.dim, outputs, bias=False)

    def targets(self, examples: Sequence[Example]) -> Targets:
        targets = class_targets(self.answers, examples)
        if not self.full_vocabulary:
            return targets
        classes = targets["answer"]  # (n, M)
        lost = int((classes == UNKNOWN).all(dim=1).sum())
        if lost:
            warnings.warn(
                f"{lost} of {len(examples)} questions have no answer of exactly one word piece: "
                f"with full_vocabulary they teach nothing and count as misses.",
                VqazooWarning,
                stacklevel=2,
            )
        pieces = self.piece_ids.cpu()[classes.clamp(min=0)]  # (n, M)
        return {**targets, "answer": torch.where(classes == UNKNOWN, UNKNOWN, pieces)}

    def logits(self, fused: Features) -> Tensor:
        """Scores (B, K) of answers, or (B, V) of word pieces."""
        model, _ = self._borrowed
        assert fused.tokens is not None
        assert fused.mask is not None
        mask = fused.mask
        states = model.states(self.project(fused.tokens), mask)  # (B, L, W), zeros where not real
        if self.read == "mean":
            state = states.sum(1) / mask.sum(1, keepdim=True)  # (B, W)
        else:
            place = mask.long().argmax(1)  # (B,) of the first real token
            if self.read == "last":
                place = mask.shape[1] - 1 - mask.flip(1).long().argmax(1)  # (B,)
            state = states[torch.arange(len(states), device=states.device), place]  # (B, W)
        scores: Tensor = self.output(state.to(self.output.weight.dtype))  # (B, K)
        return scores

    def class_texts(self) -> Sequence[str]:
        """See `NamesClasses`: with `full_vocabulary` each word piece is an answer."""
        if not self.full_vocabulary:
            return self.answers.texts
        _, encoder = self._borrowed
        return [encoder.decode([piece]) for piece in range(self.output.out_features)]

    def ranked(self, logits: Tensor, top_k: int = 1) -> list[list[Answer]]:
        scores = logits.softmax(dim=1)  # (B, K), or (B, V) of word pieces
        if not self.full_vocabulary:
            return ranked_scores(self.answers, scores, top_k)
        _, encoder = self._borrowed
        return ranked_texts(lambda piece: encoder.decode([piece]), scores, top_k)


def _of_one_piece(answers: AnswerList, encoder: Encoder) -> tuple[AnswerList, Tensor]:
    """The answers that are exactly one word piece, and the ids (K',) of those.

    Raises:
        ConfigError: there are none.
    """
    spelled = encoder.pieces(answers.texts)
    kept = [index for index, ids in enumerate(spelled) if len(ids) == 1]
    if not kept:
        raise ConfigError(
            f"None of the {len(answers)} answers is exactly one word piece, so full_vocabulary has "
            f"nothing to learn: set head.args.full_vocabulary=false."
        )
    texts = tuple(answers.texts[index] for index in kept)
    counts = tuple(answers.counts[index] for index in kept)
    piece_ids = torch.tensor([spelled[index][0] for index in kept])  # (K',)
    return AnswerList(texts, counts, answers.coverage), piece_ids

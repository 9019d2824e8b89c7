"""A head that writes answers with a borrowed language model. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError, IncompatibleError, QuestionError
from vqazoo.interfaces import (
    Answer,
    Encoder,
    Features,
    FusedSpec,
    GivesScores,
    LanguageModel,
    Targets,
)
from vqazoo.toolkit.classes import ranked_texts
from vqazoo.toolkit.decoding import Spelling, State, Step, as_answers, write
from vqazoo.toolkit.layers import to_width
from vqazoo.toolkit.losses import SummedHead
from vqazoo.toolkit.rows import padded, real_places
from vqazoo.toolkit.scoring import written_scores

ONLY_READS = (
    "The head 'lm-generate' needs a language model that writes, but the text encoder lends one "
    "that only reads: use the head lm-classifier, or a text encoder such as "
    "hf-lm:distilbert/distilgpt2."
)


class LMGenerate(SummedHead):
    """A language model reads the fused tokens as its prompt and writes the answer.

    It is borrowed from the text encoder, so training.trainable decides whether it learns; gradients
    pass through a frozen one into the fusion. Decoders go on after the prompt (ClipCap, BLIP-2 with
    OPT); encoder-decoders read the prompt in the encoder and write with the decoder (BLIP-2 with
    T5). The loss is the mean cross-entropy of the answer's tokens and the end token; the prompt
    teaches nothing. A linear layer D -> W stands in front if the widths differ.

    Source: Mokady et al. 2021, ClipCap, section 3; Li et al. 2023, BLIP-2, section 3.3.
    """

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        max_tokens: int,
        label_smoothing: float,
    ) -> None:
        super().__init__()
        model = borrowed(text_encoder, "encoder", ONLY_READS)
        self._borrowed = (model, text_encoder)  # in a tuple, so not registered
        self.longest = max_tokens
        self.label_smoothing = label_smoothing
        self.project = to_width(fused.dim, model.dim)
        self._spell(answers.texts)

    def targets(self, examples: Sequence[Example]) -> Targets:
        """Gives `answer` (n, T) int64 token ids with the end, and `length` (n,) int64 of each."""
        rows = self._spell([example.target for example in examples])
        length = torch.tensor([len(row) for row in rows])  # (n,)
        return {"answer": padded(rows, self._borrowed[1].end_id), "length": length}

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        return {"answer": targets["length"].float()}

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        model, _ = self._borrowed
        answer = targets["answer"][:, : int(targets["length"].max())]  # (B, T), the batch's own
        prompt, mask = self.prompt(fused)
        scores = model.logits(prompt, mask, answer)  # (B, T, V)
        real = real_places(targets["length"], answer.shape[1])  # (B, T)
        total = F.cross_entropy(
            scores[real].float(), answer[real], reduction="sum", label_smoothing=self.smoothing
        )
        return {"answer": total}

    def prompt(self, fused: Features) -> tuple[Tensor, Tensor]:
        """Prompt embeddings (B, L, W) and their mask (B, L)."""
        assert fused.tokens is not None
        assert fused.mask is not None
        return self.project(fused.tokens), fused.mask

    def begin_answer(self, fused: Features) -> tuple[Tensor, State, Step]:
        model, _ = self._borrowed
        if isinstance(model, GivesScores):
            return (*model.start_scores(*self.prompt(fused)), model.step_scores)
        return (*model.start(*self.prompt(fused)), model.step)

    def spelling(self) -> Spelling:
        _, encoder = self._borrowed
        return Spelling(encoder.end_id, self.longest)

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        model, encoder = self._borrowed
        self.check_room(fused, decode.get("max_tokens") or self.longest)
        first, state, step = self.begin_answer(fused)  # (B, V)
        said = []  # a decoder goes on after the question, whose words then count as said
        if model.kind == "decoder" and fused.ids is not None:
            said = [[token for token in row if token >= 0] for row in fused.ids.tolist()]
        written = write(
            step, state, encoder.end_id, top_k, self.longest, first=first, said=said, **decode
        )
        return as_answers(written, encoder.decode)

    def caption(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        """The answer to no question; see `Captions`."""
        return self.predict(fused, top_k, **decode)

    def rank(
        self, fused: Features, candidates: Sequence[str], top_k: int = 1
    ) -> list[list[Answer]]:
        """The best of the given answers for each of B rows, by the product of token probabilities.

        Prompts are read once; the candidates of all rows go on from them side by side.

        Raises:
            QuestionError: a prompt leaves no place for a candidate.
        """
        scores = written_scores(self, self._borrowed[1], fused, [list(candidates)] * len(fused))
        table = torch.tensor(scores)  # (B, C)
        return ranked_texts(candidates.__getitem__, table, top_k, logarithms=True)

    def _spell(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of answers, with the end token."""
        _, encoder = self._borrowed
        spelled = encoder.pieces(list(texts)) if texts else []
        rows = [[*ids, encoder.end_id] for ids in spelled]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > self.longest:
                raise ConfigError(
                    f"The answer {text[:60]!r} has {len(row)} tokens with its end, but the head "
                    f"writes at most {self.longest}: set head.args.max_tokens={len(row)} or more."
                )
        return rows

    def check_room(self, fused: Features, count: int) -> None:
        """Before anything is written: prompt and answer must fit, see `LimitsAnswers`."""
        model, _ = self._borrowed
        if model.context_length is None or model.kind != "decoder":
            return
        assert fused.mask is not None
        longest = int(fused.mask.sum(1).max())
        if longest + count > model.context_length:
            raise QuestionError(
                f"The prompt has {longest} tokens and the answer up to {count}, but the language "
                f"model reads at most {model.context_length} together: ask a shorter question, "
                f"use an image encoder with fewer tokens, or set max_tokens lower."
            )


def borrowed(text_encoder: Encoder, unfit: str, told: str) -> LanguageModel:
    """The language model of a text encoder.

    Raises:
        IncompatibleError: it has none, or one of the `unfit` kind, which is `told`.
    """
    try:
        model = cast(LanguageModel, text_encoder.lend("language_model"))
    except IncompatibleError as error:
        raise IncompatibleError(
            "The head needs a language model, but the text encoder lends none: name one with "
            "--text-encoder, such as hf-lm:distilbert/distilbert-base-uncased or minilm-lm."
        ) from error
    if model.kind == unfit:
        raise IncompatibleError(told)
    return model

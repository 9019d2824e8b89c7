"""The GRU head of the CLIP+GPT-2 system: whole words, the context at every step. Imports torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.decoding import START, Spelling, State, Step, as_answers, write
from vqazoo.toolkit.layers import to_width
from vqazoo.toolkit.losses import SummedHead
from vqazoo.toolkit.rows import padded, real_places

PAD, BOS, EOS, UNK = range(4)
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


class GRUHead(SummedHead):
    """Embedding and fused vector side by side at every step, GRU, LayerNorm, Linear to V words.

    Words are what stands between blanks, lower-cased; those with fewer than `min_count` training
    answers are `<unk>`. Answers that cannot be spelled count as misses in every score.

    Deviations from the published code: words are split at blanks, so that "don't" comes back
    whole, not as "do n't"; the vocabulary comes from the training answers alone, not from those of
    the test split; the loss is smoothed in training only, as published, but masks padding by
    length; `<pad>`, `<bos>` and `<unk>` are never written; a fused vector of another width passes a
    linear layer first.

    Source: the CLIP+GPT-2 system (nikhilroxtomar/Generative-VQA-in-PyTorch), model.py and train.py.
    """

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        hidden_dim: int,
        label_smoothing: float,
        min_count: int,
    ) -> None:
        super().__init__()
        self.words = (*SPECIAL, *_frequent_words(answers, min_count))
        self.number = {word: index for index, word in enumerate(self.words)}
        self.longest = max(len(text.split()) for text in answers.texts) + 1  # with <eos>
        self.label_smoothing = label_smoothing
        self.project = to_width(fused.dim, hidden_dim)
        self.embedding = nn.Embedding(len(self.words), hidden_dim)
        self.gru = nn.GRU(2 * hidden_dim, hidden_dim, batch_first=True)
        self.norm = nn.LayerNorm(hidden_dim)
        self.output = nn.Linear(hidden_dim, len(self.words))

    def targets(self, examples: Sequence[Example]) -> Targets:
        """Inputs (n, T), <bos> and words, and outputs (n, T), words and <eos>; <pad> behind."""
        rows = [
            [self.number.get(word, UNK) for word in example.target.split()] for example in examples
        ]
        return {
            "inputs": padded([[BOS, *row] for row in rows], PAD),
            "outputs": padded([[*row, EOS] for row in rows], PAD),
            "length": torch.tensor([len(row) + 1 for row in rows]),
        }

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        return {"answer": targets["length"].float()}

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        longest = int(targets["length"].max())  # the batch's own
        inputs, outputs = targets["inputs"][:, :longest], targets["outputs"][:, :longest]  # (B, T)
        logits = self.word_logits(self.project(fused.pooled), inputs)  # (B, T, V)
        real = real_places(targets["length"], longest)  # (B, T)
        total = F.cross_entropy(
            logits[real], outputs[real], reduction="sum", label_smoothing=self.smoothing
        )
        return {"answer": total}

    def word_logits(self, context: Tensor, ids: Tensor) -> Tensor:
        """Scores (B, T, V) of the next word after each of ids (B, T), given context (B, D)."""
        x = self.embedding(ids)  # (B, T, D)
        x = torch.cat([x, context[:, None].expand_as(x)], dim=2)  # (B, T, 2D)
        x, _ = self.gru(x)  # (B, T, D)
        scores: Tensor = self.output(self.norm(x))  # (B, T, V)
        return scores

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One word further; state is context (B, D) and hidden (B, D)."""
        context, hidden = state
        ids = torch.where(tokens == START, BOS, tokens)  # (B,)
        x = torch.cat([self.embedding(ids), context], dim=1)[:, None]  # (B, 1, 2D)
        x, hidden = self.gru(x, hidden[None].contiguous())  # (B, 1, D)
        logits = self.output(self.norm(x[:, 0]))  # (B, V)
        logits[:, [PAD, BOS, UNK]] = -torch.inf
        return logits.log_softmax(dim=1), (context, hidden[0])

    def begin_answer(self, fused: Features) -> tuple[Tensor, State, Step]:
        context = self.project(fused.pooled)  # (B, D)
        start = torch.full_like(context[:, 0], START, dtype=torch.long)  # (B,)
        return (*self.step(start, (context, torch.zeros_like(context))), self.step)

    def spelling(self) -> Spelling:
        return Spelling(EOS, self.longest, self.words)

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        first, state, step = self.begin_answer(fused)
        written = write(step, state, EOS, top_k, self.longest, first=first, **decode)
        return as_answers(written, lambda tokens: " ".join(self.words[t] for t in tokens))


def _frequent_words(answers: AnswerList, min_count: int) -> list[str]:
    """Words of the answers, sorted; rare ones are left out where counts are known."""
    counts: Counter[str] = Counter()
    for text, count in zip(answers.texts, answers.counts, strict=True):
        for word in text.split():
            counts[word] += count
    known = any(answers.counts)
    words = sorted(word for word, count in counts.items() if not known or count >= min_count)
    if not words:
        raise ConfigError(
            f"The head 'gru' knows no word: all {len(counts):,} words of the answers occur less "
            f"than {min_count} times; set head.args.min_count=1."
        )
    return words

"""BLIP's answer decoder: writes an answer, or ranks given ones. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError, QuestionError
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.decoding import Spelling, State, Step, Written, as_answers, write
from vqazoo.toolkit.layers import Past, TextLayer, causal, check_heads, initialise
from vqazoo.toolkit.losses import SummedHead
from vqazoo.toolkit.rows import padded
from vqazoo_blip.words import TextEmbedding

PADDING = -1  # where a target has no token
CHUNK = 256  # candidates of all rows that are ranked at once
RANK = "rank"


class Seen(NamedTuple):
    """What the decoder looks at, once for all tokens and all answers of a row."""

    layers: list[Past]  # keys and values of each layer's cross-attention, (B, h, L, D/h) each
    mask: Tensor  # (B, 1, 1, L) bool

    def rows(self, rows: Tensor) -> Seen:
        """The given rows; one may occur more than once."""
        return Seen([(k[rows], v[rows]) for k, v in self.layers], self.mask[rows])


class MedDecoder(SummedHead):
    """BERT layers with a causal mask that look at the fused tokens in every layer.

    Word and position embeddings (V, D) are the head's own; V is that of the text encoder, whose
    `start_id` comes first ([DEC] in BLIP's encoders) and whose `end_id` last. Output weights are
    the word embeddings (BERT's prediction head). A `prompt` is read after the start and belongs to
    no answer: BLIP's captioner has "a picture of ".

    Fused tokens are turned into keys and values once for all tokens, beams and candidates of a row.

    Learning: the sum over an example's answers of weight x cross-entropy summed over its tokens,
    label-smoothed, divided by the number of examples.

    Source: Li et al. 2022, BLIP, sections 3.1 and 4.3 (VQA), and the authors' blip_vqa.py.
    """

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        dim: int,
        layers: int,
        heads: int,
        hidden_dim: int,
        dropout: float,
        label_smoothing: float,
        context_length: int,
        longest: int,
        prompt: str,
    ) -> None:
        super().__init__()
        dim = dim or fused.dim
        check_heads("head 'med-decoder'", dim, heads)
        vocabulary = cast(nn.Embedding, text_encoder.lend("token_embedding")).num_embeddings
        self._borrowed = (text_encoder,)  # in a tuple, so not registered
        self.answers = answers
        self.label_smoothing = label_smoothing
        self.start = [text_encoder.start_id, *text_encoder.pieces([prompt])[0]]
        self.room = context_length - len(self.start)  # tokens of an answer, end included
        if self.room < 2:
            raise ConfigError(
                f"The head 'med-decoder' has context_length {context_length}, but its prompt "
                f"{prompt!r} takes {len(self.start)} tokens: set context_length to "
                f"{len(self.start) + 20} or more."
            )
        spelled = self.spell(answers.texts)
        self.longest = min(longest or max(map(len, spelled), default=self.room), self.room)
        self.embedding = TextEmbedding(vocabulary, context_length, dim, dropout)
        self.layers = nn.ModuleList(
            TextLayer(dim, heads, hidden_dim, fused.dim, dropout) for _ in range(layers)
        )
        self.transform = nn.Linear(dim, dim)
        self.transform_norm = nn.LayerNorm(dim, 1e-12)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        initialise(self)

    def spell(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, end included; one that is too long loses what is before its end."""
        (encoder,) = self._borrowed
        spelled = encoder.pieces(texts) if texts else []
        return [[*ids[: self.room - 1], encoder.end_id] for ids in spelled]

    # ---- learning ---------------------------------------------------------------------------

    def targets(self, examples: Sequence[Example]) -> Targets:
        """Gives `tokens` (n, A, T) int64 and `weight` (n, A) float of A answers an example.

        Tokens include the end, and PADDING is behind them. The weight is zero where an example has
        fewer than A answers; the weights of an example sum to 1.
        """
        texts = list(dict.fromkeys(text for example in examples for text, _ in example.targets))
        spelled = dict(zip(texts, padded(self.spell(texts), PADDING), strict=True))  # text: (T,)
        most = max((len(example.targets) for example in examples), default=0)
        longest = max(map(len, spelled.values()), default=1)
        tokens = torch.full((len(examples), max(1, most), longest), PADDING)
        weights = torch.zeros(tokens.shape[:2])  # (n, A)
        for row, example in enumerate(examples):
            total = sum(weight for _, weight in example.targets)
            for column, (text, weight) in enumerate(example.targets):
                tokens[row, column] = spelled[text]
                weights[row, column] = weight / total if total else 0.0
        return {"tokens": tokens, "weight": weights}

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        return {"answer": torch.ones_like(targets["weight"][:, 0])}  # examples

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        weights = targets["weight"]  # (B, A)
        row, column = weights.nonzero(as_tuple=True)  # (P,) each: pairs of row and answer
        seen = self.look(fused)
        if len(row) == 0:
            return {"answer": seen.layers[0][0].sum() * 0}
        if len(row) != weights.numel():  # else each row has A answers, which may look together
            seen = seen.rows(row)
        tokens = targets["tokens"][row, column]  # (P, T)
        tokens = tokens[:, : int((tokens != PADDING).sum(dim=1).max())]  # the batch's own T
        losses = self.token_losses(seen, tokens, self.smoothing)  # (P, T)
        return {"answer": (losses.sum(dim=1) * weights[row, column]).sum()}

    def token_losses(self, seen: Seen, tokens: Tensor, label_smoothing: float) -> Tensor:
        """Cross-entropy (P, T) of each token of answers (P, T) after the start; 0 at PADDING."""
        before = tokens.new_tensor(self.start).expand(len(tokens), -1)  # (P, S)
        ids = torch.cat([before, tokens[:, :-1].clamp(min=0)], dim=1)  # (P, S+T-1)
        states, _ = self.read(ids, seen, None)  # (P, S+T-1, D)
        states = states[:, len(self.start) - 1 :]  # (P, T, D)
        real = tokens != PADDING  # (P, T)
        losses = torch.zeros(tokens.shape, device=tokens.device)  # (P, T)
        losses[real] = F.cross_entropy(
            self.logits(states[real]),
            tokens[real],
            reduction="none",
            label_smoothing=label_smoothing,
        )
        return losses

    # ---- the network ------------------------------------------------------------------------

    def look(self, fused: Features) -> Seen:
        """Keys and values of the fused tokens (B, L, C) for every layer."""
        assert fused.tokens is not None
        assert fused.mask is not None
        layers = [cast(TextLayer, layer).cross.read(fused.tokens) for layer in self.layers]
        return Seen(layers, fused.mask[:, None, None])

    def read(self, ids: Tensor, seen: Seen, past: list[Past] | None) -> tuple[Tensor, list[Past]]:
        """States (P, T, D) of ids (P, T) after those in `past`, and the past with them.

        `seen` may have fewer rows than ids: then rows side by side look at the same.
        """
        count = past[0][0].shape[2] if past else 0  # S, tokens read before
        mask = causal(ids.shape[1], count, ids.device) if ids.shape[1] > 1 else None  # (T, S+T)
        x = self.embedding(ids, torch.full_like(ids[:, 0], count))  # (P, T, D)
        kept = []
        for number, layer in enumerate(self.layers):
            before = past[number] if past else None  # (P, h, S, D/h) each
            x, now = layer(x, mask, seen.layers[number], seen.mask, before)  # (P, T, D)
            kept.append(now)
        return x, kept

    def logits(self, states: Tensor) -> Tensor:
        """Scores (..., V) of the token after each state (..., D), in float32."""
        x = self.transform_norm(F.gelu(self.transform(states)))  # (..., D)
        return F.linear(x, self.embedding.words.weight, self.bias).float()  # (..., V)

    def begin(self, seen: Seen) -> tuple[Tensor, list[Past]]:
        """Log-probabilities (B, V) of an answer's first token, and the past of start and prompt."""
        scores, past = self._first(seen)
        return scores.log_softmax(dim=1), past

    def _first(self, seen: Seen) -> tuple[Tensor, list[Past]]:
        """Scores (B, V) of an answer's first token, and the past of start and prompt."""
        ids = torch.tensor(self.start, device=seen.mask.device).expand(len(seen.mask), -1)  # (B, S)
        states, past = self.read(ids, seen, None)  # (B, S, D)
        return self.logits(states[:, -1]), past

    # ---- answering --------------------------------------------------------------------------

    def predict(
        self,
        fused: Features,
        top_k: int = 1,
        strategy: str = "greedy",
        first_k: int = 128,
        **decode: Any,
    ) -> list[list[Answer]]:
        if strategy == RANK:
            if not self.answers.texts:
                raise ConfigError(
                    "This model knows no answers to rank: choose another strategy, or pass answers "
                    "to its head's rank()."
                )
            return self.rank(fused, self.answers.texts, top_k, first_k)
        (encoder,) = self._borrowed
        return as_answers(self.generate(fused, top_k, strategy=strategy, **decode), encoder.decode)

    def generate(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Written]]:
        """The token ids that `predict` makes answers of, best first, with their log-probabilities.

        Raises:
            ConfigError: a decode option is out of range.
        """
        if decode.get("max_tokens", 0) > self.room:
            raise ConfigError(
                f"max_tokens is {decode['max_tokens']}, but this model has positions for "
                f"{self.room} tokens of an answer: ask for at most that many."
            )
        (encoder,) = self._borrowed
        first, state, step = self.begin_answer(fused)
        said = [self.start] * len(first)
        return write(
            step, state, encoder.end_id, top_k, self.longest, first=first, said=said, **decode
        )

    def begin_answer(self, fused: Features) -> tuple[Tensor, State, Step]:
        """See `Writes`; the state is the past, keys and values of each layer in turn."""
        seen = self.look(fused)
        first, past = self._first(seen)  # (B, V)

        def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            before = list(zip(state[::2], state[1::2], strict=True))
            states, now = self.read(tokens[:, None], seen, before)  # (P, 1, D)
            return self.logits(states[:, 0]), _flat(now)  # (P, V)

        return first, _flat(past), step

    def spelling(self) -> Spelling:
        (encoder,) = self._borrowed
        return Spelling(encoder.end_id, self.longest)

    def check_room(self, fused: Features, count: int) -> None:
        """Raises QuestionError: there are no positions for `count` tokens; `rank` cuts them off."""
        if count > self.room:
            raise QuestionError(
                f"A given answer has {count} tokens with its end, but this model has positions for "
                f"{self.room}: give a shorter one."
            )

    def caption(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        """The answer to no question; see `Captions`."""
        return self.predict(fused, top_k, **decode)

    @torch.no_grad()
    def rank(
        self, fused: Features, candidates: Sequence[str], top_k: int = 1, first_k: int = 128
    ) -> list[list[Answer]]:
        """The best of given answers for each row, best first, without writing one.

        The `first_k` candidates whose first token is likeliest are scored in full, by minus the
        summed token loss (with the label smoothing of training, as published), which is not divided
        by the length. An answer's score is its probability; `first_k` of all candidates or more is
        exhaustive.

        Source: the authors' blip_vqa.py, rank_answer.

        Raises:
            ConfigError: there is no candidate.
        """
        if not candidates:
            raise ConfigError("There are no answers to rank: give one or more.")
        seen = self.look(fused)
        first, past = self.begin(seen)  # (B, V)
        spelled = padded(self.spell(candidates), PADDING).to(first.device)  # (C, T)
        order = first[:, spelled[:, 0]].argsort(dim=1, descending=True, stable=True)  # (B, C)
        kept = order[:, : min(first_k, len(candidates))]  # (B, k)
        length = (spelled != PADDING).sum(dim=1)  # (C,)
        kept = kept.gather(1, length[kept].argsort(dim=1, stable=True))  # (B, k), shortest first
        chunks = [
            self._score(seen, first, past, spelled[numbers])
            for numbers in kept.split(max(1, CHUNK // len(kept)), dim=1)
        ]
        score, total = (torch.cat(parts, dim=1) for parts in zip(*chunks, strict=True))  # (B, k)
        best = score.argsort(dim=1, descending=True, stable=True)[:, :top_k]  # (B, top_k)
        numbers, log_probs = kept.gather(1, best).tolist(), total.gather(1, best).tolist()
        return [
            [Answer(candidates[n], math.exp(p)) for n, p in zip(*row, strict=True)]
            for row in zip(numbers, log_probs, strict=True)
        ]

    def _score(
        self, seen: Seen, first: Tensor, past: list[Past], tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What candidates (B, k, T) are ranked by, and their log-probability, (B, k) each.

        The start was read already: `first` (B, V) are log-probabilities after it, `past` its own.
        """
        count = tokens.shape[1]
        tokens = tokens[:, :, : int((tokens != PADDING).sum(dim=2).max())]
        own = first.gather(1, tokens[:, :, 0])  # (B, k)
        smooth = first.mean(dim=1, keepdim=True).expand_as(own)  # (B, k)
        own, smooth, rest = own.flatten(), smooth.flatten(), tokens[:, :, 1:].flatten(0, 1)
        if rest.shape[1]:
            before = [tuple(p.repeat_interleave(count, dim=0) for p in pair) for pair in past]
            ids = tokens[:, :, :-1].flatten(0, 1).clamp(min=0)  # (B*k, T-1)
            states, _ = self.read(ids, seen, cast(list[Past], before))  # (B*k, T-1, D)
            real = rest != PADDING  # (B*k, T-1)
            log_probs = self.logits(states[real]).log_softmax(dim=1)  # (R, V)
            row = real.nonzero()[:, 0]  # (R,)
            own = own.index_add(0, row, log_probs.gather(1, rest[real][:, None])[:, 0])  # (B*k,)
            smooth = smooth.index_add(0, row, log_probs.mean(dim=1))  # (B*k,)
        score = (1 - self.label_smoothing) * own + self.label_smoothing * smooth  # (B*k,)
        return score.view(-1, count), own.view(-1, count)


def _flat(past: list[Past]) -> State:
    return tuple(part for pair in past for part in pair)

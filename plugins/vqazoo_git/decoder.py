"""GIT's decoder: one transformer over image, question and answer. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError, IncompatibleError, QuestionError
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.classes import ranked_texts
from vqazoo.toolkit.constraints import Rules
from vqazoo.toolkit.decoding import Spelling, State, Step, as_answers, write
from vqazoo.toolkit.layers import Past, TextLayer, causal, initialise
from vqazoo.toolkit.losses import SummedHead
from vqazoo.toolkit.rows import padded
from vqazoo_git.manifest import GIT_DECODER

PADDING = -1  # where a target has no token
CAP = 40  # tokens of a text, as published
BEAM = {name: GIT_DECODER.decode[name].default for name in ("beam_size", "length_penalty")}
RULES = frozenset(rule.name for rule in fields(Rules))
CHUNK = 1024  # tokens of candidates that are ranked at once, of all rows


class GITDecoder(SummedHead):
    """BERT layers over [image tokens | question | answer] that predict the answer's next token.

    Image tokens see one another, text sees the image and the text before it. The fused tokens are
    image tokens (the first `num_prefix`), then the embedded question, padded on the right; answer
    tokens are embedded by the text encoder's `text_embedding`, at the places after the row's own
    question. There is no token between them: what follows the question's last token is the answer.
    All tokens of the text encoder can be written; `end_id` ends an answer.

    Learning: label-smoothed cross-entropy, the mean over the answer tokens and end tokens of the
    batch. The question is read, not learnt.

    Deviations from the original: the smoothing of torch spreads over all V tokens, the true one
    included; beam search divides the log-probability by length ** length_penalty, as transformers
    does, not by ((5 + length) / 6) ** 0.6; and decoding is greedy unless asked otherwise, where the
    original takes 4 beams.

    Source: Wang et al. 2022, GIT, sections 3.1 to 3.3, and the authors' GenerativeImage2Text.
    """

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        layers: int,
        heads: int,
        hidden_dim: int,
        dropout: float,
        epsilon: float,
        label_smoothing: float,
        tied: bool,
        longest: int,
    ) -> None:
        super().__init__()
        words = cast(nn.Embedding, text_encoder.lend("token_embedding"))  # (V, D)
        dim = fused.dim
        if words.embedding_dim != dim:
            raise IncompatibleError(
                f"The head 'git-decoder' reads fused tokens of width {dim}, but the text encoder "
                f"embeds answers in width {words.embedding_dim}: choose a fusion of that width, "
                f"for instance 'git' with dim 0."
            )
        if dim % heads:
            good = dim // 64 if dim % 64 == 0 else math.gcd(dim, 4)
            raise ConfigError(
                f"The head 'git-decoder' has {heads} heads, but the width of the fused tokens, "
                f"{dim}, must be a multiple of them: try heads {good}."
            )
        # in a tuple, so not registered
        self._borrowed = (text_encoder, text_encoder.lend("text_embedding"), words)
        self.label_smoothing = label_smoothing
        spelled = self.spell(answers.texts)
        self.longest = longest or max(map(len, spelled), default=CAP)
        self.layers = nn.ModuleList(
            TextLayer(dim, heads, hidden_dim, 0, dropout, epsilon) for _ in range(layers)
        )
        if tied:
            self.bias = nn.Parameter(torch.zeros(words.num_embeddings))
        else:
            self.output = nn.Linear(dim, words.num_embeddings)
        self.tied = tied
        initialise(self)

    def spell(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, end included."""
        encoder = self._borrowed[0]
        return [[*ids, encoder.end_id] for ids in encoder.pieces(texts)] if texts else []

    # ---- learning ---------------------------------------------------------------------------

    def targets(self, examples: Sequence[Example]) -> Targets:
        """Gives `tokens` (n, T) int64: the answer to learn with its end, PADDING behind."""
        return {"tokens": padded(self.spell([example.target for example in examples]), PADDING)}

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        return {"answer": (targets["tokens"] != PADDING).sum(dim=1).float()}

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        tokens = targets["tokens"]  # (B, T)
        tokens = tokens[:, : int((tokens != PADDING).sum(dim=1).max())]  # the batch's own T
        logits = self.logits(self.answer_states(fused, tokens[:, :-1].clamp(min=0)))  # (B, T, V)
        real = tokens != PADDING  # (B, T)
        total = F.cross_entropy(
            logits[real], tokens[real], reduction="sum", label_smoothing=self.smoothing
        )
        return {"answer": total}

    def answer_states(self, fused: Features, answer: Tensor) -> Tensor:
        """States (B, T+1, D) that predict each token of an answer (B, T) and what follows it.

        The first is that of the question's last token, each other that of the token before.
        """
        assert fused.tokens is not None
        assert fused.mask is not None
        place = self._places(fused, answer.shape[1])  # (B,)
        x = torch.cat([fused.tokens, self.embed(answer, place)], dim=1)  # (B, S+T, D)
        real = torch.cat([fused.mask, torch.ones_like(answer, dtype=torch.bool)], dim=1)
        x, _ = self.read(x, seq2seq(real, fused.num_prefix))  # (B, S+T, D)
        return torch.cat([_last(x, fused)[:, None], x[:, fused.tokens.shape[1] :]], dim=1)

    # ---- the network ------------------------------------------------------------------------

    def embed(self, ids: Tensor, place: Tensor) -> Tensor:
        """Embeddings (B, T, D) of ids (B, T), the first of which stand at the places (B,)."""
        embedded: Tensor = self._borrowed[1](ids, place)
        return embedded

    def read(self, x: Tensor, mask: Tensor, past: Sequence[Past] = ()) -> tuple[Tensor, list[Past]]:
        """States (B, T, D) of x (B, T, D) and the past with them, (B, h, S, D/h) a layer."""
        kept = []
        for number, layer in enumerate(self.layers):
            x, now = layer(x, mask, past=past[number] if past else None)  # (B, T, D)
            kept.append(now)
        return x, kept

    def logits(self, states: Tensor) -> Tensor:
        """Scores (..., V) of the token after each state (..., D), in float32."""
        if self.tied:
            return F.linear(states, self._borrowed[2].weight, self.bias).float()  # (..., V)
        scores: Tensor = self.output(states)  # (..., V)
        return scores.float()

    def begin(self, fused: Features) -> tuple[Tensor, list[Past]]:
        """Log-probabilities (B, V) of an answer's first token, and the past of all fused tokens."""
        scores, past = self._first(fused)
        return scores.log_softmax(dim=1), past

    def _first(self, fused: Features) -> tuple[Tensor, list[Past]]:
        """Scores (B, V) of an answer's first token, and the past of all fused tokens."""
        assert fused.tokens is not None
        assert fused.mask is not None
        x, past = self.read(fused.tokens, seq2seq(fused.mask, fused.num_prefix))  # (B, S, D)
        return self.logits(_last(x, fused)), past

    def _places(self, fused: Features, room: int) -> Tensor:
        """Where each row's answer (B,) starts: behind its question's real tokens.

        Raises:
            QuestionError: the text encoder has no places for the question and `room` tokens more.
        """
        assert fused.mask is not None
        place = fused.mask[:, fused.num_prefix :].sum(dim=1)  # (B,)
        limit = cast(nn.Embedding, self._borrowed[1].positions).num_embeddings
        if int(place.max()) + room > limit:
            raise QuestionError(
                f"The question has {int(place.max())} tokens and its answer may take {room + 1}, "
                f"but the text encoder has {limit} places for both: ask a shorter question, or "
                f"build the text encoder with a longer context."
            )
        return place

    # ---- answering --------------------------------------------------------------------------

    def check_room(self, fused: Features, count: int) -> None:
        """Raises QuestionError: a question leaves no place for `count` tokens."""
        self._places(fused, count - 1)

    def begin_answer(self, fused: Features) -> tuple[Tensor, State, Step]:
        """See `Writes`; whether question and answer fit the places is not looked at."""
        assert fused.mask is not None
        place = fused.mask[:, fused.num_prefix :].sum(dim=1)  # (B,)
        first, past = self._first(fused)  # (B, V)
        return first, (place, fused.mask, *(part for pair in past for part in pair)), self._scores

    def spelling(self) -> Spelling:
        return Spelling(self._borrowed[0].end_id, self.longest)

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        """See Head.predict. Raises QuestionError: a question leaves no place for its answer."""
        encoder = self._borrowed[0]
        said, longest = self._said(fused, decode), decode.get("max_tokens") or self.longest
        if decode.get("max_length") and not decode.get("max_tokens"):
            longest = max(1, decode["max_length"] - min(map(len, said)))
        self._places(fused, longest - 1)
        first, state, step = self.begin_answer(fused)
        written = write(
            step,
            state,
            encoder.end_id,
            top_k,
            self.longest,
            first=first,
            said=said,
            **BEAM | decode,
        )
        return as_answers(written, encoder.decode)

    def _said(self, fused: Features, decode: Mapping[str, Any]) -> list[list[int]]:
        """The question's tokens of each row, where a decode option counts them; else nothing.

        Raises:
            IncompatibleError: they are needed, but not known.
        """
        taken = {name: value for name, value in decode.items() if name in RULES}
        if not Rules(**taken).counts_said:
            return []
        if fused.ids is None:
            raise IncompatibleError(
                "The features do not tell which tokens the question has, which "
                f"{', '.join(sorted(taken))} must know: encode the questions anew instead of "
                "reading them from a cache."
            )
        return [[token for token in row if token >= 0] for row in fused.ids.tolist()]

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Log-probabilities (B, V) after tokens (B,).

        The state is the place (B,) of the token, which of the S positions before it are real
        (B, S), and the keys and values of each layer in turn.
        """
        scores, state = self._scores(tokens, state)
        return scores.log_softmax(dim=1), state

    def _scores(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Scores (B, V) after tokens (B,); the state is that of `step`."""
        place, real, *parts = state
        past = list(zip(parts[::2], parts[1::2], strict=True))
        real = torch.cat([real, torch.ones_like(real[:, :1])], dim=1)  # (B, S+1)
        x = self.embed(tokens[:, None], place)  # (B, 1, D)
        x, now = self.read(x, real[:, None, None], past)  # (B, 1, D)
        kept = (part for pair in now for part in pair)
        return self.logits(x[:, 0]), (place + 1, real, *kept)

    def caption(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        """The answer to no question; see `Captions`."""
        return self.predict(fused, top_k, **decode)

    @torch.no_grad()
    def rank(
        self, fused: Features, candidates: Sequence[str], top_k: int = 1
    ) -> list[list[Answer]]:
        """The likeliest of given answers for each row, best first.

        Image and question are read once. Candidates stand side by side behind the question, where
        none sees another, so that the keys of image and question are not copied for each. Scores
        are not divided by length.

        Raises:
            ConfigError: there is no candidate.
            QuestionError: a question leaves no place for the longest one.
        """
        if not candidates:
            raise ConfigError("There are no answers to rank: give one or more.")
        spelled = self.spell(candidates)
        order = sorted(range(len(spelled)), key=lambda number: len(spelled[number]))
        place = self._places(fused, max(map(len, spelled)) - 1)  # (B,)
        first, past = self.begin(fused)  # (B, V)
        total = first.new_empty(len(first), len(candidates))  # (B, C)
        start = 0
        while start < len(order):  # short ones first, so that little is padding
            longest = len(spelled[order[start]])
            size = max(1, CHUNK // (longest * len(first)))
            numbers = order[start : start + size]
            tokens = padded([spelled[number] for number in numbers], PADDING).to(
                first.device
            )  # (c, T)
            total[:, numbers] = self._score(fused, first, past, place, tokens)
            start += size
        return ranked_texts(candidates.__getitem__, total, top_k, logarithms=True)

    def _score(
        self, fused: Features, first: Tensor, past: list[Past], place: Tensor, tokens: Tensor
    ) -> Tensor:
        """Log-probabilities (B, c) of candidates (c, T), padded with PADDING."""
        assert fused.mask is not None
        rows, (count, length) = len(first), tokens.shape
        total = first[:, tokens[:, 0]]  # (B, c)
        inner = length - 1  # tokens that predict another
        if not inner:
            return total
        ids = tokens[:, :-1].clamp(min=0).repeat(rows, 1)  # (B*c, T-1)
        x = self.embed(ids, place.repeat_interleave(count))  # (B*c, T-1, D)
        x = x.view(rows, count * inner, -1)  # (B, c*(T-1), D)
        own = torch.eye(count, dtype=torch.bool, device=ids.device)  # (c, c)
        before = own.kron(causal(inner, device=ids.device))  # (c*(T-1), c*(T-1))
        shape = (rows, count * inner, -1)
        mask = torch.cat([fused.mask[:, None].expand(shape), before.expand(shape)], dim=2)
        x, _ = self.read(x, mask[:, None], past)  # (B, c*(T-1), D)
        rest = tokens[:, 1:].flatten()  # (c*(T-1),)
        real = rest != PADDING  # (c*(T-1),)
        scores = self.logits(x[:, real])  # (B, R, V)
        chosen = scores.gather(2, rest[real].expand(rows, -1)[:, :, None])[:, :, 0]  # (B, R)
        chosen = chosen - scores.logsumexp(dim=2)
        row = real.nonzero()[:, 0] // inner  # (R,)
        return total.index_add(1, row, chosen)  # (B, c)


def seq2seq(real: Tensor, images: int) -> Tensor:
    """GIT's mask (B, 1, S, S): `images` tokens see one another, each later one also what is before.

    Args:
        real: (B, S) bool; what is not real is seen by none.
    """
    length = real.shape[1]
    seen = causal(length, device=real.device)  # (S, S)
    seen[:images, :images] = True
    return (seen & real[:, None])[:, None]  # (B, 1, S, S)


def _last(states: Tensor, fused: Features) -> Tensor:
    """States (B, D) of each row's last real fused token, out of (B, S or more, D)."""
    assert fused.mask is not None
    places = torch.arange(fused.mask.shape[1], device=states.device)  # (S,)
    last = (places * fused.mask).argmax(dim=1)  # (B,)
    return states[torch.arange(len(states), device=states.device), last]

"""The CLIP+LSTM head: an LSTM over answer tokens coloured by the context. Imports torch."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.decoding import START, Spelling, State, Step, as_answers, write
from vqazoo.toolkit.layers import to_width
from vqazoo.toolkit.losses import SummedHead
from vqazoo.toolkit.rows import padded

UNLEARNT = -1  # an output that the loss leaves out


class LSTMHead(SummedHead):
    """Predicts the next answer token from tokens multiplied elementwise by the fused vector.

    Tokens and their embeddings (V, E) are those of the text encoder, borrowed and never trained or
    stored here. The output layer scores the tokens that known answers use and the end token; with
    `full_vocabulary` every token of the encoder. A linear layer D -> E stands in front if the
    widths differ. The LSTM starts from zeros, so the context enters at the input only.

    With CLIP ViT-B/32, `concat` 512 wide and the full vocabulary, 27,972,352 parameters train, the
    published count. Deviations from the notebook: padding is masked by length, not by the id 0,
    which is a real token; answers are padded to the longest of their batch, not to 77; decoding is
    greedy unless asked otherwise, and steps the LSTM once a token; the text is decoded from the
    pieces, so a genuine "!" survives; the answer learnt is the most frequent one, without random
    ties; each embedding is scaled to a root mean square of 1, without which the LSTM starts almost
    linear and needs many epochs to leave that.

    Source: the CLIP+LSTM system (reshalfahsi/vqa-clip-lstm), notebook, model section.
    """

    token_ids: Tensor  # (V',) int64: the encoder's id of each output

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        hidden_dim: int,
        dropout: float,
        full_vocabulary: bool,
    ) -> None:
        super().__init__()
        embedding = cast(nn.Embedding, text_encoder.lend("token_embedding"))
        self._borrowed = (embedding, text_encoder)  # in a tuple, so not registered
        self._answers = answers.texts
        outputs: Sequence[int] = range(embedding.num_embeddings)
        if not full_vocabulary:
            outputs = sorted({text_encoder.end_id, *itertools.chain(*self._spelled)})
        self.register_buffer("token_ids", torch.tensor(list(outputs)))
        width = embedding.embedding_dim
        self.project = to_width(fused.dim, width)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width, hidden_dim, batch_first=True)
        self.output = nn.Linear(hidden_dim, len(self.token_ids))

    @functools.cached_property
    def _spelled(self) -> list[list[int]]:
        """The encoder's ids of each answer."""
        return self._borrowed[1].pieces(self._answers)

    @functools.cached_property
    def longest(self) -> int:
        """Tokens of the longest answer, with the end token; not counted before one is asked for."""
        return max(len(ids) for ids in self._spelled) + 1

    def targets(self, examples: Sequence[Example]) -> Targets:
        """Inputs (n, T), encoder ids, and outputs (n, T), output numbers or -1 where not learnt.

        A token that no known answer uses is not learnt, but still read.
        """
        _, encoder = self._borrowed
        rows = encoder.pieces([example.target for example in examples])
        number = {token: index for index, token in enumerate(self.token_ids.tolist())}
        learnt = [[number.get(token, UNLEARNT) for token in (*row, encoder.end_id)] for row in rows]
        return {
            "inputs": padded([[encoder.start_id, *row] for row in rows], encoder.end_id),
            "outputs": padded(learnt, UNLEARNT),
            "length": torch.tensor([len(row) + 1 for row in rows]),
        }

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        return {"answer": (targets["outputs"] != UNLEARNT).sum(dim=1).float()}  # known tokens

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        longest = int(targets["length"].max())  # the batch's own
        inputs, outputs = targets["inputs"][:, :longest], targets["outputs"][:, :longest]  # (B, T)
        logits = self.token_logits(self.context(fused), inputs)  # (B, T, V')
        known = outputs != UNLEARNT  # (B, T)
        return {"answer": F.cross_entropy(logits[known], outputs[known], reduction="sum")}

    def context(self, fused: Features) -> Tensor:
        """What every token embedding is multiplied by, (B, E)."""
        context: Tensor = self.project(fused.pooled)
        return context

    def embed(self, ids: Tensor) -> Tensor:
        """Borrowed embeddings (..., E) of ids (...), scaled to a root mean square of 1."""
        embedding, _ = self._borrowed
        return F.normalize(embedding(ids), dim=-1) * embedding.embedding_dim**0.5

    def token_logits(self, context: Tensor, ids: Tensor) -> Tensor:
        """Scores (B, T, V') of the next token after each of ids (B, T)."""
        x = self.embed(ids) * context[:, None]  # (B, T, E)
        x, _ = self.lstm(self.dropout(x))  # (B, T, hidden)
        scores: Tensor = self.output(self.dropout(x))  # (B, T, V')
        return scores

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One token further; state is context (B, E), hidden and cell (B, hidden)."""
        _, encoder = self._borrowed
        context, hidden, cell = state
        started = tokens != START
        ids = torch.where(started, self.token_ids[tokens.clamp(min=0)], encoder.start_id)  # (B,)
        x = (self.embed(ids) * context)[:, None]  # (B, 1, E)
        x, after = self.lstm(x, (hidden[None].contiguous(), cell[None].contiguous()))
        log_probs = self.output(x[:, 0]).log_softmax(dim=1)  # (B, V')
        # Reshaped: torch.export of torch 2.11 takes these (1, B, hidden) for (1, 1, B, hidden).
        return log_probs, (context, *(one.reshape(hidden.shape) for one in after))

    def begin_answer(self, fused: Features) -> tuple[Tensor, State, Step]:
        context = self.context(fused)  # (B, E)
        zeros = context.new_zeros(context.shape[0], self.lstm.hidden_size)  # (B, hidden)
        start = torch.full_like(context[:, 0], START, dtype=torch.long)  # (B,)
        return (*self.step(start, (context, zeros, zeros)), self.step)

    def spelling(self) -> Spelling:
        _, encoder = self._borrowed
        end = self.token_ids.tolist().index(encoder.end_id)
        return Spelling(end, self.longest, self.token_ids)

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        _, encoder = self._borrowed
        first, state, step = self.begin_answer(fused)
        ids = self.token_ids.tolist()
        end = ids.index(encoder.end_id)
        written = write(step, state, end, top_k, self.longest, first=first, **decode)
        return as_answers(written, lambda tokens: encoder.decode([ids[t] for t in tokens]))

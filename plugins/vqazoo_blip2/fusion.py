"""The Q-Former as fusion: what it reads in the picture, in front of the question. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqazoo.errors import QuestionError
from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import TOKENS
from vqazoo_blip2.qformer import QFormer

LONGEST = 512  # positions of text, as in BERT


class TextInput(nn.Module):
    """Text embeddings as the Q-Former reads them: projected, learnt positions added."""

    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(text_dim, dim)
        self.positions = nn.Embedding(LONGEST, dim)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        """Embeddings (B, T, C) -> (B, T, D).

        Raises:
            QuestionError: T is beyond the positions there are.
        """
        length = text.shape[1]
        if length > LONGEST:
            raise QuestionError(
                f"The question has {length} tokens, but the Q-Former reads at most {LONGEST}: ask "
                f"a shorter one, or set fusion.args.reads_question=false."
            )
        x = self.project(text.to(self.project.weight.dtype))  # (B, T, D)
        out: Tensor = x + self.positions.weight[:length]  # (B, T, D)
        return out


class QFormerFusion(Fusion):
    """Queries read the picture; projected, they stand as a soft prompt before the question.

    The fused tokens are [Q queries | L question tokens], as wide as the question's, so that a
    language model reads them as its own word embeddings; num_prefix is Q. With `reads_question`
    the queries also see the question, and it them, as when BLIP-2 is fine-tuned for VQA; without,
    they read the picture alone (pre-training and zero-shot).

    Deviations: the queries start from N(0, 0.02) as in the original code (transformers: zeros);
    with `reads_question` the question's own embeddings, projected, with learnt positions, stand
    for the embeddings of a second tokenizer.

    Source: Li et al. 2023, BLIP-2, sections 3.1 to 3.3 and 4.3; LAVIS (salesforce).
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        queries: int,
        layers: int,
        heads: int,
        dim: int,
        hidden_dim: int,
        cross_frequency: int,
        dropout: float,
        reads_question: bool,
    ) -> None:
        super().__init__()
        text_dim = width(text, TOKENS)
        self.qformer = QFormer(
            width(image, TOKENS),
            queries=queries,
            layers=layers,
            heads=heads,
            dim=dim,
            hidden_dim=hidden_dim,
            cross_frequency=cross_frequency,
            dropout=dropout,
        )
        self.project = nn.Linear(dim, text_dim)
        self.text_input = TextInput(text_dim, dim) if reads_question else None
        # none in the last layer, after which nobody reads the text
        self.text_parts = self.qformer.text_parts(layers - 1 if reads_question else 0)
        self.out = FusedSpec(TOKENS, text_dim)

    def forward(self, image: Features, text: Features) -> Features:
        """Raises QuestionError: with `reads_question`, a question has more than 512 tokens."""
        assert text.tokens is not None
        assert text.mask is not None
        asked = asked_mask = None
        if self.text_input is not None:
            asked, asked_mask = self.text_input(text.tokens), text.mask  # (B, L, D), (B, L)
        states = self.qformer(
            image.tokens, image.mask, asked, asked_mask, text_parts=tuple(self.text_parts)
        )  # (B, Q, D)
        prompt = self.project(states.to(self.project.weight.dtype))  # (B, Q, C)
        prompt = prompt.to(text.tokens)  # (B, Q, C)
        seen = text.mask.new_ones(prompt.shape[:2])  # (B, Q)
        tokens = torch.cat([prompt, text.tokens], dim=1)  # (B, Q+L, C)
        return Features(
            tokens=tokens,
            mask=torch.cat([seen, text.mask], dim=1),
            num_prefix=seen.shape[1],
            ids=text.ids,
        )

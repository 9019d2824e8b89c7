"""What the Q-Former learns in stage 1: contrast, matching, grounded generation. Imports torch.

Source: Li et al. 2023, BLIP-2, section 3.2; LAVIS (salesforce), blip2_qformer.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import ConfigError, did_you_mean
from vqazoo.interfaces import Encoder, Features, StartsReading
from vqazoo.manifests import fill_args
from vqazoo.toolkit.pairs import TEMPERATURES, caption_ids, draw_negatives, matching_loss, part_of
from vqazoo.toolkit.shares import ALONE, Share
from vqazoo_blip2.fusion import QFormerFusion
from vqazoo_blip2.manifest import OBJECTIVE_ARGS
from vqazoo_blip2.qformer import BIDIRECTIONAL, CAUSAL, EPSILON, SEPARATE

OBJECTIVES = ("itc", "itm", "itg")
WORD_STD = 0.02


class QFormerObjectives(nn.Module):
    """The three losses of stage 1 over one Q-Former, each with a mask of its own.

    Holds what stage 2 drops: both projections into the common space, the temperature, the
    matching layer, the word output, and the text's feed-forward halves that the fusion lacks.
    The fusion and the embeddings are borrowed, so their parameters are not among this module's.

    `itc`: a picture's similarity to a caption is the best of its queries'; the other pairs of the
    batch are negatives, and pairs with equal captions share the target. `itm`: is the pair a
    match, for B true pairs and up to 2B false ones. `itg`: the caption, word by word. A batch of
    one pair, which stops the original, works: its ITC loss is 0, and ITM sees no false pair.

    Deviations: equal captions are never negatives of each other; the text's embeddings may be
    another encoder's, projected; a text that is read begins with [ENC] instead of [CLS] where the
    encoder has one.
    """

    def __init__(
        self,
        fusion: QFormerFusion,
        text_embedding: nn.Module,
        codec: Encoder,
        args: Mapping[str, Any],
    ) -> None:
        """`codec` tokenises and lends `token_embedding`; `args` as in OBJECTIVE_ARGS, some or all.

        `text_embedding` maps ids (B, T) and first places (B,) to (B, T, C).

        Raises:
            ConfigError: an argument is not understood.
        """
        super().__init__()
        filled = fill_args("The stage-1 objectives of 'q-former'", OBJECTIVE_ARGS, args)
        words = cast(nn.Embedding, codec.lend("token_embedding"))
        self._borrowed = (fusion, text_embedding, codec, words)  # in a tuple, so not registered
        qformer, width = fusion.qformer, words.embedding_dim
        # BLIP's text encoders have one token to read a text with and one to write it
        apart: StartsReading | None = codec if isinstance(codec, StartsReading) else None
        self.read_id: int = codec.start_id if apart is None else apart.encode_id
        self.max_tokens: int = filled["max_tokens"]
        self.hard_negatives: bool = filled["hard_negatives"]
        self.smoothing: float = filled["label_smoothing"]
        self.text_input: nn.Module = nn.Identity()
        if fusion.text_input is None and width != qformer.dim:
            self.text_input = nn.Linear(width, qformer.dim)
        self.text_parts = qformer.text_parts(len(qformer.layers) - len(fusion.text_parts))
        self.image_projection = nn.Linear(qformer.dim, filled["dim"])
        self.text_projection = nn.Linear(qformer.dim, filled["dim"])
        self.temperature = nn.Parameter(torch.tensor(filled["temperature"]))
        self.match_output = nn.Linear(qformer.dim, 2)
        self.word_state = nn.Sequential(
            nn.Linear(qformer.dim, width), nn.GELU(), nn.LayerNorm(width, EPSILON)
        )
        self.word_weight = None
        if not filled["tied"]:
            self.word_weight = nn.Parameter(torch.randn(words.num_embeddings, width) * WORD_STD)
        self.word_bias = nn.Parameter(torch.zeros(words.num_embeddings))

    # ---- what the losses are made of ----------------------------------------------------------

    def ids(self, captions: Sequence[str], start: int) -> tuple[Tensor, Tensor]:
        """Ids (B, T) of [start, pieces, end] of captions and mask (B, T), on the Q-Former's device.

        A caption that is too long loses its end, but not the end token.
        """
        _, _, codec, _ = self._borrowed
        longest = min(self.max_tokens, codec.spec.context_length)
        ids, mask = caption_ids(codec, captions, start, longest)  # (B, T)
        return ids.to(self.temperature.device), mask.to(self.temperature.device)

    def states(
        self, image: Features | None, ids: Tensor | None, mask: Tensor | None, kind: str
    ) -> Tensor:
        """Last hidden states (B, Q+T, D) of pictures, captions or both under a mask."""
        fusion, text_embedding, _, _ = self._borrowed
        text = None
        if ids is not None:
            text = text_embedding(ids, ids.new_zeros(len(ids)))  # (B, T, C)
            read = self.text_input if fusion.text_input is None else fusion.text_input
            text = read(text)  # (B, T, D)
        states: Tensor = fusion.qformer(
            None if image is None else image.tokens,
            None if image is None else image.mask,
            text,
            mask,
            kind=kind,
            text_parts=[*fusion.text_parts, *self.text_parts],
        )
        return states

    def image_vectors(self, states: Tensor) -> Tensor:
        """Query states (B, Q, D) in the common space, of norm 1 (B, Q, E)."""
        return F.normalize(self.image_projection(states), dim=-1)

    def text_vectors(self, states: Tensor) -> Tensor:
        """Text states (B, T, D), of which the first counts, in the common space (B, E)."""
        return F.normalize(self.text_projection(states[:, 0]), dim=-1)

    def similarity(self, image: Features, captions: Sequence[str]) -> Tensor:
        """Cosine similarity (A, B) of A pictures and B captions: the best of each query's."""
        ids, mask = self.ids(captions, self.read_id)  # (B, T)
        images = self.image_vectors(self.states(image, None, None, SEPARATE))  # (A, Q, E)
        texts = self.text_vectors(self.states(None, ids, mask, SEPARATE))  # (B, E)
        return best_of_queries(images, texts)

    def match_logits(self, image: Features, ids: Tensor, mask: Tensor) -> Tensor:
        """Scores (B, 2) of no match and match, averaged over the queries."""
        states = self.states(image, ids, mask, BIDIRECTIONAL)  # (B, Q+T, D)
        count = states.shape[1] - ids.shape[1]
        logits: Tensor = self.match_output(states[:, :count]).mean(dim=1)  # (B, 2)
        return logits

    def match(self, image: Features, captions: Sequence[str]) -> Tensor:
        """Probability (B,) that picture and caption of each of B pairs match."""
        logits = self.match_logits(image, *self.ids(captions, self.read_id))  # (B, 2)
        return logits.softmax(dim=1)[:, 1]

    def word_logits(self, states: Tensor) -> Tensor:
        """Scores (..., V) of the next word from states (..., D)."""
        _, _, _, words = self._borrowed
        h = self.word_state(states)  # (..., C)
        weight = words.weight if self.word_weight is None else self.word_weight  # (V, C)
        return F.linear(h, weight, self.word_bias)  # (..., V)

    # ---- losses -------------------------------------------------------------------------------

    def losses(
        self,
        image: Features,
        captions: Sequence[str],
        names: Sequence[str],
        share: Share = ALONE,
    ) -> dict[str, Tensor]:
        """The named losses, scalars, of B pictures and their captions.

        Of several processes, each gets the whole batch, and its part of the losses.

        Args:
            image: tokens (B, N, C) of the pictures.
            names: out of `itc`, `itm`, `itg`.

        Raises:
            ConfigError: a name is none of these.
        """
        for name in names:
            if name not in OBJECTIVES:
                raise ConfigError(
                    f"The Q-Former has no objective '{name}'.{did_you_mean(name, OBJECTIVES)} "
                    f"It has {', '.join(OBJECTIVES)}."
                )
        ids, mask = self.ids(captions, self.read_id)  # (B, T)
        alike = same(captions).to(ids.device)  # (B, B)
        losses: dict[str, Tensor] = {}
        scaled = torch.zeros_like(alike, dtype=self.temperature.dtype)  # (B, B)
        if "itc" in names or ("itm" in names and self.hard_negatives):
            with torch.set_grad_enabled(torch.is_grad_enabled() and "itc" in names):
                to_texts, to_images = self._scaled(image, ids, mask, share)  # (b, B) each
            if "itc" in names:
                losses["itc"] = contrast(to_texts, alike, self.smoothing, to_images, share)
            scaled = share.gathered(to_texts.detach())  # (B, B)
        if "itm" in names:
            weights = scaled if self.hard_negatives else torch.zeros_like(scaled)
            losses["itm"] = self._matching(image, ids, mask, weights, alike, share)
        if "itg" in names:
            losses["itg"] = self._generation(image, captions, share)
        return {name: losses[name] for name in names}

    def _scaled(
        self, image: Features, ids: Tensor, mask: Tensor, share: Share
    ) -> tuple[Tensor, Tensor | None]:
        """Scaled similarities (b, B) of this share's pictures to all captions, and, where they are
        not these transposed, of its captions to all pictures."""
        image, ids, mask = part_of(image, ids, mask, share)
        states = self.states(image, ids, mask, SEPARATE)  # (b, Q+T, D)
        queries, tokens = states.split([states.shape[1] - ids.shape[1], ids.shape[1]], dim=1)
        images, texts = self.image_vectors(queries), self.text_vectors(tokens)
        to_texts = best_of_queries(images, share.gathered(texts)) / self.temperature  # (b, B)
        if share.alone:
            return to_texts, None
        to_images = best_of_queries(share.gathered(images), texts) / self.temperature  # (B, b)
        return to_texts, to_images.T

    def _matching(
        self,
        image: Features,
        ids: Tensor,
        mask: Tensor,
        similar: Tensor,
        alike: Tensor,
        share: Share,
    ) -> Tensor:
        """Cross-entropy over B true pairs, then a false caption and a false picture for each."""
        false_texts = negatives(similar, alike, share)  # (M,) each, M at most B
        columns, images = negatives(similar.T, alike, share)  # (M,) each
        false = false_texts, (images, columns)
        return matching_loss(self.match_logits, image, ids, mask, *false, share=share)

    def _generation(self, image: Features, captions: Sequence[str], share: Share) -> Tensor:
        """Cross-entropy of every word of the caption, the end included, after [DEC]."""
        _, _, codec, _ = self._borrowed
        ids, mask = self.ids(captions, codec.start_id)  # (B, T)
        count = int(mask[:, 1:].sum())
        image, ids, mask = part_of(image, ids, mask, share)
        states = self.states(image, ids, mask, CAUSAL)[:, -ids.shape[1] : -1]  # (b, T-1, D)
        known = mask[:, 1:]  # (b, T-1)
        logits, words = self.word_logits(states[known]), ids[:, 1:][known]
        return share.cross_entropy(logits, words, count, label_smoothing=self.smoothing)

    def counters(self) -> dict[str, int]:
        """Nothing is counted from step to step."""
        return {}

    def go_on(self, counters: Mapping[str, int]) -> None:
        """Set what `counters` gave: nothing."""

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the learnt temperature in its range; call it after every optimiser step."""
        self.temperature.clamp_(*TEMPERATURES)


def same(captions: Sequence[str]) -> Tensor:
    """Which captions are equal, (B, B) bool."""
    number = {caption: index for index, caption in enumerate(captions)}
    numbers = torch.tensor([number[caption] for caption in captions])  # (B,)
    return numbers[:, None] == numbers


def best_of_queries(images: Tensor, texts: Tensor) -> Tensor:
    """Query vectors (A, Q, E) against text vectors (B, E) -> (A, B), the highest of Q."""
    return torch.einsum("aqe,be->abq", images, texts).amax(dim=2)  # (A, B)


def contrast(
    scaled: Tensor,
    alike: Tensor,
    smoothing: float,
    back: Tensor | None = None,
    share: Share = ALONE,
) -> Tensor:
    """Mean cross-entropy of picture to caption and back; a share's part of it.

    The target is spread evenly over pairs with equal captions, alike (B, B).

    Args:
        scaled: similarities (b, B) of the share's pictures to all captions; back: of its captions
            to all pictures. Of one process (B, B), and one the other transposed.
    """
    targets = alike.to(scaled.dtype)  # (B, B)
    targets = targets / targets.sum(dim=1, keepdim=True)  # (B, B), symmetric
    own = targets[share.rows(len(alike))]  # (b, B)
    directions = [
        share.cross_entropy(similarity, own, len(alike), label_smoothing=smoothing)
        for similarity in (scaled, scaled.T if back is None else back)
    ]
    return (directions[0] + directions[1]) / 2


def negatives(similar: Tensor, alike: Tensor, share: Share = ALONE) -> tuple[Tensor, Tensor]:
    """Rows (M,) and a column (M,) for each that is no match, drawn by softmax of similarity.

    Args:
        similar: (B, B) scaled similarities; all equal: every other column is as likely.
        alike: (B, B), True where a column is no negative.
    """
    chances = similar.masked_fill(alike, -torch.inf).softmax(dim=1)  # (B, B)
    chances = chances.nan_to_num(1.0)  # nan: a divergence, which the loss tells
    return draw_negatives(chances, alike, share)

"""Which words and pairs of words a question has, beside another encoder's vector. Imports torch."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from vqazoo.errors import IncompatibleError
from vqazoo.interfaces import Encoder, EncoderSpec, Features, TextTowerSpec
from vqazoo.manifests import POOLED
from vqazoo.registry import parse_ref, registry

EXAMPLE = "ngrams:minilm"
PRIME = 2**31 - 1
FIRST, SECOND, ALONE = 1_640_531_527, 692_287_451, 1_013_904_223  # odd constants below PRIME


class NgramsEncoder(Encoder):
    """Another text encoder, whose pooled vector (B, D) is followed by marks (B, buckets).

    A mark is 1 where the question has a word piece, or two that follow each other, of that bucket,
    else 0; start and end count as pieces. So the first linear layer of a fusion learns a vector for
    each word and pair and adds them up. Nothing here learns: the marks are cached like any frozen
    features. A vector of norm 1 is multiplied by sqrt(D) first, as fusions do, so that its
    entries are of the size of the marks. Tokens are those of the other encoder.

    The bucket of pieces a, b is ((FIRST a + SECOND b) mod PRIME) mod buckets, that of a alone has
    ALONE in place of SECOND b. Different ones may share a bucket.

    Source: Weinberger et al. 2009, Feature Hashing, section 2, without the sign; word pairs in
    buckets: Joulin et al. 2017, Bag of Tricks for Efficient Text Classification, section 2.2; the
    hash: Carter & Wegman 1979, class H1.
    """

    def __init__(self, variant: str | None, towers: frozenset[str], *, buckets: int) -> None:
        super().__init__()
        assert variant is not None
        if "image" in towers:
            raise IncompatibleError(
                "The encoder 'ngrams' has no image tower: add one, for instance "
                "--image-encoder efficientnet-lite0."
            )
        self.inner = cast(
            Encoder,
            registry.build("encoder", variant, parse_ref(variant).variant, frozenset({"text"})),
        )
        text = self.inner.spec.text
        if text is None or text.pooled is None:
            raise IncompatibleError(
                f"'ngrams:{variant}' needs a text tower with a pooled vector, but the encoder "
                f"'{variant}' has none: write for instance {EXAMPLE}."
            )
        self.buckets = buckets
        self.scale = text.pooled**0.5 if text.normalized else 1.0
        self.files, self.codec = self.inner.files, self.inner.codec
        self.start_id, self.end_id = self.inner.start_id, self.inner.end_id
        self.spec = EncoderSpec(
            text=TextTowerSpec(
                text.pooled + buckets, text.tokens, context_length=self.inner.spec.context_length
            )
        )

    def load_pretrained(self) -> None:
        self.inner.load_pretrained()
        self.reference = self.inner.reference

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        features = self.inner.encode_text(ids, mask, wants)
        if POOLED not in wants:
            return features
        assert features.pooled is not None
        marked = marks(ids, mask, self.buckets).to(features.pooled)  # (B, buckets)
        pooled = torch.cat([features.pooled * self.scale, marked], dim=1)  # (B, D + buckets)
        return Features(pooled, features.tokens, features.mask, features.num_prefix)


def marks(ids: Tensor, mask: Tensor, buckets: int) -> Tensor:
    """Ids (B, L) and mask (B, L) to ones and zeros (B, buckets) float32: which buckets occur."""
    after, follows = F.pad(ids, (0, 1))[:, 1:], F.pad(mask, (0, 1))[:, 1:]  # (B, L), (B, L)
    alone = (FIRST * ids + ALONE) % PRIME % buckets  # (B, L)
    pairs = (FIRST * ids + SECOND * after) % PRIME % buckets  # (B, L)
    places = torch.cat([alone, pairs], dim=1)  # (B, 2L)
    real = torch.cat([mask, mask & follows], dim=1)  # (B, 2L)
    out = torch.zeros(ids.shape[0], buckets + 1, device=ids.device)  # the last one is for padding
    out = out.scatter(1, places.where(real, buckets), 1.0)  # (B, buckets + 1)
    return out[:, :buckets]

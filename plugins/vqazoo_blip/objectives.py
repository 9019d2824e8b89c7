"""What BLIP learns from captioned pictures: contrast, matching, captions. Imports torch.

Source: Li et al. 2022, BLIP, section 3.2; the authors' blip_pretrain.py.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import ConfigError
from vqazoo.interfaces import Encoder, Features, StartsReading
from vqazoo.manifests import fill_args
from vqazoo.toolkit.pairs import TEMPERATURES, caption_ids, draw_negatives, matching_loss, part_of
from vqazoo.toolkit.shares import ALONE, Share
from vqazoo_blip.manifest import OBJECTIVE_ARGS
from vqazoo_blip.tying import tie

OBJECTIVES = ITC, ITM, LM = ("itc", "itm", "lm")
NOBODY = -1  # key of queue places that were never filled
PADDING = -1  # where a caption has no token, as the decoder's targets have it
LEAST_CHANCE = 1e-4  # of a negative, before chances are made to sum to 1
PARTS = 4  # that a batch is read in, by length


class BLIPObjectives(nn.Module):
    """The three losses of BLIP over one set of text layers.

    The fusion's layers without the picture, behind [CLS], are the unimodal encoder (`itc`); with
    it, behind [ENC], the image-grounded encoder (`itm`). The decoder (`lm`) shares their
    cross-attention, feed-forward halves and embeddings, and keeps its own self-attention: it is
    tied here, and is to be a copy that is saved apart. Fusion, decoder and text encoder are
    borrowed; this module holds the projections, the temperature, the matching layer, and for `itc`
    the momentum copies and queues.

    A picture's vector comes from its first prefix token (a class token) if it has any, else from
    the mean of its tokens. Deviations: the image tower is frozen, so it is its own momentum copy;
    pairs with equal captions share the contrastive target and are never negatives of each other
    (with captions that all differ this is the paper's).
    """

    image_queue: Tensor  # (K, E)
    text_queue: Tensor  # (K, E)
    keys: Tensor  # (K,) int64: which caption

    def __init__(
        self,
        fusion: Any,
        decoder: Any,
        encoder: Encoder,
        image_dim: int,
        args: Mapping[str, Any],
        batch_size: int,
        ramp_steps: int,
    ) -> None:
        """Ties `decoder`, a `med-decoder` that reads image tokens, to `fusion`, a `med`.

        Args:
            image_dim: C of image tokens.
            args: as in OBJECTIVE_ARGS, some or all.
            batch_size: of training; it must divide the queue.
            ramp_steps: steps after which the soft targets have their whole share.

        Raises:
            ConfigError: an argument is not understood, the batch size does not divide the queue, or
                fusion and decoder differ in shape.
        """
        super().__init__()
        filled = fill_args("The objectives of 'blip'", OBJECTIVE_ARGS, args)
        self.alpha: float = filled["alpha"]
        self.momentum: float = filled["momentum"]
        self.hard_negatives: bool = filled["hard_negatives"]
        self.smoothing: float = filled["label_smoothing"]
        self.ramp_steps, self.steps = ramp_steps, 0
        if filled["queue"] % batch_size:
            near = max(1, round(filled["queue"] / batch_size)) * batch_size
            raise ConfigError(
                f"The queue takes {filled['queue']:,} pairs, but it must be a multiple of the "
                f"batch size {batch_size:,}: set objectives.args.queue={near}."
            )
        embedding = encoder.lend("text_embedding")
        tie(decoder, fusion, embedding)
        self._borrowed = (fusion, decoder, encoder)  # in a tuple, so not registered
        self.max_tokens = min(filled["max_tokens"], encoder.spec.context_length)
        self.class_id = int(encoder.tokenize(["a"])[0][0, 0])  # [CLS]
        apart: StartsReading | None = encoder if isinstance(encoder, StartsReading) else None
        self.encode_id = self.class_id if apart is None else apart.encode_id
        text_dim = fusion.out.dim
        self.image_projection = nn.Linear(image_dim, filled["dim"])
        self.text_projection = nn.Linear(text_dim, filled["dim"])
        self.temperature = nn.Parameter(torch.tensor(filled["temperature"]))
        self.match_output = nn.Linear(text_dim, 2)

        unimodal = nn.ModuleList([embedding, fusion.project, fusion.layers])
        self._online = (unimodal, self.text_projection, self.image_projection)
        self.slow = nn.ModuleList(copy.deepcopy(part) for part in self._online)
        self.slow.requires_grad_(False)
        for name, size in (("image_queue", filled["dim"]), ("text_queue", filled["dim"])):
            random = F.normalize(torch.randn(filled["queue"], size), dim=1)  # (K, E)
            self.register_buffer(name, random)
        self.register_buffer("keys", torch.full((filled["queue"],), NOBODY))
        self.place = 0  # in the queues
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []  # batches of this step

    def learnt(self) -> dict[str, Tensor]:
        """What is kept beside the checkpoint: projections, temperature, matching layer."""
        kept = ("image_projection", "text_projection", "temperature", "match_output")
        return {k: t for k, t in self.state_dict().items() if k.startswith(kept)}

    # ---- what the losses are made of --------------------------------------------------------

    def ids(self, captions: Sequence[str], start: int) -> tuple[Tensor, Tensor]:
        """Ids (B, T) of [start, pieces, end] of captions and mask (B, T), on this module's device.

        A caption that is too long loses its end, but not the end token.
        """
        _, _, encoder = self._borrowed
        ids, mask = caption_ids(encoder, captions, start, self.max_tokens)  # (B, T)
        return ids.to(self.temperature.device), mask.to(self.temperature.device)

    def image_vectors(self, image: Features, projection: nn.Module) -> Tensor:
        """Vectors (B, E) of norm 1 of pictures (B, N, C)."""
        assert image.tokens is not None
        assert image.mask is not None
        if image.num_prefix:
            x = image.tokens[:, 0]  # (B, C)
        else:
            real = image.mask[:, :, None].to(image.tokens)  # (B, N, 1)
            x = (image.tokens * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)  # (B, C)
        return F.normalize(projection(x), dim=-1)

    def text_vectors(
        self, ids: Tensor, mask: Tensor, unimodal: nn.ModuleList, projection: nn.Module
    ) -> Tensor:
        """Vectors (B, E) of norm 1 from the [CLS] states of ids (B, T)."""
        embedding, project, layers = unimodal

        def states(rows: Tensor, longest: int) -> Tensor:
            """States (b, D) of [CLS]."""
            kept = ids[rows, :longest]  # (b, T)
            x = project(embedding(kept, torch.zeros_like(kept[:, 0])))  # (b, T, D)
            for layer in cast(nn.ModuleList, layers):
                x, _ = layer(x, mask[rows, None, None, :longest])  # (b, T, D)
            return cast(Tensor, x[:, 0])

        return F.normalize(projection(by_length(mask, states)), dim=-1)

    def match_logits(self, image: Features, ids: Tensor, mask: Tensor) -> Tensor:
        """Scores (B, 2) of no match and match from the [ENC] states of ids (B, T)."""
        fusion, _, encoder = self._borrowed
        ids = torch.cat([torch.full_like(ids[:, :1], self.encode_id), ids[:, 1:]], dim=1)  # (B, T)

        def states(rows: Tensor, longest: int) -> Tensor:
            """States (b, D) of [ENC]."""
            kept = ids[rows, :longest]  # (b, T)
            tokens = encoder.lend("text_embedding")(kept, torch.zeros_like(kept[:, 0]))  # (b, T, C)
            text = Features(tokens=tokens, mask=mask[rows, :longest])
            return cast(Tensor, fusion(image.index(rows), text).tokens[:, 0])

        logits: Tensor = self.match_output(by_length(mask, states))  # (B, 2)
        return logits

    def similarity(self, image: Features, captions: Sequence[str]) -> Tensor:
        """Cosines (n, m) of n pictures and m captions."""
        unimodal, text_projection, image_projection = self._online
        texts = self.text_vectors(*self.ids(captions, self.class_id), unimodal, text_projection)
        return self.image_vectors(image, image_projection) @ texts.T  # (n, m)

    def match(self, image: Features, captions: Sequence[str]) -> Tensor:
        """Probability (B,) that picture and caption of each of B pairs match."""
        logits = self.match_logits(image, *self.ids(captions, self.encode_id))  # (B, 2)
        return logits.softmax(dim=1)[:, 1]

    # ---- losses -----------------------------------------------------------------------------

    def losses(
        self,
        image: Features,
        captions: Sequence[str],
        names: Sequence[str],
        share: Share = ALONE,
    ) -> dict[str, Tensor]:
        """The named losses, scalars, of B pictures (B, N, C) and their captions.

        Of several processes, each gets the whole batch, and its part of the losses.
        """
        losses: dict[str, Tensor] = {}
        ids, mask = self.ids(captions, self.class_id)  # (B, T)
        own = caption_keys(captions).to(ids.device)  # (B,)
        alike = own[:, None] == own  # (B, B)
        if ITC in names or (ITM in names and self.hard_negatives):
            with torch.set_grad_enabled(torch.is_grad_enabled() and ITC in names):
                losses[ITC], by_image, by_text = self._contrast(image, ids, mask, own, share)
        if ITM in names:
            if not self.hard_negatives:  # every other pair is as similar
                by_image = by_text = torch.zeros_like(alike, dtype=torch.float)  # (B, B)
            losses[ITM] = self._matching(image, ids, mask, by_image, by_text, alike, share)
        if LM in names:
            losses[LM] = self._caption(image, ids, mask, share)
        return {name: losses[name] for name in names}

    def _contrast(
        self, image: Features, ids: Tensor, mask: Tensor, own: Tensor, share: Share
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of this share's b rows, and scaled similarities (B, B) of pictures and captions.

        Each is compared with the slow vectors of the other side.
        """
        here = share.rows(len(own))
        image, ids, mask = part_of(image, ids, mask, share)
        unimodal, text_projection, image_projection = self._online
        slow_unimodal, slow_text, slow_image = self.slow
        images = self.image_vectors(image, image_projection)  # (b, E)
        texts = self.text_vectors(ids, mask, unimodal, text_projection)  # (b, E)
        with torch.no_grad():
            slow_images = self.image_vectors(image, slow_image)  # (b, E)
            slow_texts = self.text_vectors(
                ids, mask, cast(nn.ModuleList, slow_unimodal), slow_text
            )  # (b, E)
            new_images, new_texts = share.gathered(slow_images), share.gathered(slow_texts)
            all_images = torch.cat([new_images, self.image_queue])  # (B+K, E)
            all_texts = torch.cat([new_texts, self.text_queue])  # (B+K, E)
            same = (own[here, None] == torch.cat([own, self.keys])).float()  # (b, B+K)
            hard = same / same.sum(dim=1, keepdim=True)  # (b, B+K)
            soft_part = self.alpha * min(1.0, self.steps / max(1, self.ramp_steps))
            soft_texts = (slow_images @ all_texts.T / self.temperature).softmax(dim=1)  # (b, B+K)
            soft_images = (slow_texts @ all_images.T / self.temperature).softmax(dim=1)
        to_texts = images @ all_texts.T / self.temperature  # (b, B+K)
        to_images = texts @ all_images.T / self.temperature  # (b, B+K)
        parts = [
            share.cross_entropy(scores, soft_part * soft + (1 - soft_part) * hard, len(own))
            for scores, soft in ((to_texts, soft_texts), (to_images, soft_images))
        ]
        if self.training:
            self._pending.append((new_images, new_texts, own))
        by_image, by_text = (
            share.gathered(scores[:, : len(own)].detach()) for scores in (to_texts, to_images)
        )
        return (parts[0] + parts[1]) / 2, by_image, by_text

    def _matching(
        self,
        image: Features,
        ids: Tensor,
        mask: Tensor,
        by_image: Tensor,
        by_text: Tensor,
        alike: Tensor,
        share: Share,
    ) -> Tensor:
        """Cross-entropy over B true pairs, then a false picture and a false caption for each.

        by_image, by_text: scaled similarities (B, B) of pictures to captions, captions to pictures.
        """
        captions, images = negatives(by_text, alike, share)  # (M,) each, M at most B
        false = (images, captions), negatives(by_image, alike, share)  # (M,) each
        return matching_loss(self.match_logits, image, ids, mask, *false, share=share)

    def _caption(self, image: Features, ids: Tensor, mask: Tensor, share: Share) -> Tensor:
        """Label-smoothed cross-entropy of every token of the captions, the end included."""
        _, decoder, _ = self._borrowed
        count = mask[:, 1:].sum()
        image, ids, mask = part_of(image, ids, mask, share)
        tokens = ids[:, 1:].masked_fill(~mask[:, 1:], PADDING)  # (b, T-1)

        def summed(rows: Tensor, longest: int) -> Tensor:
            """Losses (b,), summed over tokens."""
            seen, kept = decoder.look(image.index(rows)), tokens[rows, : longest - 1]  # (b, T-1)
            return cast(Tensor, decoder.token_losses(seen, kept, self.smoothing).sum(dim=1))

        return by_length(mask, summed).sum() / count

    def counters(self) -> dict[str, int]:
        """Steps and the place in the queues, which resuming needs besides the tensors."""
        return {"steps": self.steps, "place": self.place}

    def go_on(self, counters: Mapping[str, int]) -> None:
        """Set what `counters` gave."""
        self.steps, self.place = counters["steps"], counters["place"]

    @torch.no_grad()
    def restart(self) -> None:
        """Let the slow copies equal what they follow, as at the start; after loading weights."""
        for slow, online in zip(self.slow, self._online, strict=True):
            slow.load_state_dict(online.state_dict())

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the slow copies, fill the queues, keep the temperature in its range."""
        for slow, online in zip(self.slow, self._online, strict=True):
            for old, new in zip(slow.parameters(), online.parameters(), strict=True):
                old.lerp_(new, 1 - self.momentum)
        for images, texts, own in self._pending if len(self.keys) else ():
            places = torch.arange(self.place, self.place + len(own)) % len(self.keys)  # (B,)
            self.image_queue[places] = images.to(self.image_queue)
            self.text_queue[places] = texts.to(self.text_queue)
            self.keys[places] = own
            self.place = (self.place + len(own)) % len(self.keys)
        self._pending.clear()
        self.temperature.clamp_(*TEMPERATURES)
        self.steps += 1


def caption_keys(captions: Sequence[str]) -> Tensor:
    """A number (B,) for each caption, equal for equal captions, never negative."""
    digests = [hashlib.blake2b(c.encode(), digest_size=8).digest() for c in captions]
    return torch.tensor([int.from_bytes(digest) >> 1 for digest in digests])


def negatives(similar: Tensor, alike: Tensor, share: Share = ALONE) -> tuple[Tensor, Tensor]:
    """Rows (M,) and a column (M,) for each that is no match, see `draw_negatives`.

    The chance is softmax + 1e-4, as in the authors' code.

    Args:
        similar: (B, B) scaled similarities; all equal: every other column is as likely.
        alike: (B, B), True where a column is no negative.
    """
    return draw_negatives(similar.softmax(dim=1).nan_to_num() + LEAST_CHANCE, alike, share)


def by_length(mask: Tensor, compute: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Results of `compute(rows, longest)` for rows (b,) of similar length, in the batch's order.

    Half of a batch of captions would else be padding. mask (B, T), True where a token is real.
    """
    lengths = mask.sum(dim=1)  # (B,)
    order = lengths.argsort()  # (B,)
    done = [compute(rows, int(lengths[rows[-1]])) for rows in order.chunk(PARTS)]
    return torch.cat(done)[order.argsort()]

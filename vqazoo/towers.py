"""The encoders of a model, and which of their parameters train. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from vqazoo.errors import ConfigError, did_you_mean
from vqazoo.faults import check_features
from vqazoo.interfaces import Encoder, Features, floating_dtype
from vqazoo.manifests import FORMER_SIDES
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels

EVERYTHING = "*"


class EncodingModel(nn.Module):
    """What of a model the encoders make: towers, frozen but for what is said to train.

    Attributes:
        towers: the encoders: one module `both`, or `image` and `text`.
        trainable: prefixes of tower parameters that train; empty: the encoders are frozen.
        altered: prefixes of frozen ones that are not as the encoder's reference has them, because
            the model started from another; a checkpoint holds them.
        wants_image, wants_text: kinds of features, out of `pooled` and `tokens`, that the
            fusion requires of each side.
    """

    def __init__(
        self, towers: nn.ModuleDict, wants_image: frozenset[str], wants_text: frozenset[str]
    ) -> None:
        super().__init__()
        self.towers = towers
        self.wants_image = wants_image
        self.wants_text = wants_text
        self.trainable: tuple[str, ...] = ()
        self.altered: tuple[str, ...] = ()
        self._training_towers: frozenset[str] = frozenset()

    @property
    def image_encoder(self) -> Encoder:
        return cast(Encoder, self.towers["both" if "both" in self.towers else "image"])

    @property
    def text_encoder(self) -> Encoder:
        return cast(Encoder, self.towers["both" if "both" in self.towers else "text"])

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def set_trainable(self, prefixes: Iterable[str]) -> None:
        """Let the tower parameters train whose names start with a prefix (`*`: all of them).

        Raises:
            ConfigError: a prefix fits no parameter of the towers.
        """
        self.trainable = tuple(prefixes)
        names = [name for name, _ in self.towers.named_parameters()]
        for prefix in self.trainable:
            if prefix != EVERYTHING and not any(name.startswith(prefix) for name in names):
                raise ConfigError(
                    f"No encoder parameter starts with {prefix!r}:"
                    f"{did_you_mean(prefix, names)} They look like {', '.join(names[:3])}."
                )
        for name, parameter in self.towers.named_parameters():
            # Quantised weights are integers, which have no gradient.
            parameter.requires_grad_(self.trains(name) and parameter.is_floating_point())
        self._training_towers = frozenset(n.partition(".")[0] for n in names if self.trains(n))
        self.train(self.training)

    def trains(self, name: str) -> bool:
        """Whether the tower tensor or module of that name trains."""
        return any(p == EVERYTHING or name.startswith(p) for p in self.trainable)

    def holds(self, name: str) -> bool:
        """Whether a checkpoint holds the tower tensor of that name, since no reference does."""
        return self.trains(name) or name.startswith(self.altered)

    def holds_tower(self, side: str) -> bool:
        """Whether any tensor of the tower of a side, `image` or `text`, is held.

        So is that of a tower which a loop of the user's own trains, whose parameters require a
        gradient.
        """
        changed = {name.partition(".")[0] for name in self.altered}
        towers = _keys(side)
        learning = (
            p for name, tower in self.towers.items() if name in towers for p in tower.parameters()
        )
        return (
            self.trains_tower(side)
            or bool(changed & towers)
            or any(p.requires_grad for p in learning)
        )

    def trains_tower(self, side: str) -> bool:
        """Whether parameters of the tower of a side, `image` or `text`, train."""
        return bool(self._training_towers & _keys(side))

    def train(self, mode: bool = True) -> Self:
        """Training mode for what trains; frozen encoder modules stay in eval mode."""
        super().train(mode)
        for name, module in self.towers.named_modules():
            if mode and not self.trains(name):
                module.training = False
        return self

    # ---- features --------------------------------------------------------------------------

    def encode_image(self, pixels: Tensor) -> Features:
        """Image features of (B, 3, H, W) pixels, of the kinds the fusion wants.

        Pixels of any precision are computed with in the image tower's.
        """
        pixels = pixels.to(self.device, floating_dtype(self.image_encoder))
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_tower("image")):
            features = self.image_encoder.encode_image(pixels, self.wants_image)
        image = self.image_encoder.spec.image
        assert image is not None
        check_features(
            self.image_encoder, "encode_image", features, self.wants_image, image, len(pixels)
        )
        return features

    def encode_text(self, texts: Sequence[str]) -> Features:
        """Text features of B questions, of the kinds the fusion wants."""
        ids, mask = self.text_encoder.tokenize(texts)  # (B, L) each
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_tower("text")):
            features = self.text_encoder.encode_text(
                ids.to(self.device), mask.to(self.device), self.wants_text
            )
        text = self.text_encoder.spec.text
        assert text is not None
        check_features(self.text_encoder, "encode_text", features, self.wants_text, text, len(ids))
        return replace(features, ids=ids.masked_fill(~mask, -1).to(self.device))

    def encode_question(self, questions: Sequence[str]) -> Features:
        """The former name of `encode_text`."""
        return self.encode_text(questions)

    def transform(self, source: Any) -> Tensor:
        """Pixels (3, H, W) of a picture, as the image encoder wants them."""
        return pixels(open_image(source), self.image_encoder.spec.preprocess)


def _keys(side: str) -> set[str]:
    """Keys in `towers` under which the tower of a side, also by its former name, may stand."""
    return {"both", FORMER_SIDES.get(side, side)}

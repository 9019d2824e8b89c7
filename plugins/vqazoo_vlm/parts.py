"""A published vision-language model as the three parts that a `VQAModel` has. Imports torch.

The model reads picture and question together, through its own processor. So the encoder hands both
on as they are, the fusion puts them side by side, and the head asks the model.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vqazoo.data import Example
from vqazoo.errors import ConfigError
from vqazoo.interfaces import (
    Answer,
    Encoder,
    EncoderSpec,
    Features,
    FusedSpec,
    Fusion,
    Head,
    ImageTowerSpec,
    Preprocess,
    Targets,
    TextTowerSpec,
)
from vqazoo.toolkit.classes import ranked_texts
from vqazoo.toolkit.rows import ids_and_mask
from vqazoo_vlm.manifest import PROMPT, SHORT, WRITER
from vqazoo_vlm.prompting import Prompting
from vqazoo_vlm.writing import Said, check_room, generated, likelihoods

TOGETHER = 8  # questions that the model is asked at once
LONGEST = 64  # tokens of an answer at most, where the repository does not say
BEGIN = 256  # in front of a question's bytes
LONGEST_TEXT = 1 << 20  # bytes of a question: what the model itself reads is checked by the head
WHOLE = Preprocess(size=(224, 224), mean=(0, 0, 0), std=(1, 1, 1), mode="whole", scale=1.0)


class Bytes:
    """Texts as their UTF-8 bytes, so that the words of a question reach the head unchanged."""

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool; BEGIN comes first."""
        return ids_and_mask([[BEGIN, *ids] for ids in self.pieces(texts)], 0)

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")


_KNOWN: WeakSet[VLMEncoder] = WeakSet()


def _after_fork() -> None:
    """A thread that held the lock of a model is not in the child."""
    for encoder in list(_KNOWN):
        encoder.asking = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class VLMEncoder(Encoder):
    """Holds the model; its features are the picture and the question themselves.

    Tokens have width 1 and are float32, in which they are exact. Those of a picture are its height,
    its width, and one number (R * 256 + G) * 256 + B for each pixel, row by row; those of a
    question are its bytes, as -1 - byte, behind -1 - BEGIN.
    """

    keeps_pictures = True

    def __init__(self, model: nn.Module, prompting: Prompting) -> None:
        super().__init__()
        self.model: Any = model
        self.prompting = prompting
        self.asking = threading.Lock()  # some models note on themselves where a prompt ended
        _KNOWN.add(self)
        self.codec = Bytes()
        self.start_id = self.end_id = BEGIN
        self.spec = EncoderSpec(
            ImageTowerSpec(None, 1, preprocess=WHOLE),
            TextTowerSpec(None, 1, context_length=LONGEST_TEXT),
        )

    def load_pretrained(self) -> None:
        """Nothing: the model was loaded before."""

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        count, _, height, width = pixels.shape
        red, green, blue = pixels.float().round().unbind(1)  # (B, H, W) each
        packed = ((red * 256 + green) * 256 + blue).flatten(1)  # (B, H*W)
        size = torch.tensor([height, width], device=pixels.device).expand(count, 2)
        tokens = torch.cat([size.float(), packed], 1)[:, :, None]  # (B, 2+H*W, 1)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Features(tokens=tokens, mask=mask, num_prefix=2)

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        return Features(tokens=-1.0 - ids[:, :, None].float(), mask=mask)


class SideBySide(Fusion):
    """The question's tokens, then those of the picture."""

    manifest = PROMPT

    def __init__(self) -> None:
        super().__init__()
        self.out = FusedSpec("tokens", 1)

    def forward(self, image: Features, text: Features) -> Features:
        assert image.tokens is not None
        assert image.mask is not None
        assert text.tokens is not None
        assert text.mask is not None
        tokens = torch.cat([text.tokens.float(), image.tokens.float()], 1)
        return Features(tokens=tokens, mask=torch.cat([text.mask, image.mask], 1))


def read_row(tokens: Tensor, mask: Tensor) -> tuple[Image.Image, str]:
    """The picture and the question of one row of fused tokens (N, 1), mask (N,)."""
    values = tokens[mask, 0].double().cpu()
    ids = (-1 - values[values < 0]).long().tolist()
    height, width, *_ = (seen := values[values >= 0].long()).tolist()
    packed = seen[2:].reshape(height, width).numpy()
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=2).astype(np.uint8)
    return Image.fromarray(colours), Bytes().decode([i for i in ids if i != BEGIN])


class VLMHead(Head):
    """A published vision-language model writes the answer, or says how likely given ones are.

    Scores are products of the probabilities of an answer's tokens and of its end. Answers are those
    of transformers' `generate` with the repository's generation config, without drawing.

    Attributes:
        instruction: what a prompt says behind the question where candidates are ranked; where
            answers are written, the decode option of that name.
    """

    manifest = WRITER

    def __init__(self, encoder: VLMEncoder) -> None:
        super().__init__()
        self._borrowed = (encoder,)  # in a tuple, so not registered
        self.instruction = SHORT

    def targets(self, examples: Sequence[Example]) -> Targets:
        raise ConfigError(NOT_TRAINED)

    def loss(self, fused: Features, targets: Targets) -> tuple[Tensor, dict[str, float]]:
        raise ConfigError(NOT_TRAINED)

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        (encoder,) = self._borrowed
        instruction = decode.get("instruction", self.instruction)
        asked: dict[str, Any] = {"max_new_tokens": decode.get("max_tokens") or self.longest()}
        strategy = decode.get("strategy", "published")
        if strategy == "beam" or top_k > 1:
            asked["num_beams"] = max(decode.get("beam_size", 4), top_k)
        elif strategy == "greedy":
            asked["num_beams"] = 1
        answers: list[list[Answer]] = []
        rows = self._rows(fused)
        for start in range(0, len(rows), TOGETHER):
            part = rows[start : start + TOGETHER]
            with encoder.asking:
                inputs = self._inputs(part, instruction)
                check_room(encoder.model, inputs, asked["max_new_tokens"])
                answers += [
                    self._said(row) for row in generated(encoder.model, inputs, top_k, **asked)
                ]
        return answers

    def rank(
        self, fused: Features, candidates: Sequence[str], top_k: int = 1
    ) -> list[list[Answer]]:
        """The likeliest candidates of each of B rows, by their tokens after the prompt."""
        (encoder,) = self._borrowed
        spelled = [self.spelled(text) for text in candidates]
        table = []
        for row in self._rows(fused):
            with encoder.asking:
                inputs = self._inputs([row], self.instruction)
                check_room(encoder.model, inputs, 1 + max(map(len, spelled)))
                table.append(likelihoods(encoder.model, inputs, spelled))
        return ranked_texts(candidates.__getitem__, torch.tensor(table), top_k, logarithms=True)

    def spelled(self, text: str) -> list[int]:
        """The tokens of an answer as the model writes it behind its prompt, without the end."""
        (encoder,) = self._borrowed
        tokenizer, model = encoder.prompting.tokenizer, encoder.model
        if model.config.is_encoder_decoder:
            ids = tokenizer(text)["input_ids"]
            return list(ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] else ids)
        ending = encoder.prompting.ending(self.instruction)
        blank = "" if ending[-1:].isspace() or ending.endswith(">") else " "
        before = tokenizer(ending, add_special_tokens=False)["input_ids"]
        whole = tokenizer(ending + blank + text, add_special_tokens=False)["input_ids"]
        if whole[: len(before)] == before:
            return list(whole[len(before) :])
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def longest(self) -> int:
        """Tokens of an answer, as the repository says, at most LONGEST."""
        (encoder,) = self._borrowed
        said = encoder.model.generation_config.max_new_tokens
        return min(int(said), LONGEST) if said else LONGEST

    def _rows(self, fused: Features) -> list[tuple[Image.Image, str]]:
        assert fused.tokens is not None
        assert fused.mask is not None
        return [read_row(*row) for row in zip(fused.tokens, fused.mask, strict=True)]

    def _inputs(self, rows: Sequence[tuple[Image.Image, str]], instruction: str) -> dict[str, Any]:
        (encoder,) = self._borrowed
        pictures, questions = [row[0] for row in rows], [row[1] for row in rows]
        made = encoder.prompting.inputs(pictures, questions, instruction)
        dtype, device = encoder.model.dtype, encoder.model.device
        return {
            name: values.to(device, dtype if values.is_floating_point() else values.dtype)
            for name, values in made.items()
        }

    def _said(self, row: Sequence[Said]) -> list[Answer]:
        """Answers of one row; of several spellings of one text the likeliest is kept."""
        (encoder,) = self._borrowed
        best: dict[str, Answer] = {}
        for said in row:
            text = encoder.prompting.tokenizer.decode(said.tokens, skip_special_tokens=True).strip()
            best.setdefault(text, Answer(text, math.exp(said.log_probability)))
        return list(best.values())


NOT_TRAINED = (
    "A published vision-language model answers as it is and is not trained here: train a model of "
    "your own (vqazoo train), and compare both with 'vqazoo compare --cost'."
)

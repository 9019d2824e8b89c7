"""The contracts between parts: encoder -> fusion -> head -> answer. Imports torch.

Letters in shapes: B batch, N image tokens, L question tokens, T answer tokens, K answer classes,
V answer-token vocabulary, D feature width, H and W pixels.
"""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vqazoo.errors import IncompatibleError
from vqazoo.manifests import POOLED, TOKENS

if TYPE_CHECKING:
    from vqazoo.data import Example
    from vqazoo.toolkit.decoding import Spelling, State, Step

Targets = dict[str, Tensor]  # what a head learns from; every tensor has B rows
# Tokenizers keep the truncation of the last call, so that of two threads one would get the other's.
_TOKENIZING = threading.RLock()


@dataclass(frozen=True)
class Features:
    """What a tower or a fusion produces for B rows.

    Attributes:
        pooled: (B, D) float, one vector a row; None if not offered.
        tokens: (B, N, D) float, a sequence; spatial maps are flattened row by row; None if not
            offered. Prefix tokens such as a class token come first.
        mask: (B, N) bool, True where a token is real; required with `tokens`.
        num_prefix: how many of the N tokens are prefix tokens (of each frame, in videos).
        frames: of videos: the tokens are those of this many frames, one frame after the other; the
            largest number where rows differ; 0: pictures.
        frame_counts: (B,) int64, where rows may differ: the frames of each, whose real tokens come
            first; 0: a picture. None: every row has `frames`.
        ids: (B, L) int64, what was asked, token by token, -1 behind the end; the core sets them, a
            fusion may pass them on, and a head that must not repeat words looks at them. None: not
            known, as of features from a cache.
    """

    pooled: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    num_prefix: int = 0
    frames: int = 0
    frame_counts: Tensor | None = None
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        if self.pooled is None and self.tokens is None:
            raise ValueError("Features need pooled or tokens, but both are None.")
        if self.pooled is not None and self.pooled.dim() != 2:
            raise ValueError(f"pooled must be (B, D), but its shape is {tuple(self.pooled.shape)}.")
        if self.tokens is None:
            return
        if self.tokens.dim() != 3:
            raise ValueError(
                f"tokens must be (B, N, D), but their shape is {tuple(self.tokens.shape)}."
            )
        if self.mask is None or self.mask.shape != self.tokens.shape[:2]:
            found = None if self.mask is None else tuple(self.mask.shape)
            raise ValueError(f"mask must be {tuple(self.tokens.shape[:2])}, but it is {found}.")
        if self.mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool, but its dtype is {self.mask.dtype}.")
        if self.pooled is not None and len(self.pooled) != len(self.tokens):
            raise ValueError(f"pooled has {len(self.pooled)} rows, tokens {len(self.tokens)}.")

    def __len__(self) -> int:
        """B, the number of rows."""
        first = self.pooled if self.pooled is not None else self.tokens
        assert first is not None
        return len(first)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are there, by field name."""
        named = {
            "pooled": self.pooled,
            "tokens": self.tokens,
            "mask": self.mask,
            "frame_counts": self.frame_counts,
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def index(self, rows: Tensor | slice) -> Features:
        """The given rows, in the given order; a row may occur more than once."""
        return self._mapped(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> Features:
        return self._mapped(lambda tensor: tensor.to(device))

    def detach(self) -> Features:
        return self._mapped(Tensor.detach)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Features:
        kept = {name: change(tensor) for name, tensor in self.tensors().items()}
        ids = None if self.ids is None else change(self.ids)
        frames = most_frames(kept["frame_counts"]) if "frame_counts" in kept else self.frames
        return Features(**kept, num_prefix=self.num_prefix, frames=frames, ids=ids)


def most_frames(counts: Tensor) -> int:
    """The largest of the numbers of frames (B,); 0 if there is none."""
    return int(counts.max()) if len(counts) else 0


@dataclass(frozen=True)
class Preprocess:
    """How pixels are made from a picture; enough to rebuild the transform without the encoder.

    Attributes:
        size: (H, W) in pixels of what the tower sees; mode `fit`: of the largest landscape picture.
        mean, std: per RGB channel, applied to values in [0, 1].
        interpolation: `bicubic`, `bilinear`, `nearest`, `lanczos`, `box` or `hamming`, of Pillow.
        mode: `crop` resizes the shorter side to `resize`, or less, so that the longer one is at
            most `longest` where that is above 0, or the picture so that it just covers a `resize`
            of two sides (H, W); then crops the centre;
            `squash` resizes to `size`, ignoring the aspect, or to a `resize` of two sides (H, W)
            and crops the centre;
            `centre` crops the centre of the picture as it is;
            `pad` resizes the longer side to `size`, or to a `resize` of two sides and crops the
            centre; then pads with `fill`;
            `fit` keeps each picture's own aspect: its shorter side becomes `resize`, or less, so
            that the longer one is at most `longest`; then both are rounded down to `multiple`.
        resize: pixels of the shorter side (modes `crop` and `fit`); 0 in mode `crop`: min(size).
        fill: value in [0, 255] of padded pixels, or one for each channel.
        longest, multiple: pixels, modes `fit` and (the former) `crop`.
        margins: who halves the odd margin of a crop: `torchvision` rounds half to even, and pads
            less in front; `transformers` rounds down, and pads more in front.
        scale: of values in [0, 255], before mean and std.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    mode: str = "crop"
    resize: int | tuple[int, int] = 0
    fill: int | tuple[int, int, int] = 0
    longest: int = 0
    multiple: int = 1
    margins: str = "torchvision"
    scale: float = 1 / 255

    def to_json(self) -> dict[str, Any]:
        saved = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        later = ["margins", "scale"] + (["longest", "multiple"] if self.mode != "fit" else [])
        defaults = {field.name: field.default for field in fields(self)}
        for name in later:  # where they say nothing, a checkpoint looks as before
            if getattr(self, name) == defaults[name]:
                del saved[name]
        return saved

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Preprocess:
        names = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in saved.items() if k in names
        }
        return cls(**kept)


@dataclass(frozen=True)
class TowerSpec:
    """Widths a tower offers: D of `pooled` and of `tokens` (None: not offered)."""

    pooled: int | None
    tokens: int | None
    normalized: bool = False  # whether pooled vectors have L2 norm 1


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is, known before any weight is loaded.

    Attributes:
        image, question: widths of each tower; None: the tower is absent.
        preprocess: for the image tower.
        context_length: longest question in tokens, special tokens included.
    """

    image: TowerSpec | None = None
    question: TowerSpec | None = None
    preprocess: Preprocess | None = None
    context_length: int | None = None


@dataclass(frozen=True)
class WeightsReference:
    """Where an encoder's pretrained weights come from, so that they need not be copied.

    Attributes:
        kind: `hub` (a Hugging Face repo), `file` (a local file or folder), `package` (a file in an
            installed Python package) or `url`.
        source: repo, path, package or URL.
        file: file name inside the source; empty when the source is the file.
        revision: 40-digit commit for `hub`, version for `package`, empty otherwise.
        sha256: of the weights file.
        license: SPDX identifier where known, else empty.
    """

    kind: str
    source: str
    file: str = ""
    revision: str = ""
    sha256: str = ""
    license: str = ""

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.kind}:{self.source}{at}{' ' + self.file if self.file else ''}"


@dataclass(frozen=True)
class FileReference:
    """A small file that an encoder reads beside its weights: a config, a vocabulary, a tokenizer.

    Attributes:
        kind, source, file, revision: as in `WeightsReference`; `file` is the path inside `source`.
        sha256: of the file.
    """

    kind: str
    source: str
    file: str
    revision: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.file} of {self.kind}:{self.source}{at}"


class TextCodec(Protocol):
    """Texts to ids and back; see the methods of the same names of `Encoder`."""

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]: ...

    def pieces(self, texts: Sequence[str]) -> list[list[int]]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class LanguageModel(Protocol):
    """What a text encoder lends as `language_model`: the whole model behind its word embeddings.

    Attributes:
        kind: `encoder` (BERT family), `decoder` (GPT-2 family) or `encoder-decoder` (T5 family).
        dim: D of word embeddings and states.
        vocab_size: V.
        context_length: longest sequence in tokens, prefix included; None: no limit.
    """

    kind: str
    dim: int
    vocab_size: int
    context_length: int | None

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings (B, T, D) of ids (B, T), without positions, which reading adds."""
        ...

    def states(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states (B, L, D) of embeddings (B, L, D), mask (B, L); kinds but decoders."""
        ...

    def logits(self, embedded: Tensor, mask: Tensor, answer: Tensor) -> Tensor:
        """Scores (B, T, V) of each token of answers (B, T) after a prompt; decoders and T5.

        The score at place t was computed without answer[:, t:].
        """
        ...

    def start(self, embedded: Tensor, mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Log-probabilities (B, V) of the first token after a prompt, and the state for `step`."""
        ...

    def step(self, tokens: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Log-probabilities (B, V) after tokens (B,), and the next state; tensors have B rows."""
        ...


class Encoder(nn.Module, ABC):
    """Turns pixels and question ids into features. Holds an image tower, a text tower, or both.

    A subclass is built as `Cls(variant, towers, **args)`: `variant` is what followed the colon in
    its name (None if nothing did), `towers` the subset of {"image", "question"} to build, `args`
    the manifest's arguments, all given. It sets `spec` and leaves weights random;
    `load_pretrained` then loads them once, unless a checkpoint provides them. `files` names what it
    read besides (`vqazoo.toolkit.read_files.read_files` makes the list): a checkpoint records them,
    and is refused when one of them has changed.
    """

    spec: EncoderSpec
    reference: WeightsReference | None = None  # set by load_pretrained
    files: tuple[FileReference, ...] = ()  # read besides; see vqazoo.toolkit.read_files
    codec: TextCodec | None = None  # text towers: what tokenize, pieces and decode call
    start_id: int  # text towers: the token that starts a text, and
    end_id: int  # the one that ends it; heads that write token by token use both

    @abstractmethod
    def load_pretrained(self) -> None:
        """Load the weights that the name asks for and set `reference`; do nothing for random ones.

        Raises:
            WeightsError: the weights cannot be found, read, or do not fit.
        """

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        """Encode pictures.

        Args:
            pixels: (B, 3, H, W) float, as made by `Preprocess`.
            wants: the kinds to compute, out of `pooled` (B, D) and `tokens` (B, N, D).
        """
        raise IncompatibleError(f"{type(self).__name__} has no image tower.")

    def encode_question(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        """Encode questions.

        Args:
            ids: (B, L) int64, as made by `tokenize`.
            mask: (B, L) bool, True where a token is real.
            wants: the kinds to compute, out of `pooled` (B, D) and `tokens` (B, L, D).
        """
        raise IncompatibleError(f"{type(self).__name__} has no text tower.")

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool, padded on the right to the longest of the batch.

        Start and end tokens are included; longer texts lose their end but keep the end token. This,
        `pieces` and `decode` call the codec from one thread at a time.
        """
        with _TOKENIZING:
            return self._text_codec().tokenize(texts)

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text without special tokens and without truncation."""
        with _TOKENIZING:
            return self._text_codec().pieces(texts)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids without special tokens; the inverse of `pieces`."""
        with _TOKENIZING:
            return self._text_codec().decode(ids)

    def _text_codec(self) -> TextCodec:
        if self.codec is None:
            raise IncompatibleError(f"{type(self).__name__} has no text tower.")
        return self.codec

    def lend(self, name: str) -> nn.Module:
        """A submodule that a head may use without owning it.

        `token_embedding` is an nn.Embedding; `text_embedding` maps ids (B, T) and the place (B,)
        of their first token to (B, T, D), positions added, and its `positions`, an nn.Embedding,
        tells how many places there are; `language_model` is a LanguageModel.

        Raises:
            IncompatibleError: the encoder has no such module to lend.
        """
        raise IncompatibleError(f"{type(self).__name__} lends no '{name}'.")

    def blocks(self, side: str) -> list[list[str]]:
        """The blocks of a tower, in the order in which features pass through them: of each, the
        prefixes of its parameters' names. The last one's are also those of what follows it, such as
        a final norm. `training.unfreeze_blocks` lets the last ones train.

        This default takes the outermost list of modules that encoding this side reads, and the
        other side does not; an encoder that it cannot read says its blocks itself.

        Args:
            side: `image` or `text`.

        Raises:
            ConfigError: the tower has no blocks that could train one by one.
        """
        from vqazoo.blocks import find_blocks

        return find_blocks(self, side)


@dataclass(frozen=True)
class FusedSpec:
    """What a fusion hands to the head: `pooled` or `tokens`, of width D."""

    kind: str
    dim: int


class Fusion(nn.Module, ABC):
    """Joins image and question features.

    A subclass is built as `Cls(image: TowerSpec, question: TowerSpec, **args)`, so that no width
    is typed by hand, and sets `out: FusedSpec`.

    Attributes:
        frames: how many frames of a video it reads; 0: it takes no videos.
    """

    out: FusedSpec
    frames: int = 0

    @abstractmethod
    def forward(self, image: Features, question: Features) -> Features:
        """Fused features of B rows, of the kind and width that `out` says."""


@runtime_checkable
class AttendsToImage(Protocol):
    """What a fusion may offer besides: where it looks. `vqazoo.explain` draws it."""

    def attention(self, image: Features, question: Features) -> Tensor:
        """Weights (B, N) over the image tokens, 0 or more, that sum to 1 in each row."""
        ...


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text: the answer.
        score: probability in [0, 1] that the head gives it; for generated answers the product of
            the token probabilities, end token included. Where a head scores answers one by one
            (`independent_scores` in its manifest), those of alternatives may sum to more than 1.
        answer_type: such as `colour` or `number`, from heads that predict it.
        answerable: probability that the picture can answer the question, from heads that have it.
        alternatives: with `top_k` > 1, the next best answers, best first.
    """

    text: str
    score: float
    answer_type: str | None = None
    answerable: float | None = None
    alternatives: tuple[Answer, ...] = ()

    def __str__(self) -> str:
        return self.text


class Head(nn.Module, ABC):
    """Turns fused features into answers; owns targets, loss, padding and decoding.

    A subclass is built as `Cls(fused: FusedSpec, answers: AnswerList, text_encoder: Encoder,
    **args)`. What it borrows from `text_encoder` it must not register as a submodule, so that a
    checkpoint stores no copy.
    """

    @abstractmethod
    def targets(self, examples: Sequence[Example]) -> Targets:
        """What `loss` needs for these examples: tensors with one row an example."""

    @abstractmethod
    def loss(self, fused: Features, targets: Targets) -> tuple[Tensor, dict[str, float]]:
        """Scalar to minimise, and its named parts for the log."""

    @abstractmethod
    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        """The `top_k` best answers of each of B rows, best first.

        `decode` holds the manifest's decode options; a row's answers do not depend on the others.
        """


# ---- what a head may offer besides ----------------------------------------------------------


@runtime_checkable
class GivesLogits(Protocol):
    """A head that chooses (`answer_mode="classify"`) and shows the scores that it chooses by.

    `vqazoo export` needs it, of any head of that mode. Softmax of the logits, or where the manifest
    says `independent_scores` the sigmoid of each, gives the scores that `predict` gives.
    """

    def logits(self, fused: Features) -> Tensor:
        """Scores (B, K) of the answers, in the order of the answer list the head was built with."""
        ...


@runtime_checkable
class GivesTypes(Protocol):
    """A head that chooses and also tells the type of an answer (`Answer.answer_type`)."""

    def type_names(self) -> Sequence[str]:
        """The types, as `Answer.answer_type` has them."""
        ...

    def type_logits(self, fused: Features) -> Tensor:
        """Scores (B, number of types), before the softmax."""
        ...


@runtime_checkable
class GivesAnswerability(Protocol):
    """A head that chooses and also tells whether the picture suffices (`Answer.answerable`)."""

    def answerable_logits(self, fused: Features) -> Tensor:
        """Scores (B,), before the sigmoid."""
        ...


@runtime_checkable
class Writes(Protocol):
    """A head that writes (`answer_mode="generate"`) and shows how it goes on token by token.

    `vqazoo export` needs it, of any head of that mode, and unrolls it greedily.
    """

    def begin_answer(self, fused: Features) -> tuple[Tensor, State, Step]:
        """Scores (B, V) of the first token, the state, and the step that goes on from both.

        Scores are logits or log-probabilities. State and step are those of
        `vqazoo.toolkit.decoding.write`; the step runs in no loop of Python that depends on
        values of tensors.
        """
        ...

    def spelling(self) -> Spelling:
        """What the V output numbers mean, which of them ends an answer, and how long one may be."""
        ...


@dataclass(frozen=True)
class LoadOptions:
    """How a family's published checkpoint is put into memory; see `vqazoo.load`.

    Attributes:
        dtype: `float32`, `float16` or `bfloat16`.
        device_map: as accelerate takes it, such as `auto`; None: one device.
        quantize: of the language model: `8bit`, `4bit`, or empty.
    """

    dtype: str = "float32"
    device_map: str | Mapping[str, Any] | None = None
    quantize: str = ""


def floating_dtype(module: nn.Module) -> torch.dtype:
    """Of what a module computes with: its first floating parameter's; float32 if it has none."""
    found = (tensor.dtype for tensor in module.parameters() if tensor.is_floating_point())
    return next(found, torch.float32)


def dtype_name(dtype: torch.dtype) -> str:
    """Such as `float16`, without torch's name in front."""
    return str(dtype).removeprefix("torch.")


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over names, shapes and dtypes of all tensors: tells architectures apart."""
    described = "\n".join(
        f"{name} {tuple(tensor.shape)} {tensor.dtype}"
        for name, tensor in sorted(module.state_dict().items())
    )
    return hashlib.sha256(described.encode()).hexdigest()


def width(spec: TowerSpec, kind: str) -> int:
    """D of `pooled` or `tokens` of a tower that must offer it; for fusion constructors."""
    offered = {POOLED: spec.pooled, TOKENS: spec.tokens}[kind]
    if offered is None:
        raise IncompatibleError(f"The tower offers no {kind} features.")
    return offered

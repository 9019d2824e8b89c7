"""VQAModel: image and question -> encoder -> fusion -> head -> answer. Imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from vqazoo.answers import AnswerList
from vqazoo.compatibility import check_compatible
from vqazoo.config import Block, ModelConfig, fill_block, parse
from vqazoo.data import check_question
from vqazoo.errors import (
    ConfigError,
    ImageError,
    IncompatibleError,
    QuestionError,
    did_you_mean,
)
from vqazoo.images import open_image, pixels
from vqazoo.interfaces import Answer, Encoder, Features, Fusion, Head, TowerSpec
from vqazoo.manifests import FusionManifest, HeadManifest, fill_args
from vqazoo.registry import registry

BATCH = 64  # rows encoded at once by `answer`
EVERYTHING = "*"

BlockLike = str | Mapping[str, Any] | Block


class VQAModel(nn.Module):
    """A model for visual question answering, made of an encoder, a fusion and a head.

    Build one with `create`, `vqazoo.load` or `vqazoo.train`.

    Attributes:
        config: the four parts, filled.
        answers: the answers known from training.
        towers: the encoders: one module `both`, or `image` and `text`.
        fusion, head: the trained parts.
        trainable: prefixes of tower parameters that train; empty: the encoders are frozen.
    """

    def __init__(
        self, config: ModelConfig, towers: nn.ModuleDict, fusion: Fusion, head: Head,
        answers: AnswerList,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self.answers = answers
        self.towers = towers
        self.fusion = fusion
        self.head = head
        requires = cast(FusionManifest, registry.manifest("fusion", config.fusion.type)).requires
        self.wants_image = _kinds(requires, "image")
        self.wants_question = _kinds(requires, "question")
        self.trainable: tuple[str, ...] = ()
        self.set_trainable(())

    # ---- parts ------------------------------------------------------------------------------

    @property
    def image_encoder(self) -> Encoder:
        return cast(Encoder, self.towers["both" if "both" in self.towers else "image"])

    @property
    def text_encoder(self) -> Encoder:
        return cast(Encoder, self.towers["both" if "both" in self.towers else "text"])

    @property
    def blocks(self) -> tuple[Block, Block]:
        """Config of the image and of the text encoder."""
        return self.config.image_encoder, self.config.text_encoder

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
            parameter.requires_grad_(self.trains(name))
        self.train(self.training)

    def trains(self, name: str) -> bool:
        """Whether the tower tensor or module of that name trains."""
        return any(p == EVERYTHING or name.startswith(p) for p in self.trainable)

    def train(self, mode: bool = True) -> VQAModel:
        """Training mode for what trains; frozen encoder modules stay in eval mode."""
        super().train(mode)
        for name, module in self.towers.named_modules():
            if mode and not self.trains(name):
                module.training = False
        return self

    # ---- forward ----------------------------------------------------------------------------

    def encode_image(self, pixels: Tensor) -> Features:
        """Image features of (B, 3, H, W) pixels, of the kinds the fusion wants."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and bool(self.trainable)):
            return self.image_encoder.encode_image(pixels.to(self.device), self.wants_image)

    def encode_question(self, questions: Sequence[str]) -> Features:
        """Question features of B questions, of the kinds the fusion wants."""
        ids, mask = self.text_encoder.tokenize(questions)  # (B, L) each
        with torch.set_grad_enabled(torch.is_grad_enabled() and bool(self.trainable)):
            return self.text_encoder.encode_question(
                ids.to(self.device), mask.to(self.device), self.wants_question
            )

    def forward(self, pixels: Tensor, questions: Sequence[str]) -> Features:
        """Fused features of B pictures (B, 3, H, W) and B questions."""
        return cast(
            Features, self.fusion(self.encode_image(pixels), self.encode_question(questions))
        )

    def transform(self, source: Any) -> Tensor:
        """Pixels (3, H, W) of a picture, as the image encoder wants them."""
        preprocess = self.image_encoder.spec.preprocess
        assert preprocess is not None
        return pixels(open_image(source), preprocess)

    # ---- answering --------------------------------------------------------------------------

    @overload
    def answer(self, image: Any, question: str, top_k: int = 1, **decode: Any) -> Answer: ...

    @overload
    def answer(
        self, image: Any, question: Sequence[str], top_k: int = 1, **decode: Any
    ) -> list[Answer]: ...

    def answer(
        self, image: Any, question: str | Sequence[str], top_k: int = 1, **decode: Any
    ) -> Answer | list[Answer]:
        """Answer a question about a picture.

        Args:
            image: path, PIL image, array (H, W, 3) or tensor (3, H, W); or a list of them, or an
                array or tensor with one dimension more, as long as the list of questions.
            question: one question, or a list; a list with one image asks them all about it, and
                the image is encoded once.
            top_k: how many answers to return; the others are in `Answer.alternatives`.
            decode: options of the head, see `vqazoo info`.

        Returns:
            One Answer for one question, a list for a list.

        Raises:
            ImageError, QuestionError: the picture or the question cannot be used.
            ConfigError: an option or `top_k` is not understood.
        """
        if not isinstance(question, (str, list, tuple)):
            raise QuestionError(f"The question is {question!r}, but text or a list was expected.")
        questions = [question] if isinstance(question, str) else list(question)
        many = _is_many(image)
        images = list(image) if many else [image]
        if isinstance(question, str) and len(images) != 1:
            questions = questions * len(images)
        if many and len(images) != len(questions):
            raise ConfigError(
                f"There are {len(images)} images but {len(questions)} questions: give one image "
                f"for all questions, or one for each."
            )
        if top_k < 1:
            raise ConfigError(f"top_k is {top_k}, but it must be 1 or more.")
        options = self._decode_options(decode)
        questions = [self._checked_question(text) for text in questions]
        was_training = self.training
        if was_training:
            self.eval()
        try:
            with torch.inference_mode():
                answers = self._answer(images, questions, top_k, options)
        finally:
            if was_training:
                self.train()
        single = isinstance(question, str) and not many
        return answers[0] if single else answers

    def _answer(
        self, images: list[Any], questions: list[str], top_k: int, options: dict[str, Any]
    ) -> list[Answer]:
        answers: list[Answer] = []
        shared = self.encode_image(self.transform(images[0])[None]) if len(images) == 1 else None
        for start in range(0, len(questions), BATCH):
            asked = questions[start : start + BATCH]
            if shared is not None:
                image = shared.index(torch.zeros(len(asked), dtype=torch.long))
            else:
                batch = [self.transform(one) for one in images[start : start + BATCH]]
                image = self.encode_image(torch.stack(batch))  # (B, 3, H, W) -> features
            fused = self.fusion(image, self.encode_question(asked))
            for ranked in self.head.predict(fused, top_k, **options):
                answers.append(replace(ranked[0], alternatives=tuple(ranked[1:])))
        return answers

    def _decode_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Only the options that were given, checked against the head's manifest."""
        head = self.config.head.type
        manifest = cast(HeadManifest, registry.manifest("head", head))
        filled = fill_args(f"Answering with the head '{head}'", manifest.decode, given)
        return {name: filled[name] for name in given}

    def _checked_question(self, question: Any) -> str:
        if not isinstance(question, str):
            raise QuestionError(f"The question is {question!r}, but text was expected.")
        checked = check_question(question)
        longest = self.text_encoder.spec.context_length
        if longest is not None:
            (ids,) = self.text_encoder.pieces([checked])
            if len(ids) + 2 > longest:
                warnings.warn(
                    f"The question has {len(ids)} tokens, but the text encoder reads at most "
                    f"{longest}: the end is ignored.",
                    stacklevel=4,
                )
        return checked


# ---- building -------------------------------------------------------------------------------


def create(
    *,
    head: BlockLike,
    answers: Iterable[str],
    encoder: BlockLike | None = None,
    image_encoder: BlockLike | None = None,
    text_encoder: BlockLike | None = None,
    fusion: BlockLike | None = None,
    pretrained: bool = True,
) -> VQAModel:
    """Build an untrained model from names of parts, ready to train or inspect.

    Args:
        head: name, or a table {"type": ..., "args": {...}}; the same holds for the other parts.
        answers: the answers the model shall know.
        encoder: both towers; `image_encoder` and `text_encoder` replace one.
        fusion: the head's default if None.
        pretrained: whether to load the encoder weights that the names ask for.

    Raises:
        UnknownNameError, ConfigError, IncompatibleError, WeightsError: see the message.
    """
    image, text = image_encoder or encoder, text_encoder or encoder
    if image is None or text is None:
        missing = "image_encoder" if image is None else "text_encoder"
        raise ConfigError(f"No {missing} is named: give encoder= for both towers, or {missing}=.")
    head_block = fill_block("head", _block(head, "head"))
    if fusion is None:
        manifest = cast(HeadManifest, registry.manifest("head", head_block.type))
        fusion = Block(manifest.default_fusion, dict(manifest.default_fusion_args))
    config = ModelConfig(
        fill_block("encoder", _block(image, "image_encoder")),
        fill_block("encoder", _block(text, "text_encoder")),
        fill_block("fusion", _block(fusion, "fusion")),
        head_block,
    )
    return build_model(config, AnswerList.from_texts(answers), pretrained)


def build_model(config: ModelConfig, answers: AnswerList, pretrained: bool = True) -> VQAModel:
    """Build a model from a filled config: first what manifests tell, then widths, then weights.

    Raises:
        IncompatibleError: parts do not fit; WeightsError: encoder weights cannot be loaded.
    """
    check_compatible(
        config.image_encoder.type, config.text_encoder.type, config.fusion.type, config.head.type
    )
    towers = build_towers(config)
    model = assemble(config, towers, answers)
    if pretrained:
        for encoder in towers.values():
            cast(Encoder, encoder).load_pretrained()
    return model


def assemble(config: ModelConfig, towers: nn.ModuleDict, answers: AnswerList) -> VQAModel:
    """A model of these encoders, with a fusion and head of random weights, in eval mode.

    Raises:
        IncompatibleError: parts do not fit.
    """
    image = cast(Encoder, towers["both" if "both" in towers else "image"])
    text = cast(Encoder, towers["both" if "both" in towers else "text"])
    fusion_manifest = cast(FusionManifest, registry.manifest("fusion", config.fusion.type))
    image_spec = _check_tower(config.image_encoder, "image", image.spec.image, fusion_manifest)
    question_spec = _check_tower(
        config.text_encoder, "question", text.spec.question, fusion_manifest
    )
    fusion: Fusion = registry.build(
        "fusion", config.fusion.type, image_spec, question_spec, **config.fusion.args
    )
    head: Head = registry.build(
        "head", config.head.type, fusion.out, answers, text, **config.head.args
    )
    return VQAModel(config, towers, fusion, head, answers).eval()


def build_towers(config: ModelConfig) -> nn.ModuleDict:
    """The encoders with random weights: `both`, or `image` and `text`."""
    if config.image_encoder == config.text_encoder:
        return nn.ModuleDict({"both": _build_encoder(config.image_encoder, {"image", "question"})})
    return nn.ModuleDict(
        {
            "image": _build_encoder(config.image_encoder, {"image"}),
            "text": _build_encoder(config.text_encoder, {"question"}),
        }
    )


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is cuda if there is one, else cpu.

    Raises:
        ConfigError: torch knows no such device, or it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"The device '{name}' cannot be used ({reason}): try cpu.") from error


def _build_encoder(block: Block, towers: set[str]) -> Encoder:
    variant = block.type.partition(":")[2] or None
    return cast(
        Encoder, registry.build("encoder", block.type, variant, frozenset(towers), **block.args)
    )


def _block(given: BlockLike, where: str) -> Block:
    if isinstance(given, Block):
        return given
    return parse(Block, {"type": given} if isinstance(given, str) else given, where)


def _check_tower(
    block: Block, side: str, spec: TowerSpec | None, fusion: FusionManifest
) -> TowerSpec:
    """The spec of a tower that offers what the fusion requires, or IncompatibleError."""
    tower = "image" if side == "image" else "text"
    if spec is None:
        raise IncompatibleError(
            f"The encoder '{block.type}' has no {tower} tower: name another one with "
            f"--{tower}-encoder."
        )
    offered = {
        kind for kind, dim in (("pooled", spec.pooled), ("tokens", spec.tokens)) if dim is not None
    }
    missing = _kinds(fusion.requires, side) - offered
    if missing:
        raise IncompatibleError(
            f"The fusion requires {side}.{sorted(missing)[0]}, but the {tower} tower of "
            f"'{block.type}' offers only {', '.join(sorted(offered))}: choose another fusion "
            f"('vqazoo list fusions --compatible-with encoder={block.type}') or encoder."
        )
    return spec


def _kinds(requires: frozenset[str], side: str) -> frozenset[str]:
    return frozenset(kind.split(".")[1] for kind in requires if kind.startswith(f"{side}."))


def _is_many(image: Any) -> bool:
    if isinstance(image, (list, tuple)):
        if not image:
            raise ImageError("The list of images is empty: give at least one.")
        return True
    return getattr(image, "ndim", 0) == 4

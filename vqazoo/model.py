"""VQAModel: image and question -> encoder -> fusion -> head -> answer. Imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import torch
from torch import Tensor, nn

from vqazoo.config import Block, ModelConfig
from vqazoo.data import check_question
from vqazoo.data.answers import AnswerList
from vqazoo.data.asking import pair
from vqazoo.errors import ConfigError, QuestionError
from vqazoo.features.encoding import as_video, encode_pictures, need_frames
from vqazoo.interfaces import Answer, Captions, Features, Fusion, Head, RanksAnswers
from vqazoo.manifests import FusionManifest, HeadManifest
from vqazoo.media.video import Video, is_video, watch
from vqazoo.modes import evaluating
from vqazoo.quality import Quality, judge
from vqazoo.registry import registry
from vqazoo.toolkit.decode_options import choose
from vqazoo.towers import EncodingModel

if TYPE_CHECKING:
    from vqazoo.evaluation.tables import Predictions

BATCH = 64  # rows encoded at once by `answer`
OBJECT = "object:"  # before the class of a part that was given as an object and has no name


class VQAModel(EncodingModel):
    """A model for visual question answering, made of an encoder, a fusion and a head.

    Make one with `vqazoo.create`, `vqazoo.load` or `vqazoo.train`.

    Attributes:
        config: the four parts, filled.
        answers: the answers known from training.
        fusion, head: the trained parts; fusion_manifest, head_manifest: what they declare.
        towers, trainable, altered: the encoders, see `vqazoo.towers.EncodingModel`.
    """

    def __init__(
        self,
        config: ModelConfig,
        towers: nn.ModuleDict,
        fusion: Fusion,
        head: Head,
        answers: AnswerList,
        fusion_manifest: FusionManifest | None = None,
        head_manifest: HeadManifest | None = None,
    ) -> None:
        """The manifests are those of the parts' names, unless others are given."""
        fusion_declares = fusion_manifest or registry.manifest("fusion", config.fusion.type)
        requires = fusion_declares.requires
        super().__init__(towers, kinds(requires, "image"), kinds(requires, "text"))
        self.fusion_manifest = fusion_declares
        self.head_manifest = head_manifest or registry.manifest("head", config.head.type)
        self.config = config
        self.answers = answers
        self.fusion = fusion
        self.head = head
        self.set_trainable(())

    # ---- parts ------------------------------------------------------------------------------

    @property
    def blocks(self) -> tuple[Block, Block]:
        """Config of the image and of the text encoder."""
        return self.config.image_encoder, self.config.text_encoder

    @property
    def frames(self) -> int:
        """How many frames of a video it reads; 0: it reads pictures only."""
        return self.fusion.frames

    def save(self, folder: str | Path) -> None:
        """Write a complete checkpoint folder, which `vqazoo.load("dir:FOLDER")` reads.

        An older checkpoint there is replaced as a whole. Frozen encoders are referenced, not
        copied; tower parameters that train, or that require a gradient, are held.

        Raises:
            CheckpointError: the folder cannot be written, or weights are quantised.
        """
        from vqazoo.conveniences import save_model

        save_model(self, Path(folder).expanduser())

    # ---- forward ----------------------------------------------------------------------------

    def forward(self, pixels: Tensor, questions: Sequence[str]) -> Features:
        """Fused features of B pictures (B, 3, H, W) and B questions."""
        return cast(Features, self.fusion(self.encode_image(pixels), self.encode_text(questions)))

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
        """Answer a question about a picture or a video.

        Args:
            image: path, PIL image, array (H, W, 3) or tensor (3, H, W); or a list of them, or an
                array or tensor with one dimension more, as long as the list of questions. A video
                is a path such as clip.mp4, or a `vqazoo.Video` of frames.
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
        asked = pair(image, question)
        _check_top_k(top_k)
        options = self.decode_options(decode, top_k)
        if any(asked.questions):
            self.check_reads_questions()
        questions = [self._checked_question(text) for text in asked.questions]
        with self._answering():
            answers = [
                _first(ranked)
                for fused in self._fused(asked.pictures, questions)
                for ranked in self.head.predict(fused, top_k, **options)
            ]
        return answers[0] if asked.single else answers

    def rank(
        self, image: Any, question: str | Sequence[str], candidates: Sequence[str], top_k: int = 1
    ) -> Answer | list[Answer]:
        """Choose among given answers, likeliest first; the picture is encoded once.

        Args:
            image, question, top_k: as for `answer`.
            candidates: the answers to choose from.

        Raises:
            ConfigError: the head does not rank, or there are no candidates.
        """
        asked = pair(image, question)
        _check_top_k(top_k)
        rank = self.ranks(candidates)
        if any(asked.questions):
            self.check_reads_questions()
        questions = [self._checked_question(text) for text in asked.questions]
        with self._answering():
            answers = [
                _first(ranked)
                for fused in self._fused(asked.pictures, questions)
                for ranked in rank(fused, top_k)
            ]
        return answers[0] if asked.single else answers

    def caption(self, image: Any, top_k: int = 1, **decode: Any) -> Answer | list[Answer]:
        """Describe a picture or a video: the answer to an empty question.

        Args:
            image: as for `answer`; a list gives a list of captions.

        Raises:
            ConfigError: the head writes no captions.
        """
        describe = self._captioner()
        if describe is None:
            raise ConfigError(
                f"The head '{self.config.head.type}' writes no captions: load a model with a head "
                f"that does, see 'vqazoo info'."
            )
        asked = pair(image, "")
        _check_top_k(top_k)
        options = self.decode_options(decode, top_k)
        with self._answering():
            captions = [
                _first(ranked)
                for fused in self._fused(asked.pictures, asked.questions)
                for ranked in describe(fused, top_k, **options)
            ]
        return captions[0] if asked.single else captions

    def predict(self, data: Any, batch_size: int = BATCH, **decode: Any) -> Predictions:
        """Answer every row of a table.

        Args:
            data: rows with `image` and `question`, and if the answers are known `answer` or
                `answers` and `question_id`: a list of dicts, a pandas DataFrame, a
                `datasets.Dataset`; or a split that a dataset reader of vqazoo read.
            batch_size: rows at once.
            decode: options of the head, see `vqazoo info`.

        Returns:
            A table of answers: a sequence of dicts, with `to_pandas`, `to_datasets`, `to_csv`,
            `accuracy`.

        Raises:
            DataError: the table cannot be used.
            ImageError, QuestionError, ConfigError: as for `answer`.
        """
        from vqazoo.conveniences import predict_rows

        return predict_rows(self, data, batch_size, decode)

    def quality(self, image: Any) -> Quality | list[Quality]:
        """Flaws of a picture and what to do about them; of a list of pictures, a list.

        Raises:
            ConfigError: the model was not trained on flaws of pictures.
        """
        return judge(self, image)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Eval mode and no gradients; the mode of before comes back."""
        with evaluating(self), torch.inference_mode():
            yield

    def _fused(self, pictures: Sequence[Any], questions: Sequence[str]) -> Iterator[Features]:
        """Fused features of the questions in batches; one picture is encoded once for all."""
        shared = self._encoded(pictures) if len(pictures) == 1 else None
        alone = any(_is_clip(picture) for picture in pictures)  # videos may differ in frames
        size = 1 if alone and shared is None else BATCH
        for start in range(0, len(questions), size):
            asked = questions[start : start + size]
            image = shared if shared is not None else self._encoded(pictures[start : start + size])
            rows = torch.zeros(len(asked), dtype=torch.long, device=self.device)
            image = image.index(rows) if shared is not None and len(asked) > 1 else image
            yield self.fusion(image, self.encode_text(asked))

    def _encoded(self, pictures: Sequence[Any]) -> Features:
        """Image features of pictures, or of one video."""
        source = pictures[0]
        if _is_clip(source):
            frames = watch(source, need_frames(self, source))
            return as_video(encode_pictures(self, [self.transform(frame) for frame in frames]))
        return encode_pictures(self, [self.transform(picture) for picture in pictures])

    def decode_options(self, given: Mapping[str, Any], top_k: int = 1) -> dict[str, Any]:
        """The options that the head is called with: those given, then the model's own defaults.

        Raises:
            ConfigError: an option is not known, or is not read by the strategy that is asked for.
        """
        head = self.config.head.type
        return choose(head, self.head_manifest, self.config.decode, given, top_k)

    def ranks(self, candidates: Sequence[str]) -> Callable[..., list[list[Answer]]]:
        """The head's ranking of those answers: takes fused features and `top_k`.

        Raises:
            ConfigError: the head does not rank, or there are no candidates.
        """
        head = self.head
        if not isinstance(head, RanksAnswers):
            raise ConfigError(
                f"The head '{self.config.head.type}' does not rank given answers: use a head that "
                f"writes answers, or model.answer with top_k."
            )
        if isinstance(candidates, str) or not candidates:
            raise ConfigError(
                f"The candidates are {candidates!r}, but a list of answers was expected."
            )
        listed = list(candidates)
        return lambda fused, top_k=1: head.rank(fused, listed, top_k)

    def _captioner(self) -> Callable[..., list[list[Answer]]] | None:
        """What describes pictures, None if nothing does."""
        if isinstance(self.head, Captions):
            return self.head.caption
        # Heads from before the protocol say it in the manifest alone: their answer is the caption.
        return self.head.predict if self.head_manifest.captions else None

    def check_reads_questions(self) -> None:
        """Raises ConfigError: it is a captioner, whose answer to any question is its caption."""
        captioner = self.fusion_manifest.ignores == "text" and self._captioner() is not None
        if captioner and not len(self.answers):
            raise ConfigError(
                f"This model describes pictures and reads no question (fusion "
                f"'{self.config.fusion.type}'): call model.caption(image), or run  vqazoo caption "
                f"MODEL IMAGE ; for questions load a model that was made for them, see "
                f"'vqazoo list models'."
            )

    def _checked_question(self, question: Any) -> str:
        if not isinstance(question, str):
            raise QuestionError(f"The question is {question!r}, but text was expected.")
        checked = check_question(question)
        longest = self.text_encoder.spec.context_length
        (ids,) = self.text_encoder.pieces([checked])
        if len(ids) + 2 > longest:
            warnings.warn(
                f"The question has {len(ids)} tokens, but the text encoder reads at most "
                f"{longest}: the rest is ignored.",
                stacklevel=4,
            )
        return checked


def _is_clip(source: Any) -> bool:
    return isinstance(source, Video) or is_video(source)


def _check_top_k(top_k: int) -> None:
    if top_k < 1:
        raise ConfigError(f"top_k is {top_k}, but it must be 1 or more.")


def _first(ranked: Sequence[Answer]) -> Answer:
    """The best answer, with the others as its alternatives."""
    return replace(ranked[0], alternatives=tuple(ranked[1:]))


def kinds(requires: frozenset[str], side: str) -> frozenset[str]:
    """Feature kinds that a fusion requires of a side, `image` or `text`."""
    return frozenset(kind.split(".")[1] for kind in requires if kind.startswith(f"{side}."))


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

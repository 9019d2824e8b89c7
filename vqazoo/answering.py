"""What of a model its head makes: answers of fused features, calibrated, as they leave the model.

Imports torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from vqazoo.calibration import Calibration
from vqazoo.calibration.abstaining import HoldBack, holding_back
from vqazoo.calibration.scores import Answering, answered, tempered_answers
from vqazoo.config import Block, ModelConfig
from vqazoo.data import check_question
from vqazoo.data.answers import AnswerList
from vqazoo.data.asking import Asked
from vqazoo.errors import ConfigError, QuestionError, VqazooWarning
from vqazoo.features.encoding import as_video, encode_pictures, need_frames
from vqazoo.features.unfamiliar import advice, is_unfamiliar
from vqazoo.interfaces import Answer, Captions, Encoder, Features, Fusion, Head
from vqazoo.manifests import FusionManifest, HeadManifest
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels
from vqazoo.media.video import Video, is_video, watch
from vqazoo.toolkit.decode_options import choose
from vqazoo.toolkit.scoring import respelled
from vqazoo.towers import EncodingModel

BATCH = 64  # rows encoded at once by `answer`
MORE = " yes no"  # makes a question longer; its ids change where an encoder reads the end
LOOKED_AT = 5  # pictures that a model looks at, to warn of those that it did not learn


class AnsweringModel(EncodingModel):
    """Answers of fused features: every one that leaves a model leaves it here.

    Attributes:
        calibration: what makes probabilities of scores, see `vqazoo.calibrate`; None: nothing does.
        others: see `vqazoo.model.VQAModel`.
    """

    config: ModelConfig
    answers: AnswerList
    fusion: Fusion
    head: Head
    fusion_manifest: FusionManifest
    head_manifest: HeadManifest
    calibration: Calibration | None = None
    _looked_at: int = 0

    @property
    def blocks(self) -> tuple[Block, Block]:
        """Config of the image and of the text encoder."""
        return self.config.image_encoder, self.config.text_encoder

    @property
    def frames(self) -> int:
        """How many frames of a video it reads; 0: it reads pictures only."""
        return self.fusion.frames

    def answers_of(
        self,
        fused: Features,
        top_k: int = 1,
        calibrated: bool = True,
        plain: list[float] | None = None,
        **options: Any,
    ) -> list[list[Answer]]:
        """The best answers of each row, best first: what the head predicts, calibrated.

        Args:
            plain: gets the head's own score of the best answer of each row.
            options: of the head, as `decode_options` gives them.
        """
        calibration = self.calibration if calibrated else None
        ranked = answered(self.head, self.head_manifest, calibration, fused, top_k, options, plain)
        return [self._as_known(row) for row in ranked] if self.respelled else ranked

    @cached_property
    def respelled(self) -> dict[str, str]:
        """See `vqazoo.toolkit.scoring.respelled`."""
        return respelled(self.head, self.text_encoder, self.answers.texts)

    def _as_known(self, answers: Sequence[Answer]) -> list[Answer]:
        """Answers as training knows them; of equal texts the likeliest, which comes first."""
        told: dict[str, Answer] = {}
        for answer in answers:
            text = self.respelled.get(answer.text, answer.text)
            told.setdefault(text, replace(answer, text=text))
        return list(told.values())

    def holds_back(
        self, risk: float | None, calibrated: bool = True, decode: Mapping[str, Any] | None = None
    ) -> HoldBack:
        """What holds back answers that are not sure enough for that risk; None: it holds none.

        Raises:
            ConfigError: the model has no threshold for it, or is not to answer in its own way.
        """
        if risk is None:
            return lambda answer: answer
        if decode or not calibrated:
            raise ConfigError(
                "abstain_at_risk is for calibrated answers that the model gives in its own way: "
                "leave out calibrated=False and decode options, or abstain_at_risk."
            )
        writes = self.head_manifest.answer_mode == "generate"
        return holding_back(self.calibration, risk, self.answers, writes)

    def _tempered(self, answering: Answering, calibrated: bool) -> Answering:
        """Answers of a head, calibrated one by one."""
        calibration = self.calibration if calibrated else None
        return lambda *given, **how: tempered_answers(answering(*given, **how), calibration)

    def decode_options(self, given: Mapping[str, Any], top_k: int = 1) -> dict[str, Any]:
        """The options that the head is called with: those given, then the model's own defaults.

        Raises:
            ConfigError: an option is not known, or is not read by the strategy that is asked for.
        """
        head = self.config.head.type
        return choose(head, self.head_manifest, self.config.decode, given, top_k)

    def _captioner(self) -> Answering | None:
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

    # ---- what is asked, fused -------------------------------------------------------------

    def _checked(self, asked: Asked) -> Asked:
        """The questions as they are asked; raises where one cannot be."""
        if any(asked.questions):
            self.check_reads_questions()
        return replace(asked, questions=[self._checked_question(q) for q in asked.questions])

    def _fused(self, all_asked: Asked) -> Iterator[Features]:
        """Fused features of the questions in batches; one picture is encoded once for all."""
        pictures, questions, ocr = all_asked.pictures, all_asked.questions, all_asked.ocr
        shared = self._encoded(pictures) if len(pictures) == 1 else None
        alone = any(_is_clip(picture) for picture in pictures)  # videos may differ in frames
        size = 1 if alone and shared is None else BATCH
        for start in range(0, len(questions), size):
            asked = questions[start : start + size]
            image = shared if shared is not None else self._encoded(pictures[start : start + size])
            rows = torch.zeros(len(asked), dtype=torch.long, device=self.device)
            image = image.index(rows) if shared is not None and len(asked) > 1 else image
            read = None if ocr is None else ocr[start : start + size]
            yield self.fusion(image, self.encode_text(asked).with_ocr(read))

    def _encoded(self, pictures: Sequence[Any]) -> Features:
        """Image features of pictures, or of one video."""
        source = pictures[0]
        if _is_clip(source):
            frames = watch(source, need_frames(self, source))
            return as_video(encode_pictures(self, [self.transform(frame) for frame in frames]))
        opened = [open_image(picture) for picture in pictures]
        self._look_at(opened[0])
        preprocess = self.image_encoder.spec.preprocess
        return encode_pictures(self, [pixels(picture, preprocess) for picture in opened])

    def _look_at(self, picture: Image.Image) -> None:
        """Warn, once, of a picture of another kind than the image encoder learnt."""
        if self._looked_at == LOOKED_AT or self.holds_tower("image"):
            return
        self._looked_at += 1
        if is_unfamiliar(self.blocks[0], picture):
            self._looked_at = LOOKED_AT
            warnings.warn(
                f"The picture seems to be of another kind, {advice(self.blocks[0])}",
                VqazooWarning,
                stacklevel=6,
            )

    def _checked_question(self, question: Any) -> str:
        if not isinstance(question, str):
            raise QuestionError(f"The question is {question!r}, but text was expected.")
        checked = check_question(question)
        longest = self.text_encoder.spec.context_length
        (ids,) = self.text_encoder.pieces([checked])
        if ignored := _ignored(self.text_encoder, checked, ids):
            warnings.warn(
                f"The question has {len(ids)} tokens, but the text encoder reads at most "
                f"{longest}: {ignored} is ignored.",
                VqazooWarning,
                stacklevel=5,
            )
        return checked


def _ignored(encoder: Encoder, question: str, pieces: list[int]) -> str:
    """What the encoder cuts off a question with these ids: `the rest`, or `its beginning`, as
    tokenizers do that truncate on the left; empty: nothing.
    """
    ids, mask = encoder.tokenize([question, question + MORE])
    read, longer = (row[real].tolist() for row, real in zip(ids, mask, strict=True))
    starts = range(len(read) - len(pieces) + 1)
    whole = any(read[start : start + len(pieces)] == pieces for start in starts)
    if whole or len(longer) > len(read):  # there was room
        return ""
    return "the rest" if longer == read else "its beginning"


def _is_clip(source: Any) -> bool:
    return isinstance(source, Video) or is_video(source)

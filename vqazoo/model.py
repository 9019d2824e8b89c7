"""VQAModel: image and question -> encoder -> fusion -> head -> answer. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import torch
from torch import Tensor, nn

import vqazoo.forks  # noqa: F401 - so that a child of fork can ask a model
from vqazoo.amounts import count
from vqazoo.answering import BATCH
from vqazoo.calibration.scores import Answering
from vqazoo.choosing import UNKNOWN_WAYS, ChoosingModel
from vqazoo.config import ModelConfig
from vqazoo.data.answers import AnswerList
from vqazoo.data.asking import Asked, check_at_least_one, pair
from vqazoo.errors import ConfigError
from vqazoo.faults import faults_named, name_encoder, name_parts
from vqazoo.interfaces import Answer, Features, Fusion, Head
from vqazoo.keywords import names_keywords
from vqazoo.manifests import FusionManifest, HeadManifest
from vqazoo.modes import evaluating
from vqazoo.quality import Quality, judge
from vqazoo.registry import registry

if TYPE_CHECKING:
    from vqazoo.evaluation.tables import Predictions

OBJECT = "object:"  # before the class of a part that was given as an object and has no name


class VQAModel(ChoosingModel):
    """A model for visual question answering, made of an encoder, a fusion and a head.

    Make one with `vqazoo.create`, `vqazoo.load` or `vqazoo.train`.

    Attributes:
        config: the four parts, filled.
        answers: the answers known from training.
        fusion, head: the trained parts; fusion_manifest, head_manifest: what they declare.
        calibration: what makes probabilities of scores, see `vqazoo.calibrate`; None: nothing does.
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
        name_parts(fusion, head, (config.fusion.type, config.head.type))
        name_encoder(self.image_encoder, config.image_encoder.type)
        name_encoder(self.text_encoder, config.text_encoder.type)
        self.set_trainable(())

    # ---- parts ------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """Ten lines at most; `model.towers`, `model.fusion` and `model.head` show their modules."""
        config, parameters = self.config, list(self.parameters())
        trains = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        facts = {
            "image encoder": config.image_encoder.type,
            "text encoder": config.text_encoder.type,
            "fusion": config.fusion.type,
            "head": config.head.type,
            "answers": count(len(self.answers)),
            "parameters": f"{count(sum(map(Tensor.numel, parameters)))}, {count(trains)} train",
            "device": str(self.device),
        }
        return "\n".join(
            ["VQAModel(", *(f"  {name:14}{fact}" for name, fact in facts.items()), ")"]
        )

    @names_keywords
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
    def answer(
        self,
        image: Any,
        question: str,
        top_k: int = 1,
        *,
        calibrated: bool = True,
        abstain_at_risk: float | None = None,
        ocr_tokens: Sequence[Any] | None = None,
        **decode: Any,
    ) -> Answer: ...

    @overload
    def answer(
        self,
        image: Any,
        question: Sequence[str],
        top_k: int = 1,
        *,
        calibrated: bool = True,
        abstain_at_risk: float | None = None,
        ocr_tokens: Sequence[Any] | None = None,
        **decode: Any,
    ) -> list[Answer]: ...

    @names_keywords
    def answer(
        self,
        image: Any,
        question: str | Sequence[str],
        top_k: int = 1,
        *,
        calibrated: bool = True,
        abstain_at_risk: float | None = None,
        ocr_tokens: Sequence[Any] | None = None,
        **decode: Any,
    ) -> Answer | list[Answer]:
        """Answer a question about a picture or a video.

        Args:
            image: path, PIL image, array (H, W, 3) or tensor (3, H, W); or a list of them, or an
                array or tensor with one dimension more, as long as the list of questions. A video
                is a path such as clip.mp4, or a `vqazoo.Video` of frames.
            question: one question, or a list; a list with one image asks them all about it, and
                the image is encoded once.
            top_k: how many answers to return; the others are in `Answer.alternatives`.
            calibrated: whether scores are made probabilities, of a model that is calibrated.
            abstain_at_risk: say "I don't know" rather than be wrong in more than this share of the
                answers; see `Answer.abstained`.
            ocr_tokens: for heads that copy words: what a reader of text found in the picture, a
                list of `vqazoo.data.OcrToken` or of objects with `text` and `box`, see
                `vqazoo.data.ocr`; of a list of images a list of such lists. An empty one says that
                nothing was read.
            decode: options of the head, see `vqazoo info`.

        Returns:
            One Answer for one question, a list for a list.

        Raises:
            ImageError, QuestionError: the picture or the question cannot be used.
            ConfigError: an option or `top_k` is not understood, the model has no threshold, or it
                copies words and there are no `ocr_tokens`.
            DataError: the `ocr_tokens` are no such list.
        """
        check_at_least_one("top_k", top_k)
        options = self.decode_options(decode, top_k)
        hold_back = self.holds_back(abstain_at_risk, calibrated, decode)
        asked = self._checked(pair(image, question, ocr_tokens))
        answering = partial(self.answers_of, top_k=top_k, calibrated=calibrated, **options)
        answers = list(map(hold_back, self._answers(asked, answering)))
        return answers[0] if asked.single else answers

    @names_keywords
    def rank(
        self,
        image: Any,
        question: str | Sequence[str],
        candidates: Sequence[str],
        top_k: int = 1,
        *,
        calibrated: bool = True,
        unknown: str = UNKNOWN_WAYS[0],
    ) -> Answer | list[Answer]:
        """Choose among given answers, likeliest first; the picture is encoded once.

        Args:
            image, question, top_k, calibrated: as for `answer`.
            candidates: the answers to choose from. Those that a classifier does not know are left
                out and named in `Answer.unscored`.
            unknown: `nearest`: score these as the known answer whose text features are nearest.

        Raises:
            ConfigError: the head does not choose, or there are no candidates that it knows.
        """
        check_at_least_one("top_k", top_k)
        ranking = partial(self.ranks(candidates, calibrated, unknown), top_k=top_k)
        asked = self._checked(pair(image, question))
        answers = self._answers(asked, ranking)
        return answers[0] if asked.single else answers

    @names_keywords
    def caption(
        self, image: Any, top_k: int = 1, *, calibrated: bool = True, **decode: Any
    ) -> Answer | list[Answer]:
        """Describe a picture or a video: the answer to an empty question.

        Args:
            image, calibrated: as for `answer`; a list gives a list of captions.

        Raises:
            ConfigError: the head writes no captions.
        """
        describe = self._captioner()
        if describe is None:
            raise ConfigError(
                f"The head '{self.config.head.type}' writes no captions: load a model with a head "
                f"that does, see 'vqazoo info'."
            )
        check_at_least_one("top_k", top_k)
        describe = partial(describe, top_k=top_k, **self.decode_options(decode, top_k))
        asked = pair(image, "")
        captions = self._answers(asked, self._tempered(describe, calibrated))
        return captions[0] if asked.single else captions

    def _answers(self, asked: Asked, answering: Answering) -> list[Answer]:
        """The best answer to each question, by what takes fused features."""
        with evaluating(self), torch.inference_mode(), faults_named():
            return [_first(ranked) for fused in self._fused(asked) for ranked in answering(fused)]

    @names_keywords
    def predict(
        self,
        data: Any,
        batch_size: int = BATCH,
        *,
        calibrated: bool = True,
        abstain_at_risk: float | None = None,
        **decode: Any,
    ) -> Predictions:
        """Answer every row of a table.

        Args:
            data: rows with `image` and `question`, and if the answers are known `answer` or
                `answers` and `question_id`: a list of dicts, a pandas DataFrame, a
                `datasets.Dataset`; or a split that a dataset reader of vqazoo read.
            batch_size: rows at once.
            calibrated, abstain_at_risk: as for `answer`.
            decode: options of the head, see `vqazoo info`.

        Returns:
            A table of answers: a sequence of dicts, with `to_pandas`, `to_datasets`, `to_csv`,
            `accuracy`.

        Raises:
            DataError: the table cannot be used.
            ImageError, QuestionError, ConfigError: as for `answer`.
        """
        from vqazoo.conveniences import predict_rows

        return predict_rows(self, data, batch_size, decode, None, calibrated, abstain_at_risk)

    @names_keywords
    def quality(self, image: Any) -> Quality | list[Quality]:
        """Flaws of a picture and what to do about them; of a list of pictures, a list.

        Raises:
            ConfigError: the model was not trained on flaws of pictures.
        """
        return judge(self, image)


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

"""What of a model its head makes: answers of fused features, calibrated, as they leave the model.

Imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqazoo.calibration import Calibration
from vqazoo.calibration.abstaining import HoldBack, holding_back
from vqazoo.calibration.scores import Answering, answered, tempered_answers
from vqazoo.config import ModelConfig
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Answer, Captions, Features, Fusion, Head
from vqazoo.manifests import FusionManifest, HeadManifest
from vqazoo.toolkit.decode_options import choose
from vqazoo.towers import EncodingModel


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
        return answered(self.head, self.head_manifest, calibration, fused, top_k, options, plain)

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

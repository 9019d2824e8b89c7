"""Confidence that can be trusted: temperatures, thresholds, and how they are fitted.

`VQAModel.calibration` holds what `vqazoo.evaluation.calibrating` fitted; every answer leaves a
model through `vqazoo.answering`.
"""

from vqazoo.calibration.block import Calibration

__all__ = ["Calibration"]

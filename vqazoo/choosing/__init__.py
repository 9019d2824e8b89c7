"""Choosing among given answers: ranks, choices, predicates, scores of a model. Imports torch."""

from vqazoo.choosing.model import ChoosingModel
from vqazoo.choosing.scoring import UNKNOWN_WAYS

__all__ = ["UNKNOWN_WAYS", "ChoosingModel"]

"""Where a model looked, and which words it heeded, for one answer. Imports torch."""

from vqazoo.explain.drawing import draw, overlay
from vqazoo.explain.explanation import Explanation, explain

__all__ = ["Explanation", "draw", "explain", "overlay"]

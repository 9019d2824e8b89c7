"""What a score rests on: the same questions asked again about changed pictures, in changed words.

changes.py changes pictures, words.py questions; asking.py asks a model, scoring.py compares with
the answers to the unchanged questions, and figure.py draws it. Imports torch and torchvision.
"""

from vqazoo.evaluation.checks.running import CHECKS_ROWS, Checking, run_checks, with_checks

__all__ = ["CHECKS_ROWS", "Checking", "run_checks", "with_checks"]

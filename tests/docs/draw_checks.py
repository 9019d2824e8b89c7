"""Draws checks.png of the packaged cards anew, from the scores that stand in them.

Run:  python -m tests.docs.draw_checks
No model is asked: the picture shows what metrics.json says. It takes some seconds.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.docs.pages import ROOT
from vqazoo.evaluation.checks.figure import CHECKS_FIGURE, checks_figure
from vqazoo.evaluation.checks_table import CHECK
from vqazoo.evaluation.metric import from_json
from vqazoo.files.writing import METRICS

CARDS = ROOT / "model_cards"


def draw(card: Path, file: Path) -> None:
    """The picture of a card's checks."""
    metrics = map(from_json, json.loads((card / METRICS).read_text(encoding="utf-8")))
    checks_figure([metric for metric in metrics if metric.name.startswith(CHECK)], file)


def main() -> None:
    for file in sorted(CARDS.glob(f"*/{CHECKS_FIGURE}")):
        draw(file.parent, file)


if __name__ == "__main__":
    main()

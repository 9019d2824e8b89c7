"""Draw the photograph of the README with its answers: `python -m tests.docs.draw_photograph`.

The photograph, docs/pictures/coffee.jpg, is by Rachel Michetti, who put it into the public domain
(CC0); it comes with scikit-image (skimage.data.coffee) and was made smaller. Imports torch.
"""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from PIL import Image

import vqazoo
from tests.docs.pages import ROOT
from vqazoo.wording import NOT_SURE, sureness

PICTURES = ROOT / "docs" / "pictures"
PHOTOGRAPH = PICTURES / "coffee.jpg"
MODEL = "effnet-ngrams-mlp-daquar"
QUESTIONS = ("what color is the table?", "what is the largest object?", "what is on the table?")
SURE, UNSURE = "#1f5fa8", "#9a9a9a"


def draw(model: vqazoo.VQAModel) -> None:
    """The photograph, and of each question the three best answers as bars."""
    figure, axes = plt.subplot_mosaic(
        [["photograph", *"0"], ["photograph", *"1"], ["photograph", *"2"]],
        figsize=(9, 3.6),
        width_ratios=(1.35, 1),
        layout="constrained",
    )
    axes["photograph"].imshow(Image.open(PHOTOGRAPH))
    axes["photograph"].set_axis_off()
    for number, question in enumerate(QUESTIONS):
        best = model.answer(PHOTOGRAPH, question, top_k=3)
        ranked = [best, *best.alternatives]
        words = sureness(best.score)
        below = axes[str(number)]
        below.set_title(f"{question}  ({words})", fontsize=10, loc="left")
        color = UNSURE if words == NOT_SURE else SURE
        below.barh([one.text for one in ranked], [one.score for one in ranked], color=color)
        below.invert_yaxis()
        below.set_xlim(0, 1.1)
        below.set_xticks([])
        below.tick_params(length=0)
        for spine in below.spines.values():
            spine.set_visible(False)
        for row, one in enumerate(ranked):
            below.text(one.score + 0.02, row, f"{one.score:.0%}", va="center", fontsize=9)
    figure.savefig(PICTURES / "photograph-answers.jpg", dpi=110)


if __name__ == "__main__":
    draw(vqazoo.load(MODEL))

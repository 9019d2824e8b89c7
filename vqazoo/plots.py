"""How the pictures of numbers look: one width, one set of letters and colours. Imports matplotlib.

All are 720 pixels wide, about the width of a model card, so that letters have the size of the
text around them there, and can still be read on a phone. Colours are readable on white, and never
the only sign: lines differ in their marks or dashes, wrong answers in their words.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vqazoo.files.writing import write_file

INCHES, DPI = 6.0, 120  # width, and pixels of an inch
LETTERS, FINE = 10, 9  # points: of titles, axes and legends; of numbers in a picture
BLUE, BROWN, GREEN, RED = "#1f4e9c", "#b35900", "#0a6b2d", "#b3261e"
DARK, SLATE, FAINT = "#333333", "#767676", "#d9d9d9"
SHADES = "Blues"  # of heat maps: one hue, so that grey prints keep the order


def new_figure(
    height: float,
    width: float = INCHES,
    layout: Literal["constrained", "compressed"] = "constrained",
) -> Figure:
    """An empty figure of `width` by `height` inches."""
    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def plain_axes(axes: Any, grid: str = "both") -> None:
    """Only the two axes that are read, over a faint grid: of `both`, `x` or `y`."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SLATE)
    axes.tick_params(colors=DARK, labelsize=FINE)
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def legend(axes: Any, **where: Any) -> None:
    """What the lines are, without a frame, above the axes unless `where` says otherwise."""
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2, "borderaxespad": 0.2}
    axes.legend(frameon=False, fontsize=FINE, **(where or above))


def save_figure(figure: Figure, file: Path) -> None:
    """Draw in memory first, then replace the file in one step."""
    picture = io.BytesIO()
    with warnings.catch_warnings():  # letters that the font lacks are drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasAgg(figure).print_png(picture)
    write_file(file, picture.getvalue())

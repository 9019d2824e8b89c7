"""Pictures of runs and scores: that they are drawn, whole, whatever the words in them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from vqazoo.data import Example
from vqazoo.evaluation import figures
from vqazoo.evaluation.figures import (
    answer_figure,
    answer_kind,
    confusion_figure,
    grid_rows,
    loss_figure,
    reliability_figure,
    sweep_figure,
)
from vqazoo.evaluation.metrics.reliability import risk_coverage
from vqazoo.interfaces import Answer

TRUTHS = ("yes", "3", "circle", "unanswerable", "$5 or $6 \\frac{", "many words " * 9)
pytestmark = pytest.mark.filterwarnings("error")
QUESTIONS = (
    "what?",
    "how much is $5 and ^$10? " * 6,
    "这是什么?",
    "is this_one {it}?",
    "",
    "a&b<c>",
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that were saved, whose parts can be measured."""
    found: list[Figure] = []
    real = figures.save_figure

    def keep(figure: Figure, file: Path) -> None:
        real(figure, file)
        found.append(figure)

    monkeypatch.setattr(figures, "save_figure", keep)
    return found


def size(file: Path) -> tuple[int, int]:
    """Width and height of a PNG that is whole, not of one colour, and left nothing beside it."""
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        picture.load()
        assert len(picture.convert("L").getcolors(256) or []) > 2
        assert not list(file.parent.glob(".*"))
        return picture.size


def assert_inside(figure: Figure) -> None:
    """Nothing that is drawn is cut off by the edge of the picture."""
    box = figure.get_tightbbox()  # inches
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) >= -0.01, box
    assert box.x1 <= width + 0.01, box
    assert box.y1 <= height + 0.01, box


def asked(tmp_path: Path, count: int) -> tuple[list[Example], list[Answer]]:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.jpg")
    examples = [
        Example(tmp_path / "a.jpg", QUESTIONS[n % 6], (TRUTHS[n % 6],) if n != 3 else (), str(n))
        for n in range(count)
    ]
    answers = [
        Answer(TRUTHS[n % 6] if n % 2 else "no", math.nan if n == 1 else 0.5) for n in range(count)
    ]
    return examples, answers


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_losses_are_drawn_by_whole_epochs(tmp_path: Path, drawn: list[Figure], epochs: int) -> None:
    log = [
        {"epoch": n, "loss": 2 / n, "validation_loss": 3 / n, "validation_accuracy": n / 50}
        for n in range(1, epochs + 1)
    ]
    loss_figure(log, tmp_path / "loss.png")
    assert size(tmp_path / "loss.png") == (720, 552)
    assert_inside(drawn[0])
    _, axes = drawn[0].axes
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
    assert axes.get_ylabel() == "validation accuracy (%)"
    log[0]["validation_vqa-accuracy"] = 0.5
    loss_figure(log[:1], tmp_path / "loss.png")
    assert drawn[1].axes[1].get_ylabel() == "validation vqa-accuracy (%)"


@pytest.mark.parametrize("count", [1, 4, 12])
def test_answers_are_drawn_whatever_the_words(
    tmp_path: Path, drawn: list[Figure], count: int
) -> None:
    answer_figure(*asked(tmp_path, count), tmp_path / "answers.png")
    width, height = size(tmp_path / "answers.png")
    assert width == 240 * min(count, 3)
    assert 250 < height / -(-count // 3) < 380  # of a row: a picture and its words
    assert_inside(drawn[0])
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles[0] == "what?\nno (50%), not yes"
    if count == 12:
        assert titles[1].splitlines()[-1] == "3"  # nobody said how sure
        assert "$5 and ^$10" in titles[1]
        assert titles[1].splitlines()[2].endswith(" …")
        assert "not" not in titles[3]


def test_kinds_of_answers_add_up_to_a_row(tmp_path: Path, drawn: list[Figure]) -> None:
    examples, answers = asked(tmp_path, 12)
    confusion_figure(examples, answers, tmp_path / "confusion.png")
    width, height = size(tmp_path / "confusion.png")
    assert width == 720
    assert 300 <= height <= 600
    assert_inside(drawn[0])
    labels = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert labels == ["yes/no (2)", "number (2)", "unanswerable (1)", "other (6)"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Yes", "yes/no"),
        ("1,000", "number"),
        ("$5", "number"),
        ("10:30", "number"),
        ("unanswerable", "unanswerable"),
        ("two", "other"),
        ("", "other"),
        ("5 cats", "other"),
    ],
)
def test_the_kind_of_an_answer_is_told_from_its_words(text: str, kind: str) -> None:
    assert answer_kind(text) == kind


def test_risk_is_drawn_over_coverage(tmp_path: Path, drawn: list[Figure]) -> None:
    curve = risk_coverage(np.array([1, 0, 1, 0.3]), np.array([0.9, 0.8, 0.8, 0.1]))
    reliability_figure(curve, tmp_path / "risk.png")
    assert size(tmp_path / "risk.png") == (720, 432)
    assert_inside(drawn[0])
    assert drawn[0].axes[0].get_title(loc="left") == f"area under the curve {curve.area():.3f}"


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (6, 8)])
def test_a_sweep_is_drawn_with_long_names_and_gaps(
    tmp_path: Path, drawn: list[Figure], shape: tuple[int, int]
) -> None:
    mean = np.random.default_rng(0).random(shape)
    if shape != (1, 1):
        mean[0, -1] = np.nan
    rows = ["efficientnet-lite0+open-clip:ViT-B-32@laion2b", "tiny-clip", *"abcd"][: shape[0]]
    columns = [f"stacked-attention + mlp {n}" for n in range(shape[1])]
    title = "vqa-accuracy (%) on vizwiz, validation: mean ± deviation over 3 seeds"
    sweep_figure(mean, mean * 0.1, rows, columns, title, tmp_path / "sweep.png")
    width, height = size(tmp_path / "sweep.png")
    assert width >= 720
    assert height >= 230
    assert_inside(drawn[0])
    texts = [text.get_text() for text in drawn[0].axes[0].texts]
    assert texts.count("-") == np.isnan(mean).sum()
    assert texts[0] == f"{100 * mean[0, 0]:.1f} ± {10 * mean[0, 0]:.1f}"


def test_the_grid_shows_right_and_wrong_answers_alike(tmp_path: Path) -> None:
    examples, answers = asked(tmp_path, 60)
    rows = grid_rows(examples, answers, 12, 0)
    right = [examples[r].answers == (answers[r].text,) for r in rows]
    assert len(set(rows)) == 12
    assert rows == grid_rows(examples, answers, 12, 0)
    assert rows != grid_rows(examples, answers, 12, 1)
    assert right == sorted(right, reverse=True)
    few = grid_rows(examples[:3], answers[:3], 12, 0)
    assert sorted(few) == [0, 1, 2]


def test_curves_are_the_values_of_the_log(tmp_path: Path, drawn: list[Figure]) -> None:
    log = [
        {"epoch": 1, "loss": 2.5, "validation_loss": None, "validation_accuracy": 0.25},
        {"epoch": 2, "loss": 1.5, "validation_loss": 3.5, "validation_accuracy": 0.75},
    ]
    loss_figure(log, tmp_path / "loss.png")
    losses, accuracy = drawn[0].axes
    training, validation = losses.get_lines()
    assert (training.get_label(), validation.get_label()) == ("training", "validation")
    assert training.get_xydata().tolist() == [[1, 2.5], [2, 1.5]]
    assert math.isnan(validation.get_xydata()[0, 1])
    assert validation.get_xydata()[1].tolist() == [2, 3.5]
    assert accuracy.get_lines()[0].get_xydata().tolist() == [[1, 25], [2, 75]]
    loss_figure(log[:1], tmp_path / "loss.png")
    assert drawn[1].axes[1].get_xlim() == (0, 2)  # one epoch in the middle
    assert drawn[0].axes[1].get_xlim() != (0, 2)


def test_the_risk_curve_is_in_percent(tmp_path: Path, drawn: list[Figure]) -> None:
    curve = risk_coverage(np.array([1, 0, 1, 0.3]), np.array([0.9, 0.8, 0.7, 0.1]))
    reliability_figure(curve, tmp_path / "risk.png")
    axes = drawn[0].axes[0]
    (line,) = axes.get_lines()
    wanted = [[25, 0], [50, 50], [75, 100 / 3], [100, 42.5]]  # risks of the surest 1 to 4, by hand
    assert line.get_xydata()[-4:].tolist() == [pytest.approx(point) for point in wanted]
    assert axes.get_xlim() == (0, 100)
    assert axes.get_ylim()[0] == 0


def test_shares_of_kinds_are_of_a_row(tmp_path: Path, drawn: list[Figure]) -> None:
    truths, said = ("yes", "yes", "no", "2"), ("no", "4", "yes", "3")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    examples = [
        Example(tmp_path / "a.png", "what?", (truth,), str(n)) for n, truth in enumerate(truths)
    ]
    answers = [Answer(text, 0.5) for text in said]
    confusion_figure(examples, answers, tmp_path / "confusion.png")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.texts] == [
        "67%",
        "33%",
        "0%",
        "0%",
        "0%",
        "100%",
        "0%",
        "0%",
    ]
    assert axes.get_images()[0].get_array().tolist()[1] == [0, 1, 0, 0]

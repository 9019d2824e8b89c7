"""Two models asked the same questions: what they score and what they cost, side by side."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import vqazoo
from vqazoo.cli import vqazoo as commands
from vqazoo.errors import ConfigError, VqazooError
from vqazoo.zoo import cost
from vqazoo.zoo.cost import Timing, compare_costs, measure

MODEL = "tiny-clip-lstm-easyvqa"
TIMES = {"quick": [0.001] * 19 + [0.1], "slow": [0.5] * 20}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    with (folder / "mine.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "question", "answer"])
        for number in range(20):
            colour = ("red", "blue")[number % 2]
            Image.new("RGB", (64, 64 + number), colour).save(folder / f"{number}.png")
            rows.writerow([f"{number}.png", "what color is the shape?", colour])
    return str(folder / "mine.csv")


def stopwatch(job, progress=None):
    """What a process would measure: the first model knows half of the answers, the second all."""
    quick = job.reference.endswith("quick")
    answers = ["red" if quick or row % 2 == 0 else "blue" for row in job.rows]
    return Timing(answers, TIMES["quick" if quick else "slow"], 3000, 0, 7, 28)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two folders without a recipe, whose data would be compared with the questions."""
    folder = tmp_path_factory.mktemp("pair")
    model = vqazoo.load(MODEL)
    model.save(folder / "quick")
    model.save(folder / "slow")
    return f"dir:{folder / 'quick'}", f"dir:{folder / 'slow'}"


def test_times_money_and_scores_are_those_of_the_rows(table, pair):
    costs = compare_costs(
        pair, table, price_per_hour=1.8, report=lambda line: None, measure=stopwatch
    )
    quick, slow = costs.columns
    assert (quick.score, slow.score) == (0.5, 1.0)
    assert costs.questions == costs.pictures == 20
    assert quick.p50 == pytest.approx(0.001)
    assert quick.p95 == pytest.approx(0.001 + 0.05 * 0.099)  # linear between the 19th and the 20th
    assert quick.per_thousand == pytest.approx(1000 * (19 * 0.001 + 0.1) / 20)
    assert slow.per_thousand == pytest.approx(500)
    assert slow.money == pytest.approx(1.8 * 500 / 3600)
    assert slow.interval[0] < 1.0
    assert "second" in costs.verdict


def test_without_a_price_no_money_is_told(table, pair, monkeypatch):
    monkeypatch.setattr(cost, "measured_alone", stopwatch)
    command = ["compare", "--cost", *pair, "--data", table, "--rows", "20"]
    shown = CliRunner().invoke(commands, command)
    assert shown.exit_code == 0, shown.output
    assert "money" not in shown.output
    assert "1,000 questions" in shown.output
    priced = CliRunner().invoke(commands, [*command, "--price-per-hour", "2", "--json"])
    document = json.loads(priced.stdout)
    assert document["columns"][0]["money"] == pytest.approx(2 * 5.95 / 3600)


def test_one_model_is_measured_as_it_is(table, pair):
    job = cost.Job(pair[0], table, "", {}, [3, 4, 11], "cpu", "float32")
    measured = measure(job)
    model = vqazoo.load(MODEL)
    assert measured.answers == ["blue", "red", "blue"]
    assert len(measured.seconds) == 3
    assert min(measured.seconds) > 0
    assert measured.parameters == sum(p.numel() for p in model.parameters())
    assert measured.bytes == 4 * measured.parameters
    assert measured.memory > measured.bytes
    assert measured.accelerator == 0


def test_options_of_cost_go_with_cost(table):
    answered = CliRunner().invoke(
        commands, ["compare", "a.csv", "b.csv", "--data", table, "--price-per-hour", "2"]
    )
    assert answered.exit_code == 2
    assert "go with --cost" in answered.output


def test_a_price_is_a_number_above_nothing(table):
    with pytest.raises(ConfigError, match="above 0"):
        compare_costs((MODEL, MODEL), table, price_per_hour=float("nan"), measure=stopwatch)


@pytest.mark.apart
def test_the_peak_of_a_process_is_its_own(table):
    ballast = torch.ones(200_000_000)  # 800 MB, which a forked process would count
    job = cost.Job(MODEL, table, "", {}, [3, 4], "cpu", "float32")
    measured = cost.measured_alone(job)
    assert measured.answers == ["blue", "red"]
    own = cost._peak()
    assert own > 4 * len(ballast)
    assert measured.memory < own - 2 * len(ballast)


@pytest.mark.apart
def test_what_is_wrong_in_the_process_is_said_here(table):
    job = cost.Job("dir:nowhere", table, "", {}, [0], "cpu", "float32")
    with pytest.raises(VqazooError, match="nowhere"):
        cost.measured_alone(job)


@pytest.mark.apart
def test_each_question_to_the_process_is_shown(table):
    left = []

    def progress(steps, label):
        assert label == "questions"
        for step in steps:
            yield step
            left.append(step)

    job = cost.Job(MODEL, table, "", {}, [3, 4], "cpu", "float32")
    assert cost.measured_alone(job, progress).answers == ["blue", "red"]
    assert left == [0, 1]

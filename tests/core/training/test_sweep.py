"""`vqazoo sweep`: every combination once, a table checked by hand, and no work twice."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import pytest
from PIL import Image

import vqazoo.training.sweep
from vqazoo.cli import run

GRID = [
    "--encoders",
    "tiny-clip",
    "--heads",
    "mlp",
    "linear",
    "--fusions",
    "hadamard",
    "sum",
    "--seeds",
    "0",
    "1",
]
CELLS = 8


def arguments(table: Path, out: Path, *more: str, grid: list[str] = GRID) -> list[str]:
    return [
        "sweep",
        *grid,
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--set",
        f"data.args.test={table}",
        "--set",
        "training.epochs=1",
        "--set",
        "training.learning_rate=0.01",
        "--out",
        str(out),
        *more,
    ]


def rows_of(out: Path) -> list[dict[str, str]]:
    with open(out / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def cells_of(out: Path) -> dict[str, list[str]]:
    """Encoder -> cells of the Markdown table; the header under `encoder`."""
    lines = [line for line in (out / "results.md").read_text().splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in split}


def small(table: Path, out: Path, *more: str) -> list[str]:
    grid = ["--encoders", "tiny-clip", "--heads", "linear", "--seeds", "0", "1"]
    return arguments(table, out, *more, grid=grid)


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished sweep."""
    out = tmp_path_factory.mktemp("sweep")
    assert run(arguments(table, out)) == 0
    return out


def test_every_combination_is_trained_and_tabled(trained: Path) -> None:
    rows = rows_of(trained)
    assert len(rows) == CELLS
    assert len({(r["encoder"], r["fusion"], r["head"], r["seed"]) for r in rows}) == CELLS
    with Image.open(trained / "results.png") as picture:
        picture.verify()
    columns = ["hadamard + mlp", "hadamard + linear", "sum + mlp", "sum + linear"]
    assert cells_of(trained)["encoder"] == columns


def test_mean_and_deviation_are_those_of_the_runs(trained: Path) -> None:
    table = cells_of(trained)
    for column, told in zip(table["encoder"], table["tiny-clip"], strict=True):
        fusion, head = column.split(" + ")
        values = []
        for seed in (0, 1):
            folder = trained / "tiny-clip" / fusion / head / f"seed{seed}"
            metrics = json.loads((folder / "best/metrics.json").read_text())
            values.append(next(m["value"] for m in metrics if m["name"] == "accuracy"))
            cell = (fusion, head, str(seed))
            rows = [r for r in rows_of(trained) if (r["fusion"], r["head"], r["seed"]) == cell]
            assert float(rows[0]["value"]) == pytest.approx(values[-1], abs=1e-6)
        expected = f"{100 * statistics.mean(values):.2f} ± {100 * statistics.stdev(values):.2f}"
        assert told == expected


def test_a_second_sweep_trains_nothing(
    table: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in trained.rglob("state.safetensors")}
    written = (trained / "results.csv").read_bytes()
    assert run(arguments(table, trained)) == 0
    assert "training" not in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert (trained / "results.csv").read_bytes() == written


def test_other_settings_do_not_pass_for_the_old_ones(
    table: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(table, trained, "--set", "training.epochs=3")) == 1
    told = capsys.readouterr().err
    assert "holds a run with other settings" in told
    assert "choose another --out" in told


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_a_stopped_sweep_goes_on(
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stop: type[BaseException],
) -> None:
    real, begun = vqazoo.training.sweep.run_training, []

    def interrupted(config, out, resume, report, progress):  # type: ignore[no-untyped-def]
        begun.append(out)

        def tell(line: str) -> None:
            report(line)
            if len(begun) == 2 and line.startswith("epoch 1/"):
                raise stop

        return real(config, out, resume, tell, progress)

    command = small(table, tmp_path, "--set", "training.epochs=2")
    with monkeypatch.context() as patch:
        patch.setattr(vqazoo.training.sweep, "run_training", interrupted)
        if stop is KeyboardInterrupt:
            assert run(command) == 130
        else:
            with pytest.raises(stop):
                run(command)
    assert len(rows_of(tmp_path)) == 1
    capsys.readouterr()
    assert run(command) == 0
    told = capsys.readouterr().err
    assert "[1/2] tiny-clip, linear, seed 0: training" not in told
    assert "[2/2] tiny-clip, linear, seed 1: training" in told
    assert len(rows_of(tmp_path)) == 2


@pytest.mark.parametrize("first", ["tiny-clip", "efficientnet-lite0"])
def test_parts_that_do_not_fit_are_a_dash(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], first: str
) -> None:
    """Whether they come first or last; the one has no text tower."""
    encoders = sorted(["tiny-clip", "efficientnet-lite0"], key=lambda name: name != first)
    grid = ["--encoders", *encoders, "--heads", "linear", "--seeds", "0"]
    assert run(arguments(table, tmp_path, grid=grid)) == 0
    cells = cells_of(tmp_path)
    assert cells["efficientnet-lite0"] == ["-"]
    assert cells["tiny-clip"][0].endswith("± 0.00")
    assert "has no text tower" in capsys.readouterr().err
    assert {row["encoder"]: row["value"] for row in rows_of(tmp_path)}["efficientnet-lite0"] == ""
    assert (tmp_path / "results.png").is_file()


def test_nothing_that_fits_is_an_error(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["--encoders", "efficientnet-lite0", "--heads", "linear", "--seeds", "0"]
    assert run(arguments(table, tmp_path / "out", grid=grid)) == 1
    assert "No combination fits together, so nothing was trained" in capsys.readouterr().err


@pytest.mark.parametrize(
    "heads",
    [
        ["--heads", "mlp", "gru"],
        ["--heads", "mlp", "--heads", "gru"],
        ["--heads=mlp", "gru"],
        ["--heads", "mlp", "gru", "mlp"],
    ],
)
def test_lists_are_spread_over_words_or_options(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heads: list[str]
) -> None:
    seen: list[vqazoo.training.sweep.Cell] = []

    def look(cells, out, *_):  # type: ignore[no-untyped-def]
        seen.extend(cells)
        (out / "results.md").write_text("")
        return [vqazoo.training.sweep.Result(cell, 0.5) for cell in cells]

    monkeypatch.setattr(vqazoo.training.sweep, "sweep", look)
    grid = ["--seeds", "3", "4", *heads, "--encoders", "tiny-clip"]
    assert run(arguments(table, tmp_path, grid=grid)) == 0
    assert [(cell.head, cell.seed) for cell in seen] == [
        ("mlp", 3),
        ("mlp", 4),
        ("gru", 3),
        ("gru", 4),
    ]


def test_another_split_is_scored_once(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small(table, tmp_path, "--split", "test")) == 0
    assert {row["split"] for row in rows_of(tmp_path)} == {"test"}
    assert {row["questions"] for row in rows_of(tmp_path)} == {"72"}

    def again(*_: object) -> None:
        pytest.fail("answered again")

    monkeypatch.setattr(vqazoo.training.sweep, "evaluate_questions", again)
    assert run(small(table, tmp_path, "--split", "test")) == 0


def test_mistakes_are_told_before_training(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small(table, tmp_path / "a", "--split", "tset")) == 1
    assert "Did you mean 'test'?" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert run(["sweep", "--heads", "mlp", "--out", str(tmp_path / "b")]) == 2
    assert "--encoders" in capsys.readouterr().err
    assert run(small(table, tmp_path / "c", "--seeds", "x")) == 2
    grid = ["--encoders", "tiny-clip", "--heads", "mlpp"]
    assert run(arguments(table, tmp_path / "d", grid=grid)) == 1
    assert "Did you mean 'mlp'" in capsys.readouterr().err

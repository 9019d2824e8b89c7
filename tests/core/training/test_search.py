"""`vqazoo sweep --search`: seeded, chosen on validation alone, and gone on with."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest

import vqazoo.training.search
from vqazoo.cli import run
from vqazoo.config import config_digest, read_toml, run_config
from vqazoo.registry import registry
from vqazoo.training.row_defaults import LARGE, SMALL, learning
from vqazoo.training.search import DROPOUT, SPACE, Parts, Range, search
from vqazoo.training.settings import gather_config

PAGE = Path(__file__).parents[3] / "docs/reference/training.md"
TRIALS = 3


def arguments(table: Path, out: Path, *more: str) -> list[str]:
    return [
        *("sweep", "--search", str(TRIALS), "--encoders", "tiny-clip", "--heads", "linear"),
        *("--data", "table", "--set", f"data.args.train={table}"),
        *("--set", f"data.args.test={table}", "--set", "training.epochs=1"),
        *("--out", str(out), *more),
    ]


def rows_of(out: Path) -> list[dict[str, str]]:
    with open(out / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def searched(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search, the best of which was scored on `test`."""
    out = tmp_path_factory.mktemp("search")
    more = ["--fusions", "hadamard", "sum", "--split", "test"]
    assert run(arguments(table, out, *more)) == 0
    return out


def test_so_many_trials_are_run_folders_and_rows_with_their_settings(searched: Path) -> None:
    rows = [row for row in rows_of(searched) if row["split"] == "validation"]
    assert [row["trial"] for row in rows] == ["1", "2", "3"]
    for row in rows:
        folder = searched / f"trial{int(row['trial']):03}" / "seed0"
        recipe = read_toml(folder / "recipe.toml")
        assert float(row["training.learning_rate"]) == recipe["training"]["learning_rate"]
        assert float(row[DROPOUT]) == recipe["head"]["args"]["dropout"]
        assert row["fusion"] == recipe["fusion"]["type"]
        assert row["training.epochs"] == ""  # it was given
        assert recipe["training"]["epochs"] == 1
        metrics = json.loads((folder / "best/metrics.json").read_text())
        assert float(row["value"]) == pytest.approx(metrics[0]["value"], abs=1e-6)
    assert len({row["training.learning_rate"] for row in rows}) == TRIALS


def test_only_the_best_on_validation_is_scored_on_the_split(searched: Path) -> None:
    rows = [row for row in rows_of(searched) if row["split"] == "validation"]
    best = max(rows, key=lambda row: float(row["value"]))["trial"]  # the first of equals
    tested = [row for row in rows_of(searched) if row["split"] == "test"]
    assert [row["trial"] for row in tested] == [best]
    assert [path.parent.parent.name for path in searched.glob("*/*/test")] == [
        f"trial{int(best):03}"
    ]


def test_an_interrupted_search_ends_as_if_it_had_not_been(
    table: Path, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, calls = vqazoo.training.search.run_training, []

    def interrupted(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*given)

    more = ["--fusions", "hadamard", "sum", "--split", "test"]
    monkeypatch.setattr(vqazoo.training.search, "run_training", interrupted)
    assert run(arguments(table, tmp_path, *more)) != 0
    assert len(rows_of(tmp_path)) == 1
    assert run(arguments(table, tmp_path, *more)) == 0
    assert len(calls) == TRIALS + 1  # the finished trial was not trained again
    assert (tmp_path / "results.csv").read_bytes() == (searched / "results.csv").read_bytes()


def test_the_first_trial_is_what_train_does_unasked(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(Exception):
        pass

    def seen(config: object, *_: object) -> None:
        seen_configs.append(config)
        raise Seen

    seen_configs: list = []
    monkeypatch.setattr(vqazoo.training.search, "run_training", seen)
    parts, given = Parts(["tiny-clip"], [], ["mlp"]), [f"data.args.train={table}"]
    with pytest.raises(Seen):
        search(parts, 1, [0], tmp_path, None, given, {"data": "table"})
    flags = {"encoder": "tiny-clip", "head": "mlp", "data": "table", "seed": 0}
    unasked = gather_config(None, given, flags, by_rows=True)
    assert config_digest(seen_configs[0]) == config_digest(unasked)


def test_the_space_holds_every_default() -> None:
    plain = run_config({"encoder": "tiny-clip", "head": "mlp", "data": "easy-vqa"}).training
    for chosen in (learning(SMALL - 1), learning(LARGE - 1), {}):
        for name, span in SPACE.items():
            if name != DROPOUT:
                key = name.removeprefix("training.")
                assert span.holds(chosen.get(key, getattr(plain, key))), name
    for head in registry.names("head"):
        args = registry.manifest("head", head).args
        assert "dropout" not in args or SPACE[DROPOUT].holds(args["dropout"].default), head


def test_the_page_tells_the_space() -> None:
    def told(span: Range) -> str:
        if span.choices:
            return ", ".join(f"{value:g}" for value in span.choices)
        how = f", by {span.step:g}" if span.step else "" if isinstance(span.low, int) else ", log"
        return f"{span.low:g} to {span.high:g}{how}"

    page = PAGE.read_text()
    for name, span in SPACE.items():
        assert f"| `{name}` | {told(span)} |" in page, name


def test_without_optuna_its_extra_is_named(
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run(arguments(table, tmp_path)) == 1
    assert "pip install 'vqazoo[search]'" in capsys.readouterr().err


def test_no_trial_begins_after_the_minutes(table: Path, searched: Path, tmp_path: Path) -> None:
    out = shutil.copytree(searched, tmp_path / "search")
    more = ["--fusions", "hadamard", "sum", "--minutes", "1e-9"]
    assert run(arguments(table, out, *more)) == 0
    assert [row["trial"] for row in rows_of(out)] == ["1"]


def test_minutes_without_a_search_are_refused(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = [*arguments(table, tmp_path), "--minutes", "1"]
    del grid[1:3]
    assert run(grid) == 2
    assert "give --search N too" in capsys.readouterr().err

"""The question-only baseline of a recipe, trained and scored with several seeds.

    python tests/benchmarks/question_only_seeds.py tiny-clip-linear-easyvqa --seeds 0 1 2

prints one JSON object a seed: what `vqazoo recipe run` writes as `question-only-accuracy`, and how
long training took. Runs that were stopped go on where they were.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from vqazoo.evaluation.split import evaluate_questions, read_split
from vqazoo.training.loop import run_training
from vqazoo.training.recipe_run import question_only
from vqazoo.training.settings import gather_config
from vqazoo.training.state import STATE
from vqazoo.zoo.recipes import recipe_file


def measure(recipe: str, seed: int, data_root: str, out: Path) -> dict[str, object]:
    """Train the baseline of a recipe from one seed, and score its test split."""
    assignments = [f"data.args.data_root={json.dumps(data_root)}"] if data_root else []
    config = gather_config(recipe_file(recipe), assignments, {"seed": seed})
    baseline = question_only(config)
    if baseline is None:
        raise SystemExit(f"The recipe '{recipe}' has no question-only baseline.")
    data, place = config.data, out / f"{recipe}-seed{seed}"
    questions = read_split(data.type, data.args, data.test_split, data.skip_missing)
    start = time.perf_counter()
    model = run_training(baseline, place, (place / STATE).exists(), lambda line: None, None)
    seconds = time.perf_counter() - start
    evaluation = evaluate_questions(model, questions, wups=False, report=lambda line: None)
    names = [metric.name for metric in evaluation.metrics]
    main = evaluation.metric("vqa-accuracy" if "vqa-accuracy" in names else "accuracy")
    return {
        "recipe": recipe,
        "seed": seed,
        "metric": main.name,
        "value": main.value,
        "interval": main.interval,
        "seconds": round(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-root", default="")
    parser.add_argument("--out", type=Path, help="where runs are kept; default: a passing folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        for seed in given.seeds:
            out = given.out or Path(passing)
            print(json.dumps(measure(given.recipe, seed, given.data_root, out)), flush=True)


if __name__ == "__main__":
    main()

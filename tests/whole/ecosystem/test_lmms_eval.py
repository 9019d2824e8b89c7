"""lmms-eval, in a process of its own, runs a packaged model as its model `vqazoo`.

lmms-eval pins packages that vqazoo does not. The tests take the interpreter named in
VQAZOO_LMMS_EVAL_PYTHON, which has lmms_eval and vqazoo, or this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vqazoo.evaluation.agreement import accuracies
from vqazoo.evaluation.tables import write_parquet

PYTHON = os.environ.get("VQAZOO_LMMS_EVAL_PYTHON", sys.executable)
MODEL = "tiny-clip-linear-easyvqa"
SHOW = "def show(row):\n    return [row['image'].convert('RGB')]\n"
SCORE = (
    "def score(row, results):\n"
    "    return {'exact_match': float(results[0].lower() == row['answers'][0].lower())}\n"
)
WRITTEN = """task: drawn_written
output_type: generate_until
process_results: !function functions.score
generation_kwargs: {max_new_tokens: 16}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
CHOSEN = """task: drawn_chosen
output_type: multiple_choice
doc_to_choice: ["yes", "no", "circle", "triangle"]
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
COMMON = """dataset_path: parquet
dataset_kwargs: {data_files: {test: "%s"}}
test_split: test
doc_to_visual: !function functions.show
doc_to_text: question
"""


def lmms_eval(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    caches = {
        "HF_HOME": folder / "hf",
        "HF_DATASETS_CACHE": folder / "cache",
        "LMMS_EVAL_HOME": folder / "home",
    }
    return subprocess.run(
        [PYTHON, "-m", "lmms_eval", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=900,
        env={
            **os.environ,
            **{name: str(path) for name, path in caches.items()},
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
    )


@pytest.fixture(scope="module")
def tasks(tmp_path_factory, split) -> Path:
    """Two tasks over the drawn pictures: answers that are written, and choices."""
    found = subprocess.run(
        [PYTHON, "-c", "import importlib.util as u; print(u.find_spec('lmms_eval') is not None)"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if found.stdout.strip() != "True":
        pytest.skip(f"{PYTHON} has no lmms_eval: name one that has in VQAZOO_LMMS_EVAL_PYTHON")
    folder = tmp_path_factory.mktemp("lmms")
    tasks = folder / "tasks"
    tasks.mkdir()
    write_parquet(split, folder / "test.parquet")
    (tasks / "functions.py").write_text(SHOW + SCORE)
    common = COMMON % (folder / "test.parquet")
    (tasks / "written.yaml").write_text(WRITTEN + common + "doc_to_target: question_id\n")
    (tasks / "chosen.yaml").write_text(CHOSEN + common + 'doc_to_target: "{{answers[0]}}"\n')
    return tasks


@pytest.fixture(scope="module")
def results(tasks) -> dict[str, dict[str, float]]:
    """What `python -m lmms_eval` says of both tasks."""
    done = lmms_eval(
        tasks.parent,
        "--model",
        "vqazoo",
        "--model_args",
        f"model={MODEL},device=cpu",
        "--tasks",
        "drawn_written,drawn_chosen",
        "--include_path",
        str(tasks),
        "--batch_size",
        "16",
        "--output_path",
        "out",
    )
    files = list((tasks.parent / "out").rglob("*results.json"))
    assert files, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(files[0].read_text())["results"]


def test_its_score_is_our_own_accuracy_on_the_same_questions(results, picker, split):
    ours = accuracies(split, picker.predict(split).answers).mean()
    assert 0 < ours < 1
    assert results["drawn_written"]["exact_match,none"] == pytest.approx(ours)


def test_of_given_choices_it_takes_the_one_our_model_finds_likeliest(results, picker, split):
    choices = ("yes", "no", "circle", "triangle")
    right = 0
    for example in split:
        best = picker.answer(example.image, example.question, top_k=len(picker.answers))
        chosen = max(
            (one for one in (best, *best.alternatives) if one.text in choices),
            key=lambda one: one.score,
        )
        right += chosen.text == example.answers[0]
    assert results["drawn_chosen"]["acc,none"] == pytest.approx(right / len(split))


def test_an_unknown_model_is_one_sentence_in_its_log(tasks):
    done = lmms_eval(
        tasks.parent,
        "--model",
        "vqazoo",
        "--model_args",
        "model=tiny-clip-lstm",
        "--tasks",
        "drawn_written",
        "--include_path",
        str(tasks),
    )
    assert "Unknown model 'tiny-clip-lstm'. Did you mean" in done.stdout + done.stderr

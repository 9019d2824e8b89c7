"""The Hub's result files travel with a model: pushed with their source, pulled, and accepted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries

import vqazoo
from tests.whole.hub.models import REPO, refused, told
from vqazoo.files.writing import EVAL_RESULTS

SHAPES = "hf:me/shapes"


@pytest.fixture
def scored(folder: Path) -> Path:
    """A checkpoint folder with a score on a data set of the Hub."""
    known = json.loads((folder / "metrics.json").read_text())
    (accuracy,) = (m for m in known if m["name"] == "accuracy")
    signature = f"accuracy|v1|data:{SHAPES}|split:test|n:7"
    known.append({**accuracy, "value": 0.625, "split": "test", "questions": 7})
    known[-1] |= {"signature": signature, "date": "2031-02-03"}
    (folder / "metrics.json").write_text(json.dumps(known))
    return folder


def test_results_are_pushed_with_their_source_and_pulled_again(hub, ada, scored, tmp_path, capsys):
    vqazoo.push(scored, REPO)
    content = hub.files(REPO)[EVAL_RESULTS]
    assert parse_eval_result_entries(yaml.safe_load(content)) == [
        EvalResultEntry(
            dataset_id="me/shapes",
            task_id="default",
            value=62.5,
            date="2031-02-03",
            source_url=f"{hub.url}/{REPO}/blob/main/metrics.json",
            source_name="vqazoo eval",
            notes="accuracy in percent, split test, 7 questions",
        )
    ]
    pulled = tmp_path / "pulled"
    for _ in range(2):  # the second replaces the first, hidden folder included
        told(["pull", f"hub:{REPO}", pulled], capsys)
        assert (pulled / EVAL_RESULTS).read_bytes() == content
    told(["check", pulled], capsys)
    assert vqazoo.load(f"dir:{pulled}").answers
    again = vqazoo.push(pulled, REPO)
    assert (again.commit, hub.files(REPO)[EVAL_RESULTS]) == (
        vqazoo.push(scored, REPO).commit,
        content,
    )


def test_a_push_says_which_scores_the_hub_is_not_told(hub, ada, scored, capsys):
    metrics = scored / "metrics.json"
    metrics.write_text(metrics.read_text().replace(SHAPES, "easy-vqa"))
    from vqazoo.cli import run

    assert run(["push", str(scored), REPO, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert f"{EVAL_RESULTS} leaves out the scores of easy-vqa, whose id on the Hub" in err
    assert EVAL_RESULTS not in out


def test_results_of_others_in_a_folder_are_not_replaced_by_a_pull(
    hub, ada, scored, tmp_path, capsys
):
    vqazoo.push(scored, REPO)
    pulled = vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled")
    (pulled / ".eval_results/mine.yaml").write_text("[]")
    assert "holds other files" in refused(["pull", f"hub:{REPO}", pulled], capsys)
    (pulled / ".eval_results/mine.yaml").unlink()
    shutil.rmtree(pulled / ".eval_results")
    vqazoo.pull(f"hub:{REPO}", pulled)
    assert (pulled / EVAL_RESULTS).is_file()

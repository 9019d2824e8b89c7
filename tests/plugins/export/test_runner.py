"""Exported folders answer as the original does, in a process without torch and vqazoo."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.plugins.export.conftest import LSTM
from vqazoo.cli import run
from vqazoo_export.agreement import agreement
from vqazoo_export.int8 import quantised
from vqazoo_export.tokens import RUNNER

pytestmark = pytest.mark.proof

TOLERANCE = 1e-4
ALONE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import run
asked = json.load(sys.stdin)
answers = [run.answer(picture, questions) for picture, questions in asked]
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"answers": answers, "modules": modules}))
"""


def alone(folder: Path, asked: list[tuple[str, list[str]]]) -> dict:
    """What run.py answers in a fresh, isolated process, and which packages it has imported."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(folder)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_the_runner_answers_as_the_original_and_needs_neither_torch_nor_vqazoo(
    lstm, exported_lstm, easy_questions
):
    asked = [(str(one.image), [one.question]) for one in easy_questions]
    found = alone(exported_lstm, asked)
    for example, (answer,) in zip(easy_questions, found["answers"], strict=True):
        expected = lstm.answer(example.image, example.question)
        assert answer["answer"] == expected.text
        assert answer["score"] == pytest.approx(expected.score, abs=TOLERANCE)
    installed = {"torch", "vqazoo", "tokenizers", "transformers", "onnx"} & set(found["modules"])
    assert installed == set()
    assert {"onnxruntime", "numpy", "PIL"} <= set(found["modules"])


def test_the_runner_imports_three_packages_only(exported_lstm):
    imported = set()
    for name in RUNNER:
        for node in ast.walk(ast.parse((exported_lstm / name).read_text())):
            if isinstance(node, ast.Import):
                imported |= {one.name.partition(".")[0] for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    others = imported - set(sys.stdlib_module_names) - {Path(name).stem for name in RUNNER}
    assert others == {"numpy", "onnxruntime", "PIL", "tokenizers"}  # the last only if asked for
    assert manifest(exported_lstm)["tokenizer"]["package"] == ""


def test_questions_of_different_lengths_in_one_batch_are_answered_as_alone(
    lstm, exported_lstm, easy_questions
):
    picture = str(easy_questions[0].image)
    questions = [
        "blue?",
        "what color is the shape?",
        "is there not a yellow triangle in the image?",
    ]
    (together,) = alone(exported_lstm, [(picture, questions)])["answers"]
    for expected, found in zip(lstm.answer(picture, questions), together, strict=True):
        assert found["answer"] == expected.text
        assert found["score"] == pytest.approx(expected.score, abs=TOLERANCE)


def test_three_graphs_tell_type_and_answerability_as_the_original(
    flawed, exported_flawed, easy_questions
):
    names = [one["file"] for one in manifest(exported_flawed)["graphs"]]
    assert names == ["image.onnx", "question.onnx", "answer.onnx"]
    picture = str(easy_questions[0].image)
    questions = sorted({one.question for one in easy_questions})[:20]
    (found,) = alone(exported_flawed, [(picture, questions)])["answers"]
    for expected, answer in zip(flawed.answer(picture, questions), found, strict=True):
        assert answer["answer"] == expected.text
        assert answer["answer_type"] == expected.answer_type
        assert answer["score"] == pytest.approx(expected.score, abs=TOLERANCE)
        assert answer["answerable"] == pytest.approx(expected.answerable, abs=TOLERANCE)


def test_the_command_tells_how_far_the_folder_agrees_with_the_original(flawed_by_command):
    _, printed = flawed_by_command
    assert printed["agreement"]["questions"] == 20
    assert printed["agreement"]["same"] == 1.0
    assert printed["agreement"]["score_difference"] < TOLERANCE


def test_the_image_graph_runs_once_for_many_questions(exported_flawed):
    import onnxruntime

    first, _, last = manifest(exported_flawed)["graphs"]
    session = onnxruntime.InferenceSession(exported_flawed / first["file"])
    pixels = np.zeros((1, *first["inputs"][0]["shape"][1:]), np.float32)
    given = dict(
        zip(
            [o["name"] for o in first["outputs"]],
            session.run(None, {"pixels": pixels}),
            strict=True,
        )
    )
    assert all(len(one) == 1 for one in given.values())
    assert set(given) <= {one["name"] for one in last["inputs"]}


def test_the_manifest_tells_every_file_and_tensor(exported_lstm):
    import onnxruntime

    said = manifest(exported_lstm)
    assert said["model"] == LSTM
    for name, digest in said["sha256"].items():
        assert hashlib.sha256((exported_lstm / name).read_bytes()).hexdigest() == digest
    written = {one.name for one in exported_lstm.iterdir() if one.name != "__pycache__"}
    assert written == {*said["sha256"], "manifest.json"}
    (graph,) = said["graphs"]
    session = onnxruntime.InferenceSession(exported_lstm / graph["file"])
    kinds = {"float32": "tensor(float)", "int64": "tensor(int64)", "bool": "tensor(bool)"}
    for told, found in zip(
        graph["inputs"] + graph["outputs"],
        session.get_inputs() + session.get_outputs(),
        strict=True,
    ):
        assert (told["name"], kinds[told["dtype"]]) == (found.name, found.type)
        fixed = [(a, b) for a, b in zip(told["shape"], found.shape, strict=True) if a != b]
        assert all(isinstance(a, str) and isinstance(b, str) for a, b in fixed)  # both dynamic


def test_int8_graphs_are_smaller_and_give_the_same_answers(
    lstm, exported_lstm, easy_questions, tmp_path
):
    small = tmp_path / "int8"
    shutil.copytree(exported_lstm, small)
    content = (small / "model.onnx").read_bytes()
    (small / "model.onnx").write_bytes(quantised(content))
    assert (small / "model.onnx").stat().st_size < 0.5 * len(content)
    found = agreement(lstm, small, easy_questions)
    assert found["same"] == 1.0
    assert found["score_difference"] < 0.02


def test_the_runner_without_a_question_says_how_it_is_called(exported_lstm):
    done = subprocess.run(
        [sys.executable, "-I", str(exported_lstm / "run.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "run.py [-h] [--top-k TOP_K] PICTURE QUESTION" in done.stderr


def test_the_command_refuses_in_a_sentence_and_says_what_is_cut(exported_lstm, tmp_path):
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        told = [sys.executable, "-I", str(exported_lstm / "run.py"), *arguments]
        return subprocess.run(told, capture_output=True, text=True, check=False)

    missing = str(tmp_path / "photo.png")
    done = command(missing, "what?")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: The image '{missing}' does not exist: check the path.\n"
    Image.new("RGB", (9, 9)).save(missing)
    done = command(missing, "  ")
    assert done.stderr == "Error: The question is empty: write a question in words.\n"
    done = command("--top-k", "2", missing, "what?")
    assert done.stderr.startswith("Error: This model writes its answer, and its graph gives ")
    done = command(missing, "what " * 200)
    assert done.returncode == 0
    assert done.stderr.startswith("The question has 200 tokens, but the text encoder reads at most")


def test_the_next_answers_are_those_of_the_original(flawed, exported_flawed, easy_questions):
    picture, question = str(easy_questions[0].image), easy_questions[0].question
    script = ALONE.replace("run.answer(picture, questions)", "run.answer(picture, questions, 3)")
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(exported_flawed)],
        input=json.dumps([(picture, [question])]),
        capture_output=True,
        text=True,
        check=True,
    )
    ((answer,),) = json.loads(done.stdout)["answers"]
    expected = flawed.answer(picture, question, top_k=3)
    said = [(answer["answer"], answer["score"])]
    said += [(other["answer"], other["score"]) for other in answer["alternatives"]]
    for (text, score), original in zip(said, (expected, *expected.alternatives), strict=True):
        assert text == original.text
        assert score == pytest.approx(original.score, abs=TOLERANCE)


def test_a_package_that_is_not_there_is_named_with_the_command(exported_lstm, tmp_path):
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text("import sys; sys.modules['onnxruntime'] = None\n")
    done = subprocess.run(
        [sys.executable, str(exported_lstm / "run.py"), "photo.png", "what?"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The package 'onnxruntime' is not installed: run  ")
    assert f'-m pip install -r "{exported_lstm / "requirements.txt"}"' in done.stderr


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run(["export", LSTM, "--out", str(tmp_path / "file" / "out")]) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"Error: The folder '{tmp_path / 'file'}' cannot be made (")
    assert told.endswith(": name another one.")

"""A model in a Triton repository: its config says what the graph beside it has, and no more."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import vqazoo
from tests.plugins.export.conftest import FLAWED, LSTM
from tests.plugins.export.test_runner import alone
from vqazoo.cli import run
from vqazoo.media.images import open_image
from vqazoo_export.command import export
from vqazoo_export.triton import model_config

TOLERANCE = 1e-4
NUMPY = {"TYPE_FP32": "float32", "TYPE_INT64": "int64", "TYPE_BOOL": "bool"}
ONNX = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64", "tensor(bool)": "TYPE_BOOL"}
SIDES = [
    {
        "file": "1/model.onnx",
        "inputs": [
            {"name": "pixels", "dtype": "float32", "shape": ["batch", 3, 64, 64]},
            {"name": "ids", "dtype": "int64", "shape": ["batch", "tokens"]},
        ],
        "outputs": [{"name": "answerable", "dtype": "float32", "shape": ["batch"]}],
    }
]


def parsed(text: str) -> dict[str, list[Any]]:
    """Protobuf's text form as lists by field; strict: what is not read whole is an error."""
    pieces = re.findall(r'"[^"\\]*"|[A-Za-z_]\w*|-?\d+|[{}\[\]:,]|\S', text)
    place = 0

    def take(*allowed: str) -> str:
        nonlocal place
        piece = pieces[place]
        assert not allowed or piece in allowed, (piece, allowed)
        place += 1
        return piece

    def scalar() -> Any:
        piece = take()
        assert re.fullmatch(r'"[^"]*"|[A-Z][A-Z0-9_]*|-?\d+', piece), piece
        return piece.strip('"') if not re.fullmatch(r"-?\d+", piece) else int(piece)

    def message(end: str | None) -> dict[str, list[Any]]:
        fields: dict[str, list[Any]] = {}
        while place < len(pieces) if end is None else pieces[place] != end:
            name = take()
            assert re.fullmatch(r"[a-z_]+", name), name
            values = fields.setdefault(name, [])
            if pieces[place] == "{":
                take("{")
                values.append(message("}"))
                take("}")
                continue
            take(":")
            if pieces[place] != "[":
                values.append(scalar())
                continue
            take("[")
            while pieces[place] != "]":
                values.append(scalar())
                if pieces[place] != "]":
                    take(",")
            take("]")
        return fields

    return message(None)


def rows(tensor: dict[str, list[Any]]) -> list[int]:
    """The dims that the graph has behind its batch."""
    return tensor["reshape"][0]["shape"] if "reshape" in tensor else tensor["dims"]


def exported(name: str, out: Path) -> Path:
    done = CliRunner().invoke(export, [name, "--to", "triton", "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out


def compared(name: str, folder: Path, pictures: list[Any], questions: list[str]) -> None:
    """Names, dtypes and dims of config and graph, and the graph's answers and the model's own."""
    import onnxruntime

    said = parsed((folder / "config.pbtxt").read_text(encoding="ascii"))
    assert said["backend"] == ["onnxruntime"]
    assert said["max_batch_size"] == [32]
    assert said["dynamic_batching"] == [{"max_queue_delay_microseconds": [5000]}]
    assert set(said) == {
        "backend",
        "default_model_filename",
        "max_batch_size",
        "input",
        "output",
        "dynamic_batching",
    }
    session = onnxruntime.InferenceSession(folder / "1" / said["default_model_filename"][0])
    for side, held in (("input", session.get_inputs()), ("output", session.get_outputs())):
        assert [tensor["name"] for tensor in said[side]] == [[node.name] for node in held]
        for tensor, node in zip(said[side], held, strict=True):
            assert tensor["data_type"] == [ONNX[node.type]]
            assert isinstance(node.shape[0], str)  # the batch is dynamic
            own = [-1 if isinstance(length, str) else length for length in node.shape[1:]]
            assert len(rows(tensor)) == len(own)
            # an unrolled loop may leave a length without a number in the graph
            for length, of_graph in zip(rows(tensor), own, strict=True):
                assert of_graph in (length, -1)
    model = vqazoo.load(name)
    pixels = np.stack([model.transform(picture).numpy() for picture in pictures])
    ids, mask = model.text_encoder.tokenize(questions)
    given = {"pixels": pixels, "ids": ids.numpy(), "mask": mask.numpy()}
    for tensor in said["input"]:
        assert given[tensor["name"][0]].dtype == NUMPY[tensor["data_type"][0]]
    outputs = dict(
        zip([t["name"][0] for t in said["output"]], session.run(None, given), strict=True)
    )
    for tensor in said["output"]:
        array = outputs[tensor["name"][0]]
        assert array.dtype == NUMPY[tensor["data_type"][0]]
        assert list(array.shape) == [len(questions), *rows(tensor)]
    for row, (picture, question) in enumerate(zip(pictures, questions, strict=True)):
        expected = model.answer(picture, question)
        best = outputs["scores"][row].max()
        assert best == pytest.approx(expected.score, abs=TOLERANCE)
        if "tokens" not in outputs:
            place = int(outputs["scores"][row].argmax())
            assert model.answers.texts[place] == expected.text


@pytest.mark.proof
@pytest.mark.parametrize("name", [pytest.param(FLAWED, marks=pytest.mark.apart), LSTM])
def test_the_config_is_that_of_the_graph_and_the_graph_answers_as_the_model(
    name, tmp_path, easy_questions
):
    folder = exported(name, tmp_path / "repository" / "vqa")
    some = easy_questions[::20]
    compared(name, folder, [open_image(e.image) for e in some], [e.question for e in some])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [graph["file"] for graph in manifest["graphs"]] == ["1/model.onnx"]
    ((answer,),) = alone(folder, [(str(some[0].image), [some[0].question])])["answers"]
    assert answer["answer"] == vqazoo.load(name).answer(some[0].image, some[0].question).text
    by_protobuf(folder / "config.pbtxt")
    as_the_page_says(name, folder, some[0].image, some[0].question, tmp_path)
    exported(name, folder)  # over itself


BY_THE_PAGE = """
import json, sys
FOLDER, FILE, QUESTION, out = sys.argv[1:]
sys.path.insert(0, FOLDER)
QUESTIONS, manifest = [QUESTION], json.load(open(f"{FOLDER}/manifest.json"))
import asking, numpy, pixels, tokens
numpy.savez(out, pixels=PIXELS, **TEXT)
"""
PAGE = Path(__file__).parents[3] / "docs/how-to/export.md"


def as_the_page_says(name: str, folder: Path, picture: Path, question: str, out: Path) -> None:
    """A client that knows the page and the folder alone makes the model's inputs."""
    section = PAGE.read_text().partition("## Triton and KServe")[2]
    seen, asked = re.findall(r"\| by `([^`]+)` \|", section)
    program = BY_THE_PAGE.replace("PIXELS", seen).replace("TEXT", asked)
    arguments = [folder, picture, question, out / "inputs.npz"]
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True, timeout=60)
    made, model = np.load(out / "inputs.npz"), vqazoo.load(name)
    ids, mask = model.text_encoder.tokenize([question])
    assert np.array_equal(made["pixels"][0], model.transform(open_image(picture)).numpy())
    assert np.array_equal(made["ids"], ids.numpy())
    assert np.array_equal(made["mask"], mask.numpy())


def by_protobuf(file: Path) -> None:
    """Where tritonclient is installed, its own message reads the file."""
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        return
    from google.protobuf import text_format

    place = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", place)
    assert spec is not None
    assert spec.loader is not None
    messages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(messages)
    said = text_format.Parse(file.read_text(), messages.ModelConfig())
    own = parsed(file.read_text())
    assert said.max_batch_size == own["max_batch_size"][0]
    assert [t.name for t in said.input] == [t["name"][0] for t in own["input"]]
    assert [list(t.dims) for t in said.output] == [t["dims"] for t in own["output"]]


def test_a_tensor_of_rows_alone_is_written_as_the_format_wants_it(tmp_path):
    said = parsed(model_config(SIDES[0]).decode())
    pixels, ids = said["input"]
    assert (pixels["data_type"], pixels["dims"]) == (["TYPE_FP32"], [3, 64, 64])
    assert (ids["data_type"], ids["dims"]) == (["TYPE_INT64"], [-1])
    (answerable,) = said["output"]
    assert (answerable["dims"], answerable["reshape"]) == ([1], [{"shape": []}])
    (tmp_path / "config.pbtxt").write_bytes(model_config(SIDES[0]))
    by_protobuf(tmp_path / "config.pbtxt")


def test_three_graphs_are_no_model_of_a_repository(tmp_path, capsys):
    given = [FLAWED, "--to", "triton", "--graphs", "three", "--out", str(tmp_path / "out")]
    assert run(["export", *given]) == 1
    assert "leave out --graphs=three, or use --to onnx" in capsys.readouterr().err

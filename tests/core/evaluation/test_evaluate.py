"""`vqazoo.evaluate`: a split is asked and scored by one function, which the verbs share."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vqazoo
import vqazoo.evaluation.split
from tests.core.test_captions_and_ranking import build
from vqazoo.cli import run
from vqazoo.data import DatasetReader, Example, open_dataset
from vqazoo.errors import ConfigError, DataError, UnknownNameError
from vqazoo.evaluation.metrics import wups
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.training.validation import mean_loss

ROOT = Path(__file__).parents[3]
MODEL = "tiny-clip-linear-easyvqa"


def reader_of(table: Path) -> DatasetReader:
    return open_dataset("table", {"test": str(table)})


def metrics_of(evaluation: vqazoo.Evaluation) -> Any:
    """As metrics.json holds them."""
    return json.loads(json.dumps([metric.to_json() for metric in evaluation.metrics]))


@pytest.fixture(scope="module")
def by_command(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `vqazoo eval` writes about the table."""
    out = tmp_path_factory.mktemp("eval")
    data = ["--data", "table", "--set", f"test={table}"]
    assert run(["eval", MODEL, *data, "--out", str(out), "--device", "cpu"]) == 0
    return out


@pytest.fixture(scope="module")
def model() -> VQAModel:
    return vqazoo.load(MODEL)


def test_a_reference_a_model_a_name_and_a_reader_score_as_the_command_does(
    table: Path, by_command: Path, model: VQAModel, tmp_path: Path
) -> None:
    expected = json.loads((by_command / "metrics.json").read_text())
    args = {"test": str(table)}
    by_reference = vqazoo.evaluate(MODEL, "Table", "test", data_args=args, device="cpu")
    for evaluation in (by_reference, vqazoo.evaluate(model, reader_of(table))):
        assert metrics_of(evaluation) == expected
        evaluation.write(tmp_path)
        for file in ("predictions.csv", "predictions.jsonl", "metrics.json"):
            assert (tmp_path / file).read_bytes() == (by_command / file).read_bytes()
        pictures = {file.name for file in by_command.glob("*.png")}
        assert {file.name for file in tmp_path.glob("*.png")} == pictures
        assert pictures
    assert by_reference.model.startswith(f"{MODEL}|image:tiny-clip|text:tiny-clip|fusion:concat")


def test_pictures_are_drawn_on_request_only(table: Path, model: VQAModel, tmp_path: Path) -> None:
    vqazoo.evaluate(model, reader_of(table)).write(tmp_path / "new", pictures=False)
    written = {file.name for file in (tmp_path / "new").iterdir()}
    assert written == {"predictions.csv", "predictions.jsonl", "metrics.json"}
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to"):
        vqazoo.evaluate(model, reader_of(table)).write(tmp_path / "file")


def test_examples_and_rows_score_as_their_split(table: Path, model: VQAModel) -> None:
    """A table in memory goes through `predict`, and gets the same answers and scores."""
    examples = reader_of(table).read("test")
    with open(table, newline="") as handle:
        rows: list[dict[str, Any]] = list(csv.DictReader(handle))
    for row in rows:
        row["image"] = str(table.parent / row["image"])
        row["answer"] = row["answer"].split("|")
    of_split = vqazoo.evaluate(model, reader_of(table))
    for data in (examples, rows):
        evaluation = vqazoo.evaluate(model, data)
        assert evaluation.metric("accuracy").value == of_split.metric("accuracy").value
        assert evaluation.metric("accuracy").interval == of_split.metric("accuracy").interval
        assert [row["answer"] for row in evaluation.predictions] == [
            row["answer"] for row in of_split.predictions
        ]
        assert "|data:rows in memory|split:all|" in evaluation.metric("accuracy").signature
    assert "|split:mine|" in vqazoo.evaluate(model, examples, "mine").metric("accuracy").signature


def test_a_reader_without_a_name_says_so_in_the_signature(table: Path, model: VQAModel) -> None:
    class Mine(DatasetReader):
        def splits(self) -> list[str]:
            return ["test"]

        def read(self, split: str) -> list[Example]:
            return reader_of(table).read(split)

    evaluation = vqazoo.evaluate(model, Mine())
    assert "|data:Mine (not registered)|" in evaluation.metric("accuracy").signature
    with pytest.raises(UnknownNameError, match="Did you mean 'test'"):
        vqazoo.evaluate(model, Mine(), "tset")


def test_the_data_of_a_recipe_is_the_default(table: Path, tmp_path: Path) -> None:
    trained = vqazoo.train(
        out=tmp_path / "run",
        encoder="tiny-clip",
        head="linear",
        data={"type": "table", "args": {"train": str(table), "test": str(table)}},
        set=["training.epochs=1", "training.device='cpu'"],
        report=lambda line: None,
    )
    evaluation = vqazoo.evaluate(f"dir:{tmp_path / 'run/best'}", device="cpu")
    assert (evaluation.data, evaluation.split) == ("table", "test")
    same = vqazoo.evaluate(trained.cpu(), reader_of(table))
    assert metrics_of(evaluation) == metrics_of(same)
    with pytest.raises(ConfigError, match="a model in memory does not say"):
        vqazoo.evaluate(trained)


def test_options_and_candidates_are_signed(table: Path) -> None:
    writer = vqazoo.load("tiny-clip-lstm-easyvqa")
    rows = reader_of(table).read("test")[:6]
    beam = vqazoo.evaluate(writer, rows, decode={"strategy": "beam"})
    assert "|decode:" in beam.metric("accuracy").signature
    assert "|decode:" in beam.model
    chosen = vqazoo.evaluate(writer, rows, candidates=["yes", "no"])
    assert "rank of 2 candidates" in chosen.model
    assert {row["answer"] for row in chosen.predictions} <= {"yes", "no"}
    with pytest.raises(ConfigError, match="knows none of the 1 candidates, such as 'zebra'"):
        vqazoo.evaluate(writer, [{"image": rows[0].image, "question": "a?"}], candidates=["zebra"])


def test_a_split_without_answers_is_predicted_but_not_scored(
    table: Path, model: VQAModel, tmp_path: Path
) -> None:
    rows = [{"image": table.parent / "0.png", "question": "what shape is it?"}]
    evaluation = vqazoo.evaluate(model, rows)
    assert evaluation.metrics == ()
    assert evaluation.predictions[0]["answer"]
    evaluation.write(tmp_path)
    assert not (tmp_path / "metrics.json").exists()
    with pytest.raises(DataError, match="no answers: nothing can be scored"):
        evaluation.metric("accuracy")


def test_mistakes_are_one_sentence(
    table: Path, model: VQAModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = reader_of(table).read("test")[:3]
    with pytest.raises(ConfigError, match=r"model is a PosixPath.*'dir:FOLDER'"):
        vqazoo.evaluate(tmp_path, rows)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the data is no name"):
        vqazoo.evaluate(model, rows, data_args={"test": "x"})
    with pytest.raises(DataError, match="no rows"):
        vqazoo.evaluate(model, [])
    with pytest.raises(UnknownNameError, match=r"'acuracy' was not measured\. Did you mean"):
        vqazoo.evaluate(model, rows).metric("acuracy")
    gone = Example(tmp_path / "no.png", "why?", ("x",), "9")
    with pytest.raises(DataError, match="does not exist"):
        vqazoo.evaluate(model, [*rows, gone], missing=tmp_path / "missing.txt")
    told: list[str] = []
    kept = vqazoo.evaluate(
        model, [*rows, gone], skip_missing=True, missing=tmp_path / "m.txt", report=told.append
    )
    assert len(kept.predictions) == 3
    assert told[0].startswith("Left out 1 questions")

    def absent() -> None:
        raise DataError("WordNet 3.0 was not found: install it.")

    def asked(*_: Any) -> None:
        pytest.fail("asked all questions before it was told")

    monkeypatch.setattr(wups, "wordnet_similarity", absent)
    monkeypatch.setattr(vqazoo.evaluation.split, "answer_split", asked)
    with pytest.raises(DataError, match="WordNet"):
        vqazoo.evaluate(model, rows, wups=True)


# ---- modes --------------------------------------------------------------------------------------


class Watched(nn.Module):
    """Parts of different modes, one of which breaks when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.frozen = nn.Dropout(), nn.Sequential(nn.Dropout())
        self.frozen.eval()


def modes(module: nn.Module) -> list[bool]:
    return [part.training for part in module.modules()]


def test_each_part_gets_its_own_mode_back() -> None:
    module = Watched()
    before = modes(module)

    def fail() -> None:
        with evaluating(module):
            assert not any(modes(module))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert modes(module) == before
    module.training = False  # a part that trains inside one that does not
    before = modes(module)
    with evaluating(module):
        assert not any(modes(module))
    assert modes(module) == before == [False, True, False, False]


@pytest.fixture
def training(table: Path) -> Iterator[VQAModel]:
    model = vqazoo.load(MODEL)
    model.set_trainable(["*"])
    model.train()
    return model


def test_everything_is_encoded_and_answered_in_eval_mode(
    table: Path, training: VQAModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[bool] = set()
    for name in ("encode_image", "encode_text"):
        plain = getattr(training.image_encoder, name)

        def watched(*args: Any, plain: Any = plain) -> Any:
            seen.add(training.training or training.image_encoder.training)
            return plain(*args)

        monkeypatch.setattr(training.image_encoder, name, watched)
    before = modes(training)
    vqazoo.evaluate(training, reader_of(table))
    assert seen == {False}
    assert modes(training) == before


def test_an_error_leaves_the_model_in_the_mode_of_before(
    table: Path, training: VQAModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = modes(training)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    rows = reader_of(table).read("test")
    for part, name in ((training.image_encoder, "encode_image"), (training.head, "predict")):
        with monkeypatch.context() as patch:
            patch.setattr(part, name, broken)
            with pytest.raises(RuntimeError, match="broken"):
                vqazoo.evaluate(training, rows)
        assert modes(training) == before


def test_an_error_in_the_validation_loss_leaves_the_mode_of_before(training: VQAModel) -> None:
    class Broken:
        def batch(self, rows: torch.Tensor) -> Any:
            raise RuntimeError("broken")

    before = modes(training)
    example = Example(Path("0.png"), "why?", ("yes",), "1", targets=(("yes", 1.0),))
    targets = training.head.targets([example])
    with pytest.raises(RuntimeError, match="broken"):
        mean_loss(training, Broken(), targets, 0)
    assert modes(training) == before


def test_nobody_else_remembers_a_mode_and_puts_it_back() -> None:
    """`x = model.training ... model.train(x)` is what `evaluating` does, and does after errors."""
    pairs = []
    for file in [*ROOT.glob("vqazoo/**/*.py"), *ROOT.glob("plugins/**/*.py")]:
        for function in ast.walk(ast.parse(file.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            nodes = list(ast.walk(function))
            remembers = any(
                isinstance(node, ast.Attribute)
                and node.attr == "training"
                and isinstance(node.ctx, ast.Load)
                for node in nodes
            )
            puts_back = any(
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "train"
                and [type(given) for given in node.args] == [ast.Name]
                for node in nodes
            )
            if remembers and puts_back:
                pairs.append(f"{file.name}: {function.name}")
    assert pairs == []


def test_towers_trained_by_hand_are_not_read_from_the_cache_of_their_reference(
    table: Path, tmp_path: Path
) -> None:
    rows = reader_of(table).read("test")[:8]
    plain = vqazoo.load(MODEL)
    vqazoo.evaluate(plain, rows, cache=tmp_path)
    moved = vqazoo.load(MODEL)
    moved.towers.requires_grad_(True)
    with torch.no_grad():
        for parameter in moved.image_encoder.parameters():
            parameter.mul_(0.5)
    evaluation = vqazoo.evaluate(moved, rows, cache=tmp_path)
    expected = moved.predict(rows)
    assert [row["answer"] for row in evaluation.predictions] == [r["answer"] for r in expected]
    assert [row["score"] for row in evaluation.predictions] == pytest.approx(
        [row["score"] for row in expected], abs=1e-3
    )


# ---- other tables -------------------------------------------------------------------------------


def test_pictures_in_memory_frames_and_generators_are_scored(table: Path, model: VQAModel) -> None:
    pandas = pytest.importorskip("pandas")
    examples = reader_of(table).read("test")
    rows = [
        {
            "image": Image.fromarray(np.asarray(Image.open(example.image))),
            "question": example.question,
            "answer": list(example.answers),
        }
        for example in examples
    ]
    expected = vqazoo.evaluate(model, examples).metric("accuracy")
    for data in (rows, iter(rows), pandas.DataFrame(rows)):
        metric = vqazoo.evaluate(model, data).metric("accuracy")
        assert metric.value == expected.value
        assert metric.interval is not None
        low, high = metric.interval
        assert low < metric.value < high, "pictures without a file are not all one picture"


def test_candidates_of_a_table_are_ranked_as_those_of_a_split(table: Path) -> None:
    ranker, candidates = build(frames=0), ["red", "blue circle", "a shape"]
    examples = reader_of(table).read("test")[:6]
    rows = [{"image": example.image, "question": example.question} for example in examples]
    of_split = vqazoo.evaluate(ranker, examples, candidates=candidates)
    of_table = vqazoo.evaluate(ranker, rows, candidates=candidates)
    given = [row["answer"] for row in of_table.predictions]
    assert given == [row["answer"] for row in of_split.predictions]
    assert set(given) <= set(candidates)
    assert "|decode:rank of 3 candidates" in of_split.metric("accuracy").signature
    for data in (examples, rows):
        with pytest.raises(ConfigError, match="candidates to choose from are given too"):
            vqazoo.evaluate(ranker, data, candidates=candidates, decode={"strategy": "beam"})


def test_a_zoo_model_scores_on_its_own_data_what_its_card_says() -> None:
    pytest.importorskip("easy_vqa", reason="the package easy-vqa is not installed")
    card = json.loads((ROOT / "model_cards" / MODEL / "metrics.json").read_text())
    published = {metric["name"]: metric for metric in card if metric["split"] == "test"}
    evaluation = vqazoo.evaluate(MODEL, device="cpu")
    assert (evaluation.data, evaluation.split) == ("easy-vqa", "test")
    metric = evaluation.metric("accuracy")
    assert metric.signature == published["accuracy"]["signature"]
    assert metric.value == pytest.approx(published["accuracy"]["value"], abs=1e-3)

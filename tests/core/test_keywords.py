"""Errors speak to who called: flags on the command line, keywords in Python, of one sentence."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.data import open_dataset
from vqazoo.errors import ConfigError, VqazooError
from vqazoo.keywords import flags_named, in_keywords, names_keywords
from vqazoo.zoo.label import label_to_file
from vqazoo.zoo.predict import predict_to_file

ROOT = Path(__file__).parents[2]
FLAG = re.compile(r"(?<![\w-])--[a-z]")
SHELL = {"vqazoo/training/environment.py", "vqazoo/training/suggest.py"}  # which make commands
LAUNCHER = "--fsdp_version 2"  # a flag of accelerate, not of ours
OF_CALLERS = {
    "train": vqazoo.train,
    "evaluate": vqazoo.evaluate,
    "push": vqazoo.push,
    "open_dataset": open_dataset,
    "rank": vqazoo.VQAModel.rank,
}


def told(action: Callable[[], Any]) -> str:
    with pytest.raises(VqazooError) as caught:
        action()
    return str(caught.value)


def test_training_names_its_own_keywords(tmp_path: Path) -> None:
    said = told(lambda: vqazoo.train("easy-vqa", out=tmp_path / "run", text_encoder="minilm"))
    assert "give encoder= for both towers, or image_encoder= for this one" in said
    said = told(lambda: vqazoo.train(out=tmp_path / "run", encoder="tiny-clip", head="mlp"))
    assert said.startswith("No data is named: give data=, or [data]")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.safetensors").write_bytes(b"")
    said = told(
        lambda: vqazoo.train(
            "easy-vqa", out=tmp_path / "run", encoder="tiny-clip", head="mlp", epochs=1
        )
    )
    assert said.endswith(
        "already holds a run: add resume=True to go on with it, or choose another out=."
    )


@pytest.mark.parametrize("function", [vqazoo.train, vqazoo.evaluate, vqazoo.load])
def test_a_keyword_that_is_not_there_is_told_with_the_function_and_what_was_meant(
    function: Callable[..., Any],
) -> None:
    name = function.__name__
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'devic'"):
        function("tiny-clip-gru-easyvqa", devic="cpu")
    with pytest.raises(TypeError, match=r"Did you mean 'device'"):
        function("tiny-clip-gru-easyvqa", devic="cpu")


def test_so_do_others_each_as_it_takes_them(tmp_path: Path) -> None:
    model = "tiny-clip-linear-easyvqa"
    assert 'data_args={"data_root": DIR}' in told(lambda: vqazoo.evaluate(model, "vizwiz"))
    assert 'args={"data_root": DIR}' in told(lambda: open_dataset("vizwiz", {"data_root": ""}))
    table = tmp_path / "mine.csv"
    table.write_text("Bild,Frage\na.png,what?\n")
    said = told(lambda: vqazoo.evaluate(model, str(table)))
    assert re.search(r'data_args=\{"image_column": .*"question_column": .*\}', said), said
    Image.new("RGB", (64, 64)).save(tmp_path / "b.png")
    table.write_text("image,question\na.png,what?\nb.png,what?\n")
    said = told(lambda: vqazoo.evaluate(model, str(table)))
    assert said.endswith("or leave out 1 question with skip_missing=True.")


def test_the_command_line_keeps_its_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--text-encoder", "minilm", "--head", "mlp", "--out", str(tmp_path / "run")]
    assert run(["train", "--data", "easy-vqa", *named]) == 1
    assert "give --encoder for both towers, or --image-encoder" in capsys.readouterr().err
    assert run(["eval", "tiny-clip-linear-easyvqa", "--data", "vizwiz"]) == 1
    assert "give --data-root DIR" in capsys.readouterr().err


def test_a_server_of_the_command_line_keeps_them_in_its_threads() -> None:
    @names_keywords
    def fail(out: str = "") -> None:
        raise ConfigError("choose another --out.")

    said: list[str] = []
    with flags_named():
        thread = threading.Thread(target=lambda: said.append(told(fail)))
        thread.start()
        thread.join()
    assert [*said, told(fail)] == ["choose another --out.", "choose another out=."]


def test_what_the_outermost_function_takes_is_named_and_lines_of_a_report_too() -> None:
    @names_keywords
    def inner(args: dict[str, str]) -> None:
        raise ConfigError("give --data-root DIR.")

    @names_keywords
    def outer(*, data_args: dict[str, str] | None = None, report: Any = print) -> None:
        report("leave out --private, or run  vqazoo push FOLDER --private  again.")
        inner({})

    lines: list[str] = []
    assert told(lambda: outer(report=lines.append)) == 'give data_args={"data_root": DIR}.'
    assert lines == ["leave out private=True, or run  vqazoo push FOLDER --private  again."]


@pytest.mark.parametrize(
    ("text", "caller", "expected"),
    [
        ("or ask with --nearest.", "rank", 'or ask with unknown="nearest".'),
        ("use --to onnx.", "train", 'use to="onnx".'),
        ("add --set web=true.", "evaluate", 'add data_args={"web": True}.'),
        ("add --set web=true.", "train", 'add set=["data.args.web=true"].'),
        (
            "add --set 'image_column=my file' --set answer_column=said.",
            "evaluate",
            'add data_args={"image_column": "my file", "answer_column": "said"}.',
        ),
        ("lower --learning-rate or", "train", "lower learning_rate= or"),
        ("with --cache.", "train", 'with set=["training.cache=..."].'),
        ("as 'vqazoo compare --cost' says", "train", "as 'vqazoo compare --cost' says"),
        (
            "--metric-set gqa.choices=F/c.json .",
            "evaluate",
            'metrics={"gqa": {"choices": "F/c.json"}} .',
        ),
    ],
)
def test_a_flag_is_said_as_a_function_takes_it(text: str, caller: str, expected: str) -> None:
    assert in_keywords(text, signature(OF_CALLERS[caller]).parameters) == expected


def messages() -> Iterator[tuple[str, str]]:
    """Every text with a flag in the core and the plugins, but for verbs, docstrings and files that
    run by themselves."""
    for file in sorted([*ROOT.glob("vqazoo/**/*.py"), *ROOT.glob("plugins/**/*.py")]):
        name = file.relative_to(ROOT).as_posix()
        verbs = "vqazoo/cli/" in name or "/runner/" in name or file.stem in ("command", "commands")
        if verbs or name in SHELL | {"vqazoo/keywords.py"}:
            continue
        if not FLAG.search(source := file.read_text(encoding="utf-8")):
            continue
        tree = ast.parse(source)
        joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        inside = {id(part) for node in joined for part in ast.walk(node) if part is not node}
        said = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in inside | said:
                continue
            text = ""
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "x" for p in node.values]
                text = "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            if FLAG.search(text):
                yield f"{name}:{node.lineno}", text


def test_no_message_of_the_library_names_a_flag_to_python() -> None:
    command = re.compile(r"(?:vqazoo|pip|hf) [a-z].*")
    found = list(messages())
    assert len(found) > 80
    left = []
    for place, text in found:
        for function in OF_CALLERS.values():
            seen = in_keywords(text, signature(function).parameters).replace(LAUNCHER, "")
            if FLAG.search(command.sub("", seen)):
                left.append(f"{place}: {seen}")
    assert not left, "\n".join(left)


def test_a_reader_called_by_hand_says_arguments_of_open_dataset(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_bytes("image,question,answer\na.png,wo ist die Küche?,da\n".encode("cp1252"))
    reader = open_dataset("table", {"train": str(tmp_path / "none.csv")})
    for failing in (lambda: reader.read("train"), lambda: next(reader.stream("train"))):
        assert not FLAG.search(said := told(failing)), said
    table.write_text("Bild,Frage,Antwort\na.png,what?,that\n")
    reader = open_dataset("table", {"train": str(table)})
    for failing in (lambda: reader.read("train"), lambda: next(reader.stream("train"))):
        assert re.search(r'args=\{"image_column": ', said := told(failing)), said
        assert not FLAG.search(said), said


def test_what_is_no_verb_of_python_but_public_does_so_too(tmp_path: Path) -> None:
    from vqazoo.training.suggest import try_parts
    from vqazoo.training.sweep import grid, sweep
    from vqazoo_export.folder import Options, export_model

    quiet: list[str] = []
    said = told(lambda: try_parts("vizwiz", tmp_path / "a", report=quiet.append))
    assert 'set=["data.args.data_root=DIR"]' in said or "data_root" in said
    assert not FLAG.search(said), said
    cells = grid(["tiny-clip"], [], ["mlp"], [0])
    flags = {"data": "vizwiz"}
    said = told(lambda: sweep(cells, tmp_path / "b", None, [], flags, "val", quiet.append))
    assert not FLAG.search(said), said
    model = vqazoo.load("tiny-clip-linear-easyvqa")
    options = Options("torch-export", int8=True)
    said = told(lambda: export_model(model, "a", tmp_path / "c", options))
    assert said == 'int8=True is for ONNX graphs: leave it out, or use to="onnx".'


def test_what_writes_files_does_so_too(tmp_path: Path) -> None:
    for write in (predict_to_file, label_to_file):
        said = told(lambda write=write: write("tiny-clip-linear-easyvqa", tmp_path / "a.txt"))
        assert said.endswith("was expected: name one with out=.")
    (tmp_path / "a.csv").touch()
    said = told(lambda: predict_to_file("tiny-clip-linear-easyvqa", tmp_path / "a.csv"))
    assert said.endswith("remove it, or name another file with out=.")
    said = told(lambda: predict_to_file("tiny-clip-linear-easyvqa", tmp_path / "b.csv", workers=2))
    assert 'add engine="ray", or leave them out' in said

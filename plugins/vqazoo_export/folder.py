"""The folder that an export writes: graphs, manifest.json, tokenizer.json and the runner.

Imports torch; onnx, onnxscript and onnxruntime where they are needed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from vqazoo.amounts import size
from vqazoo.errors import ConfigError, missing_package
from vqazoo.files.keys import read_object
from vqazoo.files.writing import json_bytes, while_writing, write_folder
from vqazoo.keywords import names_keywords
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.progress import Progress, Report, unshown
from vqazoo.version import __version__
from vqazoo_export.graphs import TOKEN_AXIS, Graph, as_archive, as_onnx, graphs_of, traced
from vqazoo_export.heads import exported_head, longest_question
from vqazoo_export.int8 import quantised
from vqazoo_export.kept import MADE_OF, MANIFEST, KeptGraphs, digest_of
from vqazoo_export.tokens import exported_tokenizer, runner_files
from vqazoo_export.triton import CONFIG, VERSION, model_config
from vqazoo_export.web import page_files, web_runtime

FORMAT = 1
TORCH, WEB, TRITON = "torch-export", "web", "triton"
LARGEST = 2_000_000_000  # bytes; an ONNX file is one protocol buffer, which holds 2 GiB


@dataclass(frozen=True)
class Options:
    """What to write.

    Attributes:
        to: `onnx`, `torch-export`, `triton` or `web`.
        graphs: `one` or `three`.
        int8: store weights in 8 bits.
        runtime: folder with onnxruntime-web's files, for `web`.
    """

    to: str
    graphs: str = "one"
    int8: bool = False
    runtime: Path | None = None


@names_keywords
def export_model(
    model: VQAModel,
    ref: str,
    out: Path,
    options: Options,
    report: Report = lambda line: None,
    progress: Progress = unshown,
) -> dict[str, Any]:
    """Write a model for other runtimes and return its manifest; the folder appears whole or not.

    Graphs are kept in `<out>.parts` until all are there; an export that was stopped goes on there.

    Args:
        ref: the name the model was loaded by, which the manifest keeps.
        report: receives a line for each step, and for each graph that was written before.
        progress: shows the steps: tracing and writing of each graph.

    Raises:
        ConfigError: a part cannot be exported, the options or the folder do not fit, or another
            process writes that folder.
        WeightsError: a package is missing.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(while_writing(out, ConfigError))
        except OSError as error:
            raise _unwritable(out, error) from error
        return _export(model, ref, out, options, report, progress)


def _unwritable(out: Path, error: OSError) -> ConfigError:
    return ConfigError(f"'{out}' cannot be written ({error}): choose another --out.")


def _export(
    model: VQAModel,
    ref: str,
    out: Path,
    options: Options,
    report: Report,
    progress: Progress,
) -> dict[str, Any]:
    _check(model, out, options)
    runtime = web_runtime(options.runtime) if options.to == WEB else {}
    head = exported_head(model)
    tokenizer, question = exported_tokenizer(model.text_encoder, model.config.text_encoder.type)
    if options.to == WEB and question["package"]:
        raise ConfigError(
            f"The text encoder '{model.config.text_encoder.type}' cannot run in a browser page: "
            f"only byte-level byte-pair tokenizers are read there; use --to onnx."
        )
    with evaluating(model):
        question["most"] = longest_question(model, head)
        graphs = graphs_of(model, head, options.graphs)
        asked = {"to": options.to, "graphs": options.graphs, "int8": options.int8}
        kept = KeptGraphs(out, digest_of(model, asked), report)
        files = _contents(model, graphs, options, kept, progress)
        described = [
            {
                "file": name,
                "sha256": _digest(files[name]),
                "bytes": len(files[name]),
                **_tensors(graph),
            }
            for name, graph in zip(list(files), graphs, strict=True)
        ]
    files["tokenizer.json"] = tokenizer
    files |= {CONFIG: model_config(described[0])} if options.to == TRITON else {}
    files |= {} if options.to == TORCH else runner_files(bool(question["package"]))
    files |= page_files() | runtime if options.to == WEB else {}
    manifest = {
        "format": FORMAT,
        "vqazoo": __version__,
        "model": ref,
        "to": options.to,
        "int8": options.int8,
        "graphs": described,
        "preprocess": model.image_encoder.spec.preprocess.to_json(),
        "tokenizer": question,
        "head": head.facts,
        MADE_OF: kept.key,
        "sha256": {name: _digest(content) for name, content in files.items()},
    }
    try:
        write_folder(out, {**files, MANIFEST: json_bytes(manifest)}, [VERSION])
    except OSError as error:
        raise _unwritable(out, error) from error
    kept.tidy()
    return manifest


def _contents(
    model: VQAModel,
    graphs: Sequence[Graph],
    options: Options,
    kept: KeptGraphs,
    progress: Progress,
) -> dict[str, bytes]:
    """What the files of the graphs hold, by their names; each is traced, then written."""
    files: dict[str, bytes] = {}
    length = model.text_encoder.spec.context_length
    for step in progress(range(2 * len(graphs)), "steps of the export"):
        graph = graphs[step // 2]
        name = f"{_place(options.to)}{graph.name}{_ending(options.to)}"
        which = f"'{name}', graph {step // 2 + 1} of {len(graphs)}"
        if step % 2 == 0:
            if (known := kept.known(name)) is not None:
                files[name] = known
            else:
                kept.report(f"Tracing {which}.")
                program = traced(graph, length)
        elif name not in files:
            kept.report(f"Writing {which}.")
            try:
                files[name] = kept.keep(name, _written(graph, program, options))
            except OSError as error:
                raise _unwritable(kept.out, error) from error
    return files


def _check(model: VQAModel, out: Path, options: Options) -> None:
    """Before the work: packages, sizes, and that no other folder is overwritten."""
    if options.to != TORCH:
        for package in ("onnx", "onnxscript"):
            if importlib.util.find_spec(package) is None:
                raise missing_package("vqazoo export", package, "export")
        weights = sum(weight.nbytes for weight in model.parameters())
        if options.graphs == "one" and weights > LARGEST:
            raise ConfigError(
                f"The model has {size(weights)} of weights, but one ONNX file holds 2: use "
                f"--graphs three, or --to torch-export."
            )
        if options.to == TRITON and options.graphs != "one":
            raise ConfigError(
                "A model of a Triton repository is one graph: leave out --graphs=three, or use "
                "--to onnx."
            )
    elif options.int8:
        raise ConfigError("--int8 is for ONNX graphs: leave it out, or use --to onnx.")
    if not out.exists():
        return
    version = _format_of(out)
    if isinstance(version, int) and version > FORMAT:
        raise ConfigError(
            f"'{out}' holds an export of format version {version}, but vqazoo {__version__} writes "
            f"{FORMAT}, and overwrites none of a newer release: name a new folder with --out."
        )
    if not out.is_dir() or (any(out.iterdir()) and not _is_export(out)):
        raise ConfigError(f"'{out}' exists and is no earlier export: name a new folder with --out.")


def _format_of(folder: Path) -> Any:
    """What the manifest in a folder says of its format; None: it says nothing."""
    manifest = read_object(folder / MANIFEST)
    return manifest.get("format") if {"vqazoo", "sha256"} <= manifest.keys() else None


def _is_export(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        known = {name.partition("/")[0] for name in manifest["sha256"]}
        return manifest["format"] == FORMAT and {*known, MANIFEST} >= {
            path.name for path in folder.iterdir() if path.name != "__pycache__"
        }
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _place(to: str) -> str:
    return f"{VERSION}/" if to == TRITON else ""


def _ending(to: str) -> str:
    return ".pt2" if to == TORCH else ".onnx"


def _written(graph: Graph, program: ExportedProgram, options: Options) -> bytes:
    if options.to == TORCH:
        return as_archive(program)
    content = as_onnx(graph, program)
    return quantised(content) if options.int8 else content


def _tensors(graph: Graph) -> dict[str, Any]:
    """Names, dtypes and shapes of a graph's inputs and outputs."""
    with torch.no_grad():
        outputs = graph.module(*graph.example)
    return {
        "inputs": [_tensor(n, t) for n, t in zip(graph.inputs, graph.example, strict=True)],
        "outputs": [_tensor(n, t) for n, t in zip(graph.outputs, outputs, strict=True)],
    }


def _tensor(name: str, tensor: torch.Tensor) -> dict[str, Any]:
    shape: list[int | str] = ["batch", *tensor.shape[1:]]
    if name in TOKEN_AXIS:
        shape[1] = "tokens"
    return {"name": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": shape}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

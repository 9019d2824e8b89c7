"""What an export that was stopped had done: kept beside its folder until all is. Imports torch.

`exported.parts` holds a file a graph, written whole or not at all. Its first line has the digest of
what the graph is made of, and of the graph: a file of another model, of other options or of another
release, or one that is damaged, is never taken for it. A whole export says in its manifest what it
is made of, so that its graphs are taken too. What was compared with the original is a line a
picture of `agreement.jsonl`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vqazoo.config import config_digest
from vqazoo.files.json_text import json_text
from vqazoo.files.writing import write_file
from vqazoo.interfaces import floating_dtype, state_sha256
from vqazoo.model import VQAModel
from vqazoo.progress import Report

MANIFEST, MADE_OF = "manifest.json", "made_of"  # the key of the manifest for what graphs are of
ENDING, COMPARED = ".graph", "agreement.jsonl"
TRACERS = ("vqazoo", "torch", "onnx", "onnxscript", "onnxruntime")  # releases that make a graph


def digest_of(model: VQAModel, options: Mapping[str, Any]) -> str:
    """SHA-256 of all that graphs depend on: weights, configuration, calibration, the code of the
    parts, what is asked for, and the releases of what traces."""
    parts = (model.image_encoder, model.text_encoder, model.fusion, model.head)
    said = {
        "weights": [state_sha256(part) for part in parts],
        "code": [_source_digest(type(part)) for part in parts],
        "config": config_digest(model.config),
        "dtype": str(floating_dtype(model)),
        "preprocess": model.image_encoder.spec.preprocess.to_json(),
        "answers": list(model.answers.texts),
        "calibration": model.calibration.to_json() if model.calibration else None,
        "options": dict(options),
        "releases": {name: _release(name) for name in TRACERS},
    }
    return hashlib.sha256(json_text(said, sort_keys=True).encode()).hexdigest()


def parts_of(out: Path) -> Path:
    """Where is kept what was done for an export that is not finished."""
    return out.with_name(f"{out.name}.parts")


class KeptGraphs:
    """The graphs of one export.

    Attributes:
        out: the folder of the export; folder: where graphs are until all are there.
        key: what they are made of, as `digest_of` says.
    """

    def __init__(self, out: Path, key: str, report: Report) -> None:
        self.out, self.folder = out, parts_of(out)
        self.key, self.report = key, report

    def known(self, name: str) -> bytes | None:
        """The graph of that file name, which was written before; None: it was not."""
        for kept, place in (
            (self._read(self._file(name)), self.folder),
            (self._finished(name), self.out),
        ):
            if kept is not None:
                self.report(f"'{name}' was written before: it is taken from '{place}'.")
                return kept
        return None

    def keep(self, name: str, content: bytes) -> bytes:
        """The graph of that file name, kept from now on.

        Raises:
            OSError: it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        head = {"key": self.key, "sha256": hashlib.sha256(content).hexdigest()}
        write_file(self._file(name), json_text(head).encode() + b"\n" + content)
        return content

    def _file(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '-')}{ENDING}"

    def tidy(self) -> None:
        """Remove all graphs, also those of exports that were given up."""
        with suppress(OSError):  # what is left is taken away by the next export
            for file in (
                *self.folder.glob(f"*{ENDING}"),
                *self.folder.glob(f".*{ENDING}.new"),  # of a process that was killed
            ):
                file.unlink()
            self.folder.rmdir()

    def _read(self, file: Path) -> bytes | None:
        """The graph in a file; None: it is not there, of something else, or damaged."""
        try:
            with open(file, "rb") as handle:
                head = json.loads(handle.readline())
                if head["key"] != self.key:
                    return None
                content = handle.read()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return content if hashlib.sha256(content).hexdigest() == head["sha256"] else None

    def _finished(self, name: str) -> bytes | None:
        """The graph in the folder of the export; None: as of `_read`."""
        try:
            manifest = json.loads((self.out / MANIFEST).read_bytes())
            if manifest[MADE_OF] != self.key:
                return None
            content = (self.out / name).read_bytes()
            whole = hashlib.sha256(content).hexdigest() == manifest["sha256"][name]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return content if whole else None


class KeptAgreement:
    """How far a whole export agrees with the original, picture by picture.

    Attributes:
        file: a line a picture; the first has the digest of the manifest, so of all files.
    """

    def __init__(self, out: Path) -> None:
        self.file = parts_of(out) / COMPARED
        key = {"manifest": hashlib.sha256((out / MANIFEST).read_bytes()).hexdigest()}
        self._known: dict[str, tuple[int, float]] = {}
        lines = self._lines()
        if lines[:1] == [key]:
            self._known = {line["asked"]: (line["same"], line["largest"]) for line in lines[1:]}
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.file, json_text(key).encode() + b"\n")

    def of(
        self, picture: bytes, questions: Sequence[str], compare: Callable[[], tuple[int, float]]
    ) -> tuple[int, float]:
        """What `compare` says of a picture and its questions; known, if it was compared before.

        Raises:
            OSError: it cannot be kept.
        """
        asked = hashlib.sha256(picture + json_text(list(questions)).encode()).hexdigest()
        if asked not in self._known:
            same, largest = self._known[asked] = compare()
            line = json_text({"asked": asked, "same": same, "largest": largest})
            with open(self.file, "ab") as handle:
                handle.write(f"{line}\n".encode())
        return self._known[asked]

    def tidy(self) -> None:
        """Remove what was kept."""
        with suppress(OSError):
            self.file.unlink()
            self.file.parent.rmdir()

    def _lines(self) -> list[dict[str, Any]]:
        """The lines that are whole; a kill may have cut the last one, which is taken away."""
        lines: list[dict[str, Any]] = []
        try:
            content = self.file.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            lines = [json.loads(line) for line in whole.splitlines()]
            if whole != content:
                write_file(self.file, whole)
        except (OSError, ValueError):
            return []
        return lines


def _source_digest(kind: type) -> str:
    """Of the file that defines a part, which its author may have changed; empty: there is none."""
    try:
        return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return ""


def _release(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""

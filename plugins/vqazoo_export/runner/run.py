"""python run.py PICTURE QUESTION [QUESTION ...]    needs onnxruntime, numpy and Pillow."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # which `python -I` leaves out
from pixels import pixels  # type: ignore[import-not-found]  # noqa: E402
from tokens import Text  # type: ignore[import-not-found]  # noqa: E402

SAID = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
TEXT = Text(HERE, SAID)
GRAPHS = [(graph, onnxruntime.InferenceSession(HERE / graph["file"])) for graph in SAID["graphs"]]


def answer(picture: str, questions: list[str]) -> list[dict[str, Any]]:
    """One dictionary a question: answer, score, and what else the head says."""
    known = {"pixels": pixels(picture, SAID["preprocess"]), **TEXT.encode(questions)}
    for graph, session in GRAPHS:
        inputs = {entry["name"]: known[entry["name"]] for entry in graph["inputs"]}
        rows = max(map(len, inputs.values()))  # one picture serves all questions
        inputs = {
            name: np.repeat(array, rows // len(array), axis=0) for name, array in inputs.items()
        }
        names = [entry["name"] for entry in graph["outputs"]]
        known |= dict(zip(names, session.run(None, inputs), strict=True))
    return [TEXT.answer(known, row) for row in range(len(questions))]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    answers = answer(sys.argv[1], sys.argv[2:])
    text = json.dumps(answers, ensure_ascii=False, allow_nan=False, indent=2)
    # A terminal would obey some characters of an answer: they are written out.
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))

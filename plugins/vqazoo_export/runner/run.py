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
GRAPHS = [(one, onnxruntime.InferenceSession(HERE / one["file"])) for one in SAID["graphs"]]


def answer(picture: str, questions: list[str]) -> list[dict[str, Any]]:
    """One dictionary a question: answer, score, and what else the head says."""
    known = {"pixels": pixels(picture, SAID["preprocess"]), **TEXT.encode(questions)}
    for graph, session in GRAPHS:
        given = {one["name"]: known[one["name"]] for one in graph["inputs"]}
        rows = max(map(len, given.values()))  # one picture serves all questions
        given = {name: np.repeat(one, rows // len(one), axis=0) for name, one in given.items()}
        names = [one["name"] for one in graph["outputs"]]
        known |= dict(zip(names, session.run(None, given), strict=True))
    return [TEXT.answer(known, row) for row in range(len(questions))]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    found = answer(sys.argv[1], sys.argv[2:])
    text = json.dumps(found, ensure_ascii=False, allow_nan=False, indent=2)
    # A terminal would obey some characters of an answer: they are written out.
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))

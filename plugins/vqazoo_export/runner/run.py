"""Answers questions about a picture; needs what requirements.txt names, not vqazoo or torch."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # which `python -I` leaves out
try:
    import numpy as np
    import onnxruntime
    from asking import Refused, check_room, check_top_k, checked, opened  # type: ignore[import-not-found]
    from pixels import pixels  # type: ignore[import-not-found]
    from tokens import Text  # type: ignore[import-not-found]

    SAID = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    TEXT = Text(HERE, SAID)
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    install = f'{sys.executable} -m pip install -r "{HERE / "requirements.txt"}"'
    sys.exit(f"Error: The package '{error.name}' is not installed: run  {install}")
OPTIONS = onnxruntime.SessionOptions()
OPTIONS.log_severity_level = 3  # errors: earlier versions warn of shapes that they merge themselves
GRAPHS = [
    (graph, onnxruntime.InferenceSession(HERE / graph["file"], OPTIONS)) for graph in SAID["graphs"]
]


def answer(picture: str | Path, questions: list[str], top_k: int = 1) -> list[dict[str, Any]]:
    """One dictionary a question: answer, score, and what else the head says.

    Raises:
        Refused: the picture or a question cannot be used, or the graph gives no other answers.
    """
    check_top_k(top_k, SAID["head"]["kind"])
    asked = [checked(question) for question in questions]
    seen, read = pixels(opened(str(picture)), SAID["preprocess"]), TEXT.encode(asked)
    check_room(int(read["mask"].sum(axis=1).max()), SAID["tokenizer"]["most"])
    known = {"pixels": seen, **read}
    for graph, session in GRAPHS:
        inputs = {entry["name"]: known[entry["name"]] for entry in graph["inputs"]}
        rows = max(map(len, inputs.values()))  # one picture serves all questions
        inputs = {
            name: np.repeat(array, rows // len(array), axis=0) for name, array in inputs.items()
        }
        names = [entry["name"] for entry in graph["outputs"]]
        known |= dict(zip(names, session.run(None, inputs), strict=True))
    return [TEXT.answer(known, row, top_k) for row in range(len(asked))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    parser.add_argument("picture", metavar="PICTURE")
    parser.add_argument("questions", metavar="QUESTION", nargs="+")
    parser.add_argument("--top-k", type=int, default=1, help="how many answers to print")
    given = parser.parse_args()
    try:
        answers = answer(given.picture, given.questions, given.top_k)
    except Refused as refused:
        sys.exit(f"Error: {refused}")
    text = json.dumps(answers, ensure_ascii=False, allow_nan=False, indent=2)
    # A terminal would obey some characters of an answer: they are written out.
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


if __name__ == "__main__":
    main()

"""The head m4c beside the same head without words to copy, on drawn pictures of signs.

    python tests/benchmarks/reading_signs.py --out runs/signs --train 3000 --epochs 8

draws pictures of two to four signs in different colours, each with a made-up word that occurs on
no other sign, so that no answer to a test question about a word is in the answer list. What a
reader of text would find is told by who draws, with faults: one word in 20 is missed, one in 20 has
a wrong letter, boxes are a little off, the order is mixed, and one picture in five has a word that
is not there. Two questions a picture ask for words (by colour, by place, by size, or of both signs
from top to bottom) or for what the answer list knows (how many signs, whether there is one of a
colour).

Prints one JSON object a run: accuracy on the test split by type of question, and the share of
questions whose answer the sources spell, which is the most that can be reached.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

import vqazoo
from vqazoo.data import Example, OcrToken, open_dataset
from vqazoo.data.answers import same_answer

PIXELS = 256
COLOURS = {
    "red": (205, 40, 40),
    "green": (35, 140, 60),
    "blue": (40, 80, 200),
    "yellow": (240, 210, 50),
    "purple": (130, 50, 150),
    "orange": (235, 130, 30),
}
FUSIONS = {
    "placed-tokens": {"dim": 128},
    "prefix-mlp": {"num_layers": 0},
}  # the latter without boxes
COUNTS = ("two", "three", "four")
MISSED, MISREAD, INVENTED = 0.05, 0.05, 0.2
CONSONANTS, VOWELS, DIGITS = "bcdfghjklmnprstvz", "aeiou", "0123456789"


class Sign(NamedTuple):
    """A sign: its colour, its word, its edges in pixels and the size of its letters."""

    colour: str
    word: str
    box: tuple[int, int, int, int]
    letters: int


def words(rng: random.Random) -> Iterator[str]:
    """Made-up words, none twice: two or three syllables, one in four with two digits behind."""
    known: set[str] = set()
    while True:
        syllables = rng.choice((2, 2, 3))
        word = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(syllables))
        if rng.random() < 0.25:
            word = word[:4] + "".join(rng.choices(DIGITS, k=2))
        if word not in known:
            known.add(word)
            yield word


def placed(rng: random.Random, new: Iterator[str]) -> list[Sign]:
    """Two to four signs in different quarters of the picture, one with the largest letters."""
    count = rng.choice((2, 3, 4))
    quarters = rng.sample([(0, 0), (1, 0), (0, 1), (1, 1)], count)
    colours = rng.sample(list(COLOURS), count)
    signs = []
    for number, ((column, row), colour) in enumerate(zip(quarters, colours, strict=True)):
        letters, word = 24 if number == 0 else 15, next(new)
        width, height = letters * 4 + 14, letters + 14
        half = PIXELS // 2
        x = column * half + rng.randint(2, half - width - 2)
        y = row * half + rng.randint(6, half - height - 6)
        signs.append(Sign(colour, word, (x, y, x + width, y + height), letters))
    return signs


def drawn(signs: list[Sign], rng: random.Random) -> Image.Image:
    """The picture, on a light ground."""
    image = Image.new("RGB", (PIXELS, PIXELS), tuple(rng.randint(200, 245) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    for sign in signs:
        pen.rounded_rectangle(sign.box, 6, COLOURS[sign.colour], "black", 2)
        dark = sign.colour in ("yellow", "orange")
        middle = ((sign.box[0] + sign.box[2]) / 2, (sign.box[1] + sign.box[3]) / 2)
        font = ImageFont.load_default(sign.letters)
        pen.text(middle, sign.word, "black" if dark else "white", font, "mm")
    return image


def read(signs: list[Sign], rng: random.Random) -> list[dict[str, Any]]:
    """What a reader of text would find, with faults."""
    found = []
    for sign in signs:
        if rng.random() < MISSED:
            continue
        word = sign.word
        if rng.random() < MISREAD:
            place = rng.randrange(len(word))
            word = word[:place] + rng.choice(CONSONANTS + VOWELS) + word[place + 1 :]
        box = [min(1.0, max(0.0, edge / PIXELS + rng.uniform(-0.01, 0.01))) for edge in sign.box]
        found.append({"text": word, "box": box})
    if rng.random() < INVENTED:
        x, y = rng.uniform(0, 0.9), rng.uniform(0, 0.9)
        text = "".join(rng.choices(CONSONANTS, k=2))
        found.append({"text": text, "box": [x, y, x + 0.05, y + 0.05]})
    rng.shuffle(found)
    return found


def questions(signs: list[Sign], rng: random.Random) -> list[tuple[str, str, str]]:
    """Two questions with their answers and types."""
    one = rng.choice(signs)
    asked = [("colour", f"what does the {one.colour} sign say?", one.word)]
    sides: tuple[tuple[str, int, int], ...] = (
        ("left", 0, 1),
        ("right", 0, -1),
        ("top", 1, 1),
        ("bottom", 1, -1),
    )
    side, axis, sign_of = rng.choice(sides)
    first, second = sorted(signs, key=lambda sign: sign_of * sign.box[axis])[:2]
    if abs(first.box[axis] - second.box[axis]) > PIXELS / 8:
        asked.append(("place", f"what does the sign on the {side} say?", first.word))
    asked.append(("size", "what does the largest sign say?", signs[0].word))
    upper, lower = sorted(signs, key=lambda sign: sign.box[1])[:2]
    if len(signs) == 2 and lower.box[1] - upper.box[1] > PIXELS / 8:
        both = f"{upper.word} {lower.word}"
        asked.append(("both", "what do the signs say from top to bottom?", both))
    asked.append(("count", "how many signs are there?", COUNTS[len(signs) - 2]))
    colour = rng.choice([one.colour, rng.choice(list(COLOURS))])
    there = any(sign.colour == colour for sign in signs)
    asked.append(("yes/no", f"is there a {colour} sign?", "yes" if there else "no"))
    return [(question, answer, kind) for kind, question, answer in rng.sample(asked, 2)]


def draw(out: Path, pictures: dict[str, int], seed: int) -> dict[str, str]:
    """Draw the splits, JSON lines that `table` reads; their files by split."""
    rng = random.Random(seed)
    new, files = words(rng), {}
    for split, count in pictures.items():
        folder = out / split
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for number in range(count):
            signs = placed(rng, new)
            drawn(signs, rng).save(folder / f"{number}.png")
            found = read(signs, rng)
            for question, answer, kind in questions(signs, rng):
                rows.append(
                    {
                        "image": f"{split}/{number}.png",
                        "question": question,
                        "answer": answer,
                        "question_type": kind,
                        "ocr_tokens": found,
                    }
                )
        file = out / f"{split}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[split] = str(file)
    return files


def without_words(files: dict[str, str]) -> dict[str, str]:
    """The same splits, in whose pictures nothing was read."""
    emptied = {}
    for split, file in files.items():
        lines = Path(file).read_text().splitlines()
        rows = [json.loads(line) | {"ocr_tokens": []} for line in lines]
        emptied[split] = file.replace(".jsonl", "-unread.jsonl")
        Path(emptied[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return emptied


def reachable(example: Example, known: frozenset[str]) -> bool:
    """Whether known words and those in the picture spell the answer."""
    tokens: tuple[OcrToken, ...] = example.ocr_tokens or ()
    there = {token.text for token in tokens} | known
    return all(word in there for word in example.answers[0].split())


def measured(name: str, files: dict[str, str], given: argparse.Namespace) -> dict[str, Any]:
    """Train on one form of the splits, and score the test split by type of question."""
    vocabulary = 5000 if name == "vocabulary" else 5  # yes, no and the counts are the most frequent
    start = time.perf_counter()
    model = vqazoo.train(
        out=given.out / f"{name}-seed{given.seed}",
        encoder="tiny-clip",
        head={
            "type": "m4c",
            "args": {"dim": 128, "layers": 2, "steps": 4, "vocabulary": vocabulary, "places": 8},
        },
        fusion={"type": given.fusion, "args": FUSIONS[given.fusion]},
        data={"type": "table", "args": files},
        set=[
            'data.validation_split="validation"',
            f"training.epochs={given.epochs}",
            "training.learning_rate=0.001",
            "training.batch_size=64",
            'training.device="cpu"',
        ],
        seed=given.seed,
    )
    seconds = time.perf_counter() - start
    examples = open_dataset("table", _filled(files)).read("test")
    answers = model.predict(examples)
    scored: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    known = frozenset(model.head.words)
    for example, answer in zip(examples, answers.answers, strict=True):
        right = same_answer(example, answer.text), reachable(example, known)
        scored[example.question_type].append(right)
        scored["all"].append(right)
    return {
        "run": name,
        "seed": given.seed,
        "seconds": round(seconds),
        "parameters": sum(p.numel() for p in model.head.parameters()),
        **{
            kind: {
                "questions": len(rows),
                "accuracy": round(100 * sum(right for right, _ in rows) / len(rows), 2),
                "reachable": round(100 * sum(spelt for _, spelt in rows) / len(rows), 2),
            }
            for kind, rows in sorted(scored.items())
        },
    }


def _filled(files: dict[str, str]) -> dict[str, Any]:
    filled: dict[str, Any] = vqazoo.registry.registry.fill("dataset", "table", files)
    return filled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=3000, help="pictures to learn from")
    parser.add_argument("--test", type=int, default=500, help="pictures to test on")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fusion", choices=list(FUSIONS), default="placed-tokens")
    parser.add_argument("--runs", nargs="+", default=["pointer", "vocabulary"])
    given = parser.parse_args()
    pictures = {"train": given.train, "validation": 200, "test": given.test}
    files = draw(given.out / "data", pictures, seed=0)
    for name in given.runs:
        data = files if name == "pointer" else without_words(files)
        print(json.dumps(measured(name, data, given)), flush=True)


if __name__ == "__main__":
    main()

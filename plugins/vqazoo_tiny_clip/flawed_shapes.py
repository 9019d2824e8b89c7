"""Drawn pictures with the flaws of photographs, and questions some of which have no answer.

Imports Pillow.
"""

from __future__ import annotations

import json
import random
from hashlib import sha256
from pathlib import Path
from sys import intern
from typing import Any

from PIL import Image

from vqazoo.data import DatasetReader, Example
from vqazoo.data.answers import select_answer
from vqazoo.errors import DataError
from vqazoo.files.json_text import json_text
from vqazoo.files.writing import cache_home, make_once, write_file
from vqazoo.quality import FLAWS, NO_FLAW, QUALITY_QUESTION, UNRECOGNIZABLE
from vqazoo_tiny_clip.flaws import FLAWLESS, LEVELS, LIMITS, STRONG, WEAK, damage
from vqazoo_tiny_clip.render import COLOURS, PLURALS, SHAPES, Scene, Shape, draw_scene

VERSION = 1  # of pictures, questions and answers
QUESTIONS = "questions.json"
PICTURES = {"train": 12_000, "validation": 1_000, "test": 2_000}
# TinyCLIP was pretrained on pictures of the seed 0 and measured on those of 2**32 (pretrain.py).
SEEDS = {"train": 2**33, "validation": 2**33 + 1, "test": 2**33 + 2}


# ---- questions and people --------------------------------------------------------------------

UNANSWERABLE, UNSUITABLE = "unanswerable", "unsuitable image"
ASKS = {
    "presence": ("is there a {}?", "is there a {} in the image?", "does the image contain a {}?"),
    "count": ("how many {} are there?", "how many {} are in the image?"),
    "colour": ("what color is the {}?", "what is the color of the {}?"),
    "shape": ("what shape is the {} thing?", "what is the {} shape?"),
    "place": ("where is the {}?", "in which part of the image is the {}?"),
}
KINDS = {"presence": 23, "count": 16, "colour": 25, "shape": 18, "place": 18}  # how often
ABSENT = 0.32  # share of the colour, shape and place questions about what is not there
PEOPLE = 10
# Probability that one person gives the truth, a near miss or guess, and the two refusals.
SAYS = {
    FLAWLESS: (0.86, 0.08, 0.04, 0.02),
    WEAK: (0.70, 0.14, 0.08, 0.08),
    "absent": (0.0, 0.14, 0.78, 0.08),
    STRONG: (0.0, 0.08, 0.16, 0.76),
}
CONFIDENCES = ("yes", "maybe", "no")
AGREEING, DISSENTING = (0.80, 0.15, 0.05), (0.40, 0.40, 0.20)  # confidence of those who ...
NEAR_MISSES = {
    "red": ("orange", "pink"),
    "green": ("teal", "light green"),
    "blue": ("purple", "dark blue"),
    "yellow": ("orange", "gold"),
    "black": ("gray", "dark blue"),
    "gray": ("black", "silver"),
    "teal": ("green", "blue"),
    "brown": ("red", "orange"),
    "purple": ("pink", "blue"),
    "orange": ("brown", "yellow"),
    "pink": ("red", "purple"),
    "circle": ("ball", "dot"),
    "rectangle": ("square", "box"),
    "triangle": ("arrow", "cone"),
    "star": ("flower", "cross"),
    "cross": ("plus", "star"),
    "top left": ("top", "left"),
    "top": ("top left", "top right"),
    "top right": ("top", "right"),
    "left": ("top left", "bottom left"),
    "center": ("middle", "in the middle"),
    "right": ("top right", "bottom right"),
    "bottom left": ("bottom", "left"),
    "bottom": ("bottom left", "bottom right"),
    "bottom right": ("bottom", "right"),
    "yes": ("no",),
    "no": ("yes",),
    "1": ("2",),
    "2": ("1", "3"),
    "3": ("2", "4"),
    "4": ("3", "5"),
    "5": ("4", "6"),
}
GUESSES = {
    "presence": ("yes", "no"),
    "count": ("1", "2", "3"),
    "colour": tuple(COLOURS),
    "shape": tuple(SHAPES),
    "place": ("left", "right", "top", "bottom", "center"),
}


# ---- flaws as they are named in quality labels -----------------------------------------------

SCENE, FLAWS_OF_PICTURE = "scene", "flaws"  # what is asked about
JUDGES = 5  # people who look at a picture for VizWiz's quality labels; here all name every flaw
LABELS = {
    "": NO_FLAW,
    "blurred": FLAWS["BLR"],
    "bright": FLAWS["BRT"],
    "dark": FLAWS["DRK"],
    "covered": FLAWS["OBS"],
    "cut off": FLAWS["FRM"],
}


class FlawedShapes(DatasetReader):
    """Pictures of 64 x 64 pixels with two or three questions each, and ten answers to a question.

    It imitates why questions of VizWiz have no answer. 14% of the pictures have a strong flaw
    (blurred, dark, bright, covered by a finger, objects out of the frame): everything asked about
    them is answered "unsuitable image". 32% have the same flaws so weakly that questions can be
    answered, so that not every flaw forbids an answer; LIMITS is the rule. Of the questions for a
    colour, shape or place 32% are about something that is not there: "unanswerable". The others
    have one true answer, told from the scene.

    The ten answers are drawn: each person says the truth, a near miss, a guess or a refusal with
    the probabilities SAYS. `answerable` and `answer_type` (VizWiz's four) follow the most frequent
    answer; `question_type` is what was asked for: presence, count, colour, shape or place.

    This is drawn, not photographed: flat shapes, one flaw at a time, few wordings, people who are
    dice. It can show that a model learns to refuse, and that its metrics, gates and thresholds
    work; how well a model refuses on photographs of blind people it cannot show. TinyCLIP was
    pretrained on flawless pictures of the same renderer from other seeds, so it is at home here.

    With `ask="flaws"` there is one question about each picture, what is wrong with it, and the
    answers are its flaws in the words of `vqazoo.quality`, as the drawing knows them: weak ones
    too, and "unrecognizable" beside a strong one. A finger or a shift that takes nothing of any
    object is no flaw.

    Drawn once, every split from its own seed, then read again; no two pictures are equal.
    """

    def __init__(self, data_root: str, ask: str) -> None:
        self.asks = _examples if ask == SCENE else _flaws
        root = Path(data_root).expanduser() if data_root else cache_home() / "flawed-shapes"
        self.folder = root / f"v{VERSION}"

    def splits(self) -> list[str]:
        return list(PICTURES)

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        if not self.folder.is_dir():
            make_once(self.folder, _draw)
        file = self.folder / QUESTIONS
        try:
            content = json.loads(file.read_text(encoding="utf-8"))[split]
            return [
                example
                for picture in content
                for example in self.asks(split, self.folder / split / picture["image"], picture)
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"'{file}' cannot be read ({error}): remove '{self.folder}', and it is drawn anew."
            ) from error


def _draw(folder: Path) -> None:
    """Draw every split, and write what is asked about its pictures."""
    content: dict[str, list[dict[str, Any]]] = {}
    seen: set[bytes] = set()
    for split, count in PICTURES.items():
        (folder / split).mkdir()
        rng = random.Random(SEEDS[split])
        content[split] = []
        while len(content[split]) < count:
            image, facts = draw_picture(rng)
            name = f"{len(content[split]):05d}.png"
            drawn = sha256(image.tobytes()).digest()
            if drawn not in seen:  # empty ones, with all objects out of the frame, may be
                seen.add(drawn)
                image.save(folder / split / name)
                content[split].append({"image": name, **facts})
    write_file(folder / QUESTIONS, json_text(content, ascii_only=True).encode())


def _examples(split: str, image: Path, picture: dict[str, Any]) -> list[Example]:
    return [
        Example(
            image,
            asked["question"],
            tuple(map(intern, asked["answers"])),
            f"{split}-{image.stem}-{number}",
            answer_type=answer_label(asked["answers"]),
            question_type=intern(asked["kind"]),
            answerable=answer_label(asked["answers"]) != UNANSWERABLE,
            confidences=tuple(intern(confidence) for confidence in asked["confidences"]),
        )
        for number, asked in enumerate(picture["asked"])
    ]


def _flaws(split: str, image: Path, picture: dict[str, Any]) -> list[Example]:
    answers = [LABELS[picture["flaw"] if picture["strength"] else ""]]
    if picture["level"] == STRONG:
        answers.append(UNRECOGNIZABLE)
    return [Example(image, QUALITY_QUESTION, tuple(answers * JUDGES), f"{split}-{image.stem}")]


def answer_label(answers: list[str]) -> str:
    """VizWiz's `answer_type` of ten answers: that of the most frequent one."""
    chosen = select_answer(answers)
    if chosen in (UNANSWERABLE, UNSUITABLE):
        return UNANSWERABLE
    return "yes/no" if chosen in ("yes", "no") else "number" if chosen.isdigit() else "other"


def draw_picture(rng: random.Random) -> tuple[Image.Image, dict[str, Any]]:
    """A picture, its `level` of flaw, `flaw` and its `strength`, and what was `asked` about it."""
    scene = draw_scene(rng)
    level = rng.choices(tuple(LEVELS), tuple(LEVELS.values()))[0]
    flaw, strength, image = "", 0.0, scene.paint()
    if level != FLAWLESS:
        flaw = rng.choice(tuple(LIMITS))
        scene, image, strength = damage(rng, scene, flaw, level == STRONG)
    asked: dict[str, dict[str, Any]] = {}
    wanted = rng.choice((2, 3))
    while len(asked) < wanted:
        kind = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        absent = kind in ("colour", "shape", "place") and rng.random() < ABSENT
        question, truth = ask(rng, scene, kind, absent)
        if question and question not in asked:
            condition = "absent" if absent and level != STRONG else level
            truth = UNSUITABLE if level == STRONG else truth
            answers, confidences = answer(rng, kind, truth, condition)
            asked[question] = {
                "kind": kind,
                "question": question,
                "truth": truth,
                "answers": answers,
                "confidences": confidences,
            }
    facts = {"level": level, "flaw": flaw, "strength": round(strength, 3)}
    return image, {**facts, "asked": list(asked.values())}


# ---- questions ------------------------------------------------------------------------------


def ask(rng: random.Random, scene: Scene, kind: str, absent: bool) -> tuple[str, str]:
    """A question and its true answer; two empty texts if the scene has no such question.

    Args:
        absent: ask for the colour, shape or place of something that is not there.
    """
    by_colour = {"colour": False, "shape": True}.get(kind, rng.random() < 0.5)
    if kind == "presence":
        absent = rng.random() < 0.5
    subjects = _absent(rng, scene, by_colour) if absent else _present(scene, by_colour, kind)
    if not subjects:
        return "", ""
    subject, shapes = rng.choice(subjects)
    noun = subject if kind == "shape" or not by_colour else f"{subject} shape"
    if kind == "count":
        noun = f"{noun}s" if by_colour else PLURALS.get(noun, f"{noun}s")
    question = rng.choice(ASKS[kind]).format(noun).replace("a orange", "an orange")
    if kind == "presence":
        return question, "no" if absent else "yes"
    if absent:
        return question, UNANSWERABLE
    truths = {"count": str(len(shapes)), "colour": shapes[0].colour, "shape": shapes[0].name}
    return question, truths.get(kind, shapes[0].place)


def _present(scene: Scene, by_colour: bool, kind: str) -> list[tuple[str, list[Shape]]]:
    """Colours or shapes that are there with their objects, if the answer is one for all of them."""
    groups: dict[str, list[Shape]] = {}
    for shape in scene.objects:
        groups.setdefault(shape.colour if by_colour else shape.name, []).append(shape)
    if kind in ("presence", "count"):
        return list(groups.items())
    field = {"colour": "colour", "shape": "name", "place": "place"}[kind]
    return [
        (subject, shapes)
        for subject, shapes in groups.items()
        if len({getattr(shape, field) for shape in shapes}) == 1
    ]


def _absent(rng: random.Random, scene: Scene, by_colour: bool) -> list[tuple[str, list[Shape]]]:
    """One colour or shape that is not there, as often as it is drawn elsewhere; or none."""
    here = {shape.colour if by_colour else shape.name for shape in scene.objects}
    often = dict.fromkeys(COLOURS, 1) if by_colour else SHAPES
    missing = {name: weight for name, weight in often.items() if name not in here}
    if not missing:
        return []
    return [(rng.choices(tuple(missing), tuple(missing.values()))[0], [])]


def answer(
    rng: random.Random, kind: str, truth: str, condition: str
) -> tuple[list[str], list[str]]:
    """What ten people answer, and how sure each is.

    Args:
        condition: a level of flaw, or `absent`: a row of SAYS.
    """
    misses = GUESSES[kind] if condition in ("absent", STRONG) else NEAR_MISSES[truth]
    drawn = rng.choices(("", "miss", UNANSWERABLE, UNSUITABLE), SAYS[condition], k=PEOPLE)
    answers = [rng.choice(misses) if said == "miss" else said or truth for said in drawn]
    confidences = [
        rng.choices(CONFIDENCES, AGREEING if said == truth else DISSENTING)[0] for said in answers
    ]
    return answers, confidences

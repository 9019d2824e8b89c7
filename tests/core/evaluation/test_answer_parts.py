"""What of a row is asked: all that an answer may depend on, and nothing that people said."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

from PIL import Image

from vqazoo.data import Example, OcrToken
from vqazoo.data.answers import TEXT
from vqazoo.evaluation.answer_parts import in_parts
from vqazoo.files.elsewhere import member
from vqazoo.media.beside import beside
from vqazoo.media.images import open_image

STOP = OcrToken("STOP", (0.1, 0.2, 0.5, 0.3))
SAID = {  # by people, or about what they said
    "answers",
    "answer_type",
    "question_type",
    "answerable",
    "confidences",
    "targets",
    "learnt",
    "comparison",
    "text_id",
    "rephrasing_of",
    "weighted",
    "group",
}
ASKED = Example(
    Path("photo.png"),
    "what does it say?",
    ("stop",),
    "17",
    answer_type="other",
    question_type="what",
    answerable=True,
    confidences=("yes",),
    targets=(("stop", 1.0),),
    learnt=("stop",),
    comparison=TEXT,
    text_id=True,
    rephrasing_of="16",
    choices=("stop", "exit"),
    weighted=(("stop", 1.0),),
    group="head",
    ocr_tokens=(STOP,),
    image_path="photo.png",
)


def test_a_row_is_asked_with_everything_but_what_people_said() -> None:
    (part,) = in_parts(iter([ASKED]))
    (row,) = part.rows
    for field in fields(Example):
        if field.name not in SAID | {"image"}:
            assert getattr(row, field.name) == getattr(ASKED, field.name), field.name
    assert row.answers == row.targets == row.weighted == ()
    assert row.image == Path("photo.png").absolute()


def test_other_words_in_a_picture_are_another_part() -> None:
    others = [replace(ASKED, ocr_tokens=given) for given in ((STOP, STOP), (), None)]
    digests = {next(in_parts(iter([row]))).digest for row in (ASKED, *others)}
    assert len(digests) == 4
    assert next(in_parts(iter([replace(ASKED)]))).digest in digests


def test_pictures_made_of_files_are_read_from_any_folder(tmp_path: Path) -> None:
    """Members of an archive and pairs of pictures, as an actor of a cluster gets them."""
    home, other = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    other.mkdir()
    Image.new("RGB", (4, 4), "red").save(home / "a.png")
    Image.new("RGB", (4, 4), "blue").save(home / "b.png")
    size = (home / "a.png").stat().st_size
    before = os.getcwd()
    try:
        os.chdir(home)
        given = (member(Path("a.png"), "in.png", 0, size), beside(Path("a.png"), Path("b.png")))
        rows = [replace(ASKED, image=image) for image in given]
        sent = next(in_parts(iter(rows))).rows
        os.chdir(other)
        inside, pair = (open_image(row.image) for row in sent)
    finally:
        os.chdir(before)
    assert inside.getpixel((0, 0)) == (255, 0, 0)
    assert (pair.getpixel((0, 0)), pair.getpixel((7, 0))) == ((255, 0, 0), (0, 0, 255))

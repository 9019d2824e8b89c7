"""A run is told when the question alone explains what its model scores."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqazoo
from vqazoo.data import Example
from vqazoo.training import question_alone
from vqazoo.training.doubts import doubts_of_pictures
from vqazoo.training.question_alone import answers_by_question

THINGS = ("chair", "lamp", "table", "window", "dog", "cat", "road", "cup")
ASKED = ("What colour is the {}?", "How many {}s are there?", "Is the {} near the door?")
SAID = ("red", "blue", "2", "3", "yes", "no")


def rows(count: int, seed: int) -> list[Example]:
    """Questions whose answers only their kind tells, and that badly."""
    drawn = random.Random(seed)
    examples = []
    for number in range(count):
        kind, thing = drawn.randrange(3), drawn.choice(THINGS)
        target = SAID[2 * kind + (drawn.random() < 0.3)]
        question = ASKED[kind].format(thing)
        targets = ((target, 1.0),)
        examples.append(Example(Path(), question, (target,), str(number), targets=targets))
    return examples


def test_the_most_similar_questions_are_those_of_scikit_learn() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    train, asked = rows(200, seed=0), rows(40, seed=1)
    asked.append(Example(Path(), "Quo vadis?", (), "x"))  # none of whose words is known
    made = text.TfidfVectorizer(token_pattern=r"\w+")
    known = made.fit_transform([example.question for example in train])
    cosines = (made.transform([e.question for e in asked]) @ known.T).toarray()  # (asked, train)
    targets = np.array([example.target for example in train])
    expected = []
    for likeness in cosines:
        last = np.sort(likeness)[::-1][question_alone.NEIGHBOURS - 1]
        near = (likeness >= last - 1e-6) & (likeness > 0)  # as alike as the last that counts
        votes = {answer: likeness[near & (targets == answer)].sum() for answer in targets[near]}
        frequent = max(SAID, key=list(targets).count)
        expected.append(max(votes, key=lambda answer: votes[answer]) if votes else frequent)
    assert answers_by_question(train, asked) == expected
    assert len(set(expected)) > 2


def test_of_many_rows_some_are_drawn_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question_alone, "MOST_ROWS", 30)
    train, asked = rows(200, seed=2), rows(20, seed=3)
    assert answers_by_question(train, asked, 5) == answers_by_question(train, asked, 5)


def test_it_is_a_doubt_where_the_interval_does_not_stand_above_it() -> None:
    (told,) = doubts_of_pictures("accuracy", 0.40, 0.33, 0.36)
    assert "score 36.00% on validation, and the best model's accuracy is 40.00%" in told
    assert not list(doubts_of_pictures("accuracy", 0.40, 0.33, 0.32))


@pytest.mark.proof
@pytest.mark.parametrize("needs_pictures", [True, False])
def test_training_says_so_where_pictures_tell_nothing(tmp_path: Path, needs_pictures: bool) -> None:
    drawn = random.Random(0)
    with open(tmp_path / "mine.csv", "w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(("image", "question", "answer"))
        for number in range(80):
            red = number % 2
            Image.new("RGB", (64, 64), (250 * red, 0, 200 - 200 * red)).save(
                tmp_path / f"{number}.png"
            )
            for words, answers in (("what colour is it?", ("blue", "red")), ("how many?", "23")):
                shown = red if needs_pictures else drawn.random() < 0.2
                table.writerow((f"{number}.png", words, answers[int(shown)]))
    told: list[str] = []
    given = ["training.device='cpu'", "training.epochs=12", "training.batch_size=16"]
    vqazoo.train(
        tmp_path / "mine.csv",
        out=tmp_path / "run",
        encoder="tiny-clip",
        head="mlp",
        set=[*given, "training.learning_rate=0.003", "data.validation_fraction=0.4"],
        report=told.append,
    )
    alone = [line for line in told if "the question alone explains the score" in line]
    assert len(alone) == (0 if needs_pictures else 1), told

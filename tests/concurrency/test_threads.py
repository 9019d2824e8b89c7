"""Eight users ask one model at once: each gets the answer about the own picture.

Without care a call leaves something on the shared module that another thread's call finds: the
output of a hook, the mode, the truncation of the last tokenizing, a picture half read.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqazoo
from tests.concurrency.families import NAMES, PACKAGED, family
from vqazoo.evaluating import evaluating
from vqazoo.explain import Explanation, explain, gradients
from vqazoo.images import open_image
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel
from vqazoo_tiny_clip.render import draw_scene

THREADS = 8
QUESTIONS = (
    "what color ?", "is this red", "what is this?", "the shape ?", "is it a circle", "a color ?",
    "is it blue", "red or blue ?",
)  # fmt: skip
STEPS = 8  # of integrated gradients, so that many calls fit into a test


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads take turns as often as they can."""
    monkeypatch.setattr(gradients, "FEWEST_STEPS", STEPS)
    monkeypatch.setattr(gradients, "MOST_STEPS", STEPS)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """One of its own for each user."""
    drawn = [draw_scene(random.Random(number)).paint() for number in range(THREADS)]
    return [one.resize((72 + 4 * number, 64)) for number, one in enumerate(drawn)]


def together(call: Callable[[int], Any], times: int = 1) -> list[list[Any]]:
    """What `call(user)` gives to each of the users, who all start at the same moment."""
    start = threading.Barrier(THREADS)
    given: list[list[Any]] = [[] for _ in range(THREADS)]

    def user(number: int) -> None:
        start.wait()
        for _ in range(times):
            try:
                given[number].append(call(number))
            except Exception as error:  # told by the assertion of the caller
                given[number].append(error)

    threads = [threading.Thread(target=user, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


def same_answer(found: Any, wanted: Answer) -> bool:
    return (
        isinstance(found, Answer)
        and found.text == wanted.text
        and found.score == pytest.approx(wanted.score, rel=1e-3, abs=1e-6)
    )


def same_explanation(found: Any, wanted: Explanation) -> bool:
    return (
        isinstance(found, Explanation)
        and same_answer(found.answer, wanted.answer)
        and np.allclose(found.image, wanted.image, atol=0.02)
        and [word for word, _ in found.words] == [word for word, _ in wanted.words]
        and np.allclose([w for _, w in found.words], [w for _, w in wanted.words], atol=0.02)
    )


def asked(model: VQAModel, pictures: list[Image.Image], number: int) -> Answer:
    captions = model.config.head.type == "med-decoder" and not model.answers.texts
    if captions and model.config.head.args.get("prompt"):
        return model.caption(pictures[number], max_tokens=6)
    return model.answer(pictures[number], QUESTIONS[number])


@pytest.mark.parametrize("name", NAMES)
def test_eight_users_get_the_answers_that_each_gets_alone(
    name: str, pictures: list[Image.Image], tmp_path: Path
) -> None:
    model = family(name, tmp_path)
    alone = [asked(model, pictures, number) for number in range(THREADS)]
    assert len({one.score for one in alone}) > THREADS // 2, "a mix-up could not be seen"
    for number, given in enumerate(together(lambda n: asked(model, pictures, n), times=4)):
        assert all(same_answer(one, alone[number]) for one in given), (alone[number], given)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "dir:blip-captions"])
def test_eight_users_get_the_explanations_that_each_gets_alone(
    name: str, pictures: list[Image.Image], tmp_path: Path
) -> None:
    model = family(name, tmp_path)
    said = Answer("Yes" if name == "dir:vilt" else "red", 0.5)  # which any head has learnt
    if name == "tiny-clip-mlp-sortofclevr":
        said = Answer("yes", 0.5)

    def explained(number: int) -> Explanation:
        question = QUESTIONS[number]
        return explain(model, pictures[number], question, "integrated-gradients", said)

    alone = [explained(number) for number in range(THREADS)]
    assert len({tuple(w for _, w in one.words) for one in alone}) > THREADS // 2
    for number, given in enumerate(together(explained)):
        assert all(same_explanation(one, alone[number]) for one in given), given


@pytest.mark.parametrize("name", PACKAGED[:2])
def test_some_ask_while_others_have_explained(
    name: str, pictures: list[Image.Image], tmp_path: Path
) -> None:
    """An explanation once replaced the embeddings of whoever asked meanwhile."""
    model = family(name, tmp_path)
    alone = [asked(model, pictures, number) for number in range(THREADS)]

    def call(number: int) -> Answer:
        if number % 2:
            explain(model, pictures[number], QUESTIONS[number])
        return asked(model, pictures, number)

    for number, given in enumerate(together(call, times=4)):
        assert all(same_answer(one, alone[number]) for one in given), given


def test_a_model_in_training_mode_answers_all_users_in_eval_mode(
    pictures: list[Image.Image],
) -> None:
    """The first to leave once switched dropout on for those who were still inside."""
    model = vqazoo.create(
        encoder="tiny-clip", fusion="gated", answers=["red", "blue", "green"],
        head={"type": "mlp", "args": {"dropout": 0.9}},
    )  # fmt: skip
    alone = [asked(model, pictures, number) for number in range(THREADS)]
    model.train()
    for number, given in enumerate(together(lambda n: asked(model, pictures, n), times=20)):
        assert all(same_answer(one, alone[number]) for one in given), given
    assert model.head.training
    assert not model.image_encoder.training, "frozen towers stay in eval mode"


def test_the_last_to_leave_switches_back_even_after_an_error() -> None:
    module = torch.nn.Dropout().train()
    with evaluating(module):
        with pytest.raises(ValueError, match="broken"), evaluating(module):
            raise ValueError("broken")
        assert not module.training
    assert module.training
    with evaluating(module.eval()):
        assert not module.training
    assert not module.training


def test_a_long_question_and_its_pieces_do_not_disturb_each_other(tmp_path: Path) -> None:
    """The tokenizers library keeps the truncation of the last call."""
    encoder = family("hf-text:bert", tmp_path).text_encoder
    long = "what is this red circle ? " * 20
    assert encoder.spec.context_length == 32

    def call(number: int) -> int:
        if number % 2:
            return int(encoder.tokenize([long])[0].shape[1])
        return len(encoder.pieces([long])[0])

    for number, given in enumerate(together(call, times=60)):
        assert set(given) == ({32} if number % 2 else {120})


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_one_open_picture_is_read_once_for_all(tmp_path: Path, ending: str) -> None:
    """Pillow reads the file when its picture is first looked at."""
    values = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(values).save(file := tmp_path / f"picture.{ending}")
    wanted = np.asarray(open_image(file))
    for _ in range(10):
        with Image.open(file) as lazy:
            found = together(lambda n, lazy=lazy: np.asarray(open_image(lazy)))
        for (one,) in found:
            assert isinstance(one, np.ndarray), one
            assert np.array_equal(one, wanted)


def test_seeded_draws_of_eight_users_are_those_of_each_alone(pictures: list[Image.Image]) -> None:
    model = vqazoo.load(PACKAGED[0])
    how: dict[str, Any] = {"strategy": "nucleus", "temperature": 3.0, "top_p": 1.0}

    def call(number: int) -> Answer:
        return model.answer(pictures[number], QUESTIONS[number], seed=number, **how)

    alone = [call(number) for number in range(THREADS)]
    for number, given in enumerate(together(call, times=6)):
        assert all(same_answer(one, alone[number]) for one in given), given

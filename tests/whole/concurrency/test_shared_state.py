"""What all threads share: the mode of a model, its tokenizer, a picture that is open, seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqazoo
from tests.whole.concurrency.families import PACKAGED, family
from tests.whole.concurrency.users import QUESTIONS, THREADS, asked, same_answer, together
from vqazoo.interfaces import Answer
from vqazoo.media.images import open_image
from vqazoo.modes import evaluating


def test_a_model_in_training_mode_answers_all_users_in_eval_mode(
    pictures: list[Image.Image],
) -> None:
    """The first to leave once switched dropout on for those who were still inside."""
    model = vqazoo.create(
        encoder="tiny-clip",
        fusion="gated",
        answers=["red", "blue", "green"],
        head={"type": "mlp", "args": {"dropout": 0.9}},
    )
    alone = [asked(model, pictures, number) for number in range(THREADS)]
    model.train()
    for number, given in enumerate(together(lambda n: asked(model, pictures, n), times=20)):
        assert all(same_answer(one, alone[number]) for one in given), given
    assert model.head.training
    assert not model.image_encoder.training, "frozen towers stay in eval mode"


def test_the_last_to_leave_switches_back_even_after_an_error() -> None:
    module = torch.nn.Dropout().train()
    with evaluating(module):
        assert not module.training
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

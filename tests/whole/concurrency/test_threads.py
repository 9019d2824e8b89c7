"""Eight users ask one model at once: each gets the answer about the own picture.

Without care a call leaves something on the shared module that another thread's call finds: the
output of a hook, the mode, the truncation of the last tokenizing, a picture half read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.whole.concurrency.families import NAMES, PACKAGED, family
from tests.whole.concurrency.users import QUESTIONS, THREADS, asked, same_answer, together
from vqazoo.explain import Explanation, explain
from vqazoo.interfaces import Answer


def same_explanation(found: Any, wanted: Explanation) -> bool:
    return (
        isinstance(found, Explanation)
        and same_answer(found.answer, wanted.answer)
        and np.allclose(found.image, wanted.image, atol=0.02)
        and [word for word, _ in found.words] == [word for word, _ in wanted.words]
        and np.allclose([w for _, w in found.words], [w for _, w in wanted.words], atol=0.02)
    )


@pytest.mark.parametrize("name", NAMES)
def test_eight_users_get_the_answers_that_each_gets_alone(
    name: str, pictures: list[Image.Image], tmp_path: Path
) -> None:
    model = family(name, tmp_path)
    alone = [asked(model, pictures, number) for number in range(THREADS)]
    assert len({one.score for one in alone}) > THREADS // 2, "a mix-up could not be seen"
    for number, given in enumerate(together(lambda n: asked(model, pictures, n), times=4)):
        assert all(same_answer(one, alone[number]) for one in given), (alone[number], given)


@pytest.mark.proof
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

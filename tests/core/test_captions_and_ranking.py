"""Captions, ranking of given answers, and videos, asked of a whole model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import vqazoo
from vqazoo.cli import run
from vqazoo.errors import ConfigError, ImageError
from vqazoo.media.images import open_image

QUESTION = "what shape is it?"
CANDIDATES = ["red", "a blue circle", "green", "no"]
SMALL = {"layers": 1, "heads": 2, "hidden_dim": 32}


def build(head: str = "git-decoder", fusion: str = "git", **fusion_args: Any) -> vqazoo.VQAModel:
    torch.manual_seed(0)
    return vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder={"type": "words:tiny-clip", "args": {"dim": 32}},
        fusion={"type": fusion, "args": fusion_args},
        head={"type": head, "args": SMALL},
        answers=["red", "blue circle"],
    )


@pytest.fixture(scope="module")
def model() -> vqazoo.VQAModel:
    return build(frames=3)


@pytest.fixture
def frames(table: Path) -> list[Image.Image]:
    return [open_image(table.parent / f"{number}.png") for number in range(5)]


def count_encoded(model: vqazoo.VQAModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the image tower gets."""
    seen: list[int] = []
    encode = model.image_encoder.encode_image

    def counting(pixels: torch.Tensor, wants: frozenset[str]) -> Any:
        seen.append(len(pixels))
        return encode(pixels, wants)

    monkeypatch.setattr(model.image_encoder, "encode_image", counting)
    return seen


# ---- ranking ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "fusion"), [("git-decoder", "git"), ("med-decoder", "med")])
def test_ranking_orders_the_candidates_by_the_probability_of_writing_them(
    frames: list[Image.Image], head: str, fusion: str
) -> None:
    model = build(head, fusion, **(SMALL | {"dim": 32} if fusion == "med" else {}))
    best = model.rank(frames[0], QUESTION, CANDIDATES, top_k=4)
    ranked = [best, *best.alternatives]
    assert sorted(one.text for one in ranked) == sorted(CANDIDATES)
    scores = [one.score for one in ranked]
    assert scores == sorted(scores, reverse=True)
    alone = [model.rank(frames[0], QUESTION, [text]).score for text in CANDIDATES]
    assert scores == pytest.approx(sorted(alone, reverse=True), rel=1e-3)


def test_ranking_encodes_a_picture_once_for_all_questions_and_candidates(
    model: vqazoo.VQAModel, frames: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_encoded(model, monkeypatch)
    answers = model.rank(frames[0], [QUESTION, "which color is it?", QUESTION], CANDIDATES)
    assert seen == [1]
    assert len(answers) == 3
    assert answers[0] == answers[2]


@pytest.mark.parametrize("candidates", [[], "red"])
def test_candidates_that_are_no_list_of_answers_are_refused(
    model: vqazoo.VQAModel, frames: list[Image.Image], candidates: Any
) -> None:
    with pytest.raises(ConfigError, match=r"but a list of answers was expected"):
        model.rank(frames[0], QUESTION, candidates)


# ---- captions -----------------------------------------------------------------------------------


def test_a_caption_is_the_answer_to_an_empty_question(
    model: vqazoo.VQAModel, frames: list[Image.Image]
) -> None:
    both = model.caption(frames[:2])
    assert [both[0], both[1]] == [model.caption(frames[0]), model.caption(frames[1])]
    with torch.inference_mode():
        features = model.encode_image(model.transform(frames[0])[None])
        ((written,),) = model.head.predict(model.fusion(features, model.encode_text([""])))
    assert model.caption(frames[0]).text == written.text


def test_a_head_that_writes_no_captions_says_so(frames: list[Image.Image]) -> None:
    with pytest.raises(ConfigError, match=r"The head 'lstm' writes no captions"):
        vqazoo.load("tiny-clip-lstm-easyvqa").caption(frames[0])


# ---- videos -------------------------------------------------------------------------------------


def test_the_frames_of_a_video_are_encoded_once_and_their_order_counts(
    model: vqazoo.VQAModel, frames: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():  # temporal embeddings start at zero
        for parameter in model.fusion.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    seen = count_encoded(model, monkeypatch)
    forward = model.rank(vqazoo.Video(frames[:3]), [QUESTION] * 2, CANDIDATES)
    assert seen == [3]
    backward = model.rank(vqazoo.Video(frames[2::-1]), QUESTION, CANDIDATES)
    assert forward[0] == forward[1]
    assert forward[0].score != pytest.approx(backward.score, rel=1e-6)


def test_of_a_long_list_of_frames_some_are_taken_evenly(
    model: vqazoo.VQAModel, frames: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_encoded(model, monkeypatch)
    long = model.answer(vqazoo.Video(frames), QUESTION)
    assert seen == [3]
    chosen = model.answer(vqazoo.Video([frames[0], frames[2], frames[4]]), QUESTION)
    assert long == chosen


def test_a_video_and_a_picture_may_be_asked_together(
    model: vqazoo.VQAModel, frames: list[Image.Image]
) -> None:
    video = vqazoo.Video(frames[:2])
    together = model.rank([video, frames[3]], QUESTION, CANDIDATES)
    assert together == [
        model.rank(video, QUESTION, CANDIDATES),
        model.rank(frames[3], QUESTION, CANDIDATES),
    ]


def test_a_model_of_pictures_refuses_a_video(frames: list[Image.Image]) -> None:
    with pytest.raises(ImageError, match=r"the fusion of this model reads pictures, not videos"):
        vqazoo.load("tiny-clip-lstm-easyvqa").answer(vqazoo.Video(frames), QUESTION)


# ---- the command line ---------------------------------------------------------------------------


def test_ask_chooses_among_the_lines_of_a_file(
    frames: list[Image.Image], table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from vqazoo.checkpoint.saving import save_checkpoint

    save_checkpoint(build(frames=3), tmp_path / "model")
    ref, picture = f"dir:{tmp_path / 'model'}", str(table.parent / "0.png")
    listed = tmp_path / "answers.txt"
    listed.write_text("\n".join(CANDIDATES) + "\n\n")
    assert run(["ask", ref, picture, QUESTION, "--candidates", str(listed), "--top-k", "2"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(r" *[\d.]+%  .+", line) for line in lines)
    assert {line.split("%  ")[1] for line in lines} <= set(CANDIDATES)
    assert run(["caption", ref, picture, "--json"]) == 0
    assert '"answers": [{"text": ' in capfd.readouterr().out
    listed.write_text("\n")
    assert run(["ask", ref, picture, QUESTION, "--candidates", str(listed)]) == 1
    assert "is empty: write one answer a line" in capfd.readouterr().err

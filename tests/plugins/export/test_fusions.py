"""The fusions of the literature answer in onnxruntime as they do in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vqazoo
from vqazoo_export.agreement import load_runner
from vqazoo_export.folder import Options, export_model

pytestmark = pytest.mark.proof

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

QUESTIONS = ["what is this?", "is it red", "a longer question about a blue circle?"]
SMALL = {
    "mcan": {"dim": 16, "layers": 1, "heads": 2, "pool_dim": 8, "out_dim": 16},
    "ban": {"dim": 16, "glimpses": 2},
    "mutan": {"dim": 16, "hidden_dim": 8, "rank": 3},
    "mfb": {"dim": 16, "hidden_dim": 8},
    "mfh": {"dim": 8, "hidden_dim": 8},
}
QUICK = ("ban",)  # the others take a command of their own


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.apart) for name in SMALL],
)
def test_a_fusion_answers_in_onnx_as_it_does_here(name: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    Image.fromarray(values).save(photo := tmp_path / "photo.png")
    torch.manual_seed(0)
    model = vqazoo.create(
        encoder="tiny-clip",
        fusion={"type": name, "args": SMALL[name]},
        head="mlp",
        answers=["yes", "no", "dark blue", "red"],
    )
    export_model(model, "mine", tmp_path / "out", Options("onnx"))
    answers = load_runner(tmp_path / "out").answer(photo, QUESTIONS)  # padded to one length
    for answer, expected in zip(answers, model.answer(photo, QUESTIONS), strict=True):
        assert answer["answer"] == expected.text
        assert answer["score"] == pytest.approx(expected.score, abs=1e-5)

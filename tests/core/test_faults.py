"""A part that does something wrong is named in a sentence; what it raised is the cause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vqazoo
from vqazoo.cli import run
from vqazoo.errors import PluginError
from vqazoo.faults import fault, faults_named
from vqazoo.interfaces import Answer, Features, FusedSpec, Fusion, Head, TowerSpec
from vqazoo_heads.linear import LinearHead

MODEL = "tiny-clip-linear-easyvqa"
PICTURE = torch.zeros(64, 64, 3, dtype=torch.uint8).numpy()


class Joined(Fusion):
    """Both sides' pooled vectors, one after the other; `wider` says more than it gives."""

    def __init__(self, image: TowerSpec, text: TowerSpec, wider: int = 0) -> None:
        super().__init__()
        self.out = FusedSpec("pooled", (image.pooled or 0) + (text.pooled or 0) + wider)

    def forward(self, image: Features, text: Features) -> Features:
        assert image.pooled is not None
        assert text.pooled is not None
        return Features(pooled=torch.cat([image.pooled, text.pooled], dim=1))


class Yes(Head):
    """Says yes, and breaks from the second call of `predict` on, once `breaks` is set."""

    breaks: type[Exception] | None = None

    def __init__(self, fused: FusedSpec, answers: Any, text_encoder: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(fused.dim, 2)

    def targets(self, examples: Any) -> dict[str, Tensor]:
        return {"count": torch.ones(len(examples))}

    def loss(self, fused: Features, targets: Any) -> tuple[Tensor, dict[str, float]]:
        raise KeyError("target")

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        if self.breaks is not None:
            raise self.breaks("of the author")
        assert fused.pooled is not None
        scores = self.linear(fused.pooled)  # (B, 2)
        return [[Answer("yes", 0.5)] for _ in scores]


def made(**changed: Any) -> vqazoo.VQAModel:
    given = {"encoder": "tiny-clip", "fusion": Joined, "head": Yes, "answers": ["yes", "no"]}
    return vqazoo.create(**{**given, **changed})


def named(model: vqazoo.VQAModel, told: str) -> PluginError:
    with pytest.raises(PluginError, match=told) as caught:
        model.answer(PICTURE, "is it?")
    return caught.value


def test_a_head_that_raises_is_named_with_its_line_and_the_cause_stays() -> None:
    model = made()
    assert model.answer(PICTURE, "is it?").text == "yes"
    model.head.breaks = KeyError
    error = named(model, r"The head 'object:Yes' fails in predict \(test_faults\.py, line \d+\)")
    assert "with KeyError: 'of the author'" in str(error)
    assert isinstance(error.__cause__, KeyError)


def test_a_fusion_that_raises_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made()
    monkeypatch.setattr(model.fusion, "forward", lambda *_: Joined.forward(model.fusion, *_[:1]))
    named(model, "fails")  # a call that lacks an argument has no frame inside the fusion

    def forward(self: Joined, image: Features, text: Features) -> Features:
        return Features(pooled=image.nothing)  # type: ignore[attr-defined]

    monkeypatch.setattr(model.fusion, "forward", forward.__get__(model.fusion))
    named(model, r"The fusion 'object:Joined' fails in forward .* with AttributeError: .*nothing")


def test_a_fusion_that_gives_less_than_it_says_is_named_where_the_head_fails() -> None:
    model = made()
    model.head.linear = nn.Linear(model.fusion.out.dim + 8, 2)
    model.fusion.out = FusedSpec("pooled", model.fusion.out.dim + 8)
    model = vqazoo.VQAModel(
        model.config,
        model.towers,
        model.fusion,
        model.head,
        model.answers,
        model.fusion_manifest,
        model.head_manifest,
    )
    named(
        model,
        r"The fusion 'object:Joined' gives pooled of width \d+, but its 'out' says \d+, on which "
        r"the head 'object:Yes' fails with RuntimeError",
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: replace(f, pooled=f.pooled[:, :-1]), r"returns pooled of width \d+ from"),
        (lambda f: f.index(torch.tensor([0, 0])), "returns 2 rows for 1 from"),
        (lambda f: f.pooled, "returns a Tensor from"),
        (lambda f: Features(tokens=f.tokens, mask=f.mask), "returns Features without pooled"),
    ],
)
@pytest.mark.parametrize("method", ["encode_image", "encode_text"])
def test_what_an_encoder_gives_is_compared_with_its_spec(
    monkeypatch: pytest.MonkeyPatch, method: str, change: Any, told: str
) -> None:
    model = made()
    real = getattr(model.image_encoder, method)
    monkeypatch.setattr(model.image_encoder, method, lambda *given: change(real(*given)))
    error = named(model, rf"The encoder 'tiny-clip' {told}")
    assert f"from {method}, but Features with pooled of width " in str(error)


@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError])
def test_memory_that_is_full_is_no_fault_of_a_part(kind: type[Exception]) -> None:
    model = made()
    model.head.breaks = kind
    with pytest.raises(kind):
        model.answer(PICTURE, "is it?")


def test_what_no_part_raised_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), faults_named():
        _ = 1 / 0
    assert fault(ValueError("never raised")) is None


def raising(self: Head, fused: Features, *_: Any, **__: Any) -> Any:
    return {}["gone"]


def test_a_loss_that_raises_in_training_is_named(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LinearHead, "loss_sums", raising)
    given = {"encoder": "tiny-clip", "head": "linear", "data": str(table)}
    told = r"The head 'linear' fails in \w+ .*with KeyError: 'gone'"
    with pytest.raises(PluginError, match=told):
        vqazoo.train(out=tmp_path / "run", report=lambda line: None, **given)


def test_a_verb_names_the_part_in_one_line_and_shows_the_traceback_on_demand(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LinearHead, "logits", raising)
    data = ["--data", "table", "--set", f"test={table}", "--device", "cpu"]
    command = ["predict", MODEL, *data, "--out", str(tmp_path / "answers.csv")]
    assert run(command) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("Error: The head 'linear' fails in raising (test_faults.py, line ")
    assert told.endswith("VQAZOO_DEBUG=1 shows the traceback.")
    monkeypatch.setenv("VQAZOO_DEBUG", "1")
    with pytest.raises(PluginError) as caught:
        run(command)
    assert isinstance(caught.value.__cause__, KeyError)

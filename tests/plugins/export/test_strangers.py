"""Heads of other people: what they offer decides whether they are exported, never their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vqazoo
from vqazoo.calibration import Calibration
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Head, Targets
from vqazoo.manifests import HeadManifest
from vqazoo.model import VQAModel
from vqazoo.registry import registry
from vqazoo.toolkit.decoding import START, Spelling, State, as_answers, write
from vqazoo_export.agreement import load_runner
from vqazoo_export.folder import Options, export_model

pytestmark = pytest.mark.proof

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

ANSWERS = ["yes", "no", "dark blue", "red"]
QUESTIONS = ["what is this?", "is it red", "a longer question about a blue circle?"]
MANIFEST = HeadManifest(
    summary="of a stranger",
    build="",
    source="ours",
    args={},
    requires="pooled",
    answer_mode="classify",
    default_fusion="hadamard",
)
Make = Callable[..., VQAModel]


class Bare(Head):
    """Chooses, and shows nothing besides."""

    def __init__(self, fused: FusedSpec, answers: AnswerList, text_encoder: Encoder) -> None:
        super().__init__()
        self.answers = answers
        self.layer = nn.Linear(fused.dim, len(answers))
        self.more = nn.Linear(fused.dim, 3)

    def scored(self, fused: Features) -> Tensor:
        assert fused.pooled is not None
        scores: Tensor = self.layer(fused.pooled)
        return scores

    def targets(self, examples: Any) -> Targets:
        return {"answer": torch.zeros(len(examples), dtype=torch.long)}

    def loss(self, fused: Features, targets: Targets) -> tuple[Tensor, dict[str, float]]:
        return nn.functional.cross_entropy(self.scored(fused), targets["answer"]), {}

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        best = self.scored(fused).softmax(dim=1).max(dim=1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [[Answer(self.answers.texts[place], score)] for place, score in pairs]


class Branched(Bare):
    """Has a method of the name by which export once knew the head `linear`."""

    def branches(self, limbs: int) -> list[int]:
        return [limbs]

    def logits(self, fused: Features) -> Tensor:
        return self.scored(fused)


class Attentive(Branched):
    """torch's own transformer layer, which is one operation in eval mode."""

    def __init__(self, fused: FusedSpec, answers: AnswerList, text_encoder: Encoder) -> None:
        super().__init__(fused, answers, text_encoder)
        layer = nn.TransformerEncoderLayer(fused.dim, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def scored(self, fused: Features) -> Tensor:
        assert fused.pooled is not None
        scores: Tensor = self.layer(self.encoder(fused.pooled[:, None].expand(-1, 3, -1))[:, 1])
        return scores


class Doubtful(Branched):
    """Tells whether the picture suffices, but no types."""

    def answerable_logits(self, fused: Features) -> Tensor:
        logits: Tensor = self.more(fused.pooled)
        return logits[:, 0]


class Typed(Branched):
    """Tells types, but not whether the picture suffices."""

    def type_names(self) -> tuple[str, ...]:
        return ("a", "b", "c")

    def type_logits(self, fused: Features) -> Tensor:
        logits: Tensor = self.more(fused.pooled)
        return logits


class Writer(Bare):
    """Writes words of its own; `logits` means something else here."""

    WORDS = ("<end>", "yes", "no", "dark", "blue", "red")

    def __init__(self, fused: FusedSpec, answers: AnswerList, text_encoder: Encoder) -> None:
        super().__init__(fused, answers, text_encoder)
        self.cell = nn.GRUCell(8, fused.dim)
        self.words = nn.Embedding(len(self.WORDS) + 1, 8)
        self.output = nn.Linear(fused.dim, len(self.WORDS))

    def logits(self, states: Tensor) -> Tensor:
        scores: Tensor = self.output(3 * states)
        return scores

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        ids = torch.where(tokens == START, len(self.WORDS), tokens)  # (B,)
        hidden = self.cell(self.words(ids), state[0])  # (B, D)
        return self.logits(hidden), (hidden,)

    def begin_answer(self, fused: Features) -> tuple[Tensor, State, Any]:
        assert fused.pooled is not None
        start = torch.full_like(fused.pooled[:, 0], START, dtype=torch.long)  # (B,)
        return (*self.step(start, (fused.pooled,)), self.step)

    def spelling(self) -> Spelling:
        return Spelling(0, 4, self.WORDS)

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        first, state, step = self.begin_answer(fused)

        def logged(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            scores, state = step(tokens, state)
            return scores.log_softmax(dim=1), state

        written = write(logged, state, 0, top_k, 4, first=first.log_softmax(dim=1), **decode)
        return as_answers(written, lambda tokens: " ".join(self.WORDS[t] for t in tokens))


@pytest.fixture
def make() -> Iterator[Make]:
    """A small model of random weights with a head of that class."""
    made = []

    def make(component: type[Head], mode: str = "classify") -> VQAModel:
        from dataclasses import replace

        registry.register("head", "strange", replace(MANIFEST, answer_mode=mode))(component)
        made.append("strange")
        torch.manual_seed(0)
        return vqazoo.create(encoder="tiny-clip", head="strange", answers=ANSWERS)

    yield make
    for name in made:
        registry.unregister("head", name)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    Image.fromarray(values).save(file := tmp_path / "photo.png")
    return file


@pytest.mark.parametrize(
    "component", [Branched, Attentive, Doubtful, Typed], ids=lambda one: one.__name__
)
def test_a_head_that_gives_logits_answers_in_onnx_as_it_does_here(
    make: Make, photo: Path, tmp_path: Path, component: type[Head]
) -> None:
    model = make(component)
    said = export_model(model, "mine", tmp_path / "out", Options("onnx"))
    found = load_runner(tmp_path / "out").answer(photo, QUESTIONS)
    for one, expected in zip(found, model.answer(photo, QUESTIONS), strict=True):
        assert one["answer"] == expected.text
        assert one["score"] == pytest.approx(expected.score, abs=1e-4)
        assert ("answer_type" in one) == (component is Typed)
        assert ("answerable" in one) == (component is Doubtful)
    assert said["head"].get("types") == (["a", "b", "c"] if component is Typed else None)


def test_a_head_that_writes_answers_in_onnx_as_it_does_here(
    make: Make, photo: Path, tmp_path: Path
) -> None:
    model = make(Writer, "generate")
    export_model(model, "mine", tmp_path / "out", Options("onnx"))
    found = load_runner(tmp_path / "out").answer(photo, QUESTIONS)
    expected = model.answer(photo, QUESTIONS)
    assert [one["answer"] for one in found] == [one.text for one in expected]
    assert [one["score"] for one in found] == pytest.approx([one.score for one in expected], 1e-3)


CURVE = ((0.0, 0.0), (0.2, 0.05), (0.6, 0.5), (1.0, 0.95))


@pytest.mark.parametrize(
    ("component", "mode", "calibration"),
    [
        pytest.param(Branched, "classify", Calibration(0.5), marks=pytest.mark.apart),
        (Typed, "classify", Calibration(0.5, curve=CURVE)),
        pytest.param(
            Doubtful, "classify", Calibration(0.5, answerable=0.3), marks=pytest.mark.apart
        ),
        (Writer, "generate", Calibration(0.4, curve=CURVE)),
    ],
    ids=lambda given: given.__name__ if isinstance(given, type) else "",
)
def test_a_calibrated_model_is_as_sure_in_onnx_as_it_is_here(
    make: Make,
    photo: Path,
    tmp_path: Path,
    component: type[Head],
    mode: str,
    calibration: Calibration,
) -> None:
    model = make(component, mode)
    model.calibration = calibration
    export_model(model, "mine", tmp_path / "out", Options("onnx"))
    found = load_runner(tmp_path / "out").answer(photo, QUESTIONS)
    plain = model.answer(photo, QUESTIONS, calibrated=False)
    for one, expected, own in zip(found, model.answer(photo, QUESTIONS), plain, strict=True):
        assert one["answer"] == expected.text == own.text
        assert one["score"] == pytest.approx(expected.score, abs=1e-4)
        assert expected.score != own.score
    if component is Doubtful:  # whose predict does not tell it
        with torch.inference_mode():
            pixels = model.transform(photo)[None].expand(len(QUESTIONS), -1, -1, -1)
            chance = model.head.answerable_logits(model(pixels, QUESTIONS)) / 0.3
        told = [one["answerable"] for one in found]
        assert told == pytest.approx(chance.sigmoid().tolist(), abs=1e-4)


@pytest.mark.parametrize(("mode", "named"), [("classify", "GivesLogits"), ("generate", "Writes")])
def test_a_head_that_shows_nothing_is_told_what_it_lacks(
    make: Make, tmp_path: Path, mode: str, named: str
) -> None:
    with pytest.raises(ConfigError, match=rf"'strange' cannot be exported: it lacks .*{named};"):
        export_model(make(Bare, mode), "mine", tmp_path / "out", Options("onnx"))
    assert not (tmp_path / "out").exists()


def test_what_onnx_lacks_is_told_in_one_whole_sentence(make: Make, tmp_path: Path) -> None:
    class Special(Branched):
        def scored(self, fused: Features) -> Tensor:
            assert fused.pooled is not None
            return super().scored(fused) * torch.special.i1e(fused.pooled[:, :1])

    model = make(Special)
    with pytest.raises(ConfigError, match=r"to ONNX: .No ONNX function found for") as caught:
        export_model(model, "mine", tmp_path / "out", Options("onnx"))
    assert "\x1b" not in str(caught.value)
    assert str(caught.value).endswith('; try to="torch-export".')


def test_a_part_that_cannot_be_traced_leaves_torchs_switch_as_it_was(
    make: Make, tmp_path: Path
) -> None:
    class Deciding(Branched):
        def scored(self, fused: Features) -> Tensor:
            scores = super().scored(fused)
            return scores if float(scores.sum()) > 0 else -scores

    model = make(Deciding)
    for wanted in (True, False):
        torch.backends.mha.set_fastpath_enabled(wanted)
        try:
            with pytest.raises(ConfigError, match=r"cannot be exported: torch\.export says"):
                export_model(model, "mine", tmp_path / "out", Options("onnx"))
            assert torch.backends.mha.get_fastpath_enabled() == wanted
        finally:
            torch.backends.mha.set_fastpath_enabled(True)

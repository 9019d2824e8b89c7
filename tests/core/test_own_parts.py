"""A fusion and a head of a notebook, given to `vqazoo.create` as classes or objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vqazoo
from vqazoo.data import Example, open_dataset
from vqazoo.data.answers import AnswerList, apply_rule
from vqazoo.errors import CheckpointError, ConfigError, IncompatibleError
from vqazoo.interfaces import (
    Answer,
    Features,
    FusedSpec,
    Fusion,
    Head,
    Targets,
    TowerSpec,
    width,
)
from vqazoo.manifests import Arg, FusionManifest, HeadManifest
from vqazoo.registry import registry


class Product(Fusion):
    """The elementwise product of two projections."""

    def __init__(self, image: TowerSpec, question: TowerSpec) -> None:
        super().__init__()
        self.look = nn.Linear(width(image, "pooled"), 64)
        self.ask = nn.Linear(width(question, "pooled"), 64)
        self.out = FusedSpec("pooled", 64)

    def forward(self, image: Features, question: Features) -> Features:
        return Features(pooled=self.look(image.pooled) * self.ask(question.pooled))


class Nearest(Head):
    """Picks from the list, with dropout, so that the mode shows in the answers."""

    def __init__(self, fused: FusedSpec, answers: AnswerList, text_encoder: object) -> None:
        super().__init__()
        self.texts = answers.texts
        self.line = nn.Sequential(nn.Dropout(0.5), nn.Linear(fused.dim, len(self.texts)))

    def targets(self, examples: Sequence[Example]) -> Targets:
        return {"label": torch.tensor([self.texts.index(example.target) for example in examples])}

    def loss(self, fused: Features, targets: Targets) -> tuple[Tensor, dict[str, float]]:
        loss = nn.functional.cross_entropy(self.line(fused.pooled), targets["label"])
        return loss, {}

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        best = self.line(fused.pooled).softmax(dim=1).topk(min(top_k, len(self.texts)))
        rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [
            [Answer(self.texts[i], score) for score, i in zip(scores, places, strict=True)]
            for scores, places in rows
        ]


def shapes(table: Path) -> list[Example]:
    """What shape the 24 pictures show, with what is to be learnt."""
    everything = open_dataset("table", {"test": str(table)}).read("test")
    asked = [example for example in everything if example.question == "what shape is it?"]
    return apply_rule("most-frequent", asked, 0)


def test_a_head_of_a_notebook_is_trained_in_plain_pytorch_and_evaluated(table: Path) -> None:
    examples = shapes(table)
    answers = sorted({example.target for example in examples})
    torch.manual_seed(0)
    model = vqazoo.create(encoder="tiny-clip", fusion=Product, head=Nearest, answers=answers)
    before = vqazoo.evaluate(model, examples).metric("accuracy").value
    pixels = torch.stack([model.transform(example.image) for example in examples])
    questions = [example.question for example in examples]
    targets = model.head.targets(examples)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learning, lr=0.01)
    model.train()
    for _ in range(80):
        optimiser.zero_grad()
        model.head.loss(model(pixels, questions), targets)[0].backward()
        optimiser.step()
    evaluation = vqazoo.evaluate(model, examples)
    assert model.training
    assert model.head.training
    given = [
        model.answer(example.image, example.question).text  # one by one
        for example in examples
    ]
    right = sum(text == example.target for text, example in zip(given, examples, strict=True))
    assert evaluation.metric("accuracy").value == pytest.approx(right / len(examples))
    assert [row["answer"] for row in evaluation.predictions] == given
    assert evaluation.metric("accuracy").value > max(before, 0.8)
    assert "|fusion:object:Product|head:object:Nearest|" in evaluation.model


def test_an_object_is_taken_as_it_is_beside_a_part_with_a_name() -> None:
    named = vqazoo.create(encoder="tiny-clip", fusion="concat", head="linear", answers=["a", "b"])
    head = Nearest(named.fusion.out, named.answers, named.text_encoder)
    model = vqazoo.create(encoder="tiny-clip", fusion="concat", head=head, answers=["a", "b"])
    assert model.head is head
    picture = torch.zeros(3, 64, 64)
    assert model.answer(picture, "why?", top_k=2).text in ("a", "b")
    image, question = named.image_encoder.spec.image, named.text_encoder.spec.text
    assert image is not None
    assert question is not None
    fusion = Product(image, question)
    model = vqazoo.create(encoder="tiny-clip", fusion=fusion, head="linear", answers=["a", "b"])
    assert model.fusion is fusion
    assert model.wants_image == {"pooled", "tokens"}, "nobody said what it needs, so it gets all"


def test_what_a_class_declares_is_heeded() -> None:
    class Told(Product):
        manifest = FusionManifest(
            summary="x", requires=frozenset({"image.pooled", "text.pooled"}), provides="pooled"
        )

    class Careful(Nearest):
        manifest = HeadManifest(
            summary="x",
            requires="pooled",
            answer_mode="classify",
            default_fusion="concat",
            decode={"sharp": Arg(float, 1.0, "how sharp")},
        )

    model = vqazoo.create(encoder="tiny-clip", fusion=Told, head=Careful, answers=["a", "b"])
    assert model.wants_image == {"pooled"}
    assert model.decode_options({"sharp": 2.0}) == {"sharp": 2.0}
    with pytest.raises(ConfigError, match="no argument 'blunt'"):
        model.answer(torch.zeros(3, 64, 64), "why?", blunt=1)
    assert vqazoo.create(encoder="tiny-clip", head=Careful, answers=["a"]).config.fusion.type == (
        "concat"
    )


def test_parts_that_do_not_fit_are_told_at_once() -> None:
    build = {"encoder": "tiny-clip", "answers": ["a", "b"]}
    wide = Nearest(FusedSpec("pooled", 7), AnswerList.from_texts(["a", "b"]), None)
    with pytest.raises(IncompatibleError, match="'object:Nearest' cannot answer"):
        vqazoo.create(fusion=Product, head=wide, **build)
    with pytest.raises(ConfigError, match=r"head is Linear, but .* derived from .*\.Head"):
        vqazoo.create(fusion=Product, head=nn.Linear(2, 2), **build)
    with pytest.raises(ConfigError, match="names no fusion of its own"):
        vqazoo.create(head=Nearest, **build)

    class Silent(Nearest):
        def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
            return []

    with pytest.raises(IncompatibleError, match="0 rows of answers to 2 questions"):
        vqazoo.create(fusion=Product, head=Silent, **build)


def test_save_and_train_say_that_a_name_is_needed_and_with_one_they_work(
    table: Path, tmp_path: Path
) -> None:
    answers = ["circle", "square"]
    model = vqazoo.create(encoder="tiny-clip", fusion=Product, head=Nearest, answers=answers)
    with pytest.raises(CheckpointError, match=r"fusion is an object of the class Product.*regist"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    flags = {"encoder": "tiny-clip", "data": {"type": "table", "args": {"train": str(table)}}}
    with pytest.raises(ConfigError, match=r"head is a class or an object.*registry\.register"):
        vqazoo.train(out=tmp_path / "run", head=Nearest, fusion="concat", **flags)
    manifest = HeadManifest(
        summary="x", requires="pooled", answer_mode="classify", default_fusion="concat"
    )
    registry.register("head", "nearest", manifest)(Nearest)
    try:
        named = vqazoo.create(encoder="tiny-clip", head="nearest", answers=answers)
        named.save(tmp_path / "model")
        again = vqazoo.load(f"dir:{tmp_path / 'model'}")
        assert isinstance(again.head, Nearest)
    finally:
        registry.unregister("head", "nearest")


def test_a_model_of_objects_answers_as_a_pipeline(picture: Path) -> None:
    model = vqazoo.create(
        encoder="tiny-clip", fusion=Product, head=Nearest, answers=["circle", "square"]
    )
    asked = vqazoo.pipeline("vqa", model=model)(image=str(picture), question="what shape is it?")
    assert {one["answer"] for one in asked} == {"circle", "square"}

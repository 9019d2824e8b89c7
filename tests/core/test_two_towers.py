"""`IMAGE+TEXT` names two encoders wherever one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import vqazoo
from vqazoo.cli import run
from vqazoo.names import two_towers
from vqazoo.training.settings import gather_config

KNOWN = ("minilm", "tiny-clip", "timm")


@pytest.mark.parametrize(
    ("encoder", "towers"),
    [
        ("tiny-clip", None),
        ("timm:resnet18+minilm", ("timm:resnet18", "minilm")),
        ("Tiny_CLIP+vqazoo/minilm", ("Tiny_CLIP", "vqazoo/minilm")),
        ("hf-clip:/data/a+b", None),
        ("hf-clip:/data/a+b+minilm", ("hf-clip:/data/a+b", "minilm")),
        ("timm:resnet18+hf-text", None),
        ("+minilm", None),
        ("tiny-clip+minilmm", ("tiny-clip", "minilmm")),
        ("tiny-clip+", None),
    ],
)
def test_the_second_name_is_that_of_an_encoder(
    encoder: str, towers: tuple[str, str] | None
) -> None:
    assert two_towers(encoder, KNOWN) == towers


def test_two_towers_are_those_that_are_named_apart() -> None:
    together = gather_config(
        None, [], {"encoder": "timm:resnet18+tiny-clip", "head": "mlp", "data": "easy-vqa"}
    )
    apart = {"image_encoder": "timm:resnet18", "text_encoder": "tiny-clip"}
    assert together == gather_config(None, [], {**apart, "head": "mlp", "data": "easy-vqa"})


def test_a_model_is_made_of_two_towers_by_one_name() -> None:
    model = vqazoo.create(
        encoder="timm:resnet18+tiny-clip", head="mlp", answers=["a", "b"], pretrained=False
    )
    assert [block.type for block in model.blocks] == ["timm:resnet18", "tiny-clip"]


def test_the_command_line_takes_them_and_names_the_one_that_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--head", "mlp", "--data", "easy-vqa", "--dry-run", "--json"]
    assert run(["train", "--encoder", "Tiny_CLIP+tiny-clip", *given]) == 0
    assert '"text_encoder"' in capsys.readouterr().out
    assert run(["train", "--encoder", "tiny-clipp+tiny-clip", *given]) == 1
    assert capsys.readouterr().err.startswith("Error: Unknown encoder 'tiny-clipp'. Did you mean")
    assert run(["train", "--encoder", "tiny-clip+minilmm", *given]) == 1
    assert capsys.readouterr().err.startswith("Error: Unknown encoder 'minilmm'. Did you mean 'mi")

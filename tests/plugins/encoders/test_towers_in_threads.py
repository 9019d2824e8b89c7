"""Eight threads that share one tower each get the features of their own picture and question."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.plugins.encoders.test_open_clip import NAMES
from tests.plugins.encoders.tiny import register_open_clip
from vqazoo.interfaces import Features
from vqazoo.registry import registry

pytest.importorskip("open_clip")
pytest.importorskip("timm")

BOTH = frozenset({"pooled", "tokens"})
TOWERS = frozenset({"image", "text"})
THREADS, ROUNDS = 8, 4
WORDS = ("red", "blue", "a", "circle", "the", "color", "shape", "yes")
TIMM = [
    "test_vit",
    "test_resnet",
    "test_convnext",
    "test_efficientnet",
    "coat_lite_tiny",
    "swin_tiny_patch4_window7_224",
    "levit_128s",
    "tiny_vit_5m_224",
]


@pytest.fixture(scope="module", autouse=True)
def _tiny(tmp_path_factory):
    register_open_clip(tmp_path_factory.mktemp("tiny"))


def equal(found: Features, wanted: Features) -> bool:
    pairs = zip(found.tensors().values(), wanted.tensors().values(), strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def mixed_up(encode, inputs) -> int:
    """How many of the calls from eight threads at once differ from the same call made alone."""
    with torch.no_grad():
        alone = [encode(one) for one in inputs]
        assert not equal(alone[0], alone[1])
        start = threading.Barrier(THREADS, timeout=60)

        def ask(number: int) -> int:
            with torch.no_grad():
                start.wait()
                found = [encode(inputs[number]) for _ in range(ROUNDS)]
            return sum(not equal(one, alone[number]) for one in found)

        with ThreadPoolExecutor(THREADS) as pool:
            return sum(pool.map(ask, range(THREADS)))


def pictures(encoder) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = encoder.spec.preprocess.size
    return [torch.randn(1, 3, *size, generator=generator) for _ in range(THREADS)]


@pytest.mark.parametrize("name", NAMES)
def test_open_clip_towers_do_not_mix_up_pictures_or_questions(name):
    torch.manual_seed(0)
    encoder = registry.build("encoder", f"open-clip:{name}", name, TOWERS).eval()
    assert mixed_up(lambda pixels: encoder.encode_image(pixels, BOTH), pictures(encoder)) == 0
    questions = [encoder.tokenize([f"what is the {word}"]) for word in WORDS]
    assert mixed_up(lambda asked: encoder.encode_text(*asked, BOTH), questions) == 0


@pytest.mark.parametrize("name", TIMM)
def test_timm_towers_do_not_mix_up_pictures(name):
    torch.manual_seed(0)
    encoder = registry.build("encoder", f"timm:{name}", name, frozenset({"image"})).eval()
    for parameter in encoder.parameters():  # zero-initialised layers would hide a difference
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    assert mixed_up(lambda pixels: encoder.encode_image(pixels, BOTH), pictures(encoder)) == 0

"""Each page on writing a plugin, installed as a distribution of its own and used."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from tests.docs.pages import blocks, install, run, vqazoo
from vqazoo.manifests import Arg, EncoderManifest, HeadManifest
from vqazoo.testing import check_encoder, check_head

PAGES = {
    "encoder": ("encoders", "histogram"),
    "fusion": ("fusions", "film"),
    "dataset": ("datasets", "quiz"),
    "family": ("families", "acme"),
    "metric": ("metrics", "first-word"),
}


def page(kind: str) -> str:
    return f"docs/how-to/add-a{'n' if kind == 'encoder' else ''}-{kind}.md"


@pytest.fixture(scope="module", name="site")
def every_page_installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder with the distributions of all pages."""
    folder = tmp_path_factory.mktemp("site")
    for kind in (*PAGES, "command"):
        install(page(kind), folder)
    return folder


@pytest.mark.proof
def test_the_tests_that_the_pages_show_pass(site: Path) -> None:
    done = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=site, PYTHONPATH=str(site)
    )
    assert "9 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("kind", PAGES)
def test_the_plugin_is_listed_with_its_distribution(site: Path, kind: str) -> None:
    group, name = PAGES[kind]
    listed = vqazoo("list", group, PYTHONPATH=str(site)).stdout
    assert any(name in line and "acme-" in line for line in listed.splitlines()), listed


def test_the_verb_is_in_the_help(site: Path) -> None:
    told = vqazoo("--help", PYTHONPATH=str(site)).stdout
    assert "first-words         Count the first words of questions." in told


@pytest.mark.proof
def test_encoder_fusion_and_dataset_train_together_and_load(
    site: Path, table: Path, tmp_path: Path
) -> None:
    asked: dict[str, list[list[str]]] = {}
    with table.open(newline="") as rows:
        for row in csv.DictReader(rows):
            picture = str(table.parent / row["image"])
            asked.setdefault(picture, []).append([row["question"], row["answer"].split("|")[0]])
    (tmp_path / "train.json").write_text(json.dumps(asked))
    done = vqazoo(
        "train",
        "--image-encoder",
        "histogram",
        "--text-encoder",
        "tiny-clip",
        "--fusion",
        "film",
        "--head",
        "mlp",
        "--data",
        "quiz",
        "--data-root",
        str(tmp_path),
        "--set",
        "training.epochs=1",
        "--out",
        str(tmp_path / "run"),
        PYTHONPATH=str(site),
    )
    assert done.returncode == 0, done.stderr
    checked = vqazoo("check", str(tmp_path / "run" / "best"), PYTHONPATH=str(site))
    assert "histogram" in checked.stdout
    assert checked.returncode == 0, checked.stderr


def shown_class(kind: str, name: str) -> Any:
    """A class in a block of a page that is no file."""
    (content,) = (b.content for b in blocks(page(kind), "python") if f"class {name}(" in b.content)
    space: dict[str, Any] = {}
    exec(content, space)
    return space[name]


def test_the_head_over_tokens_that_the_page_shows_keeps_the_contract() -> None:
    manifest = HeadManifest(
        summary="transformer over fused tokens",
        args={"dim": Arg(int, 32, "width"), "heads": Arg(int, 4, "attention heads")},
        requires="tokens",
        answer_mode="classify",
        default_fusion="git",
    )
    check_head(shown_class("head", "TransformerHead"), manifest=manifest)


def test_the_resnet_that_the_page_shows_reads_a_file_and_keeps_the_contract(tmp_path: Path) -> None:
    file = tmp_path / "resnet18.safetensors"
    torch.manual_seed(0)
    original = resnet18()
    save_file(original.state_dict(), file)
    encoder = shown_class("encoder", "ResNet")(None, frozenset({"image"}), weights=str(file))
    encoder.load_pretrained()
    assert encoder.reference.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    kinds = frozenset({"pooled", "tokens"})
    check_encoder(encoder, EncoderManifest(summary="ResNet", image=kinds))
    pixels = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        pooled = encoder.eval().encode_image(pixels, kinds).pooled
        torch.testing.assert_close(original.eval().fc(pooled), original(pixels))

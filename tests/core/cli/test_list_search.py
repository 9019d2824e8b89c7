"""`vqazoo list --search` finds encoders by the word that a person has in mind."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vqazoo.cli import run
from vqazoo.registry import registry


def found(capsys, *words: str) -> list[str]:
    assert run(["list", *words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    return [entry["name"] for members in document.values() for entry in members]


@pytest.mark.parametrize("word", ["SigLIP 2", "siglip2", "SIGLIP-2", "sig_lip 2"])
def test_siglip_2_is_found_by_its_name_however_written(capsys, word):
    names = found(capsys, "encoders", "--search", word)
    assert {
        "open-clip:ViT-B-16-SigLIP2-256@webli",
        "timm:vit_base_patch16_siglip_224.v2_webli",
        "hf-clip:google/siglip2-base-patch16-naflex",
    } <= set(names)
    assert "open-clip:ViT-B-16-SigLIP-256@webli" not in names
    assert "timm:vit_base_patch16_siglip_224.webli" not in names


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("siglip", "open-clip:ViT-B-16-SigLIP-256@webli"),
        ("PE-Core", "open-clip:PE-Core-L-14-336@meta"),
        ("pe core", "timm:vit_pe_core_large_patch14_336.fb"),
        ("DINOv3", "hf-image:facebook/dinov3-vits16-pretrain-lvd1689m"),
        ("metaclip 2", "hf-clip:facebook/metaclip-2-worldwide-huge-quickgelu"),
        ("MetaCLIP 2", "open-clip:ViT-H-14-worldwide@metaclip2_worldwide"),
        ("chinese clip", "hf-clip:OFA-Sys/chinese-clip-vit-base-patch16"),
        ("EfficientNet Lite 1", "efficientnet-lite1"),
        ("minilm", "minilm"),
    ],
)
def test_a_person_finds_an_encoder_by_its_word(capsys, word, name):
    assert name in found(capsys, "encoders", "--search", word)


def test_other_kinds_are_searched_too(capsys):
    assert found(capsys, "fusions", "--search", "CROSS attention") == ["cross-attention"]
    names = found(capsys, "--search", "siglip")
    assert "hf-clip" in names


def test_a_table_says_what_each_name_is(capsys):
    assert run(["list", "encoders", "--search", "PE-Core-L-14"]) == 0
    line = " ".join(capsys.readouterr().out.splitlines()[1].split())
    assert line.startswith("open-clip:PE-Core-L-14-336@meta vqazoo")
    assert line.endswith("PE-Core, 336 px, 32 tokens, text lower")


def test_what_is_nowhere_and_what_is_no_word_is_told(capsys):
    assert run(["list", "encoders", "--search", "no such encoder"]) == 1
    assert "has 'no such encoder' in its name" in capsys.readouterr().err
    assert run(["list", "--search", "--"]) == 2
    assert "letters or digits" in capsys.readouterr().err


def test_a_missing_file_of_names_is_told(capsys, monkeypatch):
    real = registry.manifest

    def damaged(kind, ref):
        manifest = real(kind, ref)
        return replace(manifest, names="vqazoo_timm:none.json") if ref == "timm" else manifest

    monkeypatch.setattr(registry, "manifest", damaged)
    assert run(["list", "encoders", "--search", "siglip"]) == 1
    assert "names of the encoder 'timm' cannot be read" in capsys.readouterr().err

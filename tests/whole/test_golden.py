"""Checkpoints of every format version load for ever, and answer as they did when they were made."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import vqazoo
from tests.support.toy import toy  # noqa: F401
from vqazoo.files.writing import INCLUDING_VERSION
from vqazoo.interfaces import Preprocess

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDERS = sorted(folder.parent for folder in GOLDEN.glob("format-*/*/config.json"))
NAMES = [folder.relative_to(GOLDEN).as_posix() for folder in FOLDERS]
TOLERANCE = 1e-5
SHA256 = {
    "format-1/linear": {
        "config.json": "a7a314f4c2a97d0cbe93ba2ca0c64905cc1a36a2f98157eb7d3c6726c4434625",
        "model.safetensors": "4de287ee9ca1c3792acea0595ed634bf82c1a439023a8cd2e62e287e777a7fd3",
        "answers.json": "41c03eed9cabd32154b27f76be9ae772e2c7d99461fe28e6a2a4f10fcda5ecdb",
        "inputs.json": "332e1b688a17e5394de1a9c23bf0ececfac82c3178c7ffee5c75adab3e8426c9",
        "outputs.json": "0b17e4554e868fcd98a39f69542e600c2ede321f4a4db71ee0dad399a17be20d",
    },
    "format-1/gru": {
        "config.json": "81a0ca8da40ea088c7e67742b6c451b3291a0cedd286f92708ff683edd2979cd",
        "model.safetensors": "88b4071791dd7b0ec5e1974ba3ab5625bb065d69fd0be4cbc70160441a21c133",
        "answers.json": "41c03eed9cabd32154b27f76be9ae772e2c7d99461fe28e6a2a4f10fcda5ecdb",
        "inputs.json": "332e1b688a17e5394de1a9c23bf0ececfac82c3178c7ffee5c75adab3e8426c9",
        "outputs.json": "242f9beaaacb36a0335a3a2c624e463a6288a65ca27543240ba638707a6ca98e",
    },
    "format-1/lstm": {
        "config.json": "20f5850c936ced9c896c6ed5022ef11054b3b1f3f6868e6c53487c3e2877be31",
        "model.safetensors": "df2e7e64a47c3ecf55c582257d9168609fdd4edea8433d665d2b7a4e98932e88",
        "answers.json": "41c03eed9cabd32154b27f76be9ae772e2c7d99461fe28e6a2a4f10fcda5ecdb",
        "inputs.json": "332e1b688a17e5394de1a9c23bf0ececfac82c3178c7ffee5c75adab3e8426c9",
        "outputs.json": "ea6005f61274e4bdf91edf6e80fe90c535c8f4077e580d737637652296894ad4",
    },
    "format-2/hf-text": {
        "answers.json": "41c03eed9cabd32154b27f76be9ae772e2c7d99461fe28e6a2a4f10fcda5ecdb",
        "config.json": "893a1c25c0f16a94e9f04321544c6c0248ca15da984228dd77923d89f5b73b38",
        "inputs.json": "332e1b688a17e5394de1a9c23bf0ececfac82c3178c7ffee5c75adab3e8426c9",
        "model.safetensors": "4f6e0653347e29e873b6c1431702133688554ec7f639c5435d7af1e0c01337aa",
        "outputs.json": "94a4efa0468fb4b5ba60bc559452de50f77fb9c4b9891421db714567942f71fa",
    },
}
SHA256["format-2/hf-text"] |= {
    f"encoder-text/{name}": digest
    for name, digest in {
        "config.json": "2e141a70e92c75a986512c07b9c637f72e8f5e7dbd079bbc29f20d4c2c8a1809",
        "tokenizer.json": "3c082e69ce5697fec056ba946b1a34d5d593f20722b2eef0ed993473cadfc9fc",
        "tokenizer_config.json": "8184931c4c251d99935ad96f21a8b85ae89fc865a0d6b74f556a71175d387dca",
        "vocab.txt": "3cfe6c295b7ab549ec9190542788c973ef8f2cefd73f7303d3af61487b682376",
    }.items()
}  # never change one: a folder that had to be made again shows that older ones are not read


@pytest.fixture(params=FOLDERS, ids=NAMES)
def golden(request: pytest.FixtureRequest, toy: str) -> Path:  # noqa: F811
    return request.param


def asked(folder: Path) -> tuple[list[np.ndarray], list[str]]:
    rows = json.loads((folder / "inputs.json").read_text())
    return [np.array(row["pixels"], dtype=np.uint8) for row in rows], [r["question"] for r in rows]


def test_it_answers_as_when_it_was_made(golden: Path) -> None:
    images, questions = asked(golden)
    outputs = json.loads((golden / "outputs.json").read_text())
    model = vqazoo.load(f"dir:{golden}")
    found = model.answer(images, questions, top_k=2)
    for one, wanted in zip(found, outputs["answers"], strict=True):
        ranked = [one, *one.alternatives]
        assert [answer.text for answer in ranked] == [text for text, _ in wanted["ranked"]]
        scores = [score for _, score in wanted["ranked"]]
        assert [answer.score for answer in ranked] == pytest.approx(scores, abs=TOLERANCE)
        assert one.answer_type == wanted["answer_type"]
        assert one.answerable == pytest.approx(wanted["answerable"], abs=TOLERANCE)
    assert [one.text for one in model.answer(images, questions)] == outputs["greedy"]


def test_its_fused_features_are_those_of_then(golden: Path) -> None:
    images, questions = asked(golden)
    wanted = torch.tensor(json.loads((golden / "outputs.json").read_text())["fused"])
    model = vqazoo.load(f"dir:{golden}")
    with torch.inference_mode():
        fused = model(torch.stack([model.transform(image) for image in images]), questions)
    torch.testing.assert_close(fused.pooled, wanted, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("key", ["notes", "files", "license"])
def test_top_level_keys_of_a_later_release_are_ignored(
    golden: Path, tmp_path: Path, key: str
) -> None:
    """Whatever they hold: nothing is read that they name."""
    folder = Path(shutil.copytree(golden, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config[key] = ["../../outside", {"name": "/etc/passwd"}, "x" * 5000]
    (folder / "config.json").write_text(json.dumps(config))
    images, questions = asked(golden)
    then, now = vqazoo.load(f"dir:{golden}"), vqazoo.load(f"dir:{folder}")
    assert now.answer(images, questions) == then.answer(images, questions)


def test_every_format_version_has_golden_folders() -> None:
    versions = {folder.parent.name for folder in FOLDERS}
    assert versions == {f"format-{number}" for number in range(1, INCLUDING_VERSION + 1)}
    for folder in FOLDERS:
        written = json.loads((folder / "config.json").read_text())["format_version"]
        assert folder.parent.name == f"format-{written}"


def test_golden_files_are_byte_for_byte_those_that_were_made() -> None:
    found = {
        name: {
            file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in folder.rglob("*")
            if file.is_file()
        }
        for name, folder in zip(NAMES, FOLDERS, strict=True)
    }
    assert found == SHA256


def test_how_pixels_are_made_is_written_again_as_it_was_written_then(golden: Path) -> None:
    said = json.loads((golden / "config.json").read_text())["preprocess"]
    assert Preprocess.from_json(said).to_json() == said


def test_settings_of_pixels_that_came_later_are_written_where_they_say_something() -> None:
    plain = Preprocess((8, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    later = {"longest": 12, "margins": "transformers", "scale": 1.0}
    for name, value in later.items():
        assert set(replace(plain, **{name: value}).to_json()) - set(plain.to_json()) == {name}
    fit = {"longest", "multiple"}  # which mode `fit` always wrote
    assert set(replace(plain, mode="fit").to_json()) - set(plain.to_json()) == fit
    for kept in (plain, replace(plain, mode="fit"), replace(plain, resize=(9, 8), **later)):
        assert Preprocess.from_json(json.loads(json.dumps(kept.to_json()))) == kept

"""`vqazoo features`: what is encoded ahead, listed, verified and removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from vqazoo.cli import run
from vqazoo.interfaces import Features
from vqazoo.model import VQAModel

QUESTIONS = 3  # distinct ones of the table
PICTURES = 24


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "features"


def build(table: Path, root: Path, *more: str) -> int:
    return run(
        [
            "features",
            "build",
            "--encoder",
            "tiny-clip",
            "--data",
            "table",
            "--set",
            f"data.args.train={table}",
            "--cache",
            str(root),
            *more,
        ]
    )


def caches(root: Path, side: str) -> list[Path]:
    return sorted(root.glob(f"{side}-*"))


def error(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    capsys.readouterr()
    assert run(["features", *arguments]) == code
    return capsys.readouterr().err


def test_training_after_build_computes_nothing(
    table: Path,
    root,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert build(table, root) == 0
    assert f"{PICTURES} images and {QUESTIONS} questions are cached" in capsys.readouterr().out
    rows: list[int] = []
    real = VQAModel.encode_image

    def count(self: VQAModel, pixels: torch.Tensor) -> Features:
        rows.append(len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(VQAModel, "encode_image", count)
    train = [
        "train",
        "--encoder",
        "tiny-clip",
        "--head",
        "mlp",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--set",
        "training.epochs=1",
        "--set",
        f"training.cache={root}",
        "--out",
        str(tmp_path / "run"),
    ]
    assert run(train) == 0
    assert sum(rows) == 4 + 1  # only those that are verified, by training and by the calibration
    assert "Encoding" not in capsys.readouterr().err


def test_build_uses_the_cache_and_the_head_of_a_config(
    table: Path, root, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'encoder = "tiny-clip"\nhead = "mlp"\n[data]\ntype = "table"\n'
        f'args = {{train = "{table}"}}\n[training]\ncache = "{root}"\n'
    )
    assert run(["features", "build", "--config", str(config)]) == 0
    assert len(caches(root, "image")) == 1
    flags = ["--head", "gru", "--fusion", "cross-attention"]
    assert run(["features", "build", "--config", str(config), *flags]) == 0  # flags win
    kinds = {json.loads((f / "meta.json").read_text())["kinds"][0] for f in caches(root, "image")}
    assert kinds == {"pooled", "tokens"}


def test_info_lists_what_made_the_features(
    table: Path, root, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["features", "info", "--cache", str(root)]) == 0
    assert "There are no cached features in" in capsys.readouterr().out
    assert run(["features", "info", "--cache", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    build(table, root)
    capsys.readouterr()
    assert run(["features", "info", "--cache", str(root)]) == 0
    image, question = capsys.readouterr().out.splitlines()
    assert image.split()[:3] == [caches(root, "image")[0].name, str(PICTURES), "rows"]
    assert question.endswith(" kB  pooled of tiny-clip")
    assert run(["features", "info", "--cache", str(root), "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert [one["rows"] for one in documents] == [PICTURES, QUESTIONS]
    assert documents[0]["encoder"] == "tiny-clip"
    assert documents[0]["bytes"] > PICTURES * 192 * 2


@pytest.mark.parametrize("harm", ["cut", "fill", "nan"])
def test_verify_names_a_damaged_shard(
    table: Path, root, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    build(table, root)
    capsys.readouterr()
    assert run(["features", "verify", "--cache", str(root)]) == 0
    assert capsys.readouterr().out.count("good") == 2
    (shard,) = caches(root, "image")[0].glob("shard-*")
    content = bytearray(shard.read_bytes())
    if harm == "nan":
        content[-2:] = b"\xff\x7f"
    shard.write_bytes(
        content[:-50] if harm == "cut" else bytes(len(content)) * (harm == "fill") or content
    )
    assert run(["features", "verify", "--cache", str(root)]) == 1
    told = capsys.readouterr()
    assert f"damaged: {shard.name}" in told.out
    assert told.err.startswith("Error: 1 file in ")
    assert "is damaged: delete it, and the next run" in told.err
    assert run(["features", "verify", caches(root, "question")[0].name, "--cache", str(root)]) == 0
    shard.unlink()
    build(table, root)
    assert run(["features", "verify", "--cache", str(root)]) == 0


def test_clear_removes_one_or_all(table: Path, root, capsys: pytest.CaptureFixture[str]) -> None:
    build(table, root)
    name = caches(root, "question")[0].name
    assert run(["features", "clear", name, "--cache", str(root)]) == 0
    assert "Removed 1 cache, " in capsys.readouterr().out
    assert [folder.name for folder in root.iterdir() if folder.is_dir()] == [
        caches(root, "image")[0].name
    ]
    assert run(["features", "clear", "--all", "--cache", str(root)]) == 0
    assert not caches(root, "image")
    build(table, root)  # and all is computed anew
    assert len(caches(root, "image")) == 1


def test_mistakes_are_one_sentence_with_the_next_step(
    table: Path, root, capsys: pytest.CaptureFixture[str]
) -> None:
    build(table, root)
    here = ("--cache", str(root))
    name = caches(root, "image")[0].name
    assert f"Did you mean '{name}'?" in error(capsys, "clear", name[:-1] + "_", *here)
    assert "There is no cache 'none'" in error(capsys, "verify", "none", *here)
    assert "or --all" in error(capsys, "clear", *here, code=2)
    assert "or --all" in error(capsys, "clear", name, "--all", *here, code=2)
    with FileLock(root / name / "lock"):
        assert "is being written by another process" in error(capsys, "clear", name, *here)
    assert "Did you mean 'train'" in error(
        capsys,
        "build",
        "--encoder",
        "tiny-clip",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--split",
        "trian",
        *here,
    )

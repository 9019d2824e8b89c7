"""What is damaged beside the rows: indexes, meta.json, headers, states without digests.

Each is mended or told in a sentence, and no row is given for another one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import vqazoo
import vqazoo.features.cache
import vqazoo.features.filling
import vqazoo.features.shards
import vqazoo.features.stored
from tests.support.weights import unmapped
from vqazoo.cli import run
from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CacheError, TrainingError
from vqazoo.features.filling import build_images
from vqazoo.model import VQAModel
from vqazoo.training.data import RunData
from vqazoo.training.engine import start
from vqazoo.training.learner import Learner
from vqazoo.training.run_folder import check_data
from vqazoo.training.state import check_state, load_learner_state, read_position

PICTURES = 12


def plain(steps: Sequence[int], _: str) -> Iterator[int]:
    return iter(steps)


@pytest.fixture(scope="module", params=["concat", "cross-attention"])
def model(request: pytest.FixtureRequest) -> VQAModel:
    """Of pooled rows, and of tokens."""
    torch.manual_seed(0)
    return vqazoo.create(
        encoder="tiny-clip", fusion=request.param, head="mlp", answers=["a"]
    ).eval()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        Image.new("RGB", (64, 64), (number * 20, 90, 20)).save(folder / f"{number:02}.png")
    return sorted(folder.glob("*.png"))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows a shard."""
    monkeypatch.setattr(vqazoo.features.filling, "ENCODE_BATCH", 2)
    monkeypatch.setattr(vqazoo.features.filling, "SHARD_ROWS", 5)


def rows(model: VQAModel, files: Sequence[Path], root: Path) -> torch.Tensor:
    found = build_images(model, files, plain, root, verify=0).batch(torch.arange(len(files)))
    return found["pooled"] if "pooled" in found else found["tokens"]


def the(root: Path, name: str) -> Path:
    (found,) = root.glob(f"image-*/{name}")
    return found


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one.float(), other.float(), atol=1e-2)


# ---- the index ------------------------------------------------------------------------------


def test_rows_told_in_another_order_stay_in_place_when_others_are_added(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    """The index is read once more when rows are written: it must not be believed then either."""
    wanted = rows(model, pictures, tmp_path / "whole")
    rows(model, pictures[:8], tmp_path / "c")
    index = the(tmp_path / "c", "index.json")
    said = json.loads(index.read_text())
    for entry in said.values():
        entry["keys"].reverse()
    index.write_text(json.dumps(said))
    assert close(rows(model, pictures, tmp_path / "c"), wanted)
    assert close(rows(model, pictures[::-1], tmp_path / "c"), wanted.flip(0))


def test_an_index_that_told_wrongly_is_deleted_without_loss_or_written_anew_with_new_rows(
    model: VQAModel, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = rows(model, pictures[:8], tmp_path)
    index = the(tmp_path, "index.json")
    said = json.loads(index.read_text())
    said["shard-000001.safetensors"]["keys"].reverse()
    index.write_text(json.dumps(said))
    assert run(["features", "verify", "--cache", str(tmp_path)]) == 1
    assert "is damaged: delete it; no row is lost" in capsys.readouterr().err
    wrong = index.read_text()
    index.unlink()
    assert torch.equal(rows(model, pictures[:8], tmp_path), wanted)
    index.write_text(wrong)
    rows(model, pictures, tmp_path)
    assert run(["features", "verify", "--cache", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"shard-' + "9" * 5000 + '.safetensors": {}}'], ids=["deep", "long"]
)
def test_an_index_that_cannot_be_read_costs_nothing(
    model: VQAModel, pictures: list[Path], tmp_path: Path, content: str
) -> None:
    wanted = rows(model, pictures[:4], tmp_path)
    the(tmp_path, "index.json").write_text(content)
    assert torch.equal(rows(model, pictures[:4], tmp_path), wanted)
    rows(model, pictures, tmp_path)  # a shard is added, under a number of its own


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_place_of_a_file_is_not_waited_for(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    wanted = rows(model, pictures, tmp_path)
    for name in ("index.json", "shard-000001.safetensors"):
        file = the(tmp_path, name)
        file.unlink()
        os.mkfifo(file)
    assert close(rows(model, pictures, tmp_path), wanted)


# ---- meta.json and headers ------------------------------------------------------------------


@pytest.mark.parametrize("content", ['{"kinds": 5, "encoder": ["x"]}', "{", "[" * 100_000])
def test_a_damaged_meta_is_told_and_written_anew(
    model: VQAModel,
    pictures: list[Path],
    tmp_path: Path,
    content: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows(model, pictures, tmp_path)
    meta = the(tmp_path, "meta.json")
    original = meta.read_bytes()
    meta.write_text(content)
    assert run(["features", "info", "--cache", str(tmp_path)]) == 0
    assert "? of ?" in capsys.readouterr().out
    assert run(["features", "verify", "--cache", str(tmp_path)]) == 1
    assert "damaged: meta.json" in capsys.readouterr().out
    rows(model, pictures, tmp_path)
    assert meta.read_bytes() == original


def test_a_wrong_number_of_leading_tokens_reaches_no_row_of_another_shard(
    model: VQAModel, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large caches are checked shard by shard when used, but that number holds for all rows."""
    rows(model, pictures, tmp_path)
    monkeypatch.setattr(vqazoo.features.cache, "CHECKED_AT_ONCE", -1)
    shard = the(tmp_path, "shard-000002.safetensors")
    content = bytearray(shard.read_bytes())
    content[content.index(b'"num_prefix":"') + 14] ^= 2
    shard.write_bytes(content)
    with pytest.raises(CacheError, match="its digest differs"):
        build_images(model, pictures, plain, tmp_path, verify=0)
    build_images(model, pictures, plain, tmp_path, verify=0)


def test_a_shard_is_compared_with_its_digest_once(
    model: VQAModel, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(model, pictures, tmp_path)
    looked: list[int] = []
    real = vqazoo.features.shards.Shard.is_damaged

    def count(shard: vqazoo.features.shards.Shard) -> bool:
        looked.append(id(shard))
        return real(shard)

    monkeypatch.setattr(vqazoo.features.shards.Shard, "is_damaged", count)
    rows(model, pictures, tmp_path)
    assert len(looked) == len(set(looked)) == 3


@pytest.mark.parametrize("small", [True, False], ids=["checked on opening", "checked when used"])
def test_a_shard_is_opened_once_however_it_is_checked(
    model: VQAModel,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small: bool,
) -> None:
    rows(model, pictures, tmp_path)
    opened: list[str] = []
    real = vqazoo.features.shards.safe_open

    def count(file: Path, framework: str) -> Any:
        opened.append(file.name)
        return real(file, framework)

    if not small:
        monkeypatch.setattr(vqazoo.features.cache, "CHECKED_AT_ONCE", 0)
    monkeypatch.setattr(vqazoo.features.shards, "safe_open", count)
    rows(model, pictures, tmp_path)
    assert len(opened) == len(set(opened)) == 3


# ---- remembered pictures --------------------------------------------------------------------


def test_verify_of_one_cache_reads_its_pictures_alone_and_names_the_changed_ones(
    model: VQAModel, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(pictures[0].parent, folder)
    files = sorted(folder.glob("*.png"))
    root = tmp_path / "c"
    rows(model, files[:4], root)
    known = json.loads((root / "files.json").read_text())
    known["a\0b"] = known[str(files[0])]  # a garbled path
    Image.new("RGB", (64, 64), (1, 2, 3)).save(files[0])
    status = files[0].stat()
    stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    known[str(files[0])][:-1] = stamp  # as if the file system had not told
    known[str(files[5])] = [*known[str(files[1])][:-1], "0" * 64]  # of another cache
    (root / "files.json").write_text(json.dumps(known))
    name = the(root, "meta.json").parent.name
    assert run(["features", "verify", name, "--cache", str(root), "--json"]) == 1
    (document,) = json.loads(capsys.readouterr().out)
    assert document["changed_pictures"] == [str(files[0])]
    assert document["damaged"] == []


# ---- resuming -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def begun(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    vqazoo.train(
        encoder="tiny-clip",
        head="mlp",
        data={"type": "table", "args": {"train": str(table)}},
        set=["training.epochs=1"],
        out=out,
        report=lambda _: None,
    )
    return out


def rewritten(out: Path, target: Path, **words: Any) -> Path:
    """A state as an earlier release wrote it, without a digest, with other words."""
    state = shutil.copytree(out, target) / "state.safetensors"
    with safe_open(state, "pt") as opened:
        metadata = {**opened.metadata(), **words}
    del metadata["digest"]
    save_file(unmapped(state), state, metadata)
    return state


@pytest.mark.parametrize(
    "position", ['{"stage": "1"}', '{"epoch": 1.5}', '{"best": null}', "[" * 100_000, "[1]"]
)
def test_a_garbled_position_of_a_state_without_a_digest_is_one_sentence(
    begun: Path, tmp_path: Path, position: str
) -> None:
    state = rewritten(begun, tmp_path / "run", position=position)
    with pytest.raises(TrainingError, match="cannot be resumed; its best model is in"):
        read_position(state)


@pytest.mark.parametrize("words", [{"scaler": "["}, {"scaler": "3"}])
def test_a_garbled_scaler_is_one_sentence(begun: Path, tmp_path: Path, words: Any) -> None:
    state = rewritten(begun, tmp_path / "run", **words)
    check_state(state)  # nothing is told of a state without a digest
    model = vqazoo.load(f"dir:{begun / 'best'}")
    optimiser = torch.optim.AdamW(model.head.parameters())
    with start("cpu", "fp16") as engine:
        learner = Learner(engine, model.head, model.head, optimiser)
        with pytest.raises(TrainingError, match="cannot be resumed; its best model is in"):
            load_learner_state(state, learner)


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_a_state_that_is_cut_is_one_sentence(begun: Path, tmp_path: Path, cut: int) -> None:
    out = shutil.copytree(begun, tmp_path / "run")
    content = (out / "state.safetensors").read_bytes()
    (out / "state.safetensors").write_bytes(content[:cut])
    with pytest.raises(TrainingError, match="cannot be resumed; its best model is in"):
        vqazoo.train(out=out, resume=True, report=lambda _: None)


def marks(tmp_path: Path, *confidences: str) -> dict[str, Any]:
    example = Example(
        tmp_path / "a.png",
        "which?",
        ("red",) * len(confidences),
        "1",
        confidences=confidences,
        targets=(("red", 1.0),),
    )
    data = RunData([example], 1, AnswerList.from_texts(["red"]), 0, 0, 0)
    return data.marks(tmp_path)


def test_changed_confidences_stop_the_resumed_run(begun: Path, tmp_path: Path) -> None:
    before, now = marks(tmp_path, "yes", "yes"), marks(tmp_path, "yes", "maybe")
    rewritten(begun, tmp_path / "run", data=json.dumps(before))
    with pytest.raises(TrainingError, match="the confidences of the same answers"):
        check_data(tmp_path / "run", now)
    check_data(tmp_path / "run", before)


@pytest.mark.parametrize("without", ["confidences", "pictures", "labels"])
def test_a_run_of_a_release_that_noted_less_goes_on(
    begun: Path, tmp_path: Path, without: str
) -> None:
    now = marks(tmp_path, "yes")
    before = {name: mark for name, mark in now.items() if name != without}
    rewritten(begun, tmp_path / "run", data=json.dumps(before))
    check_data(tmp_path / "run", now)


@pytest.mark.parametrize("said", ["[]", "{}", '{"counts": 3}', '{"counts": ["a", 1, 1]}'])
def test_garbled_marks_of_a_state_without_a_digest_are_no_traceback(
    begun: Path, tmp_path: Path, said: str
) -> None:
    rewritten(begun, tmp_path / "run", data=said)
    check_data(tmp_path / "run", marks(tmp_path, "yes"))


# ---- every kind of byte ---------------------------------------------------------------------


def each_flipped(file: Path, header_step: int, of_tensors: int) -> Iterator[tuple[int, int]]:
    """Flip one bit of the file after another, over all its header and at random behind it."""
    dice, size = random.Random(0), file.stat().st_size
    with file.open("rb") as opened:
        header = 8 + int.from_bytes(opened.read(8), "little")
    bytes_ = [*range(0, header, header_step), *dice.sample(range(header, size), of_tensors)]
    for byte in bytes_:
        mask = 1 << dice.randrange(8)
        for turn in (0, 1):  # there and back
            with file.open("r+b") as opened:
                opened.seek(byte)
                (old,) = opened.read(1)
                opened.seek(byte)
                opened.write(bytes([old ^ mask]))
            if turn == 0:
                yield byte, mask


def content(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as opened:
        words = {name: text for name, text in opened.metadata().items() if len(text) != 32}
        return {**words, **{name: opened.get_tensor(name) for name in opened.keys()}}  # noqa: SIM118


def same(one: dict[str, Any], other: dict[str, Any], used: set[str]) -> bool:
    return all(
        torch.equal(one[name], other[name])
        if isinstance(one[name], torch.Tensor)
        else one[name] == other[name]
        for name in used
    )


def test_each_flipped_bit_of_a_shard_is_noticed_or_changes_nothing(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    rows(model, pictures[:4], tmp_path)
    shard = the(tmp_path, "shard-000000.safetensors")
    wanted = {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in content(shard).items()
    }
    harmless = 0
    for place in each_flipped(shard, 1, 300):
        if not vqazoo.features.shards.is_damaged(shard):
            harmless += 1
            assert same(wanted, content(shard), set(wanted)), place
    assert not vqazoo.features.shards.is_damaged(shard)
    assert harmless < 16  # the word `digest` itself, without which a shard is an old one


def test_each_flipped_bit_of_a_state_is_noticed_or_changes_nothing(
    begun: Path, tmp_path: Path
) -> None:
    state = shutil.copytree(begun, tmp_path / "run") / "state.safetensors"
    wanted = {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in content(state).items()
    }
    harmless = 0
    for place in each_flipped(state, 7, 60):
        try:
            check_state(state)
        except TrainingError:
            continue
        harmless += 1
        assert same(wanted, content(state), set(wanted)), place
    check_state(state)
    assert harmless < 8

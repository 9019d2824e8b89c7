"""No byte of a cache or a run's state changes unnoticed: every kind of byte is tried."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import vqazoo
import vqazoo.features.cache
from tests.support.weights import unmapped
from vqazoo.cli import run
from vqazoo.errors import CacheError, TrainingError, VqazooError
from vqazoo.features.cache import FeatureCache
from vqazoo.features.filling import build_images
from vqazoo.features.shards import DIGEST
from vqazoo.files.keys import FileKeys
from vqazoo.model import VQAModel

PICTURES = 10


def plain(steps: Sequence[int], _: str) -> Iterator[int]:
    return iter(steps)


@pytest.fixture(scope="module")
def model() -> VQAModel:
    torch.manual_seed(0)
    return vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a"]).eval()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        Image.new("RGB", (64, 64), (number * 20, 90, 20)).save(folder / f"{number}.png")
    return sorted(folder.glob("*.png"))


def rows(model: VQAModel, files: Sequence[Path], root: Path, verify: int = 0) -> torch.Tensor:
    found = build_images(model, files, plain, root, verify=verify)
    return found.batch(torch.arange(len(files)))["pooled"]


@pytest.fixture(scope="module")
def built(
    model: VQAModel, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, torch.Tensor]:
    root = tmp_path_factory.mktemp("caches")
    return root, rows(model, pictures, root)


def flipped(file: Path, byte: int, bit: int) -> None:
    """Change one bit, and nothing that the file system tells."""
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[byte] ^= 1 << bit
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def places(file: Path) -> list[tuple[int, int]]:
    """Bits of the length, of all over the header, of its padding, and of the tensors."""
    size, dice = file.stat().st_size, random.Random(0)
    with file.open("rb") as opened:
        header = 8 + int.from_bytes(opened.read(8), "little")
    chosen = [*range(8), *dice.sample(range(8, header), 36), header - 1, header, size - 1]
    return [(byte, dice.randrange(8)) for byte in [*chosen, *dice.sample(range(header, size), 12)]]


@pytest.mark.parametrize("lazily", [False, True])
def test_a_flipped_bit_of_a_shard_is_noticed_or_harmless(
    model: VQAModel,
    pictures: list[Path],
    built: tuple[Path, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lazily: bool,
) -> None:
    """On opening the rows are computed anew; what is too large for that is refused when used."""
    source, wanted = built
    if lazily:
        monkeypatch.setattr(vqazoo.features.cache, "CHECKED_AT_ONCE", -1)
    (shard,) = source.glob("image-*/shard-*.safetensors")
    refused: list[str] = []
    for number, (byte, bit) in enumerate(places(shard)):
        root = shutil.copytree(source, tmp_path / str(number))
        (harmed,) = root.glob("image-*/shard-*.safetensors")
        flipped(harmed, byte, bit)
        try:
            found = rows(model, pictures, root)
        except CacheError as error:
            refused.append(str(error))
            found = rows(model, pictures, root)  # the next run mends it
        assert torch.allclose(found, wanted, atol=1e-2), (byte, bit)
    assert all("its digest differs" in one for one in refused)
    assert len(refused) > 12 if lazily else not refused


def test_a_flipped_bit_of_an_index_gives_nobody_the_row_of_another(
    model: VQAModel, pictures: list[Path], built: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    source, wanted = built
    (index,) = source.glob("image-*/index.json")
    dice = random.Random(1)
    for number in range(30):
        root = shutil.copytree(source, tmp_path / str(number))
        (harmed,) = root.glob("image-*/index.json")
        flipped(harmed, dice.randrange(index.stat().st_size), dice.randrange(8))
        assert torch.allclose(rows(model, pictures, root), wanted, atol=1e-2)


def test_an_index_that_tells_rows_in_another_order_is_not_believed(
    model: VQAModel,
    pictures: list[Path],
    built: tuple[Path, torch.Tensor],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, wanted = built
    root = shutil.copytree(source, tmp_path / "c")
    (index,) = root.glob("image-*/index.json")
    said = json.loads(index.read_text())
    said["shard-000000.safetensors"]["keys"].reverse()
    index.write_text(json.dumps(said))
    assert torch.equal(rows(model, pictures, root), wanted)
    assert run(["features", "verify", "--cache", str(root)]) == 1
    told = capsys.readouterr()
    assert "damaged: index.json" in told.out
    assert told.err.startswith("Error: 1 file in ")


def test_verify_finds_the_flipped_bit_of_a_finite_value(
    built: tuple[Path, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(built[0], tmp_path / "c")
    (shard,) = root.glob("image-*/shard-*.safetensors")
    flipped(shard, shard.stat().st_size - 2, 0)  # the last bit of a mantissa
    assert run(["features", "verify", "--cache", str(root)]) == 1
    assert f"damaged: {shard.name}" in capsys.readouterr().out


def test_a_cache_of_an_earlier_release_is_used_and_said_to_be_unchecked(
    model: VQAModel,
    pictures: list[Path],
    built: tuple[Path, torch.Tensor],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, wanted = built
    root = shutil.copytree(source, tmp_path / "c")
    (shard,) = root.glob("image-*/shard-*.safetensors")
    with safe_open(shard, "pt") as opened:
        words = opened.metadata()
    save_file(unmapped(shard), shard, {k: v for k, v in words.items() if k != DIGEST})
    (shard.parent / "index.json").unlink()
    assert torch.equal(rows(model, pictures, root, verify=4), wanted)
    assert run(["features", "verify", "--cache", str(root)]) == 0
    assert "good (1 of an earlier release, without a digest" in capsys.readouterr().out


def test_a_cache_that_may_only_be_read_is_refused_where_it_is_damaged(
    built: tuple[Path, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(built[0], tmp_path / "c")
    (shard,) = root.glob("image-*/shard-*.safetensors")
    cache = FeatureCache(shard.parent, {})
    mapped = cache.read(cache.held[0])
    flipped(shard, shard.stat().st_size - 2, 0)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "rename", refuse)
    for _ in range(2):
        with pytest.raises(CacheError, match="its digest differs"):
            mapped.batch(torch.tensor([0]))


# ---- pictures -------------------------------------------------------------------------------


def same_times(file: Path, write: Callable[[], object]) -> None:
    status = file.stat()
    write()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("how", ["written in place", "put in its place"])
def test_a_picture_replaced_by_one_of_equal_size_and_time_is_another(
    tmp_path: Path, how: str
) -> None:
    file, other = tmp_path / "a.png", tmp_path / "b.png"
    file.write_bytes(b"one picture")
    keys = FileKeys(tmp_path)
    before = keys.key(file)
    keys.save()

    def replace() -> None:
        if how == "written in place":
            file.write_bytes(b"two picture")
        else:
            other.write_bytes(b"two picture")
            other.replace(file)

    same_times(file, replace)
    assert FileKeys(tmp_path).key(file) != before


def test_verify_reads_pictures_of_which_the_file_system_tells_nothing(
    tmp_path: Path, built: tuple[Path, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a flipped bit on the disk: simulated in what was remembered."""
    root = shutil.copytree(built[0], tmp_path / "c")
    assert run(["features", "verify", "--cache", str(root)]) == 0
    known = json.loads((root / "files.json").read_text())
    name = sorted(known)[3]
    known[name][-1] = "0" * 64
    (root / "files.json").write_text(json.dumps(known))
    assert run(["features", "verify", "--cache", str(root)]) == 1
    assert f"'{name}' was changed though" in capsys.readouterr().err
    assert run(["features", "verify", "--cache", str(root)]) == 0  # it was forgotten
    assert FileKeys(root).key(Path(name)) != "0" * 64


# ---- the state of a run -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def begun(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    vqazoo.train(
        encoder="tiny-clip",
        head="mlp",
        data={"type": "table", "args": {"train": str(table)}},
        set=["training.epochs=2", "training.features=live"],
        out=out,
        report=lambda _: None,
    )
    return out


def resumed(out: Path) -> None:
    vqazoo.train(out=out, resume=True, report=lambda _: None)


def test_a_flipped_bit_of_the_state_stops_the_resumed_run(begun: Path, tmp_path: Path) -> None:
    state = begun / "state.safetensors"
    noticed: list[str] = []
    for number, (byte, bit) in enumerate(places(state)[::4]):
        out = shutil.copytree(begun, tmp_path / str(number))
        flipped(out / "state.safetensors", byte, bit)
        try:
            resumed(out)
        except TrainingError as error:
            noticed.append(str(error))
    assert all("state.safetensors" in one for one in noticed)
    assert len(noticed) >= len(places(state)[::4]) - 1  # padding of the header is harmless


@pytest.mark.parametrize("harm", ["cut", "lost", "other"])
def test_a_damaged_log_is_one_sentence(begun: Path, tmp_path: Path, harm: str) -> None:
    out = shutil.copytree(begun, tmp_path / "run")
    log = out / "log.jsonl"
    if harm == "lost":
        log.unlink()
    else:
        log.write_text(log.read_text()[:-30] if harm == "cut" else "[3]\n")
    told = {"cut": "Line 2 of", "lost": "cannot be read", "other": "Line 1 of"}[harm]
    with pytest.raises(TrainingError, match=told):
        resumed(out)


def test_pictures_replaced_under_the_same_names_stop_the_resumed_run(
    begun: Path, table: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(table.parent, tmp_path / "data")
    out = tmp_path / "run"
    settings = {"head": "mlp", "encoder": "tiny-clip"}
    vqazoo.train(
        **settings,
        data={"type": "table", "args": {"train": str(folder / table.name)}},
        set=["training.epochs=1"],
        out=out,
        report=lambda _: None,
    )
    resumed(out)
    picture = sorted(folder.rglob("*.png"))[0]
    Image.new("RGB", (64, 64), (1, 2, 3)).save(picture)
    with pytest.raises(VqazooError, match="the pictures under the same names"):
        resumed(out)

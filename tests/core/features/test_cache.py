"""Features on disk: found by content, computed once, and never trusted when they are damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import vqazoo
import vqazoo.features.filling
import vqazoo.features.sources
from tests.support.weights import unmapped
from vqazoo.data import Example
from vqazoo.errors import CacheError, DataError, ImageError
from vqazoo.evaluation.answering import answer_features
from vqazoo.features.cache import FeatureCache, clear
from vqazoo.features.filling import build_images, build_questions, describe_towers
from vqazoo.features.shards import DIGEST
from vqazoo.features.sources import CachedFeatures, LiveFeatures
from vqazoo.files.digests import tensor_digest
from vqazoo.files.keys import FileKeys
from vqazoo.interfaces import Features
from vqazoo.model import VQAModel
from vqazoo.progress import Report


def model_with(fusion: str = "concat", **more: Any) -> VQAModel:
    torch.manual_seed(0)
    return vqazoo.create(
        encoder="tiny-clip", fusion=fusion, head="mlp", answers=["yes", "no", "red"], **more
    ).eval()


@pytest.fixture(scope="module")
def model() -> VQAModel:
    return model_with()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Ten distinct pictures."""
    (tmp_path / "pictures").mkdir()
    files = [tmp_path / "pictures" / f"{number}.png" for number in range(10)]
    for number, file in enumerate(files):
        Image.new("RGB", (64, 64), (number * 25, 40, 255 - number * 20)).save(file)
    return files


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the encoder got, from now on."""
    counts: list[int] = []
    real = VQAModel.encode_image

    def count(self: VQAModel, pixels: torch.Tensor) -> Features:
        counts.append(len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(VQAModel, "encode_image", count)
    return counts


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows a batch and four a shard."""
    monkeypatch.setattr(vqazoo.features.filling, "ENCODE_BATCH", 2)
    monkeypatch.setattr(vqazoo.features.filling, "SHARD_ROWS", 5)


def plain(steps: Sequence[int], _: str) -> Iterator[int]:
    return iter(steps)


def images(
    model: VQAModel,
    files: Sequence[Path],
    root: Path,
    verify: int = 0,
    report: Report = lambda line: None,
) -> torch.Tensor:
    found = build_images(model, files, plain, root, report, verify).batch(torch.arange(len(files)))
    return found["pooled"] if "pooled" in found else found["tokens"]


def the_folder(root: Path, side: str = "image") -> Path:
    (found,) = root.glob(f"{side}-*")
    return found


def shards(root: Path, side: str = "image") -> list[Path]:
    return sorted(the_folder(root, side).glob("shard-*.safetensors"))


def stored_keys(root: Path) -> list[str]:
    """Keys of all rows, as the shards themselves tell."""
    found: list[str] = []
    for file in shards(root):
        with safe_open(file, "pt") as shard:
            found += shard.metadata()["keys"].split(" ")
    return found


# ---- what is computed -----------------------------------------------------------------------


def test_the_second_run_encodes_nothing(
    model: VQAModel, pictures: list[Path], tmp_path: Path, encoded: list[int]
) -> None:
    first = images(model, pictures, tmp_path / "c")
    assert sum(encoded) == 1 + 10  # one to see how large a row is
    encoded.clear()
    assert torch.equal(images(model, pictures, tmp_path / "c"), first)
    assert encoded == []


def test_renamed_and_duplicate_pictures_are_encoded_once(
    model: VQAModel, pictures: list[Path], tmp_path: Path, encoded: list[int]
) -> None:
    copy = shutil.copy(pictures[3], tmp_path / "copy.png")
    before = images(model, [*pictures, Path(copy)], tmp_path / "c")
    assert torch.equal(before[3], before[10])
    assert len(stored_keys(tmp_path / "c")) == 10
    encoded.clear()
    renamed = pictures[5].rename(tmp_path / "other.png")
    assert torch.equal(images(model, [renamed], tmp_path / "c")[0], before[5])
    assert encoded == []


def test_a_changed_picture_is_encoded_again_alone(
    model: VQAModel, pictures: list[Path], tmp_path: Path, encoded: list[int]
) -> None:
    before = images(model, pictures, tmp_path / "c")
    Image.new("RGB", (64, 64), (1, 2, 3)).save(pictures[0])
    encoded.clear()
    after = images(model, pictures, tmp_path / "c")
    assert encoded == [1, 1]
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[1:], before[1:])


def test_questions_are_found_by_their_tokens(model: VQAModel, tmp_path: Path) -> None:
    texts = ["what is it?", "WHAT is it?", "why?"]
    ids, mask = model.text_encoder.tokenize(texts)
    assert ids[0][mask[0]].tolist() == ids[1][mask[1]].tolist()
    found = build_questions(model, texts, plain, tmp_path).batch(torch.arange(3))["pooled"]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert len(FeatureCache(the_folder(tmp_path, "question"), {})) == 2


def test_pictures_are_told_one_by_one_though_they_are_encoded_together(
    model: VQAModel, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vqazoo.features.filling, "ENCODE_BATCH", 2)
    told: list[tuple[int, str]] = []

    def counted(steps: Sequence[int], label: str) -> Iterator[int]:
        done = 0
        for step in steps:
            yield step
            done += 1
        told.append((done, label))

    build_images(model, pictures, counted, tmp_path)
    assert told == [(len(stored_keys(tmp_path)), "images")]


def test_one_row_and_none_are_fine(model: VQAModel, pictures: list[Path], tmp_path: Path) -> None:
    assert len(build_images(model, [], plain, tmp_path)) == 0
    assert len(CachedFeatures(model, [], plain, tmp_path)._images._rows) == 0
    assert images(model, pictures[:1], tmp_path).shape == (1, 192)


def other(part: str, model: VQAModel, monkeypatch: pytest.MonkeyPatch) -> VQAModel:
    changed = model_with()
    if part == "weights":
        changed.set_trainable(["both.model.visual"])
        next(changed.towers.parameters()).data += 1
    elif part == "random weights":
        return model_with(pretrained=False)
    elif part == "kinds":
        return model_with("cross-attention")
    else:
        original = vqazoo.features.filling.describe_towers
        change = {"preprocess": {"size": [32, 32]}, "args": {"a": 1}, "encoder_version": 99}
        monkeypatch.setattr(
            vqazoo.features.filling,
            "describe_towers",
            lambda *given: {**original(*given), part: change[part]},
        )
    return changed


@pytest.mark.parametrize(
    "part", ["weights", "random weights", "kinds", "preprocess", "args", "encoder_version"]
)
def test_what_made_the_features_names_their_folder(
    model: VQAModel, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part
) -> None:
    known = describe_towers(model, "image")
    assert part.split()[-1].replace("weights", "weights_sha256") in known
    images(model, pictures[:1], tmp_path / "c")
    images(other(part, model, monkeypatch), pictures[:1], tmp_path / "c")
    assert len(list((tmp_path / "c").glob("image-*"))) == 2


def test_a_file_is_read_again_once_its_size_or_time_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    keys = FileKeys(tmp_path)
    first = keys.key(file)
    keys.save()
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert FileKeys(tmp_path).key(file) == first
    monkeypatch.undo()
    file.write_bytes(b"other")
    assert FileKeys(tmp_path).key(file) != first
    (tmp_path / "files.json").write_text(json.dumps({str(file): [5]}))  # as another release had it
    assert len(FileKeys(tmp_path).key(file)) == 64


# ---- damage ---------------------------------------------------------------------------------


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def fill(file: Path) -> None:
    file.write_bytes(b"\xff" * file.stat().st_size)


@pytest.mark.parametrize("harm", [cut, fill, Path.unlink, lambda file: file.write_bytes(b"")])
def test_the_rows_of_a_damaged_shard_are_computed_again_alone(
    model: VQAModel,
    pictures: list[Path],
    tmp_path: Path,
    encoded: list[int],
    small_shards: None,
    harm: Callable[[Path], None],
) -> None:
    before = images(model, pictures, tmp_path / "c")
    assert len(shards(tmp_path / "c")) == 3
    harm(shards(tmp_path / "c")[1])
    encoded.clear()
    said: list[str] = []
    after = images(model, pictures, tmp_path / "c", report=said.append)
    assert sum(encoded) == 1 + 4
    assert torch.equal(after, before)
    assert sorted(stored_keys(tmp_path / "c")) == sorted(set(stored_keys(tmp_path / "c")))
    assert len(stored_keys(tmp_path / "c")) == 10


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b'{"shard-000000.safetensors": 3}'])
def test_a_lost_or_broken_index_costs_nothing(
    model: VQAModel,
    pictures: list[Path],
    tmp_path: Path,
    encoded: list[int],
    small_shards: None,
    content: bytes | None,
) -> None:
    before = images(model, pictures, tmp_path / "c")
    index = the_folder(tmp_path / "c") / "index.json"
    index.unlink() if content is None else index.write_bytes(content)
    encoded.clear()
    assert torch.equal(images(model, pictures, tmp_path / "c"), before)
    assert encoded == []


def test_an_old_index_does_not_speak_for_a_new_shard(
    model: VQAModel, pictures: list[Path], tmp_path: Path, small_shards: None
) -> None:
    """The last shard is lost; a later one of the same size holds other rows; then a kill."""
    truth = images(model, pictures, tmp_path / "whole")
    images(model, pictures[:4], tmp_path / "c")
    index = the_folder(tmp_path / "c") / "index.json"
    old = index.read_bytes()
    shards(tmp_path / "c")[0].unlink()
    images(model, pictures[4:8], tmp_path / "c")
    index.write_bytes(old)  # as if killed before it was written
    assert torch.equal(images(model, pictures, tmp_path / "c"), truth)


def test_a_stored_row_that_is_not_what_the_encoder_gives_is_told(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    images(model, pictures, tmp_path / "c")
    (file,) = shards(tmp_path / "c")
    with safe_open(file, "pt") as shard:
        metadata = shard.metadata()
    tensors = unmapped(file)
    tensors["pooled"] = tensors["pooled"].flip(0).contiguous()
    words = (metadata["keys"], metadata["num_prefix"])
    save_file(tensors, file, {**metadata, DIGEST: tensor_digest(tensors, *words)})
    with pytest.raises(CacheError, match=r"differ from .* clear image-\w{16} --cache .*c  and run"):
        images(model, pictures, tmp_path / "c", verify=4)


def test_questions_of_several_lengths_agree_with_the_encoder(
    tmp_path: Path, small_shards: None
) -> None:
    """Shards have different lengths, and what encoders give for padding differs."""
    model = model_with("cross-attention")
    texts = ["why?", "a?", "is it red or blue or green?", "what shape?", "is there a large circle?"]
    texts += [f"is there a {'very ' * n}red circle?" for n in range(5)]
    build_questions(model, texts[:6], plain, tmp_path)
    found = build_questions(model, texts, plain, tmp_path, verify=10)
    found = build_questions(model, texts, plain, tmp_path, verify=10)
    lengths = {unmapped(file)["tokens"].shape[1] for file in shards(tmp_path, "question")}
    assert len(lengths) > 1
    batch = found.batch(torch.arange(len(texts)))
    live = model.encode_text(texts)
    assert torch.equal(batch["mask"], live.mask)
    torch.testing.assert_close(
        batch["tokens"][live.mask].float(), live.tokens[live.mask], rtol=1e-2, atol=1e-2
    )


# ---- half precision and memory --------------------------------------------------------------


def examples_of(pictures: Sequence[Path]) -> list[Example]:
    asked = ["what is it?", "is it a large red circle?", "why?"]
    return [
        Example(file, question, ("yes",), f"{file.stem}-{question}")
        for file in pictures
        for question in asked
    ]


@pytest.mark.parametrize("fusion", ["concat", "cross-attention"])
@torch.no_grad()
def test_cached_features_answer_as_live_ones(
    pictures: list[Path], tmp_path: Path, fusion: str
) -> None:
    model, examples = model_with(fusion), examples_of(pictures)
    cached, live = CachedFeatures(model, examples, plain, tmp_path), LiveFeatures(model, examples)
    rows = torch.tensor([3, 1, 29, 3])
    for stored, fresh in zip(cached.batch(rows), live.batch(rows), strict=True):
        for name, tensor in fresh.tensors().items():
            found = stored.tensors()[name]
            assert found.shape == tensor.shape
            if name != "mask":
                real = slice(None) if name == "pooled" else fresh.mask
                assert (found - tensor)[real].abs().max() <= 1e-3 * tensor.abs().max()
    a, b = (
        answer_features(model, cached, len(examples)),
        answer_features(model, live, len(examples)),
    )
    assert [one.text for one in a] == [one.text for one in b]
    assert [one.score for one in a] == pytest.approx([one.score for one in b], abs=2e-3)


@pytest.mark.parametrize("fusion", ["concat", "cross-attention"])
def test_features_larger_than_memory_are_mapped_and_give_equal_batches(
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_shards: None,
    fusion: str,
) -> None:
    model, examples = model_with(fusion), examples_of(pictures)
    held = CachedFeatures(model, examples, plain, tmp_path)
    monkeypatch.setattr(vqazoo.features.sources, "memory_free", lambda _: 0)
    mapped = CachedFeatures(model, examples, plain, tmp_path)
    assert mapped._images._stored.take.__self__.nbytes() > 0  # the mapped files themselves
    for rows in (torch.arange(30), torch.tensor([29, 0, 0, 14])):
        for a, b in zip(held.batch(rows), mapped.batch(rows), strict=True):
            assert a.num_prefix == b.num_prefix
            for name, tensor in a.tensors().items():
                assert torch.equal(tensor, b.tensors()[name])


@pytest.mark.parametrize(("share", "held"), [(0.45, True), (0.55, False)])
def test_features_are_held_if_they_take_at_most_half_of_the_free_memory(
    model: VQAModel,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
    held: bool,
) -> None:
    mapped = build_images(model, pictures, plain, tmp_path)
    monkeypatch.setattr(vqazoo.features.sources, "memory_free", lambda _: mapped.nbytes() / share)
    side = vqazoo.features.sources.CachedImages(model, examples_of(pictures), plain, tmp_path)
    assert hasattr(side._stored.take, "__self__") is not held  # a method of the mapped files


def test_values_that_half_precision_cannot_hold_are_told(
    model: VQAModel, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VQAModel, "encode_image", lambda _, pixels: Features(pixels[:, 0, 0] + 1e6))
    with pytest.raises(CacheError, match=r"up to 1e\+06, but half precision holds at most 65,504"):
        images(model, pictures, tmp_path)


# ---- folders and disks ----------------------------------------------------------------------


def test_a_broken_picture_does_not_lose_what_was_encoded(
    model: VQAModel,
    pictures: list[Path],
    tmp_path: Path,
    encoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vqazoo.features.filling, "ENCODE_BATCH", 2)
    pictures[6].write_bytes(b"no picture")
    with pytest.raises(ImageError):
        images(model, pictures, tmp_path / "c")
    kept = len(stored_keys(tmp_path / "c"))
    assert kept > 0
    Image.new("RGB", (64, 64)).save(pictures[6])
    encoded.clear()
    images(model, pictures, tmp_path / "c")
    assert sum(encoded) == 1 + 10 - kept


def test_a_missing_picture_is_one_sentence(model: VQAModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read .*check the data root"):
        images(model, [tmp_path / "none.png"], tmp_path / "c")


def test_a_cache_being_written_is_not_cleared(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    images(model, pictures, tmp_path / "c")
    folder = the_folder(tmp_path / "c")
    with (
        FileLock(folder / "lock"),
        pytest.raises(CacheError, match="is being written by another process: try again"),
    ):
        clear([folder])
    assert len(stored_keys(tmp_path / "c")) == 10
    assert clear([folder]) > 10 * 192 * 2
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(
    model: VQAModel, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CacheError, match=r"cannot be written .* choose another folder"):
        images(model, pictures, tmp_path / "file")


PREPARED_OTHERWISE: dict[str, Any] = {
    "size": (96, 96),
    "mean": (0.1, 0.2, 0.3),
    "std": (0.4, 0.5, 0.6),
    "interpolation": "nearest",
    "mode": "pad",
    "resize": 80,
    "fill": 7,
    "longest": 128,
    "multiple": 32,
}


@pytest.mark.parametrize("field", PREPARED_OTHERWISE)
def test_features_of_pictures_that_are_prepared_otherwise_lie_elsewhere(
    pictures: list[Path], tmp_path: Path, field: str
) -> None:
    """The encoder says how pictures are prepared, and says it before anything is described."""
    made, prepared = model_with(), model_with().image_encoder.spec.preprocess
    if field in ("longest", "multiple"):  # of this mode only
        prepared = replace(prepared, mode="fit", resize=64, longest=64)
    encoder = made.image_encoder
    encoder.spec = encoder.spec.prepared(prepared)
    before = describe_towers(made, "image")
    otherwise = replace(prepared, **{field: PREPARED_OTHERWISE[field]})
    encoder.spec = encoder.spec.prepared(otherwise)
    after = describe_towers(made, "image")
    assert {name for name in before if before[name] != after[name]} == {"preprocess"}
    assert describe_towers(made, "text")["preprocess"] is None
    if field in ("mean", "interpolation"):
        images(model_with(), pictures[:2], tmp_path / "c")
        images(made, pictures[:2], tmp_path / "c")
        assert len(list((tmp_path / "c").glob("image-*"))) == 2


@pytest.mark.parametrize("fusion", ["concat", "cross-attention"])
def test_memory_is_asked_for_what_all_rows_take(
    tmp_path: Path, small_shards: None, fusion: str
) -> None:
    """Questions of 3 to 11 words in several shards, padded to the longest of all."""
    texts = ["why is it?" + " so very" * (n % 5) + f" {n}" for n in range(11)]
    mapped = build_questions(model_with(fusion), texts, plain, tmp_path)
    assert len(shards(tmp_path, "question")) > 1
    everything = mapped.batch(torch.arange(len(texts)))
    assert mapped.nbytes() == sum(tensor.nbytes for tensor in everything.values())


@pytest.mark.parametrize("harm", [Path.unlink, lambda file: file.write_bytes(b"cut")])
def test_a_shard_that_goes_while_it_is_used_is_one_sentence(
    model: VQAModel, pictures: list[Path], tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    images(model, pictures, tmp_path)
    cache = FeatureCache(the_folder(tmp_path), {})
    keys = stored_keys(tmp_path)
    harm(shards(tmp_path)[0])
    with pytest.raises(CacheError, match="cannot be read any more") as caught:
        cache.read(keys)
    assert "\n" not in str(caught.value)

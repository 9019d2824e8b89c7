"""Filling the caches of frozen towers, and opening them. Imports torch.

A frozen encoder and fixed pictures give the same features every epoch: then each distinct picture
and question is encoded once and kept (cache.py). sources.py makes batches of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.amounts import size
from vqazoo.data.damage import all_damaged
from vqazoo.errors import CacheError, DataError, ImageError
from vqazoo.features.cache import (
    SHARD_ROWS,
    VERSION,
    FeatureCache,
    cache_root,
    folder_key,
    question_key,
)
from vqazoo.features.encoding import READ_BY, Towers, encode_seen, need_frames, stack
from vqazoo.features.pictures import decoded_ahead
from vqazoo.features.stored import MappedFeatures, Rows
from vqazoo.files.free_space import disk_free
from vqazoo.files.keys import FileKeys
from vqazoo.interfaces import Encoder, Features, dtype_name, floating_dtype, state_sha256
from vqazoo.media.video import is_video
from vqazoo.progress import Progress, Report

ENCODE_BATCH = 64
TOKENIZE_BATCH = 4096
VERIFIED = 4  # rows computed again when a cache is opened
ROW_TOLERANCE = 0.02  # of a row's largest value: half precision and other batch sizes


def build_images(
    towers: Towers,
    paths: Sequence[Path],
    progress: Progress,
    root: str | Path = "",
    report: Report = lambda line: None,
    verify: int = VERIFIED,
) -> MappedFeatures:
    """Features of picture and video files, computed where the cache lacks them.

    Row i is `paths[i]`.

    Raises:
        ImageError: files cannot be read, all of which are listed; or there are videos, but pictures
            alone are read.
        DataError: a file is not there.
    """
    films = {path: f"-{need_frames(towers, path)}-frames" for path in paths if is_video(path)}
    files = FileKeys(cache_root(root))
    try:
        keys = [files.key(path) + films.get(path, "") for path in paths]
    except OSError as error:
        raise DataError(f"A picture cannot be read ({error}): check the data root.") from error
    finally:
        files.save()

    def encode(batches: Iterable[list[Path]]) -> Iterator[Features]:
        for seen in decoded_ahead(towers, batches):
            yield encode_seen(towers, seen)

    job = _Job("image", towers, dict(zip(keys, paths, strict=True)), encode, progress, report)
    try:
        return job.run(keys, root, verify)
    except ImageError as error:
        raise all_damaged(error, paths, cache_root(root)) from error


def build_questions(
    towers: Towers,
    questions: Sequence[str],
    progress: Progress,
    root: str | Path = "",
    report: Report = lambda line: None,
    verify: int = VERIFIED,
) -> MappedFeatures:
    """Features of questions, computed where the cache lacks them; row i is `questions[i]`."""
    keys: list[str] = []
    for start in range(0, len(questions), TOKENIZE_BATCH):
        ids, mask = towers.text_encoder.tokenize(questions[start : start + TOKENIZE_BATCH])
        lengths = mask.sum(dim=1).tolist()
        keys += [question_key(row[:n]) for row, n in zip(ids.tolist(), lengths, strict=True)]

    def encode(batches: Iterable[list[str]]) -> Iterator[Features]:
        for batch in batches:
            yield towers.encode_text(batch)

    job = _Job("text", towers, dict(zip(keys, questions, strict=True)), encode, progress, report)
    return job.run(keys, root, verify)


@dataclass(frozen=True)
class _Job:
    """Filling and opening the cache of one tower."""

    side: str
    towers: Towers
    sources: dict[str, Any]  # by key
    encode: Callable[[Iterable[Any]], Iterator[Features]]
    progress: Progress
    report: Report

    def run(self, keys: Sequence[str], root: str | Path, verify: int) -> MappedFeatures:
        meta = describe_towers(self.towers, self.side)
        folder = cache_root(root) / f"{READ_BY[self.side]}-{folder_key(meta)}"
        cache = FeatureCache(folder, meta)
        cache.drop_unreadable(keys)
        if cache.dropped:
            self.report(
                f"Computing the rows of {len(cache.dropped)} unreadable shards in '{folder}' anew."
            )
        missing = set(cache.missing(keys))
        known = [key for key in dict.fromkeys(keys) if key not in missing]
        with torch.no_grad():
            if missing:
                with cache.writing():
                    self._fill(cache, cache.missing(keys))
            sample = random.Random(len(known)).sample(known, min(verify, len(known)))
            self._verify(cache, sample, root)
        return cache.read(keys)

    def _fill(self, cache: FeatureCache, keys: list[str]) -> None:
        if not keys:  # another process was faster
            return
        keys = sorted(keys, key=lambda key: (len(str(self.sources[key])), key))  # similar lengths
        largest = next((key for key in keys if is_video(self.sources[key])), keys[-1])
        row = _half(next(self.encode([[self.sources[largest]]])), self.side)
        needed = sum(tensor.nbytes for tensor in row.tensors().values()) * len(keys)
        self.report(
            f"Encoding {len(keys):,} distinct {READ_BY[self.side]}s once, {size(needed)} on disk "
            f"in '{cache.folder}'."
        )
        if needed > disk_free(cache.folder):
            raise CacheError(
                f"The features of {len(keys):,} {READ_BY[self.side]}s take {size(needed)}, but "
                f"'{cache.folder}' has {size(disk_free(cache.folder))} free: free space, "
                f"choose another folder with training.cache, or set training.features to live."
            )
        starts = range(0, len(keys), ENCODE_BATCH)
        batches = [keys[start : start + ENCODE_BATCH] for start in starts]
        encoded = self.encode([self.sources[key] for key in batch] for batch in batches)
        pending_keys: list[str] = []
        pending: list[Features] = []
        try:
            shown = self.progress(starts, f"{READ_BY[self.side]}s")
            for _, batch, features in zip(shown, batches, encoded, strict=True):
                half = _half(features, self.side)
                pending_keys += batch
                pending.append(half)
                if len(pending_keys) + ENCODE_BATCH > SHARD_ROWS:
                    full, rows = pending_keys, stack(pending)
                    pending_keys, pending = [], []
                    cache.add(full, rows)
        finally:  # also of a run that is stopped, or meets a broken picture
            if pending_keys:
                cache.add(pending_keys, stack(pending))

    def _verify(self, cache: FeatureCache, keys: list[str], root: str | Path) -> None:
        """Compute some stored rows again; they must be what is stored."""
        if not keys:
            return
        stored = cache.read(keys)
        fresh = next(self.encode([[self.sources[key] for key in keys]])).to("cpu")
        rows = Rows(stored.batch, stored.num_prefix)
        stored_tensors = rows.features(torch.arange(len(keys)), torch.device("cpu")).tensors()
        for name, tensor in fresh.tensors().items():
            expected, other = (
                _real(name, tensor, fresh.mask),
                _real(name, stored_tensors[name], fresh.mask),
            )
            limit = ROW_TOLERANCE * max(1e-6, float(expected.abs().max()))
            same = expected.shape == other.shape and bool(((expected - other).abs() <= limit).all())
            if not same:
                where = f" --cache {root}" if root else ""
                raise CacheError(
                    f"Rows of the feature cache '{cache.folder}' differ from what the encoder "
                    f"gives now: a library changed or a file was altered; remove it with  vqazoo "
                    f"features clear {cache.folder.name}{where}  and run again."
                )


def _real(name: str, tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Values to compare: where a token is not real, encoders give what they like."""
    if name == "tokens" and mask is not None and mask.shape == tensor.shape[:2]:
        return tensor.float() * mask[:, :, None]
    return tensor.float()


def describe_towers(towers: Towers, side: str) -> dict[str, Any]:
    """What a tower's features depend on; the content of meta.json."""
    image = side == "image"
    encoder = towers.image_encoder if image else towers.text_encoder
    block = towers.blocks[0 if image else 1]
    computed = floating_dtype(encoder)
    finer = {} if computed == torch.float32 else {"computed_in": dtype_name(computed)}
    return {
        **finer,
        "features_of": READ_BY[side],
        "encoder": block.type,
        "args": block.args,
        "encoder_version": block.version,
        "weights_sha256": weights_sha256(encoder, towers.holds_tower(side)),
        "preprocess": encoder.spec.preprocess.to_json() if image else None,
        "kinds": sorted(towers.wants_image if image else towers.wants_text),
        "dtype": "float16",
        "layout": VERSION,
    }


def weights_sha256(encoder: Encoder, changed: bool) -> str:
    """Digest of an encoder's weights: of the referenced file if it was not trained further."""
    if encoder.reference is not None and encoder.reference.sha256 and not changed:
        return encoder.reference.sha256
    return state_sha256(encoder)


def _half(features: Features, side: str) -> Features:
    """Features on the CPU in float16. Raises CacheError if a value does not fit."""
    halves = {
        name: tensor.cpu().half() if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in features.tensors().items()
    }
    if not all(bool(t.isfinite().all()) for t in halves.values()):
        largest = max(float(t.float().abs().max()) for t in features.tensors().values())
        raise CacheError(
            f"The {READ_BY[side]} features have values up to {largest:.3g}, but half precision "
            f"holds at most {torch.finfo(torch.float16).max:,.0f}: set training.features to live."
        )
    return Features(**halves, num_prefix=features.num_prefix, frames=features.frames)

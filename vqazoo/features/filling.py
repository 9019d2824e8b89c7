"""Filling the caches of frozen towers, and opening them. Imports torch.

A frozen encoder and fixed pictures give the same features every epoch: then each distinct picture
and question is encoded once and kept (cache.py). sources.py makes batches of them.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Sequence
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
from vqazoo.features.parts import join_parts
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
    job, keys = images_to_encode(towers, paths, progress, root, report)
    with told_of_all(paths, root):
        return job.run(keys, root, verify)


@contextlib.contextmanager
def told_of_all(paths: Sequence[Path], root: str | Path) -> Iterator[None]:
    """Where a picture cannot be read, the error is about all those that cannot."""
    try:
        yield
    except ImageError as error:
        raise all_damaged(error, paths, cache_root(root)) from error


def images_to_encode(
    towers: Towers,
    paths: Sequence[Path],
    progress: Progress,
    root: str | Path = "",
    report: Report = lambda line: None,
) -> tuple[Filling, list[str]]:
    """The filling of an image tower's cache with files, and the key of each."""
    films = {path: f"-{need_frames(towers, path)}-frames" for path in paths if is_video(path)}
    files = FileKeys(cache_root(root))
    try:
        digests = files.keys(paths)
    except OSError as error:
        raise DataError(f"A picture cannot be read ({error}): check the data root.") from error
    finally:
        files.save()
    keys = [key + films.get(path, "") for key, path in zip(digests, paths, strict=True)]
    sources = dict(zip(keys, paths, strict=True))
    return Filling("image", towers, sources, progress, report), keys


def build_questions(
    towers: Towers,
    questions: Sequence[str],
    progress: Progress,
    root: str | Path = "",
    report: Report = lambda line: None,
    verify: int = VERIFIED,
) -> MappedFeatures:
    """Features of questions, computed where the cache lacks them; row i is `questions[i]`."""
    job, keys = questions_to_encode(towers, questions, progress, report)
    return job.run(keys, root, verify)


def questions_to_encode(
    towers: Towers,
    questions: Sequence[str],
    progress: Progress,
    report: Report = lambda line: None,
) -> tuple[Filling, list[str]]:
    """The filling of a text tower's cache with questions, and the key of each."""
    keys: list[str] = []
    for start in range(0, len(questions), TOKENIZE_BATCH):
        ids, mask = towers.text_encoder.tokenize(questions[start : start + TOKENIZE_BATCH])
        lengths = mask.sum(dim=1).tolist()
        keys += [question_key(row[:n]) for row, n in zip(ids.tolist(), lengths, strict=True)]

    sources = dict(zip(keys, questions, strict=True))
    return Filling("text", towers, sources, progress, report), keys


@dataclass(frozen=True)
class Filling:
    """Filling and opening the cache of one tower.

    Attributes:
        side: `image` or `text`; sources: pictures or questions by key.
    """

    side: str
    towers: Towers
    sources: dict[str, Any]
    progress: Progress
    report: Report

    def encode(self, batches: Iterable[list[Any]]) -> Iterator[Features]:
        """Features of batches of sources."""
        if self.side == "text":
            for questions in batches:
                yield self.towers.encode_text(questions)
            return
        for seen in decoded_ahead(self.towers, batches):
            yield encode_seen(self.towers, seen)

    def opened(self, keys: Sequence[str], root: str | Path) -> FeatureCache:
        """The cache, with what is wrong with these rows left out, and finished parts joined."""
        meta = describe_towers(self.towers, self.side)
        folder = cache_root(root) / f"{READ_BY[self.side]}-{folder_key(meta)}"
        join_parts(folder, meta)
        cache = FeatureCache(folder, meta)
        cache.drop_unreadable(keys)
        if cache.dropped:
            self.report(
                f"Computing the rows of {len(cache.dropped)} unreadable shards in '{folder}' anew."
            )
        return cache

    def run(self, keys: Sequence[str], root: str | Path, verify: int) -> MappedFeatures:
        """Features of these keys, a row each, computed where the cache lacks them."""
        cache = self.opened(keys, root)
        missing = set(cache.missing(keys))
        known = [key for key in dict.fromkeys(keys) if key not in missing]
        with torch.no_grad():
            if missing:
                with cache.writing():
                    self.fill(cache, self.batches(cache.missing(keys)))
            sample = random.Random(len(known)).sample(known, min(verify, len(known)))
            self._verify(cache, sample, root)
        return cache.read(keys)

    def batches(self, keys: Iterable[str]) -> list[list[str]]:
        """Distinct keys as they are encoded together: sources of similar lengths."""
        ordered = sorted(keys, key=lambda key: (len(str(self.sources[key])), key))
        starts = range(0, len(ordered), ENCODE_BATCH)
        return [ordered[start : start + ENCODE_BATCH] for start in starts]

    def fill(self, cache: FeatureCache, batches: Sequence[Sequence[str]]) -> None:
        """Encode batches of keys and write their shards; only inside `cache.writing`."""
        if batches:  # else another process was faster
            self.check_room(cache, [key for batch in batches for key in batch])
            self.write(cache, batches)

    def check_room(self, cache: FeatureCache, keys: Sequence[str]) -> None:
        """Say what is going to be encoded. Raises CacheError if the disk has no room for it."""
        films = (key for key in keys if is_video(self.sources[key]))
        largest = next(films, keys[-1])
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

    def write(self, cache: FeatureCache, batches: Sequence[Sequence[str]]) -> None:
        """As `fill`, without looking for room."""
        encoded = self.encode([self.sources[key] for key in batch] for batch in batches)
        pending_keys: list[str] = []
        pending: list[Features] = []
        try:
            total = sum(map(len, batches))  # told one by one, though they are encoded together
            shown = iter(self.progress(range(total), f"{READ_BY[self.side]}s"))
            next(shown, None)
            for batch, features in zip(batches, encoded, strict=True):
                half = _half(features, self.side)
                pending_keys += batch
                pending.append(half)
                if len(pending_keys) + ENCODE_BATCH > SHARD_ROWS:
                    full, rows = pending_keys, stack(pending)
                    pending_keys, pending = [], []
                    cache.add(full, rows)
                for _ in batch:
                    next(shown, None)
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
    prefix, frames = features.num_prefix, features.frames
    return Features(**halves, num_prefix=prefix, frames=frames, ocr_tokens=None)

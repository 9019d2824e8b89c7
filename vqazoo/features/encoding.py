"""Encoding pictures and questions, and keeping what frozen towers give on disk. Imports torch.

A frozen encoder and fixed pictures give the same features every epoch: then each distinct picture
and question is encoded once and kept (cache.py). sources.py makes batches of them.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from vqazoo.config import Block
from vqazoo.data.damage import all_damaged
from vqazoo.errors import CacheError, DataError, ImageError, IncompatibleError
from vqazoo.features.cache import (
    PADDED,
    SHARD_ROWS,
    VERSION,
    FeatureCache,
    MappedFeatures,
    cache_root,
    folder_key,
    pad,
    question_key,
)
from vqazoo.files.free_space import disk_free
from vqazoo.files.keys import FileKeys
from vqazoo.interfaces import (
    Encoder,
    Features,
    dtype_name,
    floating_dtype,
    most_frames,
)
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels
from vqazoo.media.video import is_video, watch

ENCODE_BATCH = 64
TOKENIZE_BATCH = 4096
DECODE_THREADS = 4
AHEAD = 2  # batches of pictures decoded while one is encoded
VERIFIED = 4  # rows computed again when a cache is opened
NAMED = {"image": "image", "text": "question"}  # what the towers read: in caches and messages
TOLERANCE = 0.02  # of a row's largest value: half precision and other batch sizes

Progress = Callable[[Sequence[int], str], Iterator[int]]
Report = Callable[[str], None]
Seen = Tensor | list[Tensor]  # pixels (3, H, W) of a picture, or of each frame of a video


class Towers(Protocol):
    """What features are made with: the part of a `VQAModel` before the fusion."""

    wants_image: frozenset[str]
    wants_text: frozenset[str]

    @property
    def frames(self) -> int:
        """How many frames of a video are read; 0: it reads pictures only."""
        ...

    @property
    def image_encoder(self) -> Encoder: ...

    @property
    def text_encoder(self) -> Encoder: ...

    @property
    def blocks(self) -> tuple[Block, Block]:
        """Config of the image and of the text encoder."""
        ...

    @property
    def device(self) -> torch.device: ...

    def holds_tower(self, side: str) -> bool: ...

    def encode_image(self, pixels: Tensor) -> Features: ...

    def encode_text(self, texts: Sequence[str]) -> Features: ...


@dataclass(frozen=True)
class Rows:
    """Rows of stored tensors, cast to `dtype`, that of the model, when they are used."""

    take: Callable[[Tensor], dict[str, Tensor]]
    num_prefix: int
    dtype: torch.dtype = torch.float32

    def features(self, rows: Tensor, device: torch.device) -> Features:
        """Features of the rows (B,) on a device; token rows lose padding that all of them share."""
        found = {name: tensor.to(device) for name, tensor in self.take(rows).items()}
        if "mask" in found:
            longest = int(found["mask"].sum(dim=1).max()) if len(rows) else 0
            full = found["mask"].shape[1]
            if longest < full and not found["mask"][:, longest:].any():
                found["mask"] = found["mask"][:, :longest]
                found["tokens"] = found["tokens"][:, :longest]
        cast = {k: t.to(self.dtype) if t.is_floating_point() else t for k, t in found.items()}
        frames = most_frames(cast["frame_counts"]) if "frame_counts" in cast else 0
        if not frames:  # pictures alone, out of a cache that holds videos too
            cast.pop("frame_counts", None)
        return Features(**cast, num_prefix=self.num_prefix, frames=frames)


def build_images(
    towers: Towers,
    paths: Sequence[Path],
    progress: Progress,
    root: str | Path = "",
    report: Report = lambda line: None,
    verify: int = VERIFIED,
) -> MappedFeatures:
    """Features of picture and video files, computed where the cache lacks them; row i is
    `paths[i]`.

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
        for seen in _decoded_ahead(towers, batches):
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
        meta = describe(self.towers, self.side)
        folder = cache_root(root) / f"{NAMED[self.side]}-{folder_key(meta)}"
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
        size = sum(tensor.nbytes for tensor in row.tensors().values()) * len(keys)
        self.report(
            f"Encoding {len(keys):,} distinct {NAMED[self.side]}s once, {_megabytes(size)} on "
            f"disk in '{cache.folder}'."
        )
        if size > disk_free(cache.folder):
            raise CacheError(
                f"The features of {len(keys):,} {NAMED[self.side]}s take {_megabytes(size)}, but "
                f"'{cache.folder}' has {_megabytes(disk_free(cache.folder))} free: free space, "
                f"choose another folder with training.cache, or set training.features to live."
            )
        starts = range(0, len(keys), ENCODE_BATCH)
        batches = [keys[start : start + ENCODE_BATCH] for start in starts]
        encoded = self.encode([self.sources[key] for key in batch] for batch in batches)
        pending_keys: list[str] = []
        pending: list[Features] = []
        try:
            shown = self.progress(starts, f"{NAMED[self.side]}s")
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
        found = rows.features(torch.arange(len(keys)), torch.device("cpu")).tensors()
        for name, tensor in fresh.tensors().items():
            expected, other = _real(name, tensor, fresh.mask), _real(name, found[name], fresh.mask)
            limit = TOLERANCE * max(1e-6, float(expected.abs().max()))
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


def describe(towers: Towers, side: str) -> dict[str, Any]:
    """What a tower's features depend on; the content of meta.json."""
    image = side == "image"
    encoder = towers.image_encoder if image else towers.text_encoder
    block = towers.blocks[0 if image else 1]
    computed = floating_dtype(encoder)
    finer = {} if computed == torch.float32 else {"computed_in": dtype_name(computed)}
    return {
        **finer,
        "features_of": NAMED[side],
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
    state = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return state.hexdigest()


def _half(features: Features, side: str) -> Features:
    """Features on the CPU in float16. Raises CacheError if a value does not fit."""
    halves = {
        name: tensor.cpu().half() if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in features.tensors().items()
    }
    if not all(bool(t.isfinite().all()) for t in halves.values()):
        largest = max(float(t.float().abs().max()) for t in features.tensors().values())
        raise CacheError(
            f"The {NAMED[side]} features have values up to {largest:.3g}, but half precision holds "
            f"at most {torch.finfo(torch.float16).max:,.0f}: set training.features to live."
        )
    return Features(**halves, num_prefix=features.num_prefix, frames=features.frames)


def stack(batches: Sequence[Features]) -> Features:
    """One Features out of many batches; token rows are padded to the longest, masked."""
    named = [batch.tensors() for batch in batches]
    if any("frame_counts" in tensors for tensors in named):
        for batch, tensors in zip(batches, named, strict=True):
            if "frame_counts" not in tensors:
                tensors["frame_counts"] = torch.zeros(
                    len(batch), dtype=torch.long, device=next(iter(tensors.values())).device
                )
    longest = max((t["tokens"].shape[1] for t in named if "tokens" in t), default=0)
    joined = {
        name: torch.cat([pad(t[name], longest) if name in PADDED else t[name] for t in named])
        for name in named[0]
    }
    asked = [batch.ids for batch in batches if batch.ids is not None]
    most = max((ids.shape[1] for ids in asked), default=0)
    ids = [F.pad(one, (0, most - one.shape[1]), value=-1) for one in asked]
    known = torch.cat(ids) if ids and len(ids) == len(batches) else None
    return Features(
        **joined,
        num_prefix=batches[0].num_prefix,
        frames=max(batch.frames for batch in batches),
        ids=known,
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def encode_pictures(towers: Towers, pictures: Sequence[Tensor]) -> Features:
    """Image features of B pictures (3, H, W); those of one size are encoded together."""
    shapes: dict[torch.Size, list[int]] = {}
    for row, picture in enumerate(pictures):
        shapes.setdefault(picture.shape, []).append(row)
    encoded = [
        towers.encode_image(torch.stack([pictures[row] for row in rows]))  # (b, 3, H, W)
        for rows in shapes.values()
    ]
    if len(encoded) == 1:
        return encoded[0]
    order = torch.tensor([row for rows in shapes.values() for row in rows]).argsort()  # (B,)
    return stack(encoded).index(order.to(towers.device))


def encode_seen(towers: Towers, seen: Sequence[Seen]) -> Features:
    """Image features of B pictures and videos in any order; token rows are padded, masked."""
    pictures = [row for row, one in enumerate(seen) if isinstance(one, Tensor)]
    clips = [row for row, one in enumerate(seen) if not isinstance(one, Tensor)]
    parts = [as_video(encode_pictures(towers, seen[row])) for row in clips]  # type: ignore[arg-type]
    if pictures or not parts:
        parts.append(encode_pictures(towers, [seen[row] for row in pictures]))  # type: ignore[misc]
    if len(parts) == 1:
        return parts[0]
    order = torch.tensor(clips + pictures).argsort()  # (B,)
    return stack(parts).index(order.to(towers.device))


def need_frames(towers: Towers, source: Any) -> int:
    """How many frames of a video are read at most.

    Raises:
        ImageError: pictures alone are read.
    """
    if not towers.frames:
        named = f"'{source}' is a video" if is_video(source) else "This is a video"
        raise ImageError(
            f"{named}, but the fusion of this model reads pictures, not videos: give one frame, or "
            f"a model whose fusion 'git' has frames above 0."
        )
    return towers.frames


def as_video(frames: Features) -> Features:
    """One video of F frames: token features (F, N, D) one after the other, (1, F*N, D).

    Raises:
        IncompatibleError: the image tower gave no tokens.
    """
    if frames.tokens is None or frames.mask is None:
        raise IncompatibleError(
            "A video needs token features of its frames, but the fusion asks for pooled ones only."
        )
    return Features(
        tokens=frames.tokens.flatten(0, 1)[None],  # (1, F*N, D)
        mask=frames.mask.flatten()[None],  # (1, F*N)
        num_prefix=frames.num_prefix,
        frames=len(frames),
        frame_counts=torch.tensor([len(frames)], device=frames.tokens.device),
    )


def load_pixels(
    towers: Towers,
    paths: Sequence[Path],
    augment: str = "none",
    generator: random.Random | None = None,
) -> list[Seen]:
    """Pixels of picture and video files, decoded by a few threads.

    With `generator`, each file gets its own seed from it, so threads do not change the result; the
    frames of a video are drawn alike.
    """
    seeds = [generator.getrandbits(64) if generator else None for _ in paths]
    draws = [None if seed is None else random.Random(seed) for seed in seeds]
    with ThreadPoolExecutor(DECODE_THREADS) as threads:
        return list(threads.map(_decoder(towers, augment), paths, draws))


def _decoder(towers: Towers, augment: str = "none") -> Callable[[Path, random.Random | None], Seen]:
    preprocess = towers.image_encoder.spec.preprocess

    def decode(path: Path, draw: random.Random | None) -> Seen:
        if not is_video(path):
            return pixels(open_image(path), preprocess, augment, draw)
        state = draw.getstate() if draw else None
        frames = []
        for frame in watch(path, need_frames(towers, path)):
            if draw and state:
                draw.setstate(state)
            frames.append(pixels(frame, preprocess, augment, draw))
        return frames

    return decode


def _decoded_ahead(towers: Towers, batches: Iterable[list[Path]]) -> Iterator[list[Seen]]:
    """Pixels of each batch; the next batches are decoded while one is used."""
    decode = _decoder(towers)
    with ThreadPoolExecutor(DECODE_THREADS) as threads:
        waiting: deque[list[Future[Seen]]] = deque()
        for batch in batches:
            waiting.append([threads.submit(decode, path, None) for path in batch])
            if len(waiting) > AHEAD:
                yield [one.result() for one in waiting.popleft()]
        while waiting:
            yield [one.result() for one in waiting.popleft()]

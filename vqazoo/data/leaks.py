"""Pictures and questions that two splits have in common, which make a score too good.

Imports no torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqazoo.data.examples import Example
from vqazoo.files.elsewhere import DistantFile
from vqazoo.files.keys import FileKeys
from vqazoo.files.writing import FEATURE_CACHES, cache_home


@dataclass(frozen=True)
class Leak:
    """What is asked that was learnt.

    Attributes:
        pictures: those asked about that were also learnt from, each with the one it is.
        about: how many questions are about them; repeated: how many were asked in the same words.
        asked: how many questions there are in all.
    """

    pictures: dict[Path, Path]
    about: int
    repeated: int
    asked: int

    def __bool__(self) -> bool:
        return bool(self.pictures)

    def told(self, what: str) -> str:
        """The leak in words: `what` names the questions."""
        image, learnt = next(iter(self.pictures.items()))
        such = f"'{image}'" if image == learnt else f"'{image}', byte for byte '{learnt}'"
        same = f" ({self.repeated:,} of them in the same words)" if self.repeated else ""
        return (
            f"{self.about:,} of {self.asked:,} {what} are about pictures that were learnt from"
            f"{same}, such as {such}"
        )


def find_leak(
    learnt: Sequence[Example], asked: Sequence[Example], caches: Path | None = None
) -> Leak:
    """Which pictures two splits share: the same file, or the same bytes under another name.

    Only files of a size that both splits have are read; pictures in a store are compared by their
    addresses.

    Args:
        caches: folder of feature caches, where digests of files are remembered; None: the usual.
    """
    shared = shared_pictures(
        {e.image for e in learnt}, dict.fromkeys(e.image for e in asked), caches
    )
    if not shared:
        return Leak({}, 0, 0, len(asked))
    known = {(example.image, _words(example)) for example in learnt}
    about = [example for example in asked if example.image in shared]
    repeated = sum((shared[example.image], _words(example)) in known for example in about)
    return Leak(shared, len(about), repeated, len(asked))


def shared_pictures(
    learnt: Iterable[Path], asked: Iterable[Path], caches: Path | None = None
) -> dict[Path, Path]:
    """Of the pictures asked about, those that were learnt from, each with the one it is."""
    known, files = set(learnt), FileKeys(caches or cache_home() / FEATURE_CACHES)
    by_size = defaultdict(list)
    shared, others = {}, []
    for image in asked:
        if image in known:
            shared[image] = image
        elif (size := _size(image)) is not None:
            others.append((image, size))
    sizes = {size for _, size in others}
    for image in sorted(known):
        if (size := _size(image)) in sizes:
            by_size[size].append(image)
    by_content = {
        size: {key: image for image in images if (key := _key(files, image))}
        for size, images in by_size.items()
    }
    for image, size in others:
        same = by_content.get(size, {}).get(_key(files, image) if size in by_content else "")
        if same is not None:
            shared[image] = same
    files.save()
    return shared


def _words(example: Example) -> str:
    return " ".join(example.question.casefold().split())


def _size(image: Path) -> int | None:
    """Bytes of a picture on this machine, None if it has none here."""
    try:
        return None if isinstance(image, DistantFile) else image.stat().st_size
    except (OSError, ValueError):
        return None


def _key(files: FileKeys, image: Path) -> str:
    """Digest of a picture; empty: it cannot be read, which is told where it is opened."""
    try:
        return files.key(image)
    except OSError:
        return ""

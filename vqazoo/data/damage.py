"""Pictures and videos that are there but cannot be read, found all at once. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vqazoo.errors import ImageError
from vqazoo.files.writing import write_list
from vqazoo.media.images import open_image
from vqazoo.media.video import is_video, watch
from vqazoo.progress import Progress, unshown

THREADS = 4
LOOKED = 6  # frames of a video
LISTED = "damaged-images.txt"


def unreadable(paths: Sequence[Path], progress: Progress = unshown) -> dict[Path, ImageError]:
    """What is wrong with those of the files that cannot be opened; every one is decoded.

    Of a video, some of its frames are. `progress` shows the files.
    """

    def wrong(path: Path) -> ImageError | None:
        try:
            if is_video(path):
                watch(path, LOOKED)
            else:
                open_image(path)
        except ImageError as error:
            return error
        return None

    with ThreadPoolExecutor(THREADS) as threads:
        found = threads.map(wrong, paths)
        errors = [next(found) for _ in progress(range(len(paths)), "pictures opened")]
    return {path: error for path, error in zip(paths, errors, strict=True) if error is not None}


def all_damaged(error: ImageError, paths: Sequence[Path], folder: Path) -> ImageError:
    """The error to raise where one of many pictures could not be read: it tells of all of them.

    Args:
        error: about the first that was met.
        paths: of all pictures.
        folder: where their list is written.
    """
    errors = unreadable(paths)
    if not errors:
        return error
    names = sorted(map(str, errors))
    try:
        write_list(folder / LISTED, names)
    except OSError:
        return error
    first = str(errors[min(errors, key=str)])
    return ImageError(
        f"{len(names):,} of {len(paths):,} pictures cannot be read (all in '{folder / LISTED}'); "
        f"of the first: {first.rstrip('.')}; or leave their questions out with --skip-missing."
    )

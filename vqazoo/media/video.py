"""Videos: frames given one by one, or sampled evenly from a file. Imports `av` when a file is read.

A video file is read twice, neither time whole into memory: first its packets, undecoded, for the
times of all frames; then only the pieces that hold the wanted frames are decoded.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from vqazoo.errors import ConfigError, ImageError, VqazooError, missing_package
from vqazoo.media.images import MAX_PIXELS, open_image

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")  # a GIF stays a picture
LOST_SHARE = 0.02  # files whose headers promise a little more than they hold are common
LOST_SECONDS = 0.5
TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


class Video:
    """A video given as its frames, in order; each is anything that `open_image` takes.

    Args of the constructor: `frames`, a sequence, an array (F, H, W, 3) or a tensor (F, 3, H, W).
    Raises ImageError where there is no frame, or a path stands in place of frames.
    """

    def __init__(self, frames: Sequence[Any]) -> None:
        if isinstance(frames, (str, Path)):
            raise ImageError(
                f"Video() takes frames, but got '{frames}': give the path itself where a picture "
                f"or video is expected."
            )
        self.frames = tuple(frames)
        if not self.frames:
            raise ImageError("The video has no frames: give at least one.")

    def __len__(self) -> int:
        return len(self.frames)

    def sampled(self, wanted: int) -> list[Image.Image]:
        """`wanted` of the frames, as `sample` chooses them, opened.

        Raises:
            ImageError: a frame is not a picture.
        """
        return [open_image(self.frames[index]) for index in sample(len(self), wanted)]


def is_video(source: Any) -> bool:
    """Whether a source is the path of a video file, judged by its suffix alone."""
    return isinstance(source, (str, Path)) and str(source).lower().endswith(SUFFIXES)


def still(source: str | Path) -> Image.Image:
    """The picture of a file; of a video, the frame in its middle."""
    return open_video(source, 1)[0] if is_video(source) else open_image(source)


def sample(count: int, wanted: int) -> list[int]:
    """Numbers of `wanted` evenly spaced frames out of `count`.

    The frame in the middle of each of `wanted` equal parts: `(2i + 1) * count // (2 * wanted)`.
    Where there are fewer frames than wanted, some are repeated, in order.

    Raises:
        ConfigError: `count` or `wanted` is below 1.
    """
    if count < 1 or wanted < 1:
        raise ConfigError(
            f"{wanted} frames out of {count} cannot be sampled: both must be 1 or more."
        )
    return [(2 * part + 1) * count // (2 * wanted) for part in range(wanted)]


def open_video(source: str | Path, frames: int) -> list[Image.Image]:
    """`frames` evenly spaced frames of a video file in RGB, in order, turned upright.

    They are chosen by `sample` among all frames of the first video stream.

    Raises:
        ImageError: the file is missing, empty, damaged, cut off, too large, or holds no frames.
        WeightsError: the package `av` is not installed.
    """
    return _chosen(source, lambda count: sample(count, frames))


def watch(source: str | Path | Video, most: int) -> list[Image.Image]:
    """What a model sees of a video: at most `most` evenly spaced frames of it, opened.

    None is repeated, whether the video is a file or given as its frames: one of fewer frames shows
    those that it has.

    Raises:
        ImageError, WeightsError: as `open_video`, or a frame is not a picture.
    """
    if isinstance(source, Video):
        return source.sampled(min(most, len(source)))
    return _chosen(source, lambda count: sample(count, min(most, count)))


def _chosen(source: str | Path, choose: Callable[[int], list[int]]) -> list[Image.Image]:
    """The frames of a file whose numbers are chosen once their count is known."""
    path, name = _checked(source)
    try:
        import av
    except ImportError as error:
        raise missing_package(f"Reading {name[0].lower()}{name[1:]}", "av", "video") from error
    try:
        # names and titles inside the file need not be UTF-8
        with av.open(str(path), metadata_errors="replace") as container:
            streams = [
                stream
                for stream in container.streams.video
                if not stream.disposition & av.stream.Disposition.attached_pic
            ]
            if not streams:
                raise ImageError(f"{name} has no video stream: give a file that shows something.")
            stream = streams[0]
            _check_size(stream, name)
            times, keys = _times(container, stream, name)
            wanted = [times[index] for index in choose(len(times))]
            return list(_frames_at(container, stream, wanted, keys, name))
    except VqazooError:
        raise
    except (
        av.FFmpegError,
        OSError,
        ValueError,
        LookupError,
        ArithmeticError,
        EOFError,
        MemoryError,
        NotImplementedError,
    ) as error:
        raise _undecodable(name, error) from error


def _check_size(stream: Any, name: str) -> None:
    try:
        width, height = stream.width, stream.height
    except AttributeError as error:  # a stream whose codec is not told has none, says av
        raise _undecodable(name, error) from error
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has frames of {width} x {height} pixels, but at most {MAX_PIXELS:,} pixels "
            f"are read: make it smaller."
        )


def _undecodable(name: str, error: Exception) -> ImageError:
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return ImageError(
        f"{name} cannot be decoded ({reason}): it is damaged, cut off or not a video; get the "
        f"file again."
    )


def _checked(source: str | Path) -> tuple[Path, str]:
    """The path of a file that is there and not empty, and its name for messages."""
    text = str(source)
    if re.match(r"[a-z][a-z0-9+.-]*://|data:", text, re.IGNORECASE):
        raise ImageError(
            f"The video '{text[:80]}' is a URL, and vqazoo fetches nothing: download it and give "
            f"the path of the file."
        )
    name = f"The video '{text}'"
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            raise ImageError(f"{name} is a folder: give the path of one file.")
        if not path.is_file():
            raise ImageError(f"{name} does not exist: check the path.")
        if path.stat().st_size == 0:
            raise ImageError(f"{name} has zero bytes: get the file again.")
    except (OSError, ValueError, RuntimeError) as error:  # name too long, no permission, no home
        raise ImageError(f"{name} cannot be read ({error}): check the path.") from error
    return path, name


def _times(container: Any, stream: Any, name: str) -> tuple[list[int], list[int]]:
    """Times of all frames of a stream in the order they are shown, and those of its key frames,
    where decoding can start; from the undecoded packets.
    """
    times: list[int] = []
    keys: list[int] = []
    end = Fraction(0)  # seconds, of whichever stream lasts longest
    for packet in container.demux():
        time = packet.dts if packet.pts is None else packet.pts
        if not packet.size or time is None:
            continue  # the empty packet that ends a stream
        end = max(end, (time + (packet.duration or 0)) * packet.time_base)
        if packet.stream_index == stream.index and not packet.is_discard:
            times.append(time)
            if packet.is_keyframe:
                keys.append(time)
    if not times:
        raise ImageError(f"{name} has no frames: it is damaged or cut off; get the file again.")
    length = end - Fraction(container.start_time or 0, 1_000_000)
    promised = Fraction(container.duration or 0, 1_000_000)  # seconds
    if container.format.name == "avi" and stream.average_rate:  # its duration is what is there
        promised = max(promised, stream.frames / stream.average_rate)
    if promised - length > max(LOST_SECONDS, LOST_SHARE * float(promised)):
        raise ImageError(
            f"{name} is cut off: its header promises {float(promised):.1f} s, but only "
            f"{float(length):.1f} s are there; get the file again."
        )
    return sorted(times), sorted(keys)


def _frames_at(
    container: Any, stream: Any, wanted: list[int], keys: list[int], name: str
) -> Iterator[Image.Image]:
    """The frames shown at the wanted times, which ascend; what lies between is skipped if it can.

    Args:
        keys: times of the key frames, ascending.
    """
    decoded: Iterator[Any] = iter(())
    frame: Any = None
    for time in wanted:
        if frame is None or bisect_right(keys, time) > bisect_right(keys, _time(frame)):
            for place in (time, *keys[:1]):
                container.seek(place, stream=stream)  # to the key frame at or before it
                decoded = container.decode(stream)
                frame = next(decoded, None)
                if frame is not None and _time(frame) <= time:
                    break  # else the file's index is wrong: once more, from the first key frame
        while frame is not None and _time(frame) < time:
            frame = next(decoded, None)
        if frame is None:
            raise ImageError(
                f"{name} is damaged: no frame can be decoded at "
                f"{float(time * stream.time_base):.1f} s; get the file again."
            )
        yield _upright(frame)


def _time(frame: Any) -> int:
    time: int | None = frame.dts if frame.pts is None else frame.pts
    return 0 if time is None else time


def _upright(frame: Any) -> Image.Image:
    """RGB, turned as the file asks: phones store upright films lying on their side."""
    image: Image.Image = frame.to_image()
    turn = TURNS.get(round(frame.rotation) % 360)
    return image if turn is None else image.transpose(turn)

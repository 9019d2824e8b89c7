"""Videos written here with `av`, whose frames show their number, are read back frame by frame."""

from __future__ import annotations

import builtins
import struct
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from vqazoo.errors import ConfigError, ImageError, WeightsError
from vqazoo.media.video import Video, is_video, open_video, sample

av = pytest.importorskip("av")

BLOCK, BITS = 8, 24  # a frame shows its number as bits: 4 x 6 blocks, white for 1
CONTAINERS = [
    ("film.mp4", "libx264"),
    ("film.mp4", "mpeg4"),
    ("film.mkv", "libx264"),
    ("film.webm", "libvpx"),
    ("film.avi", "mpeg4"),
    ("film.mov", "libx264"),
    ("film.m4v", "mpeg4"),
]


def picture(number):
    """(32, 48, 3) uint8."""
    bits = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8).reshape(4, 6)
    return np.kron(bits * 255, np.ones((BLOCK, BLOCK), np.uint8))[:, :, None].repeat(3, 2)


def numbers(pictures):
    """Which frames pictures are."""
    found = []
    for one in pictures:
        blocks = np.asarray(one.convert("L")).reshape(4, BLOCK, 6, BLOCK).mean(axis=(1, 3))
        found.append(sum(1 << bit for bit, value in enumerate(blocks.flat) if value > 127))
    return found


def write(path, count, codec="libx264", rate=10, key_every=12, times=None, options=()):
    """A film of `count` frames, shown at `times` in milliseconds or `rate` a second."""
    ticks = rate if path.suffix == ".avi" else 1000  # an AVI stores something for every tick
    with av.open(str(path), "w", options=dict(options)) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.gop_size = key_every
        stream.codec_context.time_base = Fraction(1, ticks)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = times[number] if times else number * ticks // rate
            frame.time_base = Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


# ---- which frames --------------------------------------------------------------------------------


def test_sampling_takes_the_middle_of_each_equal_part():
    assert sample(6, 6) == [0, 1, 2, 3, 4, 5]
    assert sample(60, 6) == [5, 15, 25, 35, 45, 55]
    assert sample(7, 2) == [1, 5]  # parts of 3.5 frames: middles 1.75 and 5.25


def test_fewer_frames_than_wanted_are_repeated_in_order():
    assert sample(1, 6) == [0] * 6
    assert sample(3, 6) == [0, 0, 1, 1, 2, 2]
    assert sample(4, 6) == [0, 1, 1, 2, 3, 3]


@pytest.mark.parametrize(("count", "wanted"), [(0, 6), (6, 0), (-1, 2)])
def test_no_frames_cannot_be_sampled(count, wanted):
    with pytest.raises(ConfigError, match="must be 1 or more"):
        sample(count, wanted)


@pytest.mark.parametrize("name", ["a.mp4", "A.MKV", "b.webm", "b.mov", "b.avi", "b.m4v"])
def test_videos_are_known_by_their_suffix(name, tmp_path):
    assert is_video(name)
    assert is_video(tmp_path / name)


def test_pictures_arrays_and_gifs_are_no_videos():
    for source in ("a.gif", "a.png", "mp4", np.zeros((4, 4, 3)), Image.new("RGB", (4, 4)), None):
        assert not is_video(source)


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
@pytest.mark.parametrize("wanted", [1, 6, 60])
def test_the_frames_of_a_file_are_those_that_sampling_names(name, codec, wanted, tmp_path):
    pictures = open_video(write(tmp_path / name, 50, codec), wanted)
    assert numbers(pictures) == sample(50, wanted)
    assert {(picture.size, picture.mode) for picture in pictures} == {((48, 32), "RGB")}


def test_frames_of_uneven_length_are_counted_not_timed(tmp_path):
    times = [number * 100 if number < 10 else 1000 + (number - 10) * 1000 for number in range(20)]
    path = write(tmp_path / "film.mkv", 20, times=times)
    assert numbers(open_video(path, 5)) == [2, 6, 10, 14, 18]


def test_a_film_of_one_frame_is_read(tmp_path):
    assert numbers(open_video(write(tmp_path / "film.mp4", 1), 3)) == [0, 0, 0]


def test_a_film_with_a_single_key_frame_is_read(tmp_path):
    path = write(tmp_path / "film.mp4", 60, key_every=1000)
    assert numbers(open_video(path, 6)) == sample(60, 6)


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [  # of the ISO base media format, section 8.3.2.3: x' = ax + cy, y' = bx + dy, y downwards
        ((1, 0, 0, 1), "top left"),
        ((0, 1, -1, 0), "top right"),  # a quarter turn clockwise
        ((-1, 0, 0, -1), "bottom right"),
        ((0, -1, 1, 0), "bottom left"),
    ],
)
def test_a_film_stored_on_its_side_is_turned_upright(matrix, corner, tmp_path):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[:16, :16] = 255  # white in the top left corner
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 65536 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    (shown,) = open_video(path, 1)
    shown = np.asarray(shown).mean(axis=2)
    assert shown.shape == ((32, 64) if matrix[0] else (64, 32))
    rows = shown[:8] if "top" in corner else shown[-8:]
    assert (rows[:, :8] if "left" in corner else rows[:, -8:]).mean() > 200
    assert shown.mean() < 60


PEAK = """
import resource, sys
from vqazoo.media.video import open_video
open_video(sys.argv[1], 6)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
open_video(sys.argv[2], 6)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_very_long_film_is_read_in_little_memory(tmp_path):
    count, width, height = 3000, 320, 240  # decoded whole it takes 690 MB
    film = tmp_path / "film.mkv"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)  # 50 minutes
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = 100
        frame = av.VideoFrame(width, height, "yuv420p")
        for number in range(count):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    short = write(tmp_path / "short.mkv", 50)
    told = subprocess.run(
        [sys.executable, "-c", PEAK, str(short), str(film)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(told) < 60_000  # KiB


# ---- bad files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.webm", "film.avi", "film.mov"])
@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("options", [(), {"movflags": "faststart"}], ids=["plain", "index-first"])
def test_a_film_cut_off_in_the_middle_is_said_to_be(name, share, options, tmp_path):
    codec = "libvpx" if name.endswith("webm") else "libx264"
    options = options if name.endswith(("mp4", "mov")) else ()
    path = write(tmp_path / name, 100, codec, options=dict(options))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageError, match=r"is cut off|damaged, cut off") as caught:
        open_video(path, 6)
    assert "\n" not in str(caught.value)
    assert "get the file again" in str(caught.value)


def test_a_film_cut_off_tells_what_was_promised(tmp_path):
    path = write(tmp_path / "film.mkv", 100)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"promises 10\.0 s, but only [3-6]\.\d s are there"):
        open_video(path, 6)


def test_a_film_trimmed_by_its_edit_list_is_whole(tmp_path):
    """Phones cut a film by changing how much of it is shown (ISO base media, section 8.6.6)."""
    path = write(tmp_path / "film.mp4", 100)
    data = bytearray(path.read_bytes())
    for box, at in {b"elst": 12, b"mvhd": 20, b"tkhd": 24}.items():  # where the duration stands
        struct.pack_into(">I", data, data.index(box) + at, 5000)
    path.write_bytes(data)
    assert numbers(open_video(path, 6)) == sample(50, 6)


def sound(path):
    """A file with a sound stream only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = np.zeros((1, 1024), np.float32)
        for _ in range(4):
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_bad_files_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_bytes(b"this is not a film " * 100)
    (tmp_path / "folder.mp4").mkdir()
    sound(tmp_path / "sound.mp4")
    for name, message in {
        "none.mp4": "does not exist",
        "empty.mp4": "zero bytes",
        "text.mp4": "cannot be decoded",
        "folder.mp4": "is a folder",
        "sound.mp4": "no video stream",
        "a" * 5000 + ".mp4": "cannot be read|does not exist",
    }.items():
        with pytest.raises(ImageError, match=message) as caught:
            open_video(tmp_path / name, 6)
        assert "\n" not in str(caught.value)


def test_noise_inside_a_film_is_refused_or_read_but_never_a_traceback(tmp_path):
    whole = write(tmp_path / "whole.mp4", 100).read_bytes()
    draws = np.random.default_rng(0)
    refused = 0
    for trial in range(20):
        data = bytearray(whole)
        start = int(draws.integers(0, len(whole) - 200))
        data[start : start + 200] = draws.bytes(200)
        path = tmp_path / f"{trial}.mp4"
        path.write_bytes(data)
        try:
            assert len(open_video(path, 6)) == 6
        except ImageError as error:
            refused += "\n" not in str(error)
    assert refused > 5


def test_a_film_without_frames_is_refused(tmp_path):
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        container.start_encoding()
    with pytest.raises(ImageError, match=r"has no frames|cannot be decoded"):
        open_video(path, 6)


@pytest.mark.parametrize("url", ["https://example.org/film.mp4", "data:video/mp4;base64,AAAA"])
def test_nothing_is_fetched(url):
    with pytest.raises(ImageError, match="is a URL, and vqazoo fetches nothing"):
        open_video(url, 6)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "film.mp4", 3)
    real = builtins.__import__

    def without_av(name, *rest, **named):
        if name == "av":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(WeightsError, match=r"package 'av'.*pip install 'vqazoo\[video\]'"):
        open_video(path, 6)


# ---- frames given one by one ---------------------------------------------------------------------


def test_given_frames_are_opened_like_pictures(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    tensor = torch.from_numpy(picture(3)).permute(2, 0, 1)
    film = Video([tmp_path / "0.png", picture(1), Image.fromarray(picture(2)), tensor])
    assert len(film) == 4
    assert numbers(film.sampled(4)) == [0, 1, 2, 3]
    assert numbers(film.sampled(2)) == [1, 3]
    assert numbers(film.sampled(6)) == [0, 1, 1, 2, 3, 3]


def test_arrays_and_tensors_of_frames_are_films():
    frames = np.stack([picture(number) for number in range(8)])
    assert numbers(Video(frames).sampled(8)) == list(range(8))
    tensor = torch.from_numpy(frames).permute(0, 3, 1, 2)
    assert numbers(Video(tensor).sampled(8)) == list(range(8))


def test_a_film_needs_frames():
    with pytest.raises(ImageError, match="no frames"):
        Video([])
    with pytest.raises(ImageError, match="takes frames, but got"):
        Video("film.mp4")
    with pytest.raises(ImageError, match="not a picture"):
        Video([3]).sampled(1)

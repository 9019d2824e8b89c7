"""Tables of clips train, are scored and cached; a clip shows the same however it is given."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vqazoo
from tests.plugins.git.tiny import git
from vqazoo.cli import run
from vqazoo.data import Example
from vqazoo.errors import ImageError
from vqazoo.features.encoding import encode_seen
from vqazoo.features.filling import build_images
from vqazoo.features.pictures import load_pixels
from vqazoo.features.sources import CachedImages, LiveImages
from vqazoo.interfaces import Features
from vqazoo.media.video import Video, open_video

av = pytest.importorskip("av")

SMALL = {"layers": 1, "heads": 4, "hidden_dim": 32, "dropout": 0.0}
FRAMES = 4
QUIET = {"report": lambda _: None}


def film(path: Path, colours: list[int]) -> Path:
    """A film with one frame of each grey value, without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0"
        for number, colour in enumerate(colours):
            pixels = np.full((32, 48, 3), colour, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf-git:{git(tmp_path_factory.mktemp('git') / 'published')}"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Clips that become lighter ("red") or darker ("blue"), of 2 to 6 frames, and pictures ("yes").

    The frames of both kinds of clip are the same but for their order: only their times tell.
    """
    rows = []
    for number in range(6):
        values = [10 + 45 * place + number for place in range(2 + number % 5)]
        for word, ordered in (("red", values), ("blue", values[::-1])):
            rows.append((film(tmp_path / f"{word}{number}.mkv", ordered).name, word))
    for number in range(4):
        Image.new("RGB", (48, 32), (30 * number,) * 3).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", "yes"))
    file = tmp_path / "clips.csv"
    with open(file, "w", newline="") as handle:
        csv.writer(handle).writerows(
            [("image", "question", "answer"), *((name, "what", word) for name, word in rows)]
        )
    return file


def made(encoder: str, frames: int = FRAMES) -> vqazoo.VQAModel:
    torch.manual_seed(0)
    return vqazoo.create(
        encoder=encoder,
        fusion={"type": "git", "args": {"frames": frames}},
        head={"type": "git-decoder", "args": SMALL},
        answers=["red", "blue", "yes"],
    )


def plain(steps, _):
    return iter(steps)


def examples(clips: Path) -> list[Example]:
    with open(clips, newline="") as handle:
        return [
            Example(clips.parent / row["image"], row["question"], (row["answer"],), str(n))
            for n, row in enumerate(csv.DictReader(handle))
        ]


def test_clips_train_and_are_scored_by_what_happens_in_them(
    encoder: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    often = clips.with_name("often.csv")  # an epoch costs more than its steps
    header, *rows = clips.read_text().splitlines()
    often.write_text("\n".join([header, *rows * 6]) + "\n")
    config = {
        "encoder": encoder,
        "fusion": {"type": "git", "args": {"frames": FRAMES}},
        "head": {"type": "git-decoder", "args": SMALL},
        "data": {
            "type": "table",
            "args": {"train": str(often), "validation": str(clips)},
            "validation_split": "validation",
        },
        "training": {"epochs": 6, "batch_size": 4, "learning_rate": 0.01},
    }
    model = vqazoo.train(config=config, out=tmp_path / "run", **QUIET)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert all(float(time.detach().abs().max()) > 0.01 for time in model.fusion.temporal)
    best = max(line["validation_accuracy"] for line in log)
    assert best > 0.65  # 0.63 at most if the order of the frames told nothing
    capsys.readouterr()
    best_model = f"dir:{tmp_path / 'run/best'}"
    assert (
        run(
            [
                "eval",
                best_model,
                "--split",
                "validation",
                "--json",
                "--out",
                str(tmp_path / "scored"),
            ]
        )
        == 0
    )
    scored = json.loads(capsys.readouterr().out)["accuracy"]["value"]
    assert scored == pytest.approx(best)
    assert (tmp_path / "scored/answers.png").is_file()
    table = model.predict(examples(clips))
    assert table.accuracy() == pytest.approx(scored)
    assert run(["data", "info", "table", "--set", f"train={clips}"]) == 0
    assert "16 distinct, 0 missing, 0 broken" in capsys.readouterr().out


def test_live_and_cached_features_of_a_mixed_batch_are_those_of_each_alone(
    encoder: str, clips: Path, tmp_path: Path
) -> None:
    model = made(encoder).eval()
    asked = examples(clips)[::-1]
    rows = torch.arange(len(asked))
    live = LiveImages(model, asked).features(rows)
    cached = CachedImages(model, asked, plain, tmp_path / "cache").features(rows)
    assert live.frames == cached.frames == FRAMES
    for row, example in enumerate(asked):
        (seen,) = load_pixels(model, [example.image])
        alone = encode_seen(model, [seen])
        count = 0 if example.image.suffix == ".png" else min(FRAMES, film_length(example.image))
        for found in (live, cached):
            assert found.frame_counts is not None
            assert int(found.frame_counts[row]) == count
            real = found.mask[row]
            assert torch.allclose(found.tokens[row][real], alone.tokens[0], atol=0.02)
            assert int(real.sum()) == alone.tokens.shape[1]
    question = model.encode_text(["what"] * len(asked))
    with torch.no_grad():
        for time in model.fusion.temporal:
            time.normal_()
        together = model.head.predict(model.fusion(live, question))
        for row in range(len(asked)):
            one = model.fusion(live.index(torch.tensor([row])), model.encode_text(["what"]))
            (answer,) = model.head.predict(one)[0]
            assert answer.text == together[row][0].text
            assert answer.score == pytest.approx(together[row][0].score, rel=1e-4)


def film_length(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_embeddings_of_time_get_gradients_of_the_frames_that_are_there(encoder: str) -> None:
    model = made(encoder)
    tokens = torch.randn(2, 6, 24)
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    counts = torch.tensor([3, 0])  # a film of three frames, and a picture
    image = Features(tokens=tokens, mask=mask, frames=3, frame_counts=counts)
    out = model.fusion(image, model.encode_text(["what", "what"]))
    out.tokens[:, :6].square().sum().backward()
    moved = [
        bool(time.grad is not None and time.grad.abs().max() > 0) for time in model.fusion.temporal
    ]
    assert moved == [True, True, True, False]


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_a_file_and_a_video_of_the_same_frames_answer_equally(
    encoder: str, count: int, tmp_path: Path
) -> None:
    model = made(encoder).eval()
    with torch.no_grad():
        for time in model.fusion.temporal:
            time.normal_()
    path = film(tmp_path / "film.mkv", [20 * number for number in range(count)])
    frames = open_video(path, count)
    by_file, given = model.answer(path, "what"), model.answer(Video(frames), "what")
    assert (by_file.text, by_file.score) == (given.text, pytest.approx(given.score))
    (seen,) = load_pixels(model, [path])
    assert len(seen) == min(count, FRAMES)


def test_features_of_other_numbers_of_frames_are_other_rows(encoder: str, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [0, 50, 100, 150])
    lengths = []
    for frames in (2, 4, 2):
        model = made(encoder, frames)
        stored = build_images(model, [path], plain, tmp_path / "cache").batch(torch.arange(1))
        lengths.append((stored["mask"].sum().item(), stored["frame_counts"].item()))
    each = lengths[0][0] // 2
    assert lengths == [(2 * each, 2), (4 * each, 4), (2 * each, 2)]


def test_a_model_of_pictures_says_that_it_reads_no_clips(encoder: str, clips: Path) -> None:
    model = made(encoder, frames=0)
    asked = examples(clips)
    for side in (lambda: CachedImages(model, asked, plain), lambda: LiveImages(model, asked)):
        with pytest.raises(ImageError, match="reads pictures, not videos"):
            side()

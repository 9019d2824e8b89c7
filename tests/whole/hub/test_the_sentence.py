"""The owner's sentence, from files to answer.

The packaged recipe itself runs, with CLIP ViT-B/32 at full size. Not real here: the weights of the
encoder are random, the pictures generated, the steps few, and the Hub is the stand-in.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from vqazoo.catalogue import catalogue, entries

pytestmark = pytest.mark.proof

NAME = "clip-lstm-vizwiz"
ENCODER = "timm/vit_base_patch32_clip_224.openai"
QUESTION = "what is in this can?"
ANSWERS = ("soup", "beans", "unanswerable", "yes", "tomato soup")
MAIN = "from vqazoo.cli import main; main()"
ASK = (
    "import sys, vqazoo; a = vqazoo.load(sys.argv[1]).answer(sys.argv[2], sys.argv[3], top_k=3);"
    "print(repr([(one.text, round(one.score, 6)) for one in (a, *a.alternatives)]))"
)


def photograph(rng: random.Random, file: Path) -> None:
    """A smooth, coloured, noisy picture of 80 x 60 pixels."""
    small = Image.new("RGB", (4, 3))
    small.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(12)])
    file.parent.mkdir(parents=True, exist_ok=True)
    small.resize((80, 60), Image.Resampling.BICUBIC).save(file, quality=90)


@pytest.fixture(scope="module")
def vizwiz(tmp_path_factory) -> Path:
    """A folder in the official layout and schema: 20 training and 6 validation questions."""
    root, rng = tmp_path_factory.mktemp("vizwiz"), random.Random(0)
    (root / "Annotations").mkdir()
    for split, count in (("train", 20), ("val", 6)):
        records = []
        for number in range(count):
            name = f"VizWiz_{split}_{number:08d}.jpg"
            photograph(rng, root / split / name)
            said = rng.choice(ANSWERS)
            kind = {"unanswerable": said, "yes": "yes/no"}.get(said, "other")
            records.append(
                {
                    "image": name,
                    "question": rng.choice((QUESTION, "What is this?", "Is this soup?")),
                    "answers": [{"answer": said, "answer_confidence": "yes"}] * 10,
                    "answer_type": kind,
                    "answerable": int(said != "unanswerable"),
                }
            )
        (root / "Annotations" / f"{split}.json").write_text(json.dumps(records))
    return root


@pytest.fixture(scope="module")
def clip_weights() -> bytes:
    """CLIP ViT-B/32 with random weights, as open_clip publishes it, in half precision."""
    import open_clip
    import torch
    from safetensors.torch import save

    torch.manual_seed(0)
    state = open_clip.create_model("ViT-B-32").state_dict()
    return save({name: tensor.half().contiguous() for name, tensor in state.items()})


def run(arguments: list[str], environment: dict[str, str], home: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=home,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_recipe_trains_pushes_pins_and_the_sentence_answers_the_same(
    hub, vizwiz, clip_weights, tmp_path
):
    cards = tmp_path / "model_cards"
    shutil.copytree(catalogue(), cards)
    hub.add_token("hf_ada", "ada")
    encoder_commit = hub.add_repo(ENCODER, {"open_clip_model.safetensors": clip_weights})
    trained = hub.environment(tmp_path / "trainer", token="hf_ada") | {
        "VQAZOO_MODEL_CARDS": str(cards),
        "OMP_NUM_THREADS": "2",
    }
    out = tmp_path / "run"
    run(
        [
            "-c",
            MAIN,
            "recipe",
            "run",
            NAME,
            "--data-root",
            str(vizwiz),
            "--out",
            str(out),
            "--set",
            "training.epochs=1",
            "--set",
            "training.batch_size=4",
            "--push",
            f"ada/{NAME}",
            "--pin",
        ],
        trained,
        tmp_path,
    )
    photo = str(vizwiz / "val" / "VizWiz_val_00000000.jpg")
    before = run(["-c", ASK, f"dir:{out}/best", photo, QUESTION], trained, tmp_path)

    pinned = json.loads((cards / "catalogue.json").read_text())[NAME]
    assert pinned["weights"] == "hub"
    assert pinned["pin"]["repo"] == f"ada/{NAME}"
    config = json.loads(hub.files(f"ada/{NAME}", pinned["pin"]["revision"])["config.json"])
    assert config["parameters"]["trainable"] == 27_972_352  # as the original counts
    reference = config["towers"]["both"]["reference"]
    assert (reference["source"], reference["revision"]) == (ENCODER, encoder_commit)

    hub.commit(ENCODER, {"open_clip_model.safetensors": b"other weights"}, "main moves on")
    hub.requests.clear()
    reader = hub.environment(tmp_path / "reader") | {"VQAZOO_MODEL_CARDS": str(cards)}
    after = run(["-c", ASK, NAME, photo, QUESTION], reader, tmp_path)
    assert after == before
    large = [r.path for r in hub.requests if r.method == "GET" and "/cdn/" in r.path]
    assert len(large) == len(set(large)) == 2  # the head and the encoder, once each

    hub.requests.clear()
    assert run(["-c", ASK, NAME, photo, QUESTION], reader, tmp_path) == before
    assert hub.requests == []  # everything is pinned and cached


def test_until_then_the_sentence_says_that_there_are_no_weights_and_how_to_make_them():
    import vqazoo
    from vqazoo.errors import UnknownNameError

    assert entries()[NAME].weights == "none"
    with pytest.raises(UnknownNameError) as caught:
        vqazoo.load(NAME)
    message = str(caught.value)
    assert "has no weights yet" in message
    assert f"vqazoo recipe run {NAME} --data-root DIR" in message
    assert "(nearest: tiny-clip-lstm-easyvqa (same fusion, same head)" in message

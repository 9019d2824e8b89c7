"""What runs beside an exported model prepares pictures as a transformers processor does."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqazoo_export
from vqazoo.interfaces import Preprocess
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels
from vqazoo_export.runner.asking import opened
from vqazoo_export.runner.pixels import pixels as run_pixels

USUAL = Preprocess(
    (48, 48), (0.48, 0.45, 0.4), (0.26, 0.26, 0.27), "bicubic", "crop", 48, margins="transformers"
)
HOWS = {
    "usual": USUAL,
    "larger": replace(USUAL, resize=55),
    "smaller": replace(USUAL, resize=31),
    "torchvision": replace(USUAL, resize=31, margins="torchvision"),
    "longest": replace(USUAL, longest=60),
    "oblong": replace(USUAL, size=(33, 62), resize=50),
    "squash": replace(USUAL, mode="squash", resize=0),
    "squash-crop": replace(USUAL, mode="squash", resize=(60, 41)),
    "centre": replace(USUAL, mode="centre", resize=0),
    "scale": replace(USUAL, scale=0.0078431),
    "unscaled": replace(USUAL, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3),
    "lanczos": replace(USUAL, interpolation="lanczos"),
    "box": replace(USUAL, interpolation="box"),
    "floats": replace(USUAL, mode="squash", resize=0, resized="floats"),  # DINOv3
    "floats-bilinear": replace(
        USUAL, mode="squash", resize=0, resized="floats", interpolation="bilinear"
    ),
    "squash-side": replace(USUAL, mode="squash", resize=48),  # timm's SigLIP
    "crop-sides": replace(USUAL, size=(33, 62), resize=(40, 71)),  # timm's, where not square
    "padded-sides": replace(USUAL, mode="pad", resize=(40, 44)),
    "padded": replace(USUAL, mode="pad", resize=0, fill=7),
    "padded-each": replace(USUAL, mode="pad", resize=0, fill=(124, 116, 104)),  # timm's border
    "hamming": replace(USUAL, interpolation="hamming"),
}
SIZES = [(337, 256), (51, 48), (48, 55), (300, 41), (20, 31)]
PAGE = """
import { readFileSync } from "node:fs";
import { pixels } from "./pixels.mjs";
const given = JSON.parse(readFileSync("given.json"));
const out = given.map(({ picture, how }) => Array.from(pixels(picture, how)));
console.log(JSON.stringify(out));
"""


def noise(size):
    values = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", list(HOWS))
def test_the_runner(tmp_path, how, size):
    noise(size).save(file := tmp_path / "picture.png")
    expected = pixels(open_image(file), HOWS[how]).numpy()[None]
    assert np.array_equal(run_pixels(opened(str(file)), HOWS[how].to_json()), expected)


def test_the_page(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("needs node, which runs the page's code without a browser")
    page = Path(vqazoo_export.__file__).parent / "page"
    shutil.copy(page / "pixels.js", tmp_path / "pixels.mjs")
    (tmp_path / "run.mjs").write_text(PAGE)
    given, expected = [], []
    for how in HOWS.values():
        for size in SIZES:
            picture = noise(size)
            data = np.asarray(picture.convert("RGBA")).ravel().tolist()
            shown = {"width": size[0], "height": size[1], "data": data}
            given.append({"picture": shown, "how": how.to_json()})
            expected.append(pixels(picture, how).numpy().ravel())
    (tmp_path / "given.json").write_text(json.dumps(given))
    ran = subprocess.run(
        ["node", "run.mjs"], cwd=tmp_path, capture_output=True, check=True, timeout=120
    )
    for found, wanted, said in zip(json.loads(ran.stdout), expected, given, strict=True):
        assert np.array_equal(np.array(found, np.float32), wanted), said["how"]

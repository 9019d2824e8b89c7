"""Pictures of every transformers family are those of transformers' own processor, from the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vqazoo.errors import VqazooError
from vqazoo.interfaces import Preprocess
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels
from vqazoo.toolkit.pictures import read_fitting, read_preprocess
from vqazoo.toolkit.transformers import Repository

transformers = pytest.importorskip("transformers")

CLASSES = {
    "clip": "CLIPImageProcessor",
    "siglip": "SiglipImageProcessor",
    "blip": "BlipImageProcessor",
    "blip-2": "BlipImageProcessor",
    "git": "CLIPImageProcessor",
    "vilt": "ViltImageProcessor",
}
# The margins of a crop to 48 after 337 x 256 are 7 and 0, and 3, 7, 11 after the others.
SIZES = [
    (337, 256),
    (256, 337),
    (64, 64),
    (48, 48),
    (51, 48),
    (59, 48),
    (48, 59),
    (300, 41),
    (37, 53),
    (20, 31),
    (97, 101),
]
HIGH = {"height": 48, "width": 48}
SETTINGS: dict[str, dict[str, Any]] = {
    "usual": {},
    "larger": {"size": {"shortest_edge": 55}, "do_center_crop": True, "crop_size": HIGH},
    "smaller": {"size": {"shortest_edge": 31}, "do_center_crop": True, "crop_size": HIGH},
    "oblong": {
        "size": {"shortest_edge": 50},
        "do_center_crop": True,
        "crop_size": {"height": 33, "width": 62},
    },
    "crop-number": {"size": {"shortest_edge": 48}, "do_center_crop": True, "crop_size": 47},
    "longest": {
        "size": {"shortest_edge": 48, "longest_edge": 60},
        "do_center_crop": True,
        "crop_size": HIGH,
    },
    "squashed": {"size": {"height": 40, "width": 52}, "do_center_crop": False},
    "squashed-cropped": {
        "size": {"height": 60, "width": 51},
        "do_center_crop": True,
        "crop_size": HIGH,
    },
    "squashed-padded": {
        "size": {"height": 41, "width": 39},
        "do_center_crop": True,
        "crop_size": HIGH,
    },
    "as-it-is": {"do_resize": False, "do_center_crop": True, "crop_size": HIGH},
    "not-normalised": {"do_normalize": False},
    "not-rescaled": {"do_rescale": False},
    "neither": {"do_rescale": False, "do_normalize": False},
    "scale": {"rescale_factor": 0.0078431},
    "one-mean": {"image_mean": 0.4, "image_std": 0.3},
    "rgb": {"do_convert_rgb": False},
    "pad": {"do_pad": True},
    **{f"resample-{number}": {"resample": number} for number in range(6)},
}

NOT_OF_VILT = (
    "smaller",
    "squashed",
    "squashed-cropped",
    "squashed-padded",
    "as-it-is",
    "not-rescaled",
    "neither",
    "scale",
)


def place(folder: Path, family: str, said: dict[str, Any], nested: bool = False) -> Path:
    """A folder that holds what preparing pictures needs, and no model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    whole = {"image_processor_type": CLASSES[family], **said}
    if nested:
        (folder / "processor_config.json").write_text(json.dumps({"image_processor": whole}))
    else:
        (folder / "preprocessor_config.json").write_text(json.dumps(whole))
    return folder


def usual(family: str) -> dict[str, Any]:
    """What the published files of a family say, for small pictures."""
    shared = {
        "image_mean": [0.48, 0.45, 0.4],
        "image_std": [0.26, 0.26, 0.27],
        "resample": 3,
        "do_resize": True,
        "do_normalize": True,
        "do_rescale": True,
        "rescale_factor": 0.00392156862745098,
    }
    if family in ("clip", "git"):
        return {
            **shared,
            "size": {"shortest_edge": 48},
            "crop_size": HIGH,
            "do_center_crop": True,
            "do_convert_rgb": True,
        }
    if family == "vilt":
        return {**shared, "size": {"shortest_edge": 48}, "size_divisor": 32}
    return {**shared, "size": HIGH, "size_divisor": 32, "do_pad": True}  # as published BLIP has it


def photograph(file: Path, width: int, height: int, seed: int = 0) -> Path:
    """Waves and noise; a JPEG, a PNG in colour, grey or with a palette."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(x / rng.uniform(2, 40) + y / rng.uniform(2, 40)) for _ in range(3)]
    values = np.stack(waves, axis=-1) + rng.normal(0, 20, (height, width, 3))
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(file)
    return file


def ours(folder: Path, family: str) -> Preprocess:
    read = read_fitting if family == "vilt" else read_preprocess
    return read(Repository(str(folder)))


def theirs(folder: Path, file: Path, backend: str = "pil") -> torch.Tensor:
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend=backend)
    return torch.as_tensor(np.asarray(processor(str(file))["pixel_values"][0])).float()


@pytest.mark.parametrize("setting", list(SETTINGS))
@pytest.mark.parametrize("family", list(CLASSES))
def test_every_setting_of_every_family_is_done_or_named(tmp_path, family, setting):
    said = SETTINGS[setting]
    folder = place(tmp_path / "model", family, usual(family) | said, nested=len(setting) % 2 == 0)
    if family == "vilt" and setting in NOT_OF_VILT:
        with pytest.raises(VqazooError, match="|".join(said)):
            ours(folder, family)
        return
    preprocess = ours(folder, family)
    assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess
    for number, size in enumerate(SIZES):
        if family == "vilt" and size == (300, 41):
            continue  # transformers makes it 0 pixels high, and fails
        file = photograph(tmp_path / f"{number}.{('png', 'jpg')[number % 2]}", *size, number)
        found, wanted = pixels(open_image(file), preprocess), theirs(folder, file)
        assert found.shape == wanted.shape
        assert torch.equal(found, wanted), size  # to the bit: it uses Pillow


@pytest.mark.parametrize("family", list(CLASSES))
def test_no_further_from_the_other_backend_than_the_library_itself(tmp_path, family):
    pytest.importorskip("torchvision")
    folder = place(tmp_path / "model", family, usual(family))
    for number, size in enumerate(SIZES[:5]):
        file = photograph(tmp_path / f"{number}.png", *size, number)
        found, other = (
            pixels(open_image(file), ours(folder, family)),
            theirs(folder, file, "torchvision"),
        )
        itself = (theirs(folder, file) - other).abs().max()
        assert (found - other).abs().max() <= itself + 1e-6


@pytest.mark.parametrize("kind", ["L", "P", "1", "CMYK", "orientation", "I;16-small"])
def test_files_of_many_kinds(tmp_path, kind):
    folder = place(tmp_path / "model", "git", usual("git"))
    file = photograph(tmp_path / "a.png", 83, 60)
    if kind == "orientation":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(file).save(file := tmp_path / "a.jpg", exif=exif)
    elif kind == "I;16-small":
        pytest.skip("values of 16 bits are scaled here, and cut off at 255 by transformers")
    else:
        file = tmp_path / ("a.jpg" if kind == "CMYK" else "b.png")
        Image.open(tmp_path / "a.png").convert(kind).save(file)
    assert torch.equal(pixels(open_image(file), ours(folder, "git")), theirs(folder, file))


def test_transparent_parts_lie_on_white_as_in_the_newest_transformers(tmp_path):
    from packaging.version import Version

    if Version(transformers.__version__) < Version("5.20"):
        pytest.skip("releases before dropped transparency")
    folder = place(tmp_path / "model", "git", usual("git"))
    values = np.random.default_rng(0).integers(0, 256, (60, 83, 4), dtype=np.uint8)
    Image.fromarray(values).save(file := tmp_path / "a.png")
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    wanted = torch.as_tensor(np.asarray(processor(Image.open(file))["pixel_values"][0]))
    assert torch.equal(pixels(open_image(file), ours(folder, "git")), wanted.float())


@pytest.mark.parametrize("nested", [True, False])
def test_the_nested_block_of_processor_config_comes_first(tmp_path, nested):
    folder = place(tmp_path / "model", "clip", usual("clip") | {"resample": 2}, nested=True)
    place(folder, "clip", usual("clip") | {"resample": 0})
    if not nested:  # as older repositories have it, beside the other file
        (folder / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    assert ours(folder, "clip").interpolation == ("bilinear" if nested else "nearest")


@pytest.mark.parametrize("family", list(CLASSES))
def test_what_a_file_leaves_out_is_what_the_class_has(tmp_path, family):
    folder = place(tmp_path / "model", family, {})
    file = photograph(tmp_path / "a.png", 337, 256)
    assert torch.equal(pixels(open_image(file), ours(folder, family)), theirs(folder, file))


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"crop_pct": 0.9}, "crop_pct"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"do_pad": True, "pad_size": HIGH}, "pad_size"),
        ({"do_resize": False}, "do_resize"),
        ({"do_center_crop": False}, "do_center_crop False"),
        ({"resample": 9}, "resample"),
        ({"size": {"longest_edge": 60}}, "longest_edge"),
        ({"rescale_factor": 0}, "rescale_factor"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
        ({"size": {"max_height": 60, "max_width": 60}}, "max_height"),
        ({"image_processor_type": "EfficientNetImageProcessor"}, "EfficientNetImageProcessor"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "ConvNextImageProcessor"),
        ({"image_processor_type": "ViltImageProcessor"}, "ViltImageProcessor"),
        ({"image_processor_type": "VivitImageProcessor"}, "VivitImageProcessor"),
        ({"image_processor_type": "VideoLlavaImageProcessor"}, "VideoLlavaImageProcessor"),
    ],
)
def test_what_is_not_done_here_is_named(tmp_path, said, named):
    settings = usual("clip") | said
    if named == "do_resize":
        settings["do_center_crop"] = False
    folder = place(tmp_path / "model", "clip", settings)
    with pytest.raises(VqazooError, match=named) as told:
        ours(folder, "clip")
    assert len(str(told.value).splitlines()) == 1


def test_the_processor_of_git_for_videos_is_read(tmp_path):
    folder = place(tmp_path / "model", "git", usual("git"))
    said = json.loads((folder / "preprocessor_config.json").read_text())
    del said["do_convert_rgb"]
    (folder / "preprocessor_config.json").write_text(
        json.dumps(said | {"image_processor_type": "VideoMAEImageProcessor"})
    )
    file = photograph(tmp_path / "a.png", 337, 256)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    wanted = torch.as_tensor(np.asarray(processor([Image.open(file)])["pixel_values"][0][0]))
    assert torch.equal(pixels(open_image(file), ours(folder, "git")), wanted.float())


def test_real_photographs(tmp_path):
    root = Path(os.environ.get("VQAZOO_TEST_DATA", "")) / "daquar" / "images"
    if not os.environ.get("VQAZOO_TEST_DATA") or not root.is_dir():
        pytest.skip("needs DAQUAR's images in the folder named by VQAZOO_TEST_DATA")
    files = sorted(root.glob("*.png"))[:20] + sorted(root.glob("*.jpg"))[:20]
    for family in CLASSES:
        folder = place(tmp_path / family, family, usual(family))
        preprocess = ours(folder, family)
        for file in files:
            assert torch.equal(pixels(open_image(file), preprocess), theirs(folder, file)), file

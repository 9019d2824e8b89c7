"""How a transformers model prepares pictures, in the core's words. Imports transformers.

The library itself reads the files (a block `image_processor` in processor_config.json, else
preprocessor_config.json) and fills in the defaults of the processor's class; here its settings are
put into a Preprocess, or refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vqazoo.errors import IncompatibleError, WeightsError
from vqazoo.files.encoder_files import check_sides, read_json
from vqazoo.files.reading import shown
from vqazoo.interfaces import Preprocess
from vqazoo.toolkit.transformers import Repository

FILES = "processor_config.json or preprocessor_config.json"
RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers
MOST_PATCHES = 1 << 14  # of a picture that keeps its aspect
LONGER, SHORTER = 1333, 800  # ViLT's greatest ratio of sides (Kim et al. 2021, section 4.1)
# What a processor does to a picture; a class that does one of these in its own way is not read.
STEPS = (
    "preprocess",
    "process_image",
    "convert_to_rgb",
    "resize",
    "center_crop",
    "rescale",
    "normalize",
    "pad",
    "_preprocess",
    "_prepare_image_like_inputs",
    "_preprocess_image_like_inputs",
    "_standardize_kwargs",
)
OF_VILT = "ViltImageProcessorPil"
OF_NAFLEX = "Siglip2ImageProcessorPil"
OF_DINOV3 = "DINOv3ViTImageProcessor"  # of torchvision alone; it resizes numbers, not bytes
CONVNEXT, LEVIT = "ConvNextImageProcessorPil", "LevitImageProcessorPil"
SEGFORMER = "SegformerImageProcessorPil"  # it crops nothing, whatever the file says
# How torchvision resizes numbers as Pillow does; it has no box and no hamming, another nearest.
OF_NUMBERS = ("bilinear", "bicubic", "lanczos")
SEGMENTS = frozenset({"preprocess", "_preprocess", "_preprocess_image_like_inputs"})
# Steps of their own of classes whose pictures come out as by the usual ones, or as built here.
ALIKE = {
    "VideoMAEImageProcessorPil": frozenset({"_preprocess", "preprocess"}),  # GIT: frame by frame
    "BeitImageProcessorPil": SEGMENTS,  # which these do to maps of labels
    "MobileNetV2ImageProcessorPil": SEGMENTS,
    SEGFORMER: SEGMENTS,
    CONVNEXT: frozenset({"resize", "_preprocess"}),
    LEVIT: frozenset({"resize"}),
}
SQUASHED_FROM = 384  # pixels, by ConvNeXt's processor
SILENT = frozenset(
    {  # keys that change no pixel of one picture, whoever wrote them
        "image_processor_type",
        "feature_extractor_type",
        "processor_class",
        "auto_map",
        "use_square_size",
        "size_divisor",
        "num_channels",
        "patch_size",
        "use_fast",
        "backend",
        "_valid_processor_keys",
        "_valid_kwargs_names",
        "model_valid_processing_keys",
        "_processor_class",
        "image_seq_length",
        "num_image_tokens",
        "image_token",
        "video_processor",
    }
)


def read_preprocess(repository: Repository) -> Preprocess:
    """How the model in a folder prepares pictures, all for one size.

    Raises:
        WeightsError: no file says it. IncompatibleError: it says what is not done here.
    """
    processor, where = _processor(repository)
    kind = type(processor).__name__
    if kind != OF_DINOV3:
        _check_steps(processor, where, ALIKE.get(kind, frozenset()))
    crops = bool(processor.do_center_crop) and kind != SEGFORMER
    for does, needs in (("do_center_crop", "crop_size"), ("do_resize", "size")):
        if getattr(processor, does) and getattr(processor, needs) is None:
            raise _refused(where, does, True, f"a {needs} with it")
    if kind == CONVNEXT:
        return _like_convnext(processor, where)
    crop = processor.crop_size if crops else None
    size = processor.size if processor.do_resize else None
    sides: Any = (size.height, size.width) if size is not None else (None, None)
    frame = sides if crop is None else (crop.height, crop.width)
    check_sides([*sides, *frame, size and size.shortest_edge], f"'{where}'")
    if not all(frame):
        raise IncompatibleError(
            f"'{where}' says size {shown(_plain(processor.size))}, do_resize "
            f"{processor.do_resize} and do_center_crop {bool(processor.do_center_crop)}, which "
            f"gives pictures of different sizes (or none), but this model reads one: set crop_size "
            f"and do_center_crop, or height and width as size."
        )
    shared = {**_values(processor, where), "size": frame, "margins": "transformers"}
    if size is None:
        return Preprocess(**shared, mode="centre")
    shared["interpolation"] = _interpolation(processor, where)
    if kind == OF_DINOV3:
        if crop is not None or size.shortest_edge:
            raise _refused(where, "size", _plain(size), "height and width, and no crop,")
        if shared["interpolation"] not in OF_NUMBERS:
            raise _refused(where, "resample", processor.resample, "1, 2 or 3")
        return Preprocess(**shared, mode="squash", resized="floats")
    if kind == LEVIT and size.shortest_edge:
        return Preprocess(**shared, mode="crop", resize=int((256 / 224) * size.shortest_edge))
    if size.shortest_edge:
        longest = size.longest_edge or 0
        return Preprocess(**shared, mode="crop", resize=size.shortest_edge, longest=longest)
    if not all(sides):
        raise _refused(where, "size", _plain(size), "shortest_edge, or height and width")
    return Preprocess(
        **shared, mode="squash", resize=0 if sides == frame else (size.height, size.width)
    )


def read_fitting(repository: Repository) -> Preprocess:
    """How a ViLT model prepares pictures, which keep their aspect.

    Raises:
        WeightsError: no file says it, or it says something else than ViLT does.
    """
    processor, where = _processor(repository)
    if type(processor).__name__ != OF_VILT:
        kind = type(processor).__name__.removesuffix("Pil")
        raise _refused(where, "image_processor_type", kind, "ViltImageProcessor")
    short, multiple = processor.size.shortest_edge, processor.size_divisor
    if not processor.do_resize or not short or not multiple or short < multiple:
        settings = f"{bool(processor.do_resize)}, {_plain(processor.size)} and {multiple}"
        raise WeightsError(
            f"'{where}' does not say how pictures are prepared for ViLT (do_resize, size and "
            f"size_divisor are {settings}, but a shortest_edge of at least size_divisor was "
            f"expected): get it from the model's repository."
        )
    values = _values(processor, where)
    if abs(255 * values["scale"] - 1) > 1e-6:
        key = "rescale_factor" if processor.do_rescale else "do_rescale"
        raise _refused(where, key, getattr(processor, key), "a scale of 1/255, as ViLT's,")
    longest = int(LONGER / SHORTER * short)
    check_sides([short, longest], f"'{where}'")
    return Preprocess(
        **values,
        size=(short // multiple * multiple, longest // multiple * multiple),
        interpolation=_interpolation(processor, where),
        mode="fit",
        resize=short,
        longest=longest,
        multiple=multiple,
    )


def read_patches(repository: Repository, patch: int) -> Preprocess:
    """How a SigLIP 2 NaFlex model, which cuts patches of that side, prepares pictures.

    Raises:
        WeightsError: no file says it, or it says something else than NaFlex does.
    """
    processor, where = _processor(repository)
    kind = type(processor).__name__
    if kind != OF_NAFLEX:
        raise _refused(
            where, "image_processor_type", kind.removesuffix("Pil"), "Siglip2ImageProcessor"
        )
    if not processor.do_resize:
        raise _refused(where, "do_resize", processor.do_resize, "true")
    if processor.patch_size != patch:
        raise _refused(where, "patch_size", processor.patch_size, f"the model's own {patch}")
    most = processor.max_num_patches
    if type(most) is not int or not 0 < most <= MOST_PATCHES:
        raise _refused(where, "max_num_patches", most, f"1 to {MOST_PATCHES}")
    side = math.isqrt(most) * patch
    return Preprocess(
        **_values(processor, where),
        size=(side, side),
        interpolation=_interpolation(processor, where),
        mode="patches",
        resize=most,
        multiple=patch,
    )


def _like_convnext(processor: Any, where: Path) -> Preprocess:
    """What ConvNeXt's processor does: a crop below 384 pixels, else the whole picture squashed."""
    short, share = processor.size.shortest_edge, processor.crop_pct
    if not processor.do_resize or processor.do_center_crop or not short:
        wants = (
            "a shortest_edge to which ConvNextImageProcessor resizes, with do_center_crop false,"
        )
        raise _refused(where, "size", _plain(processor.size), wants)
    check_sides([short], f"'{where}'")
    whole = short >= SQUASHED_FROM  # nothing is cropped, and released files leave the share open
    if not whole and (not isinstance(share, (int, float)) or not 0 < share <= 1):
        raise _refused(where, "crop_pct", share, "a share above 0 and at most 1")
    return Preprocess(
        **_values(processor, where),
        size=(short, short),
        interpolation=_interpolation(processor, where),
        mode="squash" if whole else "crop",
        resize=0 if whole else int(short / share),
        margins="transformers",
    )


def _processor(repository: Repository) -> tuple[Any, Path]:
    """The processor of transformers that works with Pillow, and the folder for messages."""
    from transformers import AutoImageProcessor
    from transformers.image_processing_base import ImageProcessingMixin

    folder = repository.folder
    for name in FILES.split(" or "):
        if (folder / name).is_file():
            read_json(folder / name)
    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(folder)
        processor = AutoImageProcessor.from_pretrained(
            folder, backend="pil", trust_remote_code=False
        )
        known = SILENT | processor.valid_kwargs.__annotations__.keys()
    except Exception as error:  # whatever an odd value leads to in a processor
        raise WeightsError(
            f"'{folder}' does not say how pictures are prepared ({_first_line(error)}): get "
            f"{FILES} from the model's repository; no default is used instead."
        ) from error
    for key, value in settings.items():
        if key not in known:
            raise _refused(folder, key, value, "nothing of that name")
        if key in ("size", "image_mean", "image_std") and value is None:
            raise _refused(folder, key, value, "a value")
    padded = getattr(processor, "pad_size", None)  # classes of before have none, nor all steps
    if padded is not None and processor.do_pad:
        raise _refused(folder, "pad_size", _plain(padded), "none")
    return processor, folder


def _check_steps(processor: Any, where: Path, alike: frozenset[str]) -> None:
    """Raises IncompatibleError where a class does a step in its own way, but for those `alike`."""
    from transformers.image_processing_backends import PilBackend

    for step in STEPS:
        usual = getattr(PilBackend, step, None)
        if step not in alike and getattr(type(processor), step, None) is not usual:
            kind = type(processor).__name__.removesuffix("Pil")
            raise IncompatibleError(
                f"'{where}' names the processor {kind}, which has a '{step}' of its own that is "
                f"not built here: name a model with a processor like CLIPImageProcessor."
            )


def _values(processor: Any, where: Path) -> dict[str, Any]:
    """Scale, mean and standard deviation of a Preprocess."""
    scale = processor.rescale_factor if processor.do_rescale else 1.0
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < 1e6:
        raise _refused(where, "rescale_factor", scale, "a number above 0")
    if not processor.do_normalize:
        return {"scale": float(scale), "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    values = {}
    for name in ("mean", "std"):
        value = getattr(processor, f"image_{name}")
        three = (value,) * 3 if isinstance(value, (int, float)) else value
        fit = isinstance(three, (list, tuple)) and len(three) == 3
        if not fit or any(type(number) not in (int, float) for number in three):
            raise _refused(where, f"image_{name}", value, "three numbers")
        if name == "std" and 0 in three:
            raise _refused(where, "image_std", value, "numbers other than 0")
        values[name] = tuple(float(number) for number in three)
    return {"scale": float(scale), **values}


def _interpolation(processor: Any, where: Path) -> str:
    number = 2 if processor.resample is None else processor.resample  # as the library, bilinear
    if not isinstance(number, int) or not 0 <= number < len(RESAMPLE):
        raise _refused(where, "resample", number, f"0 to {len(RESAMPLE) - 1}")
    return RESAMPLE[number]


def _plain(size: Any) -> Any:
    """A SizeDict as a file writes it."""
    return dict(size) if isinstance(size, Iterable) else size


def _refused(where: Path, key: str, value: Any, expected: str) -> WeightsError:
    return WeightsError(
        f"'{where}' does not say how pictures are prepared so that it can be done here: {FILES} "
        f"sets '{key}' to {shown(value)}, but {expected} was expected; get the file from the "
        f"model's repository, or name another model."
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

"""Official names of encoders, as the libraries themselves list them.

`python tests/whole/catalogues/encoder_names.py` writes `names.json` of three plugins, which
`vqazoo list encoders --search` reads, and the table of docs/reference/parts/encoders/names.md.
"""

from __future__ import annotations

import inspect
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "parts" / "encoders" / "names.md"
FILES = {
    "open-clip": ROOT / "plugins" / "vqazoo_open_clip" / "names.json",
    "timm": ROOT / "plugins" / "vqazoo_timm" / "names.json",
    "hf-clip": ROOT / "plugins" / "vqazoo_hf" / "names_clip.json",
    "hf-image": ROOT / "plugins" / "vqazoo_hf" / "names_image.json",
}
LIBRARIES = {"open-clip": "open_clip_torch", "timm": "timm"}
LIBRARIES |= {"hf-clip": "transformers", "hf-image": "transformers"}
TIMM = ("*clip*", "*siglip*", "*dino*", "*vit_pe_*", "eva*", "naflexvit*", "aimv2*", "*radio*")
TIMM += ("*tips*", "*vit_*_mae*", "beit*")
# What a name, tag included, means by a part of it, without marks between letters; the first one.
KNOWN_AS = {
    "siglip2": "SigLIP 2",
    "siglip": "SigLIP",
    "pecore": "PE-Core",
    "pelang": "PE-Lang",
    "pespatial": "PE-Spatial",
    "eupe": "EUPE",
    "dinov3": "DINOv3",
    "dinov2": "DINOv2",
    "dino": "DINO",
    "metaclip-?2": "MetaCLIP 2",
    "metaclip": "MetaCLIP",
    "mobileclip2": "MobileCLIP 2",
    "mobileclip": "MobileCLIP",
    "aimv2": "AIMv2",
    "radio": "C-RADIO",
    "tipsv2": "TIPS v2",
    "tips": "TIPS",
    "eva02": "EVA-02",
    "eva": "EVA",
    "altclip": "AltCLIP",
    "chineseclip": "Chinese-CLIP",
    "xclip": "X-CLIP",
    "coca": "CoCa",
    "nllb": "NLLB-CLIP",
    "vitamin": "ViTamin",
    "viclip": "ViCLIP",
    "naflex": "NaFlexViT",
    "dfn": "DFN CLIP",
    "openai": "OpenAI CLIP",
    "laion": "OpenCLIP",
    "datacomp": "DataComp CLIP",
    "clip": "CLIP",
    "mae": "MAE",
    "beit": "BEiT",
}
# Where the config of a type documents another checkpoint than one that this encoder reads.
INSTEAD = {"blip": "Salesforce/blip-itm-base-coco"}  # transformers' BlipForImageTextRetrieval
HEAD = """# Names of encoders

*What may I write after the colon of an encoder?*

What may stand after the colon, as the libraries list it: `vqazoo list encoders --search "SigLIP 2"`
finds a line by a word of it, whatever its case, blanks and hyphens. Written by
`tests/whole/catalogues/encoder_names.py` from {made_with}.

Pixels are those of a side of what the tower sees, tokens those of the longest question. Cleaning is
what is done to a text before its tokenizer: `whitespace` makes runs of blanks one, `lower` also
makes it lower case, `canonicalize` also takes away punctuation; in open_clip all three mend broken
characters. Where nothing stands, the model's own files say it.

More exist: any timm model, any repository of a type that [`hf-image`](hf-image.md) and
[`hf-clip`](hf-clip.md) read, any text model that [`hf-text`](hf-text.md) pools.

| written as | known as | pixels | tokens | cleaning |
| --- | --- | --- | --- | --- |
"""


def known_as(name: str, otherwise: str = "CLIP") -> str:
    said = re.sub(r"(?<=[a-z])[\W_]+(?=[a-z])", "", name.casefold())  # "siglip-256" stays
    if "siglip" in said and ".v2_" in name:  # as timm names them
        return "SigLIP 2"
    return next((words for part, words in KNOWN_AS.items() if re.search(part, said)), otherwise)


def open_clip_names() -> list[list[Any]]:
    import open_clip
    from open_clip.tokenizer import get_clean_fn

    rows = []
    for model, tag in open_clip.list_pretrained():
        config = open_clip.get_model_config(model)
        text = config["text_cfg"]
        whole = text.get("hf_tokenizer_name") or text.get("hf_model_name")
        cleaning = (text.get("tokenizer_kwargs") or {}).get(
            "clean", "whitespace" if whole else "lower"
        )
        assert get_clean_fn(cleaning)
        pixels = config["vision_cfg"].get("image_size", 224)
        pixels = open_clip.get_pretrained_cfg(model, tag).get("size", pixels)
        pixels = pixels[0] if isinstance(pixels, (list, tuple)) else pixels
        context = text.get("context_length", 77)
        rows.append([f"{model}@{tag}", known_as(f"{model} {tag}"), pixels, context, cleaning])
    return rows


def timm_names() -> list[list[Any]]:
    import timm

    names = sorted({name for family in TIMM for name in timm.list_pretrained(family)})
    configs = [(name, timm.get_pretrained_cfg(name)) for name in names]
    return [
        [name, known_as(name), config.input_size[1], None, None]
        for name, config in configs
        if config.hf_hub_id
    ]


def documented(model_type: str) -> list[Any] | None:
    """The checkpoint that transformers documents a type with, in the source of its config."""
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[model_type]
    said = re.search(r'checkpoint="([^"]+)"', inspect.getsource(inspect.getmodule(config)))
    repo = INSTEAD.get(model_type) or (said and said[1])
    if not repo:
        return None
    title = known_as(repo, config.__name__.removesuffix("Config").removesuffix("Vision"))
    if model_type.startswith("siglip2"):
        return [repo, "SigLIP 2 NaFlex", None, None, "lower"]
    return [repo, title, None, None, None]


def hf_clip_names() -> list[list[Any]]:
    from vqazoo_hf.clip_types import DUAL_TYPES

    rows = map(documented, dict.fromkeys(name.partition(":")[0] for name in DUAL_TYPES))
    return [row for row in rows if row]


def hf_image_names() -> list[list[Any]]:
    from vqazoo_hf.image_types import IMAGE_TYPES

    rows = {row[0]: [*row[:4], None] for row in map(documented, sorted(IMAGE_TYPES)) if row}
    return list(rows.values())


MAKERS = {
    "open-clip": open_clip_names,
    "timm": timm_names,
    "hf-clip": hf_clip_names,
    "hf-image": hf_image_names,
}


def names() -> dict[str, dict[str, Any]]:
    """What each file holds."""
    return {
        kind: {"made with": f"{LIBRARIES[kind]} {version(LIBRARIES[kind])}", "names": make()}
        for kind, make in MAKERS.items()
    }


def written(content: dict[str, Any]) -> str:
    """One name a line."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in content["names"])
    made = json.dumps(content["made with"])
    return f'{{"made with": {made}, "names": [\n{lines}\n]}}\n'


def page(files: dict[str, dict[str, Any]]) -> str:
    made = ", ".join(dict.fromkeys(content["made with"] for content in files.values()))
    text = HEAD.format(made_with=made)
    for kind, content in files.items():
        for name, title, *rest in content["names"]:
            cells = [
                f"`{kind}:{name}`",
                title,
                *("" if value is None else str(value) for value in rest),
            ]
            text += f"| {' | '.join(cells)} |\n"
    return text


if __name__ == "__main__":
    files = names()
    for kind, content in files.items():
        FILES[kind].write_text(written(content), encoding="utf-8")
    PAGE.write_text(page(files), encoding="utf-8")

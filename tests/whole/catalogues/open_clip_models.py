"""Every architecture of open_clip against open_clip itself, with random weights.

    python tests/whole/catalogues/open_clip_models.py                 # all that fit the memory
    python tests/whole/catalogues/open_clip_models.py ViT-B-32 RN50   # these
    python tests/whole/catalogues/open_clip_models.py --slice 1/4     # every fourth, from the first
    python tests/whole/catalogues/open_clip_models.py --most 1200     # millions of parameters (700)
    python tests/whole/catalogues/open_clip_models.py --layers 2      # open_clip's own towers, cut

Compared are pixels of picture files and ids of questions with what
`create_model_and_transforms` and `get_tokenizer` give, pooled vectors with `encode_image` and
`encode_text`, and tokens with what passes through the module whose states they are. Tokenizers and
text configs of the Hub are stand-ins (hub_stand_in.py). Needs 6 GB and about an hour.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.whole.catalogues.hub_stand_in import lay_out
from tests.whole.catalogues.outcomes import difference, pictures, report
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels
from vqazoo.registry import registry
from vqazoo_open_clip.building import build

BOTH = frozenset({"pooled", "tokens"})
TOWERS = frozenset({"image", "text"})
HUB = "CATALOGUE_HUB"  # variable of the process that does the work: the stand-in's folder
QUESTIONS = ["what is this", "What is the color of the  red circle?"]


def named_repositories() -> set[str]:
    texts = [open_clip.get_model_config(name)["text_cfg"] for name in open_clip.list_models()]
    keys = ("hf_tokenizer_name", "hf_model_name")
    return {text[key] for text in texts for key in keys if text.get(key)}


def cut(layers: int, folder: Path) -> None:
    """Make open_clip's own transformers shorter: their layers are all alike."""
    folder.mkdir()
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        for tower in ("vision_cfg", "text_cfg", "multimodal_cfg"):
            if isinstance(config.get(tower, {}).get("layers"), int):
                config[tower]["layers"] = min(layers, config[tower]["layers"])
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build(name, "").parameters())


@torch.no_grad()
def compare(name: str, files: list[Path]) -> list[str]:
    """What differs between our encoder and open_clip's own model, both with the same weights."""
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained_text=False)
    model.eval()
    for parameter in model.parameters():  # zero-initialised layers would hide a difference
        parameter.add_(0.01 * torch.randn_like(parameter))
    seen = torch.stack([transform(Image.open(file)) for file in files])
    asked = open_clip.get_tokenizer(name)(QUESTIONS)
    vector, states = watched(model, image_module(model), partial(model.encode_image, seen[:1]))
    sentence, words = watched(model, text_module(model), partial(model.encode_text, asked))
    state = model.state_dict()
    del model
    encoder = registry.build("encoder", f"open-clip:{name}", name, TOWERS).eval()
    own = encoder.model.state_dict()
    encoder.model.load_state_dict({key: state[key] for key in own}, assign=True)
    del state
    made = torch.stack([pixels(open_image(file), encoder.spec.preprocess) for file in files])
    told = difference("pixels", made, seen)
    ids, mask = encoder.tokenize(QUESTIONS)
    if not torch.equal(ids, asked[:, : ids.shape[1]].long()):
        told.append("ids: others than open_clip's tokenizer gives")
    rest = asked[:, ids.shape[1] :]
    if rest.numel() and not bool((rest == rest[0, -1]).all()):
        told.append("ids: something was cut off")
    image = encoder.encode_image(seen[:1], BOTH)
    question = encoder.encode_text(ids, mask, BOTH)
    told += difference("image vector", image.pooled, F.normalize(vector, dim=-1))
    told += difference("image tokens", image.tokens, states)
    told += difference("question vector", question.pooled, F.normalize(sentence, dim=-1))
    told += difference("question tokens", question.tokens, words[:, : ids.shape[1]])
    return told


def image_module(model: Any) -> tuple[nn.Module, str]:
    visual = model.visual
    kind = type(visual).__name__
    if kind == "TimmModel":
        return visual.trunk, "forward_features"
    return (visual.layer4 if kind == "ModifiedResNet" else visual.transformer), "forward"


def text_module(model: Any) -> tuple[nn.Module, str]:
    text = getattr(model, "text", model)
    outside = getattr(text, "cls_emb", None) is not None or not hasattr(text, "ln_final")
    return (text.transformer if outside else text.ln_final), "forward"


def watched(model: Any, watch: tuple[nn.Module, str], run: Any) -> tuple[Tensor, Tensor]:
    """What `run` gives, and the states (B, N, D) that a module's method gave meanwhile."""
    module, method = watch
    caught: list[Any] = []
    inner = getattr(module, method)

    def catching(*args: Any, **kwargs: Any) -> Any:
        caught.append(inner(*args, **kwargs))
        return caught[-1]

    object.__setattr__(module, method, catching)
    output = run()
    object.__delattr__(module, method)
    states = getattr(caught[-1], "last_hidden_state", caught[-1])
    if states.dim() == 4:  # maps, channels first unless timm says otherwise
        last = getattr(module, "output_fmt", "NCHW") == "NHWC"
        states = states.flatten(1, 2) if last else states.flatten(2).transpose(1, 2)
    return (output[0] if isinstance(output, tuple) else output), states


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--slice", default="1/1")
    parser.add_argument("--most", type=int, default=700)
    parser.add_argument("--layers", type=int, default=0, help="of open_clip's own transformers")
    given = parser.parse_args()
    if HUB not in os.environ:  # huggingface_hub reads these when it is imported
        with tempfile.TemporaryDirectory() as home:
            kept = {name: value for name, value in os.environ.items() if name != "HF_HUB_CACHE"}
            told = {HUB: home, "HF_HOME": home, "HF_HUB_OFFLINE": "1"}
            command = [sys.executable, __file__, *sys.argv[1:]]
            return subprocess.run(command, env=kept | told, check=False).returncode
    number, count = map(int, given.slice.split("/"))
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    lay_out(Path(os.environ[HUB]) / "hub", named_repositories())

    if given.layers:
        cut(given.layers, Path(os.environ[HUB]) / "configs")

    def one(name: str, files: list[Path]) -> list[str]:
        if parameters(name) > given.most * 1e6:
            raise MemoryError
        return compare(name, files)

    def every(files: list[Path]) -> Iterator[tuple[str, Any]]:
        for name in given.names or open_clip.list_models()[number - 1 :: count]:
            yield name, partial(one, name, files)

    with tempfile.TemporaryDirectory() as folder:
        return report(every(pictures(Path(folder))), "open_clip_torch")


if __name__ == "__main__":
    sys.exit(main())

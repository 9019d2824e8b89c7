"""Every module of timm against timm itself: the smallest model of each, with random weights.

    python tests/whole/catalogues/timm_models.py              # all modules
    python tests/whole/catalogues/timm_models.py volo coat    # these
    python tests/whole/catalogues/timm_models.py --model coat_lite_tiny pit_ti_distilled_224

Compared are pixels of picture files with `timm.data.create_transform`, the pooled vector with
`forward_head(pre_logits=True)`, tokens with `forward_features`, and, where timm has it, their place
with the map of `forward_intermediates`. Needs about 4 GB and 15 minutes.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.whole.catalogues.outcomes import difference, pictures, report
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels
from vqazoo.registry import registry

IMAGE = frozenset({"image"})
BOTH = frozenset({"pooled", "tokens"})


def smallest(module: str) -> str:
    """The model of a module that has the fewest parameters."""
    sizes = {}
    for name in timm.list_models(module=module):
        try:
            with torch.device("meta"):
                model = timm.create_model(name, num_classes=0)
        except (NotImplementedError, RuntimeError):
            continue  # names of a tag that is gone, or values that a constructor reads
        sizes[name] = sum(p.numel() for p in model.parameters())
    return min(sizes or timm.list_models(module=module), key=lambda name: sizes.get(name, 0))


@torch.no_grad()
def compare(name: str, files: list[Path]) -> list[str]:
    """What differs between our encoder and timm's own model, both with the same weights."""
    torch.manual_seed(0)
    model: Any = timm.create_model(name, pretrained=False, num_classes=0).eval()
    for parameter in model.parameters():  # zero-initialised layers would hide a difference
        parameter.add_(0.02 * torch.randn_like(parameter))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    seen = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    states = model.forward_features(seen)
    pooled, place = pooled_of(model, states), map_of(model, seen)
    state, prefix = model.state_dict(), getattr(model, "num_prefix_tokens", None)
    fmt = getattr(model, "output_fmt", "NCHW")
    del model
    encoder = registry.build("encoder", f"timm:{name}", name, IMAGE, activation="named").eval()
    encoder.model.load_state_dict(state, assign=True)
    preprocess = encoder.spec.preprocess
    made = torch.stack([pixels(open_image(file), preprocess) for file in files])
    told = difference("pixels", made, seen)
    wants = BOTH if encoder.spec.image.pooled else frozenset({"tokens"})
    found = encoder.encode_image(seen, wants)
    told += difference("pooled", found.pooled, pooled)
    told += difference("tokens", found.tokens, tokens_of(states, fmt, place))
    if not bool(found.mask.all()):
        told.append("mask: not every token is real")
    if prefix is not None and found.num_prefix != prefix:
        told.append(f"num_prefix: {found.num_prefix} instead of {prefix}")
    last = states if isinstance(states, Tensor) else states[-1]
    if place is not None and last.dim() == 3:
        told += misplaced(found.tokens[:, found.num_prefix :], place)
    return told


def misplaced(tokens: Tensor, place: Tensor) -> list[str]:
    """Whether tokens (B, N, D) do not lie row by row as the places of a map (B, D, H, W) do.

    The map may be another norm's, so that each token is only nearest to its own place.
    """
    rows = place.flatten(2).transpose(1, 2)  # (B, H W, D)
    if tokens.shape[1] == 0:
        return []  # class tokens alone
    if tokens.shape != rows.shape:
        return [f"num_prefix: {tokens.shape[1]} tokens of the picture instead of {rows.shape[1]}"]
    if not difference("place", tokens, rows):
        return []
    alike = F.layer_norm(tokens, tokens.shape[2:]) @ F.layer_norm(rows, rows.shape[2:]).mT
    own = (alike.argmax(dim=2) == torch.arange(rows.shape[1])).float().mean().item()
    return [] if own > 0.9 else [f"place: {own:.0%} of the tokens are at theirs"]


def pooled_of(model: Any, states: Any) -> Tensor | None:
    try:
        pooled: Tensor = model.forward_head(states, pre_logits=True)
    except NotImplementedError:
        return None
    return pooled if pooled.dim() == 2 else None


def map_of(model: Any, seen: Tensor) -> Tensor | None:
    """The last map (B, D, H, W) that timm itself gives, normed as its tokens are."""
    takes = inspect.signature(getattr(model, "forward_intermediates", compare)).parameters
    if "intermediates_only" not in takes:
        return None
    last = partial(model.forward_intermediates, seen, indices=1, intermediates_only=True)
    try:
        maps: list[Tensor] = last(norm=True) if "norm" in takes else last()
    except AssertionError:  # Hiera has the argument, and refuses it
        maps = last()
    return maps[-1]


def tokens_of(states: Any, fmt: str, place: Tensor | None) -> Tensor:
    """timm's last states as (B, N, D)."""
    last: Tensor = states if isinstance(states, Tensor) else states[-1]
    if last.dim() == 4:
        return last.flatten(1, 2) if fmt == "NHWC" else last.flatten(2).transpose(1, 2)
    channels_first = (
        place is not None and last.shape[1] == place.shape[1] and last.shape[2] != place.shape[1]
    )
    return last.transpose(1, 2) if channels_first else last


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--model", nargs="*", default=[], help="models instead of modules")
    given = parser.parse_args()

    def every(files: list[Path]) -> Iterator[tuple[str, Any]]:
        for model in given.model:
            yield model, partial(compare, model, files)
        for module in [] if given.model else given.modules or timm.list_modules():
            name = smallest(module)
            yield f"{module}: {name}", partial(compare, name, files)

    with tempfile.TemporaryDirectory() as folder:
        return report(every(pictures(Path(folder))), "timm")


if __name__ == "__main__":
    sys.exit(main())

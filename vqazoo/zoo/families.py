"""Published checkpoints in transformers' layout: recognised here, read by plugins. Torch-free.

Such a folder has a config.json with a `model_type`, and not the keys that vqazoo writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqazoo.errors import CheckpointError
from vqazoo.files.reading import parse_json, read_plain, shown
from vqazoo.files.writing import CONFIG, LARGEST
from vqazoo.hub.files import fetch_config
from vqazoo.hub.requests import HubRef
from vqazoo.manifests import FamilyManifest
from vqazoo.registry import registry


@dataclass(frozen=True)
class Published:
    """A checkpoint that a family reads.

    Attributes:
        family: registry name; place: a folder, or `owner/name@commit`; config: of config.json.
    """

    family: str
    place: str
    config: dict[str, Any]


def find_published(ref: str, cache_dir: Path | None) -> tuple[Published | None, bytes | None]:
    """What a `hub:` or `dir:` reference names, if it is not one of ours, and its config.json as it
    was read, which need not be read again.

    Raises:
        CheckpointError: it is of a family that is not read. HubError: it cannot be had.
    """
    prefix, _, rest = ref.partition(":")
    if prefix == "dir":
        folder = Path(rest).expanduser()
        if not (folder / CONFIG).is_file():
            return None, None  # load_checkpoint says what is wrong
        place = str(folder)
    elif prefix == "hub":
        at = HubRef.parse(rest)
        folder = fetch_config(at, cache_dir).parent
        place = f"{at.repo}@{folder.name}"
    else:
        return None, None
    content = None
    try:
        content = read_plain(folder / CONFIG, LARGEST[CONFIG])
        config = parse_json(content)
    except (CheckpointError, ValueError):
        return None, content
    if not isinstance(config, dict) or "format_version" in config or "model_type" not in config:
        return None, content
    model_type = config["model_type"]
    for name, manifest in registry.usable(FamilyManifest):
        if isinstance(model_type, str) and model_type in manifest.model_types:
            return Published(name, place, config), content
    raise CheckpointError(
        f"'{ref}' is a {shown(model_type)} checkpoint, but only these families of published "
        f"checkpoints are read: {_listed()}; load one of those, or train a model of your own."
    )


def read_published(published: Published, options: Any) -> Any:
    """The model of a published checkpoint; `options` is a LoadOptions. Imports torch.

    Raises:
        CheckpointError, WeightsError, IncompatibleError: see the message.
    """
    read = registry.component("family", published.family)
    return read(published.place, published.config, options)


def _listed() -> str:
    families = registry.usable(FamilyManifest)
    readable = [f"{name} (such as hub:{m.examples[0]})" for name, m in families if m.examples]
    return ", ".join(readable) or "none is installed"

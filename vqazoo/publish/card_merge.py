"""The card that a push uploads, out of the one in the folder and the one on the Hub.

Both may have been edited. An edit on one side wins over none on the other; of two different ones
neither does. Imports huggingface_hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqazoo.card.prose import join, merge, prose, split_front
from vqazoo.errors import CheckpointError, HubError
from vqazoo.files.writing import CARD
from vqazoo.hub.requests import HubRef

Front = Mapping[str, Any]


def merge_cards(local: str, remote: str | None, base: str | None, fresh: str, ref: HubRef) -> str:
    """The card to upload: generated parts are new, what people wrote is kept.

    Args:
        local, remote: the card in the folder, and on the Hub at `ref`.
        base: the one on the Hub when the folder was last pushed or pulled, if known.
        fresh: as generated now, without edits.

    Raises:
        HubError: the card was edited both here and there, differently, or cannot be read there.
        CheckpointError: the card in the folder cannot be read.
    """
    if remote is None:
        return merge(local, fresh)
    mine = prose(local)
    known = prose(fresh if base is None else base)
    try:
        theirs = prose(remote)
    except CheckpointError as error:
        raise HubError(f"On the Hub, in '{ref}': {error}") from error
    if theirs in ("", mine, known):
        chosen = local
    elif mine == known:
        chosen = remote
    else:
        raise HubError(
            f"The card of '{ref}' was edited on the Hub and, differently, in this folder: run  "
            f"vqazoo pull hub:{ref} OTHER , write into OTHER/{CARD} what it shall say, copy that "
            f"and OTHER/hub.json into this folder, and push again."
        )
    front, body = split_front(chosen)
    fronts = (split_front(text)[0] for text in (local, remote, fresh if base is None else base))
    wanted = merge_fronts(*fronts)
    return merge(chosen if wanted == front else join(wanted, body), fresh)


def merge_fronts(local: Front, remote: Front, base: Front) -> dict[str, Any]:
    """Front matter of two sides: what the folder did not change is as on the Hub; tags are joined.

    What we generate ourselves is renewed afterwards by `merge`, whatever this says.
    """
    merged: dict[str, Any] = {}
    for key in [*local, *(key for key in remote if key not in local)]:
        mine, theirs, known = local.get(key), remote.get(key), base.get(key)
        value = theirs if mine == known else mine
        if key == "tags" and mine != theirs:
            added = [tag for tag in _listed(theirs) if tag not in _listed(mine)]
            value = [*_listed(mine), *(tag for tag in added if tag not in _listed(known))]
        if value is not None:
            merged[key] = value
    return merged


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]

"""What is said to people about answers and pictures: whole sentences, for eyes and for ears.

One place for the demo, the service and the command line, so that they say the same. Plain words,
no figures: a screen reader says them, and a number of per cent promises more than a model knows.
Imports only the standard library.
"""

from __future__ import annotations

# ---- flaws of pictures ----------------------------------------------------------------------

# What a flaw is, and what to do before the picture is taken again.
_SEEN = {
    "blurred": ("blurred", "Hold the camera still"),
    "too bright": ("too bright", "Turn away from the light"),
    "too dark": ("too dark", "Turn on a light"),
    "badly framed": ("cut off at the edge", "Move back, or turn the camera to what you ask about"),
    "obscured": ("partly covered, perhaps by a finger", "Move what covers the camera away"),
    "rotated": ("turned on its side", "Hold the camera upright"),
}


def advice(flaw: str | None, retake: bool) -> str:
    """What to do about a picture with that flaw; empty where nothing seems wrong with it.

    Args:
        flaw: the worst one; None: none is likely.
        retake: whether nothing can be told of the picture.
    """
    if flaw is None:
        return "The picture shows too little: take it again." if retake else ""
    what, how = _SEEN.get(flaw, ("flawed", "Look what may be wrong with it"))
    if retake:
        return f"The picture is {what}. {how}, and take it again."
    return f"The picture seems to be {what}; if the answer sounds wrong, take it again."

"""What heads are asked that copy words out of a picture. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vqazoo.data import Example, OcrToken
from vqazoo.errors import VqazooError
from vqazoo.interfaces import Features, Head
from vqazoo.manifests import HeadManifest
from vqazoo.testing.checks import require

EVERYWHERE = OcrToken("Exit", (0.6, 0.1, 0.9, 0.3))  # a word that stands in every picture but one


def with_words(
    owner: str, head: Head, manifest: HeadManifest, examples: Sequence[Example], fused: Features
) -> tuple[list[Example], Features]:
    """The examples and their fused features, where a head reads words with some in the pictures:
    the answer's own and another one; in the first none was read.

    Raises:
        AssertionError: the head answers although nobody says what was read.
    """
    if not manifest.reads_ocr:
        return list(examples), fused
    shown: list[Example] = []
    for number, example in enumerate(examples):
        own = [OcrToken(word, (0.1, 0.2, 0.5, 0.4)) for word in example.target.split()]
        tokens = (*own, EVERYWHERE) if number else ()
        shown.append(replace(example, ocr_tokens=tokens))
    try:
        head.predict(fused)
    except VqazooError:
        return shown, fused.with_ocr([example.ocr_tokens for example in shown])
    require(False, owner, "it says reads_ocr, but answers where nobody says what was read")
    raise AssertionError

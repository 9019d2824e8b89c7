"""Texts lower-cased before all else that a tokenizer does to them."""

from __future__ import annotations

from typing import Any, cast

from vqazoo.errors import IncompatibleError


def lower_case(tokenizer: Any, place: str) -> None:
    """Put lower-casing before the other steps of a tokenizer, unless it is one of them already.

    Raises:
        IncompatibleError: it is not made of such steps.
    """
    from tokenizers.normalizers import Lowercase, Sequence

    if not tokenizer.is_fast:
        raise IncompatibleError(
            f"The texts of '{place}' are lower-cased, which is built here for tokenizers with a "
            f"tokenizer.json: save its tokenizer again with save_pretrained."
        )
    said = tokenizer.backend_tokenizer.normalizer
    steps: list[Any] = [] if said is None else [said]
    if isinstance(said, Sequence):
        steps = list(cast(Any, said))
    if not any(isinstance(step, Lowercase) for step in steps):
        tokenizer.backend_tokenizer.normalizer = Sequence([Lowercase(), *steps])

"""open_clip's tokenizer of a model. Imports torch; open_clip when one is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vqazoo.errors import WeightsError
from vqazoo.hub import fetch_folder

TOKENIZER_FILES = ["*.json", "*.txt", "*.model"]


class Codec:
    """open_clip's tokenizer of a model, with padding to the longest of the batch."""

    def __init__(self, name: str, text_config: dict[str, Any]) -> None:
        import open_clip

        # A repository's own code is never run; open_clip's own tokenizer takes no such argument.
        never = {"trust_remote_code": False} if text_config.get("hf_tokenizer_name") else {}
        try:
            self._tokenizer: Any = open_clip.get_tokenizer(
                _tokenizer_name(name, text_config), **never
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"The tokenizer of '{name}' cannot be had ({str(error).splitlines()[0]}): where "
                f"there is a network, use the encoder once, then copy the cache here."
            ) from error
        self.context_length = int(self._tokenizer.context_length)
        inner = getattr(self._tokenizer, "tokenizer", None)
        self._inner = inner
        if inner is None:  # CLIP's own byte-pair tokenizer
            self.start_id, self.end_id = self._tokenizer.all_special_ids[:2]
            self.pad_id = 0
        else:
            self.pad_id = int(inner.pad_token_id or 0)
            self.end_id = _either(inner.sep_token_id, inner.eos_token_id, self.pad_id)
            self.start_id = _either(inner.cls_token_id, inner.bos_token_id, self.pad_id)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        full = self._tokenizer(list(texts))  # (B, context)
        lengths = torch.tensor([self._length(row) for row in full.tolist()])  # (B,)
        ids = full[:, : int(lengths.max())].long()  # (B, L)
        return ids, torch.arange(ids.shape[1]) < lengths[:, None]

    def _length(self, row: list[int]) -> int:
        """Tokens before the padding. CLIP pads with 0, which is also a token, but ends a text."""
        if self._inner is None:
            return row.index(self.end_id) + 1
        real = [place for place, one in enumerate(row) if one != self.pad_id]
        return real[-1] + 1 if real else 1

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        clean: Callable[[str], str] = self._tokenizer.clean_fn
        cleaned = [clean(text) for text in texts]
        if self._inner is None:
            return [list(self._tokenizer.encode(text)) for text in cleaned]
        return [list(self._inner.encode(text, add_special_tokens=False)) for text in cleaned]

    def decode(self, ids: Sequence[int]) -> str:
        decode = self._tokenizer.decode if self._inner is None else self._inner.decode
        text: str = decode(list(ids))
        return text.strip()


def _tokenizer_name(name: str, text_config: dict[str, Any]) -> str:
    """The name that gives open_clip the tokenizer of a Hub repository from the pinned commit."""
    schema, _, repo = name.partition(":")
    if schema != "hf-hub" or text_config.get("hf_tokenizer_name", repo) not in ("", repo):
        return name  # an architecture, a folder, or files of a third repository
    return f"local-dir:{fetch_folder(repo, None, TOKENIZER_FILES)}"


def _either(*ids: int | None) -> int:
    return next(int(one) for one in ids if one is not None)

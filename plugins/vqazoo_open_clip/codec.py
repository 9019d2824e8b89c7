"""The tokenizer of an open_clip model. Imports torch; open_clip when one is built."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.errors import VqazooError, WeightsError
from vqazoo.files.encoder_files import check_folder, without_paths
from vqazoo.hub.files import fetch_folder
from vqazoo.interfaces import FileReference
from vqazoo.toolkit.read_files import read_files

TOKENIZER_FILES = ["*.json", "*.txt", "*.model"]  # what is fetched, and of that
READ = (
    "config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
)  # what transformers reads
PACKAGE = "open_clip_torch"
CONTEXT = 77  # open_clip's own default
CLIPS = "clips"  # a tokenizer mode: the class token stands behind the padding


class Codec:
    """The tokenizer of an open_clip model, with padding to the longest of the batch.

    `files` are those that it was made of.
    """

    def __init__(self, name: str, text_config: dict[str, Any]) -> None:
        try:
            self._tokenizer, self.files = _tokenizer(name, text_config)
        except VqazooError:
            raise
        except Exception as error:  # tokenizers raises nothing narrower for a damaged file
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise WeightsError(
                f"The tokenizer of '{name}' cannot be had ({reason}): where "
                f"there is a network, use the encoder once, then copy the cache here."
            ) from error
        self.context_length = int(self._tokenizer.context_length)
        self._ends_with_class = getattr(self._tokenizer, "tokenizer_mode", "") == CLIPS
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
        full = self._tokenizer(list(texts)).long()  # (B, context)
        if self._ends_with_class:
            return full, full != self.pad_id
        lengths = torch.tensor([self._length(row) for row in full.tolist()])  # (B,)
        ids = full[:, : int(lengths.max())]  # (B, L)
        return ids, torch.arange(ids.shape[1]) < lengths[:, None]

    def _length(self, row: list[int]) -> int:
        """Tokens before the padding. CLIP pads with 0, which is also a token, but ends a text."""
        if self._inner is None:
            return row.index(self.end_id) + 1
        real = [place for place, token in enumerate(row) if token != self.pad_id]
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


def _tokenizer(name: str, text_config: dict[str, Any]) -> tuple[Any, tuple[FileReference, ...]]:
    """As `open_clip.get_tokenizer`, but without running code of a repository.

    Every file is from the pinned commit of its repository.
    """
    from open_clip import get_tokenizer
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer, default_bpe, get_clean_fn

    schema, _, place = name.partition(":")
    asked = str(text_config.get("hf_tokenizer_name") or "")
    context = int(text_config.get("context_length", CONTEXT))
    given = dict(text_config.get("tokenizer_kwargs") or {})
    if not asked:
        if schema not in ("local-dir", "hf-hub") and "siglip" in name.lower():
            return get_tokenizer(name), ()  # a vocabulary that Google publishes
        vocabulary = Path(default_bpe())
        made = (
            SimpleTokenizer(context_length=context, **given) if given else clip_tokenizer(context)
        )
        if made.clean_fn is get_clean_fn("lower"):
            made.clean_fn = quickly(made.clean_fn)
        return made, (_packaged(vocabulary),)
    folder, repo = Path(place if schema == "local-dir" else asked).expanduser(), ""
    if schema == "hf-hub" or not folder.is_dir():  # a repository names no folder of this machine
        folder, repo = fetch_folder(asked, None, TOKENIZER_FILES), asked
    check_folder(folder)
    made = HFTokenizer(
        str(folder),
        context_length=context,
        tokenizer_mode=text_config.get("tokenizer_mode"),
        **(given | without_paths(folder) | {"trust_remote_code": False}),
    )
    return made, read_files(folder, READ, repo)


def clip_tokenizer(context: int) -> Any:
    """CLIP's tokenizer, which owns all but the vocabulary that a first one has read."""
    made = copy.copy(_clip_vocabulary())
    made.context_length, made.cache = context, dict(made.cache)
    return made


@functools.cache
def _clip_vocabulary() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def quickly(clean: Callable[[str], str]) -> Callable[[str], str]:
    """CLIP's cleaning, which does without ftfy where that changes nothing: most of its time."""

    def cleaned(text: str) -> str:
        if text.isascii() and text.isprintable() and "&" not in text:  # nothing to mend, no entity
            return " ".join(text.split()).lower()
        return clean(text)

    return cleaned


def _packaged(file: Path) -> FileReference:
    """A file that open_clip brings."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return FileReference("package", PACKAGE, file.name, version(PACKAGE), digest)


def _either(*ids: int | None) -> int:
    return next(int(token_id) for token_id in ids if token_id is not None)

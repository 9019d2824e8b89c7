"""A model's files: a local folder, or a Hub repository fetched into the cache. Imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from vqazoo.errors import WeightsError, missing_package
from vqazoo.hub import fetch_folder
from vqazoo.interfaces import WeightsReference

SMALL = ["*.json", "*.txt", "*.model"]  # configs, vocabularies
WEIGHTS = "model*.safetensors"
VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model")  # one of them; the last: sentencepiece
PACKAGES = ("sentencepiece", "protobuf")  # of SigLIP's tokenizer
CHUNK = 1 << 22  # bytes


class Repository:
    """`folder`, `repo` or `repo@revision`; small files are fetched first, weights when asked for.

    Raises:
        WeightsError: the files cannot be had.
    """

    def __init__(self, place: str) -> None:
        folder = Path(place).expanduser()
        self.is_local = folder.is_dir()
        self.repo, _, revision = (place, "", "") if self.is_local else place.partition("@")
        self._revision = revision or None
        self.folder = folder if self.is_local else self._fetch(SMALL)

    def _fetch(self, patterns: list[str]) -> Path:
        return fetch_folder(self.repo, self._revision, patterns)

    def weights(self) -> WeightsReference:
        """Fetch the weights and say where they came from."""
        self.fetch_weights()
        return self.reference()

    def fetch_weights(self) -> None:
        """Have the weights in `folder`."""
        if not self.is_local:
            self.folder = self._fetch([*SMALL, WEIGHTS])

    def reference(self) -> WeightsReference:
        """Where the weights came from; reads and hashes them."""
        files = sorted(self.folder.glob(WEIGHTS))
        if not files:
            raise WeightsError(
                f"'{self.folder}' has no {WEIGHTS}: only safetensors is read; convert the weights "
                f"with transformers' save_pretrained."
            )
        state = hashlib.sha256()
        for file in files:
            with file.open("rb") as opened:
                while chunk := opened.read(CHUNK):  # a file may be larger than the memory
                    state.update(chunk)
        kind, revision = ("file", "") if self.is_local else ("hub", self.folder.name)
        source = str(self.folder.absolute()) if self.is_local else self.repo
        return WeightsReference(kind, source, files[0].name, revision, state.hexdigest())

    def fetch_more(self, names: Sequence[str]) -> None:
        """Have further files in `folder`; one that is not there is left to who reads it."""
        if names and not self.is_local:
            self.folder = self._fetch([*SMALL, *names])

    def config(self) -> Any:
        """transformers' config object."""
        from huggingface_hub.errors import StrictDataclassError
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
            raise WeightsError(
                f"'{self.folder}' has no config.json that transformers reads "
                f"({str(error).splitlines()[0].rstrip(':')}): name a folder of save_pretrained."
            ) from error

    def tokenizer(self) -> Any:
        """transformers' tokenizer object."""
        from transformers import AutoTokenizer

        if not any(True for pattern in VOCABULARIES for _ in self.folder.glob(pattern)):
            raise WeightsError(  # transformers 5 would make a tokenizer that knows no word
                f"'{self.folder}' has no vocabulary of a tokenizer: add tokenizer.json."
            )
        try:
            return AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        except ImportError as error:  # transformers names the first package that it lacks
            package = next((one for one in PACKAGES if one in str(error).casefold()), "tokenizers")
            owner = f"The tokenizer in '{self.folder}'"
            raise missing_package(owner, package, "sentencepiece") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"'{self.folder}' has no tokenizer that transformers reads "
                f"({str(error).splitlines()[0]}): add tokenizer.json."
            ) from error


def load_into(model: torch.nn.Module, folder: Path, auto: str = "AutoModel") -> None:
    """Load a folder's safetensors into a model of the same architecture, strictly.

    Names are mapped by transformers itself; a head in the file that the model has not is left out.
    `auto` is transformers' class for the model's kind.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    import transformers
    from transformers.utils import logging

    talkative = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for a fraction of a second
    try:
        loaded, report = getattr(transformers, auto).from_pretrained(
            folder,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
            trust_remote_code=False,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"The weights in '{folder}' cannot be read ({str(error).splitlines()[0]}): get them "
            f"again."
        ) from error
    finally:
        if talkative:
            logging.enable_progress_bar()
    found = loaded.state_dict()
    lacking = sorted(set(report["missing_keys"]) & set(model.state_dict()))
    if lacking or report["mismatched_keys"]:
        raise WeightsError(
            f"The weights in '{folder}' do not fill the model (missing or of another shape: "
            f"{', '.join([*lacking, *map(str, report['mismatched_keys'])][:3])}): get them again."
        )
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(found[name])


class TextCodec:
    """A transformers tokenizer with padding to the longest text of the batch."""

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        self.tokenizer = tokenizer
        self.context_length = context_length
        ends = (tokenizer.sep_token_id, tokenizer.eos_token_id)
        starts = (tokenizer.cls_token_id, tokenizer.bos_token_id)
        self.end_id = next(int(one) for one in ends if one is not None)
        self.start_id = next((int(one) for one in starts if one is not None), self.end_id)
        pad = tokenizer.pad_token_id
        self.pad_id = self.end_id if pad is None else int(pad)  # GPT-2 has none; masked anyway

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool."""
        rows = self.tokenizer(list(texts), truncation=True, max_length=self.context_length)
        rows = [ids or [self.end_id] for ids in rows["input_ids"]]
        longest = max(len(ids) for ids in rows)
        ids = torch.full((len(rows), longest), self.pad_id)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = True
        return ids, mask

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids without special tokens, not truncated."""
        rows = self.tokenizer(list(texts), add_special_tokens=False)
        return [list(ids) for ids in rows["input_ids"]]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids without special tokens."""
        text: str = self.tokenizer.decode(list(ids))
        return text.strip()

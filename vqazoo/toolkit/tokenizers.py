"""The tokenizer of a folder of transformers. Imports transformers when one is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vqazoo.errors import WeightsError, missing_package
from vqazoo.files.encoder_files import read_json, without_paths

VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model")  # one of them; the last: sentencepiece
WITHOUT = ("ByT5Tokenizer", "CanineTokenizer")  # of bytes, of letters: they have no vocabulary
NAMES_CLASS = "tokenizer_config.json"
PACKAGES = ("sentencepiece", "protobuf")  # of SigLIP's tokenizer


def open_tokenizer(folder: Path, root: Path | None = None) -> Any:
    """The tokenizer object of transformers.

    Args:
        root: the folder that holds the model's folder, where it is one above.

    Raises:
        WeightsError: there is no vocabulary, or transformers cannot read it.
    """
    from transformers import AutoTokenizer

    there = any(True for pattern in VOCABULARIES for _ in folder.glob(pattern))
    if not there and _class_of(folder, root) not in WITHOUT:
        raise WeightsError(  # transformers 5 would make a tokenizer that knows no word
            f"'{folder}' has no vocabulary of a tokenizer: add tokenizer.json."
        )
    given = without_paths(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **given)
        tokenizer.model_max_length = int(tokenizer.model_max_length)
        if tokenizer.model_max_length < 1:
            raise ValueError(f"its model_max_length is {tokenizer.model_max_length}")
        return tokenizer
    except ImportError as error:  # transformers names the first package that it lacks
        package = next((name for name in PACKAGES if name in str(error).casefold()), "tokenizers")
        owner = f"The tokenizer in '{folder}'"
        raise missing_package(owner, package, "sentencepiece") from error
    except Exception as error:  # tokenizers raises nothing narrower for a damaged file
        raise WeightsError(
            f"'{folder}' has no tokenizer that transformers reads "
            f"({(str(error) or type(error).__name__).splitlines()[0]}): add tokenizer.json."
        ) from error


def _class_of(folder: Path, root: Path | None) -> str:
    """The class that the tokenizer's own settings name; empty: they do not."""
    file = folder / NAMES_CLASS
    said = read_json(file, root) if file.is_file() else None
    return str(said.get("tokenizer_class")) if isinstance(said, dict) else ""

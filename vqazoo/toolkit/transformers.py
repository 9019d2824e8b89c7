"""A model's files: a local folder, or a Hub repository fetched into the cache. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.errors import IncompatibleError, VqazooError, WeightsError
from vqazoo.files.encoder_files import check_folder, read_encoder_config
from vqazoo.files.reading import MIB, check_no_pointer, shown
from vqazoo.files.writing import CONFIG
from vqazoo.hub.files import conversion, fetch_folder
from vqazoo.interfaces import FileReference, WeightsReference
from vqazoo.toolkit.allowance import encoder_allowance
from vqazoo.toolkit.assigning import assign, check_layers
from vqazoo.toolkit.read_files import read_files
from vqazoo.toolkit.rows import ids_and_mask
from vqazoo.toolkit.tokenizers import open_tokenizer
from vqazoo.toolkit.weights import INDEX, SINGLE, read_index, read_tensors, stored, weights_digest

# Types whose tensors transformers neither renames nor changes.
AS_NAMED = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta")
SMALL = ["*.json", "*.txt", "*.model"]  # configs, vocabularies
TOKENIZER_FILES = ("tokenizer*.json", "vocab*", "*.model")
# What transformers and sentence-transformers read besides weights, by the tower that needs it.
READ = {
    "model": ("config.json",),
    "image": ("preprocessor_config.json", "processor_config.json"),
    "text": (
        "tokenizer*.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.*",
        "merges.txt",
        "*.model",
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_*_config.json",
        "[0-9]_*/*.json",
        "[0-9]_*/vocab.*",
    ),
}


class Repository:
    """A folder, `repo` or `repo@revision`; small files are fetched first, weights when asked for.

    Args:
        place: one of these.
        inner: the folder inside it that holds the model, with / between folders; empty: itself.

    Raises:
        WeightsError: the files cannot be had.
    """

    def __init__(self, place: str, inner: str = "") -> None:
        self.place = place
        folder = Path(place).expanduser()
        self.is_local = folder.is_dir()
        self.repo, _, revision = (place, "", "") if self.is_local else place.partition("@")
        self._revision = revision or None
        self._inner = inner
        self._root = folder if self.is_local else self._fetch(SMALL)
        check_folder(self.folder, self._root)
        files = (
            file for kind in READ.values() for pattern in kind for file in self.folder.glob(pattern)
        )
        for file in files:
            if file.is_file():
                with file.open("rb") as opened:
                    check_no_pointer(opened.read(MIB), file, WeightsError)

    @property
    def folder(self) -> Path:
        """The model's own folder, with what was fetched so far."""
        return self._root / self._inner

    def _fetch(self, patterns: list[str]) -> Path:
        return fetch_folder(self.repo, self._revision, patterns)

    def _fetch_weights(self, names: Sequence[str]) -> None:
        inside = [f"{self._inner}/{name}" if self._inner else name for name in names]
        self._root = self._fetch([*SMALL, *map(escape, inside)])

    def files(self, towers: frozenset[str], inner: str = "") -> tuple[FileReference, ...]:
        """The small files that these towers are made of, those of a folder inside it too."""
        patterns = [pattern for kind in ("model", *sorted(towers)) for pattern in READ[kind]]
        patterns += [f"{escape(inner)}/{pattern}" for pattern in patterns if inner]
        return read_files(self.folder, patterns, "" if self.is_local else self.repo)

    def weights(self) -> WeightsReference:
        """Fetch the weights and say where they came from."""
        self.fetch_weights()
        return self.reference()

    def fetch_weights(self) -> None:
        """Have the weights in `folder`, and of them only what is the model.

        A repository that has none on this commit is searched for the Hub's own conversion of it.
        """
        if self.is_local:
            check_folder(self.folder)
            return
        self._have_weights()
        check_folder(self.folder)

    def _have_weights(self) -> None:
        self._fetch_weights([SINGLE])
        if (self.folder / SINGLE).is_file():
            return
        if not (self.folder / INDEX).is_file():
            commit = self._root.name
            converted = None if self._inner else conversion(self.repo, commit)
            if converted is None:
                here = f" in '{self._inner}'" if self._inner else ""
                raise WeightsError(
                    f"The Hub repository '{self.repo}' has no {SINGLE} and no {INDEX}{here} at "
                    f"{commit[:12]}, nor a conversion by the Hub's own SFconvertbot, and only "
                    f"safetensors is read: if you trust its pickled weights, run  vqazoo convert "
                    f"{self.repo} --out FOLDER  and name the folder."
                )
            self._revision = converted
            self._fetch_weights([SINGLE])
        if not (self.folder / SINGLE).is_file() and (self.folder / INDEX).is_file():
            self._fetch_weights(list(read_index(self.folder / INDEX)))

    def reference(self) -> WeightsReference:
        """Where the weights came from; reads and hashes them."""
        name, digest = weights_digest(self.folder)
        kind, revision = ("file", "") if self.is_local else ("hub", self._root.name)
        source = str(self.folder.absolute()) if self.is_local else self.repo
        if self._inner and not self.is_local:
            name = f"{self._inner}/{name}"
        return WeightsReference(kind, source, name, revision, digest)

    def fetch_more(self, names: Sequence[str]) -> None:
        """Have further files in `folder`; one that is not there is left to who reads it."""
        if names and not self.is_local:
            self._root = self._fetch([*SMALL, *names])
            check_folder(self.folder)

    @contextmanager
    def building(self) -> Iterator[None]:
        """Around the building of modules from the config, which may ask for anything.

        Raises:
            WeightsError: it asks for far more than the weights in the folder hold (where there are
                none: than the machine has memory for), or its values make no model.
        """
        where = self.folder / CONFIG
        held = None
        with suppress(*(() if self.is_local else (WeightsError,))):  # shards are fetched later
            held = stored(self.folder)
        try:
            with encoder_allowance(where, held):
                yield
        except VqazooError:
            raise
        except Exception as error:  # whatever an odd value leads to in a library
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise WeightsError(
                f"'{where}' describes no model that can be built ({shown(reason)[1:-1]}): get it "
                f"from where the model was published."
            ) from error

    def config(self) -> Any:
        """The config object of transformers."""
        from transformers import AutoConfig

        if (self.folder / CONFIG).is_file():  # else transformers says so
            read_encoder_config(self.folder / CONFIG)
        try:
            return AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
        except Exception as error:  # whatever an odd value leads to in a config class
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
            raise WeightsError(
                f"'{self.folder}' has no {CONFIG} that transformers reads ({reason}): name a "
                f"folder of save_pretrained."
            ) from error

    def config_of(self, encoder: str, model_type: str, example: str) -> Any:
        """The config object, of transformers, of a model that an `encoder` reads.

        Raises:
            IncompatibleError: it is of another `model_type`; the message names an example.
        """
        config = self.config()
        if config.model_type != model_type:
            raise IncompatibleError(
                f"'{self.place}' is a '{config.model_type}' model, but {encoder} takes "
                f"{model_type}, such as {example}."
            )
        return config

    def tokenizer(self) -> Any:
        """The tokenizer object of transformers."""
        return open_tokenizer(self.folder, self._root)


def load_into(model: torch.nn.Module, folder: Path, auto: str = "AutoModel") -> None:
    """Load a folder's safetensors into a model of the same architecture, strictly.

    Names are mapped by transformers itself, which opens no file; a head in the file that the model
    has not is left out. A file with the model's own names, of a type in `AS_NAMED`, goes in without
    it: it would first make the rules of all its types, an eighth of a second.

    Args:
        auto: transformers' class of the model, or the one that finds it.

    Raises:
        WeightsError: a tensor is missing or has another shape, or the file has more layers.
    """
    import transformers

    given = read_tensors(folder)
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    quantised = getattr(config, "quantization_config", None) is not None
    if config.model_type in AS_NAMED and not quantised and is_named_alike(model, given):
        check_layers(given.keys() - model.state_dict().keys(), model.state_dict(), folder)
        assign(model, given)
        return
    kind = getattr(transformers, auto)  # a class that chooses one, or the one itself
    if hasattr(kind, "from_config") and isinstance(model, transformers.PreTrainedModel):
        kind = type(model)  # as it chose
    elif hasattr(kind, "from_config"):
        with torch.device("meta"):  # for its class alone
            kind = type(kind.from_config(config))
    loaded, report = load_tensors(kind, config, given, folder, dtype=torch.float32)
    loaded_state = loaded.state_dict()
    lacking = sorted(set(report["missing_keys"]) & set(model.state_dict()))
    if lacking or report["mismatched_keys"]:
        raise WeightsError(
            f"The weights in '{folder}' do not fill the model (missing or of another shape: "
            f"{', '.join([*lacking, *map(str, report['mismatched_keys'])][:3])}): get them again."
        )
    check_layers(report["unexpected_keys"], loaded_state, folder)
    assign(model, loaded_state)


def is_named_alike(model: torch.nn.Module, given: Mapping[str, Tensor]) -> bool:
    """Whether tensors are there for all of a model, with its names, shapes and single precision."""
    return all(
        name in given and given[name].shape == own.shape and given[name].dtype is own.dtype
        for name, own in model.state_dict().items()
    )


def load_tensors(
    kind: Any, config: Any, given: dict[str, Tensor], folder: Path, **asked: Any
) -> tuple[Any, dict[str, Any]]:
    """A model of a transformers class with these tensors, and transformers' report.

    transformers opens no file of weights.

    Args:
        folder: for messages.
        asked: further arguments of `from_pretrained`.

    Raises:
        WeightsError: transformers cannot put them in.
    """
    from transformers.utils import logging

    talkative = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for a fraction of a second
    try:
        loaded, report = kind.from_pretrained(
            None, config=config, state_dict=given, output_loading_info=True, **asked
        )
    except ImportError as error:  # of the packages that read one kind of quantised weights each
        raise WeightsError(
            f"The weights in '{folder}' need a package that is not here ({_first_line(error)}): "
            f"install it, or use weights that are not quantised."
        ) from error
    except Exception as error:  # whatever odd settings of quantisation lead to in transformers
        raise WeightsError(
            f"The weights in '{folder}' cannot be read ({_first_line(error)}): get them again."
        ) from error
    finally:
        if talkative:
            logging.enable_progress_bar()
    return loaded, report


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


class TextCodec:
    """A transformers tokenizer with padding to the longest text of the batch."""

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        self.tokenizer = tokenizer
        self.context_length = context_length
        ends = (tokenizer.sep_token_id, tokenizer.eos_token_id)
        starts = (tokenizer.cls_token_id, tokenizer.bos_token_id)
        end = next((token_id for token_id in ends if token_id is not None), None)
        if end is None:
            raise WeightsError(
                "The tokenizer has no token that ends a text (sep_token or eos_token): get its "
                "files from where the model was published."
            )
        self.end_id = int(end)
        self.start_id = next(
            (int(token_id) for token_id in starts if token_id is not None), self.end_id
        )
        pad = tokenizer.pad_token_id
        self.pad_id = self.end_id if pad is None else int(pad)  # GPT-2 has none; masked anyway

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool."""
        rows = self.tokenizer(list(texts), truncation=True, max_length=self.context_length)
        rows = [ids or [self.end_id] for ids in rows["input_ids"]]
        return ids_and_mask(rows, self.pad_id)

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids without special tokens, not truncated."""
        rows = self.tokenizer(list(texts), add_special_tokens=False)
        return [list(ids) for ids in rows["input_ids"]]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids without special tokens."""
        text: str = self.tokenizer.decode(list(ids))
        return text.strip()


def read_tokenizer(repository: Repository) -> Any:
    """The tokenizer beside a language model, which is of no use without.

    Raises:
        WeightsError: there is none; transformers would make one without words.
    """
    folder = repository.folder
    if not any(file for pattern in TOKENIZER_FILES for file in folder.glob(pattern)):
        raise WeightsError(
            f"The language model in '{folder}' has no tokenizer: add tokenizer.json and "
            f"tokenizer_config.json from where the model was published."
        )
    return repository.tokenizer()

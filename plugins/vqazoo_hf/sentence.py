"""What modules.json of a sentence-transformers folder does after its transformer. Imports torch.

Source: Reimers & Gurevych 2019, Sentence-BERT, section 3; the files are those that the library
sentence-transformers writes, in its forms before and since 5.4.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from torch import nn

from vqazoo.errors import CheckpointError, IncompatibleError, WeightsError
from vqazoo.files.reading import memory, read_plain, shown
from vqazoo.files.tensors_header import check_tensors_header
from vqazoo_hf.sentence_steps import (
    MODULES,
    SENTENCE,
    SETTINGS,
    TOKENS,
    Dense,
    Norm,
    Normalize,
    Pooling,
    SentenceFolder,
    read_modes,
    read_step,
    unbuilt,
)

POOLING = "1_Pooling/config.json"
TRANSFORMER = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
WEIGHTS = "model.safetensors"
LIBRARY = "sentence_transformers."
OUTPUT = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
# of a transformer: what `encode` reads only where a task is named, or for speed alone
UNREAD = ("query_length", "document_length", "query_expansion", "unpad_inputs")
PASSED_ON = {  # to transformers when its parts are loaded, by the old names and the new
    "model_args": "model_kwargs",
    "tokenizer_args": "processor_kwargs",
    "config_args": "config_kwargs",
}
HARMLESS = ("trust_remote_code", "revision", "attn_implementation", "torch_dtype", "dtype")


@dataclass(frozen=True)
class Modules:
    """What a folder says, in order.

    Attributes:
        place: of the transformer, relative to the folder; empty: the folder itself.
        steps: what follows the transformer; weights are random until `load_weights`.
        places: of each step, relative to the folder.
        pooling: modes of the pooling, joined in their order.
        dim: of what `encode` gives.
        normalized: whether that has L2 norm 1.
        max_length: longest text in tokens; None: as the tokenizer and the model say.
        lower: whether texts are lower-cased before the tokenizer normalises them.
        prompt: what is put before each text.
        truncate: how many values of the result are kept; None: all.
        described: the settings as text, for a digest.
    """

    place: str
    steps: tuple[nn.Module, ...]
    places: tuple[str, ...]
    pooling: tuple[str, ...]
    dim: int
    normalized: bool
    max_length: int | None = None
    lower: bool = False
    prompt: str = ""
    truncate: int | None = None
    described: str = ""

    def weight_files(self) -> list[str]:
        """Files of the steps that have weights, relative to the folder."""
        steps = zip(self.places, self.steps, strict=True)
        return [f"{place}/{WEIGHTS}" for place, step in steps if step.state_dict()]


def read_modules(path: Path, width: int) -> Modules | None:
    """What the modules of a folder do; None where it has no modules.json.

    Args:
        path: the folder.
        width: D of the states of its transformer.

    Raises:
        IncompatibleError: a module or a setting that is not built here, by its name.
        WeightsError: a file is damaged or missing.
    """
    folder = SentenceFolder(path)
    if not (path / MODULES).is_file():
        return None
    first, *others = _listed(folder)
    if first[0] != "Transformer":
        raise unbuilt(path, first[0])
    transformer = _transformer(folder, first[1])
    dims = {TOKENS: width}
    pooling: tuple[str, ...] = ()
    steps, places = [], []
    normalized = False
    for kind, place in others:
        step = read_step(folder, kind, place, dims)
        if isinstance(step, Pooling):
            pooling, normalized = step.modes, False
        elif isinstance(step, (Dense, Norm)):
            normalized = normalized and isinstance(step, Dense) and step.written != SENTENCE
        elif isinstance(step, Normalize):
            normalized = normalized or step.written == SENTENCE
        if step is not None:
            steps.append(step)
            places.append(place)
    if SENTENCE not in dims:
        raise IncompatibleError(
            f"'{path / MODULES}' has no Pooling, so it gives no vector of a text: set "
            f"text_encoder.args.pooling, for instance to mean."
        )
    prompt, truncate = _settings(folder)
    dim = min(dims[SENTENCE], truncate or dims[SENTENCE])
    normalized = normalized and dim == dims[SENTENCE]
    described = json.dumps(folder.said, sort_keys=True)
    return Modules(
        first[1],
        tuple(steps),
        tuple(places),
        pooling,
        dim,
        normalized,
        *transformer,
        prompt,
        truncate,
        described,
    )


def read_pooling(path: Path) -> tuple[str, ...]:
    """Modes of 1_Pooling/config.json, which a folder may have without modules.json; else none."""
    folder = SentenceFolder(path)
    if not (path / POOLING).is_file():
        return ()
    return read_modes(folder, POOLING, folder.table(POOLING))


def transformer_place(path: Path) -> str:
    """Where modules.json says that the transformer is, relative to the folder; empty: there."""
    return _listed(SentenceFolder(path))[0][1] if (path / MODULES).is_file() else ""


def load_weights(modules: Modules, path: Path) -> str:
    """Fill the steps from their files, strictly; the SHA-256 of settings and files.

    Raises:
        WeightsError: a file is missing or damaged, or a tensor missing, left over or misshapen.
    """
    state = hashlib.sha256(modules.described.encode())
    for place, step in zip(modules.places, modules.steps, strict=True):
        wanted = step.state_dict()
        if not wanted:
            continue
        file = path / place / WEIGHTS
        try:
            content = read_plain(file, memory(), path)
            check_tensors_header(content, file)
            tensors = safetensors_load(content)
        except (CheckpointError, ValueError, RuntimeError, SafetensorError) as error:
            raise WeightsError(
                f"'{file}' cannot be read ({error}): only safetensors is read; get the file from "
                f"where the model was published, or save the model anew."
            ) from error
        unfit = sorted(wanted.keys() ^ tensors.keys())
        unfit += [n for n, t in tensors.items() if n in wanted and wanted[n].shape != t.shape]
        if unfit:
            raise WeightsError(
                f"'{file}' does not fill the {type(step).__name__} that its config.json describes "
                f"(missing, left over or of another shape: {', '.join(unfit[:3])}): get both again."
            )
        with torch.no_grad():
            for name, tensor in wanted.items():
                tensor.copy_(tensors[name])
        state.update(hashlib.sha256(content).digest())
    return state.hexdigest()


def _listed(folder: SentenceFolder) -> list[tuple[str, str]]:
    """Kind and place of each module of modules.json."""
    listed = folder.json(MODULES)
    modules = []
    try:
        for number, entry in enumerate(listed):
            kind, place = entry["type"], entry["path"]
            inside = PurePosixPath(place)
            if inside.is_absolute() or ".." in inside.parts or "\\" in place or ":" in place:
                raise ValueError(f"the path {shown(place)} leads out of the folder")
            if not kind.startswith(LIBRARY):
                raise unbuilt(folder.path, kind)
            if entry.get("kwargs"):
                raise IncompatibleError(
                    f"'{folder.path / MODULES}' passes {shown(entry['kwargs'])} to its module "
                    f"{number}, which is not understood here: set text_encoder.args.pooling."
                )
            modules.append((kind.rpartition(".")[2], "" if place in ("", ".") else place))
        if not modules:
            raise ValueError("it names no module")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"'{folder.path / MODULES}' is not a list of modules ({error}): get it from where the "
            f"model was published."
        ) from error
    return modules


def _transformer(folder: SentenceFolder, place: str) -> tuple[int | None, bool]:
    """Longest text and whether texts are lower-cased."""
    prefix = f"{place}/" if place else ""
    name = next((n for n in TRANSFORMER if (folder.path / prefix / n).is_file()), TRANSFORMER[0])
    name = prefix + name
    said = folder.table(name)
    task = said.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise folder.wrong(name, "transformer_task", task, "feature-extraction")
    modality = said.get("modality_config", OUTPUT)
    if modality != OUTPUT:
        raise folder.wrong(name, "modality_config", modality, f"{OUTPUT}")
    if said.get("module_output_name", TOKENS) != TOKENS:
        raise folder.wrong(name, "module_output_name", said["module_output_name"], TOKENS)
    longest = said.get("max_seq_length")
    for old, new in PASSED_ON.items():
        for key in (old, new):
            passed = dict(said.get(key) or {})
            if new == "processor_kwargs":
                longest = passed.pop("model_max_length", longest)
            folder.only(f"{name} ({key})", passed, HARMLESS)
    if said.get("processing_kwargs"):
        raise folder.wrong(name, "processing_kwargs", said["processing_kwargs"], "none")
    if said.get("tokenizer_name_or_path"):
        raise folder.wrong(name, "tokenizer_name_or_path", said["tokenizer_name_or_path"], "none")
    known = (
        "max_seq_length",
        "do_lower_case",
        "transformer_task",
        "modality_config",
        "module_output_name",
        "processing_kwargs",
        "tokenizer_name_or_path",
        *UNREAD,
        *PASSED_ON,
        *PASSED_ON.values(),
    )
    folder.only(name, said, known)
    if longest is not None and (type(longest) is not int or longest < 1):
        raise folder.wrong(name, "max_seq_length", longest, "a number of tokens")
    lower = said.get("do_lower_case", False)
    if not isinstance(lower, bool):
        raise folder.wrong(name, "do_lower_case", lower, "true or false")
    return longest, lower


def _settings(folder: SentenceFolder) -> tuple[str, int | None]:
    """The prompt before each text, and how many values of the vector are kept."""
    said = folder.table(SETTINGS)
    folder.only(
        SETTINGS,
        said,
        (
            "__version__",
            "prompts",
            "default_prompt_name",
            "similarity_fn_name",
            "truncate_dim",
            "model_type",
            "requirements",
        ),
    )
    if (kind := said.get("model_type", "SentenceTransformer")) != "SentenceTransformer":
        raise folder.wrong(SETTINGS, "model_type", kind, "SentenceTransformer")
    truncate = said.get("truncate_dim")
    if truncate is not None and (type(truncate) is not int or truncate < 1):
        raise folder.wrong(SETTINGS, "truncate_dim", truncate, "a number of values")
    name = said.get("default_prompt_name")
    prompts = {"query": "", "document": "", **(said.get("prompts") or {})}
    if name is None:
        return "", truncate
    if not isinstance(prompts.get(name), str):
        raise folder.wrong(SETTINGS, "default_prompt_name", name, f"one of {', '.join(prompts)}")
    return prompts[name], truncate

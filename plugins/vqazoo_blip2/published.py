"""Published BLIP-2 models, put into our parts. Imports torch, and transformers when one is read.

The image tower and the language model of our model are transformers' own modules, loaded by
transformers once, in the asked precision, quantised or spread over devices; the Q-Former and the
projection, which are ours, take over its tensors. Nothing is held twice.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vqazoo.checkpoint.published import build_like
from vqazoo.config import Block, ModelConfig, fill_block
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError, ConfigError, WeightsError, missing_package
from vqazoo.files.reading import shown
from vqazoo.files.writing import cache_home
from vqazoo.interfaces import LoadOptions
from vqazoo.model import VQAModel
from vqazoo.toolkit.generation import DEFAULTS, warn_of_unread
from vqazoo.toolkit.published import (
    TensorRules,
    attention_rules,
    check_architecture,
    check_fixed,
    match_tensors,
    read_weights,
)
from vqazoo.toolkit.transformers import Repository, load_tensors, read_tokenizer

ARCHITECTURE = "Blip2ForConditionalGeneration"
EXAMPLES = ("Salesforce/blip2-opt-2.7b", "Salesforce/blip2-flan-t5-xl")
FIXED = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "use_qformer_text_input": False}
PROMPTS = {False: "Question: {} Answer:", True: "Question: {} Short answer:"}  # encoder-decoder?
BITS = {"8bit": "load_in_8bit", "4bit": "load_in_4bit"}
WHOLE = ["vision_model", "qformer", "language_projection", "lm_head"]  # never quantised
LAYER = r"qformer\.encoder\.layer\.(\d+)\."
RULES: TensorRules = [
    (r"query_tokens", r"qformer.queries"),
    (r"qformer\.layernorm\.(.+)", r"qformer.norm.\1"),
    *attention_rules("qformer", "qformer", "attention"),
    (LAYER + r"intermediate_query\.dense\.(.+)", r"qformer.layers.\1.query_part.inner.\2"),
    (LAYER + r"output_query\.dense\.(.+)", r"qformer.layers.\1.query_part.outer.\2"),
    (LAYER + r"output_query\.LayerNorm\.(.+)", r"qformer.layers.\1.query_part.norm.\2"),
    (r"language_projection\.(.+)", r"project.\1"),
]
TOWERS = ("vision_model.", "language_model.")  # taken over as modules


def read(place: str, config: Mapping[str, Any], options: LoadOptions) -> VQAModel:
    """The model in eval mode: `hf-blip2`, `hf-lm`, fusion `q-former`, head `lm-generate`.

    In float16 the Q-Former stays in float32, as in transformers; `quantize` changes the language
    model alone.

    Args:
        place: a folder, or `repo@commit`.
        config: the content of its config.json.
        options: how it is put into memory.

    Raises:
        CheckpointError: it is no BLIP-2 that writes, or its tensors do not fit.
        ConfigError: `device_map` leaves the Q-Former on the disk. WeightsError: files or packages
            are missing, or a file is damaged.
    """
    other = "a BLIP-2 model for another task"
    check_architecture(place, other, config, [ARCHITECTURE], EXAMPLES[0])
    check_fixed(place, "BLIP-2", config, "qformer_config", FIXED, EXAMPLES[0])
    asked = _asked(options)
    repository = Repository(place)
    filled = repository.config()
    tokenizer = read_tokenizer(repository)
    parts = _parts(place, filled, _end(place, filled.text_config.eos_token_id, tokenizer))
    warn_of_unread(repository.folder, place)
    tensors, reference = read_weights(repository)
    with torch.device("meta"):  # shapes alone: the modules come from the published model
        model = build_like(parts, AnswerList((), ()), tensors, repository.folder)
    published = _load(filled, tensors, repository.folder, place, asked)
    image, text = cast(Any, model.image_encoder), cast(Any, model.text_encoder)
    image.model = published.vision_model
    text.language_model.model = published.language_model
    for encoder in (image, text):
        encoder.reference = reference.result()
    _fill_fusion(model.fusion, published, place)
    model.set_trainable(())
    return model.eval()


def _parts(place: str, filled: Any, end: str) -> ModelConfig:
    former = filled.qformer_config
    fusion = {
        "queries": filled.num_query_tokens,
        "layers": former.num_hidden_layers,
        "heads": former.num_attention_heads,
        "dim": former.hidden_size,
        "hidden_dim": former.intermediate_size,
        "cross_frequency": former.cross_attention_frequency,
        "dropout": float(former.hidden_dropout_prob),
        "reads_question": False,
    }
    prompt = PROMPTS[bool(filled.text_config.is_encoder_decoder)]
    return ModelConfig(
        fill_block("encoder", Block(f"hf-blip2:{place}")),
        fill_block("encoder", Block(f"hf-lm:{place}", {"prompt": prompt, "end": end})),
        fill_block("fusion", Block("q-former", fusion)),
        fill_block("head", Block("lm-generate")),
        dict(DEFAULTS),
    )


def _asked(options: LoadOptions) -> dict[str, Any]:
    """The options as transformers takes them.

    Raises:
        ConfigError: `quantize` is not understood. WeightsError: a package is missing.
    """
    import transformers

    asked: dict[str, Any] = {"dtype": getattr(torch, options.dtype)}
    if options.device_map is not None:
        _need("device_map", "accelerate")
        asked["device_map"] = options.device_map
    if options.quantize:
        if options.quantize not in BITS:
            raise ConfigError(
                f"quantize is {options.quantize!r}, but it must be one of {', '.join(BITS)}."
            )
        _need("quantize", "accelerate", "bitsandbytes")
        asked["quantization_config"] = transformers.BitsAndBytesConfig(
            **{BITS[options.quantize]: True},
            llm_int8_skip_modules=WHOLE,
            bnb_4bit_compute_dtype=asked["dtype"],
        )
    return asked


def _load(
    config: Any, tensors: dict[str, Tensor], folder: Path, place: str, asked: Mapping[str, Any]
) -> Any:
    """The model of transformers with these tensors, every one of them used.

    Raises:
        CheckpointError: tensors are left over, missing, or of another shape.
        WeightsError: transformers cannot put them in.
    """
    import transformers

    kind = transformers.Blip2ForConditionalGeneration
    asked = {**asked, "ignore_mismatched_sizes": True}  # told below, in words
    if "device_map" not in asked:
        model, report = load_tensors(kind, config, tensors, folder, **asked)
        _check_report(report, place)
        return model.eval()
    # Layers that a device map leaves on the disk are read again and again, from a copy of their
    # tensors: from the files, transformers would choose which. A tied weight on the disk is looked
    # for under each of its names.
    with torch.device("meta"):
        tied = kind(config).all_tied_weights_keys
    names = {
        name: other for name, other in tied.items() if name not in tensors and other in tensors
    }
    tensors = {**tensors, **{name: tensors[other] for name, other in names.items()}}
    with _offload_folder(place) as copies:
        asked["offload_folder"] = str(copies)
        model, report = load_tensors(kind, config, tensors, folder, **asked)
        _check_report(report, place)
        # The parts outlive the whole, see `read`.
        weakref.finalize(model.language_model, shutil.rmtree, copies, ignore_errors=True)
    return model.eval()


@contextmanager
def _offload_folder(place: str) -> Iterator[Path]:
    """An empty folder in the cache for layers on the disk, which goes if the block fails.

    Raises:
        WeightsError: it cannot be made.
    """
    home = cache_home() / "offload"
    try:
        home.mkdir(parents=True, exist_ok=True)
        copies = Path(tempfile.mkdtemp(dir=home))
    except OSError as error:
        raise WeightsError(
            f"No folder for the layers of '{place}' that device_map leaves on the disk can be made "
            f"in '{home}' ({error}): set VQAZOO_CACHE to a folder with room."
        ) from error
    try:
        yield copies
    except BaseException:  # it is raised again
        shutil.rmtree(copies, ignore_errors=True)
        raise


def _need(option: str, *packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing_package(f"The option {option}", package, "quantize")


def _check_report(report: Mapping[str, Any], place: str) -> None:
    misshapen = sorted(
        f"{name} is {tuple(stored)} in the file, but {tuple(wanted)} by config.json"
        for name, stored, wanted in report["mismatched_keys"]
    )
    if misshapen:
        raise CheckpointError(
            f"The parts of '{place}' do not fit each other: {misshapen[0]}"
            f"{f', and {len(misshapen) - 1} more' if len(misshapen) > 1 else ''}; the hidden sizes "
            f"of Q-Former and language model differ from the weights': get config.json and weights "
            f"from one revision."
        )
    for kind, keys in (("missing", "missing_keys"), ("left over", "unexpected_keys")):
        names = sorted(report[keys])
        if names:
            raise CheckpointError(
                f"The tensors of '{place}' do not fit the parts its config asks for ({len(names)} "
                f"{kind}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}): it is of "
                f"another family or version; get the files again."
            )


def _end(place: str, said: Any, tokenizer: Any) -> str:
    """Text of the token that ends an answer, `said` by the language model's own config.

    Raises:
        CheckpointError: there is not one such token, or no text gives it.
    """
    token = said[0] if isinstance(said, list) and len(said) == 1 else said
    if not isinstance(token, int):
        raise CheckpointError(
            f"'{place}': text_config.eos_token_id is {shown(said)}, but one number was expected: "
            f"get config.json again."
        )
    if token == tokenizer.eos_token_id:
        return ""
    text: str = tokenizer.decode([token])
    if tokenizer(text, add_special_tokens=False)["input_ids"] != [token]:
        raise CheckpointError(
            f"'{place}': text_config.eos_token_id is {token}, which the tokenizer does not know as "
            f"one token: get tokenizer and config.json from one revision."
        )
    return text


def _fill_fusion(fusion: nn.Module, published: Any, place: str) -> None:
    """Give the fusion the Q-Former's tensors, in their precision and on their devices.

    Raises:
        ConfigError: some are on no device; CheckpointError: they do not fit.
    """
    tensors = {
        name: tensor
        for name, tensor in published.state_dict().items()
        if not name.startswith(TOWERS)
    }
    away = [name for name, tensor in tensors.items() if tensor.is_meta]
    if away:
        raise ConfigError(
            f"device_map leaves {away[0]} of '{place}' outside of every device: give one that puts "
            f"query_tokens, qformer and language_projection on a device."
        )
    matched = match_tensors(fusion.state_dict(), tensors, RULES, (), place)
    fusion.load_state_dict(matched, assign=True)

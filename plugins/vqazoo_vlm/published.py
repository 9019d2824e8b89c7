"""Published vision-language models of transformers, loaded as they are. Imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from vqazoo.amounts import in_bytes
from vqazoo.config import Block, ModelConfig
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError, VqazooError, VqazooWarning, WeightsError
from vqazoo.files.free_space import memory_free
from vqazoo.files.reading import shown
from vqazoo.files.tensors_header import read_tensors_header
from vqazoo.interfaces import LoadOptions
from vqazoo.model import VQAModel
from vqazoo.own_parts import block_of
from vqazoo.toolkit.assigning import check_layers
from vqazoo.toolkit.published import check_architecture, check_small, read_weights
from vqazoo.toolkit.transformers import Repository, load_tensors
from vqazoo_vlm.manifest import PROMPT, SHORT, VLM_FAMILY, WRITER
from vqazoo_vlm.parts import SideBySide, VLMEncoder, VLMHead
from vqazoo_vlm.prompting import Prompting

LARGE = 3_500_000_000  # parameters; more are loaded with a warning
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
TEMPLATES = ["chat_template.jinja", "*.jinja"]
EXAMPLE = VLM_FAMILY.examples[0]


def read(place: str, config: Mapping[str, Any], options: LoadOptions) -> VQAModel:
    """The model in eval mode, as transformers' own class with its own processor.

    Args:
        place: a folder, or `repo@commit`.
        config: the content of its config.json.
        options: of these, only `dtype`.

    Raises:
        CheckpointError: it needs code of its own, is of another architecture, or has no prompt.
        WeightsError: files are missing or damaged, or memory is too small.
        ConfigError: an option that it does not take.
    """
    check_small(place, "vision-language", options)
    model_type = str(config["model_type"])
    if "auto_map" in config:
        raise CheckpointError(
            f"'{place}' brings Python code of its own (auto_map in config.json), which is never "
            f"run: load a repository of the same model for transformers' own classes, such as "
            f"hub:{EXAMPLE} or hub:florence-community/Florence-2-base-ft."
        )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
    )

    if model_type not in KNOWN:
        raise CheckpointError(
            f"'{place}' is a {shown(model_type)} model, which the installed transformers does not "
            f"have: install a newer transformers, or load for instance hub:{EXAMPLE}."
        )
    kind = check_architecture(
        place, f"a {model_type} model for another task", config, [KNOWN[model_type]], EXAMPLE
    )
    repository = Repository(place)
    repository.fetch_more(TEMPLATES)
    filled = repository.config()
    prompting = Prompting(_processor(repository), model_type, bool(filled.is_encoder_decoder))
    _check_prompt(prompting, place)
    repository.fetch_weights()
    _check_size(repository.folder, place, options.dtype)
    model, reference = _model(repository, kind, filled, options.dtype)
    encoder = VLMEncoder(model, prompting)
    encoder.reference = reference
    fusion, head = SideBySide(), VLMHead(encoder)
    towers = Block(block_of(encoder).type)
    parts = ModelConfig(towers, towers, block_of(fusion), block_of(head))
    nothing = AnswerList((), ())
    modules = nn.ModuleDict({"both": encoder})
    return VQAModel(parts, modules, fusion, head, nothing, PROMPT, WRITER).eval()


def _processor(repository: Repository) -> Any:
    from transformers import AutoProcessor

    where = repository.folder
    repository.tokenizer()  # which says what is wrong with its files
    try:
        return AutoProcessor.from_pretrained(where, trust_remote_code=False, local_files_only=True)
    except ImportError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise WeightsError(
            f"The processor in '{where}' needs a package that is not installed ({reason}): install "
            f"it with pip, such as num2words for SmolVLM."
        ) from error
    except Exception as error:  # whatever an odd value leads to in a processor
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise WeightsError(
            f"'{where}' has no processor that transformers reads ({reason}): get "
            f"processor_config.json or preprocessor_config.json from where the model was published."
        ) from error


def _check_prompt(prompting: Prompting, place: str) -> None:
    """Ask once about a blank picture, before anything large is read.

    Raises:
        CheckpointError: there is no chat template, or it makes no prompt.
    """
    if not prompting.asks:
        raise CheckpointError(
            f"'{place}' has no chat template, so that nothing says how it is asked: use a version "
            f"that was tuned to follow instructions (its name often ends with -Instruct)."
        )
    try:
        prompting.inputs([Image.new("RGB", (64, 64))], ["What is it?"], SHORT)
    except VqazooError:
        raise
    except Exception as error:  # whatever a template or a processor makes of it
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"The processor of '{place}' makes no prompt of a picture and a question ({reason}): "
            f"get processor and chat template from one revision."
        ) from error


def _check_size(folder: Path, place: str, dtype: str) -> None:
    """From the headers of the files: warn of a large model, refuse what memory cannot hold.

    Raises:
        WeightsError: it needs more memory than is free.
    """
    count = 0
    for file in sorted(folder.glob("*.safetensors")):
        header = read_tensors_header(file)
        for name, entry in header.items():
            if name != "__metadata__":
                count += torch.Size(entry["shape"]).numel()
    needed = count * BYTES[dtype]
    less = "" if BYTES[dtype] == 2 else ", or load it with dtype=bfloat16, which needs half"
    if needed > (free := memory_free(torch.device("cpu"))):
        raise WeightsError(
            f"'{place}' has {count:,} parameters, which need {in_bytes(needed)} of memory as "
            f"{dtype}, but {in_bytes(free)} are free: use a smaller model{less}."
        )
    if count > LARGE:
        warnings.warn(
            f"'{place}' has {count:,} parameters and needs {in_bytes(needed)} of memory as "
            f"{dtype}, while this family is made for about 3 billion{less}.",
            VqazooWarning,
            stacklevel=4,
        )


def _model(repository: Repository, kind: str, config: Any, dtype: str) -> tuple[Any, Any]:
    """The model of transformers with the tensors of the files, and where they came from.

    Raises:
        CheckpointError: tensors are missing or of another shape, or nothing says where answers end.
        WeightsError: the files have more layers than the config counts.
    """
    import transformers

    tensors, reference = read_weights(repository)
    folder = repository.folder
    built = getattr(transformers, kind)
    model, report = load_tensors(built, config, tensors, folder, dtype=getattr(torch, dtype))
    for what in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, report[what])):
            raise CheckpointError(
                f"The tensors in '{folder}' do not fill a {kind} ({what.split('_')[0]}: "
                f"{', '.join(names[:3])}): get config.json and weights from one revision."
            )
    check_layers(report["unexpected_keys"], model.state_dict(), folder)
    if (folder / "generation_config.json").is_file():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    if model.generation_config.eos_token_id is None:
        raise CheckpointError(
            f"Nothing in '{folder}' says which token ends an answer (eos_token_id in "
            f"generation_config.json): get that file from where the model was published."
        )
    return model.eval(), reference.result()

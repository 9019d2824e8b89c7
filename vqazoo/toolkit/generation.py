"""How transformers' generate decodes a published checkpoint, as decode options of our heads.

Only GIT's generate reads generation_config.json, or without one the generation settings of
config.json. BLIP and BLIP-2 hand writing to a model inside, which transformers gives neither
(checked with 5.10 and 5.24): their generate uses its own defaults, whatever the files say.
"""

from __future__ import annotations

import inspect
import json
import warnings
from pathlib import Path
from typing import Any

from vqazoo.errors import CheckpointError, VqazooWarning
from vqazoo.files.reading import MIB, check_no_pointer, parse_json, read_plain, shown
from vqazoo.files.writing import CONFIG

GENERATION = "generation_config.json"
FORMER_CACHE = "past_key_values"
DEFAULTS = {"length_penalty": 1.0, "temperature": 1.0, "top_p": 1.0, "sample_k": 50}
LONGEST = 20  # new tokens, where no file says another number
# Settings that change no token: memory, speed, and what else is returned.
WITHOUT_EFFECT = frozenset(
    """
    use_cache cache_implementation cache_config max_cache_len output_attentions output_scores
    output_hidden_states output_logits return_dict_in_generate pad_token_id decoder_start_token_id
    compile_config disable_compile prefill_chunk_size is_assistant num_assistant_tokens
    num_assistant_tokens_schedule assistant_confidence_threshold assistant_lookbehind
    target_lookbehind max_matching_ngram_size transformers_version _from_model_config _commit_hash
    """.split()  # noqa: SIM905
)
# Settings that our heads take under the same name, and their neutral values.
SAME = {
    "length_penalty": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "bad_words_ids": [],
    "suppress_tokens": [],
    "begin_suppress_tokens": [],
    "forced_bos_token_id": -1,
    "top_p": 1.0,
    "temperature": 1.0,
}
READ = {
    *SAME,
    "num_beams",
    "do_sample",
    "top_k",
    "early_stopping",
    "max_length",
    "max_new_tokens",
    "min_length",
    "min_new_tokens",
    "eos_token_id",
    "bos_token_id",
    "forced_eos_token_id",
}
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "num_return_sequences": (1,),
    "num_beam_groups": (1,),
    "diversity_penalty": (0.0,),
    "penalty_alpha": (0.0,),
    "encoder_repetition_penalty": (1.0,),
    "guidance_scale": (1.0,),
    "encoder_no_repeat_ngram_size": (0,),
    "renormalize_logits": (False,),
    "remove_invalid_values": (False,),
    "token_healing": (False,),
    "low_memory": (False,),
    "use_mtp": (False,),
}
# Neutral unless tokens are drawn.
DRAWN: dict[str, tuple[Any, ...]] = {
    "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "min_p": (),
    "top_h": (),
}


def decode_options(folder: Path, place: str, start: int, end: int) -> dict[str, Any]:
    """The decode options with which `GITDecoder` writes what transformers' generate does.

    Args:
        place: as the user named the folder; start, end: of the tokenizer's texts.

    Raises:
        CheckpointError: a setting is not understood, or cannot be honoured.
    """
    file, said = _read(folder, place)
    for name, value in said.items():
        if name in READ or name in WITHOUT_EFFECT or value in NEUTRAL.get(name, ()):
            continue
        if name in DRAWN and (not said.get("do_sample") or value in DRAWN[name]):
            continue
        raise CheckpointError(
            f"'{place}' is decoded with {shown(name)[1:-1]} = {shown(value)} ({file}), which "
            f"vqazoo does not do: take the setting out of {file}, and give other decode options "
            f"to model.answer."
        )
    wrong = [name for name in OPTION_KINDS if name in said and not OPTION_KINDS[name](said[name])]
    if wrong:
        raise CheckpointError(
            f"'{place}': {wrong[0]} in {file} is {shown(said[wrong[0]])}, which is of another kind "
            f"than transformers takes: correct it, or get the file again."
        )
    options = {**DEFAULTS, **{name: said[name] for name in SAME if name in said}}
    options["sample_k"] = said.get("top_k", DEFAULTS["sample_k"])
    beams, drawn = said.get("num_beams", 1), said.get("do_sample", False)
    if beams > 1 and drawn:
        raise CheckpointError(
            f"'{place}' is decoded with both num_beams = {beams} and do_sample ({file}), which "
            f"vqazoo does not do: take one of them out of {file}."
        )
    if beams > 1:
        options |= {"strategy": "beam", "beam_size": beams}
    elif drawn:
        options["strategy"] = "nucleus"
    if "early_stopping" in said:
        options["early_stopping"] = str(said["early_stopping"]).lower()
    options |= _lengths(said) | _ends(place, file, said, start, end)
    neutral = {**SAME, "early_stopping": "false", "min_length": 0, "min_tokens": 0}
    return {
        name: float(value) if isinstance(DEFAULTS.get(name), float) else value
        for name, value in options.items()
        if name in DEFAULTS or value != neutral.get(name)
    }


def warn_of_unread(folder: Path, place: str) -> None:
    """Warn of settings that transformers' generate does not hand on to the model inside."""
    if not (folder / GENERATION).is_file():
        return
    _, said = _read(folder, place)
    neutral = {
        **SAME,
        **DEFAULTS,
        "num_beams": 1,
        "do_sample": False,
        "top_k": 50,
        "early_stopping": False,
        "max_length": LONGEST,
        "min_length": 0,
    }
    ignored = [
        f"{name} = {value}"
        for name, value in said.items()
        if name not in WITHOUT_EFFECT
        and not name.endswith("os_token_id")
        and value != neutral.get(name)
        and value not in NEUTRAL.get(name, DRAWN.get(name, ()))
    ]
    if ignored:
        warnings.warn(
            f"'{place}' names {', '.join(ignored)} in {GENERATION}, which transformers' generate "
            f"does not read for this family, nor does vqazoo: give decode options to model.answer.",
            VqazooWarning,
            stacklevel=4,
        )


def _read(folder: Path, place: str) -> tuple[str, dict[str, Any]]:
    """The file that is read, and its settings that are not None, as transformers reads them.

    Raises:
        CheckpointError: the file is broken.
    """
    import transformers

    file = GENERATION if (folder / GENERATION).is_file() else CONFIG
    try:
        content = read_plain(folder / file, 4 * MIB)
        check_no_pointer(content, folder / file)
        written = parse_json(content)
        if not isinstance(written, dict):
            raise ValueError(f"it is {type(written).__name__}, no table")
        legacy = {"config_file_name": CONFIG, "_from_model_config": True} if file == CONFIG else {}
        settings = transformers.GenerationConfig.from_pretrained(folder, **legacy).to_dict()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"'{place}': {file} cannot be read ({reason.rstrip(':')}): get the file again."
        ) from error
    known = {name: value for name, value in settings.items() if value is not None}
    if file == GENERATION:  # to_dict leaves out what its class does not know
        known = {name: value for name, value in written.items() if value is not None} | known
    return file, json.loads(json.dumps(known, default=str))


def _lengths(said: dict[str, Any]) -> dict[str, int]:
    """As transformers: new tokens come before the length of question and answer together."""
    options: dict[str, int] = {}
    if "max_new_tokens" in said:
        options["max_tokens"] = said["max_new_tokens"]
    elif "max_length" in said:
        options["max_length"] = said["max_length"]
    else:
        options["max_tokens"] = LONGEST
    if "min_new_tokens" in said:
        options["min_tokens"] = said["min_new_tokens"]
    elif "min_length" in said:
        options["min_length"] = said["min_length"]
    return options


def _ends(
    place: str, file: str, said: dict[str, Any], start: int, end: int
) -> dict[str, list[int] | int]:
    """Which tokens start and end what is written.

    Raises:
        CheckpointError: a caption starts with another token than the tokenizer's.
    """
    if said.get("bos_token_id", start) != start:
        raise CheckpointError(
            f"'{place}' starts captions with the token {shown(said['bos_token_id'])} "
            f"(bos_token_id in {file}), but its tokenizer starts texts with {start}: get the "
            f"files again."
        )
    options: dict[str, list[int] | int] = {}
    ends = said.get("eos_token_id", [-1])
    ends = ends if isinstance(ends, list) else [ends]
    if ends != [end]:
        options["eos_token_ids"] = ends
    forced = said.get("forced_eos_token_id", -1)
    forced = forced[0] if isinstance(forced, list) else forced
    if forced != -1:
        options["forced_eos_token_id"] = forced
    return options


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


OPTION_KINDS = {
    **dict.fromkeys(("num_beams", "max_length", "max_new_tokens"), lambda v: _is_count(v) and v),
    **dict.fromkeys(
        (
            "min_length",
            "min_new_tokens",
            "top_k",
            "no_repeat_ngram_size",
            "bos_token_id",
            "forced_bos_token_id",
        ),
        _is_count,
    ),
    **dict.fromkeys(("length_penalty", "repetition_penalty", "temperature", "top_p"), _is_number),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), _are_counts),
    "do_sample": lambda v: isinstance(v, bool),
    "early_stopping": lambda v: isinstance(v, bool) or v == "never",
    "eos_token_id": lambda v: _is_count(v) or (_are_counts(v) and v),
    "forced_eos_token_id": lambda v: _is_count(v) or (_are_counts(v) and len(v) == 1),
    "bad_words_ids": lambda v: (
        isinstance(v, list) and all(_are_counts(word_ids) and word_ids for word_ids in v)
    ),
}


def cache_keyword(model: Any) -> str:
    """By which name a model of transformers takes the keys and values of what it has read.

    It was `past_key_values` before transformers 5.24, where some models say `cache`.
    """
    return "cache" if "cache" in inspect.signature(type(model).forward).parameters else FORMER_CACHE

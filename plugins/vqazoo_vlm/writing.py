"""Answers that a vision-language model writes, and the likelihood of given ones. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqazoo.errors import QuestionError
from vqazoo.toolkit.generation import cache_keyword

SIDE_BY_SIDE = 64  # candidates that are scored at once


class Said(NamedTuple):
    """Tokens of an answer without its end, and the sum of log-probabilities with it."""

    tokens: list[int]
    log_probability: float


def ends_of(model: Any) -> list[int]:
    """The tokens that end an answer, as the model's generation config says."""
    said = model.generation_config.eos_token_id
    return [int(token) for token in (said if isinstance(said, list) else [said])]


def text_limit(model: Any) -> int | None:
    """How many tokens a decoder reads, prompt and answer together; None: no limit is said."""
    said = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return None if said is None or model.config.is_encoder_decoder else int(said)


def check_room(model: Any, inputs: dict[str, Any], count: int) -> None:
    """Raises QuestionError: a prompt leaves no place for `count` tokens of an answer."""
    limit, longest = text_limit(model), int(inputs["attention_mask"].sum(1).max())
    if limit is not None and longest + count > limit:
        raise QuestionError(
            f"Picture and question have {longest:,} tokens and the answer up to {count:,}, but the "
            f"model reads at most {limit:,} together: ask a shorter question, or give a smaller "
            f"picture."
        )


def generated(model: Any, inputs: dict[str, Any], top_k: int, **asked: Any) -> list[list[Said]]:
    """The best `top_k` answers of each of B rows, by transformers' `generate`.

    Args:
        asked: further arguments of `generate`, such as num_beams.
    """
    with torch.no_grad():
        out = model.generate(
            **inputs,
            **asked,
            do_sample=False,
            num_return_sequences=top_k,
            return_dict_in_generate=True,
            output_logits=True,
        )
    count = len(out.sequences)
    beams = getattr(out, "beam_indices", None)  # (B*k, T), -1 behind the end
    if beams is None:
        beams = torch.arange(count, device=out.sequences.device)[:, None].expand(
            -1, len(out.logits)
        )
    length = int((beams >= 0).sum(1).max())
    written = out.sequences[:, out.sequences.shape[1] - length :].tolist()
    ends = ends_of(model)
    answers: list[Said] = []
    for row, tokens in enumerate(written):
        total, kept = 0.0, []
        for place, token in enumerate(tokens):
            scores = out.logits[place][int(beams[row, place])].float().log_softmax(0)  # (V,)
            if token in ends:
                total += float(scores[ends].logsumexp(0))
                break
            total += float(scores[token])
            kept.append(token)
        answers.append(Said(kept, total))
    return [answers[start : start + top_k] for start in range(0, count, top_k)]


@torch.no_grad()
def likelihoods(
    model: Any, inputs: dict[str, Any], candidates: Sequence[Sequence[int]]
) -> list[float]:
    """Log-probability of each candidate, its end included, after one prompt, which is read once.

    Args:
        inputs: of one row. candidates: the tokens of each, without end.
    """
    ends = torch.tensor(ends_of(model), device=model.device)
    reads_first = bool(model.config.is_encoder_decoder)
    start = _read_by_encoder(model, inputs) if reads_first else _read_by_decoder(model, inputs)
    said: list[float] = []
    for first in range(0, len(candidates), SIDE_BY_SIDE):
        rows = candidates[first : first + SIDE_BY_SIDE]
        longest = max(1, *map(len, rows))
        ids = torch.full((len(rows), longest), int(ends[0]), device=model.device)  # (C, T)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(list(tokens), dtype=torch.long)
        scores = start(ids)  # (C, T+1, V): of each token, and of what follows the last
        known = scores[:, :-1].gather(2, ids[:, :, None])[:, :, 0]  # (C, T)
        ended = scores[:, :, ends].logsumexp(2)  # (C, T+1)
        for row, tokens in enumerate(rows):
            total = known[row, : len(tokens)].sum() + ended[row, len(tokens)]
            said.append(float(total))
    return said


def _read_by_decoder(model: Any, inputs: dict[str, Any]) -> Any:
    """Reads the prompt; gives what scores candidates (C, T) behind it: (C, T+1, V)."""
    read = model(**inputs, use_cache=True)
    first = read.logits[:, -1].float()  # (1, V)
    # Of Qwen's models: how far places behind pictures are shifted, which they note on themselves.
    deltas = getattr(model.model, "rope_deltas", None)

    def scores(ids: Tensor) -> Tensor:
        count = len(ids)
        cache = copy.deepcopy(read.past_key_values)
        cache.batch_repeat_interleave(count)
        if deltas is not None:
            model.model.rope_deltas = deltas.repeat_interleave(count, dim=0)
        # No mask: the one prompt has no padding, and what stands behind a candidate is not read.
        out = model(input_ids=ids, use_cache=True, **{cache_keyword(model): cache})
        whole = torch.cat([first[None].expand(count, 1, -1), out.logits.float()], 1)
        return whole.log_softmax(2)

    return scores


def _read_by_encoder(model: Any, inputs: dict[str, Any]) -> Any:
    from transformers.modeling_outputs import BaseModelOutput

    begin = int(model.generation_config.decoder_start_token_id)
    first = torch.full((1, 1), begin, device=model.device)
    read = model(**inputs, decoder_input_ids=first).encoder_last_hidden_state  # (1, L, D)
    mask = inputs["attention_mask"]

    def scores(ids: Tensor) -> Tensor:
        count = len(ids)
        states = BaseModelOutput(last_hidden_state=read.expand(count, -1, -1))
        begun = torch.cat([first.expand(count, 1), ids], 1)  # (C, T+1)
        out = model(
            encoder_outputs=states,
            attention_mask=mask.expand(count, -1),
            decoder_input_ids=begun,
            use_cache=False,
        )
        return out.logits.float().log_softmax(2)

    return scores

"""Language models of transformers behind word embeddings: the whole model that heads borrow.

`HFLanguageModel(model)` wraps a transformers model that was built elsewhere: with loaded weights,
quantised, or spread over devices. `HFLanguageModel.from_config(config)` builds one with random
weights. Neither needs a tokenizer; the text tower around it is in language_tower.py. Imports torch.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqazoo.errors import IncompatibleError, QuestionError
from vqazoo.toolkit.generation import cache_keyword
from vqazoo_hf.positions import position_limit

ENCODER, DECODER, BOTH = "encoder", "decoder", "encoder-decoder"
AUTO = {ENCODER: "AutoModel", DECODER: "AutoModelForCausalLM", BOTH: "AutoModelForSeq2SeqLM"}
NESTED = {"blip-2": ("text_config", "language_model.")}  # of models that hold a language model

State = tuple[Tensor, ...]


class HFLanguageModel(nn.Module):
    """A transformers model read through word embeddings; a `vqazoo.interfaces.LanguageModel`.

    Real tokens of each row are moved to the front before they are read, so gaps and padding change
    no position and no answer: a row's scores are those it has alone.

    `positions` is for encoders (BERT family), whose words carry positions and a LayerNorm: `words`
    gives them to the question's words alone, and other tokens enter as they are; `sequence` gives
    them to the whole sequence, once; `twice` gives them to the words, then to the whole sequence.
    Decoders and encoder-decoders always place the whole sequence.

    Attributes:
        model: of transformers; an encoder without its head, or a model with its output layer.
        kind, dim, vocab_size, context_length: see the protocol.
    """

    def __init__(self, model: Any, positions: str = "sequence") -> None:
        """Wrap a model that exists already.

        Raises:
            IncompatibleError: the model is no language model, or its widths differ inside.
        """
        super().__init__()
        self.kind = kind_of(model.config)
        self.model = model
        embedding = model.get_input_embeddings()
        self.dim = int(embedding.embedding_dim)
        self.vocab_size = int(embedding.num_embeddings)
        self.context_length = position_limit(model)
        taken = inspect.signature(type(model).forward).parameters
        self._cache = cache_keyword(model)
        self._takes_positions = "position_ids" in taken  # BLOOM derives them from the mask
        self.positions = positions if self.kind == ENCODER else "sequence"
        if self.kind != ENCODER:
            return
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # next-sentence pooling of BERT, which nothing here uses
        name, width = model.config.model_type, int(model.config.hidden_size)
        if width != self.dim:
            raise IncompatibleError(
                f"The '{name}' model has word embeddings of width {self.dim}, but states of width "
                f"{width}: choose one where both are equal, such as BERT, DistilBERT or RoBERTa."
            )
        if self.positions != "sequence" and not isinstance(
            getattr(model, "embeddings", None), nn.Module
        ):
            raise IncompatibleError(
                f"The '{name}' model has no embedding module of its own: set "
                f"text_encoder.args.positions=sequence."
            )

    @classmethod
    def from_config(cls, config: Any, positions: str = "sequence") -> HFLanguageModel:
        """With random weights, from a transformers config; one of BLIP-2 means its language model.

        Raises:
            IncompatibleError: it is not the config of a language model.
        """
        import transformers

        config = language_config(config)
        auto = getattr(transformers, AUTO[kind_of(config)])
        return cls(auto.from_config(config), positions)

    # ---- reading ----------------------------------------------------------------------------

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings (B, T, D) of ids (B, T), without positions."""
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    def question(self, ids: Tensor) -> Tensor:
        """What a question's ids (B, L), padded on the right, put into the sequence: (B, L, D)."""
        if self.positions == "sequence":
            return self.embed(ids)
        embedded: Tensor = self.model.embeddings(input_ids=ids)  # with positions and LayerNorm
        return embedded

    def states(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states (B, L, D) of an encoder; zeros where the mask (B, L) is False.

        Raises:
            IncompatibleError: the model is a decoder; QuestionError: the sequence is too long.
        """
        if self.kind == DECODER:
            raise IncompatibleError(
                f"The language model '{self.model.config.model_type}' writes from left to right "
                f"and gives no states: use the head lm-generate, or a model of the BERT family."
            )
        packed, real, order = self._packed(embedded, mask)  # (B, l, D), (B, l) twice
        given = {"inputs_embeds": packed, "attention_mask": real.long()}
        if self.positions == "words":
            states = _without_embeddings(self.model, given).last_hidden_state  # (B, l, D)
        else:
            reader = self.model if self.kind == ENCODER else self.model.get_encoder()
            states = reader(**given).last_hidden_state  # (B, l, D)
        states = states * real[:, :, None]  # (B, l, D)
        out = states.new_zeros(*mask.shape, states.shape[2])  # (B, L, D)
        return out.scatter(1, order[:, :, None].expand_as(states), states)

    def logits(self, embedded: Tensor, mask: Tensor, answer: Tensor) -> Tensor:
        """Scores (B, T, V) of each token of answers (B, T) int64 after a prompt (B, L, D).

        The score at place t was computed without answer[:, t:].

        Raises:
            QuestionError: prompt and answer are longer than the context.
        """
        if self.kind == BOTH:
            packed, real, _ = self._packed(embedded, mask)  # (B, l, D), (B, l)
            begin = torch.full_like(answer[:, :1], self._begin_id())
            scores: Tensor = self.model(
                inputs_embeds=packed,
                attention_mask=real.long(),
                use_cache=False,
                decoder_input_ids=torch.cat([begin, answer[:, :-1]], 1),
            ).logits
            return scores  # (B, T, V)
        self._check_decoder()
        count = answer.shape[1]
        known = torch.cat([embedded, self.embed(answer[:, :-1]).to(embedded.dtype)], 1)
        real = torch.cat([mask, mask.new_ones(len(mask), count - 1)], 1)  # (B, L+T-1)
        packed, real, _ = self._packed(known, real)  # (B, l, D), (B, l)
        last = mask.sum(1) - 1  # (B,) place of each prompt's last token
        first = int(last.min())
        keep = torch.arange(first, int(last.max()) + count, device=last.device)  # (S,)
        scores = self.model(
            inputs_embeds=packed, attention_mask=real.long(), use_cache=False, logits_to_keep=keep
        ).logits  # (B, S, V)
        place = (last - first)[:, None] + torch.arange(count, device=last.device)  # (B, T)
        return scores.gather(1, place[:, :, None].expand(-1, -1, scores.shape[2]))  # (B, T, V)

    # ---- writing ----------------------------------------------------------------------------

    def start(self, embedded: Tensor, mask: Tensor) -> tuple[Tensor, State]:
        """Log-probabilities (B, V) of the first token after a prompt, and the state for `step`.

        The state is the mask (B, S) of what was read; in encoder-decoders also the encoder's states
        (B, l, D); then keys and values (B, h, S, D/h) of every layer.

        Raises:
            QuestionError: the prompt is longer than the context.
        """
        scores, state = self.start_scores(embedded, mask)
        return scores.log_softmax(1), state

    def start_scores(self, embedded: Tensor, mask: Tensor) -> tuple[Tensor, State]:
        """As `start`, with scores (B, V) that are not normalised."""
        packed, real, _ = self._packed(embedded, mask)  # (B, l, D), (B, l)
        if self.kind == BOTH:
            read = self.model.get_encoder()(inputs_embeds=packed, attention_mask=real.long())
            begin = torch.full((len(real),), self._begin_id(), device=real.device)
            return self.step_scores(begin, (real, read.last_hidden_state))
        self._check_decoder()
        last = real.sum(1) - 1  # (B,)
        first = int(last.min())
        keep = torch.arange(first, real.shape[1], device=real.device)  # (S,)
        out = self.model(
            inputs_embeds=packed, attention_mask=real.long(), use_cache=True, logits_to_keep=keep
        )
        scores = out.logits[torch.arange(len(last), device=last.device), last - first]  # (B, V)
        return scores.float(), (real, *_cached(out.past_key_values))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Log-probabilities (B, V) after tokens (B,) int64, and the next state."""
        scores, state = self.step_scores(tokens, state)
        return scores.log_softmax(1), state

    def step_scores(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """As `step`, with scores (B, V) that are not normalised."""
        if self.kind == BOTH:
            return self._step_after_encoder(tokens, state)
        mask, *cached = state
        place = mask.sum(1, keepdim=True)  # (B, 1)
        if mask.shape[1] >= (self.context_length or math.inf):  # else no row can be at the end
            self._check_length(int(place.max()) + 1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)  # (B, S+1)
        cache = _cache(cached)
        placed = {"position_ids": place} if self._takes_positions else {}
        out = self.model(
            input_ids=tokens[:, None],
            attention_mask=mask.long(),
            use_cache=True,
            **placed,
            **{self._cache: cache},
        )
        return out.logits[:, -1].float(), (mask, *_cached(cache))

    def _step_after_encoder(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        from transformers import EncoderDecoderCache
        from transformers.modeling_outputs import BaseModelOutput

        mask, read, *cached = state
        half = len(cached) // 2  # own keys and values, then those of the encoder's states
        cache = EncoderDecoderCache(_cache(cached[:half]), _cache(cached[half:]))
        out = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=read),
            attention_mask=mask.long(),
            decoder_input_ids=tokens[:, None],
            use_cache=True,
            **{self._cache: cache},
        )
        own, other = _cached(cache.self_attention_cache), _cached(cache.cross_attention_cache)
        return out.logits[:, -1].float(), (mask, read, *own, *other)

    # ---- inside -----------------------------------------------------------------------------

    def _packed(self, embedded: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Real tokens first (B, l, D), their mask (B, l), and the places (B, l) they came from."""
        longest = int(mask.sum(1).max())
        self._check_length(longest)
        order = (~mask).long().argsort(dim=1, stable=True)[:, :longest]  # (B, l)
        packed = embedded.gather(1, order[:, :, None].expand(-1, -1, embedded.shape[2]))
        dtype = self.model.get_input_embeddings().weight.dtype  # int8 only in quantised layers
        return packed.to(dtype), mask.gather(1, order), order

    def _check_length(self, count: int) -> None:
        if self.context_length is not None and count > self.context_length:
            raise QuestionError(
                f"Picture, question and answer have {count} tokens together, but the language "
                f"model '{self.model.config.model_type}' reads at most {self.context_length}: ask "
                f"a shorter question, or use an image encoder with fewer tokens."
            )

    def _begin_id(self) -> int:
        return int(self.model.config.decoder_start_token_id)

    def _check_decoder(self) -> None:
        if self.kind != DECODER:
            raise IncompatibleError(
                f"The language model '{self.model.config.model_type}' reads but does not write: "
                f"use the head lm-classifier, or a model such as GPT-2, OPT or T5."
            )


def language_config(config: Any) -> Any:
    """The config of the language model: the config itself, or the one inside a BLIP-2 config."""
    inner = NESTED.get(config.model_type)
    return getattr(config, inner[0]) if inner else config


def kind_of(config: Any) -> str:
    """Whether `encoder`, `decoder` or `encoder-decoder`, told from a transformers config.

    Raises:
        IncompatibleError: it is not the config of a language model.
    """
    from transformers.models.auto import modeling_auto as auto

    name = config.model_type
    if config.is_encoder_decoder:
        known, kind = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, BOTH
    elif name in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", 0):
        known, kind = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, ENCODER
    else:
        known, kind = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, DECODER
    if name not in known:
        raise IncompatibleError(
            f"A '{name}' model is no language model that hf-lm can read: name one of the BERT, "
            f"GPT-2, OPT, T5 or BART families, such as hf-lm:distilbert/distilbert-base-uncased."
        )
    return kind


def _without_embeddings(model: Any, given: dict[str, Any]) -> Any:
    """What an encoder makes of embeddings that its embedding module is not to touch again.

    The encoder runs as a copy of its outermost layer, which shares everything below, so that the
    module itself is as it was for whoever else runs it now or later.
    """
    part = copy.copy(model.embeddings)
    part.forward = _as_given
    reader = copy.copy(model)
    reader._modules = {**model._modules, "embeddings": part}
    return type(model).forward(reader, **given)


def _as_given(*args: Any, **kwargs: Any) -> Tensor:
    """The embeddings among the arguments of an embedding module."""
    given: Tensor | None = kwargs.get("inputs_embeds")
    if given is None:  # DistilBERT passes them by place
        given = next(
            argument
            for argument in args
            if isinstance(argument, Tensor) and argument.is_floating_point()
        )
    return given


def _cache(tensors: Sequence[Tensor]) -> Any:
    """The cache of transformers for keys and values, layer by layer, without copying them."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    cache = DynamicCache()
    for keys, values in zip(tensors[::2], tensors[1::2], strict=True):
        layer = DynamicLayer()
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        cache.layers.append(layer)
    return cache


def _cached(cache: Any) -> list[Tensor]:
    """Keys and values of a cache, layer by layer."""
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]

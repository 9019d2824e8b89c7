"""The towers of transformers' BLIP models. Imports torch, and transformers when one is built."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import IncompatibleError
from vqazoo.interfaces import Encoder, EncoderSpec, Features, ImageTowerSpec, TextTowerSpec
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.toolkit.pictures import read_preprocess
from vqazoo.toolkit.published import fill_towers, read_weights
from vqazoo.toolkit.transformers import Repository, TextCodec

RETRIEVAL = "BlipForImageTextRetrieval"  # the only architecture with a projection of pictures
QUESTION_WORDS = 50  # of a cleaned question
REMOVED = re.compile(r'[.!"()*#:;~]')
TEXT_PLACES = (
    "text_encoder.embeddings.",
    "text_model.embeddings.",
    "text_decoder.bert.embeddings.",
)
ENC = "[ENC]"


class HFBlipEncoder(Encoder):
    """BLIP's ViT, and the embeddings of its text model; a tower that is not asked for is dropped.

    Image tokens (B, N, D) are those after the last LayerNorm, the class token first; position
    embeddings are resized (bicubic) if pictures are prepared in another size than the model's own.
    Pooled (B, 256) is the projected class token of retrieval checkpoints, norm 1; others offer
    none. Text tokens (B, L, D) are word + position embeddings and LayerNorm.

    As in the original, the first token of a question becomes [ENC] and the question is cleaned:
    lower case, without . ! " ( ) * # : ; ~, at most 50 words and 35 tokens. transformers does
    neither, so the family sets `first_token` to `cls`, `clean` to false and `context_length` to 0.

    Source: Li et al. 2022, BLIP, section 3.1; data/utils.py of the authors (pre_question).

    Attributes:
        encode_id: of [ENC].
    """

    def __init__(
        self,
        variant: str | None,
        towers: frozenset[str],
        *,
        first_token: str,
        clean: bool,
        context_length: int,
    ) -> None:
        super().__init__()
        assert variant is not None
        from transformers import BlipVisionModel

        self._repository = Repository(variant)
        self.files = self._repository.files(towers)
        config = self._repository.config_of("hf-blip", "blip", "Salesforce/blip-vqa-base")
        vision, text = config.vision_config, config.text_config
        projected, image, words = None, None, None
        if "image" in towers:
            with self._repository.building():
                self.vision: Any = BlipVisionModel(vision)
                if RETRIEVAL in (config.architectures or ()):
                    projected = config.image_text_hidden_size
                    self.vision_proj = nn.Linear(vision.hidden_size, projected)
            preprocess = read_preprocess(self._repository)
            image = ImageTowerSpec(projected, vision.hidden_size, True, preprocess=preprocess)
        longest = min(context_length or text.max_position_embeddings, text.max_position_embeddings)
        if "text" in towers:
            with self._repository.building():
                self.text = BlipWords(text)
            tokenizer = self._repository.tokenizer()
            self.codec = BlipCodec(tokenizer, longest, clean)
            self.start_id, self.end_id = text.bos_token_id, text.sep_token_id
            self.encode_id = tokenizer.get_vocab().get(ENC, text.bos_token_id + 1)
            self._first_id = self.encode_id if first_token == "enc" else None
            _check_ids(variant, text.vocab_size, self.start_id, self.end_id, self.encode_id)
            words = TextTowerSpec(None, text.hidden_size, context_length=longest)
        self.spec = EncoderSpec(image, words)

    def load_pretrained(self) -> None:
        tensors, reference = read_weights(self._repository)
        renamed = {_own_name(name): tensor for name, tensor in tensors.items()}
        fill_towers(self, renamed, self._repository.folder, "BLIP")
        self.reference = reference.result()

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        tokens = self.vision(
            pixel_values=pixels, interpolate_pos_encoding=True
        ).last_hidden_state  # (B, N, D)
        pooled = None
        if POOLED in wants:
            pooled = F.normalize(self.vision_proj(tokens[:, 0]), dim=-1)  # (B, 256)
        if TOKENS not in wants:
            return Features(pooled)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Features(pooled, tokens, mask, num_prefix=1)

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        if self._first_id is not None:
            ids = ids.clone()  # (B, L)
            ids[:, 0] = self._first_id
        first = ids.new_zeros(len(ids))  # (B,)
        return Features(None, self.text(ids, first), mask)  # (B, L, D)

    def lend(self, name: str) -> nn.Module:
        """Lends `token_embedding`, or `text_embedding`, which does not replace the first id."""
        if self.spec.text is not None and name == "text_embedding":
            return self.text
        if self.spec.text is not None and name == "token_embedding":
            words: nn.Module = self.text.embeddings.word_embeddings
            return words
        raise IncompatibleError(
            f"This hf-blip encoder lends no '{name}': it lends the token_embedding and the "
            f"text_embedding of its text tower."
        )


class BlipWords(nn.Module):
    """The BlipTextEmbeddings of transformers, called with the place of the first token."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        from transformers.models.blip.modeling_blip_text import BlipTextEmbeddings

        self.embeddings: Any = BlipTextEmbeddings(config)
        del self.embeddings.position_ids  # its default places, which nothing here uses

    def forward(self, ids: Tensor, first: Tensor) -> Tensor:
        """Embeddings (B, T, D) of ids (B, T), the first of which stand at the places (B,)."""
        places = first[:, None] + torch.arange(ids.shape[1], device=ids.device)  # (B, T)
        out: Tensor = self.embeddings(input_ids=ids, position_ids=places)  # (B, T, D)
        return out


class BlipCodec(TextCodec):
    """BERT's tokenizer; with `clean`, questions are cleaned as the original does."""

    def __init__(self, tokenizer: Any, context_length: int, clean: bool) -> None:
        super().__init__(tokenizer, context_length)
        self._clean = clean

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool."""
        return super().tokenize([cleaned(text) for text in texts] if self._clean else texts)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens say nothing."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.strip()


def cleaned(question: str) -> str:
    """A question as BLIP's authors prepare it."""
    words = REMOVED.sub("", question.lower()).rstrip(" ").split(" ")
    return " ".join(words[:QUESTION_WORDS])


def _own_name(published: str) -> str:
    """The name in HFBlipEncoder of a tensor of any BLIP architecture."""
    for place in TEXT_PLACES:
        if published.startswith(place):
            return f"text.embeddings.{published.removeprefix(place)}"
    return published.replace("vision_model.", "vision.", 1)


def _check_ids(variant: str, vocabulary: int, *ids: int) -> None:
    if max(ids) >= vocabulary:
        raise IncompatibleError(
            f"'{variant}' has {vocabulary} word embeddings, but [DEC], [SEP] and [ENC] are "
            f"{', '.join(map(str, ids))}: correct bos_token_id, sep_token_id and vocab_size in its "
            f"config.json."
        )

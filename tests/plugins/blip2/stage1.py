"""transformers' BLIP-2 for retrieval and our stage-1 objectives, with the same weights."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from tests.plugins.blip2.published import disturb
from vqazoo.interfaces import Encoder, EncoderSpec, Features, TextTowerSpec, TowerSpec
from vqazoo_blip2.fusion import QFormerFusion
from vqazoo_blip2.objectives import QFormerObjectives
from vqazoo_blip2.published import RULES

LETTERS = "abcdefghijklmnopqrstuvwxyz "
START, END, READ = 27, 28, 29
VOCABULARY = 30
IMAGE_DIM, DIM, QUERIES, LAYERS = 24, 16, 4, 3
TEXT_RULES = [  # of the text's half, which our fusion has not
    (r"qformer\.encoder\.layer\.(\d+)\.intermediate\.dense\.(.+)", r"text_parts.\1.inner.\2"),
    (r"qformer\.encoder\.layer\.(\d+)\.output\.dense\.(.+)", r"text_parts.\1.outer.\2"),
    (r"qformer\.encoder\.layer\.(\d+)\.output\.LayerNorm\.(.+)", r"text_parts.\1.norm.\2"),
    (r"vision_projection\.(.+)", r"image_projection.\1"),
    (r"(text_projection\..+)", r"\1"),
    (r"itm_head\.(.+)", r"match_output.\1"),
]


class TextEmbedding(nn.Module):
    """Word plus position; the Q-Former has the norm."""

    def __init__(self, dim: int = DIM) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, dim)
        self.positions = nn.Embedding(64, dim)

    def forward(self, ids: Tensor, first: Tensor) -> Tensor:
        places = first[:, None] + torch.arange(ids.shape[1])
        return self.words(ids) + self.positions(places)


class Letters(Encoder):
    """A text encoder that spells letter by letter."""

    def __init__(self, embedding: TextEmbedding) -> None:
        super().__init__()
        self.codec = self
        self.embedding = embedding
        self.start_id, self.end_id, self.encode_id = START, END, READ
        dim = embedding.words.embedding_dim
        self.spec = EncoderSpec(text=TextTowerSpec(None, dim, context_length=64))

    def load_pretrained(self) -> None: ...

    def pieces(self, texts):
        return [[LETTERS.index(letter) for letter in text] for text in texts]

    def lend(self, name: str) -> nn.Module:
        return {"token_embedding": self.embedding.words, "text_embedding": self.embedding}[name]


def fusion(question_dim: int = DIM, **changes: Any) -> QFormerFusion:
    shape = {
        "queries": QUERIES,
        "layers": LAYERS,
        "heads": 2,
        "dim": DIM,
        "hidden_dim": 32,
        "cross_frequency": 2,
        "dropout": 0.0,
        "reads_question": False,
    }
    image, question = TowerSpec(None, IMAGE_DIM), TowerSpec(None, question_dim)
    return QFormerFusion(image, question, **{**shape, **changes})


def objectives(
    question_dim: int = DIM, reads_question: bool = False, **args: Any
) -> QFormerObjectives:
    """In eval mode, so that nothing but what is asked for is random."""
    torch.manual_seed(0)
    made = fusion(question_dim, reads_question=reads_question).eval()
    embedding = TextEmbedding(question_dim)
    return QFormerObjectives(made, embedding, Letters(embedding), {"dim": 8, **args}).eval()


def pictures(count: int, seed: int = 0) -> Features:
    tokens = torch.randn(count, 5, IMAGE_DIM, generator=torch.Generator().manual_seed(seed))
    return Features(tokens=tokens, mask=torch.ones(count, 5, dtype=torch.bool), num_prefix=1)


def theirs(seed: int) -> Any:
    """transformers' model for retrieval, random."""
    import transformers

    config = transformers.Blip2Config(
        vision_config={
            "hidden_size": IMAGE_DIM,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        qformer_config={
            "hidden_size": DIM,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 64,
            "use_qformer_text_input": True,
        },
        num_query_tokens=QUERIES,
        image_text_hidden_size=8,
    )
    model = transformers.Blip2ForImageTextRetrieval(config).eval()
    disturb(model, seed)
    return model


def same_weights(model: Any) -> QFormerObjectives:
    """Our objectives with the weights of theirs; every one of them but the tower is used."""
    made = objectives()
    borrowed_fusion, embedding, _, _ = made._borrowed
    embedding.words.weight.data.copy_(model.embeddings.word_embeddings.weight)
    embedding.positions.weight.data.copy_(model.embeddings.position_embeddings.weight)
    places = borrowed_fusion.state_dict() | made.state_dict()
    for name, tensor in model.state_dict().items():
        if name.startswith(("vision_model.", "embeddings.")):
            continue
        pattern, ours = next(r for r in [*RULES, *TEXT_RULES] if re.fullmatch(r[0], name))
        places[re.sub(pattern, ours, name)].copy_(tensor)
    return made

"""The contracts between parts: encoder -> fusion -> head -> answer. Imports torch.

Letters in shapes: B batch, N image tokens, L question tokens, T answer tokens, K answer classes,
V answer-token vocabulary, D feature width, H and W pixels.
"""

from vqazoo.interfaces.encoders import Encoder, LanguageModel, TextCodec
from vqazoo.interfaces.features import Features, most_frames
from vqazoo.interfaces.fusions import FusedSpec, Fusion
from vqazoo.interfaces.heads import Answer, Head, Targets
from vqazoo.interfaces.modules import dtype_name, fingerprint, floating_dtype, state_sha256
from vqazoo.interfaces.offers import (
    AttendsToImage,
    Captions,
    GivesAnswerability,
    GivesLogits,
    GivesScores,
    GivesTypes,
    LimitsAnswers,
    NamesClasses,
    RanksAnswers,
    SharesBlocks,
    StartsReading,
    Writes,
)
from vqazoo.interfaces.references import FileReference, LoadOptions, WeightsReference
from vqazoo.interfaces.towers import (
    EncoderSpec,
    ImageTowerSpec,
    Preprocess,
    TextTowerSpec,
    TowerSpec,
    width,
)

__all__ = [
    "Answer",
    "AttendsToImage",
    "Captions",
    "Encoder",
    "EncoderSpec",
    "Features",
    "FileReference",
    "FusedSpec",
    "Fusion",
    "GivesAnswerability",
    "GivesLogits",
    "GivesScores",
    "GivesTypes",
    "Head",
    "ImageTowerSpec",
    "LanguageModel",
    "LimitsAnswers",
    "LoadOptions",
    "NamesClasses",
    "Preprocess",
    "RanksAnswers",
    "SharesBlocks",
    "StartsReading",
    "Targets",
    "TextCodec",
    "TextTowerSpec",
    "TowerSpec",
    "WeightsReference",
    "Writes",
    "dtype_name",
    "fingerprint",
    "floating_dtype",
    "most_frames",
    "state_sha256",
    "width",
]

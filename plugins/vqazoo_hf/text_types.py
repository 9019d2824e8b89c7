"""Which text models of transformers are read, and how. Imports torch."""

from __future__ import annotations

from typing import Any

import torch

from vqazoo.errors import IncompatibleError
from vqazoo.fault_sentences import kind_and_reason

ENCODERS = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
    "switch_transformers": "SwitchTransformersEncoderModel",
}  # of models with a decoder, which would need its own texts
# Fourier transforms, convolutions, hashes, blocks and pools that take padding for text, or another
# length for another text, whatever the mask says.
UNMASKED = (
    *("big_bird", "canine", "convbert", "cpmant", "fnet", "funnel", "mobilebert", "nystromformer"),
    *("reformer", "yoso"),
)
TRIED = 8  # tokens of the text that a model is tried on; CANINE takes no fewer than 4


@torch.no_grad()
def states_width(model: Any, place: str) -> int:
    """D of the last states, by reading one short text: configs have no uniform value.

    Args:
        model: without a decoder, or one that makes its decoder's text of the text; evaluates from
            now on. place: where it is, for messages.

    Raises:
        IncompatibleError: the model reads no text by itself, or gives no states of it.
    """
    model.eval()
    config = model.config
    what = f"'{place}' is a '{config.model_type}' model, which"
    instead = "name one that does, such as hf-text:sentence-transformers/all-MiniLM-L6-v2"
    try:
        device = next(model.parameters()).device
        if device.type == "meta":  # shapes alone are asked for, and some models look into texts
            width = getattr(config, "hidden_size", None)
            return int(width or model.get_input_embeddings().embedding_dim)
        ids = torch.zeros(1, TRIED, dtype=torch.long, device=device)
        states = getattr(model(input_ids=ids), "last_hidden_state", None)
    except Exception as error:  # whatever a model says that wants something else
        raise IncompatibleError(
            f"{what} does not read a text by itself ({kind_and_reason(error)}): {instead}."
        ) from error
    if "lsh" in getattr(config, "attn_layers", ()) and config.hash_seed is None:  # of Reformer
        raise IncompatibleError(
            f"{what} hashes words by random numbers, so that a text has other states each time: "
            f"set hash_seed in its config.json."
        )
    said = getattr(config, "hidden_size", None)
    if states is None or states.shape[:2] != ids.shape:
        raise IncompatibleError(f"{what} gives no states of the words of a text: {instead}.")
    if config.is_encoder_decoder and said not in (None, states.shape[2]):  # FSMT's are of words
        raise IncompatibleError(
            f"{what} gives scores of width {states.shape[2]} for states of width {said}: {instead}."
        )
    return int(states.shape[2])

"""What a vision-language model reads of pictures and questions: its processor's own inputs.

Imports torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from PIL import Image

from vqazoo.errors import QuestionError

# Types whose processors have no chat template: what stands around the question.
PROMPTS = {
    "paligemma": "<image>answer en {}",  # as transformers' own conversion script asks it
    "florence2": "{}",  # fine-tuned for questions, it reads them as they are
}
PLACEHOLDERS = ("image_token", "video_token", "audio_token")  # of a processor


class Prompting:
    """Makes a model's inputs of pictures and questions.

    With a chat template a prompt is one turn of the user, the picture before the text, and the
    start of the answer. Rows are padded in front where the model goes on after them (decoders),
    else behind.

    Attributes:
        chats: whether the processor has a chat template.
    """

    def __init__(self, processor: Any, model_type: str, reads_first: bool) -> None:
        """reads_first: whether an encoder reads the prompt, and a decoder writes the answer."""
        self.processor = processor
        self.chats = bool(getattr(processor, "chat_template", None))
        self._around = PROMPTS.get(model_type, "")
        named = (getattr(processor, name, None) for name in PLACEHOLDERS)
        self._placeholders = tuple(token for token in named if isinstance(token, str) and token)
        self.tokenizer = processor.tokenizer
        self.tokenizer.padding_side = "right" if reads_first else "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        taken = inspect.signature(type(processor).apply_chat_template).parameters
        self._nested = "processor_kwargs" in taken  # of transformers 5.x, later ones

    @property
    def asks(self) -> bool:
        """Whether it is known how to ask this model at all."""
        return self.chats or bool(self._around)

    def inputs(
        self, pictures: Sequence[Image.Image], questions: Sequence[str], instruction: str
    ) -> dict[str, Any]:
        """Arguments of the model's `forward` and `generate`, a row for each of B questions.

        Raises:
            QuestionError: a question has a word that stands for a picture.
        """
        for question in questions:
            if word := next((word for word in self._placeholders if word in question), ""):
                raise QuestionError(
                    f"The question holds {word!r}, which stands for a picture in the prompts of "
                    f"this model: leave it out, the picture is given besides."
                )
        if not self.chats:
            texts = [self._around.format(question) for question in questions]
            made = self.processor(
                images=list(pictures), text=texts, padding=True, return_tensors="pt"
            )
        else:
            turns = [
                self._turn(question, instruction, {"type": "image", "image": picture})
                for picture, question in zip(pictures, questions, strict=True)
            ]
            padded = {"padding": True}
            made = self.processor.apply_chat_template(
                turns,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                **({"processor_kwargs": padded} if self._nested else padded),
            )
        return {name: values for name, values in made.items() if name != "labels"}

    def ending(self, instruction: str) -> str:
        """The last words of a prompt, behind which the answer starts."""
        if not self.chats:
            return "\n"
        turn = self._turn("?", instruction, {"type": "image"})
        text: str = self.processor.apply_chat_template(turn, add_generation_prompt=True)
        return text[-16:]

    def _turn(self, question: str, instruction: str, picture: dict[str, Any]) -> list[Any]:
        asked = f"{question}\n{instruction}" if instruction else question
        return [{"role": "user", "content": [picture, {"type": "text", "text": asked}]}]

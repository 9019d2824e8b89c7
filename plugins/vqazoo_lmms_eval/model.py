"""A model of vqazoo as lmms-eval calls it. Imports torch and lmms_eval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby, islice
from typing import Any, cast

from lmms_eval.api.instance import GenerationResult, Instance
from lmms_eval.api.model import lmms
from tqdm import tqdm

import vqazoo
from vqazoo.answering import BATCH
from vqazoo.data.answers import normalise
from vqazoo.errors import ConfigError, DataError, IncompatibleError
from vqazoo.interfaces import Answer, RanksAnswers
from vqazoo.model import pick_device


class VqazooModel(lmms):
    """Answers the questions of lmms-eval's tasks that show one picture or one video.

    The prompt of a task is the question, as it is. What a task says of generation
    (`max_new_tokens`, `temperature`, `until`) is for chat models and is not used.
    """

    def __init__(
        self,
        model: str,
        device: str | None = None,
        batch_size: int | str | None = None,
        first_line: bool = False,
        **decode: Any,
    ) -> None:
        """Load the model.

        Args:
            model: zoo name, `hub:OWNER/NAME` or `dir:PATH`.
            device: such as `cpu` or `cuda`; default: a GPU if there is one.
            batch_size: questions at once.
            first_line: ask the first line of the prompt only, without an instruction such as
                "Answer the question using a single word or phrase." that follows it.
            decode: options of the head, see `vqazoo info`.

        Raises:
            VqazooError: the model cannot be loaded. ConfigError: the batch size is no number.
        """
        super().__init__()
        self.model = vqazoo.load(model).to(pick_device(device or "auto"))
        self.batch = _batch_size(batch_size)
        self.first_line = first_line
        self.decode = decode

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """The best answer to each request."""
        answers: list[str] = []
        rows = iter(requests)
        with tqdm(total=len(requests), desc="vqazoo") as bar:
            while batch := list(islice(rows, self.batch)):
                asked = [self._asked(request) for request in batch]
                pictures, questions = [p for p, _ in asked], [q for _, q in asked]
                replies = self.model.answer(pictures, questions, **self.decode)
                for request, answer in zip(batch, replies, strict=True):
                    self.cache_hook.add_partial("generate_until", request.args[:2], answer.text)
                    answers.append(answer.text)
                bar.update(len(batch))
        return answers

    def loglikelihood(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Minus the log-probability of each request's answer, and whether it is the best one.

        lmms-eval takes the choice with the smallest loss (`Task.process_results`). Its release
        0.7.3 turns a bare pair into text (`unwrap_generation_output`), so the pair is wrapped.

        Raises:
            IncompatibleError: the head neither picks from a list nor ranks given answers.
        """
        outcomes = []
        with tqdm(total=len(requests), desc="vqazoo") as bar:
            # The choices of one question follow each other.
            for _, several in groupby(
                requests, key=lambda request: (request.args[0], *request.args[3:])
            ):
                choices = list(several)
                picture, question = self._asked(choices[0])
                texts = [self._choice(request) for request in choices]
                best, probability = self._probabilities(picture, question, texts)
                for text in texts:
                    loss = -math.log(probability[text]) if probability[text] > 0 else math.inf
                    greedy = normalise(best.text) == normalise(text)
                    outcomes.append(GenerationResult((loss, greedy)))
                bar.update(len(choices))
        return outcomes

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Refused: a model of vqazoo answers one question.

        Raises:
            IncompatibleError: always.
        """
        raise IncompatibleError(
            "A model of vqazoo answers one question, but this task asks in several rounds: choose "
            "another task."
        )

    def _document(self, request: Instance) -> Any:
        *_, row, task, split = request.args
        return self.task_dict[task][split][row]

    def _asked(self, request: Instance) -> tuple[Any, str]:
        """The picture or video, and the question."""
        prompt, _, to_visual, row, task, _ = request.args
        shown = to_visual(self._document(request))
        shown = shown if isinstance(shown, (list, tuple)) else [shown]
        if len(shown) != 1:
            raise DataError(
                f"Row {row} of the task '{task}' shows {len(shown)} pictures, but a model of "
                f"vqazoo looks at one: choose another task."
            )
        return shown[0], prompt.strip().partition("\n")[0] if self.first_line else prompt

    def _choice(self, request: Instance) -> str:
        choice = request.args[1]
        return str(choice if isinstance(choice, str) else choice(self._document(request))).strip()

    def _probabilities(
        self, picture: Any, question: str, texts: Sequence[str]
    ) -> tuple[Answer, dict[str, float]]:
        """The best answer, and the probabilities of given ones."""
        head = self.model.config.head.type
        writes = self.model.head_manifest.answer_mode != "classify"
        if isinstance(self.model.head, RanksAnswers) or (writes and self.model.chooses):
            first = cast(Answer, self.model.rank(picture, question, texts, top_k=len(texts)))
            scores = {answer.text: answer.score for answer in (first, *first.alternatives)}
            scores |= dict.fromkeys(first.unscored, 0.0)
            return self.model.answer(picture, question, **self.decode), scores
        if writes:
            raise IncompatibleError(
                f"The head '{head}' tells no probability of a given answer, which this task "
                f"compares: use a model whose head picks from a list, or ranks."
            )
        best = self.model.answer(picture, question, top_k=len(self.model.answers))
        known = {
            normalise(answer.text): answer.score for answer in reversed((best, *best.alternatives))
        }
        return best, {text: known.get(normalise(text), 0.0) for text in texts}


def _batch_size(requested: int | str | None) -> int:
    try:
        size = BATCH if requested is None else int(requested)
    except ValueError:
        size = 0
    if size < 1:
        raise ConfigError(f"The batch size is {requested!r}, but a number above 0 was expected.")
    return size

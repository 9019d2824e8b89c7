"""The `visual-question-answering` pipeline of transformers 4, over vqazoo's models, and `decision`.

Imports torch.

transformers 5 has the second only, see `vqazoo.decision_pipeline`. A script written for the first
runs on once `from transformers import pipeline` says `from vqazoo import pipeline`. Source:
transformers 4.57, pipelines/base.py and pipelines/visual_question_answering.py; where this one
differs is told in docs/how-to/python.md.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from vqazoo.answering import BATCH
from vqazoo.catalogue import entries
from vqazoo.data.asking import check_at_least_one
from vqazoo.decision_pipeline import DECISION, DecisionPipeline
from vqazoo.errors import (
    ConfigError,
    QuestionError,
    UnknownNameError,
    VqazooWarning,
    did_you_mean,
)
from vqazoo.interfaces import Answer
from vqazoo.keywords import names_keywords
from vqazoo.model import VQAModel
from vqazoo.zoo.models import load

TASKS = ("visual-question-answering", "vqa")
TOP_K = 5
PROCESSORS = ("config", "feature_extractor", "image_processor", "processor", "tokenizer")
# A model prepares pictures and questions itself; no code of a repository is run, nothing fetched.
WITHOUT_EFFECT = (
    "framework",
    "num_workers",
    "padding",
    "timeout",
    "trust_remote_code",
    "truncation",
    "use_fast",
)

Pair = tuple[Any, Any]  # a picture and a question
Ranked = list[dict[str, Any]]


@names_keywords
def pipeline(
    task: str | None = None,
    model: str | VQAModel | None = None,
    *,
    revision: str | None = None,
    device: Any = None,
    device_map: Any = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    token: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """A function that answers questions about pictures, called as in transformers.

    Args:
        task: `visual-question-answering` or `vqa`, the default if a model is named; or `decision`.
        model: a zoo name, `hub:OWNER/NAME`, `dir:PATH`, or as in transformers OWNER/NAME or the
            path of a folder; or a model that was loaded. Default: `vilt-b32-vqav2`.
        revision: branch, tag or commit of a model on the Hub.
        device: a number (-1: cpu, n: the n-th GPU), a name or torch.device; default: a GPU if there
            is one.
        device_map, dtype, torch_dtype: of published checkpoints, see `vqazoo.load`.
        token: None or True: that of the login or of HF_TOKEN; no other can be given.
        model_kwargs: more of `device_map`, `dtype`, `torch_dtype`, `cache_dir`.
        options: `top_k`, `batch_size` and decode options for every call; a tokenizer, processor
            or config only if it has the model's own name.

    Returns:
        A `VisualQuestionAnsweringPipeline` or, of the task `decision`, a `DecisionPipeline`.

    Raises:
        UnknownNameError: of the task or the model. ConfigError: an option is not understood.
    """
    _check_task(task, model)
    if token not in (None, True):
        raise ConfigError(
            "A token was given, but vqazoo reads it from the login only: run  hf auth login , or "
            "set HF_TOKEN."
        )
    for part in PROCESSORS:
        given = options.pop(part, None)
        if given not in (None, model):
            raise ConfigError(
                f"The option {part} is {str(given)[:60]!r}, but a model of vqazoo brings its own: "
                f"leave it out."
            )
    if model is None:
        model = _default_model()
        warnings.warn(
            f"No model was named, so it is {model!r}: name one.", VqazooWarning, stacklevel=2
        )
    made: Any = DecisionPipeline if task == DECISION else VisualQuestionAnsweringPipeline
    if isinstance(model, VQAModel):
        return made(model.to(_device(device, model)), **options)
    if not isinstance(model, (str, Path)):
        raise ConfigError(
            f"The model is a {type(model).__name__}, but a name or a model of vqazoo was expected: "
            f"save it with save_pretrained and give the path of its folder."
        )
    wanted = {"dtype": dtype or torch_dtype, "device_map": device_map}
    loading = _loading_options({**{k: v for k, v in wanted.items() if v}, **(model_kwargs or {})})
    if "device_map" not in loading or device is not None:
        loading["device"] = _device(device)
    loaded = load(_reference(str(model), revision), **loading)
    return made(loaded, **options)


class VisualQuestionAnsweringPipeline:
    """Answers questions about pictures; make one with `vqazoo.pipeline`.

    Attributes:
        model: the model of vqazoo.
        task: `visual-question-answering`.
    """

    task = TASKS[0]

    def __init__(
        self,
        model: VQAModel,
        top_k: int | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        self.model = model
        self.top_k = top_k
        self.batch_size = batch_size
        self.decode = self._decode(options)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def writes(self) -> bool:
        """Whether the head writes answers, rather than picks them from a list."""
        return self.model.head_manifest.answer_mode == "generate"

    def __call__(
        self,
        image: Any,
        question: str | list[str] | None = None,
        top_k: int | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> Ranked | list[Ranked] | Iterator[Ranked]:
        """Answer one question about one picture, or many.

        Args:
            image: a picture (path, PIL image, array, tensor), a list or a dataset of them; or,
                without `question`, a dict with `image` and `question`, or a list, generator or
                dataset of such dicts.
            question: one, or a list. Several pictures and several questions: every picture with
                every question, the first question with all pictures first.
            top_k: how many answers, at most as many as the model knows; default 5, of a head that
                writes its answers 1.
            batch_size: rows at once; default: one of a generator or dataset, 64 of a list.
            options: decode options of the head, see `vqazoo info`, and `max_new_tokens`.

        Returns:
            For one question a list of dicts with `answer` and its `score`, best first; without
            `score` if the head writes its answers and no `top_k` is given. For a list a list of
            these, for a generator or a dataset of dicts an iterator over them.

        Raises:
            ImageError, QuestionError, ConfigError: as `VQAModel.answer`.
        """
        decode = {**self.decode, **self._decode(options)}
        top_k = self.top_k if top_k is None else top_k
        size = self.batch_size if batch_size is None else batch_size
        listed, streamed = (BATCH, 1) if size is None else (size, size)
        if question is not None:
            if not isinstance(question, list) and not _is_several(image):
                return next(self._results([(image, question)], top_k, 1, decode))
            return list(self._results(_pairs(image, question), top_k, listed, decode))
        if isinstance(image, Mapping):
            return next(self._results([_pair(image)], top_k, 1, decode))
        if isinstance(image, list):
            return list(self._results(map(_pair, image), top_k, listed, decode))
        if isinstance(image, types.GeneratorType) or _is_dataset(image):
            return self._results(map(_pair, _rows(image)), top_k, streamed, decode)
        raise QuestionError(
            "No question was given: call it with image and question, or with a dict of both."
        )

    def _results(
        self, asked: Iterable[Pair], top_k: int | None, size: int, decode: Mapping[str, Any]
    ) -> Iterator[Ranked]:
        """What each question gets, a batch at a time."""
        check_at_least_one("batch_size", size)
        count = (1 if self.writes else TOP_K) if top_k is None else top_k
        rows = iter(asked)
        while batch := list(islice(rows, size)):
            pictures, questions = [picture for picture, _ in batch], [text for _, text in batch]
            same = all(picture is pictures[0] for picture in pictures)  # then it is encoded once
            shown = pictures[0] if same else pictures
            for answer in self.model.answer(shown, questions, count, **decode):
                yield self._result(answer, scores=top_k is not None or not self.writes)

    def _result(self, answer: Answer, scores: bool) -> Ranked:
        if not scores:
            return [{"answer": answer.text}]
        best = (answer, *answer.alternatives)
        return [{"score": choice.score, "answer": choice.text} for choice in best]

    def _decode(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Those options that the head decodes with; they are checked when it answers."""
        kept = {name: value for name, value in options.items() if name not in WITHOUT_EFFECT}
        if "max_new_tokens" in kept and self.writes:
            kept["max_tokens"] = kept.pop("max_new_tokens")
        return kept


def _default_model() -> str:
    """The zoo model that the catalogue names for the task.

    Raises:
        ConfigError: there is none in a catalogue of one's own.
    """
    named = [name for name, entry in entries().items() if entry.default_for == TASKS[0]]
    if not named:
        raise ConfigError(
            f"No model was named, and the catalogue has none for '{TASKS[0]}': name one."
        )
    return named[0]


def _check_task(task: str | None, model: Any) -> None:
    if task is None and model is None:
        raise ConfigError(f"Neither a task nor a model was named: give the task '{TASKS[0]}'.")
    if task is not None and task not in (*TASKS, DECISION):
        raise UnknownNameError(
            f"Unknown task {task!r}.{did_you_mean(task, (*TASKS, DECISION))} vqazoo has the tasks "
            f"'{TASKS[0]}' and '{DECISION}' only; others are in transformers."
        )


def _reference(model: str, revision: str | None) -> str:
    """The reference that `vqazoo.load` takes."""
    if model in entries():
        reference = model
    elif Path(model).expanduser().is_dir():
        reference = f"dir:{model}"
    else:
        reference = f"hub:{model}" if "/" in model and ":" not in model else model
    if not revision:
        return reference
    if not reference.startswith("hub:"):
        raise ConfigError(
            f"The revision {revision!r} was given, but {reference!r} is not on the Hub: leave it "
            f"out."
        )
    return f"{reference}@{revision}"


def _loading_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `vqazoo.load` out of those of transformers."""
    known = ("cache_dir", "device_map", "dtype", "torch_dtype")
    for name in given:
        if name not in known:
            raise ConfigError(
                f"Unknown option {name!r} in model_kwargs.{did_you_mean(name, known)} It must be "
                f"one of {', '.join(known)}."
            )
    kept = {name: value for name, value in given.items() if name != "torch_dtype"}
    dtype = str(kept.pop("dtype", given.get("torch_dtype", "auto"))).removeprefix("torch.")
    return kept if dtype == "auto" else {**kept, "dtype": dtype}


def _device(device: Any, model: VQAModel | None = None) -> str:
    """A name that torch knows; of a model that was loaded, by default where it is."""
    if device is None:
        return str(model.device) if model is not None else _gpu(0) or "cpu"
    if not isinstance(device, int):
        return str(device)
    if device < 0:
        return "cpu"
    gpu = _gpu(device)
    if gpu is None:
        warnings.warn(
            f"There is no GPU, so device {device} is the CPU.", VqazooWarning, stacklevel=3
        )
    return gpu or "cpu"


def _gpu(number: int) -> str | None:
    return f"cuda:{number}" if torch.cuda.is_available() else None


def _is_dataset(source: Any) -> bool:
    """Whether it is one of torch, as transformers' KeyDataset, or of the package datasets."""
    return isinstance(source, Dataset) or hasattr(source, "column_names")


def _is_several(image: Any) -> bool:
    return isinstance(image, list) or _is_dataset(image)


def _rows(source: Any) -> Iterator[Any]:
    """The rows of a generator or of a dataset, which need not say itself where it ends."""
    if isinstance(source, Sized):
        return (source[row] for row in range(len(source)))  # type: ignore[index]
    return iter(source)


def _pairs(image: Any, question: str | list[str]) -> Iterator[Pair]:
    """Every picture with every question, the first question with all pictures first."""
    questions = question if isinstance(question, list) else [question]
    for text in questions:
        for picture in _rows(image) if _is_several(image) else [image]:
            yield picture, text


def _pair(row: Any) -> Pair:
    """The picture and the question of a dict."""
    if not isinstance(row, Mapping) or not {"image", "question"} <= set(row):
        fault = (
            f"has only {', '.join(map(repr, row))}" if isinstance(row, Mapping) else f"is {row!r}"
        )
        raise QuestionError(
            f"A row {fault[:80]}, but a dict with 'image' and 'question' was expected: write one."
        )
    return row["image"], row["question"]

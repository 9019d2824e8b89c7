"""What models cost beside what they score: time, memory, size and money of the same questions.

Each model is loaded in a process of its own, so that its peak of memory is its own, and is asked
one question after the other. Torch-free until a model is measured.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqazoo.data.own_files import TEST
from vqazoo.errors import ConfigError, DataError, VqazooError
from vqazoo.files.writing import json_bytes
from vqazoo.keywords import names_keywords
from vqazoo.progress import Progress, Report, unshown
from vqazoo.zoo.evaluate import Subject, subject

if TYPE_CHECKING:
    from vqazoo.data import Example

WARM_UP = 2  # questions asked before the clock runs
ASKED = 100  # questions asked, unless others are wanted
ONE_MORE = "one more question was answered"  # what the process says after each
WORKER = "import sys; from vqazoo.zoo.cost import measure_alone; measure_alone(sys.argv[1])"
KIB = 1024


@dataclass(frozen=True)
class Job:
    """What a process is to measure; `rows` are numbers of questions of the split."""

    reference: str
    data: str
    split: str
    args: Mapping[str, Any]
    rows: Sequence[int]
    device: str
    dtype: str


@dataclass(frozen=True)
class Timing:
    """What a process measured.

    Attributes:
        answers: to each question, in order.
        seconds: of each, asked alone, warm.
        memory: peak of the process in bytes, Python and torch included; accelerator: of tensors on
            a GPU, 0 without one.
        parameters, bytes: of the whole model, frozen encoders included, as they are in memory.
    """

    answers: list[str]
    seconds: list[float]
    memory: int
    accelerator: int
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Cost:
    """One model's column of the table.

    Attributes:
        score, interval: by `metric`; p50, p95: seconds of a question; per_thousand: seconds of a
            thousand questions one after the other; money: of these, in the price's currency.
    """

    reference: str
    metric: str
    score: float
    interval: tuple[float, float]
    p50: float
    p95: float
    per_thousand: float
    money: float | None
    memory: int
    accelerator: int
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Costs:
    """Both columns, how many questions they rest on, and whether one is better, in a sentence."""

    questions: int
    pictures: int
    columns: tuple[Cost, ...]
    verdict: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@names_keywords
def compare_costs(
    references: Sequence[str],
    data: str,
    split: str = "",
    *,
    data_args: Mapping[str, Any] | None = None,
    rows: int = ASKED,
    device: str = "cpu",
    dtype: str = "float32",
    price_per_hour: float | None = None,
    skip_missing: bool = False,
    seed: int = 0,
    report: Report = print,
    measure: Callable[[Job], Timing] | None = None,
    progress: Progress = unshown,
) -> Costs:
    """Ask two models the same questions and put scores and costs side by side.

    Args:
        references: of the models, as `vqazoo.load` takes them.
        data, split, data_args: as for `vqazoo.evaluate`.
        rows: how many questions with answers, drawn with `seed` where there are more.
        device, dtype: where they answer; the dtype is of published checkpoints alone.
        price_per_hour: of the machine; None: no money is told.
        measure: what measures one model; None: `measured_alone`, whose questions `progress` shows.

    Raises:
        ConfigError: an argument cannot be meant. DataError: no question has an answer.
        VqazooError: as `vqazoo.load` and `vqazoo.evaluate`.
    """
    from vqazoo.evaluation.clusters import told_by_content

    if price_per_hour is not None and not 0 < price_per_hour < math.inf:
        raise ConfigError(
            f"The price per hour is {price_per_hour}, but a number above 0 was expected: leave it "
            f"out for seconds alone."
        )
    subjects = [
        subject(ref, data, split, data_args, skip_missing, None, report, skip_missing)
        for ref in references
    ]
    questions = subjects[0].questions
    answered = [n for n, example in enumerate(questions.examples) if example.answers]
    if not answered:
        raise DataError(
            f"The split '{split or TEST}' of '{data}' has no answers: nothing can be scored."
        )
    if len(answered) > rows:
        answered = sorted(random.Random(seed).sample(answered, rows))
    examples = [questions.examples[n] for n in answered]
    measured = []
    for about in subjects:
        report(f"Asking {about.reference} {len(examples):,} questions, one after the other.")
        plain = about.found.published is None
        job = Job(
            about.reference,
            data,
            split,
            dict(data_args or {}),
            answered,
            device,
            "float32" if plain else dtype,
        )
        measured.append(measure(job) if measure else measured_alone(job, progress))
    pictures = told_by_content(examples)
    return _costs(subjects, examples, pictures, measured, price_per_hour, seed)


def _costs(
    subjects: Sequence[Subject],
    examples: Sequence[Example],
    pictures: Sequence[str],
    measured: Sequence[Timing],
    price: float | None,
    seed: int,
) -> Costs:
    import numpy as np

    from vqazoo.evaluation.agreement import measured as scored
    from vqazoo.evaluation.metrics.proportions import score_interval
    from vqazoo.evaluation.metrics.significance import compare, drawn, smallest_difference
    from vqazoo.evaluation.metrics.verdict import verdict
    from vqazoo.interfaces import Answer

    columns, scores, kept = [], [], list(pictures)
    for about, said in zip(subjects, measured, strict=True):
        metric, rows, marks = scored(examples, [Answer(text, 1.0) for text in said.answers])
        kept = [pictures[row] for row in rows]
        low, high = score_interval(marks, kept).interval
        per_thousand = 1000 * float(np.mean(said.seconds))
        columns.append(
            Cost(
                about.reference,
                metric,
                float(marks.mean()),
                (float(low), float(high)),
                float(np.percentile(said.seconds, 50)),
                float(np.percentile(said.seconds, 95)),
                per_thousand,
                None if price is None else price * per_thousand / 3600,
                said.memory,
                said.accelerator,
                said.parameters,
                said.bytes,
            )
        )
        scores.append(marks)
    comparison = compare(scores[0], scores[1], seed, pictures=kept)
    smallest = smallest_difference(scores[0] - scores[1], kept)
    swapped, clusters = drawn(kept), len(set(kept))
    told = verdict(comparison, smallest, clusters, swapped, ("first", "second"))
    return Costs(len(scores[0]), clusters, tuple(columns), told)


def measured_alone(job: Job, progress: Progress = unshown) -> Timing:
    """Measure in a process of its own; `progress` shows the questions.

    Raises:
        VqazooError: what the process says is wrong, or that it ended without a word.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "job.json").write_bytes(json_bytes(asdict(job)))
        command = [sys.executable, "-c", WORKER, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ended:
            assert ended.stdout is not None
            for _ in progress(range(len(job.rows)), "questions"):
                next((line for line in ended.stdout if line.strip() == ONE_MORE), None)
            ended.stdout.read()  # or the process would wait until somebody does
        result = place / "result.json"
        if not result.is_file():
            raise VqazooError(
                f"The process that asked '{job.reference}' ended with {ended.returncode}: where "
                f"memory was too small, ask a smaller model, or take --dtype bfloat16."
            )
        said = json.loads(result.read_text(encoding="utf-8"))
    if "error" in said:
        raise VqazooError(said["error"])
    return Timing(**said)


def measure_alone(folder: str) -> None:
    """What that process does: read job.json of a folder, write result.json."""
    place = Path(folder)
    job = Job(**json.loads((place / "job.json").read_text(encoding="utf-8")))
    try:
        said: dict[str, Any] = asdict(measure(job, _tell_one_more))
    except VqazooError as error:
        said = {"error": str(error)}
    (place / "result.json").write_bytes(json_bytes(said))


def _tell_one_more() -> None:
    """A line to the process that started this one, which counts them."""
    os.write(sys.stdout.fileno(), f"{ONE_MORE}\n".encode())


def measure(job: Job, told: Callable[[], None] = lambda: None) -> Timing:
    """Load the model and ask it, here; `told` is called after each question."""
    import torch

    about = subject(job.reference, job.data, job.split, job.args, report=_silent, look=False)
    model = about.load(job.device, job.dtype)
    examples = [about.questions.examples[row] for row in job.rows]
    on_gpu = model.device.type == "cuda"
    for example in examples[:WARM_UP]:
        model.answer_examples([example.image], [example])
    answers, seconds = [], []
    for example in examples:
        before = time.perf_counter()
        (answer,) = model.answer_examples([example.image], [example])
        if on_gpu:
            torch.cuda.synchronize(model.device)
        seconds.append(time.perf_counter() - before)
        answers.append(answer.text)
        told()
    weights = [*model.parameters()]
    return Timing(
        answers,
        seconds,
        _peak(),
        torch.cuda.max_memory_allocated(model.device) if on_gpu else 0,
        sum(weight.numel() for weight in weights),
        sum(weight.numel() * weight.element_size() for weight in weights),
    )


def _peak() -> int:
    """The most memory that this process had, in bytes; 0 where the system does not tell."""
    with contextlib.suppress(OSError):  # Linux: ru_maxrss would count the parent before exec
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * KIB
    try:
        import resource
    except ImportError:  # Windows has no such module
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * KIB)


def _silent(line: str) -> None:
    """What a process says about its data was said before by the one that started it."""

"""How fast a VQA v2-sized set is scored: run `python tests/benchmarks/scoring.py`.

214,354 questions with ten answers each, words of Zipf-like frequency. Prints the seconds of VQA
accuracy in both normalisations with all types, and of every metric that `vqazoo eval` computes.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from vqazoo.data import Example
from vqazoo.evaluation.metrics import vqa_accuracy
from vqazoo.evaluation.score import score
from vqazoo.interfaces import Answer

QUESTIONS = 214_354
WORDS = 4000
TYPES = ("yes/no", "number", "other")


def main() -> None:
    rng = random.Random(0)

    def word() -> str:
        text = f"word{int(WORDS ** rng.random())}"
        return f"the {text}." if rng.random() < 0.1 else text

    examples, answers = [], []
    for number in range(QUESTIONS):
        usual = word()
        people = tuple(usual if rng.random() < 0.7 else word() for _ in range(10))
        examples.append(
            Example(
                Path("x.jpg"),
                "what?",
                people,
                str(number),
                answer_type=TYPES[number % 3],
                question_type=f"what {number % 65}",
            )
        )
        answers.append(Answer(usual if rng.random() < 0.6 else word(), rng.random()))
    start = time.perf_counter()
    for measure in (vqa_accuracy.accuracy, vqa_accuracy.accuracy_always):
        for example, answer in zip(examples, answers, strict=True):
            measure(answer.text, example.answers)
    print(f"VQA accuracy, both normalisations: {time.perf_counter() - start:.1f} s")
    vqa_accuracy.official_form.cache_clear()
    start = time.perf_counter()
    metrics = score(examples, answers, "vqav2", "val")
    print(f"all {len(metrics)} metrics: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()

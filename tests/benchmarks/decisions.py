"""What 15 questions about one picture cost beside a single one, as CPU time.

Run:  python -m tests.benchmarks.decisions
"""

from __future__ import annotations

import time
from collections.abc import Callable

from PIL import Image

import vqazoo
from vqazoo.decisions import ChoiceQuestion

QUESTIONS, ROUNDS, MOST_RATIO = 15, 7, 1.5
MODELS = {
    "effnet-minilm-mlp-daquar": lambda: vqazoo.load("effnet-minilm-mlp-daquar"),
    "tiny-clip-linear-easyvqa": lambda: vqazoo.load("tiny-clip-linear-easyvqa"),
    "vit-b/16, random": lambda: vqazoo.create(
        image_encoder="timm:vit_base_patch16_224",
        text_encoder="tiny-clip",
        head="mlp",
        answers=["white", "table"],
        pretrained=False,
    ),
}


def seconds(work: Callable[[], object]) -> float:
    """The least CPU time of some rounds."""
    spent = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def main() -> None:
    picture = Image.effect_noise((224, 224), 60).convert("RGB")
    for name, make in MODELS.items():
        model = make()
        asked = [
            ChoiceQuestion(f"what is thing {number}?", model.answers.texts[:2])
            for number in range(QUESTIONS)
        ]
        alone = seconds(lambda: model.decide(picture, asked[:1]))  # noqa: B023
        together = seconds(lambda: model.decide(picture, asked))  # noqa: B023
        ratio = together / alone
        told = "" if ratio <= MOST_RATIO else f", more than {MOST_RATIO}"
        print(f"{name}: {1000 * alone:.1f} ms, {1000 * together:.1f} ms, ratio {ratio:.2f}{told}")


if __name__ == "__main__":
    main()

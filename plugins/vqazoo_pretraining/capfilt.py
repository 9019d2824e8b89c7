"""CapFilt: a captioner and a filter, made of one pretrained model, clean noisy captions.

Source: Li et al. 2022, BLIP, section 3.3. Imports torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.files.json_text import json_text
from vqazoo.files.writing import json_bytes, write_file
from vqazoo.keywords import names_keywords
from vqazoo.progress import Progress
from vqazoo.training.engine import Engine
from vqazoo.training.run_folder import one_writer, writing
from vqazoo.training.step_run import StepRun
from vqazoo.training.stepping import step_engine
from vqazoo_pretraining.captions import Pair, check_pictures, read_pairs
from vqazoo_pretraining.kept import KeptValues
from vqazoo_pretraining.loop import Pictures, Settings, check_batch, fit
from vqazoo_pretraining.marks import marks, pretrained_digest
from vqazoo_pretraining.models import CHECKPOINT, load_pretraining
from vqazoo_pretraining.pretrain import WRITE_BATCH, write_captions
from vqazoo_pretraining.retrieval import MATCHED, match_all, truths

CAPTIONS, DECISIONS, REPORT = "captions.jsonl", "decisions.jsonl", "report.json"
STAGES = "stages.jsonl"  # what the stages wrote, batch by batch
WRITTEN, WEB, SYNTHETIC = "written", "web matches", "synthetic matches"  # in it
KEPT, REPLACED, DROPPED = OUTCOMES = ("kept", "replaced", "dropped")
DECODE: dict[
    str, dict[str, Any]
] = {  # section 4.2: nucleus p = 0.9, or beam search; 3 as in the authors' captioner
    "nucleus": {"strategy": "nucleus", "top_p": 0.9, "temperature": 1.0},
    "beam": {"strategy": "beam", "beam_size": 3},
}
EXAMPLES = 5  # of each outcome in the report


@dataclass(frozen=True)
class Options:
    """What `vqazoo capfilt` was asked for; see its help."""

    data: Path
    start: Path
    human: Path
    steps: int = 300
    batch_size: int = 128
    learning_rate: float = 2e-4
    strategy: str = "nucleus"
    threshold: float = 0.5
    seed: int = 0
    device: str = "auto"
    accumulate: int = 1
    precision: str = "fp32"
    save_every: int = 200


@dataclass(frozen=True)
class Decision:
    """What became of a noisy pair: probabilities of matching for its text and a written one."""

    pair: Pair
    web: float
    synthetic: str
    synthetic_match: float
    threshold: float

    @property
    def keeps_web(self) -> bool:
        return self.web >= self.threshold

    @property
    def keeps_synthetic(self) -> bool:
        return self.synthetic_match >= self.threshold and bool(self.synthetic)

    @property
    def outcome(self) -> str:
        """If its own text stays `kept`, if only the written one does `replaced`, else `dropped`."""
        return KEPT if self.keeps_web else REPLACED if self.keeps_synthetic else DROPPED


@names_keywords
def run(
    options: Options,
    out: Path,
    report: Callable[[str], None],
    progress: Progress,
    resume: bool = False,
) -> dict[str, Any]:
    """Clean a set and write captions, decisions and report into `out`; the report.

    Of several processes only the first writes and reports; the others give no figures.

    Args:
        resume: go on with the run of the same options in `out`. A stage that is over (captioner,
            captions, filter, matches) is not repeated, and what it has written so far is kept.

    Raises:
        VqazooError: data or the pretrained folder cannot be used.
    """
    with (
        one_writer(out),
        step_engine(options.device, options.precision, options.accumulate) as (engine, accumulate),
    ):
        if not engine.first:
            report, progress = (lambda line: None), (lambda steps, label: iter(steps))
        options = replace(options, accumulate=accumulate)
        step_run = StepRun(out, told_options(options), resume)
        return _run(options, step_run, engine, report, progress)


def told_options(options: Options) -> dict[str, Any]:
    """The options as JSON knows them."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(options).items()
    }


def _run(
    options: Options,
    step_run: StepRun,
    engine: Engine,
    report: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    out, device = step_run.out, engine.device
    noisy, human = read_pairs([options.data]), read_pairs([options.human])
    check_pictures([*noisy, *human])
    check_batch(len(human), options.batch_size)
    encoder = load_checkpoint(options.start / CHECKPOINT).to(device)
    step_run.know_data(
        {
            **marks({"noisy pairs": noisy, "trusted pairs": human}),
            "files of the pretrained model": pretrained_digest(options.start),
        }
    )
    kept = KeptValues(out / STAGES, step_run, engine)
    pictures = Pictures(encoder, [*human, *noisy], progress, report)
    rows = range(len(human), len(human) + len(noisy))

    def tuned(stage: str, names: Sequence[str]) -> Any:
        """A copy of the pretrained model, fine-tuned on the human pairs."""
        report(f"Fine-tuning on {len(human):,} trusted pairs: {', '.join(names)}.")
        torch.manual_seed(options.seed)
        copy = load_pretraining(options.start, options.batch_size, 0).to(device)
        settings = Settings(
            options.steps,
            options.batch_size,
            options.learning_rate,
            options.seed,
            options.save_every,
            options.accumulate,
        )
        captions = [pair.caption for pair in human]
        fit(copy, names, pictures, captions, settings, report, engine, run=step_run, stage=stage)
        return copy.eval()

    started = time.perf_counter()
    draw = {"seed": options.seed} if options.strategy == "nucleus" else {}
    decode = {**DECODE[options.strategy], **draw}
    if not kept.whole(WRITTEN, len(noisy)):
        captioner = tuned("captioner", ["lm"])

        def write(at: int, rest: int) -> list[str]:
            drawn = {"seed": decode["seed"] + at} if draw else {}
            return write_captions(captioner, pictures, rows[at:rest], **{**decode, **drawn})

        kept.fill(WRITTEN, len(noisy), WRITE_BATCH, write)
        del captioner
    written = kept.values(WRITTEN)
    texts = {WEB: [pair.caption for pair in noisy], SYNTHETIC: written}
    if not all(kept.whole(name, len(noisy)) for name in texts):
        judge = tuned("filter", ["itc", "itm"]).objectives
        for name, said in texts.items():

            def match(at: int, rest: int, said: Sequence[str] = said) -> list[float]:
                return match_all(judge, pictures, rows[at:rest], said[at:rest]).tolist()

            kept.fill(name, len(noisy), MATCHED, match)
    if not engine.first:
        return {}
    web, synthetic = (torch.tensor(kept.values(name)) for name in texts)  # (n,) each
    decisions = decide(noisy, web, written, synthetic, options.threshold)
    figures = summary(decisions, len(human))
    figures["seconds"] = round(time.perf_counter() - started, 1)
    figures["options"] = told_options(options)
    lines = [_line(pair, pair.caption, "human", out) for pair in human]
    for decision in decisions:
        lines += [_line(decision.pair, decision.pair.caption, "web", out)] * decision.keeps_web
        lines += [
            _line(decision.pair, decision.synthetic, "synthetic", out)
        ] * decision.keeps_synthetic

    with writing(out):
        write_file(out / CAPTIONS, _json_lines(lines))
        write_file(
            out / DECISIONS, _json_lines([_decision_line(decision, out) for decision in decisions])
        )
        write_file(out / REPORT, json_bytes(figures))
    return figures


def decide(
    noisy: Sequence[Pair], web: Tensor, written: Sequence[str], synthetic: Tensor, threshold: float
) -> list[Decision]:
    """A decision for each noisy pair, from the probabilities (n,) of both its texts."""
    every = zip(noisy, web.tolist(), written, synthetic.tolist(), strict=True)
    return [Decision(pair, said, text, other, threshold) for pair, said, text, other in every]


def summary(decisions: Sequence[Decision], human: int) -> dict[str, Any]:
    """Counts, examples, and where truth is known how right the filter was."""
    count = len(decisions)
    web = sum(decision.keeps_web for decision in decisions)
    synthetic = sum(decision.keeps_synthetic for decision in decisions)
    figures: dict[str, Any] = {
        "noisy_pairs": count,
        **{name: sum(decision.outcome == name for decision in decisions) for name in OUTCOMES},
        "texts": {
            "human": human,
            "web": web,
            "synthetic": synthetic,
            "all": human + web + synthetic,
        },
        "removed_share": {
            "web": _share(count - web, count),
            "synthetic": _share(count - synthetic, count),
        },
    }
    known = [decision for decision in decisions if decision.pair.correct is not None]
    if known:
        figures["filter_of_web_texts"] = filter_figures(
            [decision.pair.correct is False for decision in known],
            [not decision.keeps_web for decision in known],
        )
    truth = truths(
        [decision.synthetic for decision in decisions], [decision.pair for decision in decisions]
    )
    if truth is not None:
        figures["filter_of_synthetic_texts"] = filter_figures(
            [not true for true in truth], [not decision.keeps_synthetic for decision in decisions]
        )
    figures["examples"] = {
        name: [
            {
                "image": decision.pair.image.name,
                "web": decision.pair.caption,
                "web_match": round(decision.web, 3),
                "synthetic": decision.synthetic,
                "synthetic_match": round(decision.synthetic_match, 3),
            }
            for decision in decisions
            if decision.outcome == name
        ][:EXAMPLES]
        for name in OUTCOMES
    }
    return figures


def filter_figures(wrong: Sequence[bool], removed: Sequence[bool]) -> dict[str, Any]:
    """How well removing found what is wrong.

    Returns:
        precision: share of the removed texts that are wrong; recall: share of the wrong ones that
        were removed; the shares of right texts before and after. None where nothing is divided.
    """
    both = sum(w and r for w, r in zip(wrong, removed, strict=True))
    kept = len(removed) - sum(removed)
    return {
        "texts": len(wrong),
        "wrong": sum(wrong),
        "removed": sum(removed),
        "removed_and_wrong": both,
        "precision": _share(both, sum(removed)),
        "recall": _share(both, sum(wrong)),
        "right_before": _share(len(wrong) - sum(wrong), len(wrong)),
        "right_after": _share(kept - (sum(wrong) - both), kept),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _line(pair: Pair, caption: str, source: str, out: Path) -> dict[str, Any]:
    """A row of the new set; the picture's path is relative to its folder, where it can be."""
    line: dict[str, Any] = {"image": _beside(pair.image, out), "caption": caption, "id": pair.id}
    return line | {"source": source} | ({"objects": pair.objects} if pair.objects else {})


def _beside(image: Path, out: Path) -> str:
    try:
        return Path(os.path.relpath(image, out)).as_posix()
    except ValueError:  # on another drive
        return str(image.absolute())


def _decision_line(decision: Decision, out: Path) -> dict[str, Any]:
    texts = {
        "web": {
            "text": decision.pair.caption,
            "match": round(decision.web, 4),
            "kept": decision.keeps_web,
        },
        "synthetic": {
            "text": decision.synthetic,
            "match": round(decision.synthetic_match, 4),
            "kept": decision.keeps_synthetic,
        },
    }
    return {
        "image": _beside(decision.pair.image, out),
        "id": decision.pair.id,
        "outcome": decision.outcome,
    } | texts


def _json_lines(lines: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json_text(line, ascii_only=True) + "\n" for line in lines).encode()

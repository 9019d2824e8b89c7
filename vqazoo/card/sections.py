"""Sections of the model card that say what a model is made of and knows, as Markdown.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from vqazoo.amounts import count
from vqazoo.card.facts import VALIDATION, Facts
from vqazoo.card.hub_results import hub_dataset
from vqazoo.card.metrics import folded, pictures, table
from vqazoo.config import Block
from vqazoo.files.places import public

VECTORS = {"pooled": "one vector", "tokens": "a sequence of vectors"}
MODES = {
    "crop": "resized, the centre cut out",
    "squash": "resized without keeping the aspect",
    "pad": "resized, padded to a square",
    "fit": "at most: each keeps its aspect",
    "patches": "if square: each keeps its aspect, in as many patches",
}
ANSWER_MODES = {"classify": "one of the known answers", "generate": "the answer, token by token"}
ANY_QUESTION = "what is in this picture?"


def parts(facts: Facts) -> str:
    """The architecture in words, and what each part is."""
    model, fusion = facts.model, facts.fusion
    towers = {"image": model.image_encoder, "text": model.text_encoder}
    image, text = (f"{side} encoder {public(block.type)}" for side, block in towers.items())
    wide = max(len(image), len(text))
    answers = ANSWER_MODES[facts.head.answer_mode]
    image_out, text_out = _offered(facts, "image"), _offered(facts, "text")
    lines = [
        f"picture   ->  {image:{wide}}  ->  {image_out}",
        f"question  ->  {text:{wide}}  ->  {text_out}",
        f"both      ->  {f'fusion {model.fusion.type}':{wide}}  ->  {VECTORS[fusion.provides]}",
        f"          ->  {f'head {model.head.type}':{wide}}  ->  {answers}",
    ]
    stated = facts.recipe is not None and facts.recipe.license
    own = "that of this card" if stated else "not stated, unless this card does"
    rows = [
        (
            f"{side} encoder",
            f"`{public(block.type)}`",
            facts.encoder(side).summary,
            _weights(facts.reference(side)),
            facts.license(side),
            _arguments(block),
        )
        for side, block in towers.items()
    ]
    rows += [
        (
            "fusion",
            f"`{model.fusion.type}`",
            fusion.summary,
            "in this folder",
            own,
            _arguments(model.fusion),
        ),
        (
            "head",
            f"`{model.head.type}`",
            facts.head.summary,
            "in this folder",
            own,
            _arguments(model.head),
        ),
    ]
    columns = ("part", "name", "what it is", "weights", "licence of the weights", "arguments")
    return "\n\n".join(
        ["```text\n" + "\n".join(lines) + "\n```", table(columns, rows), _trained(facts)]
    )


def _offered(facts: Facts, side: str) -> str:
    """What the fusion takes from one side."""
    wanted = sorted(name for name in facts.fusion.requires if name.startswith(f"{side}."))
    kinds = " and ".join(VECTORS[name.partition(".")[2]] for name in wanted) or "nothing"
    return f"{kinds}, which the fusion ignores" if facts.fusion.ignores == side else kinds


def _weights(reference: Mapping[str, str] | None) -> str:
    if reference is None:
        return "in this folder, random before training"
    at = f" at {reference['revision'][:12]}" if reference.get("revision") else ""
    if reference["kind"] == "file":
        return f"a file of whoever trained it: {PurePath(reference['source']).name}"
    return f"{reference['kind']} {reference['source']}{at}"


def _arguments(block: Block) -> str:
    return ", ".join(f"{key} {public(str(v))}" for key, v in block.args.items()) or "none"


def _trained(facts: Facts) -> str:
    """Pixels and parameters."""
    said = []
    pixels = facts.checkpoint.get("preprocess", {})
    if "size" in pixels:
        height, width = pixels["size"]
        mode = MODES.get(pixels.get("mode", ""), "")
        said.append(f"Pictures are {width} x {height} pixels{f' ({mode})' if mode else ''}.")
    counts = facts.environment.get("parameters") or facts.checkpoint.get("parameters")
    if counts:
        said.append(f"{counts['trainable']:,} of {counts['total']:,} parameters were trained.")
    rank = facts.recipe.training.lora.rank if facts.recipe else 0
    trainable = facts.checkpoint.get("trainable", [])
    if rank:
        said.append(f"Low-rank adapters of rank {rank} were trained and merged into the encoders.")
    elif trainable:
        said.append("The encoders were partly or wholly trained.")
    else:
        said.append("The encoders stayed frozen.")
    if decode := facts.model.decode:
        options = ", ".join(f"{name} {value}" for name, value in decode.items())
        said.append(f"Answers are decoded with {options}, unless asked otherwise.")
    return " ".join(said)


def how_to_run(facts: Facts) -> str:
    """How to load the model and ask it."""
    question = (facts.dataset and facts.dataset.example_question) or ANY_QUESTION
    asked = f"""answer = model.answer("photo.jpg", "{question}")
print(answer.text, answer.score)"""
    if facts.head.flaws:
        asked = """quality = model.quality("photo.jpg")
print(quality.worst, quality.advice, quality.flaws)"""
    return f"""```python
import vqazoo

model = vqazoo.load("{reference(facts)}")
{asked}
```

For a copy of your own write `dir:PATH` of its folder, or `hub:OWNER/NAME` of its Hub repository."""


def reference(facts: Facts) -> str:
    """How a user names the model."""
    return facts.name if facts.listed else "dir:PATH-OF-THIS-FOLDER"


def data(facts: Facts) -> str:
    """What it learnt from, and how many questions each split has."""
    recipe, manifest = facts.data, facts.dataset
    if recipe is None or manifest is None:
        said = ["What it was trained on was not recorded.", *_answers(facts), *_not_stated(facts)]
        return "\n\n".join(said)
    origin = (
        f"`{public(recipe.type)}`: {manifest.summary}. Source: {manifest.source}. "
        f"Licence: {manifest.license or 'not stated'}."
    )
    counts = facts.environment.get("questions", {})
    learnt = counts.get("train") or _counted(facts)
    beside = f", with a teacher's labels, `{PurePath(recipe.labels).name}`" if recipe.labels else ""
    rows = [(recipe.train_split, _number(learnt), f"to learn from{beside}")]
    validation = counts.get(VALIDATION) or _scored(facts, VALIDATION)
    if recipe.validation_split:
        rows.append((recipe.validation_split, _number(validation), "to choose the best epoch"))
    else:
        share = f"{100 * recipe.validation_fraction:g}%"
        how = f"to choose the best epoch: {share} of the pictures of {recipe.train_split}"
        rows.append(("(held out)", _number(validation), how))
    rows += [
        (
            split,
            count(_scored(facts, split, of)),
            "scored" if of == recipe.type else f"scored, of {public(of)}",
        )
        for of, split in facts.scored()
        if split != VALIDATION
    ]
    said = [origin, table(("split", "questions", "for"), rows)]
    said += _answers(facts)
    digests = facts.environment.get("data_sha256", {})
    if digests:
        listed = "\n".join(f"- {split}: `{digest}`" for split, digest in digests.items())
        said.append(folded("SHA-256 of the questions, answers and picture names", listed))
    else:
        said.append("Digests of the data were not recorded.")
    said += _not_stated(facts)
    return "\n\n".join(said)


def _not_stated(facts: Facts) -> list[str]:
    """How to state what nobody stated, on a card of somebody's own model."""
    if facts.listed:
        return []
    absent = {} if facts.languages else {"language": "the language of its questions and answers"}
    if not (facts.recipe and facts.recipe.license):
        absent["license"] = "the licence of its weights"
    return [
        f"The recipe does not state {what}: unless the head of this card does, it is unknown. "
        f"`--set {key}=...` states it when a model is trained, `vqazoo push --{key} ...` later."
        for key, what in absent.items()
    ]


def _answers(facts: Facts) -> list[str]:
    """How many answers it knows, in one paragraph, if that is recorded."""
    answers = facts.answers
    if answers is None:
        return []
    rule = f", chosen by the rule `{facts.data.answer_rule}`" if facts.data else ""
    known = f"It knows {len(answers):,} answers{rule}."
    if any(answers.counts):
        most = max(answers.counts)
        text = answers.texts[answers.counts.index(most)].replace("`", "'")
        known += (
            f" They are the answers of {answers.coverage:.1%} of the training questions. The most "
            f"frequent is `{text}` ({most:,} questions)."
        )
    return [known]


def _counted(facts: Facts) -> int:
    """Training questions, from how often each answer was learnt; 0 if that was not recorded."""
    answers = facts.answers
    return round(sum(answers.counts) / answers.coverage) if answers and answers.coverage else 0


def _scored(facts: Facts, split: str, data: str = "") -> int:
    """The most questions that any metric of a split was computed on."""
    own = data or (facts.data.type if facts.data else "")
    counts = [m.questions for m in facts.metrics if (m.data, m.split) == (own, split)]
    return max(counts, default=0)


def _number(questions: int) -> str:
    return count(questions) if questions else "not recorded"


def examples(facts: Facts) -> str:
    """Pictures with right and wrong answers."""
    shown = pictures(facts, "answers.png")
    if not shown and facts.data and not facts.shows_pictures:
        return (
            f"None here: as far as is known, pictures of `{public(facts.data.type)}` may not be "
            f"passed on. `vqazoo eval ... --out OUT` draws them on your machine."
        )
    return (
        shown[0]
        if shown
        else ("None recorded; `vqazoo eval dir:PATH-OF-THIS-FOLDER --out OUT --record` adds them.")
    )


def description(facts: Facts) -> dict[str, Any]:
    """Front matter that needs no metrics; what is not known is left out."""
    front: dict[str, Any] = {
        "library_name": "vqazoo",
        "pipeline_tag": "visual-question-answering",
    }
    if facts.recipe and facts.recipe.license:
        front["license"] = facts.recipe.license
    if facts.languages:
        front["language"] = facts.languages[0] if len(facts.languages) == 1 else facts.languages
    if facts.base_models():
        front["base_model"] = facts.base_models()
    if facts.data and (dataset := hub_dataset(facts.data.type)):
        front["datasets"] = [dataset.id]
    front["tags"] = [facts.model.head.type, facts.model.fusion.type]
    return front

"""`vqazoo ask` and `vqazoo caption`: one question, or none, about one picture or video."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from vqazoo.cli.completion import complete_model
from vqazoo.cli.deciding import decide, typed_question
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import (
    JSON,
    confidence_flags,
    decode_flags,
    decode_request,
    uncalibrated,
)
from vqazoo.cli.output import print_json, say
from vqazoo.wording import spoken

if TYPE_CHECKING:
    from vqazoo.interfaces import Answer
    from vqazoo.model import VQAModel
    from vqazoo.quality import Quality

F = TypeVar("F", bound=Callable[..., Any])


def _options(command: F) -> F:
    """What both verbs take."""
    for option in reversed(
        (
            click.option(
                "--top-k", type=click.IntRange(min=1), default=1, help="How many to print."
            ),
            click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ..."),
            click.option(
                "--dtype",
                default="float32",
                show_default=True,
                help="Of published checkpoints: float32, float16 or bfloat16.",
            ),
            click.option("--device-map", help="Of published checkpoints: as accelerate's, auto."),
            click.option(
                "--quantize",
                default="",
                metavar="8bit|4bit",
                help="The language model of a published checkpoint, by bitsandbytes.",
            ),
            JSON,
        )
    ):
        command = option(command)
    return command


@click.command(cls=ExampleCommand)
@click.argument("model", shell_complete=complete_model)
@click.argument("image")
@click.argument("question")
@decode_flags()
@click.option(
    "--choices",
    metavar="A,B,C",
    help="Choose one of these answers, with the probability of each; QUESTION is the question.",
)
@click.option(
    "--levels",
    metavar="LOW,...,HIGH",
    help="Place the answer on this scale; QUESTION is the question.",
)
@click.option(
    "--statement", is_flag=True, help="QUESTION is a statement: tell how likely it is true."
)
@click.option(
    "--nearest",
    is_flag=True,
    help="Score choices, levels and candidates that the model does not know as the nearest answer.",
)
@confidence_flags
@click.option(
    "--explain",
    "sheet",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw where the model looked and which words it heeded into this file.",
)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    help="Of --explain: attention, integrated-gradients, or auto: attention where there is some.",
)
@click.option(
    "--quality",
    "judge",
    metavar="MODEL",
    shell_complete=complete_model,
    help="Model that judges the picture, and says when to take it again.",
)
@click.option(
    "--ocr-tokens",
    "ocr_file",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="For models that copy words: the words that a reader found in IMAGE, with their boxes.",
)
@_options
def ask(
    model: str,
    image: str,
    question: str,
    candidates: Path | None,
    choices: str | None,
    levels: str | None,
    statement: bool,
    nearest: bool,
    uncalibrated: bool,
    abstain_at_risk: float | None,
    sheet: Path | None,
    method: str,
    judge: str | None,
    ocr_file: Path | None,
    top_k: int,
    decode: tuple[str, ...],
    as_json: bool,
    **where: Any,
) -> None:
    """Ask MODEL a QUESTION about IMAGE, a file with a picture or a video.

    MODEL is a zoo name, dir:PATH or hub:OWNER/NAME. With --choices, --levels or --statement it
    decides; see docs/how-to/choose.md.

    Example: vqazoo ask {model} photo.png "what color is the shape?"
    """
    import vqazoo
    from vqazoo.errors import ConfigError

    options, chosen = decode_request(decode, candidates)
    asked = typed_question(question, choices, levels, statement)
    about = {"model": model, "image": image, "question": question}
    if asked is not None:
        others = (top_k > 1, bool(decode), candidates, sheet, judge, abstain_at_risk is not None)
        if any(others) or ocr_file is not None:
            raise ConfigError(
                "--choices, --levels and --statement give every probability: leave out --top-k, "
                "--decode, --candidates, --explain, --quality, --abstain-at-risk and --ocr-tokens."
            )
        _check(image, question)
        decide(vqazoo.load(model, **where), image, asked, nearest, not uncalibrated, as_json, about)
        return
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise ConfigError(f"--explain is '{sheet}', but a file that ends in .png was expected.")
    if chosen is not None and abstain_at_risk is not None:
        raise ConfigError("--abstain-at-risk is for answers of the model's own: leave one out.")
    if ocr_file is not None and (chosen is not None or sheet is not None):
        raise ConfigError("--ocr-tokens is without --candidates and --explain: leave one out.")
    read = None if ocr_file is None else _read_words(ocr_file)
    _check(image, question)
    loaded, calibrated = vqazoo.load(model, **where), not uncalibrated
    if chosen is not None:
        unknown = "nearest" if nearest else "unscored"
        ranked = loaded.rank(image, question, chosen, top_k, calibrated=calibrated, unknown=unknown)
        answer = cast("Answer", ranked)
    else:
        answer = loaded.answer(
            image,
            question,
            top_k,
            calibrated=calibrated,
            abstain_at_risk=abstain_at_risk,
            ocr_tokens=read,
            **options,
        )
    if sheet is not None:
        _draw(loaded, image, question, method, answer, sheet)
    quality = None if judge is None else _judged(judge, image, where["device"])
    if as_json:
        more = {} if quality is None else {"quality": {**asdict(quality), "retake": quality.retake}}
        print_json({**_told(answer, about), "spoken": spoken(answer, quality), **more})
        return
    _print(answer, top_k)
    if quality is not None and quality.advice:
        say(quality.advice, err=True)


@click.command(cls=ExampleCommand)
@click.argument("model", shell_complete=complete_model)
@click.argument("image")
@decode_flags(candidates=False)
@uncalibrated
@_options
def caption(
    model: str,
    image: str,
    uncalibrated: bool,
    top_k: int,
    decode: tuple[str, ...],
    as_json: bool,
    **where: Any,
) -> None:
    """Let MODEL describe IMAGE, a file with a picture or a video.

    Example: vqazoo caption hub:OWNER/NAME photo.jpg
    """
    import vqazoo

    options, _ = decode_request(decode)
    _check(image)
    loaded = vqazoo.load(model, **where)
    description = loaded.caption(image, top_k, calibrated=not uncalibrated, **options)
    if as_json:
        print_json(_told(cast("Answer", description), {"model": model, "image": image}))
    else:
        _print(cast("Answer", description), top_k)


def _check(image: str, question: str | None = None) -> None:
    """Raise what asking would, of a picture and a question that cannot be used: a model takes
    seconds to load."""
    from vqazoo.data import check_question

    if question is not None:
        check_question(question)
    from vqazoo.media.video import is_video

    if not is_video(image):
        from vqazoo.media.images import open_image

        open_image(image)


def _draw(
    model: VQAModel, image: str, question: str, method: str, answer: Answer, file: Path
) -> None:
    """Write the sheet that explains an answer, whole or not at all."""
    from vqazoo.errors import DataError
    from vqazoo.explain import draw, explain
    from vqazoo.files.writing import write_file

    picture = io.BytesIO()
    draw(explain(model, image, question, method, answer), image).save(picture, "PNG")
    try:
        write_file(file, picture.getvalue())
    except OSError as error:
        raise DataError(f"'{file}' cannot be written ({error}): choose another place.") from error
    say(f"Wrote '{file}'.", err=True)


def _read_words(file: Path) -> Any:
    """The OCR tokens in a file of JSON."""
    from vqazoo.data.ocr import read_ocr_tokens
    from vqazoo.errors import DataError

    try:
        content = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{file}' cannot be read ({error}): write JSON in UTF-8.") from error
    return read_ocr_tokens(content.strip() or "{}", f"'{file}'")


def _judged(judge: str, image: str, device: str) -> Quality:
    """What a model says of the quality of the picture."""
    import vqazoo

    return cast("Quality", vqazoo.load(judge, device=device).quality(image))


def _told(answer: Answer, about: dict[str, str]) -> dict[str, Any]:
    """What was asked and the answers, as JSON has them."""
    fields = ("text", "score", "answer_type", "answerable", "abstained")
    ranked = (answer, *answer.alternatives)
    answers = [{name: getattr(choice, name) for name in fields} for choice in ranked]
    unscored = {"unscored": list(answer.unscored)} if answer.unscored else {}
    return {**about, "answers": answers, **unscored}


def _print(answer: Answer, top_k: int) -> None:
    ranked = (answer, *answer.alternatives)
    if answer.unscored:
        say(f"Not known to the model: {', '.join(answer.unscored)}.", err=True)
    if answer.abstained:
        say(f"{answer.text} ({answer.abstained})")
        return
    for choice in ranked:
        say(choice.text if top_k == 1 else f"{choice.score:7.2%}  {choice.text}")

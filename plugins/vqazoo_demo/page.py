"""The page of `vqazoo demo`. Imports Gradio, and torch and Pillow by way of the core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import PIL
from gradio.data_classes import ImageData

from vqazoo.data import check_question
from vqazoo.errors import ConfigError, ImageError, VqazooError
from vqazoo.media.images import open_image
from vqazoo_demo import results
from vqazoo_demo.asking import Models, Reply, sentence
from vqazoo_demo.examples import EXAMPLES
from vqazoo_demo.flagging import FlaggedTable
from vqazoo_demo.results import Turn

TITLE = "Ask about a picture"
INTRO = (
    f"# {TITLE}\n\nChoose a picture, write a question, and one or several models answer. "
    "They can be wrong: do not rely on an answer where a mistake would hurt."
)
# Older ones write beyond the buffer of a damaged JPEG (CVE-2026-112403); gradio still asks for one.
SOUND_PILLOW = 13
KEPT_TURNS = 10  # questions about one picture that are shown
PNG = b"\x89PNG\r\n\x1a\n"  # how each starts
STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
# Status lines that screen readers read out when they change.
LIVE = "element.setAttribute('role', 'status'); element.setAttribute('aria-live', 'polite');"
# Names for two groups that Gradio leaves without one; no button in a button in its notices.
NAMES = """() => {
  for (const [id, name] of [['models', 'Models'], ['picture', 'Picture']]) {
    const group = document.getElementById(id);
    group.setAttribute('role', 'group');
    group.setAttribute('aria-label', name);
  }
  const mend = () => {
    document.querySelectorAll('.toast-header[role]').forEach(header => {
      header.removeAttribute('role');
      header.removeAttribute('tabindex');
    });
    document.querySelectorAll('[data-testid="toast-text"]').forEach(text => {
      if (/^(Only image|Invalid file type)/.test(text.textContent))
        text.textContent = 'This file is no picture: choose one, such as a PNG or a JPEG file.';
    });
  };
  new MutationObserver(mend).observe(document.body, {childList: true, subtree: true});
}"""
SHOW_ANSWERS = "() => document.getElementById('answers').scrollIntoView({block: 'nearest'})"
ASKED = "what is in the picture?"  # where no example says what people may ask
QUIET = {"api_visibility": "private", "show_progress": "hidden"}
# However a question is asked, it waits in the same line; each model has a line of its own behind it
# (`Models.ask`), so that users of different models do not wait for one another. Who asks while it
# is still computed where models looked is answered next.
ASKING = {**QUIET, "trigger_mode": "always_last", "concurrency_id": "ask", "concurrency_limit": 8}


class Asked(NamedTuple):
    """What was asked last, which is what can be flagged; `given` is what the models answered.

    `turns` are all questions about this picture, the last one included.
    """

    image: str
    question: str
    given: str
    turns: tuple[Turn, ...] = ()


class Conversation:
    """What happens when a button is pressed."""

    def __init__(self, models: Models, flagged: FlaggedTable, top_k: int) -> None:
        self.models = models
        self.flagged = flagged
        self.top_k = top_k

    def ask(
        self,
        image: str | None,
        question: str,
        names: Sequence[str],
        show_look: bool,
        before: Asked | None = None,
    ) -> Iterator[list[Any]]:
        """Values for the answers, the status line, what was asked, and the form to flag it.

        A question about the picture of `before` follows up on those that were asked about it.
        """
        yield [gr.skip(), "Asking…", gr.skip(), gr.skip()]
        try:
            picture, question = _opened(image), check_question(question)
            if not names:
                raise ConfigError("No model is chosen: choose at least one.")
        except VqazooError as error:
            yield [results.problem(str(error)), str(error), gr.skip(), gr.update(visible=False)]
            return
        replies: list[Reply] = []
        turns = before.turns if before is not None and before.image == image else ()
        for name in names:
            waiting = [gr.skip(), gr.skip(), gr.update(visible=False)]
            label = self.models.labels[name]
            yield [results.page(picture, question, replies, label, turns), *waiting]
            replies.append(self.models.ask(name, picture, question, self.top_k, False))
        spoken = " ".join(results.spoken(reply) for reply in replies)
        given = "; ".join(_given(reply) for reply in replies)
        asked = Asked(str(image), question, given, (*turns, Turn(question, spoken))[-KEPT_TURNS:])
        told = [spoken, asked, gr.update(visible=True)]
        for number, name in enumerate(names if show_look else ()):  # the answers stand meanwhile
            label = self.models.labels[name]
            shown = results.page(picture, question, replies, looking_at=label, earlier=turns)
            yield [shown, *told]
            replies[number] = self.models.looked(name, replies[number], picture, question)
        yield [results.page(picture, question, replies, earlier=turns), *told]

    def flag(self, asked: Asked | None, right: str) -> tuple[str, Any]:
        """Keep the right answer; a sentence about it, and the emptied box."""
        try:
            if asked is None:
                raise ConfigError("Nothing was asked yet: ask first.")
            picture = _opened(asked[0])
            rows = self.flagged.add(picture, asked[1], right, asked[2])
        except Exception as error:  # the page tells it, and the terminal in full
            return results.problem(sentence(error, "Saving the right answer")), gr.skip()
        return results.saved(self.flagged.file, rows), ""

    def suited(self, names: Sequence[str]) -> list[bool]:
        """Which examples suit a model among these; all, if it is not known what one learnt."""
        learnt = {self.models.data[name] for name in names}
        return ["" in learnt or example.data in learnt for example in EXAMPLES]


def _opened(image: str | None) -> Any:
    """The uploaded picture.

    Raises:
        ImageError: there is none, or it cannot be read.
    """
    if image is None:
        raise ImageError("There is no picture: upload, photograph or paste one first.")
    _check_format(image)
    try:
        return open_image(image)
    except ImageError as error:
        raise ImageError(str(error).replace(image, Path(image).name)) from error


def _check_format(image: str) -> None:
    """Raises ImageError: no PNG, although this Pillow decodes only that without known holes."""
    if int(PIL.__version__.partition(".")[0]) >= SOUND_PILLOW:
        return
    with open(image, "rb") as opened:
        start = opened.read(len(PNG))
    if start != PNG:
        raise ImageError(
            f"This demo reads PNG only, since its Pillow {PIL.__version__} has known holes in "
            f"other formats: convert the picture to PNG, or have Pillow {SOUND_PILLOW} or newer "
            f"installed."
        )


def _given(reply: Reply) -> str:
    return f"{reply.answer.text if reply.answer else 'no answer'} ({reply.model})"


# ---- layout ---------------------------------------------------------------------------------


def build(models: Models, flagged: FlaggedTable, top_k: int, folder: Path) -> gr.Blocks:
    """The page.

    Args:
        top_k: how many answers of a model are shown.
        folder: for the pictures of the examples.
    """
    talk = Conversation(models, flagged, top_k)
    suited = talk.suited(models.chosen)
    likely = next((e.question for e, suits in zip(EXAMPLES, suited, strict=True) if suits), ASKED)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        asked = gr.State(None)
        gr.Markdown(INTRO, elem_id="intro")
        with gr.Row():
            with gr.Column(scale=5, min_width=280):
                inputs = _inputs(models, likely)
                ask = gr.Button("Ask", variant="primary", size="lg", elem_id="ask")
            with gr.Column(scale=7, min_width=280):
                gr.Markdown("## Answers")
                status = gr.HTML("", elem_id="status", js_on_load=LIVE)
                answers = gr.HTML(results.nothing_yet(any(suited)), elem_id="answers")
                form = _flag_form(talk, asked)
                heading, examples = _examples(talk, folder)
        outputs = [answers, status, asked, form]
        for event in (ask.click, inputs[1].submit):
            event(talk.ask, [*inputs, asked], outputs, **ASKING)
        for button, fill in examples:
            filled = button.click(fill, None, inputs[:2], **QUIET)
            filled.then(talk.ask, [*inputs, asked], outputs, **ASKING)
            filled.then(None, js=SHOW_ANSWERS)
        inputs[2].change(
            lambda names: _shown(talk.suited(names)),
            inputs[2],
            [heading, *(button for button, _ in examples)],
            **QUIET,
        )
        page.load(None, js=NAMES)
    return page


def _inputs(models: Models, likely: str) -> list[gr.components.Component]:
    """Picture, question such as the likely one, models, and whether to show where they looked."""
    picture = gr.Image(
        label="Picture",
        sources=["upload", "webcam", "clipboard"],
        height=300,
        buttons=[],
        webcam_options=gr.WebcamOptions(mirror=False),
        elem_id="picture",
        alt_text="The picture that you ask about",
    )
    # Gradio would open the file itself, with errors that are no sentences. A subclass would do
    # too, but Gradio writes a .pyi file beside each.
    picture.preprocess = _path
    return [
        picture,
        gr.Textbox(
            label="Question",
            placeholder=likely,
            max_lines=1,
            elem_id="question",
        ),
        gr.CheckboxGroup(
            [(models.labels[name], name) for name in models.names],
            value=models.chosen,
            label="Models (several answer side by side)",
            elem_id="models",
        ),
        gr.Checkbox(True, label="Show where each model looked", elem_id="look"),
    ]


def _path(uploaded: ImageData | None) -> str | None:
    return uploaded.path if uploaded else None


def _flag_form(talk: Conversation, asked: gr.State) -> gr.Column:
    with gr.Column(visible=False, elem_id="flag") as form:
        gr.Markdown("## Is an answer wrong?")
        with gr.Row(equal_height=True):
            right = gr.Textbox(
                label=f"The right answer, to be saved in {talk.flagged.file.name}",
                max_lines=1,
                scale=3,
                min_width=180,
                elem_id="right",
            )
            save = gr.Button("Save", scale=1, min_width=90, elem_id="save")
        said = gr.HTML("", elem_id="saved", js_on_load=LIVE)
    for event in (save.click, right.submit):
        event(talk.flag, [asked, right], [said, right], **QUIET)
    return form


def _shown(suited: Sequence[bool]) -> list[Any]:
    """Which of the heading and the examples are to be seen; no heading where no example is."""
    return [gr.update(visible=shows) for shows in (any(suited), *suited)]


def _examples(talk: Conversation, folder: Path) -> tuple[gr.Markdown, list[tuple[gr.Button, Any]]]:
    """Their heading, and a button for each with what gives its picture and question."""
    suited = talk.suited(talk.models.chosen)
    heading = gr.Markdown("## Examples", visible=any(suited), elem_id="examples-heading")
    buttons = []
    with gr.Row(elem_id="examples"):
        for number, (example, suits) in enumerate(zip(EXAMPLES, suited, strict=True)):
            file = folder / f"example-{number}.png"
            example.paint().save(file)
            button = gr.Button(
                f"{example.about}: {example.question}",
                icon=str(file),
                visible=suits,
                elem_classes="example",
            )
            values = (str(file), example.question)
            buttons.append((button, lambda values=values: values))
    return heading, buttons


def theme() -> gr.themes.Base:
    """Fonts of the system, since others would be fetched, and colours with enough contrast."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        font=[gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")],
        font_mono=[gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")],
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        checkbox_background_color_selected="*primary_700",
        checkbox_background_color_selected_dark="*primary_600",
    )

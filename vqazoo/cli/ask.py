"""`vqazoo ask`: one question about one picture."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("model")
@click.argument("image")
@click.argument("question")
@click.option("--top-k", type=click.IntRange(min=1), default=1, help="How many answers to print.")
@click.option(
    "--decode", multiple=True, metavar="KEY=VALUE",
    help="Option of the head, such as strategy=beam; see vqazoo info. May be repeated.",
)  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def ask(
    model: str,
    image: str,
    question: str,
    top_k: int,
    decode: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """Ask MODEL (a zoo name or dir:PATH) a QUESTION about IMAGE (a file).

    Example: vqazoo ask tiny-clip-lstm-easyvqa photo.png "what color is the shape?"
    """
    import vqazoo
    from vqazoo.config import set_value

    options: dict[str, object] = {}
    for assignment in decode:
        set_value(options, assignment)
    answer = vqazoo.load(model, device).answer(image, question, top_k, **options)
    ranked = (answer, *answer.alternatives)
    if as_json:
        fields = ("text", "score", "answer_type", "answerable")
        found = [{name: getattr(one, name) for name in fields} for one in ranked]
        document = {"model": model, "image": image, "question": question, "answers": found}
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    for one in ranked:
        click.echo(one.text if top_k == 1 else f"{one.score:7.2%}  {one.text}")

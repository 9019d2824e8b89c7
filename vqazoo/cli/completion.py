"""`vqazoo completion`: what a shell needs to complete commands, options and names."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem, get_completion_class

from vqazoo.cli.output import print_json, say
from vqazoo.cli.terminal import printable

VARIABLE = "_VQAZOO_COMPLETE"  # set by the script when the shell asks
SHELLS = ("bash", "zsh", "fish")
HOW = {
    "bash": "echo 'eval \"$(vqazoo completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(vqazoo completion zsh)\"' >> ~/.zshrc",
    "fish": "vqazoo completion fish > ~/.config/fish/completions/vqazoo.fish",
}

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def completion(shell: str, as_json: bool) -> None:
    """Print the script that lets SHELL complete commands, options, models and parts with Tab.

    Example, for bash: echo 'eval "$(vqazoo completion bash)"' >> ~/.bashrc
    """
    from vqazoo.cli import vqazoo

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(vqazoo, {}, "vqazoo", VARIABLE).source()
    if as_json:
        print_json({"shell": shell, "install": HOW[shell], "script": script})
        return
    say(script, lines=True)


def complete_model(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Names of the zoo's models."""
    from vqazoo.catalogue import entries

    return _items(sorted(entries()), begun)


def complete_part(kind: str) -> Complete:
    """Names of installed parts of a kind, `encoder`, `fusion`, `head` or `dataset`."""

    def complete(
        context: click.Context, parameter: click.Parameter, begun: str
    ) -> list[CompletionItem]:
        from vqazoo.registry import registry

        return _items(registry.names(kind), begun)

    return complete


def complete_recipe(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Names of packaged recipes."""
    from vqazoo.zoo.recipes import list_recipes

    return _items(list_recipes(), begun)


def _items(names: Iterable[str], begun: str) -> list[CompletionItem]:
    """Those that begin so; a shell prints them as they are, so none that a terminal would obey."""
    return [CompletionItem(n) for n in names if n.startswith(begun) and printable(n) == n]

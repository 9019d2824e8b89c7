"""The command line. A verb's module is imported when the verb runs or its own help is asked for.

Imports neither torch nor numpy.
"""

from __future__ import annotations

import gc
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from vqazoo.cli.ending import (
    INTERRUPTED,
    TERMINATED,
    how_it_ended,
    signals_survive_imports,
    sigterm_heard,
)
from vqazoo.cli.output import guard_libraries, say
from vqazoo.errors import PluginError, VqazooError, did_you_mean
from vqazoo.keywords import flags_named
from vqazoo.lean_imports import no_collections
from vqazoo.registry import load_object, parse_ref, registry
from vqazoo.version import __version__

DEBUG_VARIABLE = "VQAZOO_DEBUG"


class Verb(NamedTuple):
    """Where a built-in verb is defined, and its line in the help."""

    build: str
    summary: str


VERBS = {
    "list": Verb("vqazoo.cli.list:list_command", "List models, parts, datasets and families."),
    "info": Verb("vqazoo.cli.info:info", "Describe a model or a part."),
    "train": Verb("vqazoo.cli.train:train", "Train a model on a dataset."),
    "eval": Verb("vqazoo.cli.eval:eval_command", "Answer and score a whole split."),
    "calibrate": Verb("vqazoo.cli.calibrate:calibrate", "Fit how sure a model says it is."),
    "predict": Verb("vqazoo.cli.predict:predict", "Answer any number of rows into one file."),
    "label": Verb("vqazoo.cli.label:label", "Let a model answer what nobody did, to train on."),
    "errors": Verb("vqazoo.cli.errors:errors", "Group a model's mistakes in one page."),
    "compare": Verb("vqazoo.cli.compare:compare", "Tell whether one file of answers is better."),
    "suggest": Verb("vqazoo.cli.suggest:suggest", "Try which parts suit some data."),
    "sweep": Verb("vqazoo.cli.sweep:sweep", "Train every encoder with every head."),
    "runs": Verb("vqazoo.cli.runs:runs", "List what was trained, best first."),
    "data": Verb("vqazoo.cli.data:data", "Look at datasets and fetch official files."),
    "features": Verb("vqazoo.cli.features:features", "Look after cached features."),
    "ask": Verb("vqazoo.cli.ask:ask", "Ask a model one question about a picture or a video."),
    "caption": Verb("vqazoo.cli.ask:caption", "Let a model describe a picture or a video."),
    "recipe": Verb("vqazoo.cli.recipe:recipe", "List, show, copy and run the zoo's recipes."),
    "push": Verb("vqazoo.cli.transfer:push", "Upload a checkpoint folder to the Hub."),
    "pull": Verb("vqazoo.cli.transfer:pull", "Fetch a model from the Hub and verify it."),
    "card": Verb("vqazoo.cli.card:card", "Generate a model's card anew, keeping edits."),
    "check": Verb("vqazoo.cli.check:check", "Verify a checkpoint folder."),
    "convert": Verb("vqazoo.cli.convert:convert", "Write pickled weights as safetensors."),
    "plugins": Verb("vqazoo.cli.plugins:plugins", "Show installed plugins and what is broken."),
    "completion": Verb("vqazoo.cli.completion:completion", "Let a shell complete with Tab."),
}


class VerbGroup(click.Group):
    """The built-in verbs, and those of the entry-point group `vqazoo.commands`."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with flags_named():
            return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        added = [name for name in registry.names("command") if name not in VERBS]
        return [*VERBS, *added]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in VERBS:
            with no_collections():
                command: click.Command = load_object(VERBS[cmd_name].build)
            return command
        if parse_ref(cmd_name).name in registry.names("command"):
            added: click.Command = registry.component("command", cmd_name)
            return added
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not (ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name)):
            ctx.fail(
                f"Unknown command {name!r}.{did_you_mean(name, self.list_commands(ctx))} "
                f"Run 'vqazoo --help' to see all."
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])
        added = [(name, _summary(name)) for name in self.list_commands(ctx) if name not in VERBS]
        if added:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(added)


def _summary(name: str) -> str:
    """A plugin verb's line in the help; a broken one is shown as broken."""
    try:
        return registry.manifest("command", name).summary
    except PluginError:
        return "(broken: run 'vqazoo plugins' to see why)"


@click.group(
    cls=VerbGroup,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="vqazoo")
def vqazoo() -> None:
    """A model zoo for visual question answering: any encoder, any fusion, any head.

    Set VQAZOO_DEBUG=1 to see the full traceback of an error.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 success, 1 an error, 2 wrong usage, 130 interrupted, 143
    by SIGTERM."""
    guard_libraries()
    code = run(arguments)
    if code in (INTERRUPTED, TERMINATED):  # all is said: a second Ctrl-C ends it, untold
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.freeze()  # Python would look through all that was imported, to throw it away
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    with sigterm_heard(), signals_survive_imports():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = vqazoo.main(arguments, prog_name="vqazoo", standalone_mode=False)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt) as error:
        words, code = how_it_ended(error.__cause__ if isinstance(error, click.Abort) else error)
        say(f"{words}.", err=True)
        return code
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        say(shown.getvalue().rstrip("\n"), err=True, lines=True)
        return error.exit_code
    except VqazooError as error:
        return _told(error)
    except BrokenPipeError:
        # Nobody reads any more. Python flushes stdout once more at exit; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # a bug, unless a part raised it
        if "torch" not in sys.modules:  # then there is no part
            raise
        from vqazoo.faults import MEMORY, fault

        told = None if isinstance(error, MEMORY) else fault(error)
        if told is None:
            raise
        told.__cause__ = error
        return _told(told)
    return code if isinstance(code, int) else 0


def _told(error: VqazooError) -> int:
    """Say an error in one line, or raise it where its traceback is asked for; the exit code."""
    if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
        raise error
    say("Error: " + re.sub(r"\s*\n\s*", " ", str(error)), err=True)
    return 1

"""Manifests: what a part says about itself before anything heavy is imported.

An entry point names a manifest. Reading one must not import torch, so that `vqazoo list`,
`vqazoo train --dry-run` and every compatibility check answer in milliseconds.
Imports only the standard library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from vqazoo.errors import ConfigError, PluginError, did_you_mean, renamed

POOLED = "pooled"
TOKENS = "tokens"
FEATURE_KINDS = (POOLED, TOKENS)  # of features
ANSWER_MODES = ("classify", "generate")
OBJECT_PATH = re.compile(r"[^:\s]+:[^:\s]+")
SIDES = ("image", "text")  # the towers
FORMER_SIDES = {"question": "text"}  # what the towers were called, where that is still read
# The variant of an encoder that is read from a repository in transformers' layout.
PLACE = "<Hub repo>, <Hub repo>@<revision> or <folder>"


@dataclass(frozen=True)
class Arg:
    """One typed argument of a part. The manifest is the only place where its default stands.

    `before` is what configs mean that were filled before the argument existed, where that is not
    the default (None: it is).
    `strategy` is for decode options: the one strategy that reads it; empty: all do. See
    `vqazoo.toolkit.decode_options`.
    """

    type: type
    default: Any
    help: str
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    before: Any = None
    strategy: str = ""

    def check(self, owner: str, name: str, value: Any) -> Any:
        """Return `value` as `self.type`, or raise ConfigError saying what was expected."""
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(value, bool) and str(value).lower() in self.choices:  # as TOML reads them
            value = str(value).lower()
        if not isinstance(value, self.type) or (self.type is int and isinstance(value, bool)):
            raise ConfigError(
                f"{owner}: argument '{name}' is {value!r}, but {self.type.__name__} was expected "
                f"({self.help}; default {self.default!r})."
            )
        if self.choices and value not in self.choices:
            raise ConfigError(
                f"{owner}: argument '{name}' is {value!r}, but it must be one of "
                f"{', '.join(repr(choice) for choice in self.choices)}."
            )
        number: Any = value
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        if (low, high) != (-math.inf, math.inf) and not low <= number <= high:
            raise ConfigError(
                f"{owner}: argument '{name}' is {value!r}, but from {low} to {high} was expected "
                f"({self.help}; default {self.default!r})."
            )
        return value


def fill_args(owner: str, declared: Mapping[str, Arg], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every declared argument, given or default, checked; unknown ones raise ConfigError."""
    for name in given:
        if name not in declared:
            known = f"It takes {', '.join(declared)}." if declared else "It takes no arguments."
            raise ConfigError(
                f"{owner} has no argument '{name}'.{did_you_mean(name, declared)} {known}"
            )
    return {
        name: arg.check(owner, name, given[name]) if name in given else arg.default
        for name, arg in declared.items()
    }


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What every part declares.

    Attributes:
        summary: one line for `vqazoo list`.
        build: `module:attribute` of the class (or click command), imported only when built.
        source: the paper and section, or the library, that the part follows.
        args: typed arguments with their defaults.
        version: of the part's behaviour; stored in checkpoints and checked when they are loaded.
    """

    summary: str
    build: str = ""
    source: str = ""
    args: Mapping[str, Arg] = field(default_factory=dict)
    version: int = 1

    def __post_init__(self) -> None:
        """Raises PluginError: a field holds what it cannot hold."""
        if self.build and not OBJECT_PATH.fullmatch(self.build):
            raise _unexpected(self, "build", "'module:attribute'")
        _check_args(self, "args")


@dataclass(frozen=True, kw_only=True)
class EncoderManifest(Manifest):
    """An image tower, a text tower, or both.

    Attributes:
        variant: what must follow the colon in `name:variant`, in words; empty: nothing may.
        names_encoder: whether the variant is the name of another encoder.
        example: a complete reference that works, for messages and docs.
        image: feature kinds the image tower may offer, out of `pooled`, `tokens`; empty: no tower.
        text: the same for the text tower.
        lends: modules that the text tower, if there is one, lends to heads; see `Encoder.lend`.
        license: of packaged weights, as an SPDX identifier; empty: weights differ, or nobody says.
        base_model: Hub repositories of packaged weights.
        learnt: what pictures packaged weights learnt, in words, such as `drawn shapes`.
        unfamiliar: `module:function` which tells of a PIL picture (RGB) whether it is of another
            kind than those, so that people are warned; empty: nothing tells.
        names: `package:file.json`, what may stand after the colon, for `vqazoo list --search`: its
            `names` are rows of a name, what it is known as, pixels, tokens and text cleaning (the
            last three may be null).
    """

    variant: str = ""
    names_encoder: bool = False
    example: str = ""
    image: frozenset[str] = frozenset()
    text: frozenset[str] = frozenset()
    lends: frozenset[str] = frozenset({"token_embedding"})
    license: str = ""
    base_model: tuple[str, ...] = ()
    learnt: str = ""
    unfamiliar: str = ""
    names: str = ""

    def __new__(cls, **given: Any) -> Self:
        """Raises PluginError: it names the text tower as before."""
        if "question" in given:
            raise renamed("An EncoderManifest tells of the text tower in text, not in question")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        super().__post_init__()
        _keep_subset(self, "image", FEATURE_KINDS)
        _keep_subset(self, "text", FEATURE_KINDS)
        if self.names and not OBJECT_PATH.fullmatch(self.names):
            raise _unexpected(self, "names", "'package:file.json'")
        if not self.text:
            object.__setattr__(self, "lends", frozenset())


@dataclass(frozen=True, kw_only=True)
class FusionManifest(Manifest):
    """Joins image and text features.

    Attributes:
        requires: out of `image.pooled`, `image.tokens`, `text.pooled`, `text.tokens`.
        provides: `pooled` or `tokens`.
        ignores: `image` or `text` in baselines that leave one out on purpose; empty: neither.
            The question-only baseline of a recipe is made of one that ignores the image.
        blind_args: arguments with which it never looks at the picture, for the question-only
            baseline of heads that no fusion fits which ignores the image; empty: there are none.
    """

    requires: frozenset[str]
    provides: str
    ignores: str = ""
    blind_args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fusions that were written when the text tower was called `question` go on working."""
        super().__post_init__()
        former = [f"{side}.{kind}" for side in FORMER_SIDES for kind in FEATURE_KINDS]
        _keep_subset(
            self, "requires", [f"{side}.{kind}" for side in SIDES for kind in FEATURE_KINDS], former
        )
        _check_choice(self, "provides", FEATURE_KINDS)
        named = (kind.partition(".") for kind in self.requires)
        requires = frozenset(FORMER_SIDES.get(side, side) + dot + kind for side, dot, kind in named)
        object.__setattr__(self, "requires", requires)
        object.__setattr__(self, "ignores", FORMER_SIDES.get(self.ignores, self.ignores))
        _check_choice(self, "ignores", ("", *SIDES))


@dataclass(frozen=True, kw_only=True)
class HeadManifest(Manifest):
    """Turns fused features into answers.

    Attributes:
        requires: `pooled` or `tokens`.
        answer_mode: `classify` (picks from a list) or `generate` (writes token by token).
        default_fusion: the fusion used when none is named, and its arguments.
        borrows: modules the text encoder must lend, for instance `token_embedding`.
        decode: options of `predict`, with defaults.
        weighted_targets: whether it learns several weighted answers of one question.
        labels: fields of an Example that it learns besides the answers, and in words what stands
            in for each where the data set says nothing (empty: nothing does).
        captions: whether it describes a picture when the question is empty (`VQAModel.caption`).
        independent_scores: whether each answer has a probability of its own, such as a sigmoid, so
            that those of different answers may sum to more than 1.
        flaws: whether its answers are flaws of pictures, several of which may hold of one picture
            (`VQAModel.quality`); it then has independent scores.
        remembers: whether it keeps the training questions and looks answers up among them, so that
            its loss need not fall from step to step.
        reads_ocr: whether it copies words that a reader of text found in the picture, so that every
            question needs these (`Example.ocr_tokens`).
    """

    requires: str
    answer_mode: str
    default_fusion: str
    default_fusion_args: Mapping[str, Any] = field(default_factory=dict)
    borrows: frozenset[str] = frozenset()
    decode: Mapping[str, Arg] = field(default_factory=dict)
    weighted_targets: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    captions: bool = False
    independent_scores: bool = False
    flaws: bool = False
    remembers: bool = False
    reads_ocr: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice(self, "requires", FEATURE_KINDS)
        _check_choice(self, "answer_mode", ANSWER_MODES)
        _check_args(self, "decode")
        if self.flaws and not (self.independent_scores and self.answer_mode == "classify"):
            raise _unexpected(
                self, "flaws", "False, or independent_scores=True and answer_mode='classify'"
            )


@dataclass(frozen=True, kw_only=True)
class DatasetManifest(Manifest):
    """Reads questions, images and answers.

    Attributes:
        splits: names of the splits; empty: the data decides.
        variant: what must follow the colon in `name:variant`, in words; empty: nothing may.
        counts: questions of each split in the official release, where it is known.
        other_counts: those of another release or form of it that is read too.
        comparison: the rule by which a given answer is a published one (vqazoo/data/comparison.py).
        wups: whether WUPS is a usual metric of the dataset.
        metrics: names of its own metrics, which are computed unless they cannot be.
        prepare: `module:function`, called as `prepare(name, data_root, report)` by
            `vqazoo data prepare` to fetch or make the files; empty: there is nothing to fetch.
        license: an SPDX identifier, or words; empty: nobody says.
        language: of questions and answers, as the Hub spells it (en); empty: the data decides.
        hub_id: `owner/name` of the same data on the Hub, for model cards; empty: it is not there.
        example_question: one as this dataset asks them, for model cards.
        shows_pictures: whether some of its pictures may be passed on, on a published model card.
        submission: `module:function`, called as `submission(examples, answers)`: the official files
            of the dataset's evaluation server, their contents by file name; empty: it has none.
        hub_variant: whether the variant names a repository on the Hub, whose id a card states.
        suffixes: of files that name it by themselves, such as `--data my.csv`; each of its splits
            then is an argument that takes such a file.
        paths: arguments that name files or folders; in a file of data settings, such as
            `--data mine.toml`, they start at its folder.
        look: `module:function`, called as `look(place, args)` by `vqazoo data init` with a file of
            those suffixes or a folder, and arguments that the user gives: a
            `vqazoo.data.first_look.FirstLook`; empty: it proposes nothing.
    """

    splits: tuple[str, ...] = ()
    variant: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    other_counts: Mapping[str, int] = field(default_factory=dict)
    comparison: str = "text"
    wups: bool = False
    metrics: tuple[str, ...] = ()
    prepare: str = ""
    license: str = ""
    language: str = ""
    hub_id: str = ""
    example_question: str = ""
    shows_pictures: bool = False
    submission: str = ""
    hub_variant: bool = False
    suffixes: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    look: str = ""


@dataclass(frozen=True, kw_only=True)
class FamilyManifest(Manifest):
    """Checkpoints in another library's layout, mapped onto parts; see docs/about/families.md.

    `build` names a function `read(place, config, options)`: place is a folder or `repo@commit`,
    config the content of its config.json, options a LoadOptions; it returns a VQAModel.

    Attributes:
        model_types: of config.json, by which a checkpoint is recognised.
        examples: repositories of the family, for `vqazoo list` and messages.
    """

    model_types: frozenset[str]
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CommandManifest(Manifest):
    """A verb for the command line; `build` names a click command."""


def _unexpected(manifest: Manifest, name: str, expected: str, near: str = "") -> PluginError:
    return PluginError(
        f"The {type(manifest).__name__} ({manifest.summary!r}) has {name}="
        f"{getattr(manifest, name)!r}, but {expected} was expected.{near}"
    )


def _check_choice(manifest: Manifest, name: str, choices: Sequence[str]) -> None:
    value = getattr(manifest, name)
    if not isinstance(value, str) or value not in choices:
        near = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise _unexpected(manifest, name, " or ".join(repr(one) for one in choices), near)


def _keep_subset(
    manifest: Manifest, name: str, choices: Sequence[str], former: Sequence[str] = ()
) -> None:
    """Keep the field as a frozenset, also where it was given as a list."""
    value = getattr(manifest, name)
    given = frozenset(value) if isinstance(value, Iterable) else frozenset()
    if (
        isinstance(value, str | bytes)
        or not isinstance(value, Iterable)
        or given - {*choices, *former}
    ):
        raise _unexpected(manifest, name, f"a set out of {', '.join(map(repr, choices))}")
    object.__setattr__(manifest, name, given)


def _check_args(manifest: Manifest, name: str) -> None:
    value = getattr(manifest, name)
    if not isinstance(value, Mapping) or not all(isinstance(arg, Arg) for arg in value.values()):
        raise _unexpected(manifest, name, "a table of Arg(type, default, help)")

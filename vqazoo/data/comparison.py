"""When a given answer is the published one: rules that a dataset's manifest names.

The truth is kept as it was published; a rule says which words stand for the same answer, and is
applied to both sides before they are compared. Imports only the standard library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vqazoo.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from vqazoo.data.examples import Example


@dataclass(frozen=True)
class Comparison:
    """A rule: two answers are the same if `read` makes one text of them.

    Attributes:
        name: as manifests and the signatures of metrics name it.
        read: from an answer to the text that is compared.
        any_of: the answers of a question are forms of the right one, each of which is right, and
            not what several people said.
    """

    name: str
    read: Callable[[str], str]
    any_of: bool = False


def set_of_things(answer: str) -> str:
    """Things with commas between them, in alphabetical order: the order of naming means nothing."""
    things = {" ".join(part.split()).casefold() for part in answer.split(",")}
    return ", ".join(sorted(things - {""}))


def synonyms(words: Mapping[str, str]) -> Callable[[str], str]:
    """A rule's `read` by which some answers, in any case, stand for others."""

    def read(answer: str) -> str:
        return words.get(" ".join(answer.split()).casefold().rstrip(". "), answer)

    return read


class Stems:
    """What a release made of people's words, by its own pairs of `raw_answer` and `answer`.

    OK-VQA publishes stems: people said "surfing", the answer is "surf". Public evaluations stem a
    given answer before they compare it (open_flamingo's OKVQAStemmer, whose table was made from
    these pairs and which else takes plurals and -ing away; LAVIS's lemmatiser). Here the pairs
    themselves are the table: whole answers first, then word by word. A word that nobody said loses
    a plural's or an -ing's end if what is left is a word of the published answers, else it stays.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        answers: dict[str, Counter[str]] = {}
        words: dict[str, Counter[str]] = {}
        for (said, kept), times in Counter(pairs).items():
            said, kept = _plain(said), _plain(kept)
            answers.setdefault(said, Counter())[kept] += times
            if len(said.split()) == len(kept.split()):
                for word, stem in zip(said.split(), kept.split(), strict=True):
                    words.setdefault(word, Counter())[stem] += times
        self.answers = {said: _most(counts) for said, counts in answers.items()}
        self.words = {said: _most(counts) for said, counts in words.items()}
        self.stemmed = {kept for counts in answers.values() for kept in counts}
        self.known = {word for kept in self.stemmed for word in kept.split()}

    def stem(self, answer: str) -> str:
        """The answer as the release would write it."""
        plain = _plain(answer)
        if plain in self.answers:
            return self.answers[plain]
        if plain in self.stemmed:
            return plain
        return " ".join(self._word(word) for word in plain.split())

    def _word(self, word: str) -> str:
        if (bare := word.strip(MARKS)) not in ("", word):  # "surfing." as "surf.", told apart later
            return word.replace(bare, self._word(bare), 1)
        if word in self.words or word in self.known:
            return self.words.get(word, word)
        return next((stem for stem in _without_end(word) if stem in self.known), word)


MARKS = ".,;:!?\"'()"  # which a normaliser of answers takes away, or not


def _without_end(word: str) -> Iterator[str]:
    """What a plural, or a word in -ing, may be of."""
    rest = word.removesuffix("ing")
    if rest != word and len(rest) > 2:
        yield from (f"{rest}e", rest)  # riding, surfing
        if rest[-1:] == rest[-2:-1]:
            yield rest[:-1]  # swimming
    elif word.endswith("s") and len(word) > 3:
        yield from (word[:-1], word[:-2])  # horses, buses
        yield f"{word.removesuffix('ies')}y"


def _plain(answer: str) -> str:
    return " ".join(answer.split()).casefold()


def _most(counts: Counter[str]) -> str:
    return min(counts, key=lambda text: (-counts[text], text))


def compared_by_stems(examples: Sequence[Example]) -> list[Example]:
    """The examples of one split, compared by its stems if people's own words are known as well."""
    stems = Stems(
        pair for e in examples for pair in zip(e.learnt, e.answers, strict=False) if e.learnt
    )
    if not stems.answers:
        return list(examples)
    comparison = Comparison(STEMS, stems.stem)
    return [replace(example, comparison=comparison) for example in examples]


STEMS = "okvqa-v1.1-stems"  # set by readers, since each split has its own
TEXT = Comparison("text", lambda answer: answer)  # what is written, normalised
ANY_OF = Comparison("any-of", lambda answer: answer, any_of=True)
AS_SETS = Comparison("set-of-things", set_of_things)
TRUTH_VALUES = Comparison("yes-is-true", synonyms({"yes": "true", "no": "false"}))
RULES = {rule.name: rule for rule in (TEXT, ANY_OF, AS_SETS, TRUTH_VALUES)}


def rule(name: str) -> Comparison:
    """The rule of that name. Raises ConfigError for a name that is not known."""
    if name not in RULES:
        raise ConfigError(
            f"Unknown comparison {name!r}.{did_you_mean(name, RULES)} It must be one of "
            f"{', '.join(RULES)}, or the reader must set it."
        )
    return RULES[name]

"""M4C: writes an answer out of known words and of words that are copied. Imports torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.data import Example, OcrToken
from vqazoo.data.answers import AnswerList, normalise
from vqazoo.errors import ConfigError, DataError
from vqazoo.interfaces import Answer, Encoder, Features, FusedSpec, Targets
from vqazoo.toolkit.classes import UNKNOWN
from vqazoo.toolkit.decoding import START, State, as_answers, write
from vqazoo.toolkit.layers import Past, TextLayer, causal, check_heads, initialise, to_width
from vqazoo.toolkit.losses import SummedHead
from vqazoo.toolkit.rows import padded, real_places
from vqazoo_heads.phoc import SIZE, phoc

BEGIN, END = range(2)
SPECIAL = ("<begin>", "<end>")
ABSENT = -1e4  # score of a place without a word: its sigmoid is 0, in half precision too
BOX = 4

Box = tuple[float, float, float, float]  # as that of an `OcrToken`


class Read(NamedTuple):
    """What was read of B rows, in which every step of an answer looks.

    Attributes:
        words: of each row those that can be copied.
        copied: (B, M, D) what their places put in.
        keys: (B, M, D) what their places came out as, for the pointer.
        present: (B, M) bool, where there is a word.
        seen: (B, 1, 1, S) bool, the real ones of fused tokens and places.
        pasts: of each layer, keys and values of the S positions.
    """

    words: list[list[str]]
    copied: Tensor
    keys: Tensor
    present: Tensor
    seen: Tensor
    pasts: list[Past]


class M4CHead(SummedHead):
    """Transformer layers over fused tokens, words in the picture and the answer so far; each step
    scores the known words and, by a pointer, the words in the picture.

    A word in the picture enters as LayerNorm(W p) + LayerNorm(V b) of its PHOC p, of norm 1, and
    its box b. Fused tokens and these see one another, steps see these and the steps before (one
    mask). Step t reads what was chosen at t-1: the output vector of a known word, or what a word in
    the picture put in, each behind a LayerNorm, and LayerNorm(place + kind). Scores of a step z are
    z W + c for known words and (Q z)^T (K o) / sqrt(D) for the place that came out as o.

    The loss of a step is binary cross-entropy summed over all scores: every source of the right
    word is right, so that a word may be known and stand in the picture twice. Which of them the
    next step reads is drawn in training. An answer that the sources do not spell teaches nothing
    and counts as a miss.

    An answer's score is the product of its words', the end's included; that of a word is its
    sigmoid (of several sources the largest) over the sum of the sigmoids of all words.

    Deviations: no FastText and no Faster R-CNN features of words, since neither can be had here;
    fused tokens are those of any fusion, behind a linear layer and LayerNorm, not detected
    objects; one answer is learnt, not one drawn of ten; one search serves all heads
    that write, so beams and nucleus are there besides the published greedy search.

    Source: Hu et al. 2020, Iterative Answer Prediction with Pointer-Augmented Multimodal
    Transformers for TextVQA, sections 3.1 to 3.4; facebookresearch/mmf, models/m4c.py.
    """

    def __init__(
        self,
        fused: FusedSpec,
        answers: AnswerList,
        text_encoder: Encoder,
        *,
        dim: int,
        layers: int,
        heads: int,
        dropout: float,
        vocabulary: int,
        places: int,
        steps: int,
    ) -> None:
        super().__init__()
        check_heads("head 'm4c'", dim, heads)
        self.words = (*SPECIAL, *_frequent_words(answers, vocabulary))
        self.number = {word: index for index, word in enumerate(self.words)}
        self.places, self.steps = places, steps
        self.project = to_width(fused.dim, dim)
        self.token_norm = nn.LayerNorm(dim)
        self.spelling_layer, self.box_layer = nn.Linear(SIZE, dim), nn.Linear(BOX, dim)
        self.spelling_norm, self.box_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.layers = nn.ModuleList(
            TextLayer(dim, heads, 4 * dim, dropout=dropout) for _ in range(layers)
        )
        self.place, self.kind = nn.Embedding(steps, dim), nn.Embedding(2, dim)
        self.known_norm, self.copied_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.place_norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, len(self.words))
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        initialise(self)

    # ---- what is read -----------------------------------------------------------------------

    def read(self, fused: Features) -> Read:
        """Let fused tokens (B, N, D') and words in the pictures see one another.

        Raises:
            ConfigError: nobody says which words a reader found in a picture.
        """
        assert fused.tokens is not None
        assert fused.mask is not None
        rows = [self._copyable(tokens) for tokens in _known(fused)]
        tokens = self.token_norm(self.project(fused.tokens))  # (B, N, D)
        copied = self._put_in(rows, tokens)  # (B, M, D)
        lengths = torch.tensor([len(row) for row in rows], device=tokens.device)
        present = real_places(lengths, copied.shape[1])  # (B, M)
        x = torch.cat([tokens, copied], dim=1)  # (B, N + M, D)
        seen = torch.cat([fused.mask, present], dim=1)[:, None, None]  # (B, 1, 1, N + M)
        pasts = []
        for layer in self.layers:
            x, past = layer(x, seen)  # (B, N + M, D)
            pasts.append(past)
        keys = self.key(x[:, tokens.shape[1] :])  # (B, M, D)
        words = [[word for word, _ in row] for row in rows]
        return Read(words, copied, keys, present, seen, pasts)

    def _copyable(self, tokens: Sequence[OcrToken]) -> list[tuple[str, Box]]:
        """The first words, as answers are written, each with its box; a token may hold several."""
        words = [(word, token.box) for token in tokens for word in normalise(token.text).split()]
        return words[: self.places]

    def _put_in(self, rows: list[list[tuple[str, Box]]], like: Tensor) -> Tensor:
        """What words and boxes put in, (B, M, D) of the dtype and on the device of `like`."""
        number: dict[str, int] = {}
        numbers = padded([[number.setdefault(w, len(number)) for w, _ in r] for r in rows], 0)
        longest = max(1, numbers.shape[1])
        boxes = [[*(box for _, box in r), *[(0.0,) * BOX] * (longest - len(r))] for r in rows]
        spelt = F.normalize(phoc(list(number) or [""]), dim=1).to(like)  # (W, 604)
        spelt = self.spelling_norm(self.spelling_layer(spelt))  # (W, D)
        placed = torch.tensor(boxes, dtype=like.dtype, device=like.device)  # (B, M, 4)
        placed = self.box_norm(self.box_layer(placed))  # (B, M, D)
        numbers = F.pad(numbers, (0, longest - numbers.shape[1])).to(like.device)  # (B, M)
        put_in: Tensor = self.dropout(spelt[numbers] + placed)  # (B, M, D)
        return put_in

    # ---- steps of an answer -------------------------------------------------------------------

    def chosen(self, before: Tensor, copied: Tensor, first: int = 0) -> Tensor:
        """What steps read of the choices before them.

        Args:
            before: (B, T) int64, known words, and behind them the places.
            copied: (B, M, D) what the places put in; first: number of the first of the T steps.

        Returns:
            (B, T, D)
        """
        count = len(self.words)
        known = self.known_norm(self.output.weight)[before.clamp(max=count - 1)]  # (B, T, D)
        place = (before - count).clamp(min=0)[:, :, None].expand_as(known)  # (B, T, D)
        pointed = self.copied_norm(copied).gather(1, place)  # (B, T, D)
        is_copied = before >= count  # (B, T)
        steps = torch.arange(first, first + before.shape[1], device=before.device)  # (T,)
        about = self.place_norm(self.place(steps) + self.kind(is_copied.long()))  # (B, T, D)
        x = torch.where(is_copied[:, :, None], pointed, known)  # (B, T, D)
        chosen: Tensor = x + self.dropout(about)
        return chosen

    def scores(
        self, x: Tensor, mask: Tensor, pasts: Sequence[Past], keys: Tensor, present: Tensor
    ) -> tuple[Tensor, list[Past]]:
        """Scores (B, T, V + M) of steps x (B, T, D), before the sigmoid, and what later steps see.

        Args:
            mask: (B, 1, T, S + T) bool, which positions each step sees.
            pasts, keys, present: as in `Read`.
        """
        later = []
        for layer, past in zip(self.layers, pasts, strict=True):
            x, past = layer(x, mask, past=past)  # (B, T, D)
            later.append(past)
        pointed = self.query(x) @ keys.transpose(1, 2) / math.sqrt(x.shape[2])  # (B, T, M)
        pointed = pointed.masked_fill(~present[:, None], ABSENT)  # (B, T, M)
        return torch.cat([self.output(x), pointed], dim=2), later

    # ---- learning -----------------------------------------------------------------------------

    def targets(self, examples: Sequence[Example]) -> Targets:
        """What is right at each of T steps: `word` (n, T) int64, UNKNOWN where the word is not
        known; `place` (n, T, M) bool, where it stands in the picture; `length` (n,), 0 where a word
        is neither."""
        words, places, lengths = [], [], []
        for example in examples:
            if example.ocr_tokens is None:
                raise DataError(
                    f"Question {example.question_id!r} comes without OCR tokens, but the head "
                    f"'m4c' copies words that a reader of text found in the picture: give them in "
                    f"the data, such as a column 'ocr_tokens'; an empty list says that there are "
                    f"none."
                )
            there = [word for word, _ in self._copyable(example.ocr_tokens)]
            text = example.target.split()
            spelt = all(word in self.number or word in there for word in text)
            row = [*text, SPECIAL[END]][: self.steps] if spelt and text else []
            words.append([self.number.get(word, UNKNOWN) for word in row])
            places.append([[word == other for other in there] for word in row])
            lengths.append(len(row))
        most = max([1, *(len(step) for row in places for step in row)])
        place = torch.zeros(len(examples), max([1, *lengths]), most, dtype=torch.bool)
        for number, steps in enumerate(places):
            for step, right in enumerate(steps):
                place[number, step, : len(right)] = torch.tensor(right, dtype=torch.bool)
        word = padded(words, UNKNOWN)
        word = F.pad(word, (0, place.shape[1] - word.shape[1]), value=UNKNOWN)
        return {"word": word, "place": place, "length": torch.tensor(lengths)}

    def loss_units(self, targets: Targets) -> dict[str, Tensor]:
        return {"answer": targets["length"].float()}

    def loss_sums(self, fused: Features, targets: Targets) -> dict[str, Tensor]:
        read = self.read(fused)
        right = self._right(targets, read)  # (B, T, V + M)
        count = right.shape[1]
        x = self.chosen(self._before(right), read.copied)  # (B, T, D)
        steps = causal(count, device=x.device).expand(len(x), 1, -1, -1)  # (B, 1, T, T)
        mask = torch.cat([read.seen.expand(-1, -1, count, -1), steps], dim=3)  # (B, 1, T, S + T)
        scores, _ = self.scores(x, mask, read.pasts, read.keys, read.present)  # (B, T, V + M)
        real = real_places(targets["length"], count)  # (B, T)
        each = F.binary_cross_entropy_with_logits(scores, right, reduction="none")
        return {"answer": each.sum(dim=2).masked_fill(~real, 0.0).sum()}

    def _right(self, targets: Targets, read: Read) -> Tensor:
        """Which of the known words and places are right at each step: (B, T, V + M), 0 or 1."""
        longest = max(1, int(targets["length"].max()))  # the batch's own
        word, place = targets["word"][:, :longest], targets["place"][:, :longest]
        known = F.one_hot(word.clamp(min=0), len(self.words))  # (B, T, V)
        known = known * (word != UNKNOWN)[:, :, None]  # (B, T, V)
        missing = read.keys.shape[1] - place.shape[2]
        place = F.pad(place, (0, missing))  # (B, T, M); cut where others have more words
        return torch.cat([known, place], dim=2).to(read.keys.dtype)

    def _before(self, right: Tensor) -> Tensor:
        """What was chosen before each step (B, T): one of the sources that are right; in training
        it is drawn, as published, else the first."""
        sources = right[:, :-1].clone()  # (B, T - 1, V + M)
        sources[:, :, END] += sources.sum(dim=2) == 0  # behind the end, where nothing counts
        if self.training and sources.shape[1]:
            flat = sources.flatten(0, 1).float()  # (B * (T - 1), V + M)
            drawn = torch.multinomial(flat, 1).view(sources.shape[:2])  # (B, T - 1)
        else:
            drawn = sources.argmax(dim=2)  # (B, T - 1)
        return F.pad(drawn, (1, 0), value=BEGIN)  # (B, T)

    # ---- writing ------------------------------------------------------------------------------

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        if decode.get("max_tokens", 0) > self.steps:
            raise ConfigError(
                f"The decode option 'max_tokens' is {decode['max_tokens']}, but the head 'm4c' has "
                f"{self.steps} steps, the end included: ask for that many or fewer."
            )
        read = self.read(fused)
        group = self._groups(read)  # (B, V + M)
        pasts = (tensor for past in read.pasts for tensor in past)
        state = (read.copied, read.keys, read.present, read.seen, group, *pasts)
        written = write(self.step, state, END, top_k, self.steps, **decode)
        answers = []
        for row, words in zip(written, read.words, strict=True):
            answers += as_answers([row], partial(_spelt, [*self.words, *words]))
        return answers

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Scores (B, V + M) of the next word, one source of each, and the state behind it."""
        copied, keys, present, seen, group, *flat = state
        pasts = list(zip(flat[::2], flat[1::2], strict=True))
        number = pasts[0][0].shape[2] - seen.shape[3]  # of this step, from 0
        before = torch.where(tokens == START, BEGIN, tokens)[:, None]  # (B, 1)
        mask = F.pad(seen, (0, number + 1), value=True)  # (B, 1, 1, S + number + 1)
        x = self.chosen(before, copied, number)  # (B, 1, D)
        scores, pasts = self.scores(x, mask, pasts, keys, present)  # (B, 1, V + M)
        scores = scores[:, 0].float()  # (B, V + M)
        best = scores.scatter_reduce(1, group, scores, "amax").gather(1, group)  # (B, V + M)
        never = F.pad(~present, (len(self.words), 0)) | (scores < best)  # (B, V + M)
        never[:, BEGIN] = True
        later = (tensor for past in pasts for tensor in past)
        chances = F.logsigmoid(scores).masked_fill(never, -torch.inf)
        return chances, (copied, keys, present, seen, group, *later)

    def _groups(self, read: Read) -> Tensor:
        """Of each source the first that is the same word: (B, V + M) int64."""
        count, longest = len(self.words), read.keys.shape[1]
        groups = []
        for words in read.words:
            first = dict(self.number)
            of_places = [first.setdefault(word, count + m) for m, word in enumerate(words)]
            groups.append([*of_places, *range(count + len(words), count + longest)])
        of_words = torch.arange(count).expand(len(groups), -1)  # (B, V)
        return torch.cat([of_words, torch.tensor(groups)], dim=1).to(read.keys.device)


def _known(fused: Features) -> list[tuple[OcrToken, ...]]:
    """The words in the picture of each row; raises ConfigError where nobody says them."""
    known = [tokens for tokens in fused.ocr_tokens or (None,) if tokens is not None]
    if len(known) < len(fused):
        raise ConfigError(
            "The head 'm4c' copies words that a reader of text found in the picture, but nobody "
            "says which: give ocr_tokens with the picture (a column of that name in data, "
            "--ocr-tokens of  vqazoo ask ); an empty list says that there are none."
        )
    return known


def _spelt(sources: Sequence[str], numbers: Sequence[int]) -> str:
    return " ".join(sources[number] for number in numbers)


def _frequent_words(answers: AnswerList, most: int) -> list[str]:
    """The words of the answers that are given most often; of equals the first by alphabet."""
    counts: Counter[str] = Counter()
    for text, count in zip(answers.texts, answers.counts, strict=True):
        for word in text.split():
            counts[word] += count
    return sorted(counts, key=lambda word: (-counts[word], word))[:most]

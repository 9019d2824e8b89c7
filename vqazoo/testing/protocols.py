"""What a head may offer besides its contract, where it does: the protocols. Imports torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqazoo.data.answers import AnswerList
from vqazoo.interfaces import (
    Captions,
    Encoder,
    Features,
    GivesAnswerability,
    GivesLogits,
    GivesTypes,
    Head,
    RanksAnswers,
    Writes,
)
from vqazoo.manifests import HeadManifest
from vqazoo.testing.checks import TOLERANCE, require, require_close

LANGUAGE_MODEL = "language_model"


def check_protocols(
    owner: str,
    head: Head,
    manifest: HeadManifest,
    fused: Features,
    answers: AnswerList,
    encoder: Encoder,
) -> None:
    """The protocols agree with the manifest, and what they show is what `predict` answers by, for
    a head in eval mode.

    Heads around a language model show no scores that could be compared: theirs are of its words.

    Raises:
        AssertionError: naming what differs.
    """
    _check_said(owner, head, manifest)
    if isinstance(head, RanksAnswers):
        _check_ranking(owner, head, fused, answers)
    if isinstance(head, Captions):
        described = head.caption(fused)
        require(
            len(described) == len(fused) and all(len(row) == 1 for row in described),
            owner,
            "caption must describe every row, once with top_k 1",
        )
    if LANGUAGE_MODEL in manifest.borrows:
        return
    if manifest.answer_mode == "classify" and isinstance(head, GivesLogits):
        _check_logits(owner, head, manifest, fused, answers)
    if manifest.answer_mode == "generate" and isinstance(head, Writes):
        _check_writing(owner, head, manifest, fused, encoder)


def _check_said(owner: str, head: Head, manifest: HeadManifest) -> None:
    """What is known before the head is built is what it offers once it is."""
    captions = isinstance(head, Captions)
    require(
        captions or not manifest.captions,
        owner,
        "its manifest says captions=True, but it has no method caption, see "
        "vqazoo.interfaces.Captions",
    )
    require(
        manifest.captions or not captions,
        owner,
        "it has a method caption, but its manifest does not say captions=True",
    )
    require(
        not isinstance(head, Writes) or manifest.answer_mode == "generate",
        owner,
        "it has begin_answer and spelling, as heads that write, but its manifest's answer_mode is "
        "'classify'",
    )


def _check_ranking(owner: str, head: RanksAnswers, fused: Features, answers: AnswerList) -> None:
    """Every candidate once; the first ones if fewer are asked for; a row for itself.

    What is best is the head's own, so scores need not fall.
    """
    texts = list(answers.texts)
    whole = head.rank(fused, texts, len(texts))
    for row, ranked in enumerate(whole):
        require(
            sorted(answer.text for answer in ranked) == sorted(texts),
            owner,
            f"rank gives {[answer.text for answer in ranked]} of the candidates {texts}",
        )
        require(
            all(0 <= answer.score <= 1 for answer in ranked),
            owner,
            "rank gives scores that are no probabilities",
        )
        (only,) = head.rank(fused.index(slice(row, row + 1)), texts, len(texts))
        alone = {answer.text: answer.score for answer in only}
        require(
            all(abs(alone[answer.text] - answer.score) < TOLERANCE for answer in ranked),
            owner,
            "rank scores a row otherwise alone than in a batch",
        )
    for top_k, few in ((2, head.rank(fused, texts, 2)), (1, head.rank(fused, texts))):
        require(
            [[answer.text for answer in row] for row in few]
            == [[answer.text for answer in row[:top_k]] for row in whole],
            owner,
            f"rank with top_k {top_k} (default 1) must give the first {top_k} of all",
        )


def _check_logits(
    owner: str, head: Any, manifest: HeadManifest, fused: Features, answers: AnswerList
) -> None:
    logits = head.logits(fused)
    wanted = (len(fused), len(answers))
    require(
        tuple(logits.shape) == wanted,
        owner,
        f"logits gives {tuple(logits.shape)}, but one score for each answer of the list, {wanted}, "
        f"was expected",
    )
    scores = logits.sigmoid() if manifest.independent_scores else logits.softmax(dim=1)
    best = [row[0] for row in head.predict(fused)]
    places = torch.tensor([answers.texts.index(answer.text) for answer in best])
    said = torch.tensor([answer.score for answer in best])
    chosen = scores.gather(1, places[:, None])[:, 0]
    require_close(owner, said, chosen, "logits give the answers of predict other scores")
    require_close(owner, scores.amax(dim=1), chosen, "logits are largest at other answers")
    if isinstance(head, GivesTypes):
        names, types = head.type_names(), head.type_logits(fused)
        require(
            tuple(types.shape) == (len(fused), len(names)),
            owner,
            f"type_logits gives {tuple(types.shape)} for {len(names)} types",
        )
        told = [answer.answer_type for answer in best]
        require(
            [names[place] for place in types.argmax(dim=1).tolist()] == told,
            owner,
            "type_logits are largest at other types than predict tells",
        )
    if isinstance(head, GivesAnswerability):
        chance = head.answerable_logits(fused).sigmoid()
        said = torch.tensor([answer.answerable for answer in best])
        require_close(owner, said, chance, "answerable_logits differ from what predict tells")


def _check_writing(
    owner: str, head: Any, manifest: HeadManifest, fused: Features, encoder: Encoder
) -> None:
    """Greedy search over begin_answer, by hand."""
    end, longest, vocabulary = head.spelling()
    scores, state, step = head.begin_answer(fused)  # (B, V)
    total, going = torch.zeros(len(fused)), torch.ones(len(fused), dtype=torch.bool)
    rows: list[list[int]] = [[] for _ in range(len(fused))]
    tokens = going.long()
    for place in range(longest):
        if place:
            scores, state = step(tokens, state)  # (B, V)
        best, tokens = scores.log_softmax(dim=1).max(dim=1)  # (B,) each
        total = torch.where(going, total + best, total)
        going = going & (tokens != end)
        for row in going.nonzero()[:, 0].tolist():
            rows[row].append(int(tokens[row]))
    greedy = {"strategy": "greedy"} if "strategy" in manifest.decode else {}
    for row, (answer,) in enumerate(head.predict(fused, **greedy)):
        text = _text(rows[row], vocabulary, encoder)
        require(
            text == answer.text and abs(float(total[row].exp()) - answer.score) < TOLERANCE,
            owner,
            f"begin_answer and spelling write {text!r} where predict answers {answer}",
        )


def _text(tokens: list[int], vocabulary: Any, encoder: Encoder) -> str:
    if vocabulary is None:
        return encoder.decode(tokens)
    if isinstance(vocabulary, Tensor):
        return encoder.decode(vocabulary[tokens].tolist())
    return " ".join(vocabulary[token] for token in tokens)

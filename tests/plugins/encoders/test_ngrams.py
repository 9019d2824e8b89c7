"""The marks of words and pairs are those that scikit-learn counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import vqazoo
from vqazoo.errors import ConfigError, IncompatibleError, VqazooError
from vqazoo.interfaces import Encoder
from vqazoo.testing import check_encoder

QUESTIONS = [
    "what colour is the lamp on the table?",
    "how many lamps are on the table?",
    "what is on the lamp?",
    "how many tables are there and how many lamps?",
]
ROOMY = 2**20  # buckets enough that no two word pieces of QUESTIONS share one


def encoder(buckets: int = ROOMY, of: str = "tiny-clip") -> Encoder:
    return vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder={"type": f"ngrams:{of}", "args": {"buckets": buckets}},
        head={"type": "mlp", "args": {"hidden_dim": 4}},
        fusion="question-only",
        answers=["2", "red"],
    ).text_encoder


def pooled(part: Encoder, questions: list[str]) -> torch.Tensor:
    found = part.encode_text(*part.tokenize(questions), frozenset({"pooled"})).pooled
    assert found is not None
    return found


def test_it_keeps_the_contract_of_encoders() -> None:
    check_encoder("ngrams:tiny-clip")


def test_two_questions_share_as_many_marks_as_scikit_learn_counts_common_words_and_pairs() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    part = encoder()
    ids, mask = part.tokenize(QUESTIONS)
    written = [
        " ".join(str(i) for i in row[real].tolist()) for row, real in zip(ids, mask, strict=True)
    ]
    counts = text.CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"\d+")
    terms = counts.fit_transform(written).toarray()
    marks = pooled(part, QUESTIONS)[:, -ROOMY:]
    assert (marks @ marks.T).tolist() == (terms @ terms.T).tolist()


def test_few_buckets_hold_all_words_and_pairs_together() -> None:
    wide, narrow = (pooled(encoder(buckets), QUESTIONS) for buckets in (ROOMY, 8))
    marks = narrow[:, -8:]
    assert set(marks.unique().tolist()) <= {0.0, 1.0}
    assert narrow.shape[1] == wide.shape[1] - ROOMY + 8
    assert (marks.sum(dim=1) > 0).all()
    assert (marks.sum(dim=1) <= wide[:, -ROOMY:].sum(dim=1)).all()


def test_what_stands_before_the_marks_is_the_other_encoders_vector_at_unit_size() -> None:
    own = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["2"]).text_encoder
    vectors = pooled(own, QUESTIONS)
    text = own.spec.text
    assert text is not None
    assert text.normalized
    torch.testing.assert_close(
        pooled(encoder(), QUESTIONS)[:, :-ROOMY], vectors * vectors.shape[1] ** 0.5
    )


def test_a_question_has_the_same_marks_beside_a_longer_one() -> None:
    part = encoder(64)
    alone = pooled(part, QUESTIONS[2:3])
    torch.testing.assert_close(pooled(part, QUESTIONS)[2:3], alone)


@pytest.mark.proof
def test_what_torch_exports_marks_questions_of_any_length() -> None:
    part = encoder(64).eval()

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = part

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            found = self.part.encode_text(ids, mask, frozenset({"pooled"})).pooled
            assert found is not None
            return found

    shape = {1: torch.export.Dim("length", min=2, max=64)}
    program = torch.export.export(
        Pooled(), part.tokenize(QUESTIONS), dynamic_shapes={"ids": shape, "mask": shape}
    )
    other = part.tokenize(["lamp?", "how many lamps?", "what is it?", "where?"])
    torch.testing.assert_close(program.module()(*other), Pooled()(*other))


def test_a_model_with_marks_is_saved_and_answers_as_before(tmp_path: Path) -> None:
    model = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder="ngrams:tiny-clip",
        head="mlp",
        fusion="sum",
        answers=["2", "red"],
    ).eval()
    picture = Image.new("RGB", (64, 64), "red")
    model.save(tmp_path / "saved")
    loaded = vqazoo.load(f"dir:{tmp_path / 'saved'}")
    assert loaded.answer(picture, QUESTIONS, top_k=2) == model.answer(picture, QUESTIONS, top_k=2)


@pytest.mark.parametrize(
    ("image", "text", "kind", "words"),
    [
        ("tiny-clip", "ngrams", ConfigError, "needs a variant after a colon.*ngrams:minilm"),
        ("tiny-clip", "ngrams:words:tiny-clip", IncompatibleError, "a pooled vector.*has none"),
        ("ngrams:tiny-clip", "tiny-clip", IncompatibleError, "image tower"),
    ],
)
def test_what_it_cannot_be_is_refused_in_a_sentence(
    image: str, text: str, kind: type[VqazooError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        vqazoo.create(
            image_encoder=image, text_encoder=text, head="mlp", fusion="sum", answers=["2"]
        )

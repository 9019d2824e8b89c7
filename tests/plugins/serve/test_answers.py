"""The service gives the models' own answers, whoever else asks at the same time."""

from __future__ import annotations

import base64
import io
import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from tests.plugins.serve.conftest import CLASSIFIER, GATED, WRITER
from tests.plugins.serve.service import metric, png, serving
from vqazoo.interfaces import Answer

QUESTIONS = [
    "what color is the shape?",
    "what shape is it?",
    "is there a circle?",
    "is it not red?",
    "how many shapes are there in this picture?",
    "which color?",
]


def as_json(answer: Answer) -> dict[str, Any]:
    fields = ("text", "answer_type", "answerable", "score")
    found: dict[str, Any] = {name: getattr(answer, name) for name in fields}
    return found


def same(served: dict[str, Any], expected: Answer) -> None:
    """The same answers in the same order, numbers to 1e-5."""
    best = {k: v for k, v in served.items() if k not in ("alternatives", "spoken")}
    ranked = [best, *served["alternatives"]]
    assert len(ranked) == 1 + len(expected.alternatives)
    for one, other in zip(ranked, (expected, *expected.alternatives), strict=True):
        assert one == {
            key: pytest.approx(value, abs=1e-5) if isinstance(value, float) else value
            for key, value in as_json(other).items()
        }


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("name", [CLASSIFIER, GATED, WRITER])
@pytest.mark.parametrize("form", [True, False], ids=["form", "json"])
def test_one_question_gets_the_models_own_answers(client, models, pictures, name, form):
    fields = {"question": QUESTIONS[0], "top_k": 3, "model": name}
    if form:
        reply = client.post("/answer", data=fields, files={"image": pictures[0]})
    else:
        reply = client.post("/answer", json={**fields, "image": encoded(pictures[0])})
    assert reply.status_code == 200
    assert reply.json()["model"] == name
    (answer,) = reply.json()["answers"]
    same(answer, models[name].answer(opened(pictures[0]), QUESTIONS[0], top_k=3))


def test_many_questions_about_one_image_are_answered_in_their_order(client, models, pictures):
    reply = client.post("/answer", data={"question": QUESTIONS}, files={"image": pictures[1]})
    expected = models[CLASSIFIER].answer(opened(pictures[1]), QUESTIONS)
    for served, answer in zip(reply.json()["answers"], expected, strict=True):
        same(served, answer)


@pytest.mark.parametrize("asked", [QUESTIONS[0], QUESTIONS[:3]], ids=["one", "as many"])
def test_several_images_are_paired_with_their_questions(client, models, pictures, asked):
    images = [encoded(one) for one in pictures[:3]]
    reply = client.post("/answer", json={"image": images, "question": asked, "model": WRITER})
    expected = models[WRITER].answer([opened(one) for one in pictures[:3]], asked)
    for served, answer in zip(reply.json()["answers"], expected, strict=True):
        same(served, answer)


def test_several_files_of_a_form_are_several_images(client, models, pictures):
    files = [("image", one) for one in pictures[:2]]
    reply = client.post("/answer", files=files, data={"question": QUESTIONS[:2]})
    expected = models[CLASSIFIER].answer([opened(one) for one in pictures[:2]], QUESTIONS[:2])
    for served, answer in zip(reply.json()["answers"], expected, strict=True):
        same(served, answer)


def test_a_data_url_is_read_as_base64(client, pictures):
    url = f"data:image/png;base64,{encoded(pictures[0])}"
    reply = client.post("/answer", json={"image": url, "question": QUESTIONS[0]})
    assert reply.status_code == 200


def test_candidates_are_ranked_as_by_the_model(client, models, pictures):
    candidates = ["circle", "triangle", "red", "no"]
    fields = {"question": QUESTIONS[1], "candidates": candidates, "top_k": 4, "model": WRITER}
    reply = client.post("/answer", data=fields, files={"image": pictures[2]})
    expected = models[WRITER].rank(opened(pictures[2]), QUESTIONS[1], candidates, top_k=4)
    same(reply.json()["answers"][0], expected)


def test_a_question_too_long_for_the_model_fails_alone(client, models, pictures):
    long = "is it " * 80

    def ask(question: str) -> Any:
        return client.post("/answer", data={"question": question}, files={"image": pictures[0]})

    with ThreadPoolExecutor(4) as pool:
        first, second, *others = pool.map(ask, [QUESTIONS[0], long, *QUESTIONS[1:3]])
    assert second.status_code == 422
    assert "tokens, but this model reads at most" in second.json()["error"]
    assert [one.status_code for one in (first, *others)] == [200, 200, 200]


def test_no_answer_is_lost_or_crossed_among_400_mixed_requests_of_16_clients(
    client, models, pictures
):
    expected = {
        (name, place, question): models[name].answer(opened(picture), question, top_k=3)
        for name in models
        for place, picture in enumerate(pictures)
        for question in QUESTIONS
    }
    rng = random.Random(0)
    requests = [
        (rng.choice(list(models)), rng.randrange(len(pictures)), rng.sample(QUESTIONS, k))
        for k in rng.choices([1, 1, 1, 2, 4], k=400)
    ]

    def ask(request: tuple[str, int, list[str]]) -> Any:
        name, place, questions = request
        fields = {"model": name, "question": questions, "top_k": 3}
        return client.post("/answer", data=fields, files={"image": pictures[place]})

    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(ask, requests))
    for (name, place, questions), reply in zip(requests, replies, strict=True):
        assert reply.status_code == 200, reply.text
        assert reply.json()["model"] == name
        for question, served in zip(questions, reply.json()["answers"], strict=True):
            same(served, expected[name, place, question])


def test_questions_that_wait_together_are_one_batch_and_an_image_is_encoded_once(models, pictures):
    with serving({CLASSIFIER: models[CLASSIFIER]}, max_wait_ms=2000, max_batch=6) as client:

        def ask(question: str) -> int:
            files = {"image": pictures[3]}
            return client.post("/answer", data={"question": question}, files=files).status_code

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(ask, QUESTIONS)) == [200] * 6
        assert metric(client, "vqazoo_batch_questions_count") == 1
        assert metric(client, "vqazoo_batch_questions_sum") == 6
        assert metric(client, 'vqazoo_features_total{side="image",source="computed"}') == 1
        client.post("/answer", data={"question": QUESTIONS}, files={"image": pictures[3]})
        assert metric(client, 'vqazoo_features_total{side="image",source="computed"}') == 1
        assert metric(client, 'vqazoo_features_total{side="image",source="cache"}') == 1
        assert metric(client, 'vqazoo_features_total{side="question",source="computed"}') == 6


def test_the_same_file_in_two_models_is_two_images(models, pictures):
    with serving(models) as client:
        for name in (CLASSIFIER, GATED):
            fields = {"question": QUESTIONS[0], "model": name}
            client.post("/answer", data=fields, files={"image": pictures[0]})
        assert metric(client, 'vqazoo_features_total{side="image",source="computed"}') == 2


def test_a_cache_of_no_bytes_keeps_nothing_and_answers_all_the_same(models, pictures):
    with serving({CLASSIFIER: models[CLASSIFIER]}, cache_bytes=0) as client:
        for _ in range(2):
            fields = {"question": QUESTIONS[0]}
            reply = client.post("/answer", data=fields, files={"image": pictures[0]})
            same(
                reply.json()["answers"][0],
                models[CLASSIFIER].answer(opened(pictures[0]), QUESTIONS[0]),
            )
        assert metric(client, 'vqazoo_features_total{side="image",source="computed"}') == 2
        assert metric(client, "vqazoo_feature_cache_bytes") == 0


def test_models_health_and_metrics_say_what_there_is(client, pictures):
    served = client.get("/models").json()["models"]
    assert [one["name"] for one in served] == [CLASSIFIER, GATED, WRITER]
    assert [one["default"] for one in served] == [True, False, False]
    assert [one["candidates"] for one in served] == [True, True, True]
    assert client.get("/health").json() == {"status": "ok"}
    client.post("/answer", data={"question": QUESTIONS[0]}, files={"image": pictures[0]})
    text = client.get("/metrics").text
    for name in (
        "vqazoo_requests_total",
        "vqazoo_request_seconds_bucket",
        "vqazoo_refused_total",
        "vqazoo_queue_questions",
        "vqazoo_batch_questions_bucket",
        "vqazoo_requests_in_flight",
        "process_resident_memory_bytes",
    ):
        assert name in text
    assert 'vqazoo_requests_total{path="/answer",status="200"}' in text


def test_the_page_about_the_interface_fetches_nothing(client):
    reply = client.get("/docs")
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert "<script" not in reply.text
    assert not re.search(r"""(src|href|action|url)\s*[=(]\s*["']?(https?:)?//""", reply.text)
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in reply.text


def test_pictures_of_other_kinds_and_sizes_are_read(client, models):
    image = Image.effect_noise((90, 40), 60).convert("RGB")
    file = io.BytesIO()
    image.save(file, "JPEG")
    for content in (file.getvalue(), png(image.convert("RGBA")), png(image.convert("L"))):
        reply = client.post("/answer", data={"question": "what?"}, files={"image": content})
        same(reply.json()["answers"][0], models[CLASSIFIER].answer(opened(content), "what?"))


def test_uncalibrated_scores_are_given_if_asked_for(client, models, pictures):
    for as_form in (True, False):
        fields: dict[str, Any] = {"question": QUESTIONS[0], "top_k": 2, "model": GATED}
        if as_form:
            sent = {**fields, "calibrated": "false"}
            reply = client.post("/answer", data=sent, files={"image": pictures[0]})
        else:
            sent = {**fields, "calibrated": False, "image": encoded(pictures[0])}
            reply = client.post("/answer", json=sent)
        (answer,) = reply.json()["answers"]
        own = models[GATED].answer(opened(pictures[0]), QUESTIONS[0], top_k=2, calibrated=False)
        same(answer, own)


def test_answers_that_are_not_sure_enough_are_held_back(client, models, pictures):
    model, asked = models[GATED], QUESTIONS
    risk = {"model": GATED, "question": asked, "abstain_at_risk": 0.1}
    reply = client.post("/answer", json={**risk, "image": encoded(pictures[0])})
    assert reply.status_code == 200, reply.text
    own = model.answer(opened(pictures[0]), asked, abstain_at_risk=0.1)
    for served, expected in zip(reply.json()["answers"], own, strict=True):
        assert served.pop("abstained") == expected.abstained
        same(served, expected)
    form = client.post(
        "/answer",
        data={"question": asked[0], "model": GATED, "abstain_at_risk": "0.1"},
        files={"image": pictures[0]},
    )
    assert form.json()["answers"][0]["abstained"] == own[0].abstained


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"abstain_at_risk": 0}, "greater than 0"),
        ({"abstain_at_risk": "0.1"}, "valid number"),
        ({"abstain_at_risk": 0.1, "candidates": ["red"]}, "are both given"),
        ({"abstain_at_risk": 0.1, "calibrated": False}, "for calibrated answers"),
        ({"calibrated": "no"}, "valid boolean"),
    ],
)
def test_a_risk_that_cannot_be_kept_is_refused(client, pictures, fields, words):
    body = {"question": QUESTIONS[0], "image": encoded(pictures[0]), "model": GATED, **fields}
    reply = client.post("/answer", json=body)
    assert reply.status_code == 422
    assert words in reply.json()["error"]


def test_candidates_that_are_not_known_are_named(client, pictures):
    body = {"question": QUESTIONS[0], "image": encoded(pictures[0]), "candidates": ["red", "zebra"]}
    (answer,) = client.post("/answer", json=body).json()["answers"]
    assert answer["text"] == "red"
    assert answer["unscored"] == ["zebra"]

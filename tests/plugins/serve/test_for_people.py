"""What the service says to people: in words, about the picture, and to the next question."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html import unescape

import httpx
import pytest
from PIL import Image, ImageDraw, ImageFilter

import vqazoo
from tests.plugins.serve.conftest import CLASSIFIER, GATED
from tests.plugins.serve.service import png, serving
from vqazoo.errors import ConfigError
from vqazoo.model import VQAModel
from vqazoo.wording import spoken
from vqazoo_serve.answering import Answering
from vqazoo_serve.metrics import Metrics
from vqazoo_serve.server import bind, run
from vqazoo_serve.settings import Settings

JUDGE = "tiny-clip-quality-flawedshapes"
COLOUR, SHAPE = "what color is the shape?", "what shape is it?"


@pytest.fixture(scope="module")
def judging(models: dict[str, VQAModel]) -> Iterator[httpx.Client]:
    """A service whose pictures are judged."""
    served = {GATED: models[GATED], JUDGE: vqazoo.load(JUDGE)}
    with serving(served, quality=JUDGE) as client:
        yield client


def circle(blur: float) -> bytes:
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((16, 16, 48, 48), fill="red")
    return png(picture.filter(ImageFilter.GaussianBlur(blur)))


def said(page: str) -> list[str]:
    return [unescape(text) for text in re.findall(r'<p class="said" role="status">([^<]*)<', page)]


# ---- words ----------------------------------------------------------------------------------


def test_each_answer_comes_with_a_sentence_to_be_read_out(client, models, pictures):
    reply = client.post(
        "/answer", data={"question": [COLOUR, SHAPE]}, files={"image": pictures[0]}
    ).json()
    own = models[CLASSIFIER].answer(Image.open(io.BytesIO(pictures[0])), [COLOUR, SHAPE])
    assert [each["spoken"] for each in reply["answers"]] == [spoken(each) for each in own]
    assert reply["quality"] is None


def test_a_blurred_picture_is_told_to_be_taken_again(judging):
    clear, unclear = circle(0), circle(24)
    reply = judging.post(
        "/answer", files=[("image", clear), ("image", unclear)], data={"question": COLOUR}
    ).json()
    first, second = reply["quality"]
    assert (first["retake"], first["worst"], first["advice"]) == (False, None, "")
    assert (second["retake"], second["worst"]) == (True, "blurred")
    own = vqazoo.load(JUDGE).quality(Image.open(io.BytesIO(unclear)))
    assert second["flaws"] == pytest.approx(own.flaws, abs=1e-5)
    assert "again" not in reply["answers"][0]["spoken"]
    assert reply["answers"][1]["spoken"].startswith("The picture is blurred. Hold the camera still")


def test_a_model_that_answers_questions_is_no_judge(models):
    with pytest.raises(ConfigError, match=f"'{GATED}' answers questions, .* judges pictures"):
        Answering({GATED: models[GATED]}, Settings(quality=GATED), Metrics())


def test_a_model_that_copies_words_is_refused_before_the_service_says_that_it_serves(capsys):
    model = vqazoo.create(encoder="tiny-clip", head="m4c", answers=["zor", "kip"])
    told = pytest.raises(ConfigError, match=r"'signs' copies words .* --ocr-tokens .*another")
    with bind("127.0.0.1", 0) as listener, told:
        run({"signs": model}, Settings(), listener)
    assert capsys.readouterr().out == ""


# ---- the next question ----------------------------------------------------------------------


def test_a_picture_can_be_asked_about_again_by_its_id(judging, pictures):
    first = judging.post("/answer", data={"question": COLOUR}, files={"image": pictures[1]}).json()
    (known,) = first["images"]
    again = judging.post("/answer", json={"question": [COLOUR, SHAPE], "image_id": known})
    assert again.status_code == 200, again.text
    sent = judging.post("/answer", data={"question": SHAPE}, files={"image": pictures[1]}).json()
    assert again.json()["answers"][0]["text"] == first["answers"][0]["text"]
    assert again.json()["answers"][1]["text"] == sent["answers"][0]["text"]
    assert again.json()["images"] == [known]
    assert again.json()["quality"] == first["quality"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"image_id": "0" * 64}, "is not kept for the model .*: send the image itself"),
        ({"image_id": "../../etc/passwd"}, "'image_id' cannot be used"),
        ({"image_id": "A" * 64}, "'image_id' cannot be used"),
        ({"image_id": "0" * 64, "image": "aGVsbG8="}, "either the field 'image' or"),
        ({}, "either the field 'image' or"),
    ],
)
def test_an_id_that_is_not_kept_is_refused_in_a_sentence(client, fields, sentence):
    reply = client.post("/answer", json={"question": COLOUR, **fields})
    assert reply.status_code == 422
    assert re.search(sentence, reply.json()["error"])


def test_a_service_that_keeps_nothing_says_so(models, pictures):
    with serving({CLASSIFIER: models[CLASSIFIER]}, cache_bytes=0) as client:
        reply = client.post("/answer", data={"question": COLOUR}, files={"image": pictures[0]})
        (known,) = reply.json()["images"]
        refused = client.post("/answer", json={"question": SHAPE, "image_id": known})
    assert refused.status_code == 422
    assert "send the image itself" in refused.json()["error"]


# ---- the page -------------------------------------------------------------------------------


def test_a_form_is_answered_by_a_page_that_can_be_asked_again(client, models, pictures):
    page = client.post("/ask", data={"question": COLOUR}, files={"image": pictures[2]})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    (first,) = said(page.text)
    picture = Image.open(io.BytesIO(pictures[2]))
    assert first == spoken(models[CLASSIFIER].answer(picture, COLOUR))
    assert f"<title>{first} " in unescape(page.text)
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))
    # As a browser sends a form of kind multipart/form-data.
    again = client.post(
        "/ask", files={k: (None, v) for k, v in {**hidden, "question": SHAPE}.items()}
    )
    assert said(again.text) == [spoken(models[CLASSIFIER].answer(picture, SHAPE))]


def test_a_form_that_cannot_be_answered_is_told_on_a_page(client, pictures):
    page = client.post("/ask", data={"question": COLOUR}, files={"image": b"no picture"})
    assert page.status_code == 422
    assert "are not a picture" in said(page.text)[0]
    evil = "<script>alert(1)</script>"
    page = client.post("/ask", data={"question": evil}, files={"image": pictures[0]})
    assert "<script" not in page.text


def test_there_is_no_form_where_a_token_is_needed(models):
    with serving({CLASSIFIER: models[CLASSIFIER]}, token="0123456789abcdef") as client:
        assert client.post("/ask", data={"question": COLOUR}).status_code == 404

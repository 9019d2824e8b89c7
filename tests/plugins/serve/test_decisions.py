"""`POST /v1/decisions`, by the unmodified client of the package openai."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import httpx
import pytest

from tests.docs.pages import blocks
from tests.plugins.serve.conftest import CLASSIFIER, GATED, WRITER
from tests.plugins.serve.decisions import data_url, expected, mixed, opened, same, shown
from tests.plugins.serve.service import metric, scenes, serving
from vqazoo.decisions import (
    MOST_QUESTIONS,
    ChoiceQuestion,
    PredicateQuestion,
    ScoreQuestion,
    question_of,
)
from vqazoo.model import VQAModel

openai = pytest.importorskip("openai", minversion="3.57")

COLOUR = "what color is the shape?"
RED = {"type": "predicate", "instructions": "is there a red shape?"}
TOKEN = "a-token-that-nobody-guesses"
THREADS = 16


def asking(client: httpx.Client, key: str = "x", **options: Any) -> Any:
    return openai.OpenAI(base_url=f"{client.base_url}/v1", api_key=key, max_retries=0, **options)


@pytest.fixture(scope="module")
def service(models: dict[str, VQAModel]) -> Iterator[httpx.Client]:
    with serving(models, max_body=1 << 20, max_questions=8, queue=2 * THREADS) as client:
        yield client


@pytest.fixture(scope="module")
def ask(service: httpx.Client) -> Any:
    return asking(service).decisions.create


def choices(*values: Any) -> list[dict[str, Any]]:
    return [value if isinstance(value, dict) else {"value": value} for value in values]


# ---- what is decided ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [CLASSIFIER, WRITER, GATED])
def test_every_type_is_decided_as_by_the_model(ask, models, pictures, name):
    sent, asked = mixed(random.Random(7), 40)
    made = ask(model=name, input=shown(pictures[0]), questions=sent)
    assert made.model == name
    same(sent, made.answers, expected(models[name], pictures[0], asked))


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.apart)])
def test_requests_of_many_threads_get_the_answers_of_the_model(
    service, models, pictures, count, record_property
):
    """The thousand, by `python -m pytest -m apart -k many_threads -s`, says how long it took."""
    rng = random.Random(count)
    requests = [
        (
            rng.choice((CLASSIFIER, WRITER)),
            rng.randrange(len(pictures)),
            *mixed(rng, rng.randint(1, 6)),
        )
        for _ in range(count)
    ]
    client = asking(service)

    def made(request: Any) -> Any:
        name, picture, sent, _ = request
        return client.decisions.create(model=name, input=shown(pictures[picture]), questions=sent)

    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        replies = list(pool.map(made, requests))
    seconds = time.perf_counter() - started
    record_property("requests a second", count / seconds)
    print(f"{count} requests, {sum(len(r[2]) for r in requests)} questions: {seconds:.1f} s")
    asked_of: dict[tuple[str, int], list[Any]] = {}  # of each picture and model: what was asked
    for (name, picture, _, asked), reply in zip(requests, replies, strict=True):
        assert reply.model == name
        asked_of.setdefault((name, picture), []).extend(asked)
    decided = {
        (name, picture): iter(own(models[name], pictures[picture], asked))
        for (name, picture), asked in asked_of.items()
    }
    for (name, picture, sent, _), reply in zip(requests, replies, strict=True):
        same(sent, reply.answers, list(islice(decided[name, picture], len(sent))))


def own(model: VQAModel, picture: bytes, asked: list[Any]) -> list[Any]:
    """What the model decides, in as many calls as it needs."""
    return [
        decision
        for start in range(0, len(asked), MOST_QUESTIONS)
        for decision in expected(model, picture, asked[start : start + MOST_QUESTIONS])
    ]


def test_a_boolean_and_a_text_are_two_choices(ask, models, pictures):
    options = choices(True, "true", False, "false")
    asked = [{"type": "choice", "instructions": RED["instructions"], "choices": options}]
    (answer,) = ask(model=CLASSIFIER, input=shown(pictures[0]), questions=asked).answers
    assert [one.value for one in answer.probabilities] == [True, "true", False, "false"]
    assert isinstance(answer.choice, bool)  # the model says yes and no
    assert answer.unscored == ["true", "false"]


def test_a_description_is_read_where_the_value_says_nothing(ask, models, pictures):
    options = choices(
        {"value": "a", "description": "red"},
        {"value": "b", "description": "blue"},
        {"value": "green", "description": "as grass"},
    )
    sent = [{"type": "choice", "instructions": COLOUR, "choices": options}]
    (answer,) = ask(model=CLASSIFIER, input=shown(pictures[1]), questions=sent).answers
    own = models[CLASSIFIER].choice(opened(pictures[1]), COLOUR, ["red", "blue", "green"])
    assert [one.probability for one in answer.probabilities] == pytest.approx(
        list(own.probabilities.values()), abs=1e-5
    )
    assert answer.choice == {"red": "a", "blue": "b", "green": "green"}[own.text]


def test_text_beside_the_picture_is_read_before_each_question(ask, models, pictures):
    note, data = "this is a drawing", {"room": 3}
    content = [
        {"type": "input_text", "text": note},
        {"type": "input_image", "image_url": data_url(pictures[0]), "detail": "low"},
        {"type": "input_json", "data": data},
    ]
    statement = "The shape is red."
    sent = [
        {"type": "choice", "instructions": COLOUR, "choices": choices("red", "blue")},
        {"type": "predicate", "instructions": statement},
        {"type": "score", "instructions": COLOUR, "levels": [{"label": "red"}, {"label": "blue"}]},
    ]
    answers = ask(
        model=WRITER, input=[{"role": "user", "content": content}], questions=sent
    ).answers
    before = f'{note} {{"room":3}}'
    asked = [
        ChoiceQuestion(f"{before} {COLOUR}", ["red", "blue"]),
        PredicateQuestion(f"{before} {question_of(statement)}"),
        ScoreQuestion(f"{before} {COLOUR}", ["red", "blue"]),
    ]
    same(sent, answers, expected(models[WRITER], pictures[0], asked))


def test_a_question_may_bring_its_picture(ask, models, pictures):
    image = {"type": "input_image", "image_url": data_url(pictures[2])}
    sent = [
        {
            "type": "predicate",
            "instructions": [image, {"type": "input_text", "text": "is it red?"}],
        },
        {"type": "predicate", "instructions": "is it red?", "name": "blind"},
    ]
    seen, blind = ask(model=CLASSIFIER, input="", questions=sent).answers
    same(
        sent[:1],
        [seen],
        expected(models[CLASSIFIER], pictures[2], [PredicateQuestion("is it red?")]),
    )
    assert (blind.type, blind.name) == ("refusal", "blind")
    assert "no picture" in blind.reason


def test_what_cannot_be_decided_is_refused_and_the_rest_answered(ask, pictures):
    image = {"type": "input_image", "image_url": data_url(pictures[2])}
    sent = [
        RED,
        {"type": "choice", "instructions": COLOUR, "choices": choices("zebra", "gnu"), "name": "z"},
        {"type": "choice", "instructions": COLOUR, "choices": choices("Red", "red")},
        {"type": "predicate", "instructions": "red " * 90},
        {"type": "predicate", "instructions": " "},
        {"type": "predicate", "instructions": [image, {"type": "input_text", "text": "alike?"}]},
        RED,
    ]
    first, *refused, last = ask(model=CLASSIFIER, input=shown(pictures[0]), questions=sent).answers
    assert first.probability == pytest.approx(last.probability, abs=1e-6)
    assert [answer.type for answer in refused] == ["refusal"] * 5
    words = ["knows none", "are the same answer", "tokens, but", "is ''", "2 pictures"]
    for answer, told in zip(refused, words, strict=True):
        assert told in answer.reason, answer.reason


def test_what_is_read_is_counted(ask, models):
    (new,) = scenes(1, seed=4021)

    def used(count: int) -> Any:
        return ask(model=CLASSIFIER, input=shown(new), questions=[RED] * count).usage

    (ids,) = models[CLASSIFIER].text_encoder.pieces([RED["instructions"]])
    read = len(ids) + 2  # start and end
    usage = used(1)
    picture = usage.input_tokens - read
    assert picture >= 1
    assert usage.input_tokens_details.cached_tokens in (0, read)  # the picture was new
    again = used(3)
    assert again.input_tokens == picture + 3 * read == again.total_tokens
    assert again.input_tokens_details.cached_tokens == again.input_tokens
    assert (again.output_tokens, again.output_tokens_details.reasoning_tokens) == (0, 0)


def test_four_hundred_questions_read_the_picture_once(service, ask, pictures):
    before = metric(service, 'vqazoo_features_total{side="image",source="computed"}')
    sent = [{**RED, "name": str(number)} for number in range(400)]
    answers = ask(model=CLASSIFIER, input=shown(pictures[6]), questions=sent).answers
    assert [answer.name for answer in answers] == [str(number) for number in range(400)]
    after = metric(service, 'vqazoo_features_total{side="image",source="computed"}')
    assert after - before <= 1


def test_the_models_are_those_that_may_be_named(service):
    client = asking(service)
    names = [model.id for model in client.models.list()]
    assert names == [CLASSIFIER, GATED, WRITER]
    assert client.models.retrieve(WRITER).id == WRITER
    with pytest.raises(openai.NotFoundError, match="is not served"):
        client.models.retrieve("gpt-6-luna")


def test_options_of_caching_change_nothing(ask, pictures):
    plain = ask(model=CLASSIFIER, input=shown(pictures[0]), questions=[RED])
    cached = ask(
        model=CLASSIFIER,
        input=shown(pictures[0]),
        questions=[RED],
        prompt_cache_key="k",
        prompt_cache_options={"mode": "implicit", "ttl": "30m"},
        safety_identifier="s",
    )
    assert cached.answers[0].probability == pytest.approx(plain.answers[0].probability, abs=1e-6)


# ---- what is refused ------------------------------------------------------------------------


def deep(levels: int) -> Any:
    return {} if levels == 1 else {"a": deep(levels - 1)}


def message(role: str) -> dict[str, Any]:
    return {"role": role, "content": "Be brief."}


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"questions": []}, "questions", "at least 1 item"),
    ({"questions": [RED] * 401}, "questions", "at most 400 items"),
    ({"questions": [{"type": "rank"}]}, "questions[0]", "does not match any of the expected tags"),
    ({"questions": [{**RED, "names": "a"}]}, "questions[0].names", "is not known"),
    ({"questions": [{"type": "predicate"}]}, "questions[0].instructions", "is missing"),
    ({"input": 5}, "input", "input should be a valid string"),
    ({"input": "A red shape."}, "input", "has no picture"),
    ({"extra_body": {"temperature": 1}}, "temperature", "is not known"),
    ({"extra_body": {"safety_identifier": 5}}, "safety_identifier", "valid string"),
]


@pytest.mark.parametrize(("changes", "place", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_a_wrong_request_is_the_clients_bad_request(ask, pictures, changes, place, words):
    right = {"model": CLASSIFIER, "input": shown(pictures[0]), "questions": [RED]}
    with pytest.raises(openai.BadRequestError, match=words) as raised:
        ask(**{**right, **changes})
    assert raised.value.param == place
    assert raised.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ({"choices": choices("red")}, "questions[0].choices"),
        ({"choices": choices(*map(str, range(256)))}, "questions[0].choices"),
        ({"choices": choices("red", "red")}, "questions[0].choices[1]"),
        ({"choices": choices(True, True)}, "questions[0].choices[1]"),
        ({"choices": choices("red", 1)}, "questions[0].choices[1].value"),
        ({"choices": choices("red", "b" * 501)}, "questions[0].choices[1]"),
        (
            {"choices": choices("red", "blue"), "instructions": "a" * 501},
            "questions[0].instructions",
        ),
    ],
)
def test_choices_that_nobody_could_choose_among_are_refused(ask, pictures, question, place):
    asked = {"type": "choice", "instructions": COLOUR, **question}
    with pytest.raises(openai.BadRequestError) as raised:
        ask(model=CLASSIFIER, input=shown(pictures[0]), questions=[asked])
    assert raised.value.param == place


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (message("system"), "follows no instructions"),
        (message("developer"), "follows no instructions"),
        (message("assistant"), "knows no earlier turns"),
        (
            {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
            "messages of the user only",
        ),
        (
            {"type": "function_call_output", "call_id": "1", "output": "red"},
            "messages of the user only",
        ),
    ],
    ids=lambda value: value.get("role", value.get("type")) if isinstance(value, dict) else "",
)
def test_what_could_change_an_answer_is_not_dropped(ask, pictures, item, words):
    with pytest.raises(openai.BadRequestError, match=words) as raised:
        ask(model=CLASSIFIER, input=[item, *shown(pictures[0])], questions=[RED])
    assert raised.value.param == "input[0]"


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "input_image", "image_url": "http://127.0.0.1/a.png"}, "fetches no URLs"),
        ({"type": "input_image", "image_url": "file:///etc/passwd"}, "neither a data: URL"),
        ({"type": "input_image", "image_url": "data:image/png,abc"}, "without base64"),
        ({"type": "input_image", "image_url": "data:image/png;base64,!"}, "is not base64"),
        ({"type": "input_image", "image_url": "data:image/png;base64,aGVsbG8="}, "not a picture"),
        ({"type": "input_json", "data": deep(33)}, "deeper than 32"),
        ({"type": "input_json", "data": [{}] * 10_001}, "more than 10,000"),
        ({"type": "input_json", "data": {"a": "b" * (256 << 10)}}, "256 KiB"),
        ({"type": "input_file", "file_id": "f"}, "does not match any of the expected tags"),
    ],
)
def test_parts_that_cannot_be_used_are_refused(ask, pictures, part, words):
    with pytest.raises(openai.BadRequestError, match=words):
        ask(model=CLASSIFIER, input=[{"role": "user", "content": [part]}], questions=[RED])


def test_two_pictures_are_refused_and_twice_the_same_is_one(ask, pictures):
    with pytest.raises(openai.BadRequestError, match="has 2 pictures"):
        ask(
            model=CLASSIFIER,
            input=[*shown(pictures[0]), *shown(pictures[1])],
            questions=[RED],
        )
    assert ask(model=CLASSIFIER, input=shown(pictures[0]) * 2, questions=[RED]).answers


def test_a_model_that_is_not_served_is_not_found(ask, pictures):
    with pytest.raises(openai.NotFoundError, match="Did you mean") as raised:
        ask(model="tiny-clip-lstm", input=shown(pictures[0]), questions=[RED])
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


def test_each_limit_has_the_clients_own_class(models, pictures):
    served = {CLASSIFIER: models[CLASSIFIER]}
    right = {"model": CLASSIFIER, "input": shown(pictures[0]), "questions": [RED]}
    with serving(served, token=TOKEN, max_body=4096) as service:
        with pytest.raises(openai.AuthenticationError, match="token is missing or wrong"):
            asking(service).decisions.create(**right)
        client = asking(service, TOKEN)
        assert client.decisions.create(**right).answers
        with pytest.raises(openai.APIStatusError, match="larger than") as raised:
            client.decisions.create(**{**right, "input": "a" * 5000})
        assert raised.value.status_code == 413
        reply = service.post(
            "/v1/decisions",
            files={"image": b"a"},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        assert reply.status_code == 415
        assert reply.json()["error"]["message"] == ("The body is not application/json: send that.")


def test_a_full_queue_and_a_failure_have_the_clients_own_class(models, pictures, monkeypatch):
    right = {"model": CLASSIFIER, "input": shown(pictures[0]), "questions": [RED]}
    with serving({CLASSIFIER: models[CLASSIFIER]}, queue=1, max_wait_ms=0) as service:
        client = asking(service)
        slow = models[CLASSIFIER].decisions_of

        def waits(*given: Any, **named: Any) -> Any:
            time.sleep(0.5)
            return slow(*given, **named)

        monkeypatch.setattr(models[CLASSIFIER], "decisions_of", waits, raising=False)

        def attempt(_: int) -> str:
            try:
                return type(client.decisions.create(**right)).__name__
            except openai.APIStatusError as error:
                return f"{type(error).__name__} {error.response.headers['Retry-After']}"

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(attempt, range(4))) == {"Decision", "RateLimitError 1"}

        def fails(*given: Any, **named: Any) -> Any:
            raise RuntimeError("secret")

        monkeypatch.setattr(models[CLASSIFIER], "decisions_of", fails, raising=False)
        with pytest.raises(openai.InternalServerError, match="failed on this request") as raised:
            client.decisions.create(**right)
        assert "secret" not in str(raised.value.body)
        assert raised.value.type == "server_error"


# ---- the page -------------------------------------------------------------------------------

PAGE = "docs/how-to/serve-decisions.md"
ADDRESS = "http://127.0.0.1:8000"


def test_the_pages_client_gets_its_answers(service, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(pictures[0])
    (block,) = (b for b in blocks(PAGE, "python") if "OpenAI(" in b.content)
    names: dict[str, Any] = {}
    exec(block.content.replace(ADDRESS, str(service.base_url).rstrip("/")), names)
    probability, choice, confidence, unscored, score = capsys.readouterr().out.split(maxsplit=4)
    assert 0 <= float(probability) <= 1
    assert choice in ("red", "blue", "mauve")
    assert 0 <= float(confidence) <= 1
    assert unscored == "['mauve']"  # no word of the answers it was trained on
    assert 0 <= float(score) <= 2


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_pages_command_and_its_state_are_taken(service, pictures, tmp_path):
    address = str(service.base_url).rstrip("/")
    (tmp_path / "photo.png").write_bytes(pictures[0])
    (shell,) = (b.content for b in blocks(PAGE, "sh") if "curl" in b.content)
    written = shell.replace(f"curl {ADDRESS}", f"curl -s {address}")
    done = subprocess.run(["bash", "-c", written], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout)["answers"][0]["type"] == "predicate"
    state, answered = (json.loads(b.content) for b in blocks(PAGE, "json"))
    state["assets"]["<img-1>"]["data_base64"] = data_url(pictures[0]).partition(",")[2]
    made = service.post("/v1/systemone", json=state).json()
    assert set(made) == set(answered)
    for name, answer in answered["answers"].items():
        assert set(made["answers"][name]) == set(answer)

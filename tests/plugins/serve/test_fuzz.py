"""Requests made from the interface's own description, right and wrong, by schemathesis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

from tests.plugins.serve.conftest import WRITER
from tests.plugins.serve.service import serving

load_all_checks()
# A description cannot say that text must be base64 of a picture: right requests may be refused.
UNKNOWABLE = [schemathesis.checks.positive_data_acceptance]
# All fields of a form are text, so a candidate that should not be `false` is the candidate "false".
UNKNOWABLE_OF_FORMS = [*UNKNOWABLE, schemathesis.checks.negative_data_rejection]


@pytest.fixture(scope="module")
def service(models: Any) -> Iterator[httpx.Client]:
    with serving({WRITER: models[WRITER]}, max_wait_ms=0, max_body=1 << 20) as client:
        yield client


@pytest.mark.proof
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_one_that_the_description_promises(service, mode):
    schema = schemathesis.openapi.from_url(f"{service.base_url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert {one.label for one in operations} == {
        "POST /answer",
        "GET /models",
        "GET /health",
        "GET /metrics",
        "POST /v1/decisions",
        "POST /v1/systemone",
        "GET /v1/models",
        "GET /v1/models/{name}",
    }
    for operation in operations:
        if operation.body or mode is GenerationMode.POSITIVE:  # else there is nothing to get wrong
            answered_as_promised(operation, mode)


def answered_as_promised(operation: Any, mode: GenerationMode) -> None:
    @settings(
        max_examples=60 if operation.body else 1,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        form = case.media_type == "multipart/form-data"
        case.call_and_validate(excluded_checks=UNKNOWABLE_OF_FORMS if form else UNKNOWABLE)

    check()

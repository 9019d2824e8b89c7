"""A thousand damaged folders: each loads as it says, or is refused in a sentence.

More of them: `python -m tests.whole.fuzz 20000`.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator

import pytest

pytest.importorskip("resource")  # named pipes; not on Windows

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.toy import toy  # noqa: F401
from tests.whole.fuzz.kinds import attempt, make_kinds

CASES = 1000
LONGEST = 60  # seconds of a case


@pytest.fixture
def alarm() -> Iterator[None]:
    """A case that hangs is a failure."""

    def stop(*_: object) -> None:
        raise AssertionError(f"not done after {LONGEST} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.proof
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_folder_loads_or_is_refused_in_a_sentence(tmp_path, toy, alarm):  # noqa: F811
    kinds, seen = make_kinds(tmp_path), Counter()

    @settings(
        max_examples=CASES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.integers(0, 2**32 - 1))
    def tried(seed: int) -> None:
        signal.alarm(LONGEST)
        seen[attempt(kinds, seed, tmp_path)] += 1

    tried()
    assert {name for name, _ in seen} == set(kinds)
    assert sum(number for (_, end), number in seen.items() if end == "loaded") > CASES // 20

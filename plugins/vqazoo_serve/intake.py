"""What a service has taken and not answered: bounded in requests that wait and in bytes held.

Only those whose body is whole count towards the queue: who sends slowly takes no place of others.
Standard library and the settings only; used on the event loop alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from vqazoo.amounts import duration
from vqazoo_serve.metrics import Metrics
from vqazoo_serve.settings import Refusal, Settings


class Intake:
    """The requests that are read, wait or are answered."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self._most_bytes = settings.queue * settings.max_body
        self._places: list[Place] = []
        self.held = 0  # bytes, of those that are not given up
        self.ended = False

    @property
    def full(self) -> bool:
        """Whether as many whole requests wait as may."""
        return self.ended or sum(place.whole for place in self._places) >= self.settings.queue

    def refusal(self) -> Refusal:
        """Why no request is taken."""
        if self.ended:
            return Refusal(503, "ending", "The service ends: ask again when it is back.")
        return Refusal(
            429,
            "queue",
            f"The service has {self.settings.queue} requests, as many as it takes: "
            f"try again in a second.",
            {"Retry-After": "1"},
        )

    @contextmanager
    def place(self, arrived: float) -> Iterator[Place]:
        """A place for a request whose first byte came at that time of the event loop."""
        place = Place(self, arrived)
        self._places.append(place)
        self.metrics.in_flight.set(len(self._places))
        try:
            yield place
        finally:
            self._places.remove(place)
            if not place.given_up:
                self.held -= place.held
            self.metrics.in_flight.set(len(self._places))

    def end(self) -> int:
        """Give up all requests, which are refused; how many."""
        self.ended = True
        for place in self._places:
            place.give_up()
        return len(self._places)

    def fit(self) -> None:
        """Give up requests that are still arriving, the oldest first, until the bytes fit."""
        if self.held <= self._most_bytes:
            return
        for place in sorted(self._places, key=lambda place: place.arrived):
            if self.held > self._most_bytes and not place.whole and not place.given_up:
                place.give_up()


class Place:
    """One request: when its first byte came, the bytes it holds, and whether it is whole."""

    limit: asyncio.Timeout

    def __init__(self, intake: Intake, arrived: float) -> None:
        self._intake = intake
        self.arrived = arrived
        self.held = 0
        self.whole = False
        self.given_up = False

    def hold(self, count: int) -> None:
        """Count bytes that came, or with a minus, that were forgotten."""
        self.held += count
        if not self.given_up:
            self._intake.held += count
            self._intake.fit()

    def wait(self) -> None:
        """The request is whole, and waits for its answer.

        Raises:
            Refusal: as many wait as may.
        """
        if self._intake.full:
            raise self._intake.refusal()
        self.whole = True

    def give_up(self) -> None:
        """Answer it with a refusal, as soon as the event loop comes to it."""
        if not self.given_up:
            self.given_up = True
            self._intake.held -= self.held
        self.limit.reschedule(asyncio.get_running_loop().time())

    def late(self) -> Refusal:
        """Why its time is over."""
        seconds = self._intake.settings.timeout
        if self.given_up and self._intake.ended:
            return self._intake.refusal()
        if self.given_up:
            return Refusal(
                429,
                "bytes",
                "The service holds as many bytes as it takes, and this request was "
                "slower than others: try again in a second.",
                {"Retry-After": "1"},
            )
        if not self.whole:
            return Refusal(
                408, "slow", f"The request did not arrive in {duration(seconds)}: send less."
            )
        return Refusal(
            504,
            "timeout",
            f"There is no answer after {duration(seconds)}: try again later, "
            f"or ask fewer questions at once.",
        )

"""A request taken: its place in the service, its body, and its time. Imports starlette."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from starlette.requests import Request

from vqazoo_serve import bodies
from vqazoo_serve.intake import Intake
from vqazoo_serve.settings import Settings

T = TypeVar("T")
DRAINED_SECONDS = 5.0  # for reading a body that is not wanted


async def taken(
    request: Request,
    intake: Intake,
    answered: Callable[[bytes], Awaitable[T]],
    kinds: Sequence[str] = (bodies.JSON, bodies.FORM),
) -> T:
    """What becomes of the body of a request, within the time and the places that there are.

    Args:
        answered: takes the body.
        kinds: of bodies that are read.

    Raises:
        Refusal: there is no place, or no time left; or of reading and answering.
    """
    settings = intake.settings
    if intake.full:
        await forget_body(request, settings)
        raise intake.refusal()
    arrived = getattr(request.state, "arrived", asyncio.get_running_loop().time())
    with intake.place(arrived) as place:
        try:
            async with asyncio.timeout_at(arrived + settings.timeout) as place.limit:
                received = [await bodies.receive(request, settings, place.hold, kinds)]
                place.wait()
                return await answered(received.pop())  # which alone holds it from now on
        except TimeoutError:
            if not place.limit.expired():  # a failure inside, of whatever raised it
                raise
            raise place.late() from None


async def forget_body(request: Request, settings: Settings) -> None:
    """Read a body that is not wanted, for a while."""
    try:
        async with asyncio.timeout(DRAINED_SECONDS):
            await bodies.drain(request, settings.max_body)
    except TimeoutError:
        return

"""Sends requests again that may pass a moment later, and says what a refusal means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from headrace.client.errors import HeadraceError, Unavailable, UnexpectedReply, api_error
from headrace.client.steps import HttpResponse, Program, Rules, Sleep
from headrace.contract.problems import MEDIA_TYPE, ProblemReply

T = TypeVar("T")

FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 5.0
PASSING = frozenset({429, 502, 503, 504})
"""What a proxy answers while the API is away, or busy."""


def repeated(
    attempt: Callable[[], Program[T]], rules: Rules, *, repeatable: bool = True
) -> Program[T]:
    """Attempt something until it succeeds, for 30 s; then raise what it met last.

    Args:
        attempt: raises Unavailable for what may pass.
        rules: the clock, and the seed of the delays.
        repeatable: False: only what provably had no effect is attempted again.
    """
    ends_at = rules.clock() + rules.retry_seconds
    longest = FIRST_DELAY_SECONDS
    while True:
        try:
            return (yield from attempt())
        except Unavailable as error:
            if not (repeatable or error.not_done):
                raise
            # Not all clients at the same moment, also when a server tells all the same time.
            delay = (error.retry_after or 0.0) + longest * (0.5 + rules.random() / 2)
            if rules.clock() + delay >= ends_at:
                raise
        yield Sleep(delay)
        longest = min(longest * 2, MAX_DELAY_SECONDS)


def refusal(response: HttpResponse, place: str) -> HeadraceError | None:
    """The error that a response is; None: it is none. `place`: where it came from."""
    if response.status < 300:
        return None
    retry_after = _seconds(response.headers.get("retry-after"))
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == MEDIA_TYPE:
        try:
            problem = ProblemReply.model_validate_json(response.content)
        except ValidationError:
            pass
        else:
            return api_error(problem, retry_after)
    if response.status in PASSING:
        return Unavailable(
            f"{place} answered {response.status}: the API behind it is away or busy",
            not_done=response.status == 429,
            retry_after=retry_after,
        )
    return unexpected(response, place)


def unexpected(response: HttpResponse, place: str) -> UnexpectedReply:
    """The error for a response that no API of Headrace gives."""
    kind = response.headers.get("content-type") or "no content type"
    return UnexpectedReply(
        f"{place} answered {response.status} with {kind}, which is no reply of Headrace's API: "
        "check the URL"
    )


def _seconds(retry_after: str | None) -> float | None:
    """The header Retry-After in seconds; a date is rare, and counts as not sent."""
    if retry_after is None or not retry_after.strip().isdigit():
        return None
    return float(retry_after)

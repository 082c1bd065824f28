"""The header `Prefer: wait=10` (RFC 7240): for how long an answer may be held back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_WAIT_SECONDS = 60
"""A longer wait ends after so long: proxies cut longer ones, and a client asks again."""

_WAIT = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?\s*(?:;.*)?', re.IGNORECASE | re.DOTALL).fullmatch


def preferred_wait(request: Request) -> int | None:
    """How many seconds the client wants to wait, at most 60; None: it did not say.

    As RFC 7240 has it, a preference that is not understood counts as not sent, and of several
    waits the first counts.
    """
    for value in request.headers.getlist("prefer"):
        for preference in value.split(","):
            if found := _WAIT(preference.strip()):
                return min(int(found[1]), MAX_WAIT_SECONDS)
    return None

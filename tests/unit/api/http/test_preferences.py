"""The header `Prefer`."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from headrace_api.http.preferences import preferred_wait


def wait_of(*values: str) -> int | None:
    headers = [(b"prefer", value.encode()) for value in values]
    return preferred_wait(Request({"type": "http", "headers": headers}))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("wait=10", 10),
        ("Wait = 10", 10),
        ('wait="10"', 10),
        ("respond-async, wait=5; reason=x", 5),
        ("wait=0", 0),
        ("wait=3600", 60),
        ("wait=7, wait=8", 7),
    ],
)
def test_a_wait_is_read_as_rfc_7240_has_it(value: str, seconds: int) -> None:
    assert wait_of(value) == seconds


@pytest.mark.parametrize(
    "value", ["", "wait", "wait=", "wait=ten", "wait=-1", "wait=1.5", "awaits=9"]
)
def test_what_is_not_understood_counts_as_not_sent(value: str) -> None:
    assert wait_of(value) is None


def test_several_headers_count_like_a_list() -> None:
    assert wait_of("respond-async", "wait=3") == 3
    assert wait_of() is None

"""`call`: chooses by what is called. Another kind of call is another entry of `_CALLS`."""

from __future__ import annotations

from collections.abc import Callable

from headrace.workflows.model import Action
from headrace.workflows.reading import Cursor, StepReader
from headrace.workflows.steps.call_http import read_http_call

_CALLS: dict[str, Callable[[dict[str, Cursor]], Action]] = {"http": read_http_call}


def read_call(fields: dict[str, Cursor], _reader: StepReader) -> Action:
    """The call named under `call`, its arguments under `with`."""
    called = fields["call"].text()
    if called not in _CALLS:
        supported = ", ".join(f"`call: {name}`" for name in _CALLS)
        fields["call"].refuse(f"`call: {called}` is not supported yet (supported: {supported})")
    return _CALLS[called](fields)

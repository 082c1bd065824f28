"""`call`: chooses by what is called. Another kind of call is another entry of `_CALLS`."""

from __future__ import annotations

from collections.abc import Callable

from headrace.hints import did_you_mean
from headrace.workflows.model import Action
from headrace.workflows.reading import Cursor, StepReader
from headrace.workflows.reading.refused import refused_call
from headrace.workflows.steps.call_http import read_http_call

_CALLS: dict[str, Callable[[dict[str, Cursor]], Action]] = {"http": read_http_call}


def read_call(fields: dict[str, Cursor], _reader: StepReader) -> Action:
    """The call named under `call`, its arguments under `with`."""
    called = fields["call"].text()
    sentence = refused_call(called)
    if sentence is not None:
        fields["call"].refuse(sentence)
    if called not in _CALLS:
        supported = ", ".join(f"`call: {name}`" for name in _CALLS)
        fields["call"].refuse(
            f"`call` names {called!r}, which is no function known here (supported: {supported})"
            f"{did_you_mean(called, _CALLS)}"
        )
    return _CALLS[called](fields)

"""`call`: chooses by what is called. Another kind of call is another entry of `_CALLS`."""

from __future__ import annotations

from collections.abc import Callable

from headrace.hints import did_you_mean
from headrace.workflows.model import Action
from headrace.workflows.reading import Cursor, StepReader
from headrace.workflows.reading.refused import refused_call
from headrace.workflows.steps.call_function import read_function_call, read_named_call
from headrace.workflows.steps.call_http import read_http_call
from headrace.workflows.steps.call_task import read_task_call

_CALLS: dict[str, Callable[[dict[str, Cursor], StepReader], Action]] = {"http": read_http_call}


def read_call(fields: dict[str, Cursor], reader: StepReader) -> Action:
    """The call named under `call`, its arguments under `with`.

    A name may be one of the workflow's `use.functions`, of the packages, or the language's own.
    Any other is a task type, unless it differs by little from one of these: then it is a mistake.
    """
    called = fields["call"].text()
    if called in reader.named_functions:
        return read_named_call(fields, reader.named_functions[called])
    if called in reader.functions:
        return read_function_call(fields, reader.functions[called])
    sentence = refused_call(called)
    if sentence is not None:
        fields["call"].refuse(sentence)
    if called in _CALLS:
        return _CALLS[called](fields, reader)
    names = (*_CALLS, *reader.named_functions, *reader.functions)
    meant = did_you_mean(called, names)
    if meant or called in reader.function_names or called.startswith("@"):
        supported = ", ".join(f"`call: {name}`" for name in names)
        fields["call"].refuse(
            f"`call` names {called!r}, which is no function known here (supported: {supported})"
            f"{meant}"
        )
    return read_task_call(fields)

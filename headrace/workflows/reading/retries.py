"""Retry policies: what `catch.retry` holds, and `use.retries` names."""

from __future__ import annotations

from headrace.workflows.model import Duration, RetryPolicy, Template
from headrace.workflows.reading.cursor import Cursor, attempts
from headrace.workflows.reading.durations import read_duration
from headrace.workflows.reading.expressions import (
    STEP_BODY,
    WITH_SECRETS,
    read_condition,
    read_runtime_expression,
)

BACK_OFFS = ("constant", "linear", "exponential")


def read_retry(cursor: Cursor) -> RetryPolicy:
    """A retry policy. Its expressions see the error as `$error`, too."""
    cursor = cursor.binding("error")
    fields = cursor.mapping({"when", "exceptWhen", "delay", "backoff", "limit", "jitter"})
    if not fields.keys() & {"delay", "limit", "jitter"}:
        cursor.refuse("this would retry at once and for ever: give `delay`, or `limit`")
    with attempts() as part:
        limit = part.given(_read_limit, fields, "limit")
        count, attempt_duration, duration = limit or (None, None, None)
        return RetryPolicy(
            when=part.given(read_condition, fields, "when", WITH_SECRETS),
            except_when=part.given(read_condition, fields, "exceptWhen", WITH_SECRETS),
            delay=part.given(read_duration, fields, "delay"),
            backoff=part(_read_back_off, fields),
            count=count,
            attempt_duration=attempt_duration,
            duration=duration,
            jitter=part.given(_read_jitter, fields, "jitter"),
        )


def _read_back_off(fields: dict[str, Cursor]) -> str:
    if "backoff" not in fields:
        return "constant"
    given = fields["backoff"].mapping(set(BACK_OFFS))
    if len(given) != 1:
        fields["backoff"].refuse(f"`backoff` must hold one of {', '.join(BACK_OFFS)}")
    ((kind, cursor),) = given.items()
    cursor.mapping(set())
    if "delay" not in fields:
        fields["backoff"].refuse("`backoff` grows from a `delay`: give one beside it")
    return kind


def _read_limit(cursor: Cursor) -> tuple[Template | None, Duration | None, Duration | None]:
    """The number of retries, and how long each attempt and all of them may take."""
    fields = cursor.mapping({"attempt", "duration"})
    with attempts() as part:
        each = part.given(_read_attempt, fields, "attempt") or {}
        return (
            part.given(_read_count, each, "count"),
            part.given(read_duration, each, "duration"),
            part.given(read_duration, fields, "duration"),
        )


def _read_attempt(cursor: Cursor) -> dict[str, Cursor]:
    return cursor.mapping({"count", "duration"})


def _read_count(cursor: Cursor) -> Template:
    value = cursor.value
    if isinstance(value, str):
        expression = read_runtime_expression(cursor, STEP_BODY)
        return Template(expression, (expression,))
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        cursor.refuse(f"`count` must be a whole number of retries, or an expression, not {value!r}")
    return Template(value, ())


def _read_jitter(cursor: Cursor) -> tuple[Duration, Duration]:
    fields = cursor.mapping({"from", "to"}, ("from", "to"))
    with attempts() as part:
        least, most = part(read_duration, fields["from"]), part(read_duration, fields["to"])
    if least.fixed is not None and most.fixed is not None and least.fixed > most.fixed:
        cursor.refuse("`from` is longer than `to`")
    return least, most

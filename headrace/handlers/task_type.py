"""A task type: a Python function with a name, a payload model and rules for time and retries."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cached_property
from types import UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from headrace.handlers.backoff import DEFAULT_BACKOFF, Backoff
from headrace.handlers.context import Context
from headrace.handlers.errors import PayloadInvalid, RegistrationError
from headrace.handlers.outcomes import Park
from headrace.handlers.results import encode_result
from headrace.limits import (
    DEFAULT_MAX_RETRIES,
    MAX_RETRIES_LIMIT,
    TASK_TYPE_NAME,
    TASK_TYPE_NAME_RULE,
)

DEFAULT_TIMEOUT_SECONDS = 300.0

P = TypeVar("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class TaskType(Generic[P, R_co]):
    """What `@handler` makes of a function. Calling it calls the function: `f(ctx, payload)`."""

    def __init__(
        self,
        name: str,
        function: Callable[[Context, P], R_co],
        *,
        max_retries: int = DEFAULT_MAX_RETRIES,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
        retry_on: tuple[type[BaseException], ...] = (Exception,),
        backoff: Backoff = DEFAULT_BACKOFF,
        run_in: Literal["process"] | None = None,
    ) -> None:
        _check(name, max_retries, timeout_seconds, retry_on, backoff)
        if run_in is not None:
            _check_place(name, function, run_in)
        self.name = name
        self.function = function
        self.max_retries = max_retries
        self.timeout_seconds = timeout_seconds
        self.retry_on = retry_on
        self.backoff = backoff
        self.in_process = run_in == "process"
        """Whether each attempt runs in a child process."""
        self.version = ""
        """The version of the package that it comes from; set when the package is loaded."""
        self.is_async = _is_async(function)
        self._validate, self._schema = _payload_rules(name, function)
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)
        self.__wrapped__ = function

    def __call__(self, ctx: Context, payload: P) -> R_co:
        """Run the function itself, as in its own tests."""
        return self.function(ctx, payload)

    def __repr__(self) -> str:
        return f"<task type {self.name!r}: {self.where}>"

    @property
    def where(self) -> str:
        """Module and name of the function, for messages."""
        return f"{self.function.__module__}.{getattr(self.function, '__qualname__', self.name)}"

    def validate(self, payload: bytes) -> P:
        """The payload as the handler takes it.

        Raises:
            PayloadInvalid: it is not JSON, or does not fit the model.
        """
        try:
            return self._validate(payload)  # type: ignore[no-any-return]
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise PayloadInvalid(self.name, [dict(mistake) for mistake in found]) from None

    def encode_payload(self, payload: P) -> bytes:
        """A payload as the JSON document that is submitted.

        Raises:
            PayloadInvalid: the handler would refuse it.
            ValueError: it cannot be written as JSON.
        """
        encoded = encode_result(payload)
        self.validate(encoded)
        return encoded

    def decode_result(self, result: bytes) -> Any:
        """A result as the annotation of the handler's return value has it."""
        return self._result.validate_json(result)

    @cached_property
    def _result(self) -> TypeAdapter[Any]:
        """Made only where results are read: a worker writes them."""
        hint = get_type_hints(_annotated(self.function), include_extras=True).get("return", Any)
        if get_origin(hint) in (Union, UnionType):
            # A Park is no result: the task goes on.
            hint = Union[tuple(it for it in get_args(hint) if it is not Park)]  # noqa: UP007
        return TypeAdapter(hint)

    def payload_schema(self) -> dict[str, Any]:
        """The payload's JSON Schema (draft 2020-12), as published for the API."""
        return self._schema

    def wants_retry(self, error: BaseException) -> bool:
        """Whether this kind of error is to be retried."""
        return isinstance(error, self.retry_on)


def handler(
    name: str,
    *,
    max_retries: int = DEFAULT_MAX_RETRIES,
    timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
    retry_on: tuple[type[BaseException], ...] = (Exception,),
    backoff: Backoff = DEFAULT_BACKOFF,
    run_in: Literal["process"] | None = None,
) -> Callable[[Callable[[Context, P], R]], TaskType[P, R]]:
    """Make a task type of a function `f(ctx, payload)`, async or not.

    The annotation of the second parameter is the payload's model: a pydantic model, a dataclass, a
    TypedDict, or anything else that pydantic can check. `Any` takes every JSON document.

    Args:
        name: lower-case letters, digits, `_`, `.` and `-`; also the name of its queue.
        max_retries: how often a failed task is retried unless its submit says otherwise.
        timeout_seconds: how long one attempt may take; None: for ever.
        retry_on: the errors that are retried. `Fatal` never is.
        backoff: the bounds of the delay before the next attempt.
        run_in: "process" runs each attempt in a child process, for handlers that compute. The
            function must stand at the top level of a module.

    Raises:
        RegistrationError: the function or a rule is unusable.
    """
    if not isinstance(name, str):
        raise RegistrationError(
            f"@handler on {getattr(name, '__qualname__', name)} has no name: write "
            f'@handler("{getattr(name, "__name__", "resize_image")}")'
        )

    def make(function: Callable[[Context, P], R]) -> TaskType[P, R]:
        return TaskType(
            name,
            function,
            max_retries=max_retries,
            timeout_seconds=timeout_seconds,
            retry_on=retry_on,
            backoff=backoff,
            run_in=run_in,
        )

    return make


def _check(
    name: str,
    max_retries: int,
    timeout_seconds: float | None,
    retry_on: tuple[type[BaseException], ...],
    backoff: object,
) -> None:
    if not re.fullmatch(TASK_TYPE_NAME, name):
        raise RegistrationError(
            f"{name!r} is not a name for a task type: {TASK_TYPE_NAME_RULE}, "
            'as in @handler("resize_image")'
        )
    if not 0 <= max_retries <= MAX_RETRIES_LIMIT:
        raise RegistrationError(
            f"{name}: max_retries is {max_retries}, it must be between 0 and {MAX_RETRIES_LIMIT}"
        )
    if timeout_seconds is not None and not timeout_seconds > 0:
        raise RegistrationError(f"{name}: timeout_seconds must be above 0, or None for no limit")
    try:
        isinstance(None, retry_on)
    except TypeError as error:
        raise RegistrationError(f"{name}: retry_on must be a tuple of exception classes") from error
    if not isinstance(backoff, Backoff):
        raise RegistrationError(f"{name}: backoff must be a Backoff, as in Backoff(1, 300)")


def _check_place(name: str, function: Callable[..., Any], run_in: object) -> None:
    """A child process imports the handler's module, and looks for the task type in there."""
    if run_in != "process":
        raise RegistrationError(f'{name}: run_in is {run_in!r}: write "process", or leave it out')
    if "<locals>" in getattr(function, "__qualname__", "") or function.__module__ == "__main__":
        raise RegistrationError(
            f'{name}: run_in="process" needs a handler at the top level of a module that a child '
            "process can import: not inside a function, nor in the program's own file"
        )


def _annotated(function: Callable[..., Any]) -> Any:
    """What carries the annotations: of an object that can be called, its method."""
    return function if inspect.isroutine(function) else type(function).__call__


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether a call returns a coroutine; also for objects with an async `__call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - its kind is asked, not its presence
    )


def _payload_rules(
    name: str, function: Callable[..., Any]
) -> tuple[Callable[[bytes], Any], dict[str, Any]]:
    """What checks payloads, and their JSON Schema, from the annotation of the second parameter."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise RegistrationError(f"{name}: a handler is a function, not {function!r}") from error
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    if len(positional) < 2 or len(required) > 2:
        raise RegistrationError(f"{name}: a handler takes two arguments, (ctx, payload)")
    try:
        annotation: Any = get_type_hints(_annotated(function), include_extras=True).get(
            positional[1].name
        )
    except (NameError, TypeError) as error:
        raise RegistrationError(
            f"{name}: the annotations of {function!r} cannot be read ({error}): the payload's "
            "model must be known to the handler's module before the handler"
        ) from error
    if annotation is None and positional[1].annotation is positional[1].empty:
        raise RegistrationError(
            f"{name}: annotate {positional[1].name!r} with the payload's model, "
            "or with Any to take every JSON document"
        )
    try:
        adapter = TypeAdapter(annotation)
        validate = adapter.validator.validate_json
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise RegistrationError(f"{name}: pydantic cannot check {annotation!r}: {error}") from error
    try:
        return validate, adapter.json_schema()
    except Exception as error:
        # A model may make its schema with code of its own, which may raise anything.
        raise RegistrationError(
            f"{name}: pydantic cannot make a JSON Schema of {annotation!r}, which the API checks "
            f"payloads by: {error}"
        ) from error

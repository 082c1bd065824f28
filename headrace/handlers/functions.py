"""Functions that workflows call in place: `@function`, and those of installed packages.

    @function("vat")
    def vat(net: float, rate: float = 0.19) -> float:
        return round(net * rate, 2)

A package names its own by an entry point of the group `headrace.functions`, in its pyproject.toml:

    [project.entry-points."headrace.functions"]
    prices = "shop.prices"                  # all functions that this module holds
    vat = "shop.prices:vat"                 # or this one alone
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from types import ModuleType
from typing import Any, Generic, ParamSpec, TypeVar, get_type_hints

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from headrace.handlers.entry_points import called, loaded
from headrace.handlers.errors import DuplicateFunction, EntryPointBroken, RegistrationError
from headrace.handlers.failures import describe
from headrace.handlers.results import encode_result
from headrace.limits import TASK_TYPE_NAME, TASK_TYPE_NAME_RULE
from headrace.workflows import CALLS, WorkflowError

ENTRY_POINT_GROUP = "headrace.functions"
DEFAULT_TIMEOUT_SECONDS = 60.0
MAX_THREADS = 32
"""So many plain functions run at the same time in one process."""

P = ParamSpec("P")
R = TypeVar("R")


class Function(Generic[P, R]):
    """What `@function` makes of a function. Calling it calls the function itself."""

    def __init__(
        self,
        name: str,
        function: Callable[P, R],
        *,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        if not re.fullmatch(TASK_TYPE_NAME, name):
            raise RegistrationError(
                f"{name!r} is not a name for a function: {TASK_TYPE_NAME_RULE}, "
                'as in @function("vat")'
            )
        if name in CALLS:
            raise RegistrationError(
                f"{name!r} is not a name for a function: `call: {name}` is the language's own"
            )
        if timeout_seconds is not None and not timeout_seconds > 0:
            raise RegistrationError(
                f"{name}: timeout_seconds must be above 0, or None for no limit"
            )
        self.name = name
        self.function = function
        self.timeout_seconds = timeout_seconds
        self.is_async = inspect.iscoroutinefunction(function)
        self._model = _arguments_model(name, function)
        self.parameters: Mapping[str, bool] = {
            str(field.alias): field.is_required() for field in self._model.model_fields.values()
        }
        """The names of its arguments, each with whether a call must give it."""
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function itself, as in its own tests."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<function {self.name!r}: {self.where}>"

    @property
    def where(self) -> str:
        """Module and name of the function, for messages."""
        return f"{self.function.__module__}.{getattr(self.function, '__qualname__', self.name)}"

    def arguments_schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of what a call gives under `with`."""
        return self._model.model_json_schema()

    async def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call it with JSON data; what it returns, as JSON data.

        Raises:
            WorkflowError: the arguments do not fit, it took too long, it raised an error, or its
                result cannot be written as JSON. One that it raises itself passes unchanged.
        """
        given = self._validated(arguments)
        timeout = asyncio.timeout(self.timeout_seconds)
        try:
            async with timeout:
                result = await self._run(given)
            return msgspec.json.decode(encode_result(result))
        except WorkflowError:
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and timeout.expired():
                detail = f"it was not over within {self.timeout_seconds:g} s"
                raise self._error("timeout", detail) from error
            raise self._error("runtime", describe(error)) from error

    async def _run(self, given: dict[str, Any]) -> Any:
        call: Callable[..., Any] = self.function
        if self.is_async:
            return await call(**given)
        context = contextvars.copy_context()
        work = partial(context.run, partial(call, **given))
        return await asyncio.get_running_loop().run_in_executor(_threads(), work)

    def _validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            model = self._model.model_validate_json(msgspec.json.encode(arguments))
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            sentences = [f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in found]
            raise self._error("validation", "; ".join(sentences)) from None
        fields = type(model).model_fields
        return {str(fields[name].alias): getattr(model, name) for name in model.model_fields_set}

    def _error(self, kind: str, detail: str) -> WorkflowError:
        return WorkflowError.standard(kind, f"the function {self.name!r}: {detail}")


def function(
    name: str, *, timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS
) -> Callable[[Callable[P, R]], Function[P, R]]:
    """Let workflows call a function, async or not, in place: `call: vat`, its arguments in `with`.

    The annotations of its parameters are checked by pydantic. It runs in the process of the run: an
    async one in the event loop, which it must not block, a plain one in a thread. What computes for
    long or needs workers of its own is a task type: see `handler`.

    Args:
        name: what definitions call it: lower-case letters, digits, `_`, `.` and `-`.
        timeout_seconds: how long one call may take; None: for ever. A thread goes on behind its
            time-out, for nobody can stop it.

    Raises:
        RegistrationError: the function or a rule is unusable.
    """
    if not isinstance(name, str):
        raise RegistrationError(
            f"@function on {getattr(name, '__qualname__', name)} has no name: write "
            f'@function("{getattr(name, "__name__", "vat")}")'
        )
    return lambda function: Function(name, function, timeout_seconds=timeout_seconds)


def load_functions() -> dict[str, Function[Any, Any]]:
    """The functions of every installed package, by name.

    Raises:
        EntryPointBroken: a package's entry point cannot be imported, or holds no function.
        DuplicateFunction: two packages use one name.
    """
    functions: dict[str, Function[Any, Any]] = {}
    for point, target in loaded(ENTRY_POINT_GROUP):
        held = vars(target).values() if isinstance(target, ModuleType) else [target]
        found = [value for value in held if isinstance(value, Function)]
        if not found:
            raise EntryPointBroken(
                called(point),
                "it leads to no function: it must name one decorated with @function, or a module "
                "that holds some",
            )
        for each in found:
            registered = functions.setdefault(each.name, each)
            if registered is not each:
                raise DuplicateFunction(each.name, registered.where, each.where)
    return functions


def _arguments_model(name: str, function: Callable[..., Any]) -> type[BaseModel]:
    """What checks the arguments: a field for each parameter, under an alias, for any name is one's
    own to choose.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(function, include_extras=True)
    except (TypeError, ValueError, NameError) as error:
        raise RegistrationError(f"{name}: its annotations cannot be read: {error}") from error
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(parameters):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise RegistrationError(
                f"{name}: {parameter} cannot be given by name: a function takes named arguments"
            )
        if parameter.name not in hints:
            raise RegistrationError(
                f"{name}: annotate {parameter.name!r}, or write Any to take every JSON value"
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[f"argument_{index}"] = (
            hints[parameter.name],
            Field(default, alias=parameter.name),
        )
    try:
        model = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        model.model_json_schema()
    except Exception as error:
        # A parameter's model may have code of its own, which may raise anything.
        raise RegistrationError(f"{name}: pydantic cannot check its arguments: {error}") from error
    return model


@cache
def _threads() -> ThreadPoolExecutor:
    """The threads of plain functions, apart from those that a process needs for its own work."""
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="function")

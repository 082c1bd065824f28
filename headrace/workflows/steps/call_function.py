"""`call` of a function: one of `use.functions`, or one of an installed package, in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.workflows.model import CalledFunction, Done, Flow, Scope, Step, Template
from headrace.workflows.reading import STEP_BODY, Cursor, read_template


@dataclass(frozen=True, slots=True)
class NamedCallAction:
    """A task that `use.functions` names, and the data that it begins with."""

    step: Step
    arguments: Template

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """The task's output."""
        data = await flow.evaluate(self.arguments, scope.input, scope)
        done = await flow.sequence((self.step,), data, scope.under("function"))
        return Done(done.output)


@dataclass(frozen=True, slots=True)
class FunctionCallAction:
    """A function of a package, and its arguments."""

    function: CalledFunction
    arguments: Template

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """What it returns. It is called once, however often the run goes on after it."""

        async def call() -> Any:
            return await self.function.call(await flow.evaluate(self.arguments, scope.input, scope))

        return Done(await flow.once(call, scope))


def read_named_call(fields: dict[str, Cursor], step: Step) -> NamedCallAction:
    """The arguments under `with`, any mapping; without it the task gets an empty one."""
    return NamedCallAction(step, _read_arguments(fields))


def read_function_call(fields: dict[str, Cursor], function: CalledFunction) -> FunctionCallAction:
    """The arguments under `with`, by the names of the function's parameters."""
    required = tuple(name for name, needed in function.parameters.items() if needed)
    if "with" in fields:
        fields["with"].mapping(set(function.parameters), required)
    elif required:
        fields["call"].refuse(
            f"`with` is missing: {function.name!r} needs {', '.join(map(repr, required))}"
        )
    return FunctionCallAction(function, _read_arguments(fields))


def _read_arguments(fields: dict[str, Cursor]) -> Template:
    if "with" not in fields:
        return Template({}, ())
    fields["with"].fields()
    return read_template(fields["with"], STEP_BODY)

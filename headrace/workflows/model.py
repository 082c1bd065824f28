"""What a workflow is made of, and what its steps may ask of a run: data and protocols.

Imports nothing that reads or runs them. The language calls a step a task; its own word stays in
definitions, expressions and errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from headrace.workflows.errors import WorkflowError

Arguments = Mapping[str, Callable[[], Any]]
"""What expressions may use besides their data, by name; each is made when it is asked for."""


class Lookup(Protocol):
    """An expression that is simple enough to be evaluated without jq."""

    def look_up(self, data: Any, arguments: Arguments) -> Any:
        """The value, as jq would find it; ValueError where jq would fail."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression of a definition.

    `program` is what jq runs for it, `variables` the arguments that it uses. `simple` is set when
    it needs no jq.
    """

    text: str
    program: str
    variables: tuple[str, ...]
    simple: Lookup | None


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON value of a definition, some texts of which are expressions."""

    value: Any
    expressions: tuple[Expression, ...]

    def fill(self, results: Sequence[Any]) -> Any:
        """The value with the results in place of its expressions, in their order."""
        return _fill(self.value, iter(results)) if self.expressions else self.value


def _fill(value: Any, results: Iterator[Any]) -> Any:
    if isinstance(value, Expression):
        return next(results)
    if isinstance(value, dict):
        return {key: _fill(item, results) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, results) for item in value]
    return value


def is_true(value: Any) -> bool:
    """Whether a condition's value counts as true: as in jq, all but false and null does."""
    return value is not None and value is not False


@dataclass(frozen=True, slots=True)
class Duration:
    """How long: known from the definition, or what an expression will give."""

    fixed: timedelta | None
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Deadline:
    """When something must be over, and what: `instance` is its reference."""

    at: datetime
    after: timedelta
    instance: str

    def passed(self) -> WorkflowError:
        """The error when it was not."""
        seconds = self.after.total_seconds()
        return WorkflowError.standard(
            "timeout", f"it was not over within {seconds:g} s", instance=self.instance
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a definition, checked.

    `document` is what the definition holds under the step's name, `reference` the JSON pointer of
    it.
    """

    name: str
    reference: str
    document: Any
    action: Action
    condition: Template | None
    input_from: Template | None
    output_as: Template | None
    export_as: Template | None
    timeout: Duration | None
    then: str


@dataclass(slots=True)
class Scope:
    """One execution of a step: its data at each stage, as expressions see it.

    `variables` are those of the loops around it.
    """

    step: Step
    raw_input: Any
    started_at: datetime
    deadline: Deadline | None
    variables: Mapping[str, Any]
    input: Any = None
    raw_output: Any = None
    output: Any = None

    def binding(self, variables: Mapping[str, Any]) -> Scope:
        """The same with more variables, for a round of a loop."""
        return replace(self, variables={**self.variables, **variables})


class Done(NamedTuple):
    """What an action, or a sequence of steps, returns: its output, and where to go on.

    `then` is what a step's `then` may be. None: an action leaves it to the step's, and a sequence
    came to its end.
    """

    output: Any
    then: str | None = None


class Action(Protocol):
    """What a step does between the transformations of its input and its output."""

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """Do it with `scope.input`. Raises WorkflowError."""


class Flow(Protocol):
    """What a step may ask of the run that it is part of.

    Whatever is not asked of it must come out the same when it is computed again: a run that goes on
    after a park or a crash does so.
    """

    @property
    def http(self) -> HttpSender:
        """Sends requests. Only within `once`: it is an effect."""

    def now(self) -> datetime:
        """The clock. Only within `once` and `park`: it differs each time."""

    async def evaluate(self, template: Template, data: Any, scope: Scope) -> Any:
        """Evaluate a template on `data`. Raises WorkflowError."""

    async def duration(self, duration: Duration, scope: Scope) -> timedelta:
        """How long that is, on the step's input. Raises WorkflowError."""

    async def sequence(self, steps: tuple[Step, ...], data: Any, scope: Scope) -> Done:
        """Perform steps within `scope`, in the order that their `then` asks for.

        Returns the last one's output; `then` is "exit" when a step left the sequence by it. Raises
        WorkflowError.
        """

    async def once(self, effect: Callable[[], Awaitable[Any]], scope: Scope) -> Any:
        """Do what has an effect, unless an earlier attempt has done it; its output either way.

        Raises what the effect raises, and WorkflowError when the scope's deadline passes.
        """

    async def park(self, until: Callable[[], Awaitable[datetime]], scope: Scope) -> None:
        """Let time pass, giving the run's slot up meanwhile where that is possible.

        `until` is asked when this begins, and never again for this execution, whatever happens to
        the run. Raises WorkflowError when the scope's deadline passes before.
        """


class HttpSender(Protocol):
    """Sends HTTP requests, within the limits that the process sets."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: list[tuple[str, str]],
        content: bytes | None,
        follow_redirects: bool,
    ) -> HttpReply:
        """Send a request and read the response. Raises WorkflowError when there is none."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A response that was read whole, and the request that it answers, the last one if redirected.

    Header names are in lower case.
    """

    method: str
    url: str
    request_headers: dict[str, str]
    status: int
    reason: str
    headers: dict[str, str]
    content: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Workflow:
    """A checked definition.

    `definition` is the text that was read, byte for byte, and `definition_sha256` its digest: a run
    is pinned to both. `document` is the same as data.
    """

    id: str
    namespace: str
    version: str
    title: str | None
    summary: str | None
    source: str
    definition: bytes
    definition_sha256: str
    document: Any
    steps: tuple[Step, ...]
    input_from: Template | None
    output_as: Template | None
    timeout: Duration | None

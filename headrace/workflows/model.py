"""What a workflow is made of, and what its steps may ask of a run: data and protocols.

Imports nothing that reads or runs them. The language calls a step a task; its own word stays in
definitions, expressions and errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from headrace.workflows.errors import WorkflowError
from headrace.workflows.limits import RunLimits

Arguments = Mapping[str, Callable[[], Any]]
"""What expressions may use besides their data, by name; each is made when it is asked for."""


class SimpleExpression(Protocol):
    """Evaluates an expression without jq; raises `NeedsJq` for data that it is not meant for."""

    @property
    def makes(self) -> bool:
        """Whether it puts data together, which may become large."""

    def __call__(self, data: Any, arguments: Arguments) -> Any:
        """The expression's value."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression of a definition.

    `program` is what jq runs for it, `variables` the arguments that it uses. `simple` is set when
    it needs no jq for most data.
    """

    text: str
    program: str
    variables: tuple[str, ...]
    simple: SimpleExpression | None


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
class Schema:
    """A JSON Schema of a definition. `field` is where it stands, such as `input.schema`.

    `program` is what the process that evaluates is given for it.
    """

    document: Any
    program: str
    field: str


@dataclass(frozen=True, slots=True)
class Authentication:
    """How a request proves who sends it: `basic` or `bearer`, with its fields."""

    scheme: str
    fields: Template


@dataclass(frozen=True, slots=True)
class Duration:
    """How long: known from the definition, or what an expression will give."""

    fixed: timedelta | None
    template: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failures are tried again, how often, and how long after.

    count: how many retries there may be; None: no limit.
    duration: when no retry begins any more, from the beginning of the first attempt.
    jitter: the least and the most that is added to the delay.
    """

    when: Template | None
    except_when: Template | None
    delay: Duration | None
    backoff: str
    count: Template | None
    attempt_duration: Duration | None
    duration: Duration | None
    jitter: tuple[Duration, Duration] | None


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
    input_schema: Schema | None = None
    output_schema: Schema | None = None
    export_schema: Schema | None = None


@dataclass(slots=True)
class Scope:
    """One execution of a step: its data at each stage, as expressions see it.

    `path` names this execution, and no other of the run: `/do/0/check/for/3/do/1/call#2` is the
    second visit of `call` in round 3 of the loop `check`. `variables` are those of the loops around
    it. `memo` is what the action keeps of this execution: JSON data, empty when it begins. A run
    that goes on from a snapshot performs the action again, with the memo as it was then.
    """

    step: Step
    path: str
    raw_input: Any
    started_at: datetime
    deadline: Deadline | None
    variables: Mapping[str, Any]
    input: Any = None
    raw_output: Any = None
    output: Any = None
    memo: dict[str, Any] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    """The last thing that this execution has done, by its path: its memo may not say so yet. For
    the run alone."""

    def binding(self, variables: Mapping[str, Any]) -> Scope:
        """The same with more variables, for a round of a loop."""
        return replace(self, variables={**self.variables, **variables})

    def under(self, *parts: str | int) -> Scope:
        """A part of this execution, which shares its memo: `scope.under("for", 3, "do")`."""
        return replace(self, path="/".join((self.path, *map(str, parts))))


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What a run's journal keeps of something that is done once: an effect, or a choice.

    `began_ms` is the time as expressions saw it before, `ended_ms` when it was over (for a wait,
    when it will be).
    """

    path: str
    kind: Literal["start", "call", "wait", "child", "timeout", "resumed", "join"]
    ok: bool
    value: msgspec.Raw
    """The output as JSON; the error as the language's object, if not `ok`."""
    began_ms: int
    ended_ms: int


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


class ChildTask(msgspec.Struct, frozen=True):
    """A task of its own, on the workers that have its type, which a step starts."""

    task_type: str
    payload: Any
    awaited: bool = True
    """Whether the step waits for its end."""


class ChildRun(msgspec.Struct, frozen=True):
    """A run of another workflow, as a task of its own, which a step starts."""

    namespace: str
    name: str
    version: str | None
    """None: the latest."""
    variables: dict[str, Any]
    """Its input."""
    awaited: bool = True


class ChildEnd(msgspec.Struct, frozen=True):
    """How a child ended."""

    status: Literal["completed", "failed", "cancelled", "started"]
    """`started`: nobody waits for its end."""
    result: Any = None
    error: Any = None
    """A text: class and message."""
    problem: Any = None
    """The language's error object, if a workflow failed."""


BranchBody = Callable[["Flow", int], Awaitable[Done]]
"""What a branch does, given its own flow and its number from 0."""


class CalledFunction(Protocol):
    """Code of an installed package that a step may call in place."""

    @property
    def name(self) -> str:
        """What definitions call it."""

    @property
    def parameters(self) -> Mapping[str, bool]:
        """The names of its arguments, each with whether a call must give it."""

    async def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call it; what it returns, as JSON data. Only within `once`. Raises WorkflowError."""


class Flow(Protocol):
    """What a step may ask of the run that it is part of, or of a branch of it.

    Whatever is not asked of it must come out the same when it is computed again. A run that goes on
    after a park or a crash performs again the steps that had begun by its last snapshot and had not
    ended, each with its memo of then, and those after them. An action that performs others, or
    does several things once, keeps in its memo how far it has come.

    Two rules make that safe. The memo changes in one go, with no `await` between two changes that
    belong together. And who catches a WorkflowError says so in the memo before the next `await`.
    """

    @property
    def http(self) -> HttpSender:
        """Sends requests. Only within `once`: it is an effect."""

    @property
    def limits(self) -> RunLimits:
        """What a run may use at most."""

    @property
    def time(self) -> datetime:
        """The time as expressions see it: the same when it is computed again."""

    def now(self) -> datetime:
        """The clock. Only within `once` and `park`: it differs each time."""

    def random(self) -> float:
        """A number from 0 to 1. Only within `once` and `park`: it differs each time."""

    def key(self, scope: Scope) -> str:
        """A UUID of the scope's path in this run: the same whenever the path is reached again."""

    async def evaluate(self, template: Template, data: Any, scope: Scope) -> Any:
        """Evaluate a template on `data`. Raises WorkflowError."""

    async def duration(self, duration: Duration, scope: Scope) -> timedelta:
        """How long that is, on the step's input. Raises WorkflowError."""

    async def sequence(self, steps: tuple[Step, ...], data: Any, scope: Scope) -> Done:
        """Perform steps within `scope`, in the order that their `then` asks for.

        Their paths lie under the scope's, which no other sequence of this execution may have. When
        the run goes on in the middle of it, `data` does not count. Returns the last one's output;
        `then` is "exit" when a step left the sequence by it. Raises WorkflowError.
        """

    async def once(self, effect: Callable[[], Awaitable[Any]], scope: Scope) -> Any:
        """Do what has an effect, unless this path's was done before; its output either way.

        Raises what the effect raises, and WorkflowError when the scope's deadline passes. A
        WorkflowError that is caught is kept too, and raised again instead of a second effect.
        """

    async def park(self, until: Callable[[], Awaitable[datetime]], scope: Scope) -> None:
        """Let time pass, giving the run's slot up meanwhile where that is possible.

        `until` is asked when this begins, and never again for this path, whatever happens to the
        run. Raises WorkflowError when the scope's deadline passes before.
        """

    async def child(self, task: ChildTask | ChildRun, scope: Scope) -> ChildEnd:
        """Start a task, once for this path, and give the run's slot up until it ends.

        Its id is `key(scope)`. Raises WorkflowError when it cannot be started, and when the scope's
        deadline passes before: then it is cancelled.
        """

    async def branches(
        self,
        count: int,
        body: BranchBody,
        scope: Scope,
        *,
        at_once: int | None = None,
        compete: bool = False,
    ) -> list[Any]:
        """Perform `body` so many times, each in a branch; the outputs in the branches' order.

        A branch has a position, a context and a time of its own. All that it does has a path under
        the scope's, with its number: `scope.under(number, …)`. When one fails, the others are
        cancelled, their effects under way and their children too, and its error is raised.

        Args:
            count: how many branches.
            body: what each does, with its own flow.
            scope: of the step that has the branches.
            at_once: so many are under way at once; None: all.
            compete: the first to complete wins: its output alone is returned, and the others are
                cancelled. A failed branch counts only when all have failed.
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
    input_schema: Schema | None
    input_from: Template | None
    output_as: Template | None
    output_schema: Schema | None
    timeout: Duration | None
    secrets: frozenset[str] = frozenset()
    """The names of those that it may use."""

"""The client for programs without an event loop."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from headrace.client.address import find_address
from headrace.client.calls import Accepted
from headrace.client.handles import TaskHandle, Uncompleted
from headrace.client.parts import Bulk, Queues, Tasks, TaskTypes, Workers, Workflows
from headrace.client.steps import RETRY_SECONDS, Program, Rules, run
from headrace.client.submissions import SubmitOptions, as_it_is, kind_of, options_of
from headrace.client.transports import open_blocking

if TYPE_CHECKING:  # they take longer to import than all else, and few calls need them
    from headrace.handlers import Park, TaskType

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")


class Client:
    """Submits tasks, looks at them and waits for them.

        with Client() as client:
            handle = client.submit(create, Thumbnail(url="..."))
            print(handle.result(timeout=60))

    Threads may share one, and so may forked processes. On an event loop take AsyncClient.

    Every call raises HeadraceError: see headrace/client/errors.py. What may pass by itself is sent
    again for 30 s, then Unavailable is raised.

    Args:
        url: `http://` or `https://`: the API; `redis://`, `rediss://` and so on: Redis, directly.
            Default: HEADRACE_URL, then the profile, then http://127.0.0.1:8000.
        api_key: default: HEADRACE_API_KEY, then the profile.
        profile: a profile of ~/.config/headrace/config.toml. Default: HEADRACE_PROFILE, then
            `default`.
        retry_seconds: for so long a request is sent again.

    Raises ConfigInvalid for an address or a key that cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        profile: str | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._address = find_address(url, api_key, profile=profile)
        rules = Rules(retry_seconds=retry_seconds)
        self._transport, self.calls = open_blocking(self._address, rules)
        self.tasks = Tasks(self.run, self.calls)
        self.queues = Queues(self.run, self.calls)
        self.workers = Workers(self.run, self.calls)
        self.workflows = Workflows(self.run, self.calls)
        self.task_types = TaskTypes(self.run, self.calls)
        self.bulk = Bulk(self.run, self.calls)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    # Submitting

    @overload
    def submit(
        self,
        task_type: TaskType[P, Coroutine[Any, Any, R | Park]],
        payload: P,
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[R]: ...

    @overload
    def submit(
        self, task_type: TaskType[P, R | Park], payload: P, **options: Unpack[SubmitOptions]
    ) -> TaskHandle[R]: ...

    @overload
    def submit(
        self, task_type: str, payload: Any = None, **options: Unpack[SubmitOptions]
    ) -> TaskHandle[Any]: ...

    def submit(
        self,
        task_type: TaskType[Any, Any] | str,
        payload: Any = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[Any]:
        """Submit a task: by the function decorated with `@handler`, or by the type's name.

        It is safe to repeat: however often it has to be sent, it makes one task. The options are
        those of SubmitOptions. Raises `errors.InvalidPayload`, `errors.TaskTypeUnknown`,
        `errors.IdempotencyConflict`, Unavailable, among others.
        """
        kind = kind_of(task_type)
        program = self.calls.submit(kind.name, kind.encode(payload), options_of(options, kind))
        return TaskHandle(self.run, self.calls, self.run(program), kind.read)

    @overload
    def submit_many(
        self,
        task_type: TaskType[P, Coroutine[Any, Any, R | Park]],
        payloads: Iterable[P],
        **options: Unpack[SubmitOptions],
    ) -> list[TaskHandle[R]]: ...

    @overload
    def submit_many(
        self,
        task_type: TaskType[P, R | Park],
        payloads: Iterable[P],
        **options: Unpack[SubmitOptions],
    ) -> list[TaskHandle[R]]: ...

    @overload
    def submit_many(
        self, task_type: str, payloads: Iterable[Any], **options: Unpack[SubmitOptions]
    ) -> list[TaskHandle[Any]]: ...

    def submit_many(
        self,
        task_type: TaskType[Any, Any] | str,
        payloads: Iterable[Any],
        **options: Unpack[SubmitOptions],
    ) -> list[TaskHandle[Any]]:
        """Submit many tasks of a type; their handles in the same order.

        They are sent in batches of up to 1000 tasks and 1 MiB, each taken in as a whole or not at
        all. After an error, batches before it are in the queue: with a `key`, the same call again
        makes no task twice. Raises as `submit` does.
        """
        kind = kind_of(task_type)
        encoded = [kind.encode(payload) for payload in payloads]
        program = self.calls.submit_many(kind.name, encoded, options_of(options, kind))
        return [
            TaskHandle(self.run, self.calls, accepted, kind.read) for accepted in self.run(program)
        ]

    def execute(
        self,
        workflow_id: str,
        variables: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[Any]:
        """Execute a workflow through its queue. The API pins it to its definition as it is now.

        Raises as `submit` does, and `errors.WorkflowNotFound`.
        """
        program = self.calls.execute(workflow_id, variables or {}, options_of(options))
        return TaskHandle(self.run, self.calls, self.run(program), as_it_is)

    # Tasks that were submitted

    @overload
    def handle(
        self, task_id: str, task_type: TaskType[Any, Coroutine[Any, Any, R | Park]]
    ) -> TaskHandle[R]: ...

    @overload
    def handle(self, task_id: str, task_type: TaskType[Any, R | Park]) -> TaskHandle[R]: ...

    @overload
    def handle(self, task_id: str, task_type: None = None) -> TaskHandle[Any]: ...

    def handle(self, task_id: str, task_type: TaskType[Any, Any] | None = None) -> TaskHandle[Any]:
        """The handle of a task by its id; with its task type, its result is typed. Asks nothing."""
        read = as_it_is if task_type is None else kind_of(task_type).read
        return TaskHandle(self.run, self.calls, Accepted(task_id), read)

    def as_completed(
        self, handles: Iterable[TaskHandle[R]], timeout: float | None = None
    ) -> Iterator[TaskHandle[R]]:
        """The handles as their tasks end, however they do. One request waits for 1000 of them.

        Raises WaitTimeout when some have not ended after `timeout` seconds; cancels nothing.
        """
        waiting = Uncompleted(handles, timeout)
        yield from waiting.ready
        while waiting:
            yield from self.run(waiting.ended(self.calls))

    def gather(self, handles: Iterable[TaskHandle[R]], timeout: float | None = None) -> list[R]:
        """The results of all, in the order of the handles.

        Raises TaskFailed or TaskCancelled as soon as one has not completed, WaitTimeout when some
        have not ended after `timeout` seconds; cancels nothing.
        """
        handles = list(handles)
        results = {handle.id: handle.result() for handle in self.as_completed(handles, timeout)}
        return [results[handle.id] for handle in handles]

    def run(self, program: Program[T]) -> T:
        """Run one of the programs of `calls`: for handles and namespaces."""
        if asyncio._get_running_loop() is not None:
            _warn_of_loop()
        return run(program, self._transport.perform)


_warned = False


def _warn_of_loop() -> None:
    """Once a process: this call holds up everything else on the event loop."""
    global _warned
    if _warned:
        return
    _warned = True
    name = sys._getframe(2).f_code.co_qualname.partition(".<")[0]
    warnings.warn(
        f"{name} holds up the event loop that runs here: take `await Async{name}`",
        RuntimeWarning,
        stacklevel=4,
    )

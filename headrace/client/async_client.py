"""The client for programs with an event loop: see sync_client.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from headrace.client.address import find_address
from headrace.client.calls import Accepted
from headrace.client.handles import AsyncTaskHandle, Uncompleted
from headrace.client.parts import (
    AsyncBulk,
    AsyncQueues,
    AsyncTasks,
    AsyncTaskTypes,
    AsyncWorkers,
    AsyncWorkflows,
)
from headrace.client.steps import RETRY_SECONDS, Program, Rules, run_async
from headrace.client.submissions import SubmitOptions, as_it_is, kind_of, options_of
from headrace.client.transports import open_async

if TYPE_CHECKING:  # they take longer to import than all else, and few calls need them
    from headrace.handlers import Park, TaskType

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")


class AsyncClient:
    """`Client` with calls to be awaited.

        async with AsyncClient() as client:
            handle = await client.submit(create, Thumbnail(url="..."))
            print(await handle.result(timeout=60))

    It belongs to the event loop that it is first used on. Arguments and errors are those of Client.
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
        self._transport, self.calls = open_async(self._address, rules)
        self.tasks = AsyncTasks(self.run, self.calls)
        self.queues = AsyncQueues(self.run, self.calls)
        self.workers = AsyncWorkers(self.run, self.calls)
        self.workflows = AsyncWorkflows(self.run, self.calls)
        self.task_types = AsyncTaskTypes(self.run, self.calls)
        self.bulk = AsyncBulk(self.run, self.calls)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """As `Client.close`."""
        await self._transport.close()

    # Submitting

    @overload
    async def submit(
        self,
        task_type: TaskType[P, Coroutine[Any, Any, R | Park]],
        payload: P,
        **options: Unpack[SubmitOptions],
    ) -> AsyncTaskHandle[R]: ...

    @overload
    async def submit(
        self, task_type: TaskType[P, R | Park], payload: P, **options: Unpack[SubmitOptions]
    ) -> AsyncTaskHandle[R]: ...

    @overload
    async def submit(
        self, task_type: str, payload: Any = None, **options: Unpack[SubmitOptions]
    ) -> AsyncTaskHandle[Any]: ...

    async def submit(
        self,
        task_type: TaskType[Any, Any] | str,
        payload: Any = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncTaskHandle[Any]:
        """As `Client.submit`."""
        kind = kind_of(task_type)
        program = self.calls.submit(kind.name, kind.encode(payload), options_of(options, kind))
        return AsyncTaskHandle(self.run, self.calls, await self.run(program), kind.read)

    @overload
    async def submit_many(
        self,
        task_type: TaskType[P, Coroutine[Any, Any, R | Park]],
        payloads: Iterable[P],
        **options: Unpack[SubmitOptions],
    ) -> list[AsyncTaskHandle[R]]: ...

    @overload
    async def submit_many(
        self,
        task_type: TaskType[P, R | Park],
        payloads: Iterable[P],
        **options: Unpack[SubmitOptions],
    ) -> list[AsyncTaskHandle[R]]: ...

    @overload
    async def submit_many(
        self, task_type: str, payloads: Iterable[Any], **options: Unpack[SubmitOptions]
    ) -> list[AsyncTaskHandle[Any]]: ...

    async def submit_many(
        self,
        task_type: TaskType[Any, Any] | str,
        payloads: Iterable[Any],
        **options: Unpack[SubmitOptions],
    ) -> list[AsyncTaskHandle[Any]]:
        """As `Client.submit_many`."""
        kind = kind_of(task_type)
        encoded = [kind.encode(payload) for payload in payloads]
        program = self.calls.submit_many(kind.name, encoded, options_of(options, kind))
        return [
            AsyncTaskHandle(self.run, self.calls, accepted, kind.read)
            for accepted in await self.run(program)
        ]

    async def execute(
        self,
        workflow_id: str,
        variables: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncTaskHandle[Any]:
        """As `Client.execute`."""
        program = self.calls.execute(workflow_id, variables or {}, options_of(options))
        return AsyncTaskHandle(self.run, self.calls, await self.run(program), as_it_is)

    # Tasks that were submitted

    @overload
    def handle(
        self, task_id: str, task_type: TaskType[Any, Coroutine[Any, Any, R | Park]]
    ) -> AsyncTaskHandle[R]: ...

    @overload
    def handle(self, task_id: str, task_type: TaskType[Any, R | Park]) -> AsyncTaskHandle[R]: ...

    @overload
    def handle(self, task_id: str, task_type: None = None) -> AsyncTaskHandle[Any]: ...

    def handle(
        self, task_id: str, task_type: TaskType[Any, Any] | None = None
    ) -> AsyncTaskHandle[Any]:
        """As `Client.handle`."""
        read = as_it_is if task_type is None else kind_of(task_type).read
        return AsyncTaskHandle(self.run, self.calls, Accepted(task_id), read)

    async def as_completed(
        self, handles: Iterable[AsyncTaskHandle[R]], timeout: float | None = None
    ) -> AsyncIterator[AsyncTaskHandle[R]]:
        """As `Client.as_completed`."""
        waiting = Uncompleted(handles, timeout)
        for handle in waiting.ready:
            yield handle
        while waiting:
            for handle in await self.run(waiting.ended(self.calls)):
                yield handle

    async def gather(
        self, handles: Iterable[AsyncTaskHandle[R]], timeout: float | None = None
    ) -> list[R]:
        """As `Client.gather`."""
        handles = list(handles)
        results = {
            handle.id: await handle.result() async for handle in self.as_completed(handles, timeout)
        }
        return [results[handle.id] for handle in handles]

    async def run(self, program: Program[T]) -> T:
        """As `Client.run`."""
        return await run_async(program, self._transport.perform)

"""Each call of the client as requests to the API. Pure: see steps.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from pydantic import ValidationError

from headrace.client.asks import Ask, TaskFilters, at, tasks
from headrace.client.calls import (
    AFTER_CANCEL,
    AFTER_RETRY,
    Accepted,
    Ended,
    batch_key,
    batches,
    moved,
)
from headrace.client.errors import Unavailable, WaitTimeout
from headrace.client.retries import (
    FIRST_DELAY_SECONDS,
    MAX_DELAY_SECONDS,
    refusal,
    repeated,
    unexpected,
)
from headrace.client.steps import HttpRequest, HttpResponse, Program, Rules, Sleep
from headrace.client.submissions import Options
from headrace.contract import (
    BatchSubmitted,
    CancelReply,
    InlineReply,
    Reply,
    RetryReply,
    RunNowReply,
    TaskDetail,
    TaskListReply,
    TaskReply,
    TaskSubmitted,
    WaitReply,
    WorkflowExecuted,
    WorkflowSubmitted,
)
from headrace.limits import MAX_BATCH
from headrace.status import TaskStatus

R = TypeVar("R", bound=Reply)

HOLD_SECONDS = 30
"""For so long the API may hold an answer back."""
INLINE_SECONDS = 120.0
"""A request in which a task may run takes so long at most."""


class HttpCalls:
    """The API's calls, as programs. `place`: what errors call the API."""

    def __init__(self, place: str, rules: Rules) -> None:
        self._place = place
        self.rules = rules

    # Submitting

    def submit(self, task_type: str, payload: bytes, options: Options) -> Program[Accepted]:
        """Submit a task: once, however often it has to be sent."""
        body = {"payload": msgspec.Raw(payload), **options.fields()}
        response = yield from self._submitted(at("tasks", task_type), body, options)
        if response.status == 200:
            inline = self._read(InlineReply, response)
            return Accepted(inline.task_id, inline)
        return Accepted(self._read(TaskSubmitted, response).task_id)

    def execute(
        self, workflow_id: str, variables: Mapping[str, Any], options: Options
    ) -> Program[Accepted]:
        """Execute a workflow through its queue."""
        body = {"variables": variables, **options.fields()}
        path = at("workflows", workflow_id, "execute")
        response = yield from self._submitted(path, body, options)
        if response.status == 200:
            executed = self._read(WorkflowExecuted, response)
            return Accepted(executed.task_id, executed)
        return Accepted(self._read(WorkflowSubmitted, response).task_id)

    def _submitted(
        self, path: str, body: dict[str, Any], options: Options
    ) -> Program[HttpResponse]:
        from headrace.taskqueue import new_id  # here, for it brings all that speaks to Redis

        headers = {} if options.key is None else {"Idempotency-Key": options.key}
        if options.key is None and not options.inline:
            body["task_id"] = new_id()
        request = HttpRequest("POST", path, body=msgspec.json.encode(body), headers=headers)
        if options.inline:
            # It may run for as long as the API allows, and it could run twice.
            return (yield from self.sent(replace(request, held_seconds=INLINE_SECONDS)))
        return (yield from self._repeated(request))

    def submit_many(
        self, task_type: str, payloads: Sequence[bytes], options: Options
    ) -> Program[list[Accepted]]:
        """Submit tasks of a type, in batches that are taken in as a whole."""
        from headrace.taskqueue import new_id

        accepted: list[Accepted] = []
        for number, batch in enumerate(batches(payloads)):
            headers = {}
            fields = options.fields()
            tasks = [{"payload": msgspec.Raw(payload), **fields} for payload in batch]
            if options.key is None:
                tasks = [{**task, "task_id": new_id()} for task in tasks]
            else:
                headers["Idempotency-Key"] = batch_key(options.key, number)
            request = HttpRequest(
                "POST",
                at("tasks", task_type, "batch"),
                body=msgspec.json.encode({"tasks": tasks}),
                headers=headers,
            )
            reply = yield from self._reply(BatchSubmitted, request)
            accepted += [Accepted(task.task_id) for task in reply.tasks]
        return accepted

    # One task

    def get(self, task_id: str, include: Sequence[str] = ()) -> Program[TaskDetail]:
        """A task's record."""
        query = {"include": ",".join(include)} if include else {}
        return self._reply(TaskDetail, HttpRequest("GET", at("tasks", task_id), query))

    def cancel(self, task_id: str, *, running: bool) -> Program[TaskStatus]:
        """Cancel a task, or ask a running one to stop."""
        path, query = at("tasks", task_id, "cancel"), {"running": "true"} if running else {}
        return self._moved(CancelReply, HttpRequest("POST", path, query), AFTER_CANCEL)

    def retry(self, task_id: str) -> Program[TaskStatus]:
        """Queue a failed or cancelled task again."""
        return self._moved(
            RetryReply, HttpRequest("POST", at("tasks", task_id, "retry")), AFTER_RETRY
        )

    def _moved(
        self,
        model: type[CancelReply | RetryReply | RunNowReply],
        request: HttpRequest,
        after: Sequence[TaskStatus],
    ) -> Program[TaskStatus]:
        def attempt() -> Program[TaskStatus]:
            return self._read(model, (yield from self.sent(request))).status

        return moved(attempt, after, self.rules)

    def run_now(self, task_id: str) -> Program[TaskStatus]:
        """Queue a pending task before its time."""
        request = HttpRequest("POST", at("tasks", task_id, "run-now"))
        return self._moved(RunNowReply, request, AFTER_RETRY)

    def delete(self, task_id: str) -> Program[None]:
        """Remove a task that has ended."""
        yield from self._repeated(HttpRequest("DELETE", at("tasks", task_id)))

    # Many tasks, and the rest

    def list_tasks(
        self, filters: TaskFilters, cursor: str | None, limit: int
    ) -> Program[TaskListReply]:
        """A page of the list."""
        return self.ask(tasks(filters, cursor, limit))

    def ask(self, ask: Ask[R]) -> Program[R]:
        """What only the API can say or do."""
        return self._reply(ask.model, ask.request)

    # Waiting

    def wait(self, task_id: str, timeout: float | None) -> Program[TaskReply]:
        """Wait until a task has ended. Raises WaitTimeout, which cancels nothing."""
        held = _Held(self, HttpRequest("GET", at("tasks", task_id)), timeout)
        while True:
            response = yield from held.ask()
            record = self._read(TaskDetail, response)
            if record.status.final:
                return record
            if held.left() <= 0:
                raise WaitTimeout([task_id], timeout or 0.0)

    def wait_any(self, task_ids: Sequence[str], timeout: float | None) -> Program[Ended]:
        """Wait until at least one of these tasks has ended; which have. Raises WaitTimeout."""
        chunks = [task_ids[i : i + MAX_BATCH] for i in range(0, len(task_ids), MAX_BATCH)]
        hold = HOLD_SECONDS if len(chunks) == 1 else 1  # of several, each gets its turn
        waits = [_Held(self, _wait_request(chunk), timeout, hold) for chunk in chunks]
        while True:
            for held in waits:
                reply = self._read(WaitReply, (yield from held.ask()))
                if reply.tasks or reply.not_found:
                    return Ended(reply.tasks, reply.not_found)
                if held.left() <= 0:
                    raise WaitTimeout(list(task_ids), timeout or 0.0)

    # What all of them share

    def _reply(
        self, model: type[R], request: HttpRequest, *, repeatable: bool = True
    ) -> Program[R]:
        response = yield from self._repeated(request, repeatable=repeatable)
        return self._read(model, response)

    def _repeated(self, request: HttpRequest, *, repeatable: bool = True) -> Program[HttpResponse]:
        return repeated(lambda: self.sent(request), self.rules, repeatable=repeatable)

    def sent(self, request: HttpRequest) -> Program[HttpResponse]:
        """Send it once. Raises what a refusal means."""
        timeout_seconds = self.rules.request_seconds + request.held_seconds
        response: HttpResponse = yield replace(request, timeout_seconds=timeout_seconds)
        if error := refusal(response, self._place):
            raise error
        return response

    def _read(self, model: type[R], response: HttpResponse) -> R:
        try:
            return model.model_validate_json(response.content)
        except ValidationError:
            raise unexpected(response, self._place) from None


def _wait_request(task_ids: Sequence[str]) -> HttpRequest:
    body = msgspec.json.encode({"ids": list(task_ids), "for": "any"})
    return HttpRequest("POST", at("tasks", "wait"), body=body)


class _Held:
    """A question whose answer the API holds back until there is something to say.

    Proxies cut long replies: such a cut means "ask again", and the next answer is held back for a
    shorter time.
    """

    def __init__(
        self,
        calls: HttpCalls,
        request: HttpRequest,
        timeout: float | None,
        hold: int = HOLD_SECONDS,
    ) -> None:
        self._calls = calls
        self._request = request
        self._rules = calls.rules
        self._ends_at = math.inf if timeout is None else self._rules.clock() + timeout
        self._hold = hold
        self._delay = 0.0
        """How long to wait before the next question: for answers that were not held back."""

    def left(self) -> float:
        """How many seconds are left of the wait."""
        return self._ends_at - self._rules.clock()

    def ask(self) -> Program[HttpResponse]:
        """Ask once. Without an answer it is asked again, with none held back, for 30 s."""
        if self._delay:
            jitter = 0.5 + self._rules.random() / 2
            yield Sleep(max(0.0, min(self._delay * jitter, self.left())))
        began = self._rules.clock()
        seconds = int(min(self._hold, self.left()))
        response = None
        retry_after: float | None = None
        if seconds > 0:
            try:
                response = yield from self._calls.sent(self._preferring(seconds))
            except Unavailable as error:
                retry_after = error.retry_after
                self._hold = max(1, min(self._hold, int(self._rules.clock() - began) // 2))
        if response is None:
            rules = replace(
                self._rules, retry_seconds=min(self._rules.retry_seconds, max(self.left(), 0.0))
            )
            response = yield from repeated(lambda: self._calls.sent(self._preferring(0)), rules)
        quick = self._rules.clock() - began < 1.0
        longer = max(2 * self._delay, FIRST_DELAY_SECONDS)
        self._delay = max(min(longer, MAX_DELAY_SECONDS) if quick else 0.0, retry_after or 0.0)
        return response

    def _preferring(self, seconds: int) -> HttpRequest:
        return replace(
            self._request,
            headers={"Prefer": f"wait={seconds}"},
            held_seconds=seconds,
        )

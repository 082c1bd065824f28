"""Which requests are sent again, when, and what is raised in the end: with a clock of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from headrace.client import errors
from headrace.client.calls import Accepted
from headrace.client.http_calls import HttpCalls
from headrace.client.steps import HttpRequest, HttpResponse, Program, Rules, Sleep, run
from headrace.client.submissions import Options
from headrace.contract import problems
from headrace.contract.problems import MEDIA_TYPE, ProblemType

ID = "550e8400-e29b-41d4-a716-446655440000"
JSON = {"content-type": "application/json"}
ACCEPTED = {"task_id": ID, "type": "resize", "status": "queued", "live_workers": 1}
RECORD: dict[str, Any] = {
    "task_id": ID,
    "type": "resize",
    "status": "completed",
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "completed_at": None,
    "result": {"width": 1},
    "error": None,
    "retry_count": 0,
    "max_retries": 3,
    "attempt": 1,
    "crash_count": 0,
    "due_at": None,
    "progress": None,
    "worker": None,
    "cancel_requested": False,
    "live_workers": 1,
}
Answer = HttpResponse | Exception


def reply(body: object, status: int = 200) -> HttpResponse:
    return HttpResponse(status, JSON, msgspec.json.encode(body))


def problem(kind: ProblemType, retry_after: int | None = None, **members: str) -> HttpResponse:
    body = {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": "it is so",
        "instance": "/",
        "request_id": "r",
        **members,
    }
    headers = {"content-type": MEDIA_TYPE}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return HttpResponse(kind.status, headers, msgspec.json.encode(body))


def lost() -> errors.Unavailable:
    return errors.Unavailable("no whole answer")


def refused() -> errors.Unavailable:
    return errors.Unavailable("connection refused", not_done=True)


class Api:
    """Answers as it is told, the last answer for ever; the time goes by as the client sleeps."""

    def __init__(self, *answers: Answer, seconds: Iterable[float] = ()) -> None:
        self.now = 1000.0
        self.calls = HttpCalls("http://api", Rules(lambda: self.now, lambda: 1.0))
        self.requests: list[HttpRequest] = []
        self.slept: list[float] = []
        self._answers = list(answers)
        self._seconds = list(seconds)
        """How long each answer takes."""

    def run(self, program: Program[Any]) -> Any:
        return run(program, self._perform)

    def _perform(self, step: Any) -> Any:
        if isinstance(step, Sleep):
            self.slept.append(step.seconds)
            self.now += step.seconds
            return None
        self.requests.append(step)
        if self._seconds:
            self.now += self._seconds.pop(0)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def preferred(self) -> list[str | None]:
        return [request.headers.get("Prefer") for request in self.requests]


def submit(api: Api, options: Options | None = None) -> Accepted:
    accepted = api.run(api.calls.submit("resize", b"{}", options or Options()))
    assert isinstance(accepted, Accepted)
    return accepted


PASSING: list[Callable[[], Answer]] = [
    lost,
    refused,
    lambda: HttpResponse(429, {}, b""),
    lambda: HttpResponse(502, {}, b"<html>"),
    lambda: HttpResponse(503, {}, b""),
    lambda: HttpResponse(504, {}, b""),
    lambda: problem(problems.QUEUE_UNAVAILABLE, 1),
    lambda: problem(problems.QUEUE_FULL, 5),
    lambda: problem(problems.SUBMIT_UNCONFIRMED, 1),
]


@pytest.mark.parametrize("passing", PASSING)
def test_what_passes_is_sent_again_with_the_same_id(passing: Callable[[], Answer]) -> None:
    api = Api(passing(), passing(), reply(ACCEPTED, 202))
    assert submit(api) == Accepted(ID)
    ids = [json.loads(request.body or b"")["task_id"] for request in api.requests]
    assert len(ids) == 3
    assert len(set(ids)) == 1


def test_the_delays_grow_and_after_30_s_it_is_unavailable() -> None:
    api = Api(lost())
    with pytest.raises(errors.Unavailable, match="no whole answer"):
        submit(api)
    assert api.slept[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert max(api.slept) == 5.0
    assert 25.0 < api.now - 1000.0 < 30.0


def test_retry_after_is_waited_for() -> None:
    api = Api(problem(problems.QUEUE_FULL, 5), reply(ACCEPTED, 202))
    submit(api)
    assert api.slept == pytest.approx([5.1])


def test_a_problem_that_passed_too_late_is_raised_as_itself_and_as_unavailable() -> None:
    api = Api(problem(problems.QUEUE_FULL, 5))
    with pytest.raises(errors.QueueFull) as raised:
        submit(api)
    assert isinstance(raised.value, errors.Unavailable)
    assert len(api.requests) == 6


@pytest.mark.parametrize(
    "kind", [problems.UNAUTHORIZED, problems.INVALID_PAYLOAD, problems.QUEUE_DISABLED]
)
def test_what_does_not_pass_is_raised_at_once(kind: ProblemType) -> None:
    api = Api(problem(kind))
    with pytest.raises(errors.BY_SLUG[kind.slug], match="it is so"):
        submit(api)
    assert len(api.requests) == 1


def test_with_a_key_no_id_is_sent() -> None:
    api = Api(reply(ACCEPTED, 202))
    submit(api, Options(key="invoice-7"))
    [request] = api.requests
    assert request.headers["Idempotency-Key"] == "invoice-7"
    assert "task_id" not in json.loads(request.body or b"")


def test_a_run_inside_the_request_has_no_id_and_is_not_sent_again() -> None:
    api = Api(lost())
    with pytest.raises(errors.Unavailable):
        submit(api, Options(inline=True))
    [request] = api.requests
    assert "task_id" not in json.loads(request.body or b"")


@pytest.mark.parametrize(
    "answer",
    [
        HttpResponse(200, {"content-type": "text/html"}, b"<html>"),
        HttpResponse(404, {"content-type": "text/html"}, b"<html>"),
        HttpResponse(301, {"location": "/"}, b""),
        HttpResponse(404, {"content-type": MEDIA_TYPE}, b"{}"),
    ],
)
def test_what_is_no_api_is_said_to_be_none(answer: HttpResponse) -> None:
    with pytest.raises(errors.UnexpectedReply, match="check the URL"):
        submit(Api(answer))


def test_a_cancel_whose_reply_was_lost_is_done() -> None:
    again = problem(problems.NOT_ALLOWED, task_id=ID, task_status="cancelled")
    api = Api(lost(), again)
    assert api.run(api.calls.cancel(ID, running=False)) == "cancelled"
    api = Api(again)
    with pytest.raises(errors.NotAllowed):
        api.run(api.calls.cancel(ID, running=False))


def test_fields_of_a_newer_server_are_kept() -> None:
    api = Api(reply({**RECORD, "colour": "red"}))
    record = api.run(api.calls.get(ID))
    assert record.colour == "red"
    assert record.model_dump()["colour"] == "red"


# Waits


def test_a_wait_asks_again_until_the_task_has_ended() -> None:
    running = reply({**RECORD, "status": "running"})
    api = Api(running, running, reply(RECORD), seconds=[30.0, 30.0, 3.0])
    assert api.run(api.calls.wait(ID, None)).result == {"width": 1}
    assert api.preferred() == ["wait=30"] * 3
    assert api.slept == []


def test_a_wait_that_runs_out_raises_and_cancels_nothing() -> None:
    api = Api(reply({**RECORD, "status": "running"}), seconds=[30.0, 10.0])
    with pytest.raises(errors.WaitTimeout, match="within 40 s"):
        api.run(api.calls.wait(ID, 40.0))
    assert {request.method for request in api.requests} == {"GET"}
    assert api.now == pytest.approx(1040.0, abs=0.5)


def test_a_wait_of_no_time_looks_once() -> None:
    api = Api(reply({**RECORD, "status": "running"}))
    with pytest.raises(errors.WaitTimeout):
        api.run(api.calls.wait(ID, 0))
    assert api.preferred() == ["wait=0"]


@pytest.mark.parametrize("cut", [lost(), HttpResponse(502, {}, b""), HttpResponse(504, {}, b"")])
def test_a_reply_that_a_proxy_cut_means_ask_again_for_a_shorter_time(cut: Answer) -> None:
    running = reply({**RECORD, "status": "running"})
    api = Api(cut, running, reply(RECORD), seconds=[15.0, 0.1, 5.0])
    api.run(api.calls.wait(ID, None))
    assert api.preferred() == ["wait=30", "wait=0", "wait=7"]


def test_a_wait_outlasts_an_outage_of_25_s_and_not_one_that_does_not_end() -> None:
    api = Api(*[refused() for _ in range(8)], reply(RECORD))
    api.run(api.calls.wait(ID, None))
    assert 10.0 < api.now - 1000.0 < 30.0
    api = Api(refused())
    with pytest.raises(errors.Unavailable):
        api.run(api.calls.wait(ID, None))


def test_a_server_that_holds_nothing_back_is_not_asked_without_pause() -> None:
    api = Api(reply({**RECORD, "status": "running"}))
    with pytest.raises(errors.WaitTimeout):
        api.run(api.calls.wait(ID, 60.0))
    assert len(api.requests) < 25


def test_many_are_waited_for_by_one_request_for_a_thousand() -> None:
    ids = [f"id-{number}" for number in range(2500)]
    none = reply({"tasks": [], "left": [], "not_found": []})
    api = Api(none, none, reply({"tasks": [RECORD], "left": [], "not_found": ["x"]}))
    ended = api.run(api.calls.wait_any(ids, None))
    assert [task.task_id for task in ended.tasks] == [ID]
    assert ended.not_found == ["x"]
    bodies = [json.loads(request.body or b"") for request in api.requests]
    assert [len(body["ids"]) for body in bodies] == [1000, 1000, 500]
    assert {body["for"] for body in bodies} == {"any"}

"""Problems: every error is a document of its own stable type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace import taskqueue
from headrace.contract import problems
from headrace.taskqueue import (
    FilterInvalid,
    IdempotencyConflict,
    LayoutTooNew,
    NoReply,
    NotAllowed,
    NotSent,
    OutOfMemory,
    PayloadTooLarge,
    QueueError,
    QueueFull,
    TaskNotFound,
    TooManyTypes,
    UpgradeInProgress,
    WorkerNotFound,
)
from headrace_api.http.problems import problem_of
from tests.unit.api.harness import api_settings, check, running


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (NotSent("x"), "queue-unavailable"),
        (NoReply("x"), "queue-unavailable"),
        (LayoutTooNew("9", 1), "upgrade-needed"),
        (QueueFull("t", 5), "queue-full"),
        (OutOfMemory("x"), "queue-out-of-memory"),
        (PayloadTooLarge(9, 5), "payload-too-large"),
        (IdempotencyConflict("i"), "idempotency-conflict"),
        (TaskNotFound("i"), "task-not-found"),
        (NotAllowed("i", "cancel", "completed"), "not-allowed"),
        (WorkerNotFound("w"), "worker-not-found"),
        (FilterInvalid("tag", "it must be one"), "invalid-request"),
        (TooManyTypes(101), "invalid-request"),
        (UpgradeInProgress("i"), "upgrade-in-progress"),
        (QueueError("a secret of the server's"), "internal-error"),
    ],
)
def test_an_error_of_the_queue_has_its_type(error: QueueError, slug: str) -> None:
    found = problem_of(error)
    assert found.kind is problems.ALL[slug]
    assert "secret" not in found.detail


@pytest.mark.parametrize(
    "error", [NotSent("x"), QueueFull("t", 5), OutOfMemory("x"), UpgradeInProgress("i")]
)
def test_what_passes_says_when_to_try_again(error: QueueError) -> None:
    assert int(problem_of(error).headers["Retry-After"]) >= 1


def test_every_error_that_a_call_of_the_api_can_meet_is_mapped() -> None:
    workers_own = {"ChildrenFull", "EpochChanged", "ServerUnsuitable", "TooDeep"}
    direct_clients_own = {"TaskInvalid", "InboxFull"}
    periodic_works_own = {"Fenced"}
    bases = {"QueueError", "QueueUnavailable"}
    names = {
        name
        for name, kind in vars(taskqueue).items()
        if isinstance(kind, type) and issubclass(kind, QueueError)
    }
    mapped = {
        "NotSent",
        "NoReply",
        "NotConfirmed",
        "LayoutTooNew",
        "QueueFull",
        "OutOfMemory",
        "PayloadTooLarge",
        "IdempotencyConflict",
        "TaskNotFound",
        "NotAllowed",
        "WorkerNotFound",
        "FilterInvalid",
        "TooManyTypes",
        "BulkNotFound",
        "TooManyBulks",
        "UpgradeInProgress",
    }
    others = workers_own | direct_clients_own | periodic_works_own | bases
    assert names == mapped | others


def test_the_documentation_lists_every_type_with_its_status() -> None:
    text = (Path(__file__).parents[4] / "docs" / "api.md").read_text()
    for slug, kind in problems.ALL.items():
        assert f"| `{slug}` | {kind.status} |" in text, slug


async def test_errors_outside_of_routes_are_problems_too(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as api:
        check(await api.get("/no/such/address"), "route-not-found")
        refused = await api.client.put("/api/tasks/550e8400-e29b-41d4-a716-446655440000")
        check(refused, "method-not-allowed")
        assert refused.headers["allow"] == "DELETE, GET, HEAD, PATCH"
        check(await api.get("/api/workflows/queue/x/dead-letters?limit=0"), "invalid-request")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=0", "limit: it must be at least 1"),
        ("limit=1001", "limit: it must be at most 1000"),
        ("offset=a", "offset: it must be a whole number"),
    ],
)
async def test_what_a_query_parameter_must_be_is_said_as_for_a_setting(
    tmp_path: Path, query: str, sentence: str
) -> None:
    async with running(api_settings(tmp_path)) as api:
        refused = await api.get(f"/api/workflows/queue/x/dead-letters?{query}")
        assert refused.json()["detail"] == sentence


async def test_an_unexpected_error_tells_the_client_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(api_settings(tmp_path)) as api:

        def fail(_: object, workflow_id: str) -> None:
            raise RuntimeError("a secret")

        monkeypatch.setattr("headrace_api.tasks.definitions.Definitions.get", fail)
        response = await api.execute()
        check(response, "internal-error")
        assert "secret" not in response.text


async def test_a_body_over_the_limit_is_refused_also_when_its_length_is_not_told(
    tmp_path: Path,
) -> None:
    async with running(api_settings(tmp_path, max_body_bytes=2000)) as api:
        large = json.dumps({"variables": {"a": "x" * 3000}}).encode()
        headers = {"Content-Type": "application/json"}
        check(await api.execute(json=None, content=large, headers=headers), "body-too-large")

        async def chunks() -> object:
            for start in range(0, len(large), 500):
                yield large[start : start + 500]

        chunked = await api.execute(json=None, content=chunks(), headers=headers)
        check(chunked, "body-too-large")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-123", True), ("a b", False), ("x" * 129, False), ('"><script>', False)],
)
async def test_a_request_id_comes_back_unless_it_could_do_harm(
    tmp_path: Path, given: str, kept: bool
) -> None:
    async with running(api_settings(tmp_path)) as api:
        response = await api.get("/healthz", headers={"X-Request-ID": given})
        assert (response.headers["x-request-id"] == given) is kept
        assert len(response.headers["x-request-id"]) in (32, len(given))

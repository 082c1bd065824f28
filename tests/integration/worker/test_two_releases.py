"""Version 0.2.0 and this one on the same Redis, as during an upgrade and after a rollback.

Each release runs from a source tree of its own, as processes: its workers, and calls of its
TaskQueue, which is what its API makes of requests.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace import NewTask, TaskStatus, __version__, new_id
from headrace.taskqueue import UpgradeInProgress
from tests.integration.worker.conftest import ROOT, Bench, Process, until
from tests.keyspace import indexed, keys, unexpected_keys
from tests.servers import absent

COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED
RELEASE_0_2_0 = "ae23187ef8df72e36129609eedac622655549490"
GAUGES = ("queue_length", "queue_length_retries", "running", "delayed")
TOTALS = ("arrivals", "completions", "failures", "retries", "crashes")

WORKFLOW = """
document: {dsl: '1.0.3', namespace: tests, name: wait, version: '1.0.0'}
do:
  - pause: {wait: {seconds: 1}}
  - greet: {set: {greeting: hello}}
"""

CALLS = """
import asyncio, json, sys
from datetime import UTC, datetime, timedelta
from headrace import NewTask, TaskQueue

# As the API adds them by itself. 0.2.0 has none, and is to run such tasks all the same.
OPTIONS = {"headers": {"headrace-key": "test"}, "options_needed": False}
if not hasattr(NewTask, "headers"):
    OPTIONS = {}

async def main(url, calls):
    queue = TaskQueue(url, lease_seconds=1.0)
    for name, subject, rules in calls:
        if name == "submit":
            start_at = datetime.now(UTC) + timedelta(seconds=rules["start_in"])
            await queue.submit(NewTask(
                id=subject,
                type=rules["type"],
                payload=json.dumps(rules["payload"]).encode(),
                start_at=start_at if rules["start_in"] else None,
                **OPTIONS,
            ))
        elif name == "stats":
            print(json.dumps({
                name: {field: getattr(figures, field) for field in rules["fields"]}
                for name, figures in (await queue.stats()).queues.items()
            }))
        elif name == "retry":
            await (getattr(queue, "retry", None) or queue.replay)(subject)  # its name in 0.2.0
        else:
            await getattr(queue, name)(subject, **rules)
    await queue.close()

asyncio.run(main(sys.argv[1], json.load(sys.stdin)))
"""

Call = tuple[str, str, dict[str, Any]]
"""A method of TaskQueue, the id that it is about, and its other arguments."""


class Release:
    """One release: where its source lies, and its processes."""

    def __init__(
        self, root: Path, workflows: Path, url: str, new_process: Callable[..., Process]
    ) -> None:
        self._root = root
        self.is_old = root != ROOT
        self._workflows = workflows
        self._url = url
        self._new_process = new_process

    def worker(self, queues: str = "act,nap,workflow_execute") -> Process:
        """Start a worker."""
        return self._new_process(
            root=self._root, QUEUES=queues, MAX_WORKERS="8", WORKFLOWS_DIR=str(self._workflows)
        )

    async def call(self, *calls: Call) -> Any:
        """Make these calls; returns what they printed, as JSON."""
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", CALLS, self._url],
            cwd=self._root,
            input=json.dumps(calls),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout or "null")

    async def figures(self) -> Any:
        """What its stats say of each queue."""
        fields = [*GAUGES, *(f"{name}_total" for name in TOTALS)]
        return await self.call(("stats", "", {"fields": fields}))


Releases = tuple[Release, Release]


@pytest.fixture(scope="module")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of 0.2.0, out of this clone's history."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", RELEASE_0_2_0],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode != 0:
        absent(f"the history of this clone does not hold version 0.2.0 ({RELEASE_0_2_0[:7]})")
    folder = tmp_path_factory.mktemp("headrace-0.2.0")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    # What an installation of it says of itself: no entry points of the release after it.
    installed = folder / "headrace-0.2.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: headrace\nVersion: 0.2.0\n")
    return folder


@pytest.fixture(params=["0.2.0 first", "0.2.0 last"])
def releases(
    request: pytest.FixtureRequest,
    old_tree: Path,
    tmp_path: Path,
    bench: Bench,
    new_process: Callable[..., Process],
) -> Releases:
    """Both releases, as in an upgrade or as in a rollback."""
    (tmp_path / "wait.yaml").write_text(WORKFLOW)
    roots = (old_tree, ROOT) if request.param == "0.2.0 first" else (ROOT, old_tree)
    first, last = (Release(root, tmp_path, bench.server.url, new_process) for root in roots)
    return first, last


def submit(task_type: str, payload: Any, *, start_in: float = 0) -> Call:
    """A call that submits a task."""
    return "submit", new_id(), {"type": task_type, "payload": payload, "start_in": start_in}


def act(*steps: str, start_in: float = 0) -> Call:
    """A call that submits a task of these steps."""
    return submit("act", list(steps), start_in=start_in)


def workflow() -> Call:
    """A call that submits a workflow, which waits for a second."""
    return submit("workflow_execute", {"workflow_id": "wait"})


async def check(
    bench: Bench,
    releases: Releases,
    ends: dict[str, TaskStatus],
    totals: Mapping[str, Sequence[int]],
) -> None:
    """Check that each task ends as it should, that both releases count it so, and nothing is left.

    Args:
        bench: the queue.
        releases: both.
        ends: each task's final status.
        totals: what each queue counts, in the order of `TOTALS`.
    """
    for task_id, status in ends.items():
        record = await bench.ended(task_id, 30)
        assert record.status is status, record
    await until(lambda: not indexed(bench.server))
    expected = {
        name: dict.fromkeys(GAUGES, 0)
        | {f"{total}_total": count for total, count in zip(TOTALS, counts, strict=True)}
        for name, counts in totals.items()
    }
    for release in releases:
        assert await release.figures() == expected
    assert unexpected_keys(bench.server) == []
    assert keys(bench.server)["cancelled"] == []  # no id outlives its place in a list
    assert (await bench.queue.stats()).damaged_total == 0


async def test_two_releases_share_the_work_and_one_takes_over_from_the_other(
    releases: Releases, bench: Bench
) -> None:
    first, last = releases
    doomed, heir = first.worker(), last.worker()
    ids = [(await worker.logged("worker.started"))["worker"] for worker in (doomed, heir)]
    assert {worker.version for worker in await bench.registered()} == {"0.2.0", __version__}
    ends: dict[str, TaskStatus] = {}
    for release in releases:
        work = [
            (act("sleep 0.05"), COMPLETED),
            (act("fail once"), COMPLETED),
            (act("give up"), FAILED),
            (act("park 0.1"), COMPLETED),
            (workflow(), COMPLETED),
        ]
        work += [(act("sleep 0.05"), COMPLETED) for _ in range(20)]
        await release.call(*(call for call, _ in work))
        ends |= {task_id: status for (_, task_id, _), status in work}
    for task_id in ends:
        await bench.ended(task_id, 30)
    assert doomed.lines("task.state")
    assert heir.lines("task.state")

    async def drained() -> list[str]:
        return [worker.id for worker in await bench.registered() if worker.drained]

    await last.call(("drain", ids[0], {}))
    await until(drained)
    await last.call(("undrain", ids[0], {}))
    await first.call(("drain", ids[1], {}))
    await until(drained)
    call = act("checkpoint and sleep 60")
    await last.call(call)
    await doomed.logged("task.dequeued")
    await bench.reached(call[1], TaskStatus.RUNNING)
    await until(lambda: any(line["task_id"] == call[1] for line in doomed.lines("task.dequeued")))
    await until(lambda: bench.server.client.exists(f"{{headrace}}:state:{call[1]}"))
    doomed.kill()
    await first.call(("undrain", ids[1], {}))
    ends[call[1]] = COMPLETED
    totals = {
        "act": (49, 47, 2, 2, 1),
        "nap": (0, 0, 0, 0, 0),
        "workflow_execute": (2, 2, 0, 0, 0),
    }
    await check(bench, releases, ends, totals)


async def test_one_release_goes_on_with_what_the_other_one_left(
    releases: Releases, bench: Bench
) -> None:
    first, last = releases
    worker = first.worker("act,workflow_execute")
    await worker.logged("worker.started")
    failed, delayed = act("give up"), act("sleep 0", start_in=3)
    retried = [act("fail once"), act("fail once")]
    parked = [workflow(), act("park 3")]
    handed_back = [act("sleep 2"), act("checkpoint and sleep 60")]
    stopped = act("sleep 60")
    waiting = [submit("nap", 0.01) for _ in range(4)]
    await first.call(failed, delayed, *retried, *parked, *handed_back, stopped, *waiting)
    # Cancelled while queued and running, by either release, before the first worker goes.
    await bench.reached(stopped[1], TaskStatus.RUNNING)
    await bench.reached(handed_back[1][1], TaskStatus.RUNNING)
    await bench.reached(parked[1][1], TaskStatus.PENDING)
    await bench.ended(failed[1])
    await first.call(("cancel", waiting[0][1], {}), ("cancel", waiting[2][1], {}))
    await last.call(
        ("cancel", stopped[1], {"running": True}),
        ("cancel", waiting[1][1], {}),
        ("retry", waiting[2][1], {}),
        ("retry", failed[1], {}),
    )
    await until(lambda: bench.server.client.exists(f"{{headrace}}:state:{handed_back[1][1]}"))
    for _ in range(2):
        worker.send(signal.SIGTERM)
        await asyncio.sleep(0.1)
    assert await worker.exit_status() == 0

    last.worker()
    ends = {
        task_id: COMPLETED
        for _, task_id, _ in (delayed, *retried, *parked, *handed_back, *waiting[2:])
    }
    ends |= {failed[1]: FAILED, stopped[1]: CANCELLED}
    ends |= {task_id: CANCELLED for _, task_id, _ in waiting[:2]}
    totals = {
        "act": (9, 6, 2, 2, 0),
        "nap": (5, 2, 0, 0, 0),
        "workflow_execute": (1, 1, 0, 0, 0),
    }
    await check(bench, releases, ends, totals)


async def test_what_0_2_0_could_not_read_is_refused_until_its_workers_have_gone(
    releases: Releases, bench: Bench
) -> None:
    old = next(release for release in releases if release.is_old)
    worker = old.worker("act")
    await worker.logged("worker.started")
    tagged = NewTask(type="act", payload=b"[]", id=new_id(), tags=("nightly",))
    plain = [await bench.submit("act", ["sleep 0.01"]) for _ in range(20)]
    for _ in range(20):
        with pytest.raises(UpgradeInProgress):
            await bench.queue.submit(tagged)
    for task_id in plain:
        assert (await bench.ended(task_id)).status is COMPLETED
    worker.send(signal.SIGTERM)
    assert await worker.exit_status() == 0  # it has met nothing that it could not read

    async def taken() -> bool:
        try:
            return (await bench.queue.submit(tagged)).created
        except UpgradeInProgress:
            return False

    await until(taken)
    new = next(release for release in releases if not release.is_old)
    new.worker("act")
    record = await bench.ended(tagged.id)
    assert (record.status, record.tags) == (COMPLETED, ("nightly",))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_under_load_both_releases_lose_nothing_and_count_alike(
    releases: Releases, bench: Bench, seed: int
) -> None:
    first, last = releases
    draw = random.Random(seed)
    kinds = [
        (act("sleep 0.01"), COMPLETED, (1, 1, 0, 0, 0)),
        (act("fail once"), COMPLETED, (1, 1, 0, 1, 0)),
        (act("give up"), FAILED, (1, 0, 1, 0, 0)),
        (act("park 0.1"), COMPLETED, (1, 1, 0, 0, 0)),
        (act("sleep 0.01", start_in=0.5), COMPLETED, (1, 1, 0, 0, 0)),
    ]
    ends: dict[str, TaskStatus] = {}
    totals = [0] * len(TOTALS)

    def wave(size: int) -> list[Call]:
        calls = []
        for _ in range(size):
            (name, _, rules), status, counts = draw.choice(kinds)
            task_id = new_id()
            calls.append((name, task_id, rules))
            ends[task_id] = status
            for place, count in enumerate(counts):
                totals[place] += count
        return calls

    workers = [first.worker("act"), last.worker("act")]
    for worker in workers:
        await worker.logged("worker.started")
    for _ in range(3):
        await asyncio.gather(first.call(*wave(60)), last.call(*wave(60)))
        # One of them ends while it works, and another of its release or of the other one follows.
        leaving = workers.pop(draw.randrange(2))
        await leaving.logged("worker.started")  # before that, the signal ends it like any program
        leaving.send(signal.SIGTERM)
        workers.append(draw.choice(releases).worker("act"))
        assert await leaving.exit_status() == 0
    await check(bench, releases, ends, {"act": totals})
    versions = {bench.server.client.hget(f"{{headrace}}:task:{i}", "v") for i in ends}
    assert versions <= {b"1", b"01"}

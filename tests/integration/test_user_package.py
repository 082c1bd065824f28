"""The example of a user's package: installed, found by its entry points, run by a worker.

Headrace itself comes from its wheel here, not from the checkout.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace import NewTask, Task, TaskQueue, TaskStatus, new_id
from tests.servers import RedisServer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "package"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that both packages are installed into, as into an environment."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *offline, "--target", folder, ROOT, EXAMPLE], check=True, timeout=120)
    return folder


WORKFLOW = """
document: {dsl: '1.0.3', namespace: test, name: due, version: '1.0.0'}
do:
  - due: {call: invoice_due, with: {sent: "${ .sent }", days: 3}}
"""


@pytest.fixture
def environment(server: RedisServer, site: Path, tmp_path: Path) -> dict[str, str]:
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    (workflows / "due.yaml").write_text(WORKFLOW, "utf-8")
    return {
        "WORKFLOWS_DIR": str(workflows),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(site),
        "REDIS_URL": server.url,
        "LOG_FORMAT": "json",
        "INVOICES_DATABASE": str(tmp_path / "invoices.sqlite"),
    }


@pytest.fixture
def worker(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "headrace", "worker"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.wait(10)


async def ended(queue: TaskQueue, task_id: str) -> Task:
    async with asyncio.timeout(20):
        while True:
            task = await queue.get(task_id)
            if task.status.final:
                return task
            await asyncio.sleep(0.02)


async def test_an_installed_package_brings_its_task_types(
    server: RedisServer, worker: subprocess.Popen[bytes]
) -> None:
    queue = TaskQueue(server.url)
    line = {"text": "tea", "quantity": 3, "price": "4.50"}
    due_at = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    tasks = [
        NewTask(type=task_type, payload=json.dumps(payload).encode(), id=new_id())
        for task_type, payload in (
            ("invoice_total", {"number": "2026-17", "lines": [line]}),
            ("invoice_reminder", {"number": "2026-17", "customer": "Ada", "due_at": due_at}),
            ("invoice_total", {"number": "2026-18", "lines": []}),
        )
    ]
    await queue.submit_many(tasks)
    total, reminder, invalid = [await ended(queue, task.id) for task in tasks]
    assert total.result == b'{"number":"2026-17","total":"13.50"}'
    assert reminder.result == b'{"number":"2026-17","reminded":"Ada"}'
    assert invalid.status is TaskStatus.FAILED
    assert "lines: List should have at least 1 item" in (invalid.error or "")

    types = await queue.types()
    assert {"invoice_total", "invoice_reminder", "workflow_execute"} <= set(types)
    published = types["invoice_total"]
    assert (published.version, published.max_retries, published.timeout_seconds) == ("1.2.0", 1, 30)
    assert published.payload_schema["required"] == ["number", "lines"]
    await queue.close()


async def test_a_workflow_calls_its_function(
    server: RedisServer, worker: subprocess.Popen[bytes]
) -> None:
    queue = TaskQueue(server.url)
    payload = {"workflow_id": "due", "variables": {"sent": "2026-01-02"}}
    task = NewTask(type="workflow_execute", payload=json.dumps(payload).encode(), id=new_id())
    await queue.submit_many([task])
    done = await ended(queue, task.id)
    assert json.loads(done.result or b"{}")["variables"] == {"due": "2026-01-05"}, done.error
    await queue.close()


async def test_its_lifespan_middleware_submits_and_child_process_work_together(
    server: RedisServer, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    queue = TaskQueue(server.url)
    invoice = {"number": "2026-17", "lines": [{"text": "tea", "quantity": 3, "price": "4.50"}]}
    due_at = (datetime.now(UTC) - timedelta(seconds=2)).isoformat()
    booking = {"invoice": invoice, "customer": "Ada", "due_at": due_at}
    forecast = {"income": 100, "growth": 0.5, "months": 2}
    tasks = [
        NewTask(type=task_type, payload=json.dumps(payload).encode(), id=new_id())
        for task_type, payload in (("invoice_book", booking), ("invoice_forecast", forecast))
    ]
    await queue.submit_many(tasks)
    booked, months = [await ended(queue, task.id) for task in tasks]
    assert months.result == b"[150.0,225.0]"
    assert booked.result is not None
    result = json.loads(booked.result)
    reminder = await ended(queue, result["reminder"])
    assert (reminder.type, reminder.result) == (
        "invoice_reminder",
        b'{"number":"2026-17","reminded":"Ada"}',
    )
    await queue.close()
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, 15) == 0
    with closing(sqlite3.connect(tmp_path / "invoices.sqlite")) as database:
        assert database.execute("SELECT * FROM totals").fetchall() == [("2026-17", "13.50")]
        attempts = database.execute("SELECT task_type, outcome FROM attempts").fetchall()
    # In the worker, and in the child process that has entered the lifespan for itself.
    assert sorted(attempts) == [
        ("invoice_book", "returned"),
        ("invoice_forecast", "returned"),
        ("invoice_reminder", "returned"),
    ]


def test_a_lifespan_that_fails_ends_the_worker_with_a_sentence(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "headrace", "worker"],
        cwd=tmp_path,
        env={**environment, "INVOICES_DATABASE": str(tmp_path / "missing" / "invoices.sqlite")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert (
        "worker: the lifespan invoices.database.database failed as it was entered: "
        "OperationalError: unable to open database file" in done.stderr
    )


def test_the_packages_own_tests_pass_with_the_wheel_alone(
    environment: dict[str, str], site: Path, tmp_path: Path
) -> None:
    # Away from the checkout, whose settings for pytest would put it on the path.
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    proof = f"import headrace\nassert headrace.__file__.startswith({str(site)!r})\n"
    (tmp_path / "conftest.py").write_text(proof)
    options = ["-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout

"""The example of a user's package: installed, found by its entry point, run by a worker."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace import NewTask, Task, TaskQueue, TaskStatus, new_id
from tests.servers import RedisServer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "package"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package is installed into, as into an environment."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *offline, "--target", folder, EXAMPLE], check=True, timeout=120)
    return folder


@pytest.fixture
def environment(server: RedisServer, site: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
        "REDIS_URL": server.url,
        "LOG_FORMAT": "json",
    }


@pytest.fixture
def worker(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, ROOT / "run_worker.py"],
        cwd=ROOT,
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


def test_the_packages_own_tests_pass(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider"],
        cwd=EXAMPLE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout

"""The built wheel in environments of its own: what `pip install` brings, without the checkout."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integration.api.processes import ApiProcess, environment
from tests.servers import RedisServer, free_port
from tests.wheels import ROOT, Environment, build_wheel

LINE = {"text": "tea", "quantity": 3, "price": "4.50"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def api(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    installed = Environment(tmp_path_factory.mktemp("api"))
    installed.install(wheel, "api")
    return installed


@pytest.fixture(scope="module")
def worker(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With a package of one's own beside it."""
    installed = Environment(tmp_path_factory.mktemp("worker"))
    installed.install(wheel, "worker")
    installed.install(build_wheel(ROOT / "examples/package", wheel.parent))
    return installed


def test_a_task_of_ones_own_package_runs(
    api: Environment, worker: Environment, server: RedisServer, tmp_path: Path
) -> None:
    """The API has neither the package nor what only a worker needs."""
    settings = {"REDIS_URL": server.url, "WORKFLOWS_DIR": str(tmp_path)}
    working = subprocess.Popen(
        [worker.programs / "headrace", "worker"], cwd=tmp_path, env=environment(**settings)
    )
    command = [str(api.programs / "headrace"), "api"]
    try:
        with ApiProcess(tmp_path / "log", settings, command=command, cwd=tmp_path) as serving:
            task = submitted(f"{serving.url}/api/tasks/invoice_total")
            record = ended(f"{serving.url}/api/tasks/{task['task_id']}")
        assert record["result"] == {"number": "2026-17", "total": "13.50"}
        assert record["status"] == "completed"
    finally:
        working.terminate()
        assert working.wait(20) == 0


def submitted(url: str) -> dict[str, Any]:
    """Submit until the worker has published its task types."""
    body = {"payload": {"number": "2026-17", "lines": [LINE]}}
    deadline = time.monotonic() + 20
    while (reply := httpx2.post(url, json=body)).status_code == 501:
        assert time.monotonic() < deadline, reply.text
        time.sleep(0.05)
    assert reply.status_code == 202, reply.text
    found: dict[str, Any] = reply.json()
    return found


def ended(url: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while (record := httpx2.get(url).json())["status"] in ("queued", "running"):
        assert time.monotonic() < deadline, record
        time.sleep(0.05)
    found: dict[str, Any] = record
    return found


def test_it_runs_from_the_wheel_and_not_from_the_checkout(
    api: Environment, worker: Environment
) -> None:
    code = "import headrace, headrace_worker; print(headrace.__file__, headrace_worker.__file__)"
    for installed in (api, worker):
        command = [str(installed.python), "-P", "-c", code]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(str(installed.programs.parent)) == 2


def test_a_worker_alone_says_what_the_api_needs(worker: Environment, tmp_path: Path) -> None:
    done = subprocess.run(
        [worker.programs / "headrace", "api"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        'headrace api: the package fastapi is missing: pip install "headrace[api]"\n'
    )


@pytest.mark.parametrize("has_workflows", [True, False])
def test_dev_needs_no_checkout(
    api: Environment, server: RedisServer, tmp_path: Path, has_workflows: bool
) -> None:
    """In an empty folder of one's own; the API's dependencies are a worker's too."""
    settings = {"PORT": str(free_port()), "METRICS_PORT": "0"}
    if has_workflows:
        settings["WORKFLOWS_DIR"] = str(ROOT / "examples/workflows")
    done = subprocess.run(
        [api.programs / "headrace", "dev", "--once"],
        cwd=tmp_path,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout
    said = "ran as task" if has_workflows else "WORKFLOWS_DIR holds no workflow that can run"
    assert said in done.stdout
    assert (tmp_path / ".dev").is_dir()

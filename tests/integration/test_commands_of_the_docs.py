"""What the pages about task types of one's own tell a user to type, run as it stands there."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hatchling
import httpx2
import pytest

from tests.integration.api.processes import ApiProcess
from tests.servers import RedisServer

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
Shell = Callable[[str], "subprocess.Popen[str]"]


def blocks(page: str, *languages: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for language, body in _FENCE.findall(text) if language in languages]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment of Python, which sees the packages of the tests' own."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    [site] = (folder / "lib").glob("*/site-packages")
    (site / "of_the_tests.pth").write_text(f"{Path(hatchling.__file__).parents[1]}\n{ROOT}\n")
    return folder / "bin"


@pytest.fixture
def api(server: RedisServer, tmp_path: Path) -> Iterator[ApiProcess]:
    with ApiProcess(tmp_path / "api.log", REDIS_URL=server.url) as api:
        yield api


@pytest.fixture
def shell(api: ApiProcess, server: RedisServer, programs: Path, tmp_path: Path) -> Iterator[Shell]:
    """A user's shell in the root of the repository. `localhost:8000` is the API under test."""
    (tmp_path / ".curlrc").write_text(
        f"connect-to = localhost:8000:127.0.0.1:{api.port}\nsilent\nshow-error\nmax-time = 20\n"
    )
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CURL_HOME": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as --no-build-isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "REDIS_URL": server.url,
        "LOG_FORMAT": "json",
        "INVOICES_DATABASE": str(tmp_path / "invoices.sqlite"),
    }
    started: list[subprocess.Popen[str]] = []

    def run(commands: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                ["bash", "-ec", commands],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def lines_until(process: subprocess.Popen[str], event: str) -> list[str]:
    """What it prints up to the line that holds `event`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if event in line:
            return lines
    raise AssertionError("".join(lines))


def wait_for(api: ApiProcess, task_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while True:
        task: dict[str, Any] = httpx2.get(f"{api.url}/api/tasks/{task_id}").json()
        if task["status"] in ("completed", "failed"):
            return task
        assert time.monotonic() < deadline, task
        time.sleep(0.05)


@pytest.mark.timeout(120)
def test_the_examples_readme_installs_the_package_and_runs_its_task(
    shell: Shell, api: ApiProcess
) -> None:
    install_and_start, submit = blocks("examples/package/README.md", "sh")
    lines_until(shell(install_and_start), "worker.started")
    curl = shell(submit)
    reply = json.loads(curl.communicate(timeout=30)[0])
    task = wait_for(api, reply["task_id"])
    assert (task["status"], task["result"]) == (
        "completed",
        {"number": "2026-17", "total": "13.50"},
    )


@pytest.mark.timeout(120)
async def test_the_package_of_the_page_on_handlers_is_found_run_and_tested(
    shell: Shell, api: ApiProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *parts, testing = blocks("docs/handlers.md", "python")
    tasks = "\n\n".join(parts)
    entry_points = "\n".join(blocks("docs/handlers.md", "toml"))
    package = tmp_path / "package"
    (package / "photos").mkdir(parents=True)
    (package / "photos" / "__init__.py").write_text("")
    (package / "photos" / "tasks.py").write_text(tasks)
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        f'[project]\nname = "photos"\nversion = "1"\ndependencies = ["headrace"]\n\n{entry_points}'
    )
    lines_until(shell(f"pip install {package}\npython run_worker.py"), "worker.started")

    def run(task_type: str, payload: Any) -> Any:
        reply = httpx2.post(f"{api.url}/api/tasks/{task_type}", json={"payload": payload}).json()
        return wait_for(api, reply["task_id"])["result"]

    assert run("resize_image", {"url": "https://example.org/a.png"}) == {"width": 800}
    assert run("count_colours", [1, 2, 2]) == 2
    assert run("import_rows", ["a", "b"]) == 2
    assert run("publish", ["https://example.org/a.png"]) == ['{"width":800}']
    [task_id] = run("make_album", ["https://example.org/a.png"])
    assert wait_for(api, task_id)["result"] == {"width": 800}
    assert run("fetch_image", {"url": f"{api.url}/healthz"}) > 0

    module = ModuleType("photos_tasks")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(tasks, vars(module))
    code = compile(testing, "docs/handlers.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, vars(module))

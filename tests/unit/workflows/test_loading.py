"""What a process loads and starts that runs no workflow: nothing of YAML, HTTP and jq."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_IDLE = """
import asyncio, subprocess, sys
from pathlib import Path

def refuse(*_, **__):
    raise AssertionError("a child process was started")

subprocess.Popen = refuse

import headrace_worker.main
from headrace.handlers.builtin import builtin_types
from headrace.workflows import Catalog, HttpPolicy, Runtime

async def main():
    runtime = Runtime(HttpPolicy())
    assert builtin_types(Catalog.load(Path(sys.argv[1])), runtime)
    await runtime.close()

asyncio.run(main())
print(*sorted({"httpx2", "httpcore2", "ruamel", "jq"} & set(sys.modules)))
"""


def test_a_worker_without_workflows_loads_no_library_for_them(tmp_path: Path) -> None:
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{_IDLE}"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []

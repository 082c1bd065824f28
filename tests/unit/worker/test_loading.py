"""What a worker loads: each module costs the memory of every idle one."""

from __future__ import annotations

import subprocess
import sys

NOT_NEEDED = ("redis", "httpx2", "fastapi", "uvicorn", "jq", "ruamel.yaml")


def test_a_worker_loads_nothing_that_only_some_tasks_or_other_processes_need() -> None:
    code = (
        "import sys\nimport headrace_worker.main\n"
        f"print(*[name for name in {NOT_NEEDED} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []

"""What `helm test` runs: executes a workflow through the API's Service and waits for its result."""

# ruff: noqa: INP001 - no package: its text becomes the argument of `python -c`
from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any, NoReturn

URL = os.environ["HEADRACE_URL"]
WORKFLOW = os.environ["WORKFLOW"]
VARIABLES = json.loads(os.environ["VARIABLES"])
QUEUED = os.environ["QUEUED"] == "true"
DEADLINE = time.monotonic() + float(os.environ["TIMEOUT_SECONDS"])
POLL_SECONDS = 0.2


def main() -> None:
    """Execute, wait, print the result."""
    flag = "true" if QUEUED else "false"
    started = call(
        f"/api/workflows/{WORKFLOW}/execute?async_execute={flag}", {"variables": VARIABLES}
    )
    say(started)
    task = started
    while task["status"] not in ("completed", "failed", "cancelled"):
        if time.monotonic() > DEADLINE:
            fail("the task did not end in time: do the workers run?")
        time.sleep(POLL_SECONDS)
        task = call(f"/api/workflows/tasks/{started['task_id']}")
    say(task)
    if task["status"] != "completed":
        fail(f"the task ended as {task['status']}")


def call(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request. Only a connection that cannot be made is retried: a new pod's packets may
    need a moment until the network lets them through.
    """
    headers = {"Content-Type": "application/json"}
    if os.environ.get("API_KEY"):
        headers["X-API-Key"] = os.environ["API_KEY"]
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, headers)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                answer: dict[str, Any] = json.load(reply)
                return answer
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            hint = ""
            if error.code == 401:
                hint = (
                    "\nWith auth.existingSecret, the test takes the plain key from its key `admin`."
                )
            fail(f"{request.get_method()} {path}: {error.code}\n{text}{hint}")
        except urllib.error.URLError as error:
            if time.monotonic() > DEADLINE:
                fail(f"{URL} cannot be reached: {error.reason}")
            time.sleep(POLL_SECONDS)


def say(task: dict[str, Any]) -> None:
    """Show a reply."""
    sys.stdout.write(json.dumps(task, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def fail(sentence: str) -> NoReturn:
    """End the test."""
    sys.exit(f"FAILED: {sentence}")


if __name__ == "__main__":
    main()

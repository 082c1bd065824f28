"""What `headrace dev` shows of a running API: what is there, a sample run, and what to try."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from typing import IO, Any

SAMPLE_SECONDS = 30.0
WORKFLOW = "hello"
VARIABLES = {"name": "Headrace"}


class Failure(Exception):
    """Something that ends `headrace dev`, as a sentence for the person in front of it."""


def call(method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One HTTP request with JSON in and out. Raises OSError (HTTPError from 400 on)."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Accept-Language": "en"}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    # No proxy: it is this machine that is asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    reply: IO[bytes]
    with opener.open(request, timeout=10.0) as reply:
        parsed: dict[str, Any] = json.load(reply)
    return parsed


def workflows_of(base: str) -> dict[str, Any] | None:
    """What the API says of its workflows; None: it asks for a key. Raises Failure."""
    try:
        return call("GET", f"{base}/api/workflows")
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED:
            return None
        text = error.read().decode(errors="replace")
        raise Failure(f"the API answered with status {error.code}:\n{text}") from None
    except OSError as error:
        raise Failure(f"the API at {base} cannot be reached: {error}") from None


def run_sample(base: str, wait: Callable[[], None]) -> dict[str, Any]:
    """Submit the sample workflow and wait for its end; returns the task's record."""
    url = f"{base}/api/workflows/{WORKFLOW}/execute?async_execute=true"
    try:
        task = call("POST", url, {"variables": VARIABLES})
        deadline = time.monotonic() + SAMPLE_SECONDS
        while task["status"] not in ("completed", "failed", "cancelled"):
            if time.monotonic() > deadline:
                raise Failure(f"the sample did not end within {SAMPLE_SECONDS:.0f} s: {task}")
            wait()
            task = call("GET", f"{base}/api/workflows/tasks/{task['task_id']}")
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        raise Failure(f"the sample was refused with status {error.code}\n{text}") from None
    except OSError as error:
        raise Failure(f"the sample could not be sent to {base}: {error}") from None
    if task["status"] != "completed":
        raise Failure(f"the sample {task['status']}: {task['error']}")
    return task


def guide(base: str, redis_url: str, data: str, found: str, curls: list[str]) -> str:
    """What runs where, and what the person can do now."""
    tries = "\n".join(f"  curl {curl}" for curl in curls)
    return f"""
{found}

The API          {base}
Its description  {base}/docs
Redis            {redis_url}   (its data: {data})

Try:
{tries}

Ctrl-C ends all of it.
"""


def look_around(base: str, wait: Callable[[], None]) -> tuple[str, list[str]]:
    """Run the sample where it is there; returns what was found, and curl's arguments to try."""
    paths = ("workflows/queue/stats", "workflows", "task-types", "workers")
    lists = [f'"{base}/api/{path}"' for path in paths]
    found = workflows_of(base)
    if found is None:
        key = '-H "Authorization: Bearer $KEY"'
        text = (
            "The API asks for a key, because API_KEYS is set: no sample was run.\n"
            "With one of these keys:  KEY=hr_...    To make a new key and its entry for API_KEYS:\n"
            f"  {os.path.relpath(sys.executable)} -m headrace keys new --role admin"
        )
        return text, [f"{key} {url}" for url in lists]
    names = [workflow["workflow_id"] for workflow in found["workflows"]]
    if WORKFLOW in names:
        task = run_sample(base, wait)
        result = json.dumps(task["result"], ensure_ascii=False)
        text = (
            f"The workflow {WORKFLOW!r} ran as task {task['task_id']}: {task['status']}\n  {result}"
        )
        record = f'"{base}/api/workflows/tasks/{task["task_id"]}"'
        return text, [execute(base, WORKFLOW, VARIABLES), record, *lists]
    refused = [f"  {error['file']}: {error['reason']}" for error in found["errors"]]
    if names:
        text = f"WORKFLOWS_DIR holds these workflows: {', '.join(names)}"
        return "\n".join([text, *refused]), [execute(base, names[0], {}), *lists]
    text = "WORKFLOWS_DIR holds no workflow that can run: docs/workflows.md shows how to write one."
    return "\n".join([text, *refused]), lists


def execute(base: str, workflow: str, variables: dict[str, str]) -> str:
    """What curl is given to execute a workflow."""
    body = json.dumps({"variables": variables})
    url = f"{base}/api/workflows/{workflow}/execute?async_execute=true"
    return f'-X POST "{url}" -H "Content-Type: application/json" -d \'{body}\''

"""The API as its users start it, in a process of its own: `python run.py`, from the root."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

ROOT = Path(__file__).parents[3]
START_SECONDS = 20.0


def environment(**settings: str) -> dict[str, str]:
    """What a process of ours is started with: these settings and nothing of the test run's own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "LOG_FORMAT": "json", **settings}


class ApiProcess:
    """`run.py`, or another command, with these settings; by default on a free port, no metrics.

    `descriptors` are the soft and hard limit of open files that it starts with.
    A context manager: at its end the process is killed if it still runs.
    """

    def __init__(
        self,
        log_file: Path,
        settings: Mapping[str, str] | None = None,
        *,
        command: Sequence[str] = (sys.executable, str(ROOT / "run.py")),
        cwd: Path = ROOT,
        descriptors: tuple[int, int] | None = None,
        **more: str,
    ) -> None:
        self._log_file = log_file
        with log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment(**{"PORT": "0", "METRICS_PORT": "0", **(settings or {}), **more}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=descriptors
                and partial(resource.setrlimit, resource.RLIMIT_NOFILE, descriptors),
            )

    @property
    def log(self) -> str:
        """Everything it has written."""
        return self._log_file.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines of one event."""
        lines = [json.loads(line) for line in self.log.split("\n") if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    @property
    def url(self) -> str:
        """Where it listens; waits until it does."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = self.events("api.listening")
            if found:
                url: str = found[0]["url"]
                return url
            assert self.process.poll() is None, f"it ended:\n{self.log}"
            time.sleep(0.02)
        raise AssertionError(f"it does not listen:\n{self.log}")

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_seconds: float = 20.0) -> int:
        """Its exit status."""
        return self.process.wait(timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

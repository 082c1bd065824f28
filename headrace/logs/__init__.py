"""Structured logs: lines for people on a terminal, JSON for machines, both cheap.

    log = get_logger(__name__)
    log.info("task.state", task_id=..., status="completed", duration_ms=1.2)

`configure()` sets level and format for the process. What the standard library's `logging` and
`structlog.get_logger()` are given comes out in the same format. Until it is called, only warnings
and errors are written.
"""

from headrace.logs.logger import (
    LIBRARIES,
    Level,
    Logger,
    configuration,
    configure,
    flush,
    get_logger,
)

__all__ = ["LIBRARIES", "Level", "Logger", "configuration", "configure", "flush", "get_logger"]

"""Logs: JSON lines for machines, or lines for people. Libraries log in the same form."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

CHATTY_LOGGERS = ("kopf",)
"""Logged from warnings on, unless the level is debug: they tell of each step of their own."""
LIBRARIES = (
    *("aiohttp", "charset_normalizer", "dotenv", "kubernetes", "oauthlib", "pydantic_settings"),
    *("requests", "requests_oauthlib", "urllib3", "websocket"),
)
"""Logged from warnings on, whatever the level: kubernetes would write each answer of the cluster,
and so the Secrets with the API keys."""


def configure(level: Level, format: Format, stream: TextIO = sys.stderr) -> None:
    """Choose what this process logs, and how. May be called again.

    `auto` is `console` when the stream is a terminal, else `json`.
    """
    if format == "auto":
        format = "console" if stream.isatty() else "json"
    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
    ]
    render: list[Processor] = [
        _lists_plain,
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        ),
    ]
    if format == "json":
        render = [
            structlog.processors.format_exc_info,
            _in_order,
            structlog.processors.JSONRenderer(),
        ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name in (*CHATTY_LOGGERS, *LIBRARIES):
        shown = level == "debug" and name in CHATTY_LOGGERS
        logging.getLogger(name).setLevel(threshold if shown else max(threshold, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _lists_plain(_: object, __: str, event: EventDict) -> EventDict:
    """`namespaces=a,b` on the console, not `namespaces=['a', 'b']`."""
    for key, value in event.items():
        if isinstance(value, (list, tuple)) and value and key != "exc_info":
            event[key] = ",".join([str(item) for item in value])
    return event


def _in_order(_: object, __: str, event: EventDict) -> EventDict:
    """The same four fields first in every line."""
    first = ("timestamp", "level", "event", "logger")
    rest = {key: value for key, value in event.items() if key not in first}
    return {**{key: event[key] for key in first if key in event}, **rest}

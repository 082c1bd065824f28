"""The logger that everything here uses, and the process's one choice of level and format."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Iterable
from typing import Any, Literal

import structlog

from headrace.logs.exceptions import format_exception
from headrace.logs.redaction import hidden
from headrace.logs.render import Fields, Renderer, console_renderer, legible, render_json
from headrace.logs.sink import BufferedSink

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

STDERR = 2

LIBRARIES = (
    *("dotenv", "fastapi", "httpcore2", "httpx2", "opentelemetry", "pydantic_settings"),
    *("redis", "starlette", "uvicorn"),
)
"""Loggers of what Headrace stands on: logged from warnings on, whatever the level. Below that they
tell what Headrace keeps to itself: httpx2 each address with its query, httpcore2 each header."""


class _Output:
    """Level, format and sink of this process."""

    def __init__(self, level: Level, render: Renderer, sink: BufferedSink) -> None:
        self.level = level
        self.threshold = getattr(logging, level.upper())
        self.render = render
        self.sink = sink

    def emit(self, severity: int, level: str, event: str, context: Fields, fields: Fields) -> None:
        try:
            line = self.render(level, event, context, fields)
        except BaseException:
            # A value whose text raises, be it SystemExit: no line may end anything.
            shown = {legible(name): legible(it) for name, it in {**context, **fields}.items()}
            line = self.render(level, legible(event), {}, shown)
        self.sink.write(hidden.line(line))
        if severity >= logging.WARNING:
            self.sink.flush()


def _colours(fd: int) -> bool:
    return "NO_COLOR" not in os.environ and (os.isatty(fd) or "FORCE_COLOR" in os.environ)


_active = _Output("warning", console_renderer(colours=_colours(STDERR)), BufferedSink(STDERR))


class Logger(structlog.BoundLoggerBase):
    """A structlog bound logger: `bind()` adds fields, the methods write an event with fields.

    Its own methods instead of a chain of processors: a line costs about 2 µs, not 3, and a task
    logs several. `exc_info=True`, or an exception, adds the traceback.
    """

    def __init__(self, name: str | None, processors: Iterable[Any], context: Fields) -> None:
        # structlog hands on what it wraps from logger to logger; here that is the name alone.
        if name is not None and "logger" not in context:
            context = {"logger": name, **context}
        super().__init__(name, processors, context)

    def debug(self, event: str, *args: object, **fields: Any) -> None:
        """Write what helps to find a fault in the code."""
        if _active.threshold <= logging.DEBUG:
            self._emit(logging.DEBUG, "debug", _filled(event, args), fields)

    def info(self, event: str, *args: object, **fields: Any) -> None:
        """Write what happens in the normal course."""
        if _active.threshold <= logging.INFO:
            if args:
                event = _filled(event, args)
            _active.emit(logging.INFO, "info", event, self._context, fields)

    def warning(self, event: str, *args: object, **fields: Any) -> None:
        """Write what someone should look at, some day."""
        if _active.threshold <= logging.WARNING:
            self._emit(logging.WARNING, "warning", _filled(event, args), fields)

    def error(self, event: str, *args: object, **fields: Any) -> None:
        """Write what went wrong."""
        self._emit(logging.ERROR, "error", _filled(event, args), fields)

    def exception(self, event: str, *args: object, **fields: Any) -> None:
        """Write what went wrong, with the traceback of the exception being handled."""
        self.error(event, *args, **{"exc_info": True, **fields})

    warn = warning
    critical = error
    fatal = error

    def _emit(self, severity: int, level: Level, event: str, fields: Fields) -> None:
        error = fields.pop("exc_info", None)
        if not isinstance(error, BaseException) and error:
            error = sys.exc_info()[1]
        if isinstance(error, BaseException):
            fields["exception"] = format_exception(error)
        _active.emit(severity, level, event, self._context, fields)


def get_logger(name: str, **fields: Any) -> Logger:
    """A logger; every line of it has its name and these fields. Configure before or after."""
    return Logger(name, (), fields)


class _StandardHandler(logging.Handler):
    """Brings what libraries write by `logging` into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: Fields = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            fields["exception"] = format_exception(record.exc_info[1])
        try:
            text = record.getMessage()
        except BaseException:  # a wrong format string in a library, an argument without a text
            text = f"{legible(record.msg)} {legible(record.args)}"
        _active.emit(record.levelno, _name(record.levelno), text, {}, fields)


def _filled(event: str, args: tuple[object, ...]) -> str:
    """The event with its arguments, as `logging` fills them in; side by side if they misfit."""
    if not args:
        return event
    try:
        return event % args
    except BaseException:
        return f"{legible(event)} {legible(args)}"


def _name(severity: int) -> Level:
    if severity >= logging.ERROR:
        return "error"
    if severity >= logging.WARNING:
        return "warning"
    return "info" if severity >= logging.INFO else "debug"


def configure(level: Level = "info", format: Format = "auto", fd: int = STDERR) -> None:
    """Choose what this process logs, and how. May be called again.

    `auto` is `console` when `fd` is a terminal, else `json`. Colours are used on a terminal
    or where FORCE_COLOR is set, and never where NO_COLOR is. What a user's own package writes by
    `logging` comes into the same lines; of LIBRARIES only warnings and errors do.
    """
    global _active
    if format == "auto":
        format = "console" if os.isatty(fd) else "json"
    render = render_json if format == "json" else console_renderer(colours=_colours(fd))
    before, _active = _active, _Output(level, render, BufferedSink(fd))
    before.sink.close()
    structlog.configure(
        processors=[], wrapper_class=Logger, logger_factory=_name_only, context_class=dict
    )
    logging.basicConfig(level=_active.threshold, handlers=[_StandardHandler()], force=True)
    logging.captureWarnings(capture=True)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(max(_active.threshold, logging.WARNING))


def _name_only(name: str | None = None, *_: object) -> str | None:
    """What `structlog.get_logger(name)` wraps: nothing, `Logger` writes by itself."""
    return name


def configuration() -> tuple[Level, Format]:
    """What `configure` was given last, for a child process that is to log alike."""
    return _active.level, "json" if _active.render is render_json else "console"


def flush() -> None:
    """Write what is still in memory: before `os._exit`, which skips what runs at exit."""
    _active.sink.flush()


@atexit.register
def _close() -> None:
    _active.sink.close()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=lambda: _active.sink.start_anew())

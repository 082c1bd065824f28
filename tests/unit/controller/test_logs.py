"""The operator's logs: one JSON object a line, libraries' lines among them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from controller import logs
from tests.unit.test_logs import libraries


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    names = (*logs.CHATTY_LOGGERS, *logs.LIBRARIES)
    chatty = {name: logging.getLogger(name).level for name in names}
    yield io.StringIO()
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)
    for name, its_level in chatty.items():
        logging.getLogger(name).setLevel(its_level)


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_a_json_object_with_its_fields(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    structlog.get_logger("controller.lease").info("lease.taken", identity="a", seconds=1.5)
    (record,) = records(stream)
    assert list(record)[:4] == ["timestamp", "level", "event", "logger"]
    assert record["timestamp"].endswith("Z")
    assert record | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "lease.taken",
        "logger": "controller.lease",
        "identity": "a",
        "seconds": 1.5,
    }


def test_libraries_lines_come_in_the_same_form(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    logging.getLogger("kopf.reactor").error("Request attempt #%s failed", 1)
    logging.getLogger("asyncio").info("a loop")
    first, second = records(stream)
    assert (first["level"], first["event"]) == ("error", "Request attempt #1 failed")
    assert (first["logger"], second["logger"]) == ("kopf.reactor", "asyncio")


def test_kopf_tells_of_each_step_only_when_debugging(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    logging.getLogger("kopf.activities").info("Activity 'startup' succeeded.")
    assert records(stream) == []
    logs.configure("debug", "json", stream)
    logging.getLogger("kopf.activities").info("Activity 'startup' succeeded.")
    assert len(records(stream)) == 1


@pytest.mark.parametrize("level", ["debug", "info"])
def test_no_answer_of_the_cluster_is_logged(stream: io.StringIO, level: logs.Level) -> None:
    """Among them are Secrets. The client writes each by its own logger at debug level."""
    logs.configure(level, "json", stream)
    logging.getLogger("kubernetes.aio.client.rest").debug("response body: %s", "c2VjcmV0")
    logging.getLogger("kubernetes.client.rest").info("response body: %s", "c2VjcmV0")
    logging.getLogger("aiohttp.access").info("GET /?token=c2VjcmV0")
    assert records(stream) == []
    logging.getLogger("kubernetes.client.rest").warning("a certificate is not checked")
    assert len(records(stream)) == 1


def test_every_library_of_the_operator_is_listed() -> None:
    assert libraries("controller.main") <= {*logs.CHATTY_LOGGERS, *logs.LIBRARIES}


def test_an_exception_is_one_line_too(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    try:
        raise ValueError("no")
    except ValueError as error:
        structlog.get_logger("controller").error("operator.failed", exc_info=error)
        logging.getLogger("asyncio").exception("a task failed")
    for record in records(stream):
        assert "ValueError: no" in record["exception"]


def test_by_itself_it_writes_json_unless_a_terminal_reads_along(stream: io.StringIO) -> None:
    logs.configure("info", "auto", stream)
    structlog.get_logger("controller").info("a")
    assert records(stream)[0]["event"] == "a"


def test_the_level_decides_what_is_written(stream: io.StringIO) -> None:
    logs.configure("warning", "json", stream)
    structlog.get_logger("controller").info("a")
    structlog.get_logger("controller").warning("b")
    assert [record["event"] for record in records(stream)] == ["b"]


def test_people_get_lines_and_a_plain_traceback(stream: io.StringIO) -> None:
    logs.configure("info", "console", stream)
    try:
        raise ValueError("no")
    except ValueError as error:
        structlog.get_logger("controller").error("operator.failed", exc_info=error, part="loop")
    text = stream.getvalue()
    assert "operator.failed" in text
    assert "part=loop" in text
    assert text.rstrip().endswith("ValueError: no")
    assert "\x1b" not in text


@pytest.mark.parametrize("namespaces", [["default", "jobs"], ("default", "jobs")])
def test_people_get_lists_without_quotes(stream: io.StringIO, namespaces: object) -> None:
    logs.configure("info", "console", stream)
    structlog.get_logger("controller").info("operator.started", namespaces=namespaces)
    assert "namespaces=default,jobs" in stream.getvalue()

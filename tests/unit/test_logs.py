"""Logs: both formats, levels, tracebacks, other libraries' lines, and that no line is lost."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import structlog

from headrace import logs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class LogFile:
    """A file that the process logs to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def text(self) -> str:
        logs.flush()
        return self.path.read_text()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[LogFile]:
    file = LogFile(tmp_path / "log")
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    logs.configure("info", "json", file.fd)
    yield file
    logs.configure("warning", "console")
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before
    os.close(file.fd)


def test_json_has_time_level_event_and_fields_in_this_order(log_file: LogFile) -> None:
    logs.get_logger("headrace_worker").info("task.state", task_id="a", attempt=1, duration_ms=0.5)
    (record,) = log_file.records()
    assert list(record) == [
        *("timestamp", "level", "event", "logger", "task_id", "attempt", "duration_ms")
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["timestamp"])
    assert record["event"] == "task.state"
    assert record["duration_ms"] == 0.5


def test_the_level_decides_what_is_written(log_file: LogFile) -> None:
    log = logs.get_logger("x")
    logs.configure("warning", "json", log_file.fd)
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [(record["level"], record["event"]) for record in log_file.records()] == [
        ("warning", "c"),
        ("error", "d"),
    ]


def test_bound_fields_are_on_every_line(log_file: LogFile) -> None:
    log = logs.get_logger("x").bind(task_id="a")
    log.info("one", step=1)
    log.info("two")
    assert [record["task_id"] for record in log_file.records()] == ["a", "a"]


def test_an_exception_brings_its_traceback(log_file: LogFile) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        logs.get_logger("x").exception("task.failed", task_id="a")
    (record,) = log_file.records()
    assert record["level"] == "error"
    assert record["exception"].startswith("Traceback")
    assert record["exception"].endswith("ValueError: broken")


@pytest.mark.parametrize("value", ["\ud800", 1 << 90, object(), {1: {2}}, float("nan")])
def test_no_value_can_break_a_line(log_file: LogFile, value: object) -> None:
    logs.get_logger("x").info("odd", value=value, kept="as it is", n=1)
    (record,) = log_file.records()
    assert (record["event"], record["kept"], record["n"]) == ("odd", "as it is", 1)


def test_other_libraries_come_out_in_the_same_format(log_file: LogFile) -> None:
    logging.getLogger("uvicorn.error").warning("started on port %d", 8000)
    logging.getLogger("uvicorn.error").debug("not this")
    structlog.get_logger("theirs").bind(a=1).info("hello %s", "you")
    found = [
        (record["event"], record.get("logger"), record.get("a")) for record in log_file.records()
    ]
    assert found == [("started on port 8000", "uvicorn.error", None), ("hello you", "theirs", 1)]


def libraries(*modules: str) -> set[str]:
    """Whose loggers there are once these modules are imported, the standard library's left out."""
    code = (
        f"import importlib, logging\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print(*logging.root.manager.loggerDict)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout
    ours = {"headrace", "headrace_api", "headrace_worker", "controller"}
    found = {name.partition(".")[0] for name in printed.split()}
    return found - ours - sys.stdlib_module_names


def test_every_library_of_api_worker_and_command_is_listed() -> None:
    """A new one says what Headrace would not, until it is quiet below warnings too."""
    for process in ("headrace_api.main", "headrace_worker.main", "headrace.cli"):
        assert libraries(process, "headrace.handlers.builtin") <= set(logs.LIBRARIES), process


@pytest.mark.parametrize("level", ["debug", "info"])
def test_libraries_say_nothing_below_warnings(log_file: LogFile, level: logs.Level) -> None:
    logs.configure(level, "json", log_file.fd)
    answers = httpx2.MockTransport(lambda request: httpx2.Response(200))
    with httpx2.Client(transport=answers) as client:
        client.get("https://api.example/?token=a-secret", headers={"Authorization": "a-secret"})
    for name in logs.LIBRARIES:
        logging.getLogger(name).info("a-secret")
        logging.getLogger(f"{name}.part").debug("a-secret")
        logging.getLogger(name).warning("what one should know")
    assert "a-secret" not in log_file.text()
    assert len(log_file.records()) == len(logs.LIBRARIES)


def test_a_package_of_a_user_s_may_log_at_every_level(log_file: LogFile) -> None:
    logging.getLogger("my_package").info("resized")
    assert [record["event"] for record in log_file.records()] == ["resized"]


def test_the_console_format_reads_well(log_file: LogFile) -> None:
    logs.configure("info", "console", log_file.fd)
    log = logs.get_logger("headrace_worker")
    log.info("task.state", task_id="a", note="two words", status="completed")
    log.info("one\nline \x1b[31mno colour")
    first, second = log_file.text().splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} info    task\.state     "
        r"task_id=a note='two words' status=completed",
        first,
    )
    assert second.endswith(r"one\nline \x1b[31mno colour")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (["workflow_execute", "chat_process"], "workflow_execute,chat_process"),
        (("a", 1), "a,1"),
        ([], "[]"),
        (["two words", "b"], "'two words,b'"),
        (["escape\x1b[31m"], r"'escape\x1b[31m'"),
    ],
)
def test_the_console_shows_a_list_without_quotes(
    log_file: LogFile, value: object, shown: str
) -> None:
    logs.configure("info", "console", log_file.fd)
    logs.get_logger("headrace_worker").info("worker.started", queues=value)
    assert log_file.text().endswith(f" queues={shown}\n")


def test_the_console_shows_a_traceback_below_its_line(log_file: LogFile) -> None:
    logs.configure("info", "console", log_file.fd)
    logs.get_logger("x").error("failed", exc_info=ValueError("broken"))
    assert log_file.text().splitlines()[1:] == ["ValueError: broken"]


def test_auto_is_json_without_a_terminal_and_console_with_one(log_file: LogFile) -> None:
    logs.configure("info", "auto", log_file.fd)
    logs.get_logger("x").info("for machines")
    assert log_file.records()[0]["event"] == "for machines"
    controller, terminal = os.openpty()
    try:
        logs.configure("info", "auto", terminal)
        logs.get_logger("x").info("for people")
        logs.flush()
        assert b"\x1b[" in os.read(controller, 1000)
    finally:
        logs.configure("info", "auto", log_file.fd)
        os.close(controller)
        os.close(terminal)


def test_lines_wait_at_most_a_moment(log_file: LogFile) -> None:
    logs.get_logger("x").info("soon")
    assert log_file.path.read_text() == ""
    deadline = time.monotonic() + 5
    while log_file.path.read_text() == "" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "soon" in log_file.path.read_text()


def test_a_warning_is_written_at_once_and_what_came_before_it_too(log_file: LogFile) -> None:
    logs.get_logger("x").info("before")
    logs.get_logger("x").warning("now")
    written = log_file.path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in written] == ["before", "now"]


def test_many_threads_lose_and_mix_nothing(log_file: LogFile) -> None:
    def work(thread: int) -> None:
        log = logs.get_logger("x", thread=thread)
        for number in range(2000):
            log.info("line", number=number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = log_file.records()
    for number in range(4):
        mine = [record["number"] for record in records if record["thread"] == number]
        assert mine == list(range(2000))


def test_a_process_that_ends_writes_its_last_lines() -> None:
    code = (
        "from headrace import logs; logs.configure('info', 'json');"
        "logs.get_logger('x').info('the last words')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30)
    assert json.loads(done.stderr)["event"] == "the last words"


def test_a_closed_pipe_does_not_stop_the_process(log_file: LogFile) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    logs.configure("info", "json", writer)
    logs.get_logger("x").error("nobody reads this")
    logs.configure("info", "json", log_file.fd)
    os.close(writer)
    logs.get_logger("x").info("still here")
    assert log_file.records()[0]["event"] == "still here"


class Unprintable:
    """An object whose own code fails in each way of showing it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error

    __repr__ = __str__


class UnprintableError(Exception):
    """An error whose message raises what no `except Exception` holds."""

    def __str__(self) -> str:
        raise SystemExit(3)


def with_notes(notes: Any) -> Exception:
    error = ValueError("x")
    error.__notes__ = notes
    return error


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("raised", [ValueError("x"), SystemExit(1), KeyboardInterrupt()])
def test_a_value_that_cannot_be_shown_is_named_by_its_type(
    log_file: LogFile, format: Any, raised: BaseException
) -> None:
    logs.configure("info", format, log_file.fd)
    logs.get_logger("t").error("task.failed", value=Unprintable(raised), fine=1)
    line = log_file.text()
    assert "<Unprintable, which cannot be shown: " in line
    assert "fine" in line


@pytest.mark.parametrize(
    "error",
    [
        SyntaxError("x", ("t", 3, "col", "text")),  # type: ignore[arg-type]
        with_notes(7),
        UnprintableError(),
    ],
    ids=["syntax", "notes", "message"],
)
def test_an_error_that_cannot_be_printed_is_named_by_its_type(
    log_file: LogFile, error: BaseException
) -> None:
    logs.get_logger("t").error("task.failed", exc_info=error)
    (record,) = log_file.records()
    assert type(error).__name__ in record["exception"]


def test_a_traceback_is_bounded(log_file: LogFile) -> None:
    logs.get_logger("t").error("task.failed", exc_info=ValueError("x" * 10_000_000))
    assert len(log_file.text()) < 100_000


# Nothing that is logged may end anything


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), ValueError("x")])
def test_a_value_whose_text_raises_ends_nothing(
    log_file: LogFile, format: Any, error: BaseException
) -> None:
    logs.configure("info", format, log_file.fd)
    value = Unprintable(error)
    ours, other = logs.get_logger("headrace"), logging.getLogger("library")
    ours.info("a field", value=value)
    ours.info("an argument %s", value)
    ours.info("a number %d", "seven")
    other.warning("a library's argument %s", value)
    other.warning(value)
    ours.info(value)  # type: ignore[arg-type]
    ours.info("last", fine=1)
    text = log_file.text()
    for words in ("a field", "an argument %s", "a number %d", "seven", "a library's argument %s"):
        assert words in text
    assert "Unprintable" in text
    assert "last" in text


def test_a_long_chain_of_causes_is_printed_whole(log_file: LogFile) -> None:
    def fail(depth: int) -> None:
        try:
            if depth == 0:
                raise ValueError("the root of it")
            fail(depth - 1)
        except Exception as error:
            raise RuntimeError(f"level {depth}") from error

    with pytest.raises(RuntimeError) as caught:
        fail(20)
    logs.get_logger("headrace").error("failed", exc_info=caught.value)
    (record,) = log_file.records()
    assert "ValueError: the root of it" in record["exception"]
    assert record["exception"].endswith("RuntimeError: level 20")


def test_an_error_that_is_held_a_billion_times_is_logged_at_once(log_file: LogFile) -> None:
    error: Exception = ValueError("in the middle")
    for _ in range(30):
        error = ExceptionGroup("g", [error, error])
    logs.get_logger("headrace").error("held", exc_info=error)
    (record,) = log_file.records()
    assert record["exception"] == (
        "ExceptionGroup: (it cannot be printed: it holds more than 1000 others)"
    )

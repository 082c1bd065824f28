"""How one log event becomes a line: JSON for machines, aligned text for people."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

Fields = dict[str, Any]
Renderer = Callable[[str, str, Fields, Fields], bytes]
"""Makes a line, with its line feed, from a level, an event, its logger's fields and its own."""

_encoder = msgspec.json.Encoder(enc_hook=str)

_OWN_LOGGERS = ("headrace", "headrace_api", "headrace_worker")
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31"}


class _Clock:
    """The time as text. Formatting is slow: the last text is kept, and its seconds."""

    def __init__(self, pattern: str, suffix: str, *, utc: bool) -> None:
        self._pattern = pattern
        self._suffix = suffix
        self._convert = time.gmtime if utc else time.localtime
        # Each is read once and replaced as one: another thread must not see half of it.
        self._second: tuple[int, str] = (-1, "")
        self._last: tuple[int, str] = (-1, "")

    def now(self) -> str:
        milliseconds = int(time.time() * 1000)
        last, text = self._last
        if milliseconds != last:
            text = self._text(milliseconds)
            self._last = (milliseconds, text)
        return text

    def _text(self, milliseconds: int) -> str:
        whole, rest = divmod(milliseconds, 1000)
        second, text = self._second
        if whole != second:
            text = time.strftime(self._pattern, self._convert(whole))
            self._second = (whole, text)
        return f"{text}{rest:03d}{self._suffix}"


_utc_now = _Clock("%Y-%m-%dT%H:%M:%S.", "Z", utc=True).now
_local_now = _Clock("%H:%M:%S.", "", utc=False).now


def render_json(level: str, event: str, context: Fields, fields: Fields) -> bytes:
    """One JSON object: `timestamp` (UTC), `level`, `event`, then the fields as they came."""
    record = {"timestamp": _utc_now(), "level": level, "event": event, **context, **fields}
    try:
        return _encoder.encode(record) + b"\n"
    except BaseException:
        # Half a surrogate pair, a number of 80 bits, a list that holds itself; or an object of a
        # handler, whose `__str__` may raise anything: no line may end what writes it.
        return _encoder.encode({key: _encodable(value) for key, value in record.items()}) + b"\n"


def legible(value: object) -> str:
    """How a value looks, in ASCII. Never raises, whatever the value's own code does."""
    try:
        if type(value) is str:
            return value.encode("ascii", "backslashreplace").decode()
        return ascii(value)
    except BaseException as error:
        return f"<{type(value).__name__}, which cannot be shown: {type(error).__name__}>"


def _encodable(value: object) -> object:
    """The value, or how it looks: the line matters more than one odd value in it."""
    try:
        _encoder.encode(value)
    except BaseException:
        return legible(value)
    return value


def console_renderer(*, colours: bool) -> Renderer:
    """Lines for people: local time, level, event, `name=value` …, a traceback below."""

    def paint(code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colours else text

    levels = {level: paint(code, f"{level:<7}") for level, code in _COLOURS.items()}

    def render(level: str, event: str, context: Fields, fields: Fields) -> bytes:
        fields = {**context, **fields}
        exception = fields.get("exception")
        parts = [paint("2", _local_now()), levels[level], paint("1", f"{_printable(event):<14}")]
        for name, value in fields.items():
            if name != "exception" and not (name == "logger" and _is_ours(value)):
                parts.append(f"{paint('2', name + '=')}{_value(value)}")
        line = " ".join(parts).rstrip() + "\n"
        if exception is not None:
            line += f"{exception}\n"
        return line.encode(errors="backslashreplace")

    return render


def _is_ours(logger: object) -> bool:
    return str(logger).partition(".")[0] in _OWN_LOGGERS


def _plain(value: object) -> str:
    try:
        if isinstance(value, (list, tuple)) and value:
            return ",".join([str(item) for item in value])
        return str(value)
    except BaseException:
        return legible(value)


def _value(value: object) -> str:
    text = _plain(value)
    return text if text.isprintable() and " " not in text and text else repr(text)


def _printable(text: str) -> str:
    """Line feeds and escape sequences shown, not obeyed: some of it comes from outside."""
    return text if text.isprintable() else repr(text)[1:-1]

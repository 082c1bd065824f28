"""The mistakes in a body, each with its place, in sentences.

Asked only once a body could not be read, so it may take its time: the standard library's parser
reads it again, for that says where it stumbles.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.contract.problems import INVALID_REQUEST, MALFORMED_JSON
from headrace.hints import closest
from headrace_api.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_MISTAKES = 20
"""A reply names so many mistakes, and no more."""
MAX_SHOWN = 64
"""Longer names are cut in messages."""

Mistake = tuple[str, str]
"""Where, as a JSON pointer, and what is wrong there."""


@dataclass(frozen=True)
class Form:
    """What a body may hold."""

    model: type[msgspec.Struct]
    """Its fields and their types."""
    rules: Mapping[str, str]
    """What each field must be, as a sentence. A field without a rule takes everything."""
    wraps: str
    """The field that the caller's own data belongs into."""
    items: Form | None = None
    """What that field lists, when it is a list of further forms."""

    @property
    def sample(self) -> str:
        """How the caller's data is wrapped."""
        return f'{{"{self.wraps}": {"[…]" if self.items else "…"}}}'

    def mistakes(self, value: Any, place: str = "") -> Iterator[Mistake]:
        """All mistakes of a decoded body that stands at this place."""
        if not isinstance(value, dict):
            yield place, f"it must be an object: wrap it, as in {self.sample}"
            return
        found = msgspec.structs.fields(self.model)
        fields = {field.encode_name: field.type for field in found}
        required = {field.encode_name for field in found if field.required}
        yield from self._strangers(value, place, list(fields))
        for name, kind in fields.items():
            if name not in value:
                if name in required:
                    yield f"{place}/{name}", "it is missing"
                continue
            try:
                msgspec.convert(value[name], kind)
            except msgspec.ValidationError:
                yield f"{place}/{name}", self.rules[name]
                continue
            for number, item in enumerate(value[name] if self.items else ()):
                assert self.items is not None
                yield from self.items.mistakes(item, f"{place}/{name}/{number}")

    def _strangers(self, value: dict[str, Any], place: str, fields: list[str]) -> Iterator[Mistake]:
        """Unknown fields: a misspelt one is named, the rest is probably the caller's own data."""
        others = []
        for name in value:
            if name in fields:
                continue
            meant = closest(name, [field for field in fields if field not in value])
            if meant is None:
                others.append(shown(name))
            else:
                yield place, f"there is no field `{shown(name)}`: `{meant}` is meant"
        if not others:
            return
        names = ", ".join(f"`{name}`" for name in others[:5])
        if self.wraps in value:
            yield place, f"there is no field {names}: the fields are {', '.join(fields)}"
        else:
            yield place, f"there is no field {names}: wrap your data, as in {self.sample}"


def shown(name: str) -> str:
    """A name from outside as a message may carry it."""
    text = name.encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def explain(form: Form, body: bytes) -> Problem:
    """The problem of a body that could not be read."""
    if not body:
        return _malformed(f"it is empty: send {form.sample}")
    try:
        value = json.loads(body.decode(), parse_constant=_not_json, parse_int=_whole)
    except json.JSONDecodeError as error:
        return _malformed(f"it goes wrong at line {error.lineno}, column {error.colno}")
    except UnicodeDecodeError as error:
        return _malformed(f"its byte {error.start} is not UTF-8")
    except RecursionError:
        return _malformed("it is nested too deeply")
    except _NotJson as error:
        return _malformed(f"{error} is not JSON: use null, or a text")
    found = list(islice(form.mistakes(value), MAX_MISTAKES)) or list(_too_large(value))
    if not found:
        return _malformed("a text in it is no Unicode: half of a surrogate pair stands alone")
    return Problem(
        INVALID_REQUEST,
        "; ".join(sentence(pointer, detail) for pointer, detail in found),
        errors=[{"detail": detail, "pointer": pointer} for pointer, detail in found],
    )


def sentence(pointer: str, detail: str) -> str:
    """A mistake with its place, for people: `tasks.1.max_retries: it must be …`."""
    return f"{pointer[1:].replace('/', '.')}: {detail}" if pointer else detail


def _malformed(reason: str) -> Problem:
    return Problem(MALFORMED_JSON, f"the body is not valid JSON: {reason}")


class _NotJson(ValueError):
    """NaN or Infinity, which Python's parser takes by itself."""


def _not_json(constant: str) -> Any:
    raise _NotJson(constant)


def _whole(digits: str) -> int | float:
    """Python takes so many digits only; msgspec has the same limit."""
    return int(digits) if len(digits) <= sys.get_int_max_str_digits() else math.inf


def _too_large(value: Any) -> Iterator[Mistake]:
    """The first number that is beyond what can be read, wherever it stands."""
    waiting = [("", value)]
    while waiting:
        place, found = waiting.pop()
        if isinstance(found, float) and math.isinf(found):
            yield place, "the number is too large: send it as a text"
            return
        if isinstance(found, dict):
            waiting += [(f"{place}/{_escaped(name)}", item) for name, item in found.items()]
        elif isinstance(found, list):
            waiting += [(f"{place}/{number}", item) for number, item in enumerate(found)]


def _escaped(name: str) -> str:
    """As a JSON pointer has it (RFC 6901)."""
    return shown(name).replace("~", "~0").replace("/", "~1")

"""Builds an HTTP request from a step's fields: URL, query, headers, body.

What is checked in a definition raises ValueError with a sentence; what turns out in a run raises
WorkflowError.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from headrace.workflows.errors import fail
from headrace.workflows.reading import kind_of
from headrace.workflows.steps.http.headers import check_header_name, is_json, media_type_of

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# RFC 6570's operators and modifiers: the language has its simple expansion only.
_OPERATORS = tuple("+#./;?&=,!@|")


def check_endpoint(uri: str) -> None:
    """Raise ValueError unless it is a URL or a URI template that can become one."""
    for name in _placeholders(uri):
        if not name or name.startswith(_OPERATORS) or name.endswith("*"):
            raise ValueError(f"`{{{name}}}`: a URI template may have only simple names")
    if not uri.startswith("{"):
        _check_url(_PLACEHOLDER.sub("1", uri))  # "1" may also be a part of a port


def _placeholders(uri: str) -> list[str]:
    """The names in a URI template. Raises ValueError where its braces do not match."""
    if re.search(r"[{}]", _PLACEHOLDER.sub("", uri)):
        raise ValueError(f"{uri!r}: a brace is not closed, or closes nothing")
    return _PLACEHOLDER.findall(uri)


def check_method(value: Any) -> str:
    """The method in capitals. ValueError for one that is not in the list of those allowed."""
    if not isinstance(value, str) or value.upper() not in METHODS:
        raise ValueError(f"no HTTP method of those allowed ({', '.join(METHODS)}): {value!r}")
    return value.upper()


def _check_url(url: str) -> None:
    """Raise ValueError unless it is an absolute http or https URL without credentials."""
    parts = urlsplit(url)
    if parts.port == 0:  # above 65535 urlsplit raises ValueError itself
        raise ValueError("port 0 cannot be called")
    if re.search(r"\s", url):
        raise ValueError(f"{url!r} has a space in it: write %20")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an absolute http or https URL")
    if "@" in parts.netloc:
        raise ValueError("a URL may not have credentials: everyone who sees it would know them")


def expand(template: str, data: Any) -> str:
    """Put top-level values of `data` into a URI template (RFC 6570, simple expansion)."""

    def value_of(match: re.Match[str]) -> str:
        value = data.get(match[1]) if isinstance(data, dict) else None
        if isinstance(value, dict | list):
            fail("expression", f"{{{match[1]}}} in {template!r} is {kind_of(value)}, not a text")
        return quote(_plain_text(value), safe="")

    return _PLACEHOLDER.sub(value_of, template)


def _plain_text(value: Any) -> str:
    """A simple value as it stands in a URL or a header."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def method_of(value: Any) -> str:
    """The method in capitals."""
    try:
        return check_method(value)
    except ValueError as error:
        fail("configuration", str(error))


def url_of(url: str, query: Any) -> str:
    """The URL with the query's parameters added."""
    try:
        _check_url(url)
    except ValueError as error:
        fail("configuration", str(error))
    added = urlencode(list(_query(query)))
    if not added:
        return url
    base, mark, fragment = url.partition("#")
    return f"{base}{'&' if '?' in base else '?'}{added}{mark}{fragment}"


def _query(value: Any) -> Iterator[tuple[str, str]]:
    for name, item in _map("query", value):
        for single in item if isinstance(item, list) else [item]:
            if isinstance(single, dict | list):
                fail("expression", f"the query parameter {name!r} is {kind_of(single)}")
            if single is not None:
                yield name, _plain_text(single)


def headers_of(value: Any) -> Iterator[tuple[str, str]]:
    """The headers, names in lower case; null leaves one out."""
    for name, item in _map("headers", value):
        if isinstance(item, dict | list):
            fail("expression", f"the header {name!r} is {kind_of(item)}, not a text")
        text = _plain_text(item)
        try:
            check_header_name(name)
        except ValueError as error:
            fail("configuration", str(error))
        if any(ord(char) < 32 or ord(char) == 127 for char in text):
            fail("expression", f"the header {name!r} has a line break or control character in it")
        if not text.isascii():
            fail(
                "configuration",
                f"the header {name!r} holds more than ASCII: encode it, for example with @uri",
            )
        if item is not None:
            yield name.lower(), text


def authorization(scheme: str, fields: Any) -> dict[str, str]:
    """The header of an authentication; `fields` may be the token alone."""
    if scheme == "bearer":
        token = fields if isinstance(fields, str) else _field(fields, "token", scheme)
        return {"authorization": f"Bearer {token}"}
    username, password = (_field(fields, name, scheme) for name in ("username", "password"))
    if ":" in username:
        fail("configuration", "the `username` of `basic` has a `:` in it, which would end it")
    return {"authorization": "Basic " + b64encode(f"{username}:{password}".encode()).decode()}


def _field(fields: Any, name: str, scheme: str) -> str:
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, str):
        fail("configuration", f"`{scheme}` has no text as its `{name}`")
    return value


def _map(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    if value is None:
        return iter(())
    if not isinstance(value, dict):
        fail("expression", f"`{field}` must be a mapping, not {kind_of(value)}")
    return iter(value.items())


def body_of(value: Any, headers: list[tuple[str, str]]) -> bytes | None:
    """The body's bytes; adds the content type where the workflow names none."""
    if value is None:
        return None
    content_type = next((text for name, text in headers if name == "content-type"), None)
    if (
        isinstance(value, dict)
        and media_type_of(content_type) == "application/x-www-form-urlencoded"
    ):
        fields = [(name, _plain_text(item)) for name, item in value.items()]
        return urlencode(fields).encode()
    is_text = isinstance(value, str) and not is_json(media_type_of(content_type))
    if content_type is None:
        kind = "text/plain; charset=utf-8" if is_text else "application/json"
        headers.append(("content-type", kind))
    if is_text:
        text: str = value
        return text.encode()
    return msgspec.json.encode(value)

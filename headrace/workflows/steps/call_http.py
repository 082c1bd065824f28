"""`call: http`: one HTTP request, made once however often the run is resumed afterwards."""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from headrace.workflows.errors import WorkflowError, fail
from headrace.workflows.expressions.templates import (
    TASK_BODY,
    Template,
    read_runtime_expression,
    read_template,
)
from headrace.workflows.reading.reader import Cursor, kind_of
from headrace.workflows.steps.http.client import PLAIN_HEADERS, HttpReply

if TYPE_CHECKING:
    from headrace.workflows.running.interpreter import Run, TaskScope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# RFC 6570's operators and modifiers: the language has its simple expansion only.
_OPERATORS = tuple("+#./;?&=,!@|")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# These say how the message is framed and where it goes; a workflow may not set that.
_FIXED_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "upgrade"}
)
# Python's names of the codecs that servers use. Its other ones fail on some texts, take time
# that grows with the square of their length, or decode no text at all (`idna`, `punycode`, `hex`).
_CHARSETS = re.compile(
    r"ascii|utf-8(-sig)?|utf-(16|32)(-[bl]e)?|iso8859-\d+|cp\d+|koi8-[rtu]|mac-\w+|tis-620|ptcp154"
    r"|gb2312|gbk|gb18030|hz|big5(hkscs)?|johab|(euc|shift)_\w+|iso2022_\w+"
)
REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class HttpCallAction:
    """The request's parts. `endpoint` is a URI template unless it is an expression."""

    arguments: Template
    output: str
    redirect: bool

    async def perform(self, run: Run, scope: TaskScope) -> Any:
        """The response in the form that `output` asks for."""

        async def call() -> Any:
            return await self._call(run, scope)

        return await run.once(call, scope)

    async def _call(self, run: Run, scope: TaskScope) -> Any:
        given = await run.evaluate(self.arguments, scope.input, scope)
        method = _method(given["method"])
        url = _url(given, self.arguments, scope.input)
        headers = list(_headers(given.get("headers")))
        content = _body(given.get("body"), headers)
        reply = await run.environment.runtime.http.send(
            method, url, headers=headers, content=content, follow_redirects=self.redirect
        )
        self._check(reply)
        return shape(reply, self.output)

    def _check(self, reply: HttpReply) -> None:
        if reply.status < 200 or reply.status >= (400 if self.redirect else 300):
            url = reply.url.partition("?")[0]
            raise WorkflowError(
                type=WorkflowError.standard("communication", "").type,
                title=reply.reason or f"HTTP status {reply.status}",
                status=reply.status,
                detail=f"{reply.method} {url} answered {reply.status} {reply.reason}".rstrip(),
            )


def read_http_call(fields: dict[str, Cursor]) -> HttpCallAction:
    """The arguments under `with`."""
    if "with" not in fields:
        fields["call"].refuse("`with` is missing: it holds the method and the endpoint")
    given = fields["with"].mapping(
        {"method", "endpoint", "headers", "query", "body", "output", "redirect"},
        ("method", "endpoint"),
    )
    method = given["method"].text()
    if "${" not in method:
        try:
            check_method(method)
        except ValueError as error:
            given["method"].refuse(str(error))
    _check_endpoint(given["endpoint"])
    for field in ("headers", "query"):
        if field in given:
            _check_map(given[field])
    return HttpCallAction(
        arguments=_read_arguments(fields["with"], given),
        output=given["output"].one_of("raw", "content", "response")
        if "output" in given
        else "content",
        redirect=given["redirect"].flag() if "redirect" in given else False,
    )


def _read_arguments(cursor: Cursor, given: dict[str, Cursor]) -> Template:
    kept = {key: given[key].value for key in given if key not in ("output", "redirect")}
    return read_template(replace(cursor, value=kept), TASK_BODY)


def _check_endpoint(cursor: Cursor) -> None:
    if isinstance(cursor.value, dict):
        later = {"authentication": "authentication"}
        cursor = cursor.mapping({"uri"}, ("uri",), later)["uri"]
    uri = cursor.text()
    if "${" in uri:
        read_runtime_expression(cursor, TASK_BODY)
        return
    try:
        for name in placeholders(uri):
            if not name or name.startswith(_OPERATORS) or name.endswith("*"):
                raise ValueError(f"`{{{name}}}`: only simple names can stand in a URI template")
        if not uri.startswith("{"):
            check_url(_PLACEHOLDER.sub("1", uri))  # "1" may also be a part of a port
    except ValueError as error:
        cursor.refuse(str(error))


def _check_map(cursor: Cursor) -> None:
    if isinstance(cursor.value, str) and "${" in cursor.value:
        read_runtime_expression(cursor, TASK_BODY)
        return
    for field in cursor.fields().values():
        # The language's schema wants texts; a bare number would be refused by other runtimes.
        field.text()
        if cursor.key == "headers":
            _check_header(field, field.key)


def _check_header(cursor: Cursor, name: str) -> None:
    try:
        _check_header_name(name)
    except ValueError as error:
        cursor.refuse(str(error))


def _check_header_name(name: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no header name")
    if name.lower() in _FIXED_HEADERS:
        raise ValueError(f"the header {name!r} cannot be set by a workflow")


def placeholders(uri: str) -> list[str]:
    """The names in a URI template. Raises ValueError where its braces do not match."""
    if re.search(r"[{}]", _PLACEHOLDER.sub("", uri)):
        raise ValueError(f"{uri!r}: a brace is not closed, or closes nothing")
    return _PLACEHOLDER.findall(uri)


def check_method(value: Any) -> str:
    """The method in capitals. ValueError for one that is not in the list of those allowed."""
    if not isinstance(value, str) or value.upper() not in METHODS:
        raise ValueError(f"no HTTP method of those allowed ({', '.join(METHODS)}): {value!r}")
    return value.upper()


def check_url(url: str) -> None:
    """Raise ValueError unless it is an absolute http or https URL without credentials."""
    parts = urlsplit(url)
    if parts.port == 0:  # above 65535 urlsplit raises ValueError itself
        raise ValueError("port 0 cannot be called")
    if re.search(r"\s", url):
        raise ValueError(f"{url!r} has a space in it: write %20")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no absolute http or https URL")
    if "@" in parts.netloc:
        raise ValueError("credentials cannot stand in a URL: everyone who sees it would know them")


def expand(template: str, data: Any) -> str:
    """Put top-level values of `data` into a URI template (RFC 6570, simple expansion)."""

    def value_of(match: re.Match[str]) -> str:
        value = data.get(match[1]) if isinstance(data, dict) else None
        if isinstance(value, dict | list):
            fail("expression", f"{{{match[1]}}} in {template!r} is {kind_of(value)}, not a text")
        return quote(plain_text(value), safe="")

    return _PLACEHOLDER.sub(value_of, template)


def plain_text(value: Any) -> str:
    """A simple value as it stands in a URL or a header."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _method(value: Any) -> str:
    try:
        return check_method(value)
    except ValueError as error:
        fail("configuration", str(error))


def _url(given: dict[str, Any], arguments: Template, data: Any) -> str:
    endpoint, written = given["endpoint"], arguments.value["endpoint"]
    if isinstance(endpoint, dict):
        endpoint, written = endpoint.get("uri"), written["uri"]
    if not isinstance(endpoint, str):
        fail("configuration", f"the endpoint must be a text, not {kind_of(endpoint)}")
    # What an expression gave is data: braces in it are not a template.
    url = expand(endpoint, data) if isinstance(written, str) else endpoint
    try:
        check_url(url)
    except ValueError as error:
        fail("configuration", str(error))
    query = urlencode(list(_query(given.get("query"))))
    if not query:
        return url
    base, mark, fragment = url.partition("#")
    return f"{base}{'&' if '?' in base else '?'}{query}{mark}{fragment}"


def _query(value: Any) -> Iterator[tuple[str, str]]:
    for name, item in _map("query", value):
        for single in item if isinstance(item, list) else [item]:
            if isinstance(single, dict | list):
                fail("expression", f"the query parameter {name!r} is {kind_of(single)}")
            if single is not None:
                yield name, plain_text(single)


def _headers(value: Any) -> Iterator[tuple[str, str]]:
    for name, item in _map("headers", value):
        if isinstance(item, dict | list):
            fail("expression", f"the header {name!r} is {kind_of(item)}, not a text")
        text = plain_text(item)
        try:
            _check_header_name(name)
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


def _map(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    if value is None:
        return iter(())
    if not isinstance(value, dict):
        fail("expression", f"`{field}` must be a mapping, not {kind_of(value)}")
    return iter(value.items())


def _body(value: Any, headers: list[tuple[str, str]]) -> bytes | None:
    """The body's bytes; adds the content type where the workflow names none."""
    if value is None:
        return None
    content_type = next((text for name, text in headers if name == "content-type"), None)
    if isinstance(value, dict) and _media_type(content_type) == "application/x-www-form-urlencoded":
        fields = [(name, plain_text(item)) for name, item in value.items()]
        return urlencode(fields).encode()
    is_text = isinstance(value, str) and not _is_json(_media_type(content_type))
    if content_type is None:
        kind = "text/plain; charset=utf-8" if is_text else "application/json"
        headers.append(("content-type", kind))
    if is_text:
        text: str = value
        return text.encode()
    return msgspec.json.encode(value)


def _media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def shape(reply: HttpReply, output: str) -> Any:
    """A response as the language's `raw`, `content` or `response`."""
    if output == "raw":
        return base64.b64encode(reply.content).decode()
    content = _content(reply)
    if output == "content":
        return content
    shown = {
        name: value if name in PLAIN_HEADERS else REDACTED
        for name, value in reply.request_headers.items()
    }
    return {
        "request": {"method": reply.method.lower(), "uri": reply.url, "headers": shown},
        "statusCode": reply.status,
        "headers": reply.headers,
        "content": content,
    }


def _content(reply: HttpReply) -> Any:
    """The content: JSON and text as what they are, anything else in base 64; null if empty."""
    if not reply.content:
        return None
    content_type = reply.headers.get("content-type")
    media_type = _media_type(content_type)
    if _is_json(media_type):
        try:
            return msgspec.json.decode(reply.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            url = reply.url.partition("?")[0]
            fail("communication", f"{url} says that it answers JSON, and does not", status=502)
    if media_type.startswith("text/") or media_type.endswith("xml"):
        return reply.content.decode(_charset(content_type or ""), "replace")
    return base64.b64encode(reply.content).decode()


def _charset(content_type: str) -> str:
    """The codec that a content type names; UTF-8 when it names none, or none for text."""
    match = re.search(r"charset=\"?([\w-]+)", content_type)
    try:
        codec = codecs.lookup(match[1]).name if match else "utf-8"
    except (LookupError, UnicodeError):
        return "utf-8"
    return codec if _CHARSETS.fullmatch(codec) else "utf-8"

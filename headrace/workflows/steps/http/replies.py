"""Turns an HTTP response into a step's output."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from headrace.logs.redaction import REDACTED
from headrace.workflows.errors import WorkflowError, fail
from headrace.workflows.model import HttpReply
from headrace.workflows.steps.http.headers import (
    PLAIN_HEADERS,
    charset_of,
    is_json,
    media_type_of,
)


def check_status(reply: HttpReply, *, redirect: bool) -> None:
    """Raise WorkflowError for a status that fails the call; `redirect`: 3xx does not."""
    if reply.status < 200 or reply.status >= (400 if redirect else 300):
        url = reply.url.partition("?")[0]
        raise WorkflowError(
            type=WorkflowError.standard("communication", "").type,
            title=reply.reason or f"HTTP status {reply.status}",
            status=reply.status,
            detail=f"{reply.method} {url} answered {reply.status} {reply.reason}".rstrip(),
        )


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
    media_type = media_type_of(content_type)
    if is_json(media_type):
        try:
            return msgspec.json.decode(reply.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            url = reply.url.partition("?")[0]
            fail("communication", f"{url} says that it answers JSON, and does not", status=502)
    if media_type.startswith("text/") or media_type.endswith("xml"):
        return reply.content.decode(charset_of(content_type or ""), "replace")
    return base64.b64encode(reply.content).decode()

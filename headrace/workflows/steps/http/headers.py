"""What headers may be set and shown, and what a content type says."""

from __future__ import annotations

import codecs
import re

PLAIN_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "accept-language", "connection", "content-encoding",
        "content-language", "content-length", "content-type", "host", "idempotency-key",
        "if-match", "if-modified-since", "if-none-match", "if-unmodified-since", "range",
        "transfer-encoding", "user-agent",
    }
)  # fmt: skip
"""A request's headers that hold no credentials. Any other one may: it is not sent on to another
host, and its value stands in no result."""

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


def check_header_name(name: str) -> None:
    """Raise ValueError for a name that is none, or not a workflow's to set."""
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name")
    if name.lower() in _FIXED_HEADERS:
        raise ValueError(f"the header {name!r} cannot be set by a workflow")


def media_type_of(content_type: str | None) -> str:
    """A content type without its parameters; empty where there is none."""
    return (content_type or "").partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether that is JSON, `+json` types included."""
    return media_type == "application/json" or media_type.endswith("+json")


def charset_of(content_type: str) -> str:
    """The codec that a content type names; UTF-8 when it names none, or none for text."""
    match = re.search(r"charset=\"?([\w-]+)", content_type)
    try:
        codec = codecs.lookup(match[1]).name if match else "utf-8"
    except (LookupError, UnicodeError):
        return "utf-8"
    return codec if _CHARSETS.fullmatch(codec) else "utf-8"

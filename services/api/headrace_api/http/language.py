"""The language of a reply's `message`: Chinese as in the guide, or English if that is preferred."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache


class Language(StrEnum):
    """The languages that messages are written in."""

    CHINESE = "zh"
    ENGLISH = "en"


@lru_cache(maxsize=256)
def preferred(accept_language: str) -> Language:
    """Read an `Accept-Language` header (RFC 9110, 12.5.4).

    English only when it has a higher quality than Chinese: who states nothing, or likes both
    alike, gets the guide's own language.
    """
    qualities = _qualities(accept_language)
    others = qualities.get("*", 0.0)
    english = qualities.get("en", others)
    chinese = qualities.get("zh", others)
    return Language.ENGLISH if english > chinese else Language.CHINESE


def _qualities(header: str) -> dict[str, float]:
    """The highest quality given to each primary language; a malformed entry counts for nothing."""
    found: dict[str, float] = {}
    for entry in header.split(","):
        tag, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = _quality(parameters)
        if tag and quality is not None:
            primary = tag.split("-", 1)[0]
            found[primary] = max(quality, found.get(primary, 0.0))
    return found


def _quality(parameters: list[str]) -> float | None:
    """The value of `q`, 1 when it is not given, None when it is malformed."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
            return quality if 0.0 <= quality <= 1.0 else None
    return 1.0

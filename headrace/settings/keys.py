"""Reads API keys from the settings: a role and the key's SHA-256, never the key itself."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple


class Role(StrEnum):
    """What the holder of an API key may do: headrace_api/http/auth.py has the table."""

    READ = "read"
    SUBMIT = "submit"
    MANAGER = "manager"
    EVENTS = "events"
    OPERATOR = "operator"
    ADMIN = "admin"


class ApiKey(NamedTuple):
    """One API key, as far as it is kept: its SHA-256, never the key itself."""

    role: Role
    digest: bytes
    """SHA-256 of the key's text, 32 bytes."""
    name: str
    """For logs: whose key it is. May be empty."""


def parse_api_keys(entries: list[tuple[str, str]]) -> tuple[ApiKey, ...]:
    """Read keys written as `role:sha256[:name]`. Each entry comes with the place it stands in.

    Raises ValueError with a sentence that names the place and never the entry: whoever confuses
    the key with its hash must not find the key in a log.
    """
    keys: dict[bytes, ApiKey] = {}
    for place, text in entries:
        role, _, rest = text.partition(":")
        digest, _, name = rest.partition(":")
        if role not in set(Role):
            raise ValueError(
                f"{place} must begin with a role: {', '.join(Role)}. "
                "`python -m headrace keys new` makes a key and its entry"
            )
        if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise ValueError(
                f"{place} must have the key's SHA-256 after the role, as 64 hexadecimal digits: "
                "`python -m headrace keys new` makes both"
            )
        key = ApiKey(Role(role), bytes.fromhex(digest), name.strip())
        if key.digest in keys:
            raise ValueError(f"{place} has the same hash as an entry before it: keep one of them")
        keys[key.digest] = key
    return tuple(keys.values())


def keys_in_setting(value: object) -> object:
    """What API_KEYS holds: entries separated by commas."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return parse_api_keys([(f"entry {number}", part) for number, part in enumerate(parts, 1)])


def keys_in_file(file: Path) -> tuple[ApiKey, ...]:
    """What API_KEYS_FILE holds: an entry a line; `#` begins a comment."""
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    entries = [(number, line.partition("#")[0].strip()) for number, line in lines]
    return parse_api_keys([(f"line {number} of {file}", text) for number, text in entries if text])

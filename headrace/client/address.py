"""Where a client finds Headrace, and with which key: arguments, the environment, the profile."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headrace.client.errors import ConfigInvalid

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_PROFILE = "default"

_is_key = re.compile(r"[\x21-\x7e]+").fullmatch


@dataclass(frozen=True)
class Address:
    """Where Headrace is."""

    url: str = field(repr=False)
    """It may hold Redis's password."""
    api_key: str | None = field(default=None, repr=False)

    @property
    def is_http(self) -> bool:
        """Whether it is that of the API; else it is that of Redis."""
        return self.url.startswith(("http://", "https://"))

    def __str__(self) -> str:
        """As it may be shown: without a password."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def config_file(environ: Mapping[str, str] | None = None) -> Path:
    """The file with the profiles: `~/.config/headrace/config.toml`."""
    environ = os.environ if environ is None else environ
    folder = environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "headrace" / "config.toml"


def find_address(
    url: str | None = None,
    api_key: str | None = None,
    *,
    profile: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Address:
    """The arguments, then HEADRACE_URL and HEADRACE_API_KEY, then the profile.

    A profile's key goes with its own URL only, so that no other server is sent it. `profile` is
    HEADRACE_PROFILE unless given, else `default`.

    Raises ConfigInvalid.
    """
    environ = os.environ if environ is None else environ
    api_key = api_key or environ.get("HEADRACE_API_KEY") or None
    url = url or (environ.get("HEADRACE_URL") if profile is None else None)
    if not url:
        found = read_profile(profile or environ.get("HEADRACE_PROFILE"), config_file(environ))
        url = found.url
        api_key = api_key or found.api_key
    return _checked(Address(url, api_key))


def read_profile(name: str | None, file: Path) -> Address:
    """A profile of the file; without a name the profile `default`, which need not be there.

    Raises ConfigInvalid: there is no such profile, or others can read the file.
    """
    try:
        text = file.read_text(encoding="utf-8")
        mode = file.stat().st_mode
    except FileNotFoundError:
        if name is None:
            return Address(DEFAULT_URL)
        raise ConfigInvalid(f"there is no profile {name!r}, for there is no file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{file} cannot be read: {error}") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise ConfigInvalid(f"other users can read {file}, which may hold a key: chmod 600 {file}")
    try:
        profiles = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"{file} is no TOML: {error}") from None
    found: Any = profiles.get(name or DEFAULT_PROFILE)
    if found is None:
        if name is None:
            return Address(DEFAULT_URL)
        raise ConfigInvalid(f"there is no profile {name!r} in {file}: write [{name}] and url = …")
    if not isinstance(found, dict) or not all(isinstance(it, str) for it in found.values()):
        raise ConfigInvalid(f"the profile {name or DEFAULT_PROFILE!r} in {file} needs texts alone")
    return Address(found.get("url") or DEFAULT_URL, found.get("api_key") or None)


def _checked(address: Address) -> Address:
    url = address.url
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or not re.fullmatch(r"https?|(redis|rediss|unix)(\+[a-z]+)?", parts.scheme):
        raise ConfigInvalid(
            f"{address} is no address of Headrace: write http:// or https:// for the API, "
            "redis:// or rediss:// for Redis"
        )
    if address.is_http:
        if not parts.hostname:
            raise ConfigInvalid(f"{address} names no host: write it as in {DEFAULT_URL}")
        if "@" in parts.netloc or parts.query:
            raise ConfigInvalid(
                f"{address} holds a password or a query: give the URL alone, and the key as api_key"
            )
    if address.api_key is not None and not _is_key(address.api_key):
        raise ConfigInvalid(
            "the API key holds a character that no key has, such as a space or a line's end"
        )
    return Address(url.rstrip("/") if address.is_http else url, address.api_key)

"""Who may do what: API keys with roles, kept as SHA-256 and compared in constant time.

| permission | read | submit | manager | events | operator | admin |
|------------|------|--------|---------|--------|----------|-------|
| READ       | yes  | yes    | yes     |        |          | yes   |
| SUBMIT     |      | yes    | yes     |        |          | yes   |
| MANAGE     |      |        | yes     |        |          | yes   |
| EVENTS     |      |        | yes     | yes    |          | yes   |
| OBSERVE    | yes  | yes    | yes     |        | yes      | yes   |
| OPERATE    |      |        |         |        | yes      | yes   |
| AUDIT      |      |        |         |        |          | yes   |

READ: tasks and workflows. SUBMIT: execute, submit, cancel, retry, run now. MANAGE: edit and delete
tasks, act on many. EVENTS: post events. OBSERVE: stats, history, workers. OPERATE: drain and
undrain. AUDIT: who has changed what.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from headrace.contract.problems import FORBIDDEN, UNAUTHORIZED
from headrace.logs import get_logger
from headrace.settings import ApiKey, Role
from headrace.settings.keys import keys_in_file
from headrace_api.http.anonymous import Anonymous
from headrace_api.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.datastructures import Headers

log = get_logger(__name__)

KEY_NAME = "headrace.key_name"
"""Where in the scope the name of the request's key stands; empty: it has none."""
FILE_CHECK_SECONDS = 1.0
"""How often a keys file is looked at for a change."""


class Permission(StrEnum):
    """What a route asks for."""

    OPEN = "open"
    READ = "read"
    SUBMIT = "submit"
    MANAGE = "manage"
    EVENTS = "events"
    OBSERVE = "observe"
    OPERATE = "operate"
    AUDIT = "audit"


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.READ: frozenset({Permission.READ, Permission.OBSERVE}),
    Role.SUBMIT: frozenset({Permission.READ, Permission.SUBMIT, Permission.OBSERVE}),
    Role.MANAGER: frozenset(
        {
            *(Permission.READ, Permission.SUBMIT, Permission.MANAGE),
            *(Permission.EVENTS, Permission.OBSERVE),
        }
    ),
    Role.EVENTS: frozenset({Permission.EVENTS}),
    Role.OPERATOR: frozenset({Permission.OBSERVE, Permission.OPERATE}),
    Role.ADMIN: frozenset(Permission),
}


_CHANGING = frozenset({Permission.SUBMIT, Permission.MANAGE, Permission.EVENTS, Permission.OPERATE})


class KeyRing:
    """The keys of the settings and of a file that is read again whenever it changes.

    Without a key in either place everybody may do everything who reaches the server: whether that
    is allowed is decided in the settings, and what `open_to` still refuses in anonymous.py.
    """

    def __init__(
        self,
        fixed: tuple[ApiKey, ...] = (),
        file: Path | None = None,
        *,
        open_to: Anonymous | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fixed = fixed
        self._open_to = open_to or Anonymous("127.0.0.1")
        self._file = file
        self._clock = clock
        self._checked_at = clock()
        self._stamp = self._stamp_now()
        self._problem = ""
        self._keys = fixed + (keys_in_file(file) if file else ())

    @property
    def anonymous(self) -> bool:
        """Whether requests need no key."""
        return not self._keys and self._file is None

    def check(self, headers: Headers, permission: Permission) -> str:
        """Returns the name of the request's key, which may be empty.

        Raises the 401 or 403 problem unless the request may do this.
        """
        if permission is Permission.OPEN:
            return ""
        if self.anonymous:
            self._open_to.check(headers, changing=permission in _CHANGING)
            return ""
        self._reload_if_changed()
        presented = _presented(headers)
        if presented is None:
            raise _unauthorized(
                "send an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            )
        key = self._find(presented)
        if key is None:
            raise _unauthorized(
                "this API key is not known: send the key itself, whose entry is in API_KEYS or "
                "API_KEYS_FILE"
            )
        if permission not in PERMISSIONS[key.role]:
            needed = [str(role) for role in Role if permission in PERMISSIONS[role]]
            raise Problem(
                FORBIDDEN,
                f"this API key has the role {key.role}, and this needs one of: {', '.join(needed)}",
                roles=needed,
            )
        return key.name

    def _find(self, presented: str) -> ApiKey | None:
        """Compare with every key, found or not, so that the time taken tells nothing."""
        digest = hashlib.sha256(presented.encode()).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _reload_if_changed(self) -> None:
        """A file that vanished or cannot be read leaves the keys as they were, and is logged.

        It is read again until that works: only a file that was read counts as seen.
        """
        if self._file is None or self._clock() - self._checked_at < FILE_CHECK_SECONDS:
            return
        self._checked_at = self._clock()
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        try:
            keys = self._fixed + keys_in_file(self._file)
        except (OSError, ValueError) as error:
            if self._problem != str(error):
                log.error("api_keys.unreadable", file=str(self._file), error=str(error))
            self._problem = str(error)
            return
        self._keys, self._stamp, self._problem = keys, stamp, ""
        log.info("api_keys.read", file=str(self._file), keys=len(keys))

    def _stamp_now(self) -> tuple[int, int, int] | None:
        """What changes when the file does, also when a mounted secret swaps its symlink."""
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


def _presented(headers: Headers) -> str | None:
    """The key in the request, by either of the two headers."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return headers.get("x-api-key") or None


def _unauthorized(detail: str) -> Problem:
    return Problem(UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="headrace"'})

"""An API without keys: which host names it answers to, and which sites' pages may use it.

Whoever reaches it may use it, and so could every web page that a browser on the same machine or in
the same network shows. Two checks keep those out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headrace.contract.problems import CROSS_SITE
from headrace.settings import is_address, is_loopback
from headrace_api.http.problems import Problem

if TYPE_CHECKING:
    from starlette.datastructures import Headers


class Anonymous:
    """The checks of `Host` and `Origin`, for a server that listens on `bound_host`.

    `allowed_hosts` are more names that it answers to: `api.example.com`, `*.example.com` or `*`.
    `origins` are those of other sites whose pages may use it: see CORS_ORIGINS.
    """

    def __init__(
        self, bound_host: str, allowed_hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()
    ) -> None:
        self._local = is_loopback(bound_host)
        self._allowed = tuple(host.lower() for host in allowed_hosts)
        self._origins = frozenset(origins)
        # A client sends the same one each time, and to look at it costs more than the rest.
        self._answers_to = lru_cache(maxsize=256)(self._is_name_of_this)

    def check(self, headers: Headers, *, changing: bool) -> None:
        """Raise the 403 problem for a foreign name, and for a foreign page that would change it."""
        host = headers.get("host")
        if host is not None and not self._answers_to(host):
            addresses = "127.0.0.1" if self._local else "an IP address"
            raise Problem(
                CROSS_SITE,
                f"this request was sent to {host!r}, and an API without keys answers to localhost, "
                f"to {addresses} and to the names in ALLOWED_HOSTS only: add the name there, or "
                "set API_KEYS",
            )
        if changing and self._is_foreign_page(headers):
            raise Problem(
                CROSS_SITE,
                "a page of another site sent this request; an API without keys takes it from its "
                "own pages, from those in CORS_ORIGINS and from other programs only",
            )

    def _is_name_of_this(self, host: str) -> bool:
        """A site may let its own name lead here, and its page is then of the same origin.

        No site can do so with an address: a page that was loaded from an address is from there.
        """
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None:
            return False
        if is_loopback(name) or (not self._local and is_address(name)):
            return True
        return any(
            name == allowed
            or allowed == "*"
            or (allowed[:2] == "*." and name.endswith(allowed[1:]))
            for allowed in self._allowed
        )

    def _is_foreign_page(self, headers: Headers) -> bool:
        """Browsers say where a request comes from.

        By Sec-Fetch-Site, which no other client sends, or, over plain HTTP and in old versions, by
        Origin alone.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if origin in self._origins:
            return False
        if site is not None:
            return site in ("cross-site", "same-site")
        return origin is not None and origin.partition("://")[2] != headers.get("host", "").lower()

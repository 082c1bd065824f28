"""The API's replies to probes."""

from __future__ import annotations

from typing import Literal

from headrace.contract.replies import Reply


class HealthReply(Reply):
    """The process answers."""

    status: Literal["ok"] = "ok"


class ReadyReply(Reply):
    """Whether requests should be sent here."""

    status: Literal["ready", "starting", "stopping"]
    redis: Literal["available", "unavailable", "unsuitable", "unknown", "disabled"]
    """`unsuitable`: it answers but cannot be used, perhaps because a newer Headrace has written to
    it. It never makes a ready API a 503: without Redis, workflows run inside the request."""

"""What a request may see of tasks, by the role and the name of its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace_api.context import api_of
from headrace_api.http.auth import KEY_NAME, Permission
from headrace_api.http.options import MAX_KEY_NAME
from headrace_api.http.problems import Problem
from headrace_api.tasks.sight import Sight

if TYPE_CHECKING:
    from starlette.requests import Request


def sight_of(request: Request) -> Sight:
    """What the request's key may see."""
    manager = True
    try:
        require_manager(request)
    except Problem:
        manager = False
    name: str = request.scope[KEY_NAME]
    return Sight(
        manager=manager,
        hides=api_of(request).settings.hide_payloads,
        key_name=name[:MAX_KEY_NAME],
    )


def require_manager(request: Request) -> None:
    """Raise the 403 problem unless the request's key may manage tasks."""
    api_of(request).keys.check(request.headers, Permission.MANAGE)

"""Which role may use which address: those of 0.2.0 answer as they did, new ones are listed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from headrace.settings import ApiKey, Role
from headrace_api.http.auth import PERMISSIONS, Permission
from headrace_api.http.routing import GuardedRoute, action_of, permission_of
from headrace_api.routes import ROUTERS
from tests.unit.api.harness import api_settings, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RedisServer

READERS = {"read", "submit", "admin"}
SUBMITTERS = {"submit", "admin"}
OBSERVERS = {"read", "submit", "operator", "admin"}
OPERATORS = {"operator", "admin"}
EVERYBODY = {"read", "submit", "operator", "admin"}

OF_0_2_0 = {
    "POST /api/workflows/{workflow_id}/execute": SUBMITTERS,
    "GET /api/workflows": READERS,
    "GET /api/workflows/{workflow_id}": READERS,
    "GET /api/workflows/tasks/{task_id}": READERS,
    "POST /api/workflows/tasks/{task_id}/cancel": SUBMITTERS,
    "POST /api/workflows/tasks/{task_id}/retry": SUBMITTERS,
    "GET /api/tasks/{task_id}": READERS,
    "POST /api/tasks/{task_id}/cancel": SUBMITTERS,
    "POST /api/tasks/{task_id}/retry": SUBMITTERS,
    "POST /api/tasks/{task_type}": SUBMITTERS,
    "POST /api/tasks/{task_type}/batch": SUBMITTERS,
    "GET /api/task-types": READERS,
    "GET /api/workflows/queue/stats": OBSERVERS,
    "GET /api/workflows/queue/history": OBSERVERS,
    "GET /api/workflows/queue/{task_type}/dead-letters": READERS,
    "GET /api/workers": OBSERVERS,
    "POST /api/workers/{worker_id}/drain": OPERATORS,
    "POST /api/workers/{worker_id}/undrain": OPERATORS,
    "GET /": EVERYBODY,
    "GET /healthz": EVERYBODY,
    "GET /readyz": EVERYBODY,
}
"""Each address of 0.2.0, and the roles of 0.2.0 that may use it."""

NEW_ROLES = {
    Permission.OPEN: {"manager", "events"},
    Permission.READ: {"manager"},
    Permission.SUBMIT: {"manager"},
    Permission.MANAGE: {"manager"},
    Permission.EVENTS: {"manager", "events"},
    Permission.OBSERVE: {"manager"},
    Permission.OPERATE: set(),
    Permission.AUDIT: set(),
}

NEW = {
    "POST /api/tasks/wait": Permission.READ,
    "GET /api/tasks": Permission.READ,
    "GET /api/tasks/counts": Permission.READ,
    "GET /api/live": Permission.READ,
    "GET /api/audit": Permission.AUDIT,
    "GET /api/tasks/{task_id}/live": Permission.READ,
    "POST /api/bulk": Permission.MANAGE,
    "GET /api/bulk": Permission.READ,
    "GET /api/bulk/{bulk_id}": Permission.READ,
    "POST /api/bulk/{bulk_id}/stop": Permission.MANAGE,
    "POST /api/bulk/{bulk_id}/resume": Permission.MANAGE,
    "POST /api/tasks/{task_id}/run-now": Permission.SUBMIT,
    "DELETE /api/tasks/{task_id}": Permission.MANAGE,
    "PATCH /api/tasks/{task_id}": Permission.MANAGE,
    "GET /api/tasks/{task_id}/why": Permission.READ,
}
"""Each address that is newer, and what it asks for."""

PLACES = {
    "workflow_id": "my-workflow",
    "task_id": "550e8400-e29b-41d4-a716-446655440000",
    "task_type": "workflow_execute",
    "worker_id": "worker-1",
    "bulk_id": "7d444840-9dc0-41d4-b245-5ffdce74fad2",
}


def addresses() -> dict[str, Permission]:
    return {
        f"{method} {route.path}": permission_of(route.endpoint)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, GuardedRoute)
        for method in route.methods or ()
    }


def test_every_address_is_listed_here() -> None:
    found = addresses()
    assert set(found) == {*OF_0_2_0, *NEW}
    assert {name: found[name] for name in NEW} == NEW


async def test_each_role_gets_in_where_it_should(server: RedisServer, tmp_path: Path) -> None:
    keys = {role: f"key-of-{role}" for role in Role}
    entries = tuple(
        ApiKey(role, hashlib.sha256(key.encode()).digest(), str(role)) for role, key in keys.items()
    )
    async with running(api_settings(tmp_path, server.url, api_keys=entries)) as api:
        for name, permission in addresses().items():
            if name in OF_0_2_0:
                may = OF_0_2_0[name] | NEW_ROLES[permission]
            else:
                may = {str(role) for role in Role if permission in PERMISSIONS[role]}
                assert may & {"manager", "events"} == NEW_ROLES[permission]
            method, path = name.split()
            for role, key in keys.items():
                # Whoever is let in is refused for the parameter, so that nothing is done.
                address = path.format(**PLACES) + "?no_such_parameter=1"
                reply = await api.client.request(method, address, headers={"X-API-Key": key})
                assert (reply.status_code != 403) == (role in may), (name, role)
                assert reply.status_code != 401


def test_every_change_is_noted() -> None:
    """But for submits, which the tasks' own headers tell, and requests that only wait."""
    noted = {
        f"{method} {route.path}": bool(action_of(route.endpoint))
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, GuardedRoute)
        for method in route.methods or ()
    }
    not_noted = {
        "POST /api/workflows/{workflow_id}/execute",
        "POST /api/tasks/{task_type}",
        "POST /api/tasks/{task_type}/batch",
        "POST /api/tasks/wait",
    }
    for name, is_noted in noted.items():
        assert is_noted == (not name.startswith("GET") and name not in not_noted), name

"""Examples for the OpenAPI document: waits, live streams and bulk operations."""

from __future__ import annotations

from typing import Any

from headrace.contract import TASK_ID
from headrace_api.routes.examples import RECORD

OTHER_ID = "7d444840-9dc0-41d4-b245-5ffdce74fad2"
WAIT_BODIES = {
    "all": {"summary": "Until both have ended", "value": {"ids": [TASK_ID, OTHER_ID]}},
    "any": {
        "summary": "Until one of them has",
        "value": {"ids": [TASK_ID, OTHER_ID], "for": "any"},
    },
}
TASK_EVENTS = (
    'event: progress\ndata: {"percent":40.0,"message":"downloading"}\nid: running-1-5f3a9c01\n\n'
)
LIVE_EVENTS = (
    "event: ends\n"
    f'data: {{"ends":[{{"task_id":"{TASK_ID}","type":"resize_image","status":"completed"}}],'
    '"more":0}\n'
    "id: 1234\n\n"
)
BULK_BODIES = {
    "retry": {
        "summary": "Retry what failed today",
        "value": {
            "action": "retry",
            "filter": {"type": "resize_image", "ended_after": "2026-01-01T00:00:00Z"},
            "name": "after the outage",
        },
    },
    "purge": {
        "summary": "Delete the completed tasks of a type",
        "value": {"action": "delete", "filter": {"type": "resize_image", "status": "completed"}},
    },
}
BULK: dict[str, Any] = {
    "bulk_id": OTHER_ID,
    "action": "retry",
    "name": "after the outage",
    "filter": {"type": "resize_image", "ended_after": "2026-01-01T00:00:00Z"},
    "status": "running",
    "created_at": "2026-01-01T10:00:00Z",
    "ended_at": None,
    "by": "ops",
    "total": 1200,
    "done": 498,
    "failed": 2,
    "reasons": {"not-allowed": 2},
}
BULK_DETAIL = {**BULK, "failures": [{"task_id": TASK_ID, "reason": "not-allowed"}]}
BULK_DRY_RUN = {
    "count": 1,
    "complete": True,
    "samples": [{name: RECORD[name] for name in RECORD if name != "result"}],
}

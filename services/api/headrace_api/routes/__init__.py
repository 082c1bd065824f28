"""The API's addresses: one router a resource, each with its replies, errors and examples."""

from headrace_api.routes import (
    audit,
    bulk,
    health,
    listing,
    live,
    queue,
    task_types,
    tasks,
    waits,
    workers,
    workflows,
)

ROUTERS = (
    *(workflows.router, waits.router, listing.router, tasks.router, live.router, bulk.router),
    task_types.router,
    *(queue.router, workers.router, audit.router, health.router),
)
"""In the order of the documentation."""

__all__ = ["ROUTERS"]

"""The API's addresses, one router a resource."""

from services.api.routes import health, queue, tasks, workers, workflows

ROUTERS = (workflows.router, tasks.router, queue.router, workers.router, health.router)
"""In the order of the documentation."""

__all__ = ["ROUTERS"]

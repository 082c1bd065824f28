"""The settings of the API and of the worker: read from the environment and from `.env`.

Each process has one class, made of groups (`settings.queue.lease_seconds`); in the environment the
names are flat (`LEASE_SECONDS`). `names()` lists them, `load()` reads them and turns whatever is
wrong into a sentence. A variable of the environment wins over the same one in `.env`, and an empty
one counts as not set.
"""

from headrace.settings.fields import env_name, names
from headrace.settings.keys import ApiKey, Role
from headrace.settings.loading import in_words, load, warn_near_misses
from headrace.settings.processes import (
    ApiSettings,
    LogSettings,
    QueueSettings,
    WorkerSettings,
    WorkflowSettings,
    is_address,
    is_loopback,
)

__all__ = [
    "ApiKey",
    "ApiSettings",
    "LogSettings",
    "QueueSettings",
    "Role",
    "WorkerSettings",
    "WorkflowSettings",
    "env_name",
    "in_words",
    "is_address",
    "is_loopback",
    "load",
    "names",
    "warn_near_misses",
]

"""The settings of a client that speaks to Redis directly: those of the queue."""

from __future__ import annotations

from headrace.settings.fields import ProcessSettings
from headrace.settings.processes import QueueSettings


class DirectSettings(ProcessSettings):
    """As the API and the workers have them. REDIS_URL is not looked at."""

    queue: QueueSettings = QueueSettings()

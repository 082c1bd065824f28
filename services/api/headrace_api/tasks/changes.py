"""Notes who has changed what: in the log, and in a list in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.logs import get_logger
from headrace.taskqueue import QueueError

if TYPE_CHECKING:
    from headrace.taskqueue import TaskQueue
    from headrace_api.tasks.availability import Availability

log = get_logger(__name__)


class Changes:
    """Notes changes. `queue`: None is off, and then the log alone has them."""

    def __init__(self, queue: TaskQueue | None, availability: Availability) -> None:
        self._queue = queue
        self._availability = availability

    async def note(self, key: str, action: str, subject: str, request_id: str) -> None:
        """Note a change that was made. Raises nothing: its reply must get out."""
        if action.endswith("-task"):
            subject = subject.lower()
        log.info("audit.change", key=key, action=action, subject=subject, request_id=request_id)
        queue = self._queue
        if queue is None:
            return
        try:
            await self._availability.call(
                lambda: queue.audit.note(key, action, subject, request_id)
            )
        except QueueError as error:
            log.error("audit.not_kept", request_id=request_id, error=str(error))

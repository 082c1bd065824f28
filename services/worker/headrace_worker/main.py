"""What `run_worker.py` starts: settings, logs, task types, the worker, its probes, its signals.

Exit statuses: 0 done; 1 something went wrong, or ended tasks could not be reported; 2 the settings
or an installed package must be corrected; 3 Redis holds data of a newer version.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from typing import NoReturn

from headrace import __version__, logs
from headrace.client.opening import new_queue
from headrace.client.runtimes import new_runtime
from headrace.handlers import (
    LifespanFailed,
    LoopWatch,
    RegistrationError,
    Resources,
    guard_forks,
    leave_within,
    load_functions,
    load_lifespans,
    load_middleware,
    load_registry,
    run,
)
from headrace.handlers.builtin import builtin_types
from headrace.settings import WorkerSettings, load, warn_near_misses
from headrace.taskqueue import QueueError, TaskQueue, WorkerInfo
from headrace.workflows import Catalog
from headrace_worker.host import insist
from headrace_worker.probes import Probes
from headrace_worker.worker import Worker, handler_threads

EXIT_BROKEN = 1
EXIT_UNUSABLE = 2
FRESH_CONNECTION_SECONDS = 1.0
HOST_CHARACTERS = 40

log = logs.get_logger(__name__)


class Unusable(Exception):
    """The worker cannot start as it is set up; the message says what to correct."""


def main() -> NoReturn:
    """Work until SIGTERM or SIGINT. What cannot work is said in a sentence, with status 2."""
    settings = load(WorkerSettings)
    logs.configure(settings.logs.level, settings.logs.format)
    for sentence in warn_near_misses():
        log.warning("settings.near_miss", hint=sentence)
    try:
        guard_forks()
        status = run(serve(settings))
    except (Unusable, RegistrationError, ValueError) as error:
        sys.stderr.write(f"worker: {error}\n")
        sys.exit(EXIT_UNUSABLE)
    sys.exit(status)


async def serve(settings: WorkerSettings) -> int:
    """Run one worker. Returns the process's exit status."""
    if not settings.queue.enabled:
        raise Unusable("QUEUE_ENABLED=false: without a queue there is nothing for a worker to do")
    catalog = await asyncio.to_thread(Catalog.load, settings.workflows.dir, load_functions())
    for error in catalog.errors:
        log.warning("workflows.refused", error=str(error))
    runtime = new_runtime(settings.workflows, settings.workflow_limits, settings.evaluation)
    queue = new_queue(settings.queue, "headrace-worker")

    async def pinned(sha256: str) -> bytes | None:
        return await insist(lambda: queue.get_definition(sha256))

    async def pin(text: bytes) -> str:
        return await insist(lambda: queue.put_definition(text))

    registry = load_registry(builtin_types(catalog, runtime, __version__, pinned, pin))
    types = registry.chosen(settings.queues)
    worker = Worker(
        queue,
        types,
        worker_info(settings, [task_type.name for task_type in types]),
        grace_seconds=settings.grace_seconds,
        log_payloads=settings.logs.payloads,
        resources=Resources(
            threads=handler_threads(settings.max_workers),
            max_result_bytes=settings.queue.max_payload_bytes,
            middleware=load_middleware(),
            lifespans=load_lifespans(),
        ),
    )
    watch = LoopWatch(lambda: worker.leftovers)
    watch.start()
    _serve_probes(settings, queue, worker, watch)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    try:
        status = await worker.run()
    except LifespanFailed as error:
        sys.stderr.write(f"worker: {error}\n")
        status = EXIT_BROKEN
    except Exception:
        log.exception("worker.crashed", worker=worker.info.id)
        status = EXIT_BROKEN
    leftovers = [f"{attempt.claimed.type} {attempt.claimed.id}" for attempt in worker.leftovers]
    leave_within(status, loop, attempts=leftovers)
    watch.end()
    await queue.close()
    await runtime.close()
    return status


def worker_info(settings: WorkerSettings, queues: list[str]) -> WorkerInfo:
    """How this process registers itself. The id is new at each start."""
    host = socket.gethostname()
    return WorkerInfo(
        id=f"{host[:HOST_CHARACTERS]}-{os.getpid()}-{secrets.token_hex(3)}",
        host=host,
        pod=settings.pod_name,
        pid=os.getpid(),
        version=__version__,
        queues=queues,
        concurrency=settings.max_workers,
        started_at_ms=int(time.time() * 1000),
    )


def _serve_probes(
    settings: WorkerSettings, queue: TaskQueue, worker: Worker, watch: LoopWatch
) -> None:
    """Serve the probes to the end of the process, if that is wished."""
    if settings.probe_port is None:
        return
    try:
        probes = Probes(
            settings.probe_host,
            settings.probe_port,
            signs=worker.signs,
            redis_answers=lambda: redis_answers(queue),
            ready=lambda: worker.ready,
            blocked_seconds=watch.blocked_seconds,
        )
    except OSError as error:
        raise Unusable(
            f"PROBE_PORT={settings.probe_port}: the probes cannot be served on "
            f"{settings.probe_host} ({error.strerror}): choose another port for each worker of a "
            "machine, or leave it unset"
        ) from error
    probes.start()


def redis_answers(queue: TaskQueue) -> bool:
    """Whether Redis answers on a connection made for this."""
    link = queue.installation.blocking_link(FRESH_CONNECTION_SECONDS)
    try:
        return bool(link.call("PING"))
    except QueueError:
        return False
    finally:
        link.close()

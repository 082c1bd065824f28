"""What `python -m controller` starts: settings, logs, probes, watches, the election and the loop.

Exit statuses: 0 done; 1 something went wrong, or the lead was lost; 2 the settings are wrong.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, NoReturn

import structlog
from kubernetes.aio.config import ConfigException

from controller import crd, handlers, logs, server
from controller.api import Api
from controller.kube import Kube
from controller.lease import Leadership
from controller.loop import Loop
from controller.metrics import Metrics
from controller.polling import Readers
from controller.settings import EXIT_UNUSABLE, Settings, load
from controller.surroundings import Surroundings
from controller.watched import Watched

EXIT_DONE = 0
EXIT_BROKEN = 1
END_SECONDS = 3.0
"""So long what is cancelled may take to end."""

log = structlog.get_logger(__name__)


def main() -> NoReturn:
    """Operate until SIGTERM or SIGINT. What cannot work is said in a sentence, with status 2."""
    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    try:
        status = asyncio.run(serve(settings))
    except server.Unservable as error:
        _unusable(str(error))
    except ConfigException as error:
        _unusable(f"{error}: run in a pod with a ServiceAccount, or set KUBECONFIG")
    sys.exit(status)


def _unusable(sentence: str) -> NoReturn:
    sys.stderr.write(f"controller: {sentence}\n")
    sys.exit(EXIT_UNUSABLE)


async def serve(settings: Settings) -> int:
    """Run one operator. Returns the process's exit status."""
    stop = asyncio.Event()
    _on_signals(stop)
    metrics = Metrics()
    async with Kube.connect() as kube:
        operator = Operator(kube, settings, metrics)
        apps = (
            (
                server.probes(operator.hung, operator.unready),
                settings.probe_host,
                settings.probe_port,
            ),
            (server.metrics(metrics.registry), settings.metrics_host, settings.metrics_port),
        )
        async with AsyncExitStack() as stack:
            for app, host, port in apps:
                if port:
                    await stack.enter_async_context(server.serving(app, host, port))
            return await operator.run(stop)


class Operator:
    """The parts of one process, and how they begin and end."""

    def __init__(self, kube: Kube, settings: Settings, metrics: Metrics) -> None:
        self._kube = kube
        self._served = settings.served
        self._watched = Watched(settings.served)
        self._leadership = Leadership(kube, *settings.lease, identity=settings.pod_name)
        metrics.leader.set_function(lambda: float(self._leadership.held()))
        metrics.synced.set_function(lambda: float(self._watched.synced))
        surroundings = Surroundings(
            kube=kube,
            watched=self._watched,
            readers=Readers(partial(Api, kube, own_url=settings.api_url)),
            metrics=metrics,
            may_write=self._leadership.held,
            instance=settings.pod_name,
            lease="/".join(settings.lease),
        )
        self._loop = Loop(surroundings)
        self._crd_served = False
        self._leading_since: float | None = None

    def hung(self) -> str | None:
        """Why this process should be started again; None: it should not."""
        return server.hung(self._leading_since, self._loop.ticked_at, time.monotonic())

    def unready(self) -> str | None:
        """What it still waits for; None: it leads, or stands by to."""
        if not self._crd_served:
            return "waiting for the cluster to serve WorkerAutoscalers: see the log"
        if not self._leadership.answered:
            return "waiting for the Lease to be readable: see the log"
        return None

    async def run(self, stop: asyncio.Event) -> int:
        """Operate until `stop` is set, the lead is lost, or a part fails."""
        stopped = asyncio.create_task(stop.wait(), name="signals")
        waiting = asyncio.create_task(crd.wait_until_served(self._kube), name="crd")
        if not await _first(stopped, [waiting]):
            await _end([waiting])
            return EXIT_DONE
        if waiting.exception() is not None:
            return EXIT_BROKEN
        self._crd_served = True
        await crd.warn_if_older(self._kube)
        watching = await handlers.spawn(self._watched, self._served)
        _on_signals(stop)
        election = asyncio.create_task(self._leadership.run(), name="election")
        loop = asyncio.create_task(self._lead(), name="loop")
        log.info("operator.started", namespaces=self._served or "all")
        failed = await _first(stopped, [*watching, election, loop])
        # First what writes, then the Lease, so that nobody else writes meanwhile.
        await _end([loop])
        await _end([election])
        await self._leadership.release()
        await _end(watching)
        log.info("operator.stopped", failed=failed)
        return EXIT_BROKEN if failed else EXIT_DONE

    async def _lead(self) -> None:
        await self._leadership.taken.wait()
        self._leading_since = time.monotonic()
        await self._loop.run()


async def _first(stopped: asyncio.Task[Any], parts: Iterable[asyncio.Task[Any]]) -> bool:
    """Wait for a signal or the end of a part. Returns whether a part has ended, and logs which."""
    done, _ = await asyncio.wait({stopped, *parts}, return_when=asyncio.FIRST_COMPLETED)
    for part in done - {stopped}:
        error = None if part.cancelled() else part.exception()
        if error:
            log.error("operator.failed", part=part.get_name(), exc_info=error)
    return stopped not in done


async def _end(parts: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these and wait, but not for ever."""
    parts = set(parts)
    for part in parts:
        part.cancel()
    _, pending = await asyncio.wait(parts, timeout=END_SECONDS)
    for part in pending:
        log.warning("operator.slow_to_end", part=part.get_name())


def _on_signals(stop: asyncio.Event) -> None:
    """Let SIGTERM and SIGINT set the event, whoever had them before."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

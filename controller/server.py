"""HTTP: `/healthz` and `/readyz` on one port, `/metrics` on another.

They are served by the event loop that does the work: when it hangs, there is no answer, and that
tells the kubelet enough.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

SILENCE_SECONDS = 30.0
"""An operator that leads and has not looked at its resources for so long counts as hung."""

Problem = Callable[[], str | None]
"""Says what is wrong; None: nothing is."""


class Unservable(Exception):
    """A port cannot be listened on; the message says what to change."""


def hung(leading_since: float | None, ticked_at: float | None, now: float) -> str | None:
    """Why the operator counts as hung, in a sentence; None: it does not.

    Args:
        leading_since: when the lead was taken; None: it was not.
        ticked_at: when the loop over the resources last began a round.
        now: the same clock.
    """
    if leading_since is None:
        return None
    silent = now - max(leading_since, ticked_at or leading_since)
    if silent < SILENCE_SECONDS:
        return None
    return f"this operator leads, and no round over the resources was begun in {silent:.0f} s"


def probes(alive: Problem, ready: Problem) -> web.Application:
    """`/healthz` and `/readyz`: 200, or 503 and the problem."""
    app = web.Application()
    app.router.add_get("/healthz", _probe(alive, "alive"))
    app.router.add_get("/readyz", _probe(ready, "ready"))
    return app


def metrics(registry: CollectorRegistry) -> web.Application:
    """`/metrics`, in Prometheus' text format."""

    async def answer(_: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(registry), headers=headers)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    return app


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve inside this context; yields the port. Raises Unservable when it cannot be had."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise Unservable(
                f"port {port} of {host} cannot be listened on ({error.strerror}): choose another"
                " one by PROBE_PORT or METRICS_PORT"
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _probe(problem: Problem, fine: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        wrong = problem()
        return web.Response(status=503 if wrong else 200, text=f"{wrong or fine}\n")

    return answer

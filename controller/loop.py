"""The loop over all resources: when each has its round, and what ends with the operator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from controller.reconcile import Resource
from controller.resource import Autoscaler, Body, InvalidSpec, deleted, parse
from controller.surroundings import Surroundings

ROUND_SECONDS = 1.2
"""A resource is looked at as soon as its queue was read, and so long after the last time: a little
later than the next reading comes."""
SHORTEST_ROUND_SECONDS = 0.05
"""Readings that come closer together share a round of the loop."""
GIVE_UP_SECONDS = 2.0
"""So long an operator that ends may take to take its marks away."""
VERIFY_SECONDS = 30.0
VERIFY_AGAIN_SECONDS = 1.0


class Loop:
    """Rounds of all resources, as soon as there are readings, while this process leads."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.ticked_at: float | None = None
        """When a round began last, by the monotonic clock."""
        self._around = surroundings
        self._resources: dict[str, Resource] = {}
        self._rounds: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._verify())
                while True:
                    begun = self._around.monotonic()
                    await self.round()
                    passed = self._around.monotonic() - begun
                    await asyncio.sleep(max(SHORTEST_ROUND_SECONDS - passed, 0.0))
                    await self._around.readers.news(ROUND_SECONDS - passed)
        finally:
            resources = list(self._resources.values())
            await self._end(self._rounds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    await asyncio.gather(*(resource.give_up() for resource in resources))
            await self._around.readers.keep(())

    async def round(self) -> None:
        """Begin a round of each resource that is due and has none. Waits for none of them."""
        self.ticked_at = self._around.monotonic()
        bodies = [body for body in self._around.watched.autoscalers() if not deleted(body)]
        present = {body["metadata"]["uid"]: body for body in bodies}
        await self._end(self._resources.keys() - present)
        parsed = {uid: _parsed(body) for uid, body in present.items()}
        fleet = [autoscaler for autoscaler in parsed.values() if isinstance(autoscaler, Autoscaler)]
        await self._around.readers.keep(fleet)
        due_after = ROUND_SECONDS - SHORTEST_ROUND_SECONDS
        for uid, body in present.items():
            if not self._around.watched.reliable(body["metadata"]["namespace"]):
                continue
            if uid not in self._resources:
                self._resources[uid] = Resource(self._around, body)
            resource, last = self._resources[uid], self._rounds.get(uid)
            if (last is None or last.done()) and resource.is_due(parsed[uid], due_after):
                tick = resource.tick(body, parsed[uid], fleet)
                self._rounds[uid] = asyncio.create_task(tick)

    async def _verify(self) -> None:
        again = VERIFY_AGAIN_SECONDS
        while True:
            await self._around.watched.verify(self._around.kube)
            synced = self._around.watched.synced
            await asyncio.sleep(VERIFY_SECONDS if synced else again)
            # A namespace that cannot be listed at all must not have the others listed all the time.
            again = VERIFY_AGAIN_SECONDS if synced else min(again * 2, VERIFY_SECONDS)

    async def _end(self, uids: Iterable[str]) -> None:
        """Stop the rounds of resources that are gone: marks lapse, and the Deployment stays."""
        for uid in list(uids):
            round_ = self._rounds.pop(uid, None)
            if round_ is not None:
                round_.cancel()
                await asyncio.wait([round_])
            resource = self._resources.pop(uid, None)
            if resource is not None:
                self._around.metrics.forget(resource.identity)


def _parsed(body: Body) -> Autoscaler | InvalidSpec:
    try:
        return parse(body)
    except InvalidSpec as error:
        return error

"""A Deployment with its workers, and an operator that looks at it once a second."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import generate_latest

from controller import kube
from controller.kube import Json
from controller.loop import Loop
from controller.metrics import Metrics
from controller.model import Queue, Reading, Worker
from controller.reconcile import Resource
from controller.resource import Autoscaler, parse
from controller.surroundings import Surroundings
from tests.unit.controller.fakes import (
    LEASE,
    NAMESPACE,
    Clock,
    FakeApi,
    FakeKube,
    FakeReader,
    FakeReaders,
    autoscaler,
    deployment,
    pod,
    watching,
)
from tests.unit.controller.scenes import START, worker

SCALE = kube.scale(NAMESPACE, "workers")
STATUS = kube.autoscaler_status(NAMESPACE, "workers")
AT_ONCE = {"stabilizationSeconds": 0, "cooldownSeconds": 0}


class World:
    """All there is. A test moves it on second by second."""

    def __init__(self, replicas: int, spec: dict[str, Any] | None = None, busy: int = 0) -> None:
        self.clock = Clock(START)
        self.body = autoscaler(spec={**AT_ONCE, **(spec or {})})
        self.autoscalers = [self.body]
        self.deployments = [deployment(replicas)]
        self.pods = [pod(f"p{number}") for number in range(replicas)]
        self.hpas: list[Json] = []
        self.busy = dict.fromkeys(range(replicas), busy)
        self.marked: set[int] = set()
        self.queue = Queue()
        self.kube = FakeKube(self.deployments[0], self.pods)
        self.api = FakeApi()
        self.reader = FakeReader(self.api)
        self.leads = True
        self.start()

    def start(self) -> None:
        """Start the operator, again if need be."""
        self.metrics = Metrics(self.clock)
        self.watched = watching(self.autoscalers, self.deployments, self.pods, self.hpas)
        self.around = Surroundings(
            kube=self.kube,
            watched=self.watched,
            readers=FakeReaders(self.reader),
            metrics=self.metrics,
            may_write=lambda: self.leads,
            instance="operator-1",
            lease=LEASE,
            clock=self.clock,
            monotonic=self.clock,
        )
        self.resource = Resource(self.around, self.body)

    @property
    def fleet(self) -> list[Autoscaler]:
        return [parse(body) for body in self.autoscalers]

    def workers(self) -> tuple[Worker, ...]:
        return tuple(
            worker(
                number,
                busy,
                draining=number in self.marked,
                drained=number in self.marked and not busy,
            )
            for number, busy in self.busy.items()
        )

    def read(self) -> None:
        """A poll ends, that began at this moment."""
        for move, worker_id in self.api.taken():
            (self.marked.add if move == "drain" else self.marked.discard)(int(worker_id[1:]))
        self.reader.latest = Reading(
            at=self.clock.now, epoch="e1", queues={"tasks": self.queue}, workers=self.workers()
        )
        self.reader.asked_at = self.clock.now

    def watch(self) -> None:
        """The watches show what is there."""
        for name in self.kube.shrink():
            number = int(name[1:])
            assert self.busy.pop(number) == 0, "a busy worker was taken away"
            self.marked.discard(number)
        if self.deployments:
            self.deployments[0] = self.kube.deployment
        self.kube.deployment["status"] |= {
            "replicas": self.size,
            "updatedReplicas": self.size,
        }
        self.pods[:] = self.kube.pods.values()
        self.watched.attach(
            watching(self.autoscalers, self.deployments, self.pods, self.hpas)._indices
        )

    async def look(self) -> None:
        """The operator looks."""
        await self.resource.tick(self.body, parse(self.body), self.fleet)

    async def tick(self) -> None:
        """A second passes; the operator looks."""
        self.clock.now += 1
        await self.look()

    async def second(self, times: int = 1) -> None:
        """As `tick`, with a poll just before and watches that keep up."""
        for _ in range(times):
            self.clock.now += 1
            self.read()
            self.watch()
            await self.look()

    @property
    def size(self) -> int:
        size: int = self.kube.deployment["spec"]["replicas"]
        return size

    def metric(self, name: str) -> list[str]:
        """A family's series, as Prometheus reads them."""
        text = generate_latest(self.metrics.registry).decode()
        begins = f"headrace_operator_{name}"
        return [line.removeprefix(begins) for line in text.split("\n") if line.startswith(begins)]


async def rounds(loop: Loop) -> None:
    """One round, and what it began."""
    await loop.round()
    await asyncio.gather(*loop._rounds.values())

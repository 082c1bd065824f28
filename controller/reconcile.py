"""One round of one resource: look, decide, drain, scale, report.

What fails in a round is told, and retried in the next one, a second later, from what is seen
then: nothing is queued up. What is remembered between rounds is a resource's history, its marks,
and what was written last.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

import structlog

from controller import kube
from controller.api import Api, ApiError
from controller.claims import OPERATOR, STANDBY, Claim
from controller.decide import History, decide
from controller.events import Lately, events
from controller.events import body as event_body
from controller.kube import Json, KubeError
from controller.marks import Marks
from controller.model import Decision, Observation, Reading
from controller.observe import counted, observe
from controller.resource import (
    Autoscaler,
    Body,
    Identity,
    InvalidSpec,
    age,
    conflict,
    deleted,
    paused,
)
from controller.scale import NotLeading, Scaled, Scaler, Waits
from controller.status import (
    DRAINING_FAILED,
    INVALID_SPEC,
    SCALING_DELAYED,
    SCALING_FAILED,
    TARGET_NOT_FOUND,
    Fault,
    Status,
    decided,
    due,
    timestamp,
    undecided,
)
from controller.surroundings import Surroundings

LONGEST_ROUND_SECONDS = 10.0
GAP_SECONDS = 15.0
"""After so long without a decision, longer than a round may take, nothing is known of what was
wanted meanwhile: the size that is found counts as wanted, and the window begins again."""
API_STARTS_SECONDS, TARGET_COMES_SECONDS = 60.0, 5.0
"""So long a new resource's API, and its Deployment, may be missing before that is a failure."""
DELAYED_ROUNDS = 10
"""A size that is not written for so long, though nothing fails, is told."""

log = structlog.get_logger("controller.reconcile")


class Resource:
    """One WorkerAutoscaler, as long as it is there; re-created, it is another one."""

    def __init__(self, surroundings: Surroundings, body: Body) -> None:
        self.identity = Identity.of(body)
        self._around = surroundings
        self._status: Status = dict(body.get("status") or {})
        """As written last."""
        self._told_at = -math.inf
        self._lately = Lately()
        self._scaled_at: float | None = None
        self._decided_at = -math.inf
        self._looked_at = -math.inf
        self._asked_at: float | None = None
        """When the reading was asked for that was looked at last."""
        self._claim = Claim(surroundings.lease, surroundings.monotonic)
        self._failures: dict[str, str] = {}
        """What fails now, by kind: logged once."""
        self._begin_anew(None)

    def _begin_anew(self, target: str | None) -> None:
        """Forget all that is known of a Deployment, for another one (its uid)."""
        self._target = target
        self._history = History()
        self._marks = Marks(self._around.monotonic)
        self._scaler = Scaler(self._around.kube, self._around.may_write)
        self._rounds_waited = 0

    def is_due(self, parsed: Autoscaler | InvalidSpec, seconds: float) -> bool:
        """Whether there is a reading that was not looked at, or so long nothing was looked at."""
        late = self._around.monotonic() - self._looked_at >= seconds
        return late or self._around.readers.asked_at(parsed) != self._asked_at

    async def tick(
        self, body: Body, parsed: Autoscaler | InvalidSpec, fleet: Sequence[Autoscaler]
    ) -> None:
        """One round, within `LONGEST_ROUND_SECONDS`. Raises nothing.

        Args:
            body: the resource, as the watch shows it.
            parsed: what it asks for, or what is wrong with it.
            fleet: all resources that can be acted for.
        """
        begun = self._looked_at = self._around.monotonic()
        self._asked_at = self._around.readers.asked_at(parsed)
        try:
            async with asyncio.timeout(LONGEST_ROUND_SECONDS):
                if not await self._acts(body):
                    return
                if isinstance(parsed, InvalidSpec):
                    await self._cannot_act(body, Fault(INVALID_SPEC, str(parsed)))
                else:
                    await self._tick(body, parsed, fleet)
            self._succeeded("round")
        except NotLeading:
            return
        except Exception as error:
            # One resource's trouble is not the others'.
            if isinstance(error, TimeoutError):
                error = TimeoutError(f"it took longer than {LONGEST_ROUND_SECONDS:g} s")
            self._failed("round", error, traceback=not isinstance(error, TimeoutError))
        finally:
            self._around.metrics.loop_seconds.observe(self._around.monotonic() - begun)

    async def _acts(self, body: Body) -> bool:
        """Whether this operator acts for the resource, and no other does: by the marks on it."""
        claim, uid = self._claim, {"uid": self.identity.uid}
        mark = claim.mark(timestamp(self._around.clock()))
        rival = claim.other(body, OPERATOR)
        if rival is not None:
            claim.held = False
            self._forget()
            self._failed("claim", f"the operator of {rival} acts for it, that of {claim.lease} not")
            if claim.standby_due(body):
                await self._patch(uid, {STANDBY: mark})
        elif not claim.held:
            self._status = dict(body.get("status") or {})
            # For this version alone: of two operators that take it at once the first has it.
            version = uid | {"resourceVersion": body["metadata"]["resourceVersion"]}
            taken = {OPERATOR: mark, STANDBY: None}
            claim.held = claim.stands(body) or await self._patch(version, taken)
        if claim.held:
            self._succeeded("claim")
        return claim.held

    async def give_up(self) -> None:
        """Take this operator's mark away, so that nobody need wait until it is old."""
        kind = self._claim.left
        if kind is not None and self._around.may_write():
            await self._patch({"uid": self.identity.uid}, {kind: None})

    async def _tick(self, body: Body, autoscaler: Autoscaler, fleet: Sequence[Autoscaler]) -> None:
        watched, namespace = self._around.watched, self.identity.namespace
        deployment = watched.deployment(namespace, autoscaler.target)
        if deployment is None or deleted(deployment):
            message = f"there is no Deployment {autoscaler.target} in the namespace {namespace}"
            await self._cannot_act(body, Fault(TARGET_NOT_FOUND, message))
            return
        if deployment["metadata"]["uid"] != self._target:
            self._begin_anew(deployment["metadata"]["uid"])
        reader = self._around.readers.of(autoscaler)
        if reader.latest is None:
            return
        reading = reader.latest
        if isinstance(reading, Reading):
            self._around.metrics.of(self.identity).reading_at = reading.at
            reading = self._marks.acknowledged(reading, reader.asked_at)
        pods = watched.pods(namespace)
        observation = observe(
            deployment,
            counted(deployment, pods),
            reading,
            at=self._around.clock(),
            last_size=self._scaler.size,
            paused=paused(body),
            conflict=conflict(autoscaler, fleet, watched.hpas(namespace)),
        )
        decision = self._decide(observation, autoscaler)
        scaled, fault = None, None
        if decision.act:
            scaled, fault = await self._act(reader.api, deployment, pods, observation, decision)
        now = self._around.clock()
        status = decided(
            self._status,
            observation,
            decision,
            autoscaler.spec,
            now=now,
            generation=body["metadata"]["generation"],
            replicas=scaled.after if scaled else observation.replicas,
            scaled_at=self._scaled_at,
            fault=fault,
            starting=self._newer(body, API_STARTS_SECONDS),
            standby=self._claim.other(body, STANDBY),
        )
        self._measure(decision, status)
        await self._tell(body, status, now)

    def _newer(self, body: Body, seconds: float) -> bool:
        """Whether the resource is younger, and its queue was never read."""
        return age(body, self._around.clock()) < seconds and "lastReading" not in self._status

    def _decide(self, observation: Observation, autoscaler: Autoscaler) -> Decision:
        if self._around.monotonic() - self._decided_at > GAP_SECONDS:
            self._history = replace(self._history, replicas=None, written=None)
        decision, self._history = decide(
            observation, self._history, autoscaler.spec, self._around.monotonic()
        )
        self._decided_at = self._around.monotonic()
        return decision

    async def _act(
        self,
        api: Api,
        deployment: Body,
        pods: Sequence[Body],
        observation: Observation,
        decision: Decision,
    ) -> tuple[Scaled | None, Fault | None]:
        """Carry out a decision. Returns which size was written, and what failed."""
        fault = None
        for call, workers in (
            (self._marks.lift, decision.undrain),
            (self._marks.keep, decision.drain),
        ):
            if workers and not self._around.may_write():
                raise NotLeading
            try:
                await call(api, workers)
            except ApiError as error:
                fault = Fault(DRAINING_FAILED, str(error))
        if fault is None:
            self._succeeded("drain")
        else:
            self._failed("drain", fault.message)
            if decision.written < observation.replicas:
                return None, fault
        try:
            result = await self._scaler.resize(deployment, pods, observation.replicas, decision)
        except KubeError as error:
            self._failed("scale", error)
            return None, Fault(SCALING_FAILED, str(error))
        if isinstance(result, Waits):
            fault = fault or self._delayed(decision, result)
        else:
            self._rounds_waited = 0
            self._succeeded("scale")
        if isinstance(result, Scaled):
            self._scaled_at = self._around.clock()
            log.info(
                "scaled",
                **self._names,
                before=result.before,
                after=result.after,
                reason=str(decision.reason),
                message=decision.message,
            )
        await self._restore_costs(pods, observation, decision)
        return (result if isinstance(result, Scaled) else None), fault

    def _delayed(self, decision: Decision, waits: Waits) -> Fault | None:
        """A fault if a size has waited for long to be written."""
        self._rounds_waited += 1
        if self._rounds_waited < DELAYED_ROUNDS:
            self._succeeded("scale")
            return None
        message = (
            f"a size of {decision.written} was decided on, but it cannot be written: {waits.why}"
        )
        self._failed("scale", message)
        return Fault(SCALING_DELAYED, message)

    async def _restore_costs(
        self, pods: Sequence[Body], observation: Observation, decision: Decision
    ) -> None:
        """Let no pod that works stand out as the first to go."""
        if decision.unread or not isinstance(observation.reading, Reading):
            return
        own = {pod.name for pod in observation.pods}
        workers = observation.reading.workers
        working = {
            worker.pod
            for worker in workers
            if worker.pod in own and worker.id not in decision.drain
        }
        try:
            await self._scaler.restore(self.identity.namespace, pods, working)
            self._succeeded("cost")
        except KubeError as error:
            self._failed("cost", error)

    async def _cannot_act(self, body: Body, fault: Fault) -> None:
        """Tell that nothing can be decided; afterwards everything is looked at again."""
        self._forget()
        now = self._around.clock()
        status = undecided(
            self._status,
            fault,
            now=now,
            generation=body["metadata"]["generation"],
            paused=paused(body),
            starting=fault.reason == TARGET_NOT_FOUND and self._newer(body, TARGET_COMES_SECONDS),
        )
        await self._tell(body, status, now)

    def _forget(self) -> None:
        self._begin_anew(None)
        figures = self._around.metrics.of(self.identity)
        figures.decision = figures.replicas = figures.draining = figures.reading_at = None

    async def _tell(self, body: Body, status: Status, now: float) -> None:
        """Write the status if it is worth it, and the events that the change is worth."""
        monotonic = self._around.monotonic()
        if not due(self._status, status, monotonic - self._told_at):
            return
        status = self._claim.renewed(status, body, timestamp(now))
        # By its uid: a resource of the same name made since is not told this.
        if not await self._patch({"uid": self.identity.uid}, status):
            return
        before, self._status, self._told_at = self._status, status, monotonic
        for event in self._lately.worth_telling(events(before, status), monotonic):
            written = event_body(event, self.identity, instance=self._around.instance, now=now)
            try:
                await self._around.kube.create(kube.events(self.identity.namespace), written)
                self._succeeded("event")
            except KubeError as error:
                self._failed("event", error)

    async def _patch(self, metadata: Json, status: Status) -> bool:
        """Change the status. Returns whether it was written."""
        if not self._around.may_write():
            raise NotLeading
        path = kube.autoscaler_status(self.identity.namespace, self.identity.name)
        try:
            await self._around.kube.merge(path, {"metadata": metadata, "status": status})
        except KubeError as error:
            if error.status not in (404, 409):
                self._failed("status", error)
            return False
        self._succeeded("status")
        return True

    def _measure(self, decision: Decision, status: Status) -> None:
        figures = self._around.metrics.of(self.identity)
        figures.decision = decision
        figures.decisions[str(decision.reason)] += 1
        figures.replicas = status["replicas"]
        figures.draining = status.get("drainingReplicas")

    @property
    def _names(self) -> dict[str, str]:
        return {"namespace": self.identity.namespace, "name": self.identity.name}

    def _failed(self, kind: str, error: object, *, traceback: bool = False) -> None:
        """Count a failure, and log it unless it is the same as the last time."""
        self._around.metrics.of(self.identity).errors[kind] += 1
        if self._failures.get(kind) != str(error):
            log.warning(f"{kind}.failed", **self._names, error=str(error), exc_info=traceback)
        self._failures[kind] = str(error)

    def _succeeded(self, kind: str) -> None:
        if self._failures.pop(kind, None) is not None:
            log.info(f"{kind}.works_again", **self._names)

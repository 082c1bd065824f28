"""The worker's loop: claims tasks into free slots, runs them, reports how they ended.

One call to the queue is in flight: it reports what has ended, and claims as many tasks as slots are
free, of quick types a few times as many (ahead.py). What ends meanwhile joins the next call. So its
batches grow with the load. When a claim brings less than was asked for, a second connection
waits for work (`_wait_for_work`); until that ends, the loop only reports. There is never more than
one claim under way.

Nothing is claimed while a renewal of the leases or a report fails. Each has a connection of its
own, and Redis may refuse some of them only (it is at its `maxclients`, a password was changed): a
worker that could claim but not renew would take its own tasks for lost, and run them again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headrace.client.opening import type_info
from headrace.handlers import Resources, Stopped, StopReason, TaskType, own_task
from headrace.logs import get_logger
from headrace.taskqueue import (
    Claim,
    LayoutTooNew,
    QueueError,
    TaskQueue,
    WorkerInfo,
)
from headrace_worker import journal
from headrace_worker.ahead import Pace
from headrace_worker.background import Background
from headrace_worker.contact import Contact
from headrace_worker.draining import DrainMark
from headrace_worker.host import WorkerHost
from headrace_worker.leases import Leases
from headrace_worker.probes import Signs
from headrace_worker.running import Hand, Running
from headrace_worker.session import BACKOFF, Session
from headrace_worker.settling import call_of

MAX_WAIT_SECONDS = 1.0
"""The longest wait for a wake-up, so that a lost one costs no more."""
MIN_WAIT_SECONDS = 0.01
TIDY_SECONDS = 2.0
"""How long handlers may tidy up before their tasks are handed back, at the end of the grace."""
GIVE_UP_SECONDS = 30.0
"""How long an ending worker with nothing left to run tries to reach Redis."""

EXIT_DONE = 0
EXIT_UNREPORTED = 1
EXIT_LAYOUT_TOO_NEW = 3

log = get_logger("headrace_worker")


def handler_threads(concurrency: int) -> ThreadPoolExecutor:
    """A thread for each slot of a worker."""
    return ThreadPoolExecutor(concurrency, thread_name_prefix="handler")


class Worker:
    """Runs tasks until it is told to stop. Make it in the event loop.

    Args:
        queue: where tasks come from.
        types: the task types to run.
        info: how the worker registers itself.
        resources: what attempts share; its lifespans are entered before the worker registers, and
            left after its last attempt.
        grace_seconds: how long running tasks may go on after `stop`.
        log_payloads: whether payloads and results are logged.
    """

    def __init__(
        self,
        queue: TaskQueue,
        types: Sequence[TaskType[Any, Any]],
        info: WorkerInfo,
        *,
        resources: Resources | None = None,
        grace_seconds: float = 3600.0,
        log_payloads: bool = False,
    ) -> None:
        self.info = info
        self._grace_seconds = grace_seconds
        self._loop = asyncio.get_running_loop()
        self._consumer = queue.consumer(info, [type_info(task_type) for task_type in types])
        self._contact = Contact()
        self._resources = resources or Resources(threads=handler_threads(info.concurrency))
        self._pace = Pace()
        self._hand = Hand(
            {task_type.name: task_type for task_type in types},
            self._resources,
            log_payloads=log_payloads,
            pace=self._pace,
            ended=self._on_end,
            changed=self._on_change,
        )
        self._session = Session(self._consumer, self._contact, self._hand)
        self._host = WorkerHost(
            self._session, self._hand, queue, types, self._resources.lifespans.values
        )
        self._finished: list[Running] = []
        """Ended, not reported yet."""
        self._news = asyncio.Event()
        """Something has changed that the loop acts on."""
        self._waiter: asyncio.Task[None] | None = None
        """Asks for tasks while the loop does not."""
        self._failed_waits = 0
        self._ran_ahead = False
        """The last claim brought more than there were slots."""
        self._next_in: float | None = None
        self._mark = DrainMark(info.id)
        self._full = False
        self._free_since = time.monotonic()
        self._stopping = False
        self._failures = 0
        self._stuck_since: float | None = None
        self._given_up = False
        self._exit_code = EXIT_DONE
        self._background = Background(self._news.set)
        self.leases = Leases(
            self._consumer,
            self._session,
            self._hand,
            self._mark,
            self._contact,
            self._background,
            self,
            queue.installation.lease_ms / 1000,
        )

    # For main and the probes

    async def run(self) -> int:
        """Register, work until told to stop, say goodbye. Returns the process's exit status."""
        try:
            await self._open()
            if await self._register():
                await self._serve()
        finally:
            await self._consumer.close()
            await self._resources.close()
        log.info("worker.stopped", worker=self.info.id, exit_status=self._exit_code)
        return self._exit_code

    async def _open(self) -> None:
        """Enter the lifespans. A stop does not wait until they are entered."""
        opening = own_task(self._loop, self._resources.open())
        opening.add_done_callback(lambda _: self._news.set())
        while not (opening.done() or self._stopping):
            self._news.clear()
            await self._news.wait()
        if opening.done():
            opening.result()
        else:
            opening.cancel()

    async def _serve(self) -> None:
        self.leases.start()
        try:
            await self._work()
        finally:
            # Not by `to_thread`: handlers may keep all of its threads busy for ever.
            with ThreadPoolExecutor(1) as thread:
                await self._loop.run_in_executor(thread, self.leases.end)
        await self._say_goodbye()

    def stop(self) -> None:
        """Claim nothing more, end when the running tasks do. A second time: hand them back now."""
        if self._stopping:
            self._hand_back(0.0)
            return
        self._stopping = True
        log.info(
            "worker.stopping",
            worker=self.info.id,
            running=len(self._hand.held),
            grace_seconds=self._grace_seconds,
        )
        self._mark.interrupt()
        self._hand.release_waiting()
        self._news.set()
        self._loop.call_later(self._grace_seconds, self._hand_back, TIDY_SECONDS)
        self.cut_wait_short()

    @property
    def ready(self) -> bool:
        """Whether it has ever registered."""
        return self._session.registered

    def signs(self) -> Signs:
        """What liveness is judged by. From any thread."""
        call, seconds = self._contact.longest() or (None, 0.0)
        should_ask = self.ready and not self._mark.holds and self._free() > 0
        asked = max(self._contact.asked_at, self._free_since, self._mark.ended_at)
        return Signs(call, seconds, should_ask, time.monotonic() - asked)

    @property
    def leftovers(self) -> list[Running]:
        """Code that runs on although its attempt has ended: it may keep the process alive."""
        return list(self._hand.slots)

    # The loop

    async def _register(self) -> bool:
        """Try until it works. False: stopped before that, or Redis's data is too new."""
        while not self._stopping:
            try:
                await self._session.register()
            except LayoutTooNew as error:
                self.refuse(error)
            except QueueError:
                await self._back_off()
            else:
                self._failures = 0
                self._free_since = time.monotonic()
                log.info(
                    "worker.started",
                    worker=self.info.id,
                    queues=self.info.queues,
                    concurrency=self.info.concurrency,
                )
                return True
        return False

    async def _work(self) -> None:
        while not self._given_up:
            self._background.raise_fault()
            if self._ran_ahead:
                await self._run_on()
            limit = 0 if self._waiter is not None else self._free()
            if self._finished or limit:
                await self._exchange(limit)
            elif self._stopping and self._waiter is None and not self._hand.held:
                return
            else:
                self._news.clear()
                await self._news.wait()

    async def _run_on(self) -> None:
        """Let what was claimed ahead end first, so that one call reports it.

        A turn of the event loop in which nothing ends is the last: no report waits for a slow task.
        """
        ended = 0
        while self._hand.slots and len(self._finished) > ended:
            ended = len(self._finished)
            await asyncio.sleep(0)

    async def _exchange(self, limit: int) -> None:
        """Report what has ended and claim up to `limit` tasks, in one call."""
        settlements = call_of(
            [ended.settlement for ended in self._finished if ended.settlement is not None]
        )
        if settlements and self._failures:
            limit = 0
        batch = self._finished[: len(settlements)]
        self._finished = self._finished[len(settlements) :]
        try:
            began = self._loop.time()
            ahead = self._pace.ahead(limit) if settlements and limit else None
            statuses, claim = await self._session.settle(settlements, limit, ahead)
            self._pace.answered(self._loop.time() - began)
        except LayoutTooNew as error:
            self._finished[:0] = batch
            self.refuse(error)
            if limit == 0:  # not what was to be claimed is too new, but all that lies in Redis
                self._give_up(str(error))
            return
        except QueueError:
            self._finished[:0] = batch
            self.stop_waiting()
            await self._back_off()
            return
        self._failures, self._stuck_since = 0, None
        for attempt, status in zip(batch, statuses, strict=True):
            self._hand.settled(attempt, status)
        if claim is not None and not self._adopt(claim, limit):
            self._start_waiting()

    def _start_waiting(self) -> None:
        self._waiter = self._background.start(self._wait_for_work())
        self._waiter.add_done_callback(self._on_waited)  # it may be cancelled before it begins

    def _on_waited(self, _: object) -> None:
        self._waiter = None
        self._news.set()

    async def _wait_for_work(self) -> None:
        """Ask for tasks, each time as soon as there may be some, until there are enough.

        An error ends it too, after a pause: the loop then asks on its own connection.
        """
        while (limit := self._free()) > 0:
            try:
                if self._mark.holds:
                    await self._mark.wait()
                    claim = await self._session.claim(limit)
                else:
                    claim = await self._session.wait_and_claim(limit, self._patience())
            except LayoutTooNew as error:
                self.refuse(error)
                return
            except QueueError:
                self._failed_waits += 1
                await asyncio.sleep(BACKOFF.delay(self._failed_waits - 1, random.random))
                return
            self._failed_waits = 0
            if self._adopt(claim, limit):
                return

    def _patience(self) -> float:
        next_in = MAX_WAIT_SECONDS if self._next_in is None else self._next_in
        return min(MAX_WAIT_SECONDS, max(MIN_WAIT_SECONDS, next_in))

    def _free(self) -> int:
        """How many tasks may be claimed."""
        if self._stopping or not self.leases.renewed_last:
            return 0
        return self.info.concurrency - len(self._hand.slots)

    def _adopt(self, claim: Claim, asked: int) -> bool:
        """Begin what was claimed. Whether to ask again at once: there may be more."""
        self._next_in = claim.next_in_seconds
        self._mark.set(claim.draining)
        for claimed in claim.tasks:
            running = self._hand.begin(claimed, self._host)
            if self._stopping:  # it was claimed before the signal, and we hear of it after it
                self._hand.release(running)
            elif len(self._hand.slots) < self.info.concurrency:
                self._hand.run(running, self._loop)
            else:
                self._hand.keep(running, self._loop)
        self._ran_ahead = bool(self._hand.waiting)
        self._full = self._free() == 0
        return not claim.draining and (claim.more or len(claim.tasks) >= asked)

    # What attempts bring

    def _on_end(self, running: Running) -> None:
        if self._host.has_report(running):
            self._background.start(self._report_after_progress(running))
        else:
            self._finished.append(running)
            self._news.set()

    async def _report_after_progress(self, running: Running) -> None:
        """The last progress is sent before the end: after it, it would be refused."""
        await self._host.send_report(running)
        self._finished.append(running)
        self._news.set()

    def _on_change(self) -> None:
        if self._full:
            self._full = False
            self._free_since = time.monotonic()
        self._news.set()

    # What the leases tell

    def may_claim(self) -> None:
        """Hear that leases are renewed again."""
        self._free_since = time.monotonic()
        self._news.set()

    def stop_waiting(self) -> None:
        """Ask for nothing, and give that connection up: another one may need its place."""
        if self._waiter is not None:
            self._waiter.cancel()

    def cut_wait_short(self) -> None:
        """End a wait for tasks, if one is under way."""
        if self._waiter is not None:
            self._background.start(self._unblock())

    def refuse(self, error: LayoutTooNew) -> None:
        """Redis holds data of a newer version: hand everything back and end."""
        if self._exit_code == EXIT_DONE:
            self._exit_code = EXIT_LAYOUT_TOO_NEW
            log.error("worker.layout_too_new", worker=self.info.id, error=str(error))
        if not self._stopping:
            self.stop()
        self._hand_back(0.0, StopReason.UNFIT)

    async def _unblock(self) -> None:
        try:
            await self._session.unblock()
        except QueueError:
            return  # the wait ends by itself, within a second

    # Ending

    def _hand_back(self, tidy_seconds: float, reason: StopReason = StopReason.HANDED_BACK) -> None:
        """Stop what runs, so that it runs elsewhere."""
        undecided = self._hand.undecided()
        if undecided:
            ids = [attempt.claimed.id for attempt in undecided]
            log.warning("worker.handing_back", worker=self.info.id, tasks=ids)
        for attempt in undecided:
            attempt.stop(Stopped(reason), tidy_seconds)

    async def _back_off(self) -> None:
        """Redis is away: wait a little; or, with nothing left to run, give up after a while."""
        if self._stopping and not self._hand.undecided():
            now = time.monotonic()
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since >= GIVE_UP_SECONDS:
                self._give_up(f"no answer from Redis in {GIVE_UP_SECONDS:g} s")
                return
        await asyncio.sleep(BACKOFF.delay(self._failures, random.random))
        self._failures += 1

    def _give_up(self, why: str) -> None:
        self._given_up = True
        self._exit_code = self._exit_code or EXIT_UNREPORTED
        ended = [
            (attempt.claimed, type(attempt.settlement).__name__.lower())
            for attempt in self._hand.held
        ]
        journal.unreported(self.info.id, ended, why)

    async def _say_goodbye(self) -> None:
        while not self._given_up:
            try:
                await self._session.deregister()
            except LayoutTooNew as error:
                self.refuse(error)
                return
            except QueueError:
                await self._back_off()
            else:
                return

"""The thread that renews leases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace import taskqueue as tq
from headrace.handlers import Resources
from headrace_worker.ahead import Pace
from headrace_worker.contact import Contact
from headrace_worker.renewal import RenewalThread
from headrace_worker.running import Hand, Running


class Renewer:
    """Does what a script of callables says, then renews in peace."""

    def __init__(self) -> None:
        self.script: list[Callable[[], tq.Renewal]] = []
        self.renewals: list[float] = []
        self.signal = threading.Event()
        self.patience: list[float] = []
        self.settled: list[int] = []
        self.stalls: list[str] = []
        self.closed = False

    def wait_for_signal(self, timeout_seconds: float) -> bool:
        self.patience.append(timeout_seconds)
        signalled = self.signal.wait(min(timeout_seconds, 0.02))
        self.signal.clear()
        return signalled

    def renew(
        self,
        held: Sequence[tq.ClaimedTask],
        running: Sequence[tq.RunningTask],
        settled_request: int,
    ) -> tq.Renewal:
        self.renewals.append(time.monotonic())
        self.settled.append(settled_request)
        if self.script:
            return self.script.pop(0)()
        return tq.Renewal([], [], False, False)

    def stalled(self, tasks: Sequence[tq.RunningTask], why: str) -> None:
        self.stalls.append(why)

    def close(self) -> None:
        self.closed = True


class Listener:
    """Keeps what it is told."""

    settled_request = 7
    epoch = "old"
    restorations = 2

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.failures = 0

    def renewed(self, held: list[Running], renewal: tq.Renewal, restorations: int) -> None:
        self.heard.append((renewal, restorations))

    def not_renewed(self) -> None:
        self.failures += 1

    def forgotten(self, epoch: str) -> None:
        self.heard.append(epoch)


class Set:
    """A thread with all that it needs."""

    def __init__(self, lease_seconds: float = 30.0) -> None:
        self.renewer, self.listener = Renewer(), Listener()
        self.pool = ThreadPoolExecutor(1)
        hand = Hand(
            {},
            Resources(threads=self.pool),
            log_payloads=False,
            pace=Pace(),
            ended=lambda _: None,
            changed=lambda: None,
        )
        self.thread = RenewalThread(self.renewer, hand, self.listener, Contact(), lease_seconds)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture
def kit() -> Iterator[Set]:
    kit = Set()
    yield kit
    kit.thread.end()
    kit.thread.join(5)
    kit.pool.shutdown()
    assert not kit.thread.is_alive()
    assert kit.renewer.closed


def raising(error: Exception) -> Callable[[], tq.Renewal]:
    def do() -> tq.Renewal:
        raise error

    return do


def test_it_renews_at_once_and_then_three_times_a_lease(kit: Set) -> None:
    kit.thread.start()
    kit.until(lambda: kit.renewer.patience)
    assert len(kit.renewer.renewals) == 1
    assert kit.renewer.settled == [7]
    assert 8.9 < kit.renewer.patience[0] <= 10
    assert kit.listener.heard == [(tq.Renewal([], [], False, False), 2)]


def test_a_signal_makes_it_renew_at_once(kit: Set) -> None:
    kit.thread.start()
    kit.until(lambda: len(kit.renewer.patience) > 1)
    kit.renewer.signal.set()
    kit.until(lambda: len(kit.renewer.renewals) == 2)


@pytest.mark.parametrize("error", [tq.NoReply("away"), RuntimeError("a fault"), tq.NotSent("away")])
def test_it_goes_on_after_every_error(kit: Set, error: Exception) -> None:
    kit.renewer.script = [raising(error), raising(error)]
    kit.thread.start()
    kit.until(lambda: len(kit.listener.heard) == 1)
    assert len(kit.renewer.renewals) == 3
    assert isinstance(kit.listener.heard[0], tuple)
    assert kit.listener.failures == 2


def test_after_a_fault_between_renewals_it_renews_at_once(kit: Set) -> None:
    waits, faults = kit.renewer.wait_for_signal, [RuntimeError("a fault")]

    def wait_for_signal(timeout_seconds: float) -> bool:
        if faults:
            raise faults.pop()
        return waits(timeout_seconds)

    kit.renewer.wait_for_signal = wait_for_signal  # type: ignore[method-assign]
    kit.thread.start()
    kit.until(lambda: len(kit.listener.heard) == 2)
    first, second = kit.renewer.renewals
    assert second - first < 5
    assert kit.listener.failures == 1


def test_it_tells_of_another_epoch_and_of_a_lost_registration(kit: Set) -> None:
    kit.renewer.script = [raising(tq.EpochChanged("new")), raising(tq.WorkerNotFound("w"))]
    kit.thread.start()
    kit.until(lambda: len(kit.listener.heard) == 3)
    assert kit.listener.heard[:2] == ["old", "old"]


def test_a_draining_worker_with_nothing_left_says_so_until_it_is_heard(kit: Set) -> None:
    marked, drained = tq.Renewal([], [], True, False), tq.Renewal([], [], True, True)
    kit.renewer.script = [lambda: marked, lambda: marked, lambda: drained]
    kit.thread.start()
    kit.until(lambda: len(kit.listener.heard) == 3)
    kit.until(lambda: len(kit.renewer.patience) > 4)
    assert len(kit.renewer.renewals) == 3
    assert kit.renewer.patience[0] <= 0.2 < kit.renewer.patience[-1]


def test_once_ended_it_never_renews_again(kit: Set) -> None:
    kit.thread.end()
    kit.thread.start()
    kit.thread.join(5)
    assert kit.renewer.renewals == []


def test_while_redis_is_away_it_tries_many_times_a_lease() -> None:
    kit = Set(lease_seconds=1.5)
    pauses = [kit.thread.backoff.delay(failures, lambda: 1.0) for failures in range(20)]
    kit.pool.shutdown()
    assert max(pauses) <= 1.5 / 15

"""When a worker counts as hung, and what its probes answer."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from headrace_worker.probes import Probes, Signs, fault

IDLE = Signs(call="wake-up", call_seconds=0.5, should_ask=True, silent_seconds=0.5)


def signs(
    call: str | None = None,
    call_seconds: float = 0.0,
    *,
    should_ask: bool = False,
    silent_seconds: float = 0.0,
) -> Signs:
    return Signs(call, call_seconds, should_ask, silent_seconds)


@pytest.mark.parametrize(
    ("given", "redis_answers", "alive"),
    [
        pytest.param(IDLE, True, True, id="idle, waiting for work"),
        pytest.param(signs(silent_seconds=3600), True, True, id="all slots busy, or draining"),
        pytest.param(signs("renew", 29.9), True, True, id="a call that is slow"),
        pytest.param(signs("renew", 30), True, False, id="a call without an answer"),
        pytest.param(signs("finish", 3600), False, True, id="Redis answers nobody"),
        pytest.param(
            signs(should_ask=True, silent_seconds=29.9), True, True, id="asked not long ago"
        ),
        pytest.param(
            signs(should_ask=True, silent_seconds=30), True, False, id="a free slot, none asks"
        ),
        pytest.param(
            signs(should_ask=True, silent_seconds=30), False, False, id="the same without Redis"
        ),
        pytest.param(
            signs("claim", 31, should_ask=True, silent_seconds=1), True, False, id="claim hangs"
        ),
    ],
)
def test_only_a_worker_that_hangs_is_dead(given: Signs, redis_answers: bool, alive: bool) -> None:
    assert (fault(given, lambda: redis_answers) is None) is alive


def test_redis_is_asked_only_when_a_call_is_overdue() -> None:
    def must_not_be_called() -> bool:
        raise AssertionError

    assert fault(IDLE, must_not_be_called) is None


def test_the_fault_is_told_in_a_sentence() -> None:
    said = fault(signs("finish", 42), lambda: True)
    assert said == (
        "the call 'finish' has had no answer for 42 s, although Redis answers a fresh connection"
    )


def get(probes: Probes, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{probes.port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status, reply.read().decode().strip()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode().strip()


def serve(tell: Callable[[], Signs], *, ready: bool = True) -> Probes:
    probes = Probes("127.0.0.1", 0, signs=tell, redis_answers=lambda: True, ready=lambda: ready)
    probes.start()
    return probes


def test_the_probes_are_served() -> None:
    present = [IDLE]
    probes = serve(lambda: present[0])
    try:
        assert get(probes, "/healthz") == (200, "alive")
        assert get(probes, "/readyz") == (200, "ready")
        assert get(probes, "/healthz?verbose")[0] == 200
        assert get(probes, "/other")[0] == 404
        present[0] = signs("claim", 60)
        assert get(probes, "/healthz")[0] == 503
    finally:
        probes.close()


def test_a_worker_that_never_registered_is_alive_and_not_ready() -> None:
    probes = serve(lambda: signs(), ready=False)
    try:
        assert get(probes, "/healthz")[0] == 200
        assert get(probes, "/readyz")[0] == 503
    finally:
        probes.close()


def test_a_taken_port_is_an_error() -> None:
    probes = serve(lambda: IDLE)
    try:
        with pytest.raises(OSError, match="in use"):
            Probes(
                "127.0.0.1",
                probes.port,
                signs=lambda: IDLE,
                redis_answers=lambda: True,
                ready=lambda: True,
            )
    finally:
        probes.close()


def test_the_probes_can_be_served_on_ipv6() -> None:
    try:
        probes = Probes(
            "::1", 0, signs=lambda: IDLE, redis_answers=lambda: True, ready=lambda: True
        )
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    probes.start()
    try:
        with urllib.request.urlopen(f"http://[::1]:{probes.port}/healthz", timeout=5) as reply:
            assert reply.status == 200
    finally:
        probes.close()


def test_the_time_that_task_types_blocked_the_loop_is_a_metric() -> None:
    probes = Probes(
        "127.0.0.1",
        0,
        signs=lambda: IDLE,
        redis_answers=lambda: True,
        ready=lambda: True,
        blocked_seconds=lambda: {"resize.image": 19.25},
    )
    probes.start()
    try:
        status, text = get(probes, "/metrics")
    finally:
        probes.close()
    assert (status, text) == (
        200,
        "# HELP headrace_worker_loop_blocked_seconds_total "
        "How long handlers of a task type blocked the event loop.\n"
        "# TYPE headrace_worker_loop_blocked_seconds_total counter\n"
        'headrace_worker_loop_blocked_seconds_total{type="resize.image"} 19.250',
    )

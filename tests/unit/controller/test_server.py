"""When the operator counts as hung, and what its ports answer."""

from __future__ import annotations

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from controller import server
from controller.server import SILENCE_SECONDS, Unservable, hung

HOST = "127.0.0.1"


@pytest.mark.parametrize(
    ("leading_since", "ticked_at", "now", "alive"),
    [
        pytest.param(None, None, 1e6, True, id="stands by"),
        pytest.param(100.0, None, 100.0 + SILENCE_SECONDS - 0.1, True, id="has just begun"),
        pytest.param(100.0, None, 100.0 + SILENCE_SECONDS, False, id="never begun"),
        pytest.param(100.0, 500.0, 500.0 + SILENCE_SECONDS - 0.1, True, id="not long ago"),
        pytest.param(100.0, 500.0, 500.0 + SILENCE_SECONDS, False, id="stands still"),
    ],
)
def test_only_a_leader_whose_rounds_stand_still_is_hung(
    leading_since: float | None, ticked_at: float | None, now: float, alive: bool
) -> None:
    assert (hung(leading_since, ticked_at, now) is None) is alive


def test_the_problem_is_told_in_a_sentence() -> None:
    assert hung(0.0, 10.0, 52.0) == (
        "this operator leads, and no round over the resources was begun in 42 s"
    )


async def get(port: int, path: str) -> tuple[int, str, str]:
    url = f"http://{HOST}:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, response.headers["Content-Type"], await response.text()


async def test_the_probes_tell_the_problem() -> None:
    problem: str | None = None
    app = server.probes(alive=lambda: None, ready=lambda: problem)
    async with server.serving(app, HOST, 0) as port:
        assert (await get(port, "/healthz"))[::2] == (200, "alive\n")
        assert (await get(port, "/readyz"))[::2] == (200, "ready\n")
        problem = "waiting"
        assert (await get(port, "/readyz"))[::2] == (503, "waiting\n")
        assert (await get(port, "/metrics"))[0] == 404


async def test_the_figures_are_in_prometheus_format() -> None:
    registry = CollectorRegistry()
    Gauge("headrace_operator_leader", "Whether this process leads.", registry=registry).set(1)
    async with server.serving(server.metrics(registry), HOST, 0) as port:
        status, kind, text = await get(port, "/metrics")
        assert (await get(port, "/healthz"))[0] == 404
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert "headrace_operator_leader 1.0" in text


async def test_a_port_that_is_taken_is_told_in_a_sentence() -> None:
    app = server.probes(lambda: None, lambda: None)
    async with server.serving(app, HOST, 0) as port:
        with pytest.raises(Unservable, match=f"port {port} of {HOST} cannot be listened on"):
            async with server.serving(server.metrics(CollectorRegistry()), HOST, port):
                pass

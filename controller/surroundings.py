"""What the round of each resource needs: connections, watches, clocks, its own names."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from controller.kube import Kube
from controller.metrics import Metrics
from controller.polling import Readers
from controller.watched import Watched


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What every resource's round works with."""

    kube: Kube
    watched: Watched
    readers: Readers
    metrics: Metrics
    may_write: Callable[[], bool]
    """Whether this process still leads: asked before each write."""
    instance: str
    """The name by which events say who tells them."""
    lease: str
    """The Lease by which this process leads, as namespace/name."""
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic

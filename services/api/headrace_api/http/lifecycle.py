"""Whether this process serves or stops. Set by the signal handler, read by every request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Lifecycle:
    """One for the process. Plain attributes: a signal handler may set them at any moment."""

    def __init__(self) -> None:
        self.stopping = False
        """Every reply says that its connection ends, and `/readyz` that nothing should come."""
        self.hurried = False
        """Told a second time: nothing is waited for that can be left out."""
        self._on_stop: list[Callable[[], None]] = []

    def stop(self) -> None:
        """Begin to stop; a second call hurries."""
        self.hurried = self.stopping
        self.stopping = True

    def on_stop(self, act: Callable[[], None]) -> None:
        """What the server calls, in its event loop, once it sees that it is to stop."""
        self._on_stop.append(act)

    def stopped(self) -> None:
        """Called by the server: see `on_stop`."""
        for act in self._on_stop:
            act()

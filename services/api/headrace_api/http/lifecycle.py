"""Whether this process serves or stops. Set by the signal handler, read by every request."""

from __future__ import annotations


class Lifecycle:
    """One for the process. Plain attributes: a signal handler may set them at any moment."""

    def __init__(self) -> None:
        self.stopping = False
        """Every reply says that its connection ends, and `/readyz` that nothing should come."""
        self.hurried = False
        """Told a second time: nothing is waited for that can be left out."""

    def stop(self) -> None:
        """Begin to stop; a second call hurries."""
        self.hurried = self.stopping
        self.stopping = True

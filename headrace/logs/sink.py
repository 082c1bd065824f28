"""Where log lines go: gathered in memory, written in few large writes."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque

FLUSH_SECONDS = 0.05
FLUSH_BYTES = 64 * 1024


class BufferedSink:
    """Writes lines to a file descriptor at the latest 50 ms after they came, from any thread.

    A write of its own for each line costs more than all else that logging does. Lines are
    written at once when 64 KiB have gathered, and by `flush`. A reader that does not keep up
    slows the writers down instead of filling the memory.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # append and popleft are atomic, so the writers need no lock.
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._flushing = threading.RLock()
        self._something = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def write(self, line: bytes) -> None:
        """Take a line, with its line feed."""
        first = not self._lines
        self._lines.append(line)
        # Two threads may add at the same time and one length be lost: it only has to be near.
        self._size += len(line)
        if self._size >= FLUSH_BYTES or self._closed:
            self.flush()
        elif first:
            self._wake_thread()

    def flush(self) -> None:
        """Write what has gathered, before returning."""
        with self._flushing:
            self._size = 0
            batch = [self._lines.popleft() for _ in range(len(self._lines))]
            if batch:
                self._write_all(b"".join(batch))

    def close(self) -> None:
        """Flush, and from now on write each line at once: the process ends."""
        self._closed = True
        self._something.set()
        self.flush()

    def start_anew(self) -> None:
        """In a forked child: without the parent's lines, its thread, or a lock that it held.

        Each line is written at once: a child of `multiprocessing` ends without running `atexit`.
        """
        self.__init__(self._fd)  # type: ignore[misc]
        self._closed = True

    def _wake_thread(self) -> None:
        if self._thread is None:
            with self._flushing:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._flush_now_and_then, name="log-flush", daemon=True
                    )
                    self._thread.start()
        self._something.set()

    def _flush_now_and_then(self) -> None:
        while not self._closed:
            self._something.wait()
            time.sleep(FLUSH_SECONDS)
            # Cleared before flushing: a line that comes in between wakes the thread again.
            self._something.clear()
            self.flush()

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # the terminal or pipe is full and not in blocking mode
                select.select([], [self._fd], [])
            except OSError:
                # The reader is gone (closed pipe, full disk). A log that cannot be written is
                # no reason to stop working, and there is nowhere left to say so.
                return

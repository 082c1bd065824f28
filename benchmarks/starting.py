"""How long the command takes: `--help`, `--version`, and `ls` at an API.

python benchmarks/starting.py [--url http://127.0.0.1:8000]   # without a URL: not `ls`
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

ROUNDS = 20


def measure(*arguments: str, **environment: str) -> tuple[float, float]:
    """The median of the wall clock and of the CPU time of a call, in ms."""
    walls, cpus = [], []
    for _ in range(ROUNDS):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "headrace", *arguments],
            check=True,
            capture_output=True,
            env=os.environ | environment,
        )
        walls.append((time.perf_counter() - began) * 1000)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000)
    return statistics.median(walls), statistics.median(cpus)


def main() -> None:
    """Print a line a call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of an API, for `ls`")
    url = parser.parse_args().url
    calls = [("--help",), ("--version",), *([("ls",)] if url else [])]
    for call in calls:
        wall, cpu = measure(*call, **({"HEADRACE_URL": url} if url else {}))
        print(f"headrace {call[0]:10} {wall:6.0f} ms, CPU {cpu:6.0f} ms")


if __name__ == "__main__":
    main()

"""The command line of `benchmarks/queue.py`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.catalog import FIGURES, FLOORS, TARGETS
from benchmarks.figures import figures_table, report, targets_table
from benchmarks.processes import find_redis
from benchmarks.rounds import QUICK, Plan, Run

LIBRARIES = ("fastapi", "hiredis", "msgspec", "pydantic", "redis", "uvicorn", "uvloop")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables, and write the JSON file if one is asked for."""
    options = _parser().parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    if options.seconds is not None:
        plan = dataclasses.replace(plan, slice_seconds=options.seconds)
    if options.rounds is not None:
        plan = dataclasses.replace(plan, rounds=options.rounds)
    try:
        binary = options.redis or find_redis()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    machine = describe_machine(binary)
    with tempfile.TemporaryDirectory(prefix="headrace-benchmark-") as folder:
        run = Run(plan, binary, Path(folder))
        run.measure()
    print("\n".join(f"{name}: {text}" for name, text in machine.items()))
    print(f"\n{figures_table(FIGURES, run.samples, FLOORS)}")
    print(f"\n{targets_table(TARGETS, run.samples)}")
    if options.json:
        content = {
            "machine": machine,
            "plan": dataclasses.asdict(plan),
            **report(FIGURES, TARGETS, run.samples),
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/queue.py",
        description="Measure the queue beside bare floors. Takes about five minutes; leave the "
        "machine alone meanwhile.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--seconds", type=float, metavar="N", help="length of a slice (2)")
    parser.add_argument("--rounds", type=int, metavar="N", help="how many rounds (7)")
    parser.add_argument("--quick", action="store_true", help="half a minute, to see that it works")
    parser.add_argument("--redis", type=Path, metavar="BINARY", help="the server's program")
    return parser


def describe_machine(binary: Path) -> dict[str, str]:
    """What the figures depend on."""
    server = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "server": server.stdout.strip(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

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
from typing import Any, TypeVar

from benchmarks import against
from benchmarks.catalog import FIGURES, FLOORS, TARGETS
from benchmarks.figures import figures_table, report, targets_table
from benchmarks.processes import find_redis
from benchmarks.rounds import QUICK, Plan, Run

P = TypeVar("P", Plan, against.Plan)

LIBRARIES = ("fastapi", "hiredis", "msgspec", "pydantic", "redis", "uvicorn", "uvloop")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables, and write the JSON file if one is asked for."""
    options = _parser().parse_args(arguments)
    try:
        binary = options.redis or find_redis()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    machine = describe_machine(binary)
    with tempfile.TemporaryDirectory(prefix="headrace-benchmark-") as folder:
        if options.against is None:
            tables, content = _measure(options, binary, Path(folder))
        else:
            tables, content = _compare(options, binary, Path(folder))
    machine["load at the end"] = _load()
    print("\n".join(f"{name}: {text}" for name, text in machine.items()))
    for table in tables:
        print(f"\n{table}")
    if options.json:
        content = {"machine": machine, **content}
        options.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return 0


def _measure(
    options: argparse.Namespace, binary: Path, folder: Path
) -> tuple[list[str], dict[str, Any]]:
    """Measure beside the floors: the tables, and what goes into the JSON file."""
    plan = _plan(options, QUICK if options.quick else Plan())
    run = Run(plan, binary, folder)
    run.measure()
    tables = [figures_table(FIGURES, run.samples, FLOORS), targets_table(TARGETS, run.samples)]
    return tables, {"plan": dataclasses.asdict(plan), **report(FIGURES, TARGETS, run.samples)}


def _compare(
    options: argparse.Namespace, binary: Path, folder: Path
) -> tuple[list[str], dict[str, Any]]:
    """Measure beside another checkout: the table, and what goes into the JSON file."""
    plan = _plan(options, against.QUICK if options.quick else against.Plan())
    run = against.Comparison(plan, binary, folder, options.against)
    run.measure()
    table = against.comparison_table(run.samples[against.OLD], run.samples[against.NEW])
    return [table], {"plan": dataclasses.asdict(plan), "samples": run.samples}


def _plan(options: argparse.Namespace, plan: P) -> P:
    if options.seconds is not None:
        plan = dataclasses.replace(plan, slice_seconds=options.seconds)
    if options.rounds is not None:
        plan = dataclasses.replace(plan, rounds=options.rounds)
    return plan


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/queue.py",
        description="Measure the queue beside bare floors. Takes about five minutes; leave the "
        "machine alone meanwhile.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="PATH",
        help="measure this checkout and the one at PATH in turn, and nothing else",
    )
    parser.add_argument("--seconds", type=float, metavar="N", help="length of a slice")
    parser.add_argument("--rounds", type=int, metavar="N", help="how many rounds")
    parser.add_argument("--quick", action="store_true", help="half a minute, to see that it works")
    parser.add_argument("--redis", type=Path, metavar="BINARY", help="the server's program")
    return parser


def describe_machine(binary: Path) -> dict[str, str]:
    """What the figures depend on."""
    server = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "load": _load(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "server": server.stdout.strip(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


def _load() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

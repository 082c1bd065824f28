"""The command line of `benchmarks/autoscaling.py`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.scaling.loads import LOADS, SEEDS
from benchmarks.scaling.picture import picture
from benchmarks.scaling.play import SCALERS, at_load, through_outage
from benchmarks.scaling.report import as_json, outage_table, table, verdicts


def main(arguments: list[str] | None = None) -> int:
    """Play, print the tables, and write the files that are asked for."""
    options = _parser().parse_args(arguments)
    seeds = SEEDS[:1] if options.quick else SEEDS
    results = {}
    for load in LOADS:
        print(f"{load.name} …", file=sys.stderr)
        results[load.name] = {name: at_load(load, name, seeds) for name in SCALERS}
    outages = {name: through_outage(name) for name in SCALERS}
    print(table(results))
    print("\nRedis away for three minutes, then back without its data:\n")
    print(outage_table(outages))
    print()
    print("\n".join(verdicts(results)))
    if options.json:
        content = as_json(results, outages, seeds)
        options.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if options.svg:
        options.svg.write_text(picture(results), "utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/autoscaling.py",
        description="Simulate our autoscaling beside its peers. Takes about two minutes on one"
        " core; the figures depend on nothing but the seeds in benchmarks/scaling/loads.py.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw them to FILE")
    parser.add_argument("--quick", action="store_true", help="one seed instead of three")
    return parser

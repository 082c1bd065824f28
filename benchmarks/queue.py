"""Measures the queue beside bare floors. See docs/benchmarks.md.

python benchmarks/queue.py [--against PATH] [--json FILE] [--seconds N] [--quick] [--redis BINARY]
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on the path, where this file would pass for the standard
    # library's `queue`. The checkout takes its place.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.command import main

    sys.exit(main())

"""Simulates the operator's decision beside its peers. See docs/autoscaling.md.

python benchmarks/autoscaling.py [--json FILE] [--svg FILE] [--quick]
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on the path, where `queue.py` would pass for the standard
    # library's `queue`. The checkout takes its place.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.scaling.command import main

    sys.exit(main())

"""What the Job before an install or upgrade runs: can the definitions be read?"""

# ruff: noqa: INP001 - no package: its text becomes the argument of `python -c`
from __future__ import annotations

import os
import sys
from pathlib import Path

from headrace.workflows import Catalog


def main() -> None:
    """Say which definitions are refused and why, and end with status 1 if any is."""
    errors = Catalog.load(Path(os.environ["WORKFLOWS_DIR"])).errors
    if errors:
        sys.exit("\n".join(["workflows.definitions has mistakes:", *map(str, errors)]))


if __name__ == "__main__":
    main()

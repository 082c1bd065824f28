"""Starts a worker, from the root of the repository: `python run_worker.py`."""

import sys
from pathlib import Path

# In a checkout nothing need be installed; elsewhere the package is.
sys.path.insert(1, str(Path(__file__).parent / "services" / "worker"))

try:
    from headrace_worker.main import main
except ModuleNotFoundError as error:
    sys.exit(f"run_worker.py: the package {error.name} is missing: pip install -r requirements.txt")

if __name__ == "__main__":
    main()

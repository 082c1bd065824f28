"""Starts a worker, from the root of the repository: `python run_worker.py`."""

import sys

try:
    from services.worker.main import main
except ModuleNotFoundError as error:
    sys.exit(f"run_worker.py: the package {error.name} is missing: pip install -r requirements.txt")

if __name__ == "__main__":
    main()

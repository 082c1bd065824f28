"""Starts a worker, from the root of the repository: `python run_worker.py`."""

from services.worker.main import main

if __name__ == "__main__":
    main()

"""Starts the API: `python run.py`. Settings come from the environment and from `.env`."""

import sys

try:
    from services.api.main import main
except ModuleNotFoundError as error:
    sys.exit(f"run.py: the package {error.name} is missing: pip install -r requirements.txt")

if __name__ == "__main__":
    main()

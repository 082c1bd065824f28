"""Starts the API: `python run.py`. Settings come from the environment and from `.env`."""

import sys
from pathlib import Path

# In a checkout nothing need be installed; elsewhere the package is.
sys.path.insert(1, str(Path(__file__).parent / "services" / "api"))

try:
    from headrace_api.main import main
except ModuleNotFoundError as error:
    sys.exit(f"run.py: the package {error.name} is missing: pip install -r requirements.txt")

if __name__ == "__main__":
    main()

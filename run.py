"""Starts the API: `python run.py`. Settings come from the environment and from `.env`."""

from services.api.main import main

if __name__ == "__main__":
    main()

"""The `headrace` command: the processes, and small tools to run an installation."""

from headrace.cli.app import app

__all__ = ["app"]

"""The `headrace` command: small tools for whoever runs an installation."""

from headrace.cli.app import app

__all__ = ["app"]

"""The `headrace` command: small tools for whoever runs an installation."""

from .app import app

__all__ = ["app"]

"""A backend for Django's tasks, and the task type that runs them. See docs/django.md.

TASKS = {"default": {"BACKEND": "headrace.django.HeadraceBackend"}}

It is resolved when first used: workers without Django load this package, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.django.backend import HeadraceBackend as HeadraceBackend

__all__ = ["HeadraceBackend"]


def __getattr__(name: str) -> Any:
    if name != "HeadraceBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from headrace.django.backend import HeadraceBackend

    return HeadraceBackend

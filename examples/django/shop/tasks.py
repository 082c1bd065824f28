"""The tasks of the app. A worker imports this module at its start."""

from __future__ import annotations

try:
    from django.tasks import task
except ImportError:  # before Django 6
    from django_tasks import task


@task
def send_receipt(item: str) -> dict[str, str]:
    """Send a receipt: here it is returned."""
    return {"receipt": f"for {item}"}

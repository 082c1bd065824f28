"""What workflows may call in place: small, and over in a moment."""

from __future__ import annotations

from datetime import date, timedelta

from headrace import function


@function("invoice_due", timeout_seconds=5)
def invoice_due(sent: date, days: int = 14) -> dict[str, date]:
    """When an invoice is due: after so many days, and never on a weekend."""
    due = sent + timedelta(days=days)
    return {"due": due + timedelta(days=max(0, 7 - due.weekday()) if due.weekday() > 4 else 0)}

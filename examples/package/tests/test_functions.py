# ruff: noqa: D103 - tests say by their names what they are about
"""How to test functions: as any other, and as a workflow calls them."""

from __future__ import annotations

from datetime import date

from invoices.functions import invoice_due


def test_an_invoice_is_due_on_a_working_day() -> None:
    assert invoice_due(date(2026, 1, 2), days=14) == {"due": date(2026, 1, 16)}
    assert invoice_due(date(2026, 1, 3), days=14) == {"due": date(2026, 1, 19)}


async def test_a_workflow_calls_it_with_json() -> None:
    assert await invoice_due.call({"sent": "2026-01-04"}) == {"due": "2026-01-19"}

# ruff: noqa: D103 - tests say by their names what they are about
"""How to test handlers: one alone, with what it asks of the worker; no queue is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from invoices.database import database
from invoices.measuring import measured
from invoices.models import Booking, Forecast, Invoice, Line, Reminder
from invoices.tasks import invoice_book, invoice_forecast, invoice_reminder, invoice_total

from headrace import Park
from headrace.testing import run_handler

INVOICE = Invoice(number="2026-17", lines=[Line(text="tea", quantity=3, price=Decimal("4.50"))])
DUE_AT = datetime.now(UTC) + timedelta(days=3)


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "invoices.sqlite"
    monkeypatch.setenv("INVOICES_DATABASE", str(path))
    return path


async def test_lines_are_added_up() -> None:
    run = await run_handler(invoice_total, INVOICE)
    assert run.result == {"number": "2026-17", "total": "13.50"}
    assert run.progress == [(0.0, "line 1: tea")]


async def test_a_reminder_waits_until_it_is_due() -> None:
    reminder = Reminder(number="2026-17", customer="Ada", due_at=DUE_AT)
    run = await run_handler(invoice_reminder, reminder)
    assert isinstance(run.result, Park)
    assert run.result.unpark_at == DUE_AT


async def test_booking_keeps_the_total_and_submits_a_reminder() -> None:
    booking = Booking(invoice=INVOICE, customer="Ada", due_at=DUE_AT)
    async with database() as pool:
        run = await run_handler(invoice_book, booking, values={database: pool})
        assert await pool.execute("SELECT * FROM totals") == [("2026-17", "13.50")]
    [reminder] = run.submitted
    assert run.result == {"number": "2026-17", "reminder": reminder.id}
    assert reminder.type == "invoice_reminder"


async def test_attempts_are_measured() -> None:
    async with database() as pool:
        await run_handler(invoice_total, INVOICE, values={database: pool}, middleware=[measured])
        rows = await pool.execute("SELECT task_type, outcome FROM attempts")
    assert rows == [("invoice_total", "returned")]


async def test_a_forecast_computes_here_in_a_test() -> None:
    run = await run_handler(invoice_forecast, Forecast(income=100, growth=0.5, months=2))
    assert run.result == [150.0, 225.0]

# ruff: noqa: D103 - tests say by their names what they are about
"""How to test what tasks do together: on a real queue, which no server is needed for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from invoices.models import Booking, Invoice, Line
from invoices.tasks import invoice_book, invoice_reminder, invoice_total

from headrace import TaskStatus
from headrace.testing import Headrace

INVOICE = Invoice(number="2026-17", lines=[Line(text="tea", quantity=3, price=Decimal("4.50"))])


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOICES_DATABASE", str(tmp_path / "invoices.sqlite"))


def test_an_invoice_is_added_up(headrace: Headrace) -> None:
    handle = headrace.submit(invoice_total, INVOICE)
    headrace.run_pending()
    assert handle.result() == {"number": "2026-17", "total": "13.50"}


def test_a_booked_invoice_has_a_reminder_that_waits(headrace: Headrace) -> None:
    due_at = datetime.now(UTC) + timedelta(days=3)
    booked = headrace.submit(invoice_book, Booking(invoice=INVOICE, customer="Ada", due_at=due_at))
    headrace.run_pending()
    [reminder] = headrace.assert_submitted(invoice_reminder, count=1)
    assert booked.result()["reminder"] == reminder.id
    assert headrace.handle(reminder.id).get().status is TaskStatus.PENDING

# ruff: noqa: D102, D103 - tests say by their names what they are about
"""How to test handlers: called as the functions that they are, or run as a worker runs them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from invoices.models import Invoice, Line, Reminder
from invoices.tasks import invoice_reminder, invoice_total

from headrace import Context, Park
from headrace.handlers import Returned, run_attempt

INVOICE = Invoice(number="2026-17", lines=[Line(text="tea", quantity=3, price=Decimal("4.50"))])


class Host:
    """Stands in for a worker, and keeps the progress."""

    def __init__(self) -> None:
        self.messages: list[str | None] = []

    def progress(self, ctx: Context, percent: float, message: str | None) -> None:
        self.messages.append(message)

    loop = None
    values: dict[object, object] = {}  # noqa: RUF012

    async def submit(self, ctx: Context, task: object) -> None:
        raise NotImplementedError

    async def checkpoint(self, ctx: Context, state: bytes) -> None:
        raise NotImplementedError


def new_context(host: Host | None = None) -> Context:
    return Context("a-task", "invoice_total", host or Host(), can_park=True)


def test_lines_are_added_up() -> None:
    host = Host()
    assert invoice_total(new_context(host), INVOICE) == {"number": "2026-17", "total": "13.50"}
    assert host.messages == ["line 1: tea"]


async def test_a_total_comes_out_as_json() -> None:
    ended = await run_attempt(invoice_total, INVOICE.model_dump_json().encode(), new_context())
    assert ended.outcome == Returned(b'{"number":"2026-17","total":"13.50"}')


async def test_a_reminder_waits_until_it_is_due() -> None:
    due_at = datetime.now(UTC) + timedelta(days=3)
    reminder = Reminder(number="2026-17", customer="Ada", due_at=due_at)
    parked = await invoice_reminder(new_context(), reminder)
    assert isinstance(parked, Park)
    assert parked.unpark_at == due_at

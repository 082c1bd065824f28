"""The task types of this package. Headrace finds them by the entry point in pyproject.toml."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from headrace import Context, Fatal, Park, handler
from invoices.database import database
from invoices.models import Booking, Forecast, Invoice, Reminder


@handler("invoice_total", max_retries=1, timeout_seconds=30)
def invoice_total(ctx: Context, invoice: Invoice) -> dict[str, str]:
    """Add an invoice up. A plain function: it runs in a thread, and may compute or block."""
    total = Decimal(0)
    for done, line in enumerate(invoice.lines):
        if ctx.cancelled:  # nobody can stop a thread from outside: it stops itself
            raise Fatal("stopped on request")
        ctx.progress(100 * done / len(invoice.lines), f"line {done + 1}: {line.text}")
        total += line.quantity * line.price
    ctx.log.info("invoice.added_up", number=invoice.number)
    return {"number": invoice.number, "total": str(total)}


@handler("invoice_reminder", max_retries=5, retry_on=(OSError,))
async def invoice_reminder(ctx: Context, reminder: Reminder) -> dict[str, str] | Park:
    """Remind a customer once the invoice is due. Until then it occupies no slot of a worker."""
    if datetime.now(UTC) < reminder.due_at and ctx.can_park:
        return Park(reminder.due_at, state=b"waiting until it is due")
    return {"number": reminder.number, "reminded": reminder.customer}


@handler("invoice_book")
async def invoice_book(ctx: Context, booking: Booking) -> dict[str, str]:
    """Add an invoice up, keep the total in the database, and submit a reminder of it.

    A second attempt books it once more under the same number, and submits no second reminder.
    """
    total = sum((line.quantity * line.price for line in booking.invoice.lines), Decimal(0))
    number = booking.invoice.number
    await ctx.value(database).execute(
        "INSERT OR REPLACE INTO totals VALUES (?, ?)", number, str(total)
    )
    reminder = Reminder(number=number, customer=booking.customer, due_at=booking.due_at)
    return {"number": number, "reminder": await ctx.submit(invoice_reminder, reminder)}


@handler("invoice_forecast", run_in="process")
def invoice_forecast(ctx: Context, forecast: Forecast) -> list[float]:
    """Compute: in a process of its own, so that it takes no interpreter from other tasks."""
    income, months = forecast.income, []
    for month in range(forecast.months):
        ctx.progress(100 * month / forecast.months)
        income *= 1 + forecast.growth
        months.append(round(income, 2))
    return months

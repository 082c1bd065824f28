"""What the tasks are given."""

from __future__ import annotations

from decimal import Decimal

from pydantic import AwareDatetime, BaseModel, Field


class Line(BaseModel):
    """One line of an invoice."""

    text: str
    quantity: int = Field(ge=1)
    price: Decimal = Field(ge=0)


class Invoice(BaseModel):
    """An invoice."""

    number: str
    lines: list[Line] = Field(min_length=1)


class Reminder(BaseModel):
    """When to remind of an invoice, and who is reminded."""

    number: str
    customer: str
    due_at: AwareDatetime


class Booking(BaseModel):
    """An invoice to be booked, and when to remind its customer of it."""

    invoice: Invoice
    customer: str
    due_at: AwareDatetime


class Forecast(BaseModel):
    """How income grows."""

    income: float
    growth: float = 0.02
    months: int = Field(default=12, ge=1, le=600)

# ruff: noqa: D103 - tests say by their names what they are about
"""How to test a site: enqueue as it does, and run what was enqueued."""

from __future__ import annotations

from django.test import Client

from headrace.testing import Headrace


def test_an_order_is_taken_and_its_receipt_sent_later(headrace: Headrace) -> None:
    client = Client()
    receipt = client.post("/orders", {"item": "tea"}).json()["receipt"]
    assert client.get(f"/orders/{receipt}").json() == {"status": "READY", "result": None}
    headrace.run_pending()
    assert client.get(f"/orders/{receipt}").json() == {
        "status": "SUCCESSFUL",
        "result": {"receipt": "for tea"},
    }

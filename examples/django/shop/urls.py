"""The two pages."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import path

from shop.tasks import send_receipt


def order(request: HttpRequest) -> JsonResponse:
    """Take an order, and send its receipt later."""
    result = send_receipt.enqueue(request.POST["item"])
    return JsonResponse({"receipt": result.id}, status=202)


def receipt(request: HttpRequest, receipt_id: str) -> JsonResponse:
    """What became of a receipt."""
    result = send_receipt.get_result(receipt_id)
    return JsonResponse(
        {"status": result.status, "result": result.return_value if result.is_finished else None}
    )


urlpatterns = [path("orders", order), path("orders/<str:receipt_id>", receipt)]

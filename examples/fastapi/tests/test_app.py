# ruff: noqa: D103 - tests say by their names what they are about
"""How to test an application: it finds the Headrace of the test by itself."""

from __future__ import annotations

from app import Picture, app, create
from fastapi.testclient import TestClient

from headrace.testing import Headrace


def test_a_thumbnail_is_submitted_and_made_later(headrace: Headrace) -> None:
    headrace.serve(create)
    with TestClient(app) as client:
        task_id = client.post("/thumbnails", json={"url": "a.png"}).json()["id"]
        headrace.assert_submitted(create, Picture(url="a.png"), count=1)
        assert client.get(f"/thumbnails/{task_id}").json() == {"status": "queued", "result": None}
        headrace.run_pending()
        assert client.get(f"/thumbnails/{task_id}").json() == {
            "status": "completed",
            "result": {"thumbnail": "a.png?width=80"},
        }


def test_a_thumbnail_that_nobody_asked_for_is_not_found(headrace: Headrace) -> None:
    with TestClient(app) as client:
        assert client.get("/thumbnails/00000000-0000-4000-8000-000000000001").status_code == 404

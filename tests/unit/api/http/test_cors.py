"""CORS_ORIGINS: off by default; whose pages may use the API, and what they may read of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from headrace.settings import ApiKey, Role
from tests.unit.api.harness import api_settings, running

ORIGIN = "https://app.example.com"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-api-key,idempotency-key",
}
KEY = ApiKey(Role.SUBMIT, hashlib.sha256(b"the-key").digest(), "page")
EXECUTE = "/api/workflows/my-workflow/execute"


async def test_by_default_no_page_of_another_origin_is_told_anything(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as api:
        preflight = await api.client.options(EXECUTE, headers=PREFLIGHT)
        assert preflight.status_code == 405
        listed = await api.get("/api/workflows", headers={"Origin": ORIGIN})
        for response in (preflight, listed):
            assert not any(name.startswith("access-control") for name in response.headers)


async def test_a_page_of_an_origin_that_is_named_may_use_all_of_it(tmp_path: Path) -> None:
    settings = api_settings(
        tmp_path, api_keys=(KEY,), cors_origins=(ORIGIN, "http://localhost:3000")
    )
    async with running(settings) as api:
        preflight = await api.client.options(EXECUTE, headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        allowed = preflight.headers["access-control-allow-headers"].lower()
        assert {"x-api-key", "authorization", "idempotency-key", "content-type"} <= set(
            allowed.split(", ")
        )
        assert "access-control-allow-credentials" not in preflight.headers
        executed = await api.execute(headers={"Origin": ORIGIN, "X-API-Key": "the-key"})
        assert executed.status_code == 200
        assert executed.headers["access-control-allow-origin"] == ORIGIN
        assert "X-Request-ID" in executed.headers["access-control-expose-headers"]
        assert "Origin" in executed.headers["vary"]
        # Its page may also read why it was refused.
        for refused in (
            await api.execute(headers={"Origin": ORIGIN}),
            await api.get("/nothing", headers={"Origin": ORIGIN}),
            await api.execute(content=b"x" * 3_000_000, json=None, headers={"Origin": ORIGIN}),
        ):
            assert refused.status_code in (401, 404, 413)
            assert refused.headers["access-control-allow-origin"] == ORIGIN


async def test_a_page_of_another_origin_is_not(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path, cors_origins=(ORIGIN,))) as api:
        headers = {**PREFLIGHT, "Origin": "https://evil.example"}
        preflight = await api.client.options(EXECUTE, headers=headers)
        assert "access-control-allow-origin" not in preflight.headers
        cross = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        assert (await api.execute(headers=cross)).status_code == 403
        named = {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}
        assert (await api.execute(headers=named)).status_code == 200


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://app.example.com/", "https://App.example.com", "ftp://a"]
)
def test_what_is_no_origin_is_refused_at_the_start(tmp_path: Path, origin: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        api_settings(tmp_path, cors_origins=(origin,))


def test_all_origins_need_keys(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="API_KEYS"):
        api_settings(tmp_path, cors_origins=("*",))
    api_settings(tmp_path, cors_origins=("*",), api_keys=(KEY,))

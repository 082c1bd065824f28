"""Calls to the API server: where they go, and that each failure is a KubeError, and soon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from controller import kube
from controller.kube import Kube, KubeError

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[Kube]:
    """A connection to a server that answers like this."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    configuration = Configuration(host=f"http://{host}:{port}", api_key={"BearerToken": "Bearer t"})
    try:
        async with ApiClient(configuration) as client:
            yield Kube(client)
    finally:
        await runner.cleanup()


async def echo(request: web.Request) -> web.StreamResponse:
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path.partition("?")[0],
            "query": dict(request.query),
            "kind": request.headers["Content-Type"],
            "key": request.headers["Authorization"],
            "agent": request.headers["User-Agent"],
            "body": json.loads(await request.text() or "null"),
        }
    )


def test_paths_name_the_object_and_quote_what_comes_from_outside() -> None:
    assert kube.deployment("shop", "w") == "/apis/apps/v1/namespaces/shop/deployments/w"
    assert kube.scale("shop", "w") == "/apis/apps/v1/namespaces/shop/deployments/w/scale"
    assert kube.pods() == "/api/v1/pods"
    assert kube.pods("shop") == "/api/v1/namespaces/shop/pods"
    assert kube.secret("shop", "a/../b?c") == "/api/v1/namespaces/shop/secrets/a%2F..%2Fb%3Fc"
    assert kube.autoscaler_status("shop", "w") == (
        "/apis/headrace.dev/v1alpha1/namespaces/shop/workerautoscalers/w/status"
    )
    assert kube.lease("shop").endswith("/namespaces/shop/leases")


async def test_each_kind_of_write_says_what_it_is_and_who_writes() -> None:
    body = {"spec": {"replicas": 3}}
    async with server(echo) as connection:
        applied = await connection.apply("/a", body)
        merged = await connection.merge("/m", body)
        created = await connection.create("/c", body)
        replaced = await connection.replace("/r", body)
    assert applied["method"] == "PATCH"
    assert applied["kind"] == "application/apply-patch+yaml"
    assert applied["query"] == {"fieldManager": "headrace-operator", "force": "true"}
    assert applied["body"] == body
    assert (merged["method"], merged["kind"]) == ("PATCH", "application/merge-patch+json")
    assert merged["body"] == body
    assert (created["method"], replaced["method"]) == ("POST", "PUT")
    assert {request["agent"] for request in (applied, merged, created)} == {"headrace-operator"}
    assert {request["key"] for request in (applied, merged, created)} == {"Bearer t"}


async def test_a_quoted_name_arrives_quoted() -> None:
    async with server(echo) as connection:
        found = await connection.get(kube.secret("shop", "a/b"))
    assert found["path"] == "/api/v1/namespaces/shop/secrets/a%2Fb"
    assert found["query"] == {}


async def test_a_collection_is_listed_by_pages_to_the_last_and_only_its_metadata() -> None:
    asked = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(dict(request.query))
        assert "as=PartialObjectMetadataList" in request.headers["Accept"]
        number = int(request.query.get("continue", "0"))
        metadata = {"name": f"p{number}", "uid": str(number), "managedFields": [{}]}
        following = {"continue": str(number + 1)} if number < 2 else {}
        return web.json_response({"metadata": following, "items": [{"metadata": metadata}]})

    async with server(answer) as connection:
        found = await connection.metadata(kube.pods("shop"), "app=workers,tier in (a, b)")
        assert found == [{"name": f"p{number}", "uid": str(number)} for number in range(3)]
        pages = [len(page) async for page in connection.pages(kube.pods())]
    assert pages == [1, 1, 1]
    of = {"limit": str(kube.PAGE), "labelSelector": "app=workers,tier in (a, b)"}
    assert asked[:3] == [of, {**of, "continue": "1"}, {**of, "continue": "2"}]
    assert asked[3] == {"limit": str(kube.PAGE)}


async def test_a_page_that_fails_fails_the_list() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "continue" in request.query:
            said = {"reason": "Expired", "message": "the continue token has expired"}
            return web.json_response(said, status=410)
        return web.json_response({"metadata": {"continue": "x"}, "items": []})

    async with server(answer) as connection:
        with pytest.raises(KubeError, match=r"410 Expired"):
            await connection.metadata(kube.pods())


async def test_an_empty_list_has_no_metadata() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"items": None})

    async with server(answer) as connection:
        assert await connection.metadata(kube.pods()) == []


async def test_an_answer_that_is_no_list_is_not_taken_for_an_empty_one() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "status": "Success"})

    async with server(answer) as connection:
        with pytest.raises(KubeError, match="not a list"):
            await connection.metadata(kube.pods())


async def test_an_error_status_tells_kubernetes_own_reason() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        said = {"kind": "Status", "reason": "Conflict", "message": "the object has been modified"}
        return web.json_response(said, status=409)

    async with server(answer) as connection:
        with pytest.raises(
            KubeError, match=r"PATCH /a: status 409 Conflict: the object has"
        ) as error:
            await connection.apply("/a", {})
    assert error.value.status == 409


@pytest.mark.parametrize("content", [b"", b"<html>502</html>", b"[]", b"\xff"])
def test_what_is_no_json_object_is_an_error_whatever_its_status(content: bytes) -> None:
    for status in (200, 502):
        with pytest.raises(KubeError, match=r"no JSON object") as error:
            kube.parsed("GET /a", status, content)
        assert error.value.status == status


async def test_a_server_that_does_not_answer_is_left_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        raise AssertionError

    monkeypatch.setattr(kube, "CALL_SECONDS", 0.1)
    async with server(answer) as connection:
        with pytest.raises(KubeError, match=r"did not answer within 0.1 s") as error:
            await connection.get("/a")
    assert error.value.status == 0


async def test_a_server_that_stops_in_the_middle_is_left_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.sleep(30)
        raise AssertionError

    monkeypatch.setattr(kube, "CALL_SECONDS", 0.2)
    async with server(answer) as connection:
        with pytest.raises(KubeError, match=r"did not answer within 0.2 s"):
            await connection.get("/a")


async def test_nobody_there_is_an_error_without_a_status(unused_port: int) -> None:
    configuration = Configuration(host=f"http://127.0.0.1:{unused_port}")
    async with ApiClient(configuration) as client:
        with pytest.raises(KubeError, match=r"GET /a: the API server cannot be reached") as error:
            await Kube(client).get("/a")
    assert error.value.status == 0
    assert "ssl" not in str(error.value)

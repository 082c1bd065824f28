"""The API through a real ingress controller: by Ingress, plain, with TLS and under a path prefix,
and by HTTPRoute.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.cluster.certificates import certificate
from tests.cluster.cluster import Cluster, Images, Object, eventually
from tests.cluster.conftest import Ingress
from tests.cluster.release import NAME, Api, Release, client, merged, small
from tests.servers import absent

PLAIN, SECURE, ROUTE = "plain.test", "secure.test", "route.test"
PREFIX = "/headrace"


def _published(ingress: Ingress) -> Object:
    """Values for all ways at once."""
    values: Object = {
        "ingress": {
            "enabled": True,
            "className": ingress.class_name,
            "hosts": [PLAIN, SECURE],
            "tls": [{"secretName": "tls", "hosts": [SECURE]}],
        }
    }
    if ingress.gateway:
        namespace, name = ingress.gateway.split("/")
        parent = {"name": name, "namespace": namespace}
        values["httpRoute"] = {"enabled": True, "parentRefs": [parent], "hostnames": [ROUTE]}
    return values


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A key and a certificate for the secure host."""
    return certificate(tmp_path_factory.mktemp("tls"), SECURE)


@pytest.fixture(scope="module")
def published(
    cluster: Cluster, images: Images, ingress: Ingress, trusted: tuple[str, str]
) -> Iterator[Release]:
    """A release that is published in each way. Its second revision has a path prefix."""
    key, signed = trusted
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tls"},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.key": key, "tls.crt": signed},
    }
    with cluster.namespace("ingress") as namespace:
        cluster.apply(namespace, secret)
        release = Release(cluster, namespace)
        release.install(merged(small(images), _published(ingress)))
        yield release


@pytest.fixture(scope="module", params=["", PREFIX], ids=["root", "prefix"])
def prefix(
    request: pytest.FixtureRequest, images: Images, ingress: Ingress, published: Release
) -> str:
    """The path under which the API is published."""
    path = str(request.param)
    values = merged(small(images), _published(ingress), {"api": {"pathPrefix": path}})
    if path:
        old = {pod["metadata"]["uid"] for pod in published.pods("api")}
        published.upgrade(values)
        published.gone(old)
    return path


def _executes(api_client: httpx2.Client) -> None:
    """A client gets a workflow's result, once the controller has taken the objects up."""

    def served() -> bool:
        try:
            return api_client.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    eventually(served, f"{api_client.base_url} is served")
    api = Api(api_client)
    assert api.answer("hello", {"name": "outside"}) == {"greeting": "Hello, outside!"}


def test_by_ingress(published: Release, ingress: Ingress, prefix: str) -> None:
    headers = {"Host": PLAIN}
    with client(ingress.http + prefix, published.key, headers=headers) as api_client:
        _executes(api_client)


def test_by_ingress_with_tls(
    published: Release, ingress: Ingress, prefix: str, trusted: tuple[str, str]
) -> None:
    context = ssl.create_default_context(cadata=trusted[1])

    def ask_for_host(request: httpx2.Request) -> None:
        request.extensions["sni_hostname"] = SECURE

    hooks = {"request": [ask_for_host]}
    headers = {"Host": SECURE}
    with client(
        ingress.https + prefix, published.key, headers=headers, verify=context, event_hooks=hooks
    ) as api_client:
        _executes(api_client)


def test_by_http_route(published: Release, ingress: Ingress, prefix: str) -> None:
    if not ingress.gateway:
        absent("no Gateway is known: set INGRESS_GATEWAY to its namespace/name")
    with client(ingress.http + prefix, published.key, headers={"Host": ROUTE}) as api_client:
        _executes(api_client)


def test_the_documentation_knows_the_prefix(
    published: Release, ingress: Ingress, prefix: str
) -> None:
    with client(ingress.http, published.key, headers={"Host": PLAIN}) as api_client:
        eventually(lambda: api_client.get(f"{prefix}/readyz").status_code == 200, "it is served")
        reply = api_client.get(f"{prefix}/docs")
        assert reply.status_code == 200
        assert f"{prefix}/openapi.json" in reply.text


def test_what_is_not_published_is_not_found(
    published: Release, ingress: Ingress, prefix: str
) -> None:
    with client(ingress.http, published.key) as api_client:
        eventually(
            lambda: api_client.get(f"{prefix}/readyz", headers={"Host": PLAIN}).status_code == 200,
            "it is served",
        )
        assert (
            api_client.get(f"{prefix}/readyz", headers={"Host": "stranger.test"}).status_code == 404
        )
        if prefix:
            assert api_client.get("/readyz", headers={"Host": PLAIN}).status_code == 404
    assert published.get("ingress", f"{NAME}-api")["spec"]["ingressClassName"]


LONG_WAIT_SECONDS, LONG_STREAM_SECONDS = 40, 60
"""Longer than Envoy and NGINX let a reply take by themselves: 15 s, and 60 s without a byte."""


def test_long_replies_pass(published: Release, ingress: Ingress, prefix: str) -> None:
    """By each way, at the same time: a wait and a stream. Under a prefix the way is the same."""
    wait_seconds, stream_seconds = (2, 3) if prefix else (LONG_WAIT_SECONDS, LONG_STREAM_SECONDS)
    address, key = ingress.http + prefix, published.key
    hosts = [PLAIN, ROUTE] if ingress.gateway else [PLAIN]
    with ThreadPoolExecutor() as pool:
        replies = [pool.submit(_long_wait, address, key, host, wait_seconds) for host in hosts]
        replies += [pool.submit(_long_stream, address, key, host, stream_seconds) for host in hosts]
        for reply in replies:
            reply.result()


def _long_wait(address: str, key: str, host: str, seconds: int) -> None:
    with client(address, key, headers={"Host": host}) as api_client:
        body = {"payload": {"workflow_id": "hello"}, "start_in": seconds}
        task = api_client.post("/api/tasks/workflow_execute", json=body).json()
        began = time.monotonic()
        reply = api_client.get(
            f"/api/tasks/{task['task_id']}", headers={"Prefer": "wait=60"}, timeout=90
        )
        assert reply.json()["status"] == "completed", reply.text
        assert time.monotonic() - began > seconds - 1


def _long_stream(address: str, key: str, host: str, seconds: int) -> None:
    with (
        client(address, key, headers={"Host": host}) as api_client,
        api_client.stream("GET", "/api/live") as reply,
    ):
        assert reply.status_code == 200
        began = last = time.monotonic()
        for line in reply.iter_lines():
            now = time.monotonic()
            assert now - last < 5, "what is sent each second was kept back"
            if line.startswith("event: stats"):
                last = now
            if now - began > seconds:
                return
    raise AssertionError(f"the stream ended after {time.monotonic() - began:.0f} s")

"""Every call to Kubernetes: by path, with plain JSON, on the official client's connection.

Not by its typed models: to load those of the core group takes 100 MB.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

MANAGER = "headrace-operator"
"""Field manager of what is applied, and the name in the API server's audit log."""
CALL_SECONDS = 3.0
"""Each call ends within this time: a failed one is retried in the next round."""
PAGE = 500
"""Objects that are listed by one call, so that a large collection takes neither long nor memory."""
GROUP, VERSION, PLURAL = "headrace.dev", "v1alpha1", "workerautoscalers"

Json = dict[str, Any]


class KubeError(Exception):
    """A call to Kubernetes failed: `status` is the HTTP status, 0 without an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Kube:
    """A connection to the API server.

    Each call ends within CALL_SECONDS, and every failure is a KubeError.
    """

    def __init__(self, api_client: ApiClient) -> None:
        self.api_client = api_client
        api_client.user_agent = MANAGER

    @classmethod
    @asynccontextmanager
    async def connect(cls) -> AsyncIterator[Self]:
        """As the pod's ServiceAccount, elsewhere as the kubeconfig's current context says.

        Raises ConfigException when there is neither. Does not call the API server yet.
        """
        configuration = Configuration()
        # Python 3.13 and later would refuse the CA of many a cluster, EKS's among them, because it
        # has no key identifiers. Chain, name and dates are looked at all the same.
        configuration.disable_strict_ssl_verification = True
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            await config.load_kube_config(
                config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration
            )
        async with ApiClient(configuration) as api_client:
            yield cls(api_client)

    async def get(self, path: str) -> Json:
        """Read an object."""
        return await self._call("GET", path, {})

    async def pages(self, path: str, labels: str = "") -> AsyncIterator[list[Json]]:
        """The metadata alone of the objects in a collection, as it is now (not from a cache).

        Args:
            path: the collection.
            labels: a label selector as Kubernetes writes it ("app=workers,tier in (a, b)").
        """
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        query = {"limit": str(PAGE)} | ({"labelSelector": labels} if labels else {})
        while True:
            listed = await self._call("GET", path, query, accept=accept)
            if "items" not in listed:
                # An empty list would mean that all of them are gone.
                raise KubeError(0, f"GET {path}: the answer is not a list")
            yield [item["metadata"] for item in listed["items"] or []]
            query["continue"] = (listed.get("metadata") or {}).get("continue") or ""
            if not query["continue"]:
                return

    async def metadata(self, path: str, labels: str = "") -> list[Json]:
        """All pages in one list, without `managedFields`, which are most of a metadata's size."""
        return [
            {key: value for key, value in resource.items() if key != "managedFields"}
            async for page in self.pages(path, labels)
            for resource in page
        ]

    async def create(self, path: str, body: Json) -> Json:
        """Create an object in a collection."""
        return await self._call("POST", path, {"fieldManager": MANAGER}, body)

    async def replace(self, path: str, body: Json) -> Json:
        """Replace an object, if it still has the body's resourceVersion."""
        return await self._call("PUT", path, {"fieldManager": MANAGER}, body)

    async def merge(self, path: str, body: Json) -> Json:
        """Change an object by a JSON merge patch."""
        query = {"fieldManager": MANAGER}
        return await self._call("PATCH", path, query, body, kind="application/merge-patch+json")

    async def apply(self, path: str, body: Json) -> Json:
        """Change an object by server-side apply, whoever owned the fields."""
        query = {"fieldManager": MANAGER, "force": "true"}
        return await self._call("PATCH", path, query, body, kind="application/apply-patch+yaml")

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Json | None = None,
        *,
        kind: str = "application/json",
        accept: str = "application/json",
    ) -> Json:
        what = f"{method} {path}"
        url = f"{path}?{urlencode(query)}" if query else path
        headers = {"Accept": accept, "Content-Type": kind}
        client = self.api_client
        try:
            async with asyncio.timeout(CALL_SECONDS):
                request = await client.param_serialize(
                    method, url, header_params=headers, body=body, auth_settings=["BearerToken"]
                )
                response = await client.call_api(
                    *request, _request_timeout=aiohttp.ClientTimeout(total=CALL_SECONDS)
                )
                content: bytes = await response.read()
        except TimeoutError as error:
            raise KubeError(
                0, f"{what}: the API server did not answer within {CALL_SECONDS:g} s"
            ) from error
        except (aiohttp.ClientError, OSError, config.ConfigException) as error:
            raise KubeError(
                0, f"{what}: the API server cannot be reached ({cause(error)})"
            ) from error
        return parsed(what, response.status, content)


def cause(error: Exception) -> str:
    """Why a connection failed, without what aiohttp adds: "ssl:default", for http too."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    return str(error) or type(error).__name__


def parsed(what: str, status: int, content: bytes) -> Json:
    """An answer's JSON. Raises KubeError for an error status, and for anything but an object."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise KubeError(status, f"{what}: status {status}, and no JSON object in it")
    if status >= 400:
        reason = answer.get("reason") or "Unknown"
        message = answer.get("message") or "without a message"
        raise KubeError(status, f"{what}: status {status} {reason}: {message}")
    return answer


def deployments(namespace: str | None = None) -> str:
    """The collection; None: of all namespaces, as with every collection here."""
    return _path("apis/apps/v1", namespace, "deployments")


def deployment(namespace: str, name: str) -> str:
    """A Deployment."""
    return _path("apis/apps/v1", namespace, "deployments", name)


def scale(namespace: str, name: str) -> str:
    """A Deployment's scale subresource."""
    return _path("apis/apps/v1", namespace, "deployments", name, "scale")


def pods(namespace: str | None = None) -> str:
    """The collection."""
    return _path("api/v1", namespace, "pods")


def pod(namespace: str, name: str) -> str:
    """A pod."""
    return _path("api/v1", namespace, "pods", name)


def secret(namespace: str, name: str) -> str:
    """A Secret."""
    return _path("api/v1", namespace, "secrets", name)


def hpas(namespace: str | None = None) -> str:
    """The collection of HorizontalPodAutoscalers."""
    return _path("apis/autoscaling/v2", namespace, "horizontalpodautoscalers")


def autoscalers(namespace: str | None = None) -> str:
    """The collection of WorkerAutoscalers."""
    return _path(f"apis/{GROUP}/{VERSION}", namespace, PLURAL)


def autoscaler_status(namespace: str, name: str) -> str:
    """A WorkerAutoscaler's status subresource."""
    return _path(f"apis/{GROUP}/{VERSION}", namespace, PLURAL, name, "status")


def lease(namespace: str, name: str | None = None) -> str:
    """A Lease; without a name, the collection of a namespace."""
    return _path("apis/coordination.k8s.io/v1", namespace, "leases", *([name] if name else []))


def events(namespace: str) -> str:
    """The collection of events of a namespace."""
    return _path("apis/events.k8s.io/v1", namespace, "events")


def _path(api: str, namespace: str | None, *rest: str) -> str:
    where = () if namespace is None else ("namespaces", namespace)
    return "/".join(("", api, *(quote(part, safe="") for part in (*where, *rest))))

"""A Redis that the chart did not bring, in another namespace, by TLS and with a password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.certificates import certificate
from tests.cluster.cluster import Cluster, Images, Object, eventually
from tests.cluster.driving import RESTRICTED, pod
from tests.cluster.release import NAME, Release, merged, ready, small

PASSWORD = "sample-password"


@pytest.fixture
def redis(cluster: Cluster, images: Images, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Its URL, and the certificate to trust."""
    with cluster.namespace("redis") as namespace:
        host = f"redis.{namespace}.svc"
        key, trusted = certificate(tmp_path, host)
        cluster.apply(namespace, *_objects(images, key, trusted))
        eventually(lambda: ready(cluster.get(namespace, "pod", "redis")), "Redis runs")
        yield f"rediss://:{PASSWORD}@{host}:6379/0", trusted


def test_a_workflow_is_executed_by_an_external_redis(
    cluster: Cluster, images: Images, redis: tuple[str, str]
) -> None:
    url, trusted = redis
    with cluster.namespace("external") as namespace:
        cluster.apply(namespace, _secret("redis-url", {"url": url}))
        cluster.apply(namespace, _secret("redis-ca", {"ca.crt": trusted}))
        release = Release(cluster, namespace)
        external: Object = {
            "redis": {"enabled": False},
            "externalRedis": {"existingSecret": "redis-url", "tls": {"existingSecret": "redis-ca"}},
        }
        release.install(merged(small(images), external))
        assert release.pods("redis") == []
        assert cluster.list(namespace, "persistentvolumeclaims") == []
        with release.api() as api:
            assert api.get("/readyz")["redis"] == "available"
            assert api.answer("hello", {"name": "TLS"}) == {"greeting": "Hello, TLS!"}
        release.helm("test", NAME, "--timeout", "3m")


def _secret(name: str, data: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def _objects(images: Images, key: str, trusted: str) -> list[Object]:
    """A Redis that speaks TLS alone."""
    tls = "--tls-cert-file /tls/tls.crt --tls-key-file /tls/tls.key --tls-ca-cert-file /tls/tls.crt"
    command = (
        f"exec redis-server --port 0 --tls-port 6379 {tls} --tls-auth-clients no --save '' "
        f"--requirepass {PASSWORD} --maxmemory-policy noeviction"
    )
    container = {
        "name": "redis",
        "image": images.redis_name,
        "command": ["sh", "-c", command],
        "workingDir": "/tmp",
        "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1},
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
    }
    volumes = [{"name": "tls", "secret": {"secretName": "tls"}}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "redis"},
        "spec": {"selector": {"app": "redis"}, "ports": [{"port": 6379}]},
    }
    one = pod("redis", {"containers": [container], "volumes": volumes}, app="redis")
    return [_secret("tls", {"tls.crt": trusted, "tls.key": key}), service, one]

"""A Redis that the chart did not bring, in another namespace, by TLS and with a password."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.certificates import certificate
from tests.cluster.cluster import Cluster, CommandFailed, Images, Object, eventually
from tests.cluster.driving import RESTRICTED, pod
from tests.cluster.release import NAME, Release, merged, ready, small, uids

PASSWORD = "sample-password"


@pytest.fixture(scope="module")
def redis(
    cluster: Cluster, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Its URL, and the certificate to trust."""
    with cluster.namespace("redis") as namespace:
        host = f"redis.{namespace}.svc"
        key, trusted = certificate(tmp_path_factory.mktemp("tls"), host)
        cluster.apply(namespace, *_objects(images, key, trusted))
        eventually(lambda: ready(cluster.get(namespace, "pod", "redis")), "Redis runs")
        yield f"rediss://:{PASSWORD}@{host}:6379/0", trusted


@pytest.fixture(scope="module")
def release(cluster: Cluster, images: Images, redis: tuple[str, str]) -> Iterator[Release]:
    """A release that uses it."""
    url, trusted = redis
    with cluster.namespace("external") as namespace:
        cluster.apply(namespace, _secret("redis-url", {"url": url}))
        cluster.apply(namespace, _secret("redis-ca", {"ca.crt": trusted}))
        release = Release(cluster, namespace)
        release.install(_values(images, existingSecret="redis-url"))
        yield release


def test_a_workflow_is_executed_by_an_external_redis(release: Release) -> None:
    assert release.pods("redis") == []
    assert release.cluster.list(release.namespace, "persistentvolumeclaims") == []
    with release.api() as api:
        assert api.get("/readyz")["redis"] == "available"
        assert api.answer("hello", {"name": "TLS"}) == {"greeting": "Hello, TLS!"}
    release.helm("test", NAME, "--timeout", "3m")


def test_an_upgrade_to_a_wrong_url_fails_and_the_old_pods_serve_on(
    release: Release, images: Images
) -> None:
    before = uids(release.pods())
    with pytest.raises(CommandFailed) as refused:
        release.upgrade(_values(images, url=f"rediss://nobody.{release.namespace}.svc:6379/0"))
    assert "redis" in refused.value.said
    said = release.kubectl("logs", f"job/{NAME}-redis-check")
    assert f"Redis at nobody.{release.namespace}.svc:6379" in said
    assert uids([pod for pod in release.pods() if _component(pod) != "check"]) == before
    with release.api() as api:
        assert api.get("/readyz")["redis"] == "available"
        assert api.answer("hello", {"name": "again"}) == {"greeting": "Hello, again!"}


def test_an_upgrade_to_a_good_url_is_not_held_up(
    release: Release, images: Images, redis: tuple[str, str]
) -> None:
    release.upgrade(_values(images, url=redis[0]))
    jobs = release.cluster.list(release.namespace, "jobs")
    assert jobs == []
    with release.api() as api:
        assert api.answer("hello", {"name": "TLS"}) == {"greeting": "Hello, TLS!"}


def test_an_upgrade_with_a_broken_definition_is_refused(
    release: Release, images: Images, redis: tuple[str, str]
) -> None:
    broken = {"workflows": {"definitions": {"broken.yaml": "do: ["}}}
    with pytest.raises(CommandFailed) as refused:
        release.upgrade(merged(_values(images, url=redis[0]), broken))
    assert "workflows-check" in refused.value.said
    assert "broken.yaml:" in release.kubectl("logs", f"job/{NAME}-workflows-check")


def _values(images: Images, **where: str) -> Object:
    """Values by which a release uses the Redis of this URL, or of this Secret."""
    external = {**where, "tls": {"existingSecret": "redis-ca"}}
    return merged(small(images), {"redis": {"enabled": False}, "externalRedis": external})


def _component(pod: Object) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


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
    redis_pod = pod("redis", {"containers": [container], "volumes": volumes}, app="redis")
    return [_secret("tls", {"tls.crt": trusted, "tls.key": key}), service, redis_pod]

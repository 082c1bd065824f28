"""The chart's own Redis: its configuration, its volume, its probes."""

from __future__ import annotations

import pytest

from tests.unit.chart.rendering import CHART, Values, container, environment, render

NAME = "demo-redis"


def config(values: Values | None = None) -> dict[str, str]:
    """The lines of redis.conf."""
    text = render(values).get("ConfigMap", NAME)["data"]["redis.conf"]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split(" ", 1) for line in lines)


def test_nothing_acknowledged_is_lost_and_nothing_is_evicted() -> None:
    found = config()
    assert found["appendonly"] == "yes"
    assert found["appendfsync"] == "always"
    assert found["maxmemory-policy"] == "noeviction"


def test_the_price_of_durability_is_a_value() -> None:
    assert config({"redis": {"appendfsync": "everysec"}})["appendfsync"] == "everysec"


@pytest.mark.parametrize(
    ("limit", "maxmemory"),
    [
        ("512Mi", 512 * 2**20 * 60 // 100),
        ("1.5Gi", 3 * 2**29 * 60 // 100),
        ("2G", 1_200_000_000),
        (1_000_000_000, 600_000_000),
    ],
)
def test_the_memory_for_data_follows_from_the_limit(limit: object, maxmemory: int) -> None:
    found = config({"redis": {"resources": {"limits": {"memory": limit}}}})
    assert int(found["maxmemory"]) == maxmemory


def test_the_memory_for_data_can_be_set() -> None:
    assert config({"redis": {"maxmemory": "200mb"}})["maxmemory"] == "200mb"


def test_a_loading_redis_is_alive_and_not_ready() -> None:
    redis = container(render(), NAME, "StatefulSet")
    # Any reply, such as LOADING, is a sign of life; only PONG is readiness.
    assert redis["livenessProbe"]["exec"]["command"][-1].startswith("test -n ")
    assert redis["readinessProbe"]["exec"]["command"][-1].endswith("= PONG")
    assert "startupProbe" not in redis


def test_the_password_stands_in_no_argument() -> None:
    rendered = render()
    redis = container(rendered, NAME, "StatefulSet")
    expected = {"secretKeyRef": {"name": NAME, "key": "password"}}
    assert environment(redis)["REDISCLI_AUTH"] == expected
    assert "sha256sum" in redis["command"][-1]
    assert "requirepass" not in str(rendered.get("ConfigMap", NAME))


def test_the_volume_outlives_the_release_unless_it_is_told_otherwise() -> None:
    spec = render().get("StatefulSet", NAME)["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    [claim] = spec["volumeClaimTemplates"]
    assert claim["spec"]["resources"] == {"requests": {"storage": "8Gi"}}
    spec = render(file=CHART / "ci" / "everything.yaml").get("StatefulSet", "flow-redis")["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"
    [claim] = spec["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "standard"


@pytest.mark.parametrize(
    ("persistence", "volume"),
    [
        ({"enabled": False}, {"emptyDir": {}}),
        ({"existingClaim": "ours"}, {"persistentVolumeClaim": {"claimName": "ours"}}),
    ],
)
def test_the_volume_can_be_none_or_an_existing_one(
    persistence: Values, volume: dict[str, object]
) -> None:
    spec = render({"redis": {"persistence": persistence}}).get("StatefulSet", NAME)["spec"]
    assert "volumeClaimTemplates" not in spec
    [data] = [found for found in spec["template"]["spec"]["volumes"] if found["name"] == "data"]
    assert data == {"name": "data", **volume}


def test_a_changed_configuration_starts_redis_anew() -> None:
    def checksum(values: Values) -> str:
        template = render(values).get("StatefulSet", NAME)["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) != checksum({"redis": {"extraConfig": "hz 20"}})
    assert checksum({}) == checksum({"api": {"replicas": 3}})


def test_the_official_image_is_the_default_and_any_other_can_be_set() -> None:
    assert container(render(), NAME, "StatefulSet")["image"].startswith("docker.io/library/redis:")
    other = render(file=CHART / "ci" / "everything.yaml")
    assert container(other, "flow-redis", "StatefulSet")["image"] == "valkey/valkey:9"

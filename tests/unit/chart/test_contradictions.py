"""Values that contradict each other are refused, each by a sentence that says what to change."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.unit.chart.rendering import CHART, refusal, render

SHA = "0" * 64
URL = "redis://redis.example.com:6379/0"
NO_REDIS: dict[str, Any] = {"redis": {"enabled": False}}

CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "two Redises": (
        {"externalRedis": {"url": URL}},
        "redis.enabled is true and externalRedis names another Redis: set redis.enabled=false",
    ),
    "no Redis": (
        NO_REDIS,
        "redis.enabled is false and externalRedis names none: set externalRedis.url or",
    ),
    "a Redis that nothing uses": (
        {"queue": {"enabled": False}, "workers": {"default": None}},
        "queue.enabled is false and a Redis is given, which nothing would use",
    ),
    "workers without a queue": (
        {"queue": {"enabled": False}, **NO_REDIS},
        "there are worker pools (default), which would have nothing to do: set workers.default=nul",
    ),
    "two places of the URL": (
        {**NO_REDIS, "externalRedis": {"url": URL, "existingSecret": "redis"}},
        "externalRedis.url and externalRedis.existingSecret both say where Redis is",
    ),
    "two places of the certificates": (
        {
            **NO_REDIS,
            "externalRedis": {
                "existingSecret": "redis",
                "tls": {"existingSecret": "ca", "existingConfigMap": "ca"},
            },
        },
        "externalRedis.tls.existingSecret and externalRedis.tls.existingConfigMap both give cert",
    ),
    "certificates for the chart's own Redis": (
        {"externalRedis": {"tls": {"existingSecret": "ca"}}},
        "externalRedis.tls gives certificates and redis.enabled is true",
    ),
    "certificates without TLS": (
        {**NO_REDIS, "externalRedis": {"url": URL, "tls": {"existingSecret": "ca"}}},
        "externalRedis.url asks for no TLS: write rediss:// instead of redis://",
    ),
    "replicas that the chart's own Redis has not": (
        {"queue": {"redisWaitReplicas": 1}},
        "queue.redisWaitReplicas is 1 and the chart's own Redis has no replicas",
    ),
    "keys that nobody needs": (
        {"auth": {"allowAnonymous": True, "existingSecret": "keys"}},
        "auth.allowAnonymous is true and keys are given, which nobody would need",
    ),
    "no key for the operator": (
        {"auth": {"existingSecret": "keys"}},
        "controller.existingSecret names none of them for the operator, which sizes the worker"
        " pools (default): put a key of the role operator into a Secret",
    ),
    "no key for another release's operator": (
        {"auth": {"existingSecret": "keys"}, "controller": {"enabled": False}},
        "controller.existingSecret names none of them for the operator",
    ),
    "an operator's key that the API does not know": (
        {"controller": {"existingSecret": "key"}, "auth": {"keys": [f"submit:{SHA}:operator"]}},
        "controller.existingSecret gives the operator a key that the API does not know: add its",
    ),
    "an operator's key that nobody needs": (
        {"auth": {"allowAnonymous": True}, "controller": {"existingSecret": "key"}},
        "auth.allowAnonymous is true and controller.existingSecret gives the operator a key",
    ),
    "an operator for all that is off": (
        {"controller": {"enabled": False, "clusterWide": True}},
        "controller.clusterWide is true and controller.enabled is false, so there would be no",
    ),
    "the operator's rights for everybody": (
        {"controller": {"serviceAccount": {"create": False}}},
        "the account `default`, which other pods have too, would get the operator's rights",
    ),
    "fewest above most": (
        {"workers": {"default": {"autoscaling": {"minReplicas": 11}}}},
        "workers.default.autoscaling has minReplicas 11 and maxReplicas 10: lower the one or",
    ),
    "a fallback above the most": (
        {"workerDefaults": {"autoscaling": {"maxReplicas": 2, "fallbackReplicas": 3}}},
        "workers.default.autoscaling has fallbackReplicas 3 and maxReplicas 2: lower the one or",
    ),
    "keys for a Secret that is not the chart's": (
        {"auth": {"existingSecret": "keys", "keys": [f"read:{SHA}"]}},
        "auth.keys would go into the generated Secret, and auth.existingSecret takes its place",
    ),
    "payloads larger than bodies": (
        {"queue": {"maxPayloadBytes": 4_000_000}},
        "queue.maxPayloadBytes is 4000000 and api.maxBodyBytes 2097152: no payload of that size",
    ),
    "a node port without one": (
        {"api": {"service": {"nodePort": 30080}}},
        "api.service.nodePort is 30080 and api.service.type ClusterIP, which has none",
    ),
    "an Ingress for no host": (
        {"ingress": {"enabled": True}},
        "ingress.enabled is true and ingress.hosts is empty: name at least one host",
    ),
    "TLS for a host that is not served": (
        {
            "ingress": {
                "enabled": True,
                "hosts": ["a.example.com"],
                "tls": [{"secretName": "tls", "hosts": ["b.example.com"]}],
            }
        },
        "ingress.tls names the host b.example.com, which is not in ingress.hosts",
    ),
    "an HTTPRoute on no Gateway": (
        {"httpRoute": {"enabled": True}},
        "httpRoute.enabled is true and httpRoute.parentRefs is empty: name the Gateway",
    ),
    "two places of definitions": (
        {"workflows": {"existingConfigMap": "ours", "definitions": {"a.yaml": "do: []"}}},
        "workflows.existingConfigMap and workflows.definitions both give definitions",
    ),
    "no workflow at all": (
        {"workflows": {"samples": False}},
        "workflows.samples is false and there are no other definitions",
    ),
    "a ServiceMonitor for no metrics": (
        {"metrics": {"enabled": False, "serviceMonitor": {"enabled": True}, "from": [{}]}},
        "metrics.serviceMonitor.enabled is true and metrics.enabled is false",
    ),
    "a ServiceMonitor that is kept out": (
        {"metrics": {"serviceMonitor": {"enabled": True}}},
        "metrics.from is empty, so the NetworkPolicy keeps Prometheus out",
    ),
    "a limit on readers that nothing enforces": (
        {"metrics": {"from": [{"podSelector": {}}]}, "networkPolicy": {"enabled": False}},
        "metrics.from says who may read the metrics, and networkPolicy.enabled is false",
    ),
    "root that may not be": (
        {"podSecurityContext": {"runAsUser": 0}},
        "podSecurityContext has runAsUser 0, which is root, and runAsNonRoot",
    ),
    "a variable of the API that the chart sets": (
        {"api": {"extraEnv": [{"name": "REDIS_URL", "value": URL}]}},
        "api.extraEnv sets REDIS_URL, which the chart sets itself",
    ),
    "a variable of the operator that the chart sets": (
        {"controller": {"extraEnv": [{"name": "CLUSTER_WIDE", "value": "true"}]}},
        "controller.extraEnv sets CLUSTER_WIDE, which the chart sets itself",
    ),
    "a variable of a pool that the chart sets": (
        {"workers": {"default": {"extraEnv": [{"name": "MAX_WORKERS", "value": "9"}]}}},
        "workers.default.extraEnv sets MAX_WORKERS, which the chart sets itself",
    ),
    "two pools with one queue": (
        {"workers": {"default": {"queues": ["a", "b"]}, "more": {"queues": ["c", "b"]}}},
        "workers.default and workers.more both take the queue b: a queue belongs to one pool",
    ),
    "a pool that takes all beside another": (
        {"workers": {"more": {"queues": ["a"]}}},
        "workers.default has no queues, so it takes all of them, and there are other pools (more)",
    ),
    "a name that is too long": (
        {"fullnameOverride": "a-name-of-more-than-forty-characters-at-once"},
        "is too long for a Deployment's name (59 of 52 characters)",
    ),
    "a claim for no volume": (
        {"redis": {"persistence": {"enabled": False, "existingClaim": "data"}}},
        "redis.persistence.existingClaim names a claim, and redis.persistence.enabled is false",
    ),
    "a Redis without bounds": (
        {"redis": {"resources": {"limits": {"memory": None}}}},
        "redis.resources.limits.memory is not an amount of memory and redis.maxmemory is empty",
    ),
    "more data than memory": (
        {"redis": {"maxmemory": "1gb"}},
        "redis.maxmemory is 1gb and redis.resources.limits.memory 512Mi: the limit must be larger",
    ),
    "Redis as root that may not be": (
        {"redis": {"podSecurityContext": {"runAsUser": 0}}},
        "redis.podSecurityContext has runAsUser 0, which is root, and runAsNonRoot",
    ),
    "a lease that a slow reply would lose": (
        {"queue": {"leaseSeconds": 1}},
        "queue.leaseSeconds is 1 and queue.redisTimeoutSeconds 1: a lease is renewed every third",
    ),
    "users of another namespace": (
        {"queue": {"namespace": "team-a"}},
        "queue.namespace is team-a and redis.auth.namespace headrace, whose keys alone API and",
    ),
    "memory without its unit": (
        {"api": {"resources": {"limits": {"memory": 256}}}},
        "api.resources.limits.memory is 256 bytes: write the unit, such as 256Mi",
    ),
    "a pool's memory without its unit": (
        {"workers": {"default": {"resources": {"requests": {"memory": "128"}}}}},
        "workers.default.resources.requests.memory is 128 bytes: write the unit, such as 256Mi",
    ),
    "thousandths of bytes": (
        {"controller": {"resources": {"limits": {"memory": "256m"}}}},
        "controller.resources.limits.memory is 256m, which is less than a byte: write the unit",
    ),
    "Redis's memory without its unit": (
        {"redis": {"resources": {"limits": {"memory": 512}}}},
        "redis.resources.limits.memory is 512 bytes: write the unit, such as 256Mi",
    ),
    "a line of redis.conf that the chart writes": (
        {"redis": {"extraConfig": "hz 20\nappendfsync no\n"}},
        "redis.extraConfig sets what the chart sets itself",
    ),
}


ELSEWHERE: dict[str, str] = YAML(typ="safe").load(CHART / "files" / "elsewhere.yaml")


@pytest.mark.parametrize("word", [*ELSEWHERE, "workers.default.replicaCount"])
def test_a_word_of_other_charts_is_refused_with_the_right_one(word: str) -> None:
    value: Any = ["any"]
    for name in reversed(word.split(".")):
        value = {name: value}
    instead = ELSEWHERE[word.replace("workers.default.", "workerDefaults.")]
    assert f"{word} is not a value of this chart: use {instead}" in refusal(value)


def test_a_word_of_other_charts_is_refused_when_its_value_is_empty_too() -> None:
    assert "replicaCount is not a value of this chart: use api.replicas" in refusal(
        {"replicaCount": 0}
    )


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictory_values_are_refused_with_a_sentence(name: str) -> None:
    values, sentence = CONTRADICTIONS[name]
    assert sentence in refusal(values)


def test_all_problems_are_told_at_once() -> None:
    said = refusal({"queue": {"redisWaitReplicas": 1}, "ingress": {"enabled": True}})
    assert "queue.redisWaitReplicas is 1" in said
    assert "ingress.hosts is empty" in said


@pytest.mark.parametrize(
    "values",
    [
        {"redis": {"maxmemory": "300mb"}},
        {"queue": {"namespace": "team-a"}, "redis": {"auth": {"namespace": "team-a"}}},
        {"queue": {"namespace": "team-a"}, "redis": {"auth": {"users": False}}},
        {"queue": {"leaseSeconds": 3}},
        {"api": {"resources": {"limits": {"memory": 1073741824}}}},
        {"redis": {"resources": {"limits": {"memory": None}}, "maxmemory": "1gb"}},
        {"podSecurityContext": {"runAsUser": 0, "runAsNonRoot": False}},
        {"workers": {"default": {"queues": ["a"]}, "more": {"queues": ["b"]}}},
        {"workers": {"default": None, "more": {"queues": ["a"]}}},
        {"workers": {"default": None}},
        {"workers": {"default": None}, "auth": {"existingSecret": "keys"}},
        {"workerDefaults": {"autoscaling": {"enabled": False, "minReplicas": 11}}},
        {"workerDefaults": {"autoscaling": {"minReplicas": 10, "fallbackReplicas": 10}}},
        {"controller": {"existingSecret": "key"}, "auth": {"keys": [f"operator:{SHA}"]}},
        {"controller": {"enabled": False, "serviceAccount": {"create": False}}},
    ],
)
def test_values_that_only_look_contradictory_are_taken(values: dict[str, Any]) -> None:
    assert render(values).of("Deployment")


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"api": {"replcas": 3}}, "additional properties 'replcas' not allowed"),
        ({"api": {"replicas": "3"}}, "at '/api/replicas'"),
        ({"api": {"replicas": 0}}, "at '/api/replicas'"),
        ({"api": {"pathPrefix": "headrace/"}}, "at '/api/pathPrefix'"),
        ({"logs": {"level": "verbose"}}, "at '/logs/level'"),
        ({"auth": {"keys": ["a-plain-key"]}}, "at '/auth/keys/0'"),
        ({"image": {"pullPolicy": "Sometimes"}}, "at '/image/pullPolicy'"),
        ({"workers": {"default": {"concurency": 3}}}, "additional properties 'concurency' not"),
        ({"workers": {"Not_A_Name": {}}}, "at '/workers'"),
        ({"workerDefaults": {"autoscaling": {"min": 1}}}, "additional properties 'min' not allow"),
        ({"workerDefaults": {"autoscaling": {"drainSeconds": 0}}}, "at '/workerDefaults/autoscali"),
        ({"controller": {"replicas": 0}}, "at '/controller/replicas'"),
        ({"controller": {"secretNames": [""]}}, "at '/controller/secretNames/0'"),
        ({"workflows": {"definitions": {"greet.txt": "do: []"}}}, "at '/workflows/definitions'"),
        ({"externalRedis": {"url": "http://redis"}}, "at '/externalRedis/url'"),
        ({"redis": {"appendfsync": False}}, "at '/appendfsync'"),
        ({"redis": {"persistance": {}}}, "additional properties 'persistance' not allowed"),
        ({"ingress": {"tls": [{"hosts": ["a.example.com"]}]}}, "missing property 'secretName'"),
    ],
)
def test_typing_errors_are_refused_by_the_schema(values: dict[str, Any], place: str) -> None:
    assert place in refusal(values)

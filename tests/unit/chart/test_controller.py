"""The operator: its pods, its key, its rights, and who reaches it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from controller.api import API_ANNOTATION, may_have_key
from tests.unit.chart.rendering import (
    CHART,
    NAMESPACE,
    Object,
    Rendered,
    api_keys,
    container,
    environment,
    render,
    secret,
)

NAME = "demo-headrace-controller"
KEY = f"{NAME}-key"
OFF: dict[str, Any] = {"controller": {"enabled": False}}
UNSIZED: dict[str, Any] = {"workerDefaults": {"autoscaling": {"enabled": False}}}
WIDE = CHART / "ci" / "cluster-wide.yaml"

# All that the operator asks of Kubernetes where it serves.
SERVING = {
    ("headrace.dev", "workerautoscalers"): {"list", "watch"},
    ("headrace.dev", "workerautoscalers/status"): {"patch"},
    ("apps", "deployments"): {"get", "list", "watch"},
    ("apps", "deployments/scale"): {"patch"},
    ("", "pods"): {"list", "watch", "patch"},
    ("autoscaling", "horizontalpodautoscalers"): {"list", "watch"},
    ("events.k8s.io", "events"): {"create"},
}
LEADING = {("coordination.k8s.io", "leases"): {"create"}}


def rights(role: Object) -> tuple[dict[tuple[str, str], set[str]], dict[str, tuple[Any, Any]]]:
    """What a role allows on all objects of a kind, and what on those it names."""
    everywhere, named = {}, {}
    for rule in role["rules"]:
        assert "*" not in str(rule)
        [group], [kind] = rule["apiGroups"], rule["resources"]
        if "resourceNames" in rule:
            assert rule["resourceNames"]
            named[kind] = (rule["resourceNames"], rule["verbs"])
        else:
            everywhere[group, kind] = set(rule["verbs"])
    return everywhere, named


def test_the_operator_may_do_what_it_does_and_only_in_its_namespace() -> None:
    rendered = render()
    everywhere, named = rights(rendered.get("Role", NAME))
    assert everywhere == SERVING | LEADING
    assert named == {
        "leases": (["headrace-operator"], ["get", "update"]),
        "secrets": ([KEY], ["get"]),
    }
    assert rendered.of("ClusterRole") == rendered.of("ClusterRoleBinding") == []
    binding = rendered.get("RoleBinding", NAME)
    assert binding["roleRef"]["name"] == NAME
    pod = rendered.pods()[f"Deployment/{NAME}"]
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    assert binding["subjects"] == [account]
    assert pod["serviceAccountName"] == NAME


def test_a_cluster_wide_operator_has_its_lease_in_its_namespace_and_reads_named_secrets() -> None:
    rendered = render(file=WIDE)
    # Releases of one name in several namespaces do not share a ClusterRole.
    name = f"{NAMESPACE}-{NAME}"
    everywhere, named = rights(rendered.get("ClusterRole", name))
    assert everywhere == SERVING
    assert named == {"secrets": ([KEY, "other-headrace-controller-key", "third-api"], ["get"])}
    everywhere, named = rights(rendered.get("Role", NAME))
    assert everywhere == LEADING
    assert named == {"leases": (["headrace-operator"], ["get", "update"])}
    binding = rendered.get("ClusterRoleBinding", name)
    assert binding["roleRef"]["name"] == name
    assert binding["subjects"] == rendered.get("RoleBinding", NAME)["subjects"]
    assert environment(container(rendered, NAME))["CLUSTER_WIDE"] == "true"


def test_the_lease_that_the_operator_may_take_is_the_one_that_it_takes() -> None:
    name = environment(container(render(), NAME))["LEASE_NAME"]
    _, named = rights(render().get("Role", NAME))
    assert named["leases"][0] == [name]
    # It goes with the release, and what stands in it is the operator's.
    assert "spec" not in render().get("Lease", name)


@pytest.mark.parametrize(
    ("values", "secrets"),
    [
        ({"auth": {"allowAnonymous": True}}, None),
        ({"auth": {"existingSecret": "keys"}, "controller": {"existingSecret": "ours"}}, ["ours"]),
        ({"controller": {"secretNames": ["theirs", KEY]}}, [KEY, "theirs"]),
    ],
)
def test_the_operator_reads_no_secret_but_those_it_was_told(
    values: Object, secrets: list[str] | None
) -> None:
    _, named = rights(render(values).get("Role", NAME))
    found = named.get("secrets", (None, None))[0]
    assert (found and sorted(found)) == (secrets and sorted(secrets))


def test_the_operators_key_is_one_of_those_that_the_api_takes() -> None:
    rendered = render()
    key = secret(rendered, KEY, "key")
    assert len(key) >= 43
    [found] = [api_key for api_key in api_keys(rendered) if api_key.name == "controller"]
    assert found.role == "operator"
    assert found.digest == hashlib.sha256(key.encode()).digest()


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, f"http://demo-headrace-api.{NAMESPACE}.svc:8000"),
        (
            {"api": {"pathPrefix": "/tasks", "service": {"port": 80}}},
            f"http://demo-headrace-api.{NAMESPACE}.svc:80/tasks",
        ),
    ],
)
def test_the_key_is_for_the_releases_own_api_alone(values: Object, url: str) -> None:
    rendered = render(values)
    annotations = rendered.get("Secret", KEY)["metadata"]["annotations"]
    assert annotations == {API_ANNOTATION: url}
    assert environment(container(rendered, NAME))["API_URL"] == url
    [resource] = rendered.of("WorkerAutoscaler")
    assert resource["spec"]["api"]["url"] == url
    assert may_have_key(url, rendered.get("Secret", KEY), "")


def test_the_key_is_there_for_whoever_sizes_the_pools_and_for_nobody_else() -> None:
    assert secret(render(OFF), KEY, "key")
    assert secret(render(UNSIZED), KEY, "key")
    rendered = render({**OFF, **UNSIZED})
    assert KEY not in [found["metadata"]["name"] for found in rendered.of("Secret")]
    assert [api_key.name for api_key in api_keys(rendered)] == ["chart"]
    anonymous = render({"auth": {"allowAnonymous": True}}).of("Secret")
    assert [redis["metadata"]["name"] for redis in anonymous] == ["demo-redis"]


def test_no_key_is_made_where_there_is_one() -> None:
    digest = "0" * 64
    values = {
        "controller": {"existingSecret": "ours"},
        "auth": {"keys": [f"operator:{digest}:ours"]},
    }
    rendered = render(values)
    assert KEY not in [secret["metadata"]["name"] for secret in rendered.of("Secret")]
    assert [api_key.name for api_key in api_keys(rendered)] == ["chart", "ours"]


def test_a_pod_stands_by_before_another_hands_over_and_then_ends_soon() -> None:
    deployment = render(file=WIDE).get("Deployment", NAME)
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 15


def test_the_probes_ask_where_the_operator_answers() -> None:
    rendered_container = container(render(), NAME)
    assert rendered_container["ports"] == [
        {"name": "probes", "containerPort": 8080},
        {"name": "metrics", "containerPort": 9090},
    ]
    assert environment(rendered_container)["PROBE_PORT"] == "8080"
    assert environment(rendered_container)["METRICS_PORT"] == "9090"
    assert rendered_container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "probes"}
    assert rendered_container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "probes"}


def test_the_operator_knows_its_pod_and_writes_to_tmp_alone() -> None:
    rendered = render()
    found = environment(container(rendered, NAME))
    assert found["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert found["POD_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert found["CLUSTER_WIDE"] == "false"
    assert "REDIS_URL" not in found
    assert container(rendered, NAME)["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert rendered.pods()[f"Deployment/{NAME}"]["volumes"] == [{"name": "tmp", "emptyDir": {}}]


def test_only_those_who_are_named_reach_the_operator_and_only_its_metrics() -> None:
    assert "ingress" not in render().get("NetworkPolicy", NAME)["spec"]
    [rule] = render(file=WIDE).get("NetworkPolicy", NAME)["spec"]["ingress"]
    assert rule["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    [peer] = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert render({"networkPolicy": {"enabled": False}}).of("NetworkPolicy") == []


def test_each_service_monitor_finds_its_own_metrics_service() -> None:
    rendered = render(file=WIDE)
    for name in (f"{NAME}-metrics", "demo-headrace-api-metrics"):
        selector = rendered.get("ServiceMonitor", name)["spec"]["selector"]["matchLabels"]
        found = [
            service["metadata"]["name"]
            for service in rendered.of("Service")
            if selector.items() <= service["metadata"]["labels"].items()
        ]
        assert found == [name]


def test_metrics_can_be_switched_off() -> None:
    rendered = render({"metrics": {"enabled": False}})
    assert environment(container(rendered, NAME))["METRICS_PORT"] == "0"
    assert [port["name"] for port in container(rendered, NAME)["ports"]] == ["probes"]
    assert "metrics" not in str([service["metadata"]["name"] for service in rendered.of("Service")])


def test_another_release_can_have_the_operator() -> None:
    rendered = render(file=CHART / "ci" / "controller-off.yaml")
    assert _parts(rendered) == {("Secret", KEY)}
    [resource] = rendered.of("WorkerAutoscaler")
    assert resource["spec"]["api"]["secretName"] == KEY


def test_without_a_queue_there_is_no_operator() -> None:
    assert _parts(render(file=CHART / "ci" / "no-queue.yaml")) == set()


def _parts(rendered: Rendered) -> set[tuple[str, str]]:
    """The operator's objects, by kind and name."""
    return {
        (resource["kind"], resource["metadata"]["name"])
        for resource in rendered.objects
        if resource["metadata"]["labels"]["app.kubernetes.io/component"] == "controller"
    }

"""What the pods are: restricted, quiet, and told by their environment what the values say."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from controller.settings import Settings as OperatorSettings
from headrace.settings import ApiSettings, WorkerSettings, names
from tests.unit.chart.rendering import (
    CHART,
    CI_VALUES,
    NAMESPACE,
    Rendered,
    api_keys,
    container,
    environment,
    render,
    secret,
)

EVERY_FILE = pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem)


@EVERY_FILE
def test_pods_keep_to_the_restricted_standard(file: Path) -> None:
    for name, pod in render(file=file).pods().items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for spec in pod["containers"]:
            context = spec["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name


@EVERY_FILE
def test_only_the_operator_holds_a_token_and_no_pod_learns_of_other_services(file: Path) -> None:
    rendered = render(file=file)
    for name, pod in rendered.pods().items():
        assert pod["automountServiceAccountToken"] is name.endswith("-controller"), name
        assert pod["enableServiceLinks"] is False, name
    for account in rendered.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@EVERY_FILE
def test_every_object_names_the_namespace_and_carries_the_labels(file: Path) -> None:
    for resource in render(file=file).objects:
        of_the_cluster = resource["kind"].startswith("Cluster")
        assert resource["metadata"].get("namespace") == (None if of_the_cluster else NAMESPACE)
        labels = resource["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "demo"
        assert labels["app.kubernetes.io/part-of"] == "headrace"
        assert labels["app.kubernetes.io/component"]


@EVERY_FILE
def test_selectors_select_the_pods_that_are_made(file: Path) -> None:
    rendered = render(file=file)
    pods = [
        workload["spec"]["template"]["metadata"]["labels"]
        for kind in ("Deployment", "StatefulSet")
        for workload in rendered.of(kind)
    ]
    selectors = [service["spec"]["selector"] for service in rendered.of("Service")]
    selectors += [
        policy["spec"]["podSelector"]["matchLabels"] for policy in rendered.of("NetworkPolicy")
    ]
    for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        selectors += [resource["spec"]["selector"]["matchLabels"] for resource in rendered.of(kind)]
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in pods), selector


@EVERY_FILE
def test_nothing_but_the_test_and_the_checks_is_a_hook(file: Path) -> None:
    for resource in render(file=file).objects:
        hook = resource["metadata"].get("annotations", {}).get("helm.sh/hook")
        component = resource["metadata"]["labels"]["app.kubernetes.io/component"]
        assert (hook is not None) == (component in ("test", "check")), resource["metadata"]["name"]


@EVERY_FILE
def test_pods_do_not_start_anew_for_a_new_version_of_the_chart(file: Path) -> None:
    for kind in ("Deployment", "StatefulSet"):
        for workload in render(file=file).of(kind):
            labels = workload["spec"]["template"]["metadata"]["labels"]
            assert not {"helm.sh/chart", "app.kubernetes.io/version"} & labels.keys()


@EVERY_FILE
def test_every_variable_is_a_setting_of_the_process(file: Path) -> None:
    rendered = render(file=file)
    besides = {"REDIS_PASSWORD", "TZ", "MODEL"}
    settings = {
        "api": set(names(ApiSettings).values()),
        "worker": set(names(WorkerSettings).values()),
        "controller": {name.upper() for name in OperatorSettings.model_fields},
    }
    for deployment in rendered.of("Deployment"):
        component = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
        expected = settings[component] | besides
        found = environment(container(rendered, deployment["metadata"]["name"]))
        assert found.keys() <= expected
        listed = [
            variable["name"]
            for variable in container(rendered, deployment["metadata"]["name"])["env"]
        ]
        assert len(listed) == len(set(listed))


def test_extra_env_is_checked_against_all_variables_that_the_chart_sets() -> None:
    text = (CHART / "templates" / "validate.yaml").read_text()
    listed = set(re.findall(r'"([A-Z_]+)"', text[text.index("$own := list") :]))
    rendered = [render(), render({"auth": {"allowAnonymous": True}})]
    rendered.append(render(file=CHART / "ci" / "external-redis.yaml"))
    for workload in rendered:
        for name in ("api", "worker-default", "controller"):
            assert environment(container(workload, f"demo-headrace-{name}")).keys() <= listed


def test_an_api_without_keys_answers_to_the_names_that_it_is_published_under() -> None:
    def hosts(values: dict[str, Any]) -> str | None:
        env = environment(container(render(values), "demo-headrace-api"))
        return env.get("ALLOWED_HOSTS")

    service = "demo-headrace-api"
    names = [service, *(f"{service}.somewhere{end}" for end in ("", ".svc", ".svc.cluster.local"))]
    anonymous = {"auth": {"allowAnonymous": True}}
    assert hosts({}) is None
    assert hosts(anonymous) == ",".join(names)
    published: dict[str, Any] = {
        **anonymous,
        "ingress": {"enabled": True, "hosts": ["in.example.com"]},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "hostnames": ["*.b.example"]},
        "api": {"allowedHosts": ["c.example"]},
    }
    found = hosts(published)
    assert found == ",".join([*names, "in.example.com", "*.b.example", "c.example"])
    hidden = {**published, "ingress": {"enabled": False, "hosts": ["in.example.com"]}}
    assert "in.example.com" not in (hosts(hidden) or "")


def test_pages_of_other_origins_are_let_in_by_a_value() -> None:
    for origins in ([], ["https://a.example.com", "https://b.example.com"]):
        env = environment(container(render({"api": {"corsOrigins": origins}}), "demo-headrace-api"))
        assert env.get("CORS_ORIGINS") == (",".join(origins) or None)


def test_the_charts_defaults_are_the_processes_defaults() -> None:
    values: dict[str, Any] = YAML(typ="safe").load(CHART / "values.yaml")
    queue, api, worker = values["queue"], values["api"], values["workerDefaults"]
    fields = ApiSettings.model_fields
    settings = ApiSettings.model_construct()
    assert queue == {
        "enabled": settings.queue.enabled,
        "namespace": settings.queue.namespace,
        "leaseSeconds": settings.queue.lease_seconds,
        "resultRetentionSeconds": settings.queue.result_retention_seconds,
        "maxLength": settings.queue.max_length,
        "maxPayloadBytes": settings.queue.max_payload_bytes,
        "redisTimeoutSeconds": settings.queue.redis_timeout_seconds,
        "redisWaitReplicas": settings.queue.redis_wait_replicas,
    }
    assert api["inlineTimeoutSeconds"] == fields["inline_timeout_seconds"].default
    assert api["inlineMax"] == fields["inline_max"].default
    assert api["maxBodyBytes"] == fields["max_body_bytes"].default
    assert worker["concurrency"] == WorkerSettings.model_fields["max_workers"].default
    assert worker["gracePeriodSeconds"] == WorkerSettings.model_fields["grace_seconds"].default


def test_large_numbers_reach_the_processes_as_whole_numbers() -> None:
    found = environment(
        container(render({"queue": {"maxLength": 25_000_000}}), "demo-headrace-api")
    )
    assert found["QUEUE_MAX_LENGTH"] == "25000000"
    assert found["RESULT_RETENTION_SECONDS"] == "604800"


def test_images_come_from_the_one_registry() -> None:
    rendered = render({"image": {"registry": "registry.example.com/team/", "tag": "7"}})
    images = {
        container["image"]
        for name, pod in rendered.pods().items()
        if "redis" not in name
        for container in pod["containers"]
    }
    assert images == {
        "registry.example.com/team/headrace-api:7",
        "registry.example.com/team/headrace-worker:7",
        "registry.example.com/team/headrace-controller:7",
    }


def test_the_api_pods_see_the_hash_of_the_generated_key_and_never_the_key() -> None:
    rendered = render({"auth": {"keys": [f"read:{'1' * 64}:dashboard"]}})
    key = secret(rendered, "demo-headrace-api-keys", "admin")
    assert len(key) >= 43
    keys = api_keys(rendered)
    assert [(api_key.role, api_key.name) for api_key in keys] == [
        ("admin", "chart"),
        ("operator", "controller"),
        ("read", "dashboard"),
    ]
    assert keys[0].digest == hashlib.sha256(key.encode()).digest()
    pod = rendered.pods()["Deployment/demo-headrace-api"]
    [volume] = [found for found in pod["volumes"] if found["name"] == "api-keys"]
    assert volume["secret"]["items"] == [{"key": "keys", "path": "keys"}]


def test_each_rendering_without_a_cluster_draws_a_new_key() -> None:
    drawn = {
        secret(render({"commonLabels": {"run": str(number)}}), "demo-headrace-api-keys", "admin")
        for number in range(2)
    }
    assert len(drawn) == 2


def test_existing_secrets_leave_nothing_to_draw() -> None:
    rendered = render(file=CHART / "ci" / "existing-secrets.yaml")
    assert rendered.of("Secret") == []
    found = environment(container(rendered, "demo-headrace-api"))
    expected = {"name": "headrace-redis-password", "key": "redis-password"}
    assert found["REDIS_PASSWORD"] == {"secretKeyRef": expected}


def test_an_external_redis_is_reached_by_a_secret_and_its_change_starts_pods_anew() -> None:
    values = {"redis": {"enabled": False}, "externalRedis": {"url": "redis://:pass@host:6379/0"}}
    other = {"redis": {"enabled": False}, "externalRedis": {"url": "redis://:word@host:6379/0"}}
    rendered = render(values)
    assert rendered.of("StatefulSet") == []
    assert secret(rendered, "demo-headrace-redis-url", "url") == "redis://:pass@host:6379/0"
    for name in ("demo-headrace-api", "demo-headrace-worker-default"):
        assert ":pass@" not in str(rendered.get("Deployment", name))
        assert _annotations(rendered, name) != _annotations(render(other), name)


def test_certificates_of_an_external_redis_are_mounted() -> None:
    rendered = render(file=CHART / "ci" / "external-redis-secret.yaml")
    for name in ("demo-headrace-api", "demo-headrace-worker-default"):
        found = environment(container(rendered, name))
        assert found["REDIS_TLS_CA_FILE"] == "/etc/headrace/redis-ca/tls.crt"
        mounts = {
            volume_mount["name"]: volume_mount["mountPath"]
            for volume_mount in container(rendered, name)["volumeMounts"]
        }
        assert mounts["redis-ca"] == "/etc/headrace/redis-ca"


def test_the_api_has_time_to_stop_before_it_is_killed() -> None:
    pod = render({"api": {"shutdownDelaySeconds": 7.5, "inlineTimeoutSeconds": 100}}).pods()
    # The delay, the longest inline run, the 5 s that the server adds, and 15 s more.
    assert pod["Deployment/demo-headrace-api"]["terminationGracePeriodSeconds"] == 128


def test_a_rollout_of_the_api_never_has_fewer_pods() -> None:
    deployment = render().get("Deployment", "demo-headrace-api")
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_extra_settings_reach_their_pods() -> None:
    pods = render(file=CHART / "ci" / "everything.yaml").pods()
    for name in ("api", "worker-default", "controller"):
        pod = pods[f"Deployment/flow-{name}"]
        assert pod["priorityClassName"] == "system-cluster-critical"
        assert pod["imagePullSecrets"] == [{"name": "login"}]
        [constraint] = pod["topologySpreadConstraints"]
        assert constraint["topologyKey"] == "topology.kubernetes.io/zone"
        [only] = pod["containers"]
        assert environment(only)["TZ"] == "UTC"
        assert "runAsUser" not in pod["securityContext"]
    assert pods["Deployment/flow-worker-default"]["initContainers"][0]["name"] == "fetch"
    assert pods["Deployment/flow-worker-default"]["serviceAccountName"] == "shared"
    for name in ("api", "controller"):
        pod = pods[f"Deployment/flow-{name}"]
        assert pod["tolerations"] == [{"key": "busy", "operator": "Exists"}]
        assert {"name": "cache", "emptyDir": {}} in pod["volumes"]
        assert {"name": "cache", "mountPath": "/cache"} in pod["containers"][0]["volumeMounts"]
    assert pods["Deployment/flow-controller"]["serviceAccountName"] == "flow-operator"
    assert pods["Deployment/flow-controller"]["initContainers"][0]["name"] == "wait"


def test_without_a_queue_there_is_only_the_api() -> None:
    rendered = render(file=CHART / "ci" / "no-queue.yaml")
    assert [deployment["metadata"]["name"] for deployment in rendered.of("Deployment")] == [
        "demo-headrace-api"
    ]
    assert rendered.of("StatefulSet") == rendered.of("NetworkPolicy") == rendered.of("Secret") == []
    found = environment(container(rendered, "demo-headrace-api"))
    assert found["QUEUE_ENABLED"] == "false"
    assert "REDIS_URL" not in found


def _annotations(rendered: Rendered, name: str) -> Any:
    return rendered.get("Deployment", name)["spec"]["template"]["metadata"]["annotations"]

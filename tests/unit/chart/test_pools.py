"""Worker pools: what each one is, and how many pods a new one has."""

from __future__ import annotations

import pytest

from tests.unit.chart.rendering import CHART, container, environment, render

POOLS = CHART / "ci" / "pools.yaml"


def test_a_pool_takes_the_defaults_and_sets_what_differs() -> None:
    rendered = render(file=POOLS)
    plain, own = (f"demo-headrace-worker-{pool}" for pool in ("default", "images"))
    assert container(rendered, plain)["image"] == "registry.example.com/team/headrace-worker:1.2.3"
    assert container(rendered, own)["image"].startswith(
        "registry.example.com/other/resizer:1.2.3@sha256:0123"
    )
    assert environment(container(rendered, plain))["QUEUES"] == "workflow_execute"
    assert environment(container(rendered, own))["QUEUES"] == "resize_image,classify_image"
    assert environment(container(rendered, plain))["MAX_WORKERS"] == "20"
    assert environment(container(rendered, own))["MAX_WORKERS"] == "1"
    pods = rendered.pods()
    assert pods[f"Deployment/{plain}"]["nodeSelector"] == {"pool": "workers"}
    assert pods[f"Deployment/{own}"]["nodeSelector"] == {"pool": "workers", "accelerator": "true"}
    assert pods[f"Deployment/{own}"]["serviceAccountName"] == own
    resources = container(rendered, own)["resources"]
    assert resources["limits"] == {"memory": "4Gi", "example.com/gpu": 1}
    assert resources["requests"]["memory"] == "128Mi"


def test_pools_do_not_select_each_others_pods() -> None:
    selectors = [
        deployment["spec"]["selector"]["matchLabels"]["headrace.dev/pool"]
        for deployment in render(file=POOLS).of("Deployment")
        if deployment["metadata"]["labels"]["app.kubernetes.io/component"] == "worker"
    ]
    assert selectors == ["default", "images", "steady"]


def test_a_new_pool_has_the_size_of_its_value() -> None:
    deployment = render(file=POOLS).get("Deployment", "demo-headrace-worker-default")
    assert deployment["spec"]["replicas"] == 3


def test_the_size_one_is_left_to_kubernetes_so_that_whoever_scales_owns_it() -> None:
    assert "replicas" not in render().get("Deployment", "demo-headrace-worker-default")["spec"]


def test_a_pool_may_begin_with_no_worker() -> None:
    rendered = render({"workerDefaults": {"replicas": 0}})
    assert rendered.get("Deployment", "demo-headrace-worker-default")["spec"]["replicas"] == 0


@pytest.mark.parametrize(("kubelet", "worker"), [(3600, 3585), (60, 45), (20, 10), (1, 0)])
def test_a_worker_hands_back_what_runs_before_it_is_killed(kubelet: int, worker: int) -> None:
    rendered = render({"workers": {"default": {"gracePeriodSeconds": kubelet}}})
    name = "demo-headrace-worker-default"
    assert rendered.pods()[f"Deployment/{name}"]["terminationGracePeriodSeconds"] == kubelet
    assert environment(container(rendered, name))["GRACE_SECONDS"] == str(worker)


def test_a_rollout_starts_a_worker_before_it_drains_one() -> None:
    for deployment in render(file=POOLS).of("Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_workers_know_their_pod_and_serve_their_probes() -> None:
    rendered_container = container(render(), "demo-headrace-worker-default")
    assert environment(rendered_container)["POD_NAME"] == {
        "fieldRef": {"fieldPath": "metadata.name"}
    }
    assert environment(rendered_container)["PROBE_PORT"] == "8080"
    assert rendered_container["ports"] == [{"name": "probes", "containerPort": 8080}]
    assert rendered_container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "probes"}
    assert rendered_container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "probes"}

"""The resource that the operator sizes a pool by: its schema, and what the chart says in it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import jsonschema_rs
import pytest
from pydantic.alias_generators import to_camel
from ruamel.yaml import YAML

from controller.crd import INSTALL, SPEC_FIELDS, STATUS_FIELDS
from controller.model import Spec
from controller.resource import parse
from tests.unit.chart.rendering import (
    CHART,
    CI_VALUES,
    NAMESPACE,
    Object,
    refusal,
    render,
)

POOL = "demo-headrace-worker-default"
OFF: dict[str, Any] = {"workerDefaults": {"autoscaling": {"enabled": False}}}
UPGRADE = ("--is-upgrade", "--api-versions", "apps/v1/Deployment")
"""As helm renders on a cluster: there it knows kinds."""
SERVED = ("--api-versions", "headrace.dev/v1alpha1/WorkerAutoscaler")


def crd() -> Object:
    """The custom resource definition."""
    found: Object = YAML(typ="safe").load(CHART / "crds" / "workerautoscalers.yaml")
    return found


def schema(field: str) -> Object:
    """The schema of `spec` or `status`."""
    [version] = crd()["spec"]["versions"]
    found: Object = version["schema"]["openAPIV3Schema"]["properties"][field]
    return found


def autoscaling() -> Object:
    """What a pool's `autoscaling` is by default."""
    found: Object = YAML(typ="safe").load(CHART / "values.yaml")["workerDefaults"]["autoscaling"]
    return found


def resource(name: str, values: Object | None = None) -> Object:
    """A pool's WorkerAutoscaler."""
    return render(values).get("WorkerAutoscaler", name)


def test_the_schema_has_the_fields_that_the_operator_knows() -> None:
    assert schema("spec")["properties"].keys() == SPEC_FIELDS
    assert schema("status")["properties"].keys() == STATUS_FIELDS


def test_schema_operator_and_chart_have_the_same_defaults() -> None:
    chart = autoscaling()
    for field in fields(Spec):
        name, default = to_camel(field.name), field.default
        described = schema("spec")["properties"][name]
        assert described.get("default") == (list(default) if default == () else default), name
        if name not in ("queues", "concurrency"):  # which the pool says
            assert chart[name] == default, name
    assert chart.keys() - schema("spec")["properties"].keys() == {"enabled"}


def test_every_field_is_explained() -> None:
    def walk(node: Object, path: str) -> None:
        assert path == ".metadata" or len(node["description"]) > 10, path
        for name, inner in node.get("properties", {}).items():
            walk(inner, f"{path}.{name}")
        for name, inner in node.get("items", {}).get("properties", {}).items():
            walk(inner, f"{path}[].{name}")

    [version] = crd()["spec"]["versions"]
    walk(version["schema"]["openAPIV3Schema"], "")


def test_what_the_schema_refuses_it_says_how_to_mend() -> None:
    rules = [*schema("spec")["x-kubernetes-validations"]]
    url = schema("spec")["properties"]["api"]["properties"]["url"]
    rules += url["x-kubernetes-validations"]
    assert [rule["message"].partition(" ")[0] for rule in rules] == [
        "minReplicas",
        "fallbackReplicas",
        "api.url",
    ]
    for rule in rules:
        assert ": " in rule["message"]


def test_a_maximum_of_no_workers_is_refused_by_chart_and_schema() -> None:
    found = refusal({"workerDefaults": {"autoscaling": {"maxReplicas": 0}}})
    assert "/autoscaling/maxReplicas" in found.replace(".", "/")
    spec = {**resource(POOL)["spec"], "maxReplicas": 0}
    with pytest.raises(jsonschema_rs.ValidationError, match="minimum of 1"):
        jsonschema_rs.validate(schema("spec"), spec)


def test_the_columns_tell_size_work_and_reason() -> None:
    [version] = crd()["spec"]["versions"]
    columns = [
        additional_printer_column["name"]
        for additional_printer_column in version["additionalPrinterColumns"]
    ]
    assert columns == [
        *("Target", "Min", "Max", "Replicas", "Desired", "Draining", "Demand", "Ready", "Reason"),
        *("Age", "Message"),
    ]


def test_helm_alone_puts_the_definition_there_and_never_a_template() -> None:
    for file in CI_VALUES:
        assert render(file=file).of("CustomResourceDefinition") == []


@pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem)
def test_every_resource_fits_the_schema_and_names_its_deployment(file: Any) -> None:
    rendered = render(file=file)
    for autoscaler in rendered.of("WorkerAutoscaler"):
        spec = autoscaler["spec"]
        jsonschema_rs.validate(schema("spec"), spec)
        assert spec.keys() <= schema("spec")["properties"].keys()
        assert autoscaler["metadata"]["name"] == spec["targetRef"]["name"]
        deployment = rendered.get("Deployment", spec["targetRef"]["name"])
        assert deployment["metadata"]["labels"]["app.kubernetes.io/component"] == "worker"
        created = {"creationTimestamp": "2026-01-01T00:00:00Z", "uid": "1"}
        parsed = parse({**autoscaler, "metadata": {**autoscaler["metadata"], **created}})
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        environment = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert str(parsed.spec.concurrency) == environment["MAX_WORKERS"]
        assert ",".join(parsed.spec.queues) == environment["QUEUES"]


def test_a_pool_is_sized_by_default() -> None:
    spec = resource(POOL)["spec"]
    assert spec == {
        "targetRef": {"name": POOL},
        "api": {
            "url": f"http://demo-headrace-api.{NAMESPACE}.svc:8000",
            "secretName": "demo-headrace-controller-key",
        },
        "queues": [],
        "concurrency": 5,
        "minReplicas": 0,
        "maxReplicas": 10,
        "drainSeconds": 30,
        "stabilizationSeconds": 60,
        "cooldownSeconds": 120,
        "dryRun": False,
    }


def test_pools_differ_in_how_they_are_sized() -> None:
    rendered = render(file=CHART / "ci" / "pools.yaml")
    found = {
        autoscaler["metadata"]["name"]: autoscaler["spec"]
        for autoscaler in rendered.of("WorkerAutoscaler")
    }
    assert found.keys() == {POOL, "demo-headrace-worker-images"}
    plain, own = found.values()
    assert (plain["minReplicas"], plain["maxReplicas"], plain["concurrency"]) == (1, 20, 20)
    assert "tasksPerReplica" not in plain
    assert own["queues"] == ["resize_image", "classify_image"]
    expected = {
        "minReplicas": 0,
        "maxReplicas": 4,
        "tasksPerReplica": 3,
        "stabilizationSeconds": 300,
        "cooldownSeconds": 0,
        "fallbackReplicas": 2,
        "dryRun": True,
    }
    assert expected.items() <= own.items()


def test_a_pool_can_take_back_what_the_defaults_say() -> None:
    values = {
        "workerDefaults": {"autoscaling": {"minReplicas": 2, "tasksPerReplica": 5, "dryRun": True}},
        "workers": {
            "default": {"autoscaling": {"minReplicas": 0, "tasksPerReplica": None, "dryRun": False}}
        },
    }
    spec = resource(POOL, values)["spec"]
    assert (spec["minReplicas"], spec["dryRun"]) == (0, False)
    assert "tasksPerReplica" not in spec


def test_the_api_is_asked_where_it_is_and_by_the_key_that_is_given() -> None:
    values = {
        "api": {"pathPrefix": "/headrace", "service": {"port": 80}},
        "auth": {"existingSecret": "keys"},
        "controller": {"existingSecret": "ours"},
    }
    assert resource(POOL, values)["spec"]["api"] == {
        "url": f"http://demo-headrace-api.{NAMESPACE}.svc:80/headrace",
        "secretName": "ours",
    }
    values = {"auth": {"allowAnonymous": True}}
    assert "secretName" not in resource(POOL, values)["spec"]["api"]


def test_a_queue_named_twice_counts_once() -> None:
    values = {"workers": {"default": {"queues": ["a", "b", "a"]}}}
    assert resource(POOL, values)["spec"]["queues"] == ["a", "b"]


def test_autoscaling_can_be_switched_off() -> None:
    assert render(OFF).of("WorkerAutoscaler") == []


def test_an_upgrade_on_a_cluster_without_the_resource_is_refused_and_told_what_to_do() -> None:
    sentence = f"run `{INSTALL}` and upgrade again"
    assert sentence in refusal({}, *UPGRADE)
    assert sentence in refusal(OFF, *UPGRADE)
    assert sentence in refusal({"controller": {"enabled": False}}, *UPGRADE)
    assert render({**OFF, "controller": {"enabled": False}}, None, *UPGRADE).of("Deployment")
    assert render({}, None, *UPGRADE, *SERVED).of("WorkerAutoscaler")
    # An install brings the resource; without a cluster nobody knows.
    assert render({}, None, *UPGRADE[1:]).of("WorkerAutoscaler")
    assert render({}, None, UPGRADE[0]).of("WorkerAutoscaler")

"""Parsing a WorkerAutoscaler, and who else scales its target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from controller.model import Spec
from controller.resource import InvalidSpec, conflict, parse, paused
from tests.unit.controller.fakes import autoscaler

CRD = Path(__file__).parents[3] / "charts/headrace/crds/workerautoscalers.yaml"


def test_what_is_left_out_has_the_defaults_of_the_decision() -> None:
    found = parse(autoscaler())
    assert found.spec == Spec()
    assert (found.target, found.url, found.secret) == ("workers", "http://api:8000", None)


def test_the_schemas_defaults_are_those_of_the_decision() -> None:
    [version] = YAML(typ="safe").load(CRD)["spec"]["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    assert len(defaults) >= 7
    assert parse(autoscaler(spec=defaults)).spec == Spec()


def test_all_fields_are_taken() -> None:
    fields = {
        "api": {"url": "https://example.com/headrace/", "secretName": "operator-key"},
        "minReplicas": 1,
        "maxReplicas": 20,
        "queues": ["a", "b"],
        "concurrency": 3,
        "drainSeconds": 60,
        "tasksPerReplica": 7,
        "stabilizationSeconds": 0,
        "cooldownSeconds": 5,
        "fallbackReplicas": 2,
        "dryRun": True,
        "ofALaterVersion": 1,
    }
    found = parse(autoscaler(spec=fields))
    assert found.url == "https://example.com/headrace"
    assert found.secret == "operator-key"
    assert found.spec == Spec(
        min_replicas=1,
        max_replicas=20,
        queues=("a", "b"),
        concurrency=3,
        drain_seconds=60,
        tasks_per_replica=7,
        stabilization_seconds=0,
        cooldown_seconds=5,
        fallback_replicas=2,
        dry_run=True,
    )


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"targetRef": {}}, "spec.targetRef.name: Field required"),
        ({"api": {"url": "ftp://x"}}, "spec.api.url: String should match"),
        ({"api": {"url": "http://x?y=1"}}, "spec.api.url: String should match"),
        ({"api": {"url": "http://user:key@x"}}, "spec.api.url: String should match"),
        ({"maxReplicas": "3"}, "spec.maxReplicas: Input should be a valid integer"),
        ({"minReplicas": 5, "maxReplicas": 3}, "at most max_replicas"),
        ({"maxReplicas": 0}, "spec.maxReplicas: Input should be greater than or equal to 1"),
        ({"drainSeconds": 0}, "above 0"),
        ({"cooldownSeconds": -1}, "spec.cooldownSeconds: Input should be greater"),
        ({"queues": "all"}, "spec.queues: Input should be a valid list"),
    ],
    ids=str,
)
def test_a_spec_that_cannot_be_used_says_which_field(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        parse(autoscaler(spec=fields))
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [(None, False), ({}, False), ({"headrace.dev/paused": "true"}, True)]
    + [({"headrace.dev/paused": text}, text == "True") for text in ("True", "false", "")],
)
def test_only_the_annotation_true_pauses(
    annotations: dict[str, str] | None, expected: bool
) -> None:
    assert paused(autoscaler(annotations=annotations)) is expected


def hpa(kind: str = "Deployment", name: str = "workers", version: str = "apps/v1") -> Any:
    target = {"kind": kind, "name": name, "apiVersion": version}
    return {"metadata": {"name": "other"}, "spec": {"scaleTargetRef": target}}


def test_a_horizontal_pod_autoscaler_on_the_target_is_a_conflict() -> None:
    own = parse(autoscaler())
    assert conflict(own, [own], [hpa()]) == "HorizontalPodAutoscaler/other"
    for other in (hpa("StatefulSet"), hpa(name="api"), hpa(version="example.com/v1")):
        assert conflict(own, [own], [other]) is None


def test_of_two_resources_on_one_target_the_older_acts() -> None:
    old = parse(autoscaler("old", creationTimestamp="2027-01-01T00:00:00Z"))
    new = parse(autoscaler("new"))
    assert conflict(old, [new, old], []) is None
    assert conflict(new, [new, old], []) == "WorkerAutoscaler/old"


def test_of_two_of_the_same_age_the_first_by_name_acts() -> None:
    a, b = parse(autoscaler("a")), parse(autoscaler("b"))
    assert conflict(a, [b, a], []) is None
    assert conflict(b, [b, a], []) == "WorkerAutoscaler/a"


def test_the_same_name_in_another_namespace_is_another_target() -> None:
    own = parse(autoscaler())
    elsewhere = parse(autoscaler("a", namespace="other", creationTimestamp="2020-01-01T00:00:00Z"))
    assert conflict(own, [own, elsewhere], []) is None

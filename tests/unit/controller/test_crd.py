"""Whether the resource is served, and what an older schema lacks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog
from ruamel.yaml import YAML

from controller import crd
from controller.kube import Json, KubeError

CRDS = Path(__file__).parents[3] / "charts" / "headrace" / "crds"


def served_schema() -> Json:
    """The OpenAPI document of the group, as the API server makes it from the chart's CRD."""
    (file,) = CRDS.glob("*.yaml")
    definition = YAML(typ="safe").load(file)
    (version,) = definition["spec"]["versions"]
    kind = {"group": "headrace.dev", "version": "v1alpha1", "kind": "WorkerAutoscaler"}
    schema = version["schema"]["openAPIV3Schema"] | {"x-kubernetes-group-version-kind": [kind]}
    return {"components": {"schemas": {"WorkerAutoscaler": schema, "Other": {}}}}


def properties(schema: Json, part: str) -> dict[str, Any]:
    found: dict[str, Any] = schema["components"]["schemas"]["WorkerAutoscaler"]["properties"]
    return found[part]["properties"]  # type: ignore[no-any-return]


def test_the_charts_crd_has_exactly_the_fields_that_the_operator_knows() -> None:
    assert crd.missing(served_schema()) == []
    assert set(properties(served_schema(), "spec")) == crd.SPEC_FIELDS
    assert set(properties(served_schema(), "status")) == crd.STATUS_FIELDS


def test_fields_that_an_older_schema_lacks_are_named() -> None:
    older = served_schema()
    del properties(older, "spec")["dryRun"], properties(older, "status")["demand"]
    assert crd.missing(older) == ["spec.dryRun", "status.demand"]
    assert "spec.targetRef" in crd.missing({})


def test_two_schemas_of_the_kind_are_no_error() -> None:
    twice = served_schema()
    schemas = twice["components"]["schemas"]
    schemas["Again"] = schemas["WorkerAutoscaler"]
    assert crd.missing(twice) == []


class Source:
    """Gives these answers, one after the other."""

    def __init__(self, *answers: Json | KubeError) -> None:
        self.answers = list(answers)

    async def get(self, path: str) -> Json:
        answer = self.answers.pop(0)
        if isinstance(answer, KubeError):
            raise answer
        return answer


SERVED = {"resources": [{"name": "workerautoscalers"}, {"name": "workerautoscalers/status"}]}


async def test_it_waits_for_the_crd_and_for_the_api_server_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crd, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(crd, "REMIND_SECONDS", 0.0)
    source = Source(
        KubeError(0, "the API server cannot be reached"),
        KubeError(404, "not found"),
        {"resources": []},
        SERVED,
        SERVED,
    )
    with structlog.testing.capture_logs() as lines:
        await asyncio.wait_for(crd.wait_until_served(source), 5)
    assert source.answers == [SERVED]
    problems = [line["problem"] for line in lines]
    assert problems[0] == "the API server cannot be reached"
    assert problems[1] == problems[2]
    assert "kubectl apply --server-side" in problems[1]


async def test_an_older_schema_is_told_in_one_line() -> None:
    older = served_schema()
    del properties(older, "spec")["dryRun"]
    for schema, events in ((older, ["crd.older"]), (served_schema(), [])):
        with structlog.testing.capture_logs() as lines:
            await crd.warn_if_older(Source(schema))
        assert [line["event"] for line in lines] == events


async def test_a_schema_that_cannot_be_read_stops_nothing() -> None:
    with structlog.testing.capture_logs() as lines:
        await crd.warn_if_older(Source(KubeError(403, "no")))
    assert [line["event"] for line in lines] == ["crd.unknown_schema"]

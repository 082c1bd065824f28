"""Every file of charts/headrace/ci: helm lints it, and the API server takes each object of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from tests.cluster.cluster import Cluster, Object, eventually
from tests.cluster.release import CHART, NAME

SCHEMAS = Path(__file__).with_name("schemas")
FILES = sorted((CHART / "ci").glob("*.yaml"))


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """One in which nothing is made."""
    with cluster.namespace("values") as name:

        def account() -> bool:
            return bool(cluster.list(name, "serviceaccounts"))

        eventually(account, "the default ServiceAccount is there")
        yield name


@pytest.fixture(scope="module")
def served(cluster: Cluster, defined: None) -> set[str]:
    """The kinds that the API server knows, as `group/version/kind`."""
    return {
        f"{line.split()[-3]}/{line.split()[-1]}"
        for line in cluster.kubectl("api-resources", "--no-headers").splitlines()
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_helm_finds_nothing_to_warn_of(cluster: Cluster, file: Path) -> None:
    said = cluster.helm("lint", "--strict", str(CHART), "--values", str(file))
    assert "0 chart(s) failed" in said


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_api_server_takes_every_object(
    cluster: Cluster, namespace: str, served: set[str], file: Path
) -> None:
    rendered = cluster.helm("template", NAME, str(CHART), "-n", namespace, "--values", str(file))
    objects = [resource for resource in YAML(typ="safe").load_all(rendered) if resource]
    checkable = [
        resource for resource in objects if f"{resource['apiVersion']}/{resource['kind']}" in served
    ]
    assert checkable
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": checkable})
    dry = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    said = cluster.kubectl("-n", namespace, *dry, text=text)
    assert len(said.splitlines()) == len(checkable), said
    for resource in objects:
        if resource not in checkable:
            jsonschema_rs.validate(schema(resource["kind"]), resource)


@pytest.mark.parametrize("kind", ["HTTPRoute", "ServiceMonitor"])
def test_a_schema_that_is_kept_here_refuses_what_it_does_not_know(kind: str) -> None:
    [found] = [sample for sample in _rendered_samples() if sample["kind"] == kind]
    jsonschema_rs.validate(schema(kind), found)
    found["spec"]["selektor"] = {}
    with pytest.raises(jsonschema_rs.ValidationError, match="selektor"):
        jsonschema_rs.validate(schema(kind), found)


@cache
def schema(kind: str) -> Object:
    """The schema of a kind that not every cluster has, from its CustomResourceDefinition."""
    found = _closed(json.loads((SCHEMAS / f"{kind.lower()}.json").read_text()))
    assert isinstance(found, dict)
    return found


def _closed(part: Any) -> Any:
    """An object's unknown fields are refused, as the API server does when asked to be strict."""
    if isinstance(part, list):
        return [_closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    closed = {key: _closed(value) for key, value in part.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _rendered_samples() -> list[Object]:
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "sample"},
            "spec": {"parentRefs": [{"name": "gateway"}], "hostnames": ["headrace.example.com"]},
        },
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": {"name": "sample"},
            "spec": {"selector": {"matchLabels": {}}, "endpoints": [{"port": "metrics"}]},
        },
    ]

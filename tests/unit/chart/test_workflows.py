"""The definitions that the chart brings, and those that it is given."""

from __future__ import annotations

from headrace.workflows import parse
from tests.unit.chart.rendering import CHART, Rendered, render


def sources(rendered: Rendered, deployment: str) -> list[str]:
    """The ConfigMaps that a Deployment's pods find their definitions in."""
    volumes = rendered.pods()[f"Deployment/{deployment}"]["volumes"]
    [found] = [
        volume["projected"]["sources"] for volume in volumes if volume["name"] == "workflows"
    ]
    return [source["configMap"]["name"] for source in found]


def test_the_sample_is_a_workflow() -> None:
    data = render().get("ConfigMap", "demo-headrace-workflow-samples")["data"]
    [(file, text)] = data.items()
    assert parse(text.encode(), file).id == "hello"


def test_api_and_workers_have_the_same_definitions() -> None:
    rendered = render(file=CHART / "ci" / "pools.yaml")
    expected = ["demo-headrace-workflow-samples", "demo-headrace-workflows"]
    for name in ("api", "worker-default", "worker-images"):
        assert sources(rendered, f"demo-headrace-{name}") == expected
    text = rendered.get("ConfigMap", "demo-headrace-workflows")["data"]["greet.yaml"]
    assert parse(text.encode(), "greet.yaml").id == "greet"


def test_an_existing_config_map_is_mounted() -> None:
    values = {"workflows": {"existingConfigMap": "ours", "samples": False}}
    assert sources(render(values), "demo-headrace-api") == ["ours"]


def test_the_secrets_of_workflows_are_mounted_where_they_are_looked_for() -> None:
    rendered = render({"workflows": {"existingSecret": "ours"}})
    for name in ("api", "worker-default"):
        pod = rendered.pods()[f"Deployment/demo-headrace-{name}"]
        [volume] = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
        assert volume["secret"] == {"secretName": "ours"}
        [container] = pod["containers"]
        [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "secrets"]
        assert mount["readOnly"]
        assert {"name": "WORKFLOW_SECRETS_DIR", "value": mount["mountPath"]} in container["env"]
    assert "WORKFLOW_SECRETS_DIR" not in str(render().pods())


def test_a_changed_definition_starts_no_pod_anew() -> None:
    def pods(text: str) -> object:
        return render({"workflows": {"definitions": {"greet.yaml": text}}}).pods()

    assert pods("do: []") == pods("do: [{a: {set: {}}}]")

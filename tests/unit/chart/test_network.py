"""Who reaches what: Services, Ingress, HTTPRoute, NetworkPolicies, metrics."""

from __future__ import annotations

from tests.unit.chart.rendering import CHART, Values, container, environment, render

API = "demo-headrace-api"


def test_redis_lets_in_the_releases_api_and_workers_alone() -> None:
    policy = render().get("NetworkPolicy", "demo-redis")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    [rule] = policy["ingress"]
    assert rule["ports"] == [{"port": "redis", "protocol": "TCP"}]
    allowed = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
    assert [labels["app.kubernetes.io/component"] for labels in allowed] == ["api", "worker"]
    assert {labels["app.kubernetes.io/instance"] for labels in allowed} == {"demo"}


def test_nobody_reaches_a_worker() -> None:
    assert "ingress" not in render().get("NetworkPolicy", "demo-headrace-worker")["spec"]


def test_the_api_is_open_to_all_and_its_metrics_to_nobody() -> None:
    [rule] = render().get("NetworkPolicy", API)["spec"]["ingress"]
    assert rule == {"ports": [{"port": "http", "protocol": "TCP"}]}


def test_metrics_are_open_to_those_who_are_named() -> None:
    rendered = render(file=CHART / "ci" / "metrics.yaml")
    _, rule = rendered.get("NetworkPolicy", API)["spec"]["ingress"]
    assert rule["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    [peer] = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}


def test_every_policy_leaves_open_what_goes_out() -> None:
    for policy in render().of("NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress"]


def test_the_service_monitor_finds_the_metrics_service_and_not_the_apis() -> None:
    rendered = render(file=CHART / "ci" / "metrics.yaml")
    monitor = rendered.get("ServiceMonitor", f"{API}-metrics")
    selector = monitor["spec"]["selector"]["matchLabels"]
    found = [
        service["metadata"]["name"]
        for service in rendered.of("Service")
        if selector.items() <= service["metadata"]["labels"].items()
    ]
    assert found == [f"{API}-metrics"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["endpoints"][0]["interval"] == "15s"


def test_metrics_can_be_switched_off() -> None:
    rendered = render({"metrics": {"enabled": False}})
    assert environment(container(rendered, API))["METRICS_PORT"] == "0"
    assert [port["name"] for port in container(rendered, API)["ports"]] == ["http"]
    services = [service["metadata"]["name"] for service in rendered.of("Service")]
    assert services == ["demo-redis", API]


def test_the_path_prefix_is_one_value_for_all() -> None:
    rendered = render(file=CHART / "ci" / "ingress.yaml")
    ingress = rendered.get("Ingress", API)
    assert ingress["spec"]["ingressClassName"] == "contour"
    assert ingress["spec"]["tls"] == [
        {"secretName": "headrace-tls", "hosts": ["headrace.example.com"]}
    ]
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == [
        "headrace.example.com",
        "other.example.com",
    ]
    for rule in ingress["spec"]["rules"]:
        [path] = rule["http"]["paths"]
        assert (path["path"], path["pathType"]) == ("/headrace", "Prefix")
        assert path["backend"]["service"] == {"name": API, "port": {"name": "http"}}
    assert environment(container(rendered, API))["ROOT_PATH"] == "/headrace"
    test = rendered.pods()["Pod/demo-headrace-test"]["containers"][0]
    assert environment(test)["HEADRACE_URL"] == f"http://{API}:8000/headrace"


CONTOUR = "projectcontour.io/response-timeout"
NGINX = "nginx.ingress.kubernetes.io/proxy-read-timeout"


def test_proxies_let_a_long_reply_pass() -> None:
    ingress = render(file=CHART / "ci" / "ingress.yaml").get("Ingress", API)
    assert ingress["metadata"]["annotations"] == {
        CONTOUR: "3600s",
        NGINX: "3600",
        "nginx.ingress.kubernetes.io/proxy-buffering": "off",
    }
    route = render(file=CHART / "ci" / "httproute.yaml").get("HTTPRoute", API)
    assert route["spec"]["rules"][0]["timeouts"] == {"request": "3600s"}


def test_ones_own_annotations_come_first() -> None:
    values = {"ingress": {"annotations": {CONTOUR: "infinity", "mine": "yes"}}}
    annotations = render(values, file=CHART / "ci" / "ingress.yaml").get("Ingress", API)[
        "metadata"
    ]["annotations"]
    assert (annotations[CONTOUR], annotations["mine"], annotations[NGINX]) == (
        *("infinity", "yes", "3600"),
    )


def test_the_time_of_a_long_reply_can_be_left_to_the_proxy() -> None:
    for file in ("ingress", "httproute"):
        rendered = render({"api": {"longReplySeconds": 0}}, file=CHART / "ci" / f"{file}.yaml")
        for route in rendered.of("Ingress") + rendered.of("HTTPRoute"):
            assert "annotations" not in route["metadata"]
            assert all("timeouts" not in rule for rule in route["spec"]["rules"])


def test_an_http_route_leads_to_the_service() -> None:
    route = render(file=CHART / "ci" / "httproute.yaml").get("HTTPRoute", API)["spec"]
    assert route["parentRefs"] == [
        {"name": "gateway", "namespace": "ingress", "sectionName": "http"}
    ]
    [rule] = route["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/headrace"}}]
    assert rule["backendRefs"] == [{"name": API, "port": 8000}]


def budgets(values: Values | None = None) -> dict[str, object]:
    """How many pods each disruption budget lets go, by its name."""
    found = render(values).of("PodDisruptionBudget")
    return {budget["metadata"]["name"]: budget["spec"]["maxUnavailable"] for budget in found}


def test_a_drained_node_takes_few_pods_of_a_kind_at_a_time() -> None:
    pools = {"default": {"queues": ["a"]}, "more": {"queues": ["b"]}}
    two = {"controller": {"replicas": 2}, "workers": pools}
    assert budgets(two) == {
        API: 1,
        "demo-headrace-controller": 1,
        "demo-headrace-worker-default": "25%",
        "demo-headrace-worker-more": "25%",
        "demo-redis": 1,
    }


def test_a_single_api_or_operator_pod_has_no_disruption_budget() -> None:
    assert not budgets({"api": {"replicas": 1}}).keys() & {API, "demo-headrace-controller"}


def test_redis_can_be_kept_from_a_drained_node() -> None:
    assert budgets({"redis": {"podDisruptionBudget": {"maxUnavailable": 0}}})["demo-redis"] == 0


def test_disruption_budgets_can_be_left_out() -> None:
    off = {"podDisruptionBudget": {"enabled": False}}
    values = {"api": off, "workerDefaults": off, "controller": {**off, "replicas": 2}, "redis": off}
    assert budgets(values) == {}

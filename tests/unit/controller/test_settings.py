"""The operator's settings: defaults, which namespaces are served, and clear sentences."""

from __future__ import annotations

import os

import pytest

from controller.settings import Settings, load


@pytest.fixture(autouse=True)
def _empty_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {name.upper() for name in Settings.model_fields} & set(os.environ):
        monkeypatch.delenv(name)


def test_the_defaults_serve_the_own_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "shop")
    monkeypatch.setenv("PROBE_PORT", "")
    settings = load()
    assert settings.served == ("shop",)
    assert settings.lease == ("shop", "headrace-operator")
    assert (settings.probe_port, settings.metrics_port) == (8080, 9090)
    assert (settings.log_level, settings.log_format) == ("info", "auto")


def test_namespaces_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAMESPACES", "shop, mail,")
    monkeypatch.setenv("LEASE_NAMESPACE", "ops")
    assert load().served == ("shop", "mail")
    assert load().lease == ("ops", "headrace-operator")


def test_cluster_wide_means_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_WIDE", "true")
    monkeypatch.setenv("NAMESPACES", "")
    assert load().served is None


def test_a_pod_holds_the_lease_by_its_name_and_other_processes_by_one_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings().pod_name != Settings().pod_name
    monkeypatch.setenv("POD_NAME", "headrace-controller-7d9f")
    assert load().pod_name == "headrace-controller-7d9f"


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"PROBE_PORT": "http"}, "PROBE_PORT=http: it must be a whole number"),
        ({"METRICS_PORT": "70000"}, "METRICS_PORT=70000: it must be at most 65535"),
        ({"METRICS_PORT": "-1"}, "METRICS_PORT=-1: it must be at least 0"),
        ({"CLUSTER_WIDE": "perhaps"}, "CLUSTER_WIDE=perhaps: it must be true or false"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT=xml: it must be one of 'auto', 'console' or 'json'"),
        (
            {"CLUSTER_WIDE": "true", "NAMESPACES": "shop"},
            "NAMESPACES and CLUSTER_WIDE=true contradict each other: set one",
        ),
    ],
)
def test_each_mistake_gets_a_sentence_and_status_2(
    environment: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        load()
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"settings: {sentence}\n"

"""The Jobs before an install or upgrade: when they are there, and what their programs say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import free_port
from tests.unit.chart.rendering import CHART, ROOT, Values, environment, render, secret

if TYPE_CHECKING:
    from tests.servers import RedisServer

URL = "redis://redis.example.com:6379/0"
EXTERNAL: Values = {"redis": {"enabled": False}, "externalRedis": {"url": URL}}
GREET = """\
document: {dsl: '1.0.3', namespace: tests, name: greet, version: '1.0.0'}
do:
  - greet: {set: {greeting: Hello}}
"""
DEFINITIONS: Values = {"workflows": {"definitions": {"greet.yaml": GREET}}}


def hooks(values: Values) -> dict[str, str]:
    """When each object of the checks is made, by its kind and name."""
    return {
        f"{resource['kind']}/{resource['metadata']['name']}": resource["metadata"]["annotations"][
            "helm.sh/hook"
        ]
        for resource in render(values).objects
        if resource["metadata"]["labels"]["app.kubernetes.io/component"] == "check"
    }


def job(values: Values, name: str) -> Any:
    """The container of a check."""
    [found] = render(values).pods()[f"Job/demo-headrace-{name}-check"]["containers"]
    return found


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A check's program, as its pod runs it."""
    text = (CHART / "files" / program).read_text()
    return subprocess.run(
        [sys.executable, "-c", text],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def run_redis(url: str) -> subprocess.CompletedProcess[str]:
    settings = {"QUEUE_NAMESPACE": "headrace", "REDIS_TIMEOUT_SECONDS": "1", "CHECK_SECONDS": "0.5"}
    return run("check_redis.py", REDIS_URL=url, **settings)


def test_without_an_external_redis_and_definitions_nothing_is_checked() -> None:
    assert hooks({}) == {}


def test_an_external_redis_is_asked_before_an_upgrade() -> None:
    assert hooks(EXTERNAL) == {
        "Job/demo-headrace-redis-check": "pre-upgrade",
        "Secret/demo-headrace-redis-check-url": "pre-upgrade",
    }
    rendered = render(EXTERNAL)
    assert secret(rendered, "demo-headrace-redis-check-url", "url") == URL


def test_definitions_are_read_before_an_install_and_an_upgrade() -> None:
    both = "pre-install,pre-upgrade"
    name = "demo-headrace-workflows-check"
    assert hooks(DEFINITIONS) == {f"Job/{name}": both, f"ConfigMap/{name}": both}
    data = render(DEFINITIONS).get("ConfigMap", name)["data"]
    assert data == DEFINITIONS["workflows"]["definitions"]


def test_the_checks_can_be_left_out() -> None:
    assert hooks({**EXTERNAL, **DEFINITIONS, "checks": {"enabled": False}}) == {}


def test_a_check_runs_the_new_image_once_and_within_its_time() -> None:
    values = {**EXTERNAL, "image": {"tag": "new"}, "checks": {"timeoutSeconds": 45}}
    spec = render(values).get("Job", "demo-headrace-redis-check")["spec"]
    assert job(values, "redis")["image"] == "headrace-api:new"
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 45)


def test_the_check_reads_a_url_and_certificates_of_yours_where_they_are() -> None:
    external = {"existingSecret": "ours", "tls": {"existingSecret": "ca"}}
    values = {"redis": {"enabled": False}, "externalRedis": external}
    variables = environment(job(values, "redis"))
    assert variables["REDIS_URL"] == {"secretKeyRef": {"name": "ours", "key": "url"}}
    assert variables["REDIS_TLS_CA_FILE"] == "/etc/headrace/redis-ca/ca.crt"
    assert "redis-ca" in {
        volume_mount["name"] for volume_mount in job(values, "redis")["volumeMounts"]
    }


def test_a_redis_that_answers_is_taken(server: RedisServer) -> None:
    done = run_redis(server.url)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{port}/0", "redis://nobody.invalid:6379/0"])
def test_a_redis_that_does_not_answer_is_named(url: str) -> None:
    address = url.format(port=free_port())
    done = run_redis(address)
    assert done.returncode == 1
    assert "Redis cannot be used, so no pod was replaced: Redis at " in done.stderr
    assert address.removeprefix("redis://").removesuffix("/0") in done.stderr


def test_a_url_that_cannot_be_read_is_told_without_its_password() -> None:
    done = run_redis("redis://:se/cret@redis:6379/0")
    assert done.returncode == 1
    assert "Redis cannot be used" in done.stderr
    assert "cret" not in done.stderr


def test_good_definitions_are_taken(tmp_path: Path) -> None:
    (tmp_path / "greet.yaml").write_text(GREET)
    done = run("check_workflows.py", WORKFLOWS_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", ["do: [", GREET.replace("set", "sett")])
def test_a_definition_with_a_mistake_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "greet.yaml").write_text(GREET)
    (tmp_path / "broken.yaml").write_text(text)
    done = run("check_workflows.py", WORKFLOWS_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "workflows.definitions has mistakes:\nbroken.yaml:" in done.stderr

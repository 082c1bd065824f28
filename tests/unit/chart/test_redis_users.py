"""The users of the chart's own Redis: API and workers may do what they need and nothing else."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from headrace.taskqueue.acl import acl_rules
from tests.unit.chart.rendering import (
    ROOT,
    Values,
    container,
    environment,
    render,
    secret,
)

NAME = "demo-redis"
SECOND = ROOT / "tests" / "cluster" / "releases" / "headrace-0.2.0.tgz"
OFF = {"redis": {"auth": {"users": False}}}


def users(values: Values | None = None) -> dict[str, list[str]]:
    """The rules of each user with which Redis is started, its password first."""
    script = container(render(values), NAME, "StatefulSet")["command"][-1]
    line = script[script.index("exec ") :].replace("\\\n", " ")
    found = [shlex.split(part) for part in line.rstrip("\n ;").split(" --user ")[1:]]
    return {name: [password, *rules] for name, on, password, *rules in found if on == "on"}


def login(deployment: str, values: Values | None = None) -> tuple[Any, Any]:
    """Where a Deployment's password comes from, and its URL."""
    variables = environment(container(render(values), deployment))
    return variables["REDIS_PASSWORD"], variables["REDIS_URL"]


def test_api_and_workers_have_the_rights_that_the_command_prints() -> None:
    found = users()
    assert found["headrace-api"] == ["#${api%% *}", *acl_rules("api")]
    assert found["headrace-worker"] == ["#${worker%% *}", *acl_rules("worker")]


def test_default_stays_for_the_pods_of_the_release_before() -> None:
    assert users()["default"] == ["#${hash%% *}", "~*", "&*", "+@all"]


def test_each_logs_in_as_its_own_user() -> None:
    for role, deployment in (
        ("api", "demo-headrace-api"),
        ("worker", "demo-headrace-worker-default"),
    ):
        password, url = login(deployment)
        assert password == {"secretKeyRef": {"name": NAME, "key": f"{role}-password"}}
        assert url == f"redis://headrace-{role}:$(REDIS_PASSWORD)@demo-redis:6379/0"


def test_no_two_users_have_one_password_and_redis_has_them_by_their_hashes() -> None:
    rendered = render()
    keys = ("password", "api-password", "worker-password")
    drawn = [secret(rendered, NAME, key) for key in keys]
    assert len(set(drawn)) == 3
    assert all(re.fullmatch("[A-Za-z0-9]{43}", password) for password in drawn)
    variables = environment(container(rendered, NAME, "StatefulSet"))
    assert {variable["secretKeyRef"]["key"] for variable in variables.values()} == set(keys)


def test_the_keys_are_those_of_the_namespace() -> None:
    values = {"queue": {"namespace": "team-a"}, "redis": {"auth": {"namespace": "team-a"}}}
    for role in ("api", "worker"):
        assert {"~{team-a}:*", "&{team-a}:*"} <= set(users(values)[f"headrace-{role}"])


@pytest.mark.parametrize(
    "auth",
    [{"users": False}, {"existingSecret": "ours"}, {"existingSecret": "ours", "users": None}],
)
def test_without_users_everybody_is_default(auth: Values) -> None:
    values = {"redis": {"auth": auth}}
    assert users(values).keys() == {"default"}
    password, url = login("demo-headrace-api", values)
    assert password["secretKeyRef"]["key"] == "password"
    assert url == "redis://:$(REDIS_PASSWORD)@demo-redis:6379/0"


def test_an_existing_secret_can_have_their_passwords() -> None:
    values = {"redis": {"auth": {"existingSecret": "ours", "users": True}}}
    assert "headrace-api" in users(values)
    password, _ = login("demo-headrace-api", values)
    assert password == {"secretKeyRef": {"name": "ours", "key": "api-password"}}


def test_an_upgrade_from_the_second_release_leaves_redis_running() -> None:
    """Without users, as there, its pod and its configuration are the same to the byte."""
    before, after = render(chart=SECOND), render(OFF)

    def pod(rendered: Any) -> Any:
        return rendered.get("StatefulSet", NAME)["spec"]["template"]

    assert pod(after) == pod(before)
    assert after.get("ConfigMap", NAME)["data"] == before.get("ConfigMap", NAME)["data"]

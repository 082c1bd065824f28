"""`authentication` (DSL reference, "Authentication"): what is sent, and what is refused at load."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from headrace.workflows import SecretSource, Workflow
from tests.unit.workflows.harness import Bench, define
from tests.unit.workflows.web import Web, json

PASSWORD = "correct horse"
TOKEN = "tk-123456789"
ACCOUNT = f'{{"username": "service-a", "password": "{PASSWORD}"}}'


def calling(web: Web, authentication: Any, **more: Any) -> Workflow:
    endpoint = {"uri": f"{web.url}/a", "authentication": authentication}
    call = {"call": "http", "with": {"method": "get", "endpoint": endpoint}}
    return define([{"call": call}], **more)


@pytest.fixture
def bench(bench: Bench) -> Bench:
    environment = {"WORKFLOW_SECRET_TOKEN": TOKEN, "WORKFLOW_SECRET_ACCOUNT": ACCOUNT}
    bench.runtime.secrets = SecretSource(environment=environment)
    return bench


def basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


# DSL reference, "Authentication": inline, by the name of a policy, by the name of a secret.
@pytest.mark.parametrize(
    ("authentication", "sent"),
    [
        ({"basic": {"username": "Ada", "password": "é:1"}}, basic("Ada", "é:1")),
        ({"basic": {"username": "${ .user }", "password": "${ $secrets.account.password }"}},
         basic("Bob", PASSWORD)),
        ({"basic": {"use": "account"}}, basic("service-a", PASSWORD)),
        ({"bearer": {"token": "plain"}}, "Bearer plain"),
        ({"bearer": {"token": '${ "x-" + $secrets.token }'}}, f"Bearer x-{TOKEN}"),
        ({"bearer": {"use": "token"}}, f"Bearer {TOKEN}"),
        ({"use": "named"}, f"Bearer {TOKEN}"),
    ],
)  # fmt: skip
async def test_the_request_carries_it(
    bench: Bench, web: Web, authentication: Any, sent: str
) -> None:
    web.routes["/a"] = json({"ok": True})
    use = {
        "secrets": ["token", "account"],
        "authentications": {"named": {"bearer": {"token": "${ $secrets.token }"}}},
    }
    workflow = calling(web, authentication, use=use)
    assert await bench.output(workflow, {"user": "Bob"}) == {"ok": True}
    assert web.seen[0].headers["authorization"] == sent


async def test_what_data_makes_no_header_of_is_an_error(bench: Bench, web: Web) -> None:
    workflow = calling(web, {"basic": {"username": "${ .user }", "password": "long-enough"}})
    error = await bench.error(workflow, {"user": 7})
    assert (error.type.rpartition("/")[2], error.detail) == (
        "configuration",
        "`basic` has no text as its `username`",
    )
    assert web.seen == []

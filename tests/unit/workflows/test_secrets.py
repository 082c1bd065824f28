"""Secrets (DSL, "Secrets"): where they come from, and that they show nowhere."""

from __future__ import annotations

import base64
import json as jsons
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from headrace.logs import configure, flush, get_logger
from headrace.workflows import DefinitionError, RunCompleted, SecretSource
from tests.unit.workflows.harness import Bench, define
from tests.unit.workflows.web import Answer, Web, json

SECRET = 'p4ss"wörd/+?&end'
USE = {"secrets": ["key"]}


@pytest.fixture
def keyed(bench: Bench) -> Bench:
    """A bench whose runs find the secret `key`."""
    return with_secrets(bench, {"WORKFLOW_SECRET_KEY": SECRET})


def with_secrets(bench: Bench, environment: dict[str, str], folder: Path | None = None) -> Bench:
    bench.runtime.secrets = SecretSource(folder, environment=environment)
    return bench


def request(web: Web, **more: Any) -> dict[str, Any]:
    given = {"method": "get", "endpoint": f"{web.url}/a", **more}
    return {"call": "http", "with": given}


async def test_files_come_before_variables_and_one_may_hold_data(
    bench: Bench, web: Web, tmp_path: Path
) -> None:
    web.routes["/a"] = json(1)
    (tmp_path / "api-key").write_text("from-a-file\n")
    (tmp_path / "account").write_text('{"user": "service-a", "key": "of-the-account"}')
    environment = {
        "WORKFLOW_SECRET_API_KEY": "from-a-variable",
        "WORKFLOW_SECRET_OTHER": "other-one",
    }
    with_secrets(bench, environment, tmp_path)
    headers = {
        "A": '${ $secrets["api-key"] }',
        "B": "${ $secrets.account.key }",
        "C": '${ "\\($secrets.other)!" }',
    }
    workflow = define(
        [{"call": request(web, headers=headers)}], use={"secrets": ["api-key", "account", "other"]}
    )
    await bench.output(workflow)
    sent = web.seen[0].headers
    assert (sent["a"], sent["b"], sent["c"]) == ("from-a-file", "of-the-account", "other-one!")


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (
            None,
            "the secret 'key' is declared in `use.secrets`, and is not there: see "
            "WORKFLOW_SECRETS_DIR and WORKFLOW_SECRETS_PREFIX",
        ),
        (
            "12345",
            "the secret 'key' is shorter than 6 characters, or a part of it is: it could not be "
            "hidden in logs and results",
        ),
    ],
    ids=["absent", "short"],
)
async def test_a_secret_that_cannot_be_used_is_the_error_authorization(
    bench: Bench, web: Web, value: str | None, detail: str
) -> None:
    with_secrets(bench, {} if value is None else {"WORKFLOW_SECRET_KEY": value})
    workflow = define([{"call": request(web, headers={"X-Key": "${ $secrets.key }"})}], use=USE)
    error = await bench.error(workflow)
    assert (error.type.rpartition("/")[2], error.status) == ("authorization", 403)
    assert error.detail == detail
    assert web.seen == []


async def test_if_and_when_may_look_at_one(keyed: Bench) -> None:
    workflow = define(
        [
            {"skipped": {"set": {"x": 1}, "if": '$secrets.key == "other"'}},
            {"choose": {"switch": [{"yes": {"when": "$secrets.key != null", "then": "end"}}]}},
            {"never": {"set": {"x": 2}}},
        ],
        use=USE,
    )
    assert await keyed.output(workflow, {"x": 0}) == {"x": 0}


def forms(value: str) -> list[str]:
    """How the value may stand somewhere, as the promise lists it."""
    raw = value.encode()
    around = base64.b64encode(b"user:" + raw).decode()
    return [
        value,
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        around,
        quote(value, safe=""),
        jsons.dumps(value)[1:-1],
        jsons.dumps(value, ensure_ascii=False)[1:-1],
    ]


def assert_hidden(text: str) -> None:
    for form in forms(SECRET):
        assert form not in text, form
    assert "p4ss" not in text
    assert base64.b64encode(SECRET.encode()).decode()[4:-6] not in text


async def test_a_secret_shows_in_no_result_state_journal_or_progress(
    keyed: Bench, web: Web
) -> None:
    """The other side sends it back in every form, in keys and texts; the request held it, too."""
    echo = {"texts": forms(SECRET), SECRET: [{"deep": f"a {SECRET} b"}], "n": 5}
    web.routes["/a"] = json(echo)
    query = {"key": "${ $secrets.key }"}
    workflow = define(
        [
            {"call": request(web, query=query, output="response")},
            {"keep": {"set": "${ . }", "export": {"as": "."}}},
            {"pause": {"wait": {"seconds": 60}}},
        ],
        use=USE,
    )
    keyed.can_park = True
    parked = await keyed.parked(workflow)
    assert keyed.unpark_at is not None
    keyed.clock = keyed.unpark_at
    ended = await keyed.execute(workflow, saved=parked)
    assert isinstance(ended, RunCompleted)
    assert ended.output["content"]["n"] == 5
    assert ended.output["content"]["texts"][0] == "[redacted]"
    assert quote(SECRET, safe="") in web.seen[0].path
    stored = [
        part.decode("utf-8", "replace")
        for saved in (*keyed.checkpoints, parked, keyed.saved)
        for part in (saved.state or b"", *saved.journal)
    ]
    assert any("[redacted]" in part for part in stored)
    shown = (ended.output, keyed.progress, keyed.steps, stored)
    assert_hidden(jsons.dumps(shown, ensure_ascii=False, default=repr))
    assert_hidden(jsons.dumps(shown, default=repr))


@pytest.mark.parametrize(
    "task",
    [
        {"if": "$secrets.key | tonumber", "set": {"x": 1}},
        {"call": "http", "with": {"method": "get", "endpoint": "${ $secrets.key }"}},
        {
            "call": "http",
            "with": {"method": "get", "endpoint": '${ .url + "/" + ($secrets.key | @uri) }'},
        },
        {"call": "http", "with": {"method": "${ $secrets.key }", "endpoint": "${ .url }"}},
    ],
    ids=["expression", "url", "path", "method"],
)
async def test_a_secret_shows_in_no_error(keyed: Bench, web: Web, task: Any) -> None:
    web.routes["/a"] = Answer(404)
    error = await keyed.error(define([{"step": task}], use=USE), {"url": web.url})
    assert_hidden(str(error))
    assert_hidden(repr(error))
    assert "[redacted]" in error.detail


async def test_a_secret_shows_in_no_log_line(keyed: Bench, web: Web, tmp_path: Path) -> None:
    web.routes["/a"] = json(1)
    workflow = define(
        [{"call": request(web, headers={"X": "${ $secrets.key | @base64 }"})}], use=USE
    )
    await keyed.output(workflow)
    log = tmp_path / "log"
    with log.open("wb") as file:
        configure("debug", "json", file.fileno())
        get_logger("headrace.test").info("line", texts=forms(SECRET), error=f"no {SECRET}")
        flush()
        configure("info", "auto", 2)
    assert "[redacted]" in log.read_text()
    assert_hidden(log.read_text())


async def test_data_that_holds_no_secret_stays_as_it_is(keyed: Bench, web: Web) -> None:
    data = {"text": "password", "n": [1, 2.5, True, None], "deep": {"a": {}}}
    web.routes["/a"] = json(data)
    assert await keyed.output(define([{"call": request(web)}], use=USE)) == data


@pytest.mark.parametrize(
    "task",
    [
        {"set": "${ . }", "input": {"from": "$secrets.key"}},
        {"set": "${ . }", "output": {"as": "$secrets.key"}},
        {"set": "${ . }", "export": {"as": "$secrets.key"}},
        {"wait": "${ $secrets.key }"},
        {"for": {"in": "$secrets.key"}, "do": [{"a": {"set": {"x": 1}}}]},
        {"for": {"in": "[1]"}, "while": "$secrets.key", "do": [{"a": {"set": {"x": 1}}}]},
        {"raise": {"error": {"type": "${ $secrets.key }", "status": 400}}},
        {"set": {"x": 1}, "timeout": {"after": "${ $secrets.key }"}},
    ],
)
def test_it_may_stand_nowhere_else(task: Any) -> None:
    with pytest.raises(DefinitionError, match="elsewhere a secret would get into data"):
        define([{"step": task}], use=USE)

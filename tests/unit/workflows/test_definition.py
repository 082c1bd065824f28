"""What is accepted of a definition (DSL reference, "Workflow"), and that the rest is refused."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from headrace.workflows import DefinitionError, parse
from headrace.workflows.reading.definition import version_key
from tests.unit.workflows.harness import define, document

HEAD = """\
document:
  dsl: '1.0.3'
  namespace: test
  name: sample
  version: '1.0.0'
"""


def refused(text: str) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        parse(text.encode(), "flows/sample.yaml")
    return caught.value


def refused_task(task: str) -> DefinitionError:
    """The error for a task, given as lines below its name; its first line is line 8."""
    body = "".join(f"      {line}\n" for line in task.splitlines())
    return refused(f"{HEAD}do:\n  - step:\n{body}")


def test_a_definition_keeps_its_text_and_digest() -> None:
    text = msgspec.json.encode(document([{"a": {"set": {"x": 1}}}]))
    workflow = parse(text, "sample.json")
    assert (workflow.id, workflow.namespace, workflow.version) == ("sample", "test", "1.0.0")
    assert workflow.definition == text
    assert workflow.definition_sha256 == hashlib.sha256(text).hexdigest()
    assert workflow.document == msgspec.json.decode(text)


def test_all_that_is_supported_is_accepted() -> None:
    workflow = define(
        [
            {
                "call": {
                    "if": ".go",
                    "input": {"from": "${ .order }"},
                    "call": "http",
                    "with": {
                        "method": "POST",
                        "endpoint": {"uri": "https://example.com/{id}?x={y}"},
                        "headers": {"X-Run": "${ $workflow.id }"},
                        "query": "${ .query }",
                        "body": {"a": ["${ .a }", 1, None]},
                        "output": "response",
                        "redirect": True,
                    },
                    "output": {"as": {"body": "${ .content }"}},
                    "export": {"as": "$context + {call: $output, at: $task.startedAt}"},
                    "timeout": "short",
                    "then": "exit",
                    "metadata": {"team": "a"},
                }
            },
            {"pause": {"wait": {"milliseconds": 5}, "timeout": {"after": "PT1S"}}},
            {"later": {"wait": "${ .delay }", "then": "end", "if": ".delay"}},
            {"group": {"do": [{"inner": {"set": "${ $input }", "then": "continue"}}]}},
        ],
        input={"from": "."},
        output={"as": {"out": "${ $context }"}},
        timeout={"after": {"hours": 1}},
        use={"timeouts": {"short": {"after": {"seconds": 1}}}},
        evaluate={"language": "jq", "mode": "strict"},
    )
    assert [step.name for step in workflow.steps] == ["call", "pause", "later", "group"]
    assert workflow.steps[3].reference == "/do/3/group"


def test_the_message_names_file_line_task_and_reason() -> None:
    error = refused_task("set:\n  x: ${ .a +}")
    assert (error.file, error.line, error.task) == ("flows/sample.yaml", 9, "step")
    place = "flows/sample.yaml:9:9: task 'step'"
    assert str(error).startswith(f"{place}: `x` is not a valid jq expression")


UNSUPPORTED = {
    "emit": "emit: {event: {with: {type: a}}}",
    "listen": "listen: {to: {any: []}}",
}


@pytest.mark.parametrize("keyword", UNSUPPORTED)
def test_task_types_to_come_are_refused(keyword: str) -> None:
    error = refused_task(UNSUPPORTED[keyword])
    assert (error.line, error.task) == (8, "step")
    assert f"`{keyword}` tasks are not supported yet" in error.reason


CALL = "call: http\nwith:\n  method: get\n  endpoint: https://example.com/\n"


@pytest.mark.parametrize(
    ("task", "line", "reason"),
    [
        ("set: {x: 1}\nwaitt: 1", 9, "unknown key 'waitt'"),
        ("{}", 7, "this is not a task"),
        ("set: {x: 1}\nwait: {seconds: 1}", 7, "a task is of one type"),
        ("set: {}", 8, "sets nothing"),
        ("set: .a", 8, "must be a mapping, or an expression"),
        ("set: [1]", 8, "must be a mapping, not a list"),
        ("set: {x: 'Hello ${ .name }!'}", 8, "mixes text and an expression"),
        ("set: {x: '${ $secrets.token }'}", 8, "elsewhere a secret would get into data"),
        ("set: {x: '${ $authorization }'}", 8, "would put a credential into data"),
        ("set: {x: '${ $output }'}", 8, "$output is not defined (known here: $context, $input"),
        ("set: {x: '${ $nothing }'}", 8, "$nothing is not defined"),
        ("set: {x: '${ nope(1) }'}", 8, "nope/1 is not defined"),
        ("set: {x: '${ }'}", 8, "not a valid jq expression"),
        ("set: {x: '${ 1) | (2 }'}", 8, "not a valid jq expression"),
        ("set: {x: '${ import \"a\" as a; 1 }'}", 8, "not a valid jq expression"),
        ("set: {x: '${ \"x\" * 2000000000 }'}", 8, "memory"),
        ("set: {x: 1}\nif: $input.a", 9, "$input is not defined"),
        ("set: {x: 1}\nif: true", 9, "must be a text, not a boolean"),
        ("set: {x: 1}\ninput: {from: [1]}", 9, "must be a mapping, not a list"),
        ("set: {x: 1}\noutput: {with: .}", 9, "unknown key 'with'"),
        ("set: {x: 1}\nthen: nowhere", 9, "no task of this list has that name"),
        ("set: {x: 1}\ntimeout: long", 9, "no time-out named 'long'"),
        ("set: {x: 1}\ntimeout: {}", 9, "`after` is missing"),
        ("set: {x: 1}\ntimeout: {after: soon}", 9, "not an ISO 8601 duration"),
        ("set: {x: 1}\nmetadata: 1", 9, "must be a mapping"),
        ("wait: 5", 8, "a duration must be"),
        ("wait: {seconds: -5}", 8, "negative"),
        ("wait: {weeks: 1}", 8, "not 'weeks'"),
        ("wait: P1Y", 8, "no fixed length"),
        ("do: {a: {set: {x: 1}}}", 8, "must be a list, not a mapping"),
        ("do: [{a: {set: {x: 1}}, b: {set: {x: 1}}}]", 8, "must hold one task"),
        ("call: http", 8, "`with` is missing"),
        ("call: http\nwith: {method: get}", 9, "`endpoint` is missing"),
        ("call: http\nwith: {endpoint: 'https://a/'}", 9, "`method` is missing"),
        (CALL + "  cookies: {}", 12, "unknown key 'cookies'"),
        (CALL + "  output: text", 12, "must be one of raw, content, response"),
        (CALL + "  redirect: 'yes'", 12, "must be true or false"),
        (CALL + "  headers: {Host: a}", 12, "cannot be set by a workflow"),
        (CALL + "  headers: {'a b': a}", 12, "is not a header name"),
        (CALL + "  headers: {X-Count: [1]}", 12, "must be a text, not a list"),
        (CALL + "  query: [a]", 12, "must be a mapping"),
        ("call: http\nwith: {method: 'GET /', endpoint: 'https://a/'}", 9, "no HTTP method"),
        ("call: http\nwith: {method: get, endpoint: 'ftp://a/'}", 9, "not an absolute http"),
        ("call: http\nwith: {method: get, endpoint: /a}", 9, "not an absolute http"),
        ("call: http\nwith: {method: get, endpoint: 'https://u:p@a/'}", 9, "credentials"),
        ("call: http\nwith: {method: get, endpoint: 'https://a/b c'}", 9, "space"),
        ("call: http\nwith: {method: get, endpoint: 'https://a/{id'}", 9, "brace"),
        ("call: http\nwith: {method: get, endpoint: 'https://a/{?q}'}", 9, "simple names"),
        ("call: http\nwith: {method: get, endpoint: 'x${ .a }'}", 9, "one expression"),
        (
            "call: http\nwith:\n  method: get\n  endpoint:\n    uri: https://a/\n"
            "    authentication: {use: x}",
            13,
            "has no authentication named 'x'",
        ),
    ],
)  # fmt: skip
def test_a_wrong_task_is_refused_with_its_line(task: str, line: int, reason: str) -> None:
    error = refused_task(task)
    assert reason in error.reason
    assert (error.line, error.task) == (line, "step")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("do: []\n", 1, "`document` is missing"),
        (HEAD, 1, "`do` is missing"),
        ("[]", 1, "must be a mapping"),
        (HEAD + "do: []\nextra: 1\n", 7, "unknown key 'extra'"),
        (HEAD + "schedule: {every: {hours: 1}}\ndo: []\n", 6, "a schedule (`schedule`) is not"),
        (HEAD + "use:\n  extensions: []\ndo: []\n", 7, "`extensions` are not supported"),
        (HEAD + "evaluate: {language: js}\ndo: []\n", 6, "no other language"),
        (HEAD + "evaluate: {mode: loose}\ndo: []\n", 6, "`loose` mode is not supported"),
        (HEAD + "input: {from: $context}\ndo: []\n", 6, "$context is not defined"),
        (HEAD + "timeout: long\ndo: []\n", 6, "no time-out named"),
        (HEAD.replace("1.0.3", "0.8") + "do: []\n", 2, "1.0.x are read, not 0.8"),
        (HEAD.replace("1.0.3", "1.1.0") + "do: []\n", 2, "1.0.x are read"),
        (HEAD.replace("'1.0.0'", "1.0") + "do: []\n", 5, "put it in quotes"),
        (HEAD.replace("'1.0.0'", "v1") + "do: []\n", 5, "semantic version"),
        (HEAD.replace("sample", "my_workflow") + "do: []\n", 4, "letters, digits and hyphens"),
        (HEAD.replace("sample", "tasks") + "do: []\n", 4, "cannot be named 'tasks'"),
        (HEAD.replace("sample", "queue") + "do: []\n", 4, "cannot be named 'queue'"),
    ],
)
def test_a_wrong_document_is_refused_with_its_line(text: str, line: int, reason: str) -> None:
    error = refused(text)
    assert reason in error.reason
    assert (error.line, error.task) == (line, None)


def test_two_tasks_of_one_name_in_a_list_are_refused() -> None:
    tasks: list[Any] = [{"a": {"set": {"x": 1}}}, {"a": {"set": {"x": 2}}}]
    with pytest.raises(DefinitionError, match="two tasks of this list are named 'a'"):
        define(tasks)


def test_a_task_may_not_be_named_like_a_directive() -> None:
    with pytest.raises(DefinitionError, match="cannot be named 'end'"):
        define([{"end": {"set": {"x": 1}}}])


def test_an_inner_task_is_named_in_the_error() -> None:
    with pytest.raises(DefinitionError) as caught:
        define([{"outer": {"do": [{"inner": {"set": {}}}]}}])
    assert caught.value.task == "inner"


def test_versions_are_ordered_as_semver_says() -> None:
    ordered = (
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.2.0",
        "1.10.0",
        "2.0.0",
    )
    shuffled = sorted(ordered)  # as texts
    assert sorted(shuffled, key=version_key) == list(ordered)

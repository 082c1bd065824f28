"""Each rule of reading has a wrong definition here, and the whole message that it gets."""

from __future__ import annotations

import pytest

from headrace.workflows import DefinitionError, parse

HEAD = """\
document: {dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0'}
"""
PACKAGE = "write a function or a task type in a package of yours (docs/handlers.md)"

# The definition below its document, and its faults without the file's name.
WRONG: dict[str, tuple[str, str]] = {
    "call grpc": (
        "do:\n  - a: {call: grpc, with: {}}\n",
        f"3:9: task 'a': `call: grpc` is not supported: use `call: http`, or {PACKAGE}",
    ),
    "call asyncapi": (
        "do:\n  - a: {call: asyncapi, with: {}}\n",
        f"3:9: task 'a': `call: asyncapi` is not supported: use `call: http`, or {PACKAGE}",
    ),
    "call a2a": (
        "do:\n  - a: {call: a2a, with: {}}\n",
        f"3:9: task 'a': `call: a2a` is not supported: use `call: http`, or {PACKAGE}",
    ),
    "call mcp": (
        "do:\n  - a: {call: mcp, with: {}}\n",
        f"3:9: task 'a': `call: mcp` is not supported: use `call: http`, or {PACKAGE}",
    ),
    "call openapi": (
        "do:\n  - a: {call: openapi, with: {}}\n",
        "3:9: task 'a': `call: openapi` is not supported yet: use `call: http`",
    ),
    "call a URI": (
        "do:\n  - a: {call: 'https://a.example/function.yaml'}\n",
        "3:9: task 'a': `call: https://a.example/function.yaml` is not supported, because it loads "
        "a function from elsewhere while a run goes on: to send a request there, use `call: http`",
    ),
    "call a catalog's function": (
        "do:\n  - a: {call: 'log:1.0.0@default'}\n",
        "3:9: task 'a': `call: log:1.0.0@default` names a function of a catalog: `catalogs` are "
        "not supported, because they load definitions from elsewhere while a run goes on: put what "
        "is needed into this file",
    ),
    "use.catalogs": (
        "use:\n  catalogs: {}\ndo: []\n",
        "3:3: `catalogs` are not supported, because they load definitions from elsewhere while a "
        "run goes on: put what is needed into this file",
    ),
    "use.extensions": (
        "use:\n  extensions: []\ndo: []\n",
        "3:3: `extensions` are not supported, because a task would do more than it says: write "
        "what comes before and after it as tasks",
    ),
    "schema.resource": (
        "do:\n  - a: {set: {x: 1}, input: {schema: {resource: {endpoint: 'https://a.example'}}}}\n",
        "3:39: task 'a': a schema is not fetched from elsewhere: write it here, under `document`",
    ),
    "schedule": (
        "schedule: {cron: '0 0 * * *'}\ndo: []\n",
        "2:1: a schedule (`schedule`) is not supported yet",
    ),
    "evaluate.mode": (
        "evaluate: {mode: loose}\ndo: []\n",
        "2:12: the `loose` mode is not supported: remove `mode`, and write expressions as ${ … }",
    ),
    "evaluate.language": (
        "evaluate: {language: javascript}\ndo: []\n",
        "2:12: expressions are read as `jq`; no other language is supported: remove `language`",
    ),
    "$authorization": (
        "do:\n  - a: {set: {x: '${ $authorization.parameter }'}}\n",
        "3:15: task 'a': `$authorization` is not supported, because it would put a credential into "
        "data: let `authentication` send it",
    ),
    "$secret": (
        "do:\n  - a: {set: {x: '${ $secret.token }'}}\n",
        "3:15: task 'a': `x` is not a valid jq expression: $secret is not defined (`$secret` does "
        "not exist: write `$secrets`)",
    ),
    "jq text in single quotes": (
        "do:\n  - a: {set: {x: \"${ .a == 'b' }\"}}\n",
        "3:15: task 'a': `x` is not a valid jq expression: syntax error, unexpected "
        "INVALID_CHARACTER: jq texts stand in double quotes",
    ),
    "call": (
        "do:\n  - a: {call: htp, with: {}}\n",
        "3:9: task 'a': `call` names 'htp', which is no function known here (supported: "
        "`call: http`). Did you mean 'http'?",
    ),
    "a task that no run reaches": (
        "do:\n"
        "  - a: {set: {x: 1}, then: d}\n"
        "  - b: {set: {x: 1}}\n"
        "  - c: {set: {x: 1}}\n"
        "  - d: {switch: [{one: {when: .a, then: exit}}, {other: {then: f}}]}\n"
        "  - e: {set: {x: 1}}\n"
        "  - f: {raise: {error: {type: 'https://a.example/', status: 400}}}\n"
        "  - g: {do: [{h: {set: {x: 1}, then: exit}}, {i: {set: {x: 1}}}]}\n",
        "4:5: task 'b': no run comes here: 'a' goes on elsewhere, and no `then` that is reached "
        "names 'b'\n"
        "7:5: task 'e': no run comes here: 'd' goes on elsewhere, and no `then` that is reached "
        "names 'e'\n"
        "9:5: task 'g': no run comes here: 'f' goes on elsewhere, and no `then` that is reached "
        "names 'g'\n"
        "9:47: task 'i': no run comes here: 'h' goes on elsewhere, and no `then` that is reached "
        "names 'i'",
    ),
    "then": (
        "do:\n  - first: {set: {x: 1}, then: secnd}\n  - second: {set: {x: 1}}\n",
        "3:26: task 'first': `then` names 'secnd', and no task of this list has that name. Did you "
        "mean 'second'?",
    ),
    "a name twice": (
        "do:\n  - a: {set: {x: 1}}\n  - a: {set: {x: 1}}\n",
        "4:5: task 'a': two tasks of this list are named 'a': rename one",
    ),
    "a field of the language": (
        "do:\n  - a: {set: {x: 1}, iff: .a}\n",
        "3:22: task 'a': unknown key 'iff' in `a`. Did you mean 'if'?",
    ),
}

REACHED = """\
do:
  - a: {set: {x: 1}, if: .a, then: exit}
  - b: {switch: [{one: {when: .a, then: d}}], then: e}
  - d: {raise: {error: {type: 'https://a.example/', status: 400}}, if: .a}
  - e: {set: {x: 1}, then: g}
  - f: {set: {x: 1}, then: end}
  - g: {switch: [{one: {when: .a, then: f}}, {other: {then: continue}}]}
  - h: {set: {x: 1}, then: continue}
"""


def test_whatever_a_run_may_reach_is_accepted() -> None:
    assert len(parse((HEAD + REACHED).encode(), "a.yaml").steps) == 7


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_definition_is_refused_with_its_message(rule: str) -> None:
    text, message = WRONG[rule]
    with pytest.raises(DefinitionError) as caught:
        parse((HEAD + text).encode(), "a.yaml")
    faults = [caught.value, *caught.value.others]
    assert [str(fault) for fault in faults] == [f"a.yaml:{line}" for line in message.splitlines()]

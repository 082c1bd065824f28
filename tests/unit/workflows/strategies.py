"""Definitions of all supported kinds, made by hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_expressions = st.sampled_from(
    [
        ".",
        ".n",
        "$context",
        "$task.reference",
        "$task.startedAt.iso8601",
        "$workflow.startedAt.epoch.milliseconds",
        "$workflow.id",
        "now",
        "[., $input] | length",
        '.n // 0 | if type == "number" then . + 1 else 1 end',
    ]
)
_values = st.one_of(
    st.integers(-5, 5), st.text("abc", max_size=3), _expressions.map(lambda text: f"${{ {text} }}")
)
_data = st.dictionaries(st.sampled_from(["n", "a", "b"]), _values, min_size=1, max_size=3)
_conditions = st.sampled_from([".n", "$context", "true", "${ .n == null }"])
# The context may be anything, but not grow at each step.
_outputs = st.sampled_from(["{n: .}", {"n": "${ . }", "was": "${ $input | type }"}, "."])
_exports = st.sampled_from(["{last: $task.name}", ".", "{c: ($context | type), o: $output}"])

CALLED = "http://calls.example/"


def _sets() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(_data, st.sampled_from(["${ . }", "${ {n: 1} }"])).map(
        lambda data: {"set": data}
    )


def _switches() -> st.SearchStrategy[dict[str, Any]]:
    then = st.sampled_from(["continue", "exit"])
    case = st.builds(lambda when, then: {"when": when, "then": then}, _conditions, then)
    return st.builds(
        lambda cases, default: {
            "switch": [
                *({f"case{place}": case} for place, case in enumerate(cases)),
                *({"default": {"then": then}} for then in default),
            ]
        },
        st.lists(case, min_size=1, max_size=2),
        st.lists(then, max_size=1),
    )


def _raises() -> st.SearchStrategy[dict[str, Any]]:
    error = {
        "type": "https://example.com/errors/made",
        "status": 418,
        "detail": "${ [., now] | tostring }",
    }
    return _conditions.map(lambda condition: {"raise": {"error": error}, "if": condition})


def _waits() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.integers(1, 90).map(lambda seconds: {"wait": {"seconds": seconds}}),
        st.just({"wait": "PT0.05S"}),
        st.just({"wait": '${ "PT30S" }'}),
        st.just({"wait": {"minutes": 2, "milliseconds": 7}}),
    )


def _calls() -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda method, query, body, output: {
            "call": "http",
            "with": {
                "method": method,
                "endpoint": CALLED,
                "query": query,
                "body": body,
                "output": output,
            },
        },
        st.sampled_from(["get", "post"]),
        st.just({"ref": "${ $task.reference }"}),
        _data,
        st.sampled_from(["content", "response", "raw"]),
    )


def _with_common(task: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    optional = {
        "if": _conditions,
        "input": st.just({"from": "${ {n: .} }"}),
        "output": st.fixed_dictionaries({"as": _outputs}),
        "export": st.fixed_dictionaries({"as": _exports}),
        "then": st.sampled_from(["continue", "exit"]),
        "timeout": st.just({"after": {"days": 1}}),
    }
    return st.fixed_dictionaries({}, optional=optional).map(lambda common: task | common)


def _named(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A list of these tasks, as far as a run can come."""
    last = next((place for place, task in enumerate(tasks) if _leaves(task)), len(tasks))
    return [{f"step{place}": task} for place, task in enumerate(tasks[: last + 1])]


def _leaves(task: dict[str, Any]) -> bool:
    """Whether no run goes on to the task after this one."""
    if "if" in task:
        return False
    cases = [case for item in task.get("switch", []) for case in item.values()]
    thens = [case["then"] for case in cases]
    if all("when" in case for case in cases):
        thens.append(task.get("then"))
    return set(thens) == {"exit"}


def _loops(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    items = st.sampled_from(["[1, 2, 3]", "[.n, now]", [{"a": 1}, {"a": "${ . }"}], "[]"])
    return st.builds(
        lambda items, condition, steps: {
            "for": {"in": items},
            **condition,
            "do": _named([*_bare(steps), {"set": {"n": "${ [$item, $index, .n] }"}}]),
        },
        items,
        st.sampled_from([{}, {"while": "$index < 2"}]),
        inner,
    )


def _tries(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    retry = {
        "when": ".status == 418",
        "delay": "PT3S",
        "backoff": {"exponential": {}},
        "limit": {"attempt": {"count": 2}},
        "jitter": {"from": "PT0S", "to": "PT4S"},
    }
    handlers = [
        {},
        {"retry": retry},
        {"do": [{"handle": {"set": {"n": "${ [$error, .n, now] }"}}}]},
    ]
    return st.builds(
        lambda steps, *handled: {
            "try": steps,
            "catch": {k: v for h in handled for k, v in h.items()},
        },
        inner,
        st.sampled_from([{}, {"errors": {"with": {"status": 418}}}]),
        st.sampled_from(handlers),
        st.sampled_from(handlers),
    )


task_lists: st.SearchStrategy[list[dict[str, Any]]] = st.recursive(
    st.lists(
        st.one_of(_sets(), _switches(), _raises(), _waits(), _calls()).flatmap(_with_common),
        min_size=1,
        max_size=4,
    ).map(_named),
    lambda inner: st.builds(
        lambda before, group, after: _named([*_bare(before), group, *_bare(after)]),
        inner,
        st.one_of(inner.map(lambda steps: {"do": steps}), _loops(inner), _tries(inner)),
        inner,
    ),
    max_leaves=3,
)


def _bare(named: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [task for item in named for task in item.values()]

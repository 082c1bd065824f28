"""What the language has and definitions may not use: each with its sentence: what to do instead.

What comes later says so. The rest stays refused: it would run foreign code, or needs what a
workflow here never has.
"""

from __future__ import annotations

_PACKAGE = "write a function or a task type in a package of yours (docs/handlers.md)"

WORKFLOW = {"schedule": "a schedule (`schedule`) is not supported yet"}

USE = {
    "catalogs": (
        "`catalogs` are not supported, because they load definitions from elsewhere while a run "
        "goes on: put what is needed into this file"
    ),
    "extensions": (
        "`extensions` are not supported, because a task would do more than it says: write what "
        "comes before and after it as tasks"
    ),
}

SCHEMA = {"resource": "a schema is not fetched from elsewhere: write it here, under `document`"}
AUTHENTICATIONS = {
    "digest": (
        "`digest` is not supported, because it protects no password today: use `basic` or `bearer` "
        "over https"
    ),
    "oauth2": "`oauth2` is not supported yet: use `bearer` with a token",
    "oidc": "`oidc` is not supported yet: use `bearer` with a token",
}

LANGUAGE = "expressions are read as `jq`; no other language is supported: remove `language`"
LOOSE = "the `loose` mode is not supported: remove `mode`, and write expressions as ${ … }"

STEPS = {keyword: f"`{keyword}` tasks are not supported yet" for keyword in ("emit", "listen")}

RUNS = {
    kind: f"`run: {kind}` is not supported, because a definition is data, not code: {_PACKAGE}"
    for kind in ("container", "script", "shell")
}

_CALLS = {
    "openapi": "`call: openapi` is not supported yet: use `call: http`",
    **{
        kind: f"`call: {kind}` is not supported: use `call: http`, or {_PACKAGE}"
        for kind in ("a2a", "asyncapi", "grpc", "mcp")
    },
}


CALLS = frozenset({"http", *_CALLS})
"""What the language's own `call` leads to."""


def refused_call(called: str) -> str | None:
    """The sentence for what stands under `call` where it is never called; None: it may be."""
    if "://" in called:
        return (
            f"`call: {called}` is not supported, because it loads a function from elsewhere while "
            "a run goes on: to send a request there, use `call: http`"
        )
    if "@" in called[1:]:
        return f"`call: {called}` names a function of a catalog: {USE['catalogs']}"
    return _CALLS.get(called)


# Of the arguments of expressions.
ARGUMENTS = {
    "authorization": (
        "`$authorization` is not supported, because it would put a credential into data: let "
        "`authentication` send it"
    ),
    "secrets": (
        "`$secrets` may stand only in `authentication`, in what `call: http` sends (`endpoint`, "
        "`headers`, `query`, `body`), in `if` and in `when`: elsewhere a secret would get into data"
    ),
}
SECRET = "`$secret` does not exist: write `$secrets`"

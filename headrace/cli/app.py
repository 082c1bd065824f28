"""The commands: `headrace keys new`, `headrace workflows check`, `headrace redis-acl`."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path
from typing import Annotated

import typer

from headrace.settings import Role

KEY_PREFIX = "hr_"
"""So that a key is recognized as one: by people, and by scanners of leaked secrets."""

KEY_BYTES = 32

ROLES = (
    "What the holder may do. read: look at tasks, workflows, stats and workers. submit: that, and "
    "execute, submit, cancel and retry. operator: stats and workers, and drain workers; no tasks "
    "and no workflows. admin: everything."
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Tools for whoever runs Headrace. The API is `python run.py`, a worker "
    "`python run_worker.py`.",
)
keys = typer.Typer(no_args_is_help=True, help="API keys.")
workflows = typer.Typer(no_args_is_help=True, help="Workflow definitions.")
app.add_typer(keys, name="keys")
app.add_typer(workflows, name="workflows")


@keys.command("new")
def new_key(
    role: Annotated[Role, typer.Option(help=ROLES)],
    name: Annotated[str, typer.Option(help="Whose key it is; stands in the API's logs.")] = "",
) -> None:
    """Draw an API key of 256 random bits, and print it with the entry for API_KEYS.

    The key itself is kept nowhere: give it to its holder. The API is given the entry alone.
    """
    if not re.fullmatch(r"[A-Za-z0-9 ._@-]*", name):
        typer.echo("the name may have letters, digits, spaces and . _ @ - only", err=True)
        raise typer.Exit(2)
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry = f"{role}:{digest}:{name}" if name else f"{role}:{digest}"
    typer.echo(f"key for the holder   {key}")
    typer.echo(f"entry for API_KEYS   {entry}")


@workflows.command("check")
def check_workflows(
    folder: Annotated[Path, typer.Argument(help="A folder of definitions, as WORKFLOWS_DIR.")],
) -> None:
    """Check every definition in a folder, and say what is wrong: file, line and task.

    Exits with status 1 if a definition is refused, and with 2 if there is none.
    """
    from headrace.workflows import Catalog

    if not folder.is_dir():
        reason = "is a file: give the folder that it is in" if folder.exists() else "does not exist"
        typer.echo(f"{folder} {reason}", err=True)
        raise typer.Exit(2)
    catalog = Catalog.load(folder)
    if not catalog.workflows and not catalog.errors:
        typer.echo(f"{folder} holds no definitions: files *.yaml, *.yml or *.json", err=True)
        raise typer.Exit(2)
    for workflow in catalog.workflows.values():
        typer.echo(f"ok       {workflow.id} {workflow.version}")
    for error in catalog.errors:
        typer.echo(f"refused  {error}", err=True)
    if catalog.errors:
        raise typer.Exit(1)


@app.command("redis-acl")
def print_redis_acl(
    namespace: Annotated[
        str, typer.Option(help="QUEUE_NAMESPACE: only its keys may be used.")
    ] = "headrace",
    wait_fsync: Annotated[
        bool, typer.Option("--wait-fsync", help="For REDIS_WAIT_FSYNC: also WAITAOF (Redis 7.2).")
    ] = False,
) -> None:
    """Print the Redis users that API and workers need, with the rights they need and no others.

    Each line is one of an ACL file. Add the password: `>the-password`, or `#` and its SHA-256.
    """
    from headrace.taskqueue.acl import acl_file

    try:
        text = acl_file(namespace, wait_fsync=wait_fsync)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    typer.echo(text, nl=False)

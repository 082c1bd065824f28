"""`headrace doctor`: looks at an installation; each line is ok, warn or fail, with the fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace import __version__
from headrace.cli.exits import Exit, errors_ended
from headrace.cli.findings import Finding
from headrace.cli.options import OutputOption, ProfileOption

if TYPE_CHECKING:
    from headrace.client.sync_client import Client
    from headrace.contract import StatsReply

OFFSET_SECONDS = 1.0
"""Clocks may differ by so much without a word."""


def doctor(
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="REDIS_URL",
            metavar="URL",
            help="Also look at Redis, as a user that may call INFO, SCAN and TIME. Never stored.",
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair the damaged records. Needs --redis-url.")
    ] = False,
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """Look at the API, the workers and Redis. The status is 1 if anything fails.

    QUEUE_NAMESPACE says which keys of Redis are meant. Records that stand in no index would stay as
    they are for ever: --repair queues those tasks again, as their retries allow.
    """
    from headrace.cli.output import draw, emit_lines, write, write_lines

    findings = list(_findings(profile, redis_url, repair=repair))
    rows = [asdict(it) for it in findings]
    if output == "table":
        from headrace.cli import tables

        draw(tables.findings(findings))
    elif output == "json":
        import json

        write(json.dumps({"checks": rows}, ensure_ascii=False, indent=2))
    elif output == "jsonl":
        emit_lines(rows)
    else:
        write_lines(it.check for it in findings if it.status != "ok")
    if any(it.status == "fail" for it in findings):
        raise typer.Exit(Exit.ERROR)


def _findings(profile: str | None, redis_url: str | None, *, repair: bool) -> Iterator[Finding]:
    from headrace.cli.session import RETRY_SECONDS
    from headrace.client.sync_client import Client

    with errors_ended():
        client = Client(profile=profile, retry_seconds=RETRY_SECONDS)
    with client:
        yield from _of_the_api(client)
    if redis_url is None:
        fix = "set REDIS_URL, or give --redis-url"
        yield Finding("redis server", "warn", "it was not looked at: no address is given", fix)
        if repair:
            yield Finding("records", "fail", "without Redis's address nothing is repaired", fix)
        return
    from headrace.cli.doctor_redis import findings_of_redis

    yield from findings_of_redis(redis_url, repair=repair)


def _of_the_api(client: Client) -> Iterator[Finding]:
    from headrace.client.asks import Ask
    from headrace.client.errors import Forbidden, HeadraceError, Unauthorized
    from headrace.client.steps import HttpRequest
    from headrace.contract import ReadyReply, Reply

    try:
        ready = client.run(client.calls.ask(Ask(HttpRequest("GET", "/readyz"), ReadyReply)))
        document = client.run(client.calls.ask(Ask(HttpRequest("GET", "/openapi.json"), Reply)))
    except HeadraceError as error:
        fix = "start it by `headrace api`, or set HEADRACE_URL or --profile"
        yield Finding("api", "fail", str(error), fix)
        return
    yield Finding("api", "ok", f"{client!r} answers".replace("<Client ", "").replace(">", ""))
    yield _redis_as_the_api_sees_it(ready.redis)
    version = str((document.model_extra or {}).get("info", {}).get("version"))
    try:
        yield Finding("key", "ok", _role(client))
        before = datetime.now(UTC)
        stats = client.queues.stats()
    except (Unauthorized, Forbidden) as error:
        fix = "set HEADRACE_API_KEY, or take --profile: a key of the role read or above"
        yield Finding("key", "fail", str(error), fix)
        yield _versions(version, [])
        return
    except HeadraceError as error:
        yield Finding("stats", "fail", str(error), "look whether Redis runs and can be reached")
        return
    now = before + (datetime.now(UTC) - before) / 2
    yield _versions(version, [worker.version for worker in stats.workers])
    yield _clock("clock", (stats.at - now).total_seconds())
    yield from _queues(stats)


def _redis_as_the_api_sees_it(state: str) -> Finding:
    if state == "available":
        return Finding("redis", "ok", "the API reaches it")
    fixes = {
        "disabled": "set QUEUE_ENABLED=true for the API",
        "unsuitable": "the API's log says why, as redis.unsuitable",
    }
    fix = fixes.get(state, "start Redis, and look at the API's REDIS_URL")
    return Finding("redis", "fail", f"for the API it is {state}", fix)


def _role(client: Client) -> str:
    """What the key may do, by what is refused: nothing of this changes anything.

    Raises Unauthorized, or Forbidden if it may not even look at the stats.
    """
    from headrace.client.asks import Ask
    from headrace.client.errors import Forbidden, RouteNotFound, TaskNotFound
    from headrace.client.steps import HttpRequest
    from headrace.contract import Reply

    def may(attempt: Any) -> bool:
        try:
            attempt()
        except (Forbidden, RouteNotFound):  # an API of 0.2.0 has fewer addresses
            return False
        except TaskNotFound:
            pass
        return True

    audit = Ask(HttpRequest("GET", "/api/audit", {"limit": 1}), Reply)
    client.queues.stats()
    if may(lambda: client.run(client.calls.ask(audit))):
        return "it may do everything (role admin, or the API asks for no key)"
    if may(lambda: client.bulk.dry_run("delete", type="none")):
        return "its role is manager"
    if may(lambda: client.handle("none").cancel()):
        return "its role is submit"
    if may(lambda: client.tasks.list(limit=1)):
        return "its role is read"
    return "its role is operator"


def _versions(api: str, workers: list[str]) -> Finding:
    found = f"API {api}, command {__version__}"
    if workers:
        found += f", workers {', '.join(sorted(set(workers)))}"
    if {api, __version__, *workers} == {__version__}:
        return Finding("versions", "ok", found)
    return Finding("versions", "warn", found, "end the upgrade: bring all to the same version")


def _clock(name: str, offset: float) -> Finding:
    text = f"Redis's clock is {abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} this one"
    if abs(offset) <= OFFSET_SECONDS:
        return Finding(name, "ok", f"Redis's clock and this one differ by {abs(offset):.1f} s")
    return Finding(name, "warn", text, "let both machines set their clocks by NTP")


def _queues(stats: StatsReply) -> Iterator[Finding]:
    served = {name for worker in stats.workers if not worker.draining for name in worker.queues}
    workers = f"{len(stats.workers)} worker{'' if len(stats.workers) == 1 else 's'}"
    waiting = {
        name: it.queue_length + it.delayed
        for name, it in stats.queues.items()
        if name not in served and it.queue_length + it.delayed
    }
    if not waiting:
        yield Finding("queues", "ok", f"{workers}; each queue with tasks has a worker")
    for name, number in waiting.items():
        yield Finding(
            "queues",
            "warn",
            f"{name}: {number} tasks, and no worker serves it",
            "start a worker that has the type: `headrace worker`",
        )

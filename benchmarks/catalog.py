"""Every figure that the benchmark knows, and the targets that are set for them."""

from __future__ import annotations

from benchmarks.figures import Figure, Ratio, Target

SYNC, ASYNCIO, RAW = "set_sync", "set_asyncio", "set_raw"

FLOORS = {SYNC: "floor", ASYNCIO: "asyncio", RAW: "raw"}
"""The floors, and what the columns of their ratios are called."""

FIGURES = (
    Figure(SYNC, "1/s", "SET, redis-py (the floor)", beside_floors=True),
    Figure(ASYNCIO, "1/s", "SET, redis.asyncio", beside_floors=True),
    Figure(RAW, "1/s", "SET, hiredis on a Protocol (the raw floor)", beside_floors=True),
    Figure("submit", "1/s", "submit, one by one", beside_floors=True),
    Figure("submit_bulk", "1/s", "submit, 1000 at a time", beside_floors=True),
    Figure("submit_bulk_made", "1/s", "... the tasks made beforehand", beside_floors=True),
    Figure("drain", "1/s", "drain, logs as shipped", beside_floors=True),
    Figure("drain_quiet", "1/s", "drain, errors logged only", beside_floors=True),
    Figure("pickup_p50", "ms", "idle pick-up, p50"),
    Figure("pickup_p99", "ms", "idle pick-up, p99"),
    Figure("bare_pickup_p50", "ms", "bare RPUSH to BLPOP, p50"),
    Figure("bare_pickup_p99", "ms", "bare RPUSH to BLPOP, p99"),
    Figure("http_bare", "1/s", "HTTP, bare route with one LPUSH"),
    Figure("http_task", "1/s", "HTTP, POST /api/tasks/{type}"),
    Figure("http_workflow", "1/s", "HTTP, POST /api/workflows/{id}/execute"),
    Figure("http_bare_p99", "ms", "HTTP, bare route, p99"),
    Figure("http_task_p99", "ms", "HTTP, POST /api/tasks/{type}, p99"),
    Figure("memory_50", "bytes", "memory a queued task, payload of 50 bytes"),
    Figure("memory_500", "bytes", "memory a queued task, payload of 500 bytes"),
    Figure("noop_p50", "ms", "a task that does nothing, to its end, p50"),
    Figure("run_p50", "ms", "a run of ten `set`, to its end, p50"),
    Figure("run_extra_p50", "ms", "... what it takes longer, p50"),
    Figure("runs", "1/s", "runs of ten `set`, one worker"),
    Figure("jq_alone_p99", "ms", "50 runs at once that need jq, p99"),
    Figure("jq_beside_p99", "ms", "... beside an expression without end, p99"),
    Figure("evaluation_max", "ms", "an evaluation beside it, the longest"),
    Figure("cancel_shallow", "ms", "cancel, 10 queued"),
    Figure("cancel_deep", "ms", "cancel, 1,000,000 queued"),
    Figure("stats_shallow", "ms", "stats, 10 queued"),
    Figure("stats_deep", "ms", "stats, 1,000,000 queued"),
)

TARGETS = (
    Target(Ratio("drain", SYNC), 1.2, "at least", "drain ÷ floor"),
    Target(Ratio("drain", RAW), 0.55, "at least", "drain ÷ raw floor"),
    Target("drain", 9_000, "at least", "drain, tasks a second (BullMQ)"),
    Target(Ratio("submit", SYNC), 0.65, "at least", "submit ÷ floor"),
    Target(Ratio("submit", RAW), 0.3, "at least", "submit ÷ raw floor"),
    Target("submit", 10_000, "at least", "submit, tasks a second (asynq)"),
    Target(Ratio("submit_bulk", SYNC), 12, "at least", "submit in bulk ÷ floor"),
    Target("pickup_p50", 0.9, "at most", "idle pick-up p50, ms"),
    Target(
        Ratio("pickup_p99", "bare_pickup_p99"), 1.5, "at most", "idle pick-up p99 ÷ bare hand-over"
    ),
    Target(Ratio("http_task", "http_bare"), 0.85, "at least", "HTTP task ÷ bare route"),
    Target(Ratio("http_workflow", "http_bare"), 0.85, "at least", "HTTP workflow ÷ bare route"),
    Target("run_extra_p50", 2, "at most", "run of ten `set` − no-op task, p50, ms"),
    Target("runs", 400, "at least", "runs of ten `set`, a second"),
    Target(
        Ratio("jq_beside_p99", "jq_alone_p99"), 3, "at most", "p99 beside an endless expression"
    ),
    Target("evaluation_max", 100, "at most", "longest evaluation beside it, ms"),
    Target(Ratio("cancel_deep", "cancel_shallow"), 2, "at most", "cancel at 1,000,000 ÷ at 10"),
    Target(Ratio("stats_deep", "stats_shallow"), 2, "at most", "stats at 1,000,000 ÷ at 10"),
)

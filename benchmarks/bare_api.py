"""What HTTP submit is held against: a FastAPI route that does one LPUSH, and nothing else."""

from __future__ import annotations

import os

import redis.asyncio
from fastapi import FastAPI

from benchmarks.tasks import Order

app = FastAPI()
client = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])


@app.post("/submit", status_code=202)
async def submit(order: Order) -> dict[str, str]:
    """Put the payload into a list."""
    await client.lpush("orders", order.model_dump_json())
    return {"status": "queued"}

"""An application that submits tasks, and says what became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

from headrace import AsyncClient, Context, handler
from headrace.client.errors import TaskNotFound


class Picture(BaseModel):
    """Which picture to make smaller."""

    url: str
    width: int = 80


@handler("thumbnail_create")
async def create(ctx: Context, picture: Picture) -> dict[str, str]:
    """Make a thumbnail: here only its name."""
    return {"thumbnail": f"{picture.url}?width={picture.width}"}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for the process."""
    async with AsyncClient() as app.state.headrace:
        yield


def headrace(request: Request) -> AsyncClient:
    """The dependency."""
    client: AsyncClient = request.app.state.headrace
    return client


Headrace = Annotated[AsyncClient, Depends(headrace)]

app = FastAPI(lifespan=lifespan)


@app.post("/thumbnails", status_code=202)
async def submit(picture: Picture, client: Headrace) -> dict[str, str]:
    """Submit, and answer at once."""
    handle = await client.submit(create, picture)
    return {"id": handle.id}


@app.get("/thumbnails/{task_id}")
async def look(task_id: str, client: Headrace) -> dict[str, Any]:
    """What became of it."""
    try:
        task = await client.handle(task_id).get()
    except TaskNotFound:
        raise HTTPException(404, "there is no such thumbnail") from None
    return {"status": task.status, "result": task.result}

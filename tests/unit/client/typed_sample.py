"""A program that uses the client, for mypy and pyright: `make check` looks at it, nothing runs it.

Each wrong line has a comment that expects its error: where there is none, that is an error too.
"""

from __future__ import annotations

from typing import Any, assert_type

from pydantic import BaseModel

from headrace import AsyncClient, AsyncTaskHandle, Client, Context, Park, TaskHandle, handler


class Thumbnail(BaseModel):
    """A payload."""

    url: str


class Made(BaseModel):
    """A result."""

    path: str


@handler("create")
async def create(ctx: Context, payload: Thumbnail) -> Made:
    """Async, with a result of its own."""
    return Made(path=payload.url)


@handler("count")
def count(ctx: Context, payload: Thumbnail) -> dict[str, int]:
    """In a thread."""
    return {payload.url: 1}


@handler("park")
async def park(ctx: Context, payload: Thumbnail) -> int | Park:
    """A Park is no result."""
    return 1


@handler("anything")
def anything(ctx: Context, payload: Any) -> None:
    """Takes every document."""


def right(client: Client, payload: Thumbnail) -> None:
    """All that is well typed."""
    assert_type(client.submit(create, payload), TaskHandle[Made])
    assert_type(client.submit(create, payload, key="a", start_in=5).result(timeout=1), Made)
    assert_type(client.submit(count, payload).result(), dict[str, int])
    assert_type(client.submit(park, payload).result(), int)
    assert_type(client.submit(anything, [1]), TaskHandle[None])
    assert_type(client.submit("create", {"url": ""}), TaskHandle[Any])
    assert_type(client.gather(client.submit_many(create, [payload])), list[Made])
    assert_type(client.handle("id", park).result(), int)
    for handle in client.as_completed([client.handle("id", create)]):
        assert_type(handle.result(), Made)


async def right_on_a_loop(client: AsyncClient, payload: Thumbnail) -> None:
    """The same, to be awaited."""
    handle = await client.submit(create, payload)
    assert_type(handle, AsyncTaskHandle[Made])
    assert_type(await handle.result(), Made)
    assert_type(await client.gather([handle]), list[Made])
    async for ended in client.as_completed(await client.submit_many(park, [payload])):
        assert_type(await ended.result(), int)


def wrong_payload(client: Client) -> None:
    """Another model, and none."""
    client.submit(create, Made(path=""))  # type: ignore[misc] # pyright: ignore
    client.submit(count, {"url": 1})  # type: ignore[misc, arg-type] # pyright: ignore
    client.submit(create)  # type: ignore[call-overload] # pyright: ignore
    client.submit_many(create, [Made(path="")])  # type: ignore[misc] # pyright: ignore


def wrong_result(client: Client, payload: Thumbnail) -> str:
    """Another type than the handler's."""
    number: int = client.submit(create, payload).result()  # type: ignore[assignment] # pyright: ignore
    return client.submit(park, payload).result() + number  # type: ignore[return-value] # pyright: ignore


def wrong_option(client: Client, payload: Thumbnail) -> None:
    """A name that is misspelt, and a value of another type."""
    client.submit(create, payload, keys="a")  # type: ignore[call-overload] # pyright: ignore
    client.submit(create, payload, max_retries="a")  # type: ignore[call-overload] # pyright: ignore


async def wrong_on_a_loop(client: AsyncClient, payload: Thumbnail) -> int:
    """The same, to be awaited."""
    await client.submit(create, Made(path=""))  # type: ignore[misc] # pyright: ignore
    return await (await client.submit(create, payload)).result()  # type: ignore[return-value] # pyright: ignore

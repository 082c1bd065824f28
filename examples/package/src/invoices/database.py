"""The database of the example: a pool of SQLite connections, opened once for a process.

A real one would be asyncpg's or psycopg's; they are used in the same way. SQLite blocks, so each
statement runs in a thread, on a connection that nobody else uses meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

CONNECTIONS = 3
SCHEMA = """
    CREATE TABLE IF NOT EXISTS totals (number TEXT PRIMARY KEY, total TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS attempts (task_type TEXT, outcome TEXT, seconds REAL);
"""


class Database:
    """Connections that are handed out and taken back."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._free: asyncio.Queue[sqlite3.Connection] = asyncio.Queue()

    async def open(self) -> None:
        """Open the connections, and make the tables."""
        for _ in range(CONNECTIONS):
            connection = await asyncio.to_thread(self._connect)
            self._free.put_nowait(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10, check_same_thread=False)
        connection.executescript(SCHEMA)
        return connection

    async def execute(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run one statement in a transaction of its own, and return its rows."""
        connection = await self._free.get()
        try:
            return await asyncio.to_thread(_execute, connection, statement, values)
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """Close the connections, once they are back."""
        for _ in range(CONNECTIONS):
            (await self._free.get()).close()


def _execute(
    connection: sqlite3.Connection, statement: str, values: tuple[object, ...]
) -> list[tuple[object, ...]]:
    with connection:
        return connection.execute(statement, values).fetchall()


@asynccontextmanager
async def database() -> AsyncIterator[Database]:
    """Open before the first attempt, closed after the last: the entry point `headrace.lifespan`."""
    default = Path(tempfile.gettempdir()) / "invoices.sqlite"  # the images' only writable folder
    pool = Database(os.environ.get("INVOICES_DATABASE") or str(default))
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()

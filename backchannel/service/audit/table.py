"""The table: a copy of the trail in SQLite, for questions in SQL (WAL, each commit waits for the disk)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from backchannel.domain.audit import Damaged, Link, read_link

FILE = "trail.sqlite"
BUSY = 10.0
PAGE = 500
SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
  chain TEXT NOT NULL, position INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (chain, position)
) WITHOUT ROWID, STRICT;
CREATE VIEW IF NOT EXISTS trail AS SELECT chain, position,
  json_extract(CAST(body AS TEXT), '$.at') AS at,
  json_extract(CAST(body AS TEXT), '$.category') AS category,
  json_extract(CAST(body AS TEXT), '$.entity') AS entity,
  json_extract(CAST(body AS TEXT), '$.action') AS action,
  json_extract(CAST(body AS TEXT), '$.phase') AS phase,
  json_extract(CAST(body AS TEXT), '$.of') AS "of",
  json_extract(CAST(body AS TEXT), '$.facts') AS facts
FROM records;
"""


class Table:
    """The rows of one group. Used by one thread at a time."""

    name = "sqlite"

    def __init__(self, folder: Path, group: str) -> None:
        self._path = folder / FILE
        self._group = group
        self._database: sqlite3.Connection | None = None

    def open(self) -> tuple[Link | None, list[str]]:
        """The last record, and what is wrong with it.

        Raises:
            OSError, sqlite3.Error: the file cannot be used.
        """
        self.close()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made by us, so that nobody else may ever read it; SQLite follows with its other files.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._database = sqlite3.connect(
            self._path, timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(SCHEMA)
        return self._last()

    def append(self, links: Sequence[Link]) -> list[str]:
        """Insert them and wait for the disk. A row that is there already stays, and is named if it differs.

        Raises:
            sqlite3.Error: none of them is kept.
        """
        database = self._database
        assert database is not None
        rows = [(self._group, link.position, link.body) for link in links]
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany("INSERT INTO records VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return []

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _last(self) -> tuple[Link | None, list[str]]:
        assert self._database is not None
        faults: list[str] = []
        rows = self._database.execute(
            "SELECT position, body FROM records WHERE chain = ? ORDER BY position DESC LIMIT 100",
            (self._group,),
        )
        for position, body in rows:
            try:
                return read_link(bytes(body)), faults
            except Damaged as problem:
                faults = faults or [f"the row {position} is damaged: {problem}"]
        return None, faults


def rows_of(path: Path, group: str) -> Iterator[tuple[int, bytes]]:
    """Every row of a group, in order; read only, some at a time.

    Raises:
        sqlite3.Error: the file cannot be read, or is damaged.
    """
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY)
    try:
        database.text_factory = bytes
        cursor = database.execute(
            "SELECT position, body FROM records WHERE chain = ? ORDER BY position", (group,)
        )
        while rows := cursor.fetchmany(PAGE):
            yield from rows
    finally:
        database.close()

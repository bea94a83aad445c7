"""The tables of a worker's file, and the seal that each row carries: what says, without SQLite, whether a row is whole.

A seal is a checksum (CRC-32, which costs a tenth of a cryptographic hash, and the length) over the table's name and the
values of the row. SQLite computes it whenever the row is written (a stored generated column, sqlite.org/gencol.html), so that
no statement can forget it. A disk page that was damaged takes with it what stood on it, and every other row can prove that it
is what was written; the table's name in it tells which table a row belonged to where nothing else does.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib

SCHEMA_VERSION = 5
PAGE = 4096

COLUMNS: dict[str, tuple[str, ...]] = {}
"""The columns of each sealed table, without the seal, which stands behind them."""


def _sealed(name: str, *columns: str, key: str = "") -> str:
    names = COLUMNS[name] = tuple(column.split()[0] for column in columns)
    seal = f"seal BLOB NOT NULL GENERATED ALWAYS AS (seal('{name}', {', '.join(names)})) STORED"
    return f"CREATE TABLE IF NOT EXISTS {name} ({', '.join([*columns, seal, *([key] if key else [])])})"


_ENTRY = ("id TEXT PRIMARY KEY", "operation TEXT NOT NULL", "key TEXT NOT NULL", "entry BLOB NOT NULL")

# In one transaction: a file without a version has no tables, and nothing in it.
SCHEMA = (
    "BEGIN IMMEDIATE",
    # Deferred writes: those that wait, those that are put aside, and what became of the others (`published`: MongoDB knows).
    # `tried` is when the database may first have applied it; NULL if that is impossible. `since`: when it began to wait for its
    # `reason`.
    _sealed(
        "writes",
        "position INTEGER PRIMARY KEY AUTOINCREMENT",
        "id TEXT NOT NULL UNIQUE",
        "operation TEXT NOT NULL DEFAULT ''",
        "key TEXT NOT NULL DEFAULT ''",
        "entry BLOB NOT NULL",
        "attempts INTEGER NOT NULL DEFAULT 0",
        "created REAL NOT NULL",
        "tried REAL",
        "not_before REAL NOT NULL DEFAULT 0",
        "reason TEXT",
        "published INTEGER NOT NULL DEFAULT 0",
        "since REAL",
    ),
    "CREATE INDEX IF NOT EXISTS writes_by_key ON writes (key, position)",
    # What is counted of those that wait: in its order, and without a look at their entries, in an eighth of the time.
    "CREATE INDEX IF NOT EXISTS writes_to_count ON writes (operation, reason, created, length(entry))",
    "CREATE INDEX IF NOT EXISTS writes_tried ON writes (position) WHERE tried IS NOT NULL",
    _sealed(
        "dead",
        *_ENTRY,
        "attempts INTEGER NOT NULL",
        "created REAL NOT NULL",
        "tried REAL",
        "reason TEXT NOT NULL",
        "facts TEXT NOT NULL",
        "at REAL NOT NULL",
        "published INTEGER NOT NULL DEFAULT 0",
    ),
    _sealed(
        "ended",
        "id TEXT PRIMARY KEY",
        "operation TEXT NOT NULL",
        "owner TEXT",
        "state TEXT NOT NULL",
        "attempts INTEGER NOT NULL",
        "created REAL NOT NULL",
        "at REAL NOT NULL",
        "published INTEGER NOT NULL DEFAULT 0",
    ),
    "CREATE INDEX IF NOT EXISTS ended_by_time ON ended (at)",
    # What admins ordered, and what became of it.
    _sealed(
        "orders",
        "id TEXT PRIMARY KEY",
        "command TEXT NOT NULL",
        "operation_id TEXT NOT NULL",
        "ordered_by TEXT",
        "at REAL NOT NULL",
        "result TEXT NOT NULL",
    ),
    _sealed(
        "records",
        "id TEXT PRIMARY KEY",
        "collection TEXT NOT NULL",
        "request_id TEXT",
        "at REAL NOT NULL",
        "entry BLOB NOT NULL",
        "stored INTEGER NOT NULL DEFAULT 0",
    ),
    "CREATE INDEX IF NOT EXISTS records_by_request ON records (request_id)",
    "CREATE INDEX IF NOT EXISTS records_to_store ON records (stored, at)",
    _sealed(
        "minutes",
        "worker TEXT NOT NULL",
        "minute INTEGER NOT NULL",
        "revision INTEGER NOT NULL",
        "errors BLOB NOT NULL",
        "traffic BLOB NOT NULL",
        "stored INTEGER NOT NULL DEFAULT 0",
        key="PRIMARY KEY (worker, minute)",
    ),
    # Both without a look at the counts, which stand before what is asked for: two days of them are some 20 MB.
    "CREATE INDEX IF NOT EXISTS minutes_to_store ON minutes (minute) WHERE stored < revision",
    "CREATE INDEX IF NOT EXISTS minutes_by_time ON minutes (minute)",
    # Which minutes of other workers MongoDB has, by whoever has stored them: they mark their own rows. Without a seal: what is
    # gone is found in MongoDB again.
    "CREATE TABLE IF NOT EXISTS folded (worker TEXT NOT NULL, minute INTEGER NOT NULL, revision INTEGER NOT NULL,"
    " PRIMARY KEY (worker, minute))",
    _sealed(
        "queries",
        "worker TEXT NOT NULL",
        "name TEXT NOT NULL",
        "at REAL NOT NULL",
        "entry BLOB NOT NULL",
        key="PRIMARY KEY (worker, name)",
    ),
    _sealed("advice", "fingerprint TEXT PRIMARY KEY", "at REAL NOT NULL", "entry BLOB NOT NULL"),
    # What each boot has counted for whoever scrapes it; of dead boots their sum.
    _sealed(
        "totals",
        "boot TEXT NOT NULL",
        "part TEXT NOT NULL",
        "revision INTEGER NOT NULL",
        "entry BLOB NOT NULL",
        key="PRIMARY KEY (boot, part)",
    ),
    # How a worker is, once a second: of no use a second later, and so without a seal.
    "CREATE TABLE IF NOT EXISTS status (worker TEXT PRIMARY KEY, at REAL NOT NULL, entry BLOB NOT NULL)",
    _sealed(
        "incidents",
        "id TEXT PRIMARY KEY",
        "revision INTEGER NOT NULL",
        "entry BLOB NOT NULL",
        "stored INTEGER NOT NULL DEFAULT 0",
    ),
    # Resolved errors that are back: seen by this worker, and told by the one that leads.
    _sealed("regressions", "fingerprint TEXT PRIMARY KEY", "at REAL NOT NULL", "entry BLOB NOT NULL"),
    # What kinds of errors are called, in the words of the first one, and when one was seen.
    _sealed("kinds", "fingerprint TEXT PRIMARY KEY", "at REAL NOT NULL", "seen REAL NOT NULL", "entry BLOB NOT NULL"),
    f"PRAGMA user_version={SCHEMA_VERSION}",
    "COMMIT",
)

ROWID = {"writes": "position"}
"""The column that is the row's number: SQLite keeps it beside the row, and NULL in its place."""


def whole(table: str) -> str:
    """The condition under which a row of ``table`` is what was written."""
    return f"seal IS seal('{table}', {', '.join(COLUMNS[table])})"


def seal(table: str, *values: object) -> bytes:
    """The seal of a row: eight bytes. A number counts as what it is, whether SQLite keeps it as an integer or as a float."""
    check, length = zlib.crc32(table.encode()), 0
    for value in values:
        if value is None:
            check = zlib.crc32(b"-", check)
        elif isinstance(value, (int, float)):
            check = zlib.crc32(b"n" + struct.pack("<d", value), check)
        else:
            kind, content = (b"t", value.encode()) if isinstance(value, str) else (b"b", value)
            length += len(content)  # type: ignore[arg-type]
            check = zlib.crc32(content, zlib.crc32(kind + struct.pack("<q", len(content)), check))  # type: ignore[arg-type]
    return struct.pack("<II", check, length & 0xFFFFFFFF)


def prepare(connection: sqlite3.Connection) -> None:
    """Let ``connection`` write rows with their seals, and give back the room that a backlog has had."""
    connection.create_function("seal", -1, seal, deterministic=True)
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of a file that has no tables yet
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("CREATE TEMP TABLE settled (id TEXT PRIMARY KEY)")  # see prodfix.journal.settled


def make(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA:
        connection.execute(statement)

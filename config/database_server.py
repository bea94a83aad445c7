"""The embedded database server for development and tests: SecantusDB in a process of its own.

``python -m config.database_server --path DIR|:memory: [--port N]`` prints ``ready mongodb://127.0.0.1:PORT/`` on one line
when it answers, and ends with code 0 on SIGTERM and SIGINT. This is the only file that imports ``secantus``: the package
is GPL-2.0 and belongs to development. What looks roundabout below avoids a defect of SecantusDB 0.7.0b3.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import faulthandler
import fcntl
import functools
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TextIO

LOOPBACK = "127.0.0.1"
IN_MEMORY = ":memory:"
RETRYABLE_RECORDS = 256
TICK_SECONDS = 0.25


class CannotServe(Exception):
    """The server cannot be started; the text says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal or the parent's death; the exit code."""
    stop = _stop_signals()
    options = _options(arguments)
    try:
        serve(options, stop)
    except CannotServe as problem:
        print(problem, file=sys.stderr, flush=True)
        return 1
    return 0


def serve(options: argparse.Namespace, stop: SimpleQueue[int]) -> None:
    """Open the data, answer clients, and close in order once ``stop`` holds something."""
    with _own_folder(options.path):
        server = _opened(options)
        try:
            _listen(server)
            print(f"ready {server.uri}", flush=True)
            _watch(server, stop, options.parent)
        finally:
            _close(server)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m config.database_server", description=__doc__)
    parser.add_argument("--path", default=IN_MEMORY, help="folder of the data, or :memory: (the default)")
    parser.add_argument("--port", type=int, default=0, help=f"port on {LOOPBACK}; 0 lets the system choose")
    parser.add_argument("--failpoints", action="store_true", help="allow configureFailPoint")
    parser.add_argument(
        "--ttl-sweep", type=float, default=60, metavar="SECONDS", help="how often TTL indexes are swept"
    )
    parser.add_argument("--txn-lifetime", type=float, default=60, metavar="SECONDS", help="age that ends a transaction")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this parent process has died")
    return parser.parse_args(arguments)


def _stop_signals() -> SimpleQueue[int]:
    # A signal that arrives while SecantusDB opens its files can hang or crash it, so the handler only takes a note. The
    # note goes into a SimpleQueue, whose put() may interrupt its own get(); threading.Event would deadlock there.
    arrived: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: arrived.put(received))
    return arrived


@contextlib.contextmanager
def _own_folder(path: str) -> Iterator[None]:
    """Hold the data folder for this process alone; a lock of ours, as WiredTiger's refusal is a page of C messages."""
    if path == IN_MEMORY:
        yield
        return
    with _lock_file(Path(path)) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotServe(f"{path} is already open in another database server: stop that one, or use it") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")  # for who wants to stop it
        lock.flush()
        yield


def _lock_file(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return folder.with_name(f"{folder.name}.lock").open("a")  # another one's ID stays until the lock is ours
    except OSError as error:
        raise CannotServe(f"The folder {folder} cannot be used: {error.strerror}") from None


def _opened(options: argparse.Namespace) -> Any:
    try:
        import secantus.transactions
        from secantus.server import SecantusDBServer
    except ModuleNotFoundError as error:
        raise CannotServe(
            f"The embedded database needs the package secantusdb (no module {error.name}): "
            "run `pip install -r requirements-run.txt`, or set MONGODB_URI to a MongoDB of yours"
        ) from None
    # Beyond this many remembered retryable writes each further write sorts the whole table: with the 10,000 of the
    # package, writes fall from 1,024 to 66 a second.
    secantus.transactions._RETRYABLE_RECORD_MAX = RETRYABLE_RECORDS
    try:
        server = SecantusDBServer(
            host=LOOPBACK,
            port=options.port,
            storage_path=options.path,
            enable_test_commands=options.failpoints,
            ttl_sweep_seconds=options.ttl_sweep,
            transaction_lifetime_seconds=options.txn_lifetime,
            # Without it neither w:majority nor j:true survives SIGKILL; what is in memory survives nothing anyway.
            sync_on_commit=options.path != IN_MEMORY,
            cache_size="64M" if options.path != IN_MEMORY else "256M",  # in memory it is all that there is
        )
    except Exception as error:
        raise CannotServe(f"The database in {options.path} cannot be opened: {error}") from error
    _make_tables(server.storage)
    # These write while they hold the one lock of the storage. Outside of a transaction WiredTiger repeats such a write
    # until no other transaction has changed the row; one that has just made the same collection (an insert, beside a
    # createIndexes) waits for that lock, and the whole server stands still for ever. Inside a transaction the write is
    # refused at once, and tried again without the lock.
    for name in ("create_collection", "set_collection_options"):
        setattr(server.storage, name, _in_transaction(server.storage, name))
    return server


def _make_tables(storage: Any) -> None:
    # SecantusDB makes each when a first collection needs it; killed in the middle of that (of 80 kills, 39) it leaves data
    # that cannot be opened any more. What is made here, before the port opens, holds no data yet.
    from secantus.storage import _DOC_SHARD_CFG, _DOC_SHARDS, _doc_shard_name

    session = storage._conn.open_session()
    for number in range(_DOC_SHARDS):
        session.create(_doc_shard_name(number), _DOC_SHARD_CFG)
    session.close()


def _in_transaction(storage: Any, name: str) -> Callable[..., Any]:
    from secantus.storage import _retry_write_conflicts

    method = getattr(type(storage), name)

    @functools.wraps(method)
    def call(storage: Any, *arguments: Any, **options: Any) -> Any:
        with storage._batch_transaction():
            return method(storage, *arguments, **options)

    return functools.partial(_retry_write_conflicts(call), storage)


def _listen(server: Any) -> None:
    from pymongo import MongoClient

    try:
        server.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise CannotServe(f"Cannot listen on {LOOPBACK}:{server.port}: {error.strerror}") from None
        raise CannotServe(f"Port {server.port} of {LOOPBACK} is taken: choose another with --port") from None
    client: MongoClient[dict[str, Any]]
    with MongoClient(server.uri, directConnection=True, serverSelectionTimeoutMS=10_000) as client:
        client.admin.command("ping")


def _watch(server: Any, stop: SimpleQueue[int], parent: int | None) -> None:
    # The parent is asked for by getppid(): PR_SET_PDEATHSIG would also fire when only the thread that started us ends.
    while parent is None or os.getppid() == parent:
        with contextlib.suppress(Empty):
            stop.get(timeout=TICK_SECONDS)
            return
        # SecantusDB ends an expired transaction only when the next transaction command arrives; until then it blocks
        # every plain write to the same documents.
        server.transactions.prune_expired()


def _close(server: Any) -> None:
    # stop() closes the listening socket and then waits two seconds for an accept() that nothing wakes any more.
    server._stop_event.set()
    with contextlib.suppress(OSError, RuntimeError):
        socket.create_connection(server.address, timeout=1).close()
    server.stop()


if __name__ == "__main__":
    # Whoever waits for it in vain can see where each thread stands: kill -USR1.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    # A thread keeps the interpreter for 5 ms while another one waits for it. A small command needs it again after each call of
    # WiredTiger, and would wait as often beside a large one.
    sys.setswitchinterval(0.0005)
    sys.exit(main())

"""A responder that speaks just enough of MongoDB's wire protocol to answer at once, so that the client's cost shows.

OP_MSG only (mongodb.com/docs/manual/reference/mongodb-wire-protocol), one thread for each connection, in a process of its
own. It looks for the command's name in the bytes and parses nothing. What is inserted into ``twice`` was there already.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import bson

from config import tether

HEADER = struct.Struct("<iiii")
OP_MSG = 2013
_FLAGS_AND_KIND = b"\0\0\0\0\0"

_HELLO = bson.encode(
    {
        "ok": 1.0,
        "helloOk": True,
        "isWritablePrimary": True,
        "minWireVersion": 0,
        "maxWireVersion": 21,
        "maxBsonObjectSize": 16 * 1024 * 1024,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
        "logicalSessionTimeoutMinutes": 30,
        "readOnly": False,
    }
)
_FOUND = bson.encode(
    {"ok": 1.0, "cursor": {"id": 0, "ns": "bench.notes", "firstBatch": [{"_id": 1, "title": "A note"}]}}
)
_WRITTEN = bson.encode({"ok": 1.0, "n": 1})
_TAKEN = bson.encode(
    {
        "ok": 1.0,
        "n": 0,
        "writeErrors": [
            {
                "index": 0,
                "code": 11000,
                "keyPattern": {"title": 1},
                "keyValue": {"title": "A note"},
                "errmsg": 'E11000 duplicate key error collection: bench.twice index: title_1 dup key: { title: "A note" }',
            }
        ],
    }
)
_TWICE = b"insert\0" + struct.pack("<i", 6) + b"twice\0"


def _reply_to(message: bytes) -> bytes:
    name = message[26:48]
    if name.startswith((b"hello", b"isMaster", b"ismaster")):
        return _HELLO
    if name.startswith(_TWICE):
        return _TAKEN
    return _FOUND if name.startswith(b"find\0") else _WRITTEN


def _serve(connection: socket.socket) -> None:
    # A client that ends with its process sends a reset.
    with contextlib.suppress(ConnectionError), connection, connection.makefile("rb") as stream:
        while len(head := stream.read(HEADER.size)) == HEADER.size:
            length, request_id, _, operation = HEADER.unpack(head)
            body = stream.read(length - HEADER.size)
            # An OP_QUERY is the driver's first hello; its answer is an OP_REPLY with a header of its own.
            if operation == OP_MSG:
                document = _reply_to(head + body)
                payload = _FLAGS_AND_KIND + document
                kind = OP_MSG
            else:
                payload = struct.pack("<iqii", 8, 0, 0, 1) + _HELLO
                kind = 1
            connection.sendall(HEADER.pack(HEADER.size + len(payload), 1, request_id, kind) + payload)


def _listen(ready: Connection, parent: int) -> None:
    tether.tie(parent)
    with socket.create_server(("127.0.0.1", 0)) as server:
        ready.send(server.getsockname()[1])
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


@contextmanager
def canned_server() -> Iterator[str]:
    """The URI of a responder that runs until the end of the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_listen, args=(theirs, os.getpid()), daemon=True)
    process.start()
    try:
        yield f"mongodb://127.0.0.1:{ours.recv()}/bench?directConnection=true"
    finally:
        process.terminate()
        process.join()

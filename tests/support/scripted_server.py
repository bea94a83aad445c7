"""A server that says what it is told to say: for replies that the embedded one cannot give.

It speaks OP_MSG, and OP_QUERY for the first hello of older drivers, and no more: it is a primary without sessions, and
each other command gets the next reply of its script.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import bson

_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_HELLO = {
    "helloOk": True,
    "isWritablePrimary": True,
    "ismaster": True,
    "maxBsonObjectSize": 16_777_216,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 25,
    "readOnly": False,
    "ok": 1.0,
}
_HELD = bson.encode(_HELLO)

Reply = Mapping[str, Any] | bytes
"""A document, or the bytes that stand where one belongs."""


class ScriptedServer:
    """A context manager on 127.0.0.1. ``answer`` gives the reply to a command; it is called in a thread of its connection."""

    def __init__(self, answer: Callable[[Mapping[str, Any]], Reply]) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.commands: list[str] = []
        """Names of the commands that came, without what drivers ask for themselves."""
        self._connections: list[socket.socket] = []

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/scripted?directConnection=true&serverMonitoringMode=poll"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="scripted", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), name="scripted", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while (header := _exactly(connection, 16)) is not None:
                    length, request, _, opcode = struct.unpack("<iiii", header)
                    body = _exactly(connection, length - 16)
                    if body is not None and opcode == _OP_QUERY:  # of a driver that knows nothing of the server yet
                        head = struct.pack("<iiiiiqii", 36 + len(_HELD), 1, request, _OP_REPLY, 0, 0, 0, 1)
                        connection.sendall(head + _HELD)
                        continue
                    if body is None or opcode != _OP_MSG:
                        return
                    size = struct.unpack_from("<i", body, 5)[0]
                    reply = self._reply(bson.decode(body[5 : 5 + size]))
                    raw = reply if isinstance(reply, bytes) else bson.encode(reply)
                    message = struct.pack("<iiiiIB", 21 + len(raw), 1, request, _OP_MSG, 0, 0) + raw
                    connection.sendall(message)
            except OSError:  # the client, or the end of the test, has closed it
                return

    def _reply(self, command: Mapping[str, Any]) -> Reply:
        name = next(iter(command))
        if name.lower() in ("hello", "ismaster", "ping", "endsessions"):
            return _HELLO
        self.commands.append(name)
        return self._answer(command)


def _exactly(connection: socket.socket, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(length - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)

"""A TCP proxy in front of a database server: it counts the commands that pass, and breaks the connection as it is told.

The server names its own address in the answer to ``hello``, and a driver that discovers servers goes there, past the proxy.
So clients use ``directConnection=true``, as :attr:`Proxy.uri` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Literal, Self

import bson

from config.ports import free_port

Mode = Literal["pass", "blackhole", "refuse", "half_open", "cut", "end", "corrupt"]

_OP_MSG = 2013
# The driver's own: how servers are discovered and watched.
HOUSEKEEPING = frozenset({"hello", "ismaster", "isMaster", "ping", "endSessions", "buildInfo"})


class Proxy:
    """A context manager, in a thread of its own.

    ``pass``: all passes. ``blackhole``: what arrives is swallowed, in both directions, and new connections are taken and
    never served, as when packets are dropped. ``refuse``: all connections are cut, and new ones at once. ``half_open``: what
    is sent arrives, and no answer comes back. ``cut``: a connection is reset (RST) within an answer, after ``cut_after``
    bytes of it; ``end``: it is ended there (FIN). ``corrupt``: answers are not MongoDB's. ``delay`` is how many seconds later
    each answer comes.
    """

    def __init__(self, upstream: int) -> None:
        self.port = free_port()
        self._upstream = upstream
        self._mode: Mode = "pass"
        self._lose: tuple[str, int] = ("", 0)
        self._spoil: tuple[str, int, int] = ("", 0, 0)
        self._links: set[asyncio.StreamWriter] = set()
        self._counts: Counter[str] = Counter()
        self._places: Counter[tuple[str, Any]] = Counter()
        self._bytes: Counter[tuple[str, str]] = Counter()
        self.delay = 0.0
        self.cut_after = 20
        self.lost: list[str] = []
        """Commands whose answer was not handed on."""
        self.spoiled: list[str] = []
        """Commands whose answer was made unreadable."""
        self._loop = asyncio.new_event_loop()
        self._serving: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def database_uri(self, name: str) -> str:
        return f"mongodb://127.0.0.1:{self.port}/{name}?directConnection=true"

    @property
    def commands(self) -> Counter[str]:
        """Commands that reached the proxy so far, by name, also those that it swallowed."""
        return Counter(self._counts)

    def sent(self, command: str, collection: str) -> int:
        """How many of these there were for one collection: a worker has writes of its own."""
        return self._places[command, collection]

    @property
    def traffic(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Commands and bytes that reached the proxy so far, by command and collection ("" for what is of none)."""
        return {key: (self._places[key], size) for key, size in tuple(self._bytes.items())}

    @property
    def work(self) -> int:
        """All of them but the driver's housekeeping."""
        return sum(count for name, count in self._counts.items() if name not in HOUSEKEEPING)

    def set(self, mode: Mode) -> None:
        self._do(lambda: self._change(mode))

    def lose_reply_of(self, command: str, count: int = 1) -> None:
        """Let the next ``count`` of these commands reach the server, and cut the connection instead of handing on the answer."""
        self._do(lambda: setattr(self, "_lose", (command, count)))

    def corrupt_reply_of(self, command: str, count: int = 1, *, kept: int = 16) -> None:
        """Let the next ``count`` of these commands reach the server, and make their answers unreadable after ``kept`` bytes:
        16, and they are no message; 21, and they are one that holds no BSON."""
        self._do(lambda: setattr(self, "_spoil", (command, count, kept)))

    def _do(self, change: Callable[[], None]) -> None:
        done = threading.Event()

        def now() -> None:
            change()
            done.set()

        self._loop.call_soon_threadsafe(now)
        assert done.wait(5), "the proxy does not answer"

    def _change(self, mode: Mode) -> None:
        self._mode = mode
        # After a blackhole nobody knows what was swallowed on the old connections.
        if mode not in ("blackhole", "half_open"):
            for link in [*self._links]:
                link.transport.abort()

    # -- in its thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        # Taken by hand: asyncio's server, closed between a connection's arrival and its transport, loses the socket unclosed.
        with socket.create_server(("127.0.0.1", self.port)) as listener:
            listener.setblocking(False)
            self._loop.add_reader(listener, self._accept, listener)
            self._ready.set()
            self._loop.run_forever()
            self._loop.remove_reader(listener)
        self._change("refuse")
        # Who was taken a moment ago begins now, and is refused: cancelled before it had begun, it would close nothing.
        self._rounds(3)
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._rounds(3)  # what was aborted just now closes its socket in the next one
        self._loop.close()

    def _rounds(self, number: int) -> None:
        for _ in range(number):
            self._loop.run_until_complete(asyncio.sleep(0))

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # who came has gone
            connection, _ = listener.accept()
            task = self._loop.create_task(self._serve(connection))
            self._serving.add(task)  # asyncio holds a task only weakly
            task.add_done_callback(self._serving.discard)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        if self._mode == "refuse":
            writer.transport.abort()
            return
        self._links.add(writer)
        names: dict[int, str] = {}  # of the commands whose answer is still to come, by the driver's number
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
            ways = [self._requests(reader, upstream, names), self._answers(answers, writer, names)]
            await self._until_one_ends(ways)
        except OSError:
            pass  # the server is not there: the client sees its connection end
        finally:
            self._links.discard(writer)
            for link in (writer, upstream):
                if link is not None:
                    link.transport.abort()

    @staticmethod
    async def _until_one_ends(ways: list[Coroutine[Any, Any, None]]) -> None:
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _requests(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, names: dict[int, str]
    ) -> None:
        while (message := await _message(reader)) is not None:
            name, place = _command(message)
            if name:
                self._counts[name] += 1
                self._places[name, place] += 1
                self._bytes[name, place] += len(message)
                names[struct.unpack_from("<i", message, 4)[0]] = name
            if self._mode != "blackhole":
                upstream.write(message)
                await upstream.drain()

    async def _answers(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, names: dict[int, str]
    ) -> None:
        while (message := await _message(answers)) is not None:
            name = names.pop(struct.unpack_from("<i", message, 8)[0], "")
            wanted, left = self._lose
            if left and name == wanted:
                self._lose = (wanted, left - 1)
                self.lost.append(name)
                return
            if self.delay:
                await asyncio.sleep(self.delay)
            spoiled, left, kept = self._spoil
            if left and name == spoiled:
                self._spoil = (spoiled, left - 1, kept)
                self.spoiled.append(name)
                message = _spoilt(message, kept)
            if self._mode in ("cut", "end"):
                writer.write(message[: self.cut_after])
                if self._mode == "cut":
                    _reset_at_close(writer)
                return
            if self._mode == "corrupt":
                writer.write(_spoilt(message, 16))
            elif self._mode == "pass":
                writer.write(message)
            await writer.drain()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5), "the proxy did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


def _spoilt(message: bytes, kept: int) -> bytes:
    return message[:kept] + bytes(byte ^ 0xA5 for byte in message[kept:])


def _reset_at_close(writer: asyncio.StreamWriter) -> None:
    """Its end will be an RST, and not a FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _message(reader: asyncio.StreamReader) -> bytes | None:
    """One message of MongoDB's wire protocol; ``None`` at the end of the connection."""
    with contextlib.suppress(asyncio.IncompleteReadError, OSError):
        head = await reader.readexactly(4)
        return head + await reader.readexactly(struct.unpack("<i", head)[0] - 4)
    return None


def _command(message: bytes) -> tuple[str, str]:
    """The name of a command, and its collection; "" for what is no OP_MSG (the first hello is an OP_QUERY), or is of none."""
    if struct.unpack_from("<i", message, 12)[0] != _OP_MSG or message[20] != 0:
        return "", ""
    length = struct.unpack_from("<i", message, 21)[0]
    body = bson.decode(message[21 : 21 + length])
    name, value = next(iter(body.items()), ("", None))
    place = value if isinstance(value, str) else body.get("collection", "")  # getMore's value is its cursor's number
    return name, place if isinstance(place, str) else ""

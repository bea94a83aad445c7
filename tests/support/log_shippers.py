"""The recipes of deploy/logs, as their readers would: Vector's files together, Alloy's blocks, lines through rsyslog."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from config import ports
from tests.support import REPOSITORY
from tests.support.waiting import until

LOGS = REPOSITORY / "deploy" / "logs"
VECTOR = LOGS / "vector"
PROGRAM = (VECTOR / "prodfix.vrl").read_text()
_TEMPLATE = re.compile(r"\{\{ (\w+) \}\}")


def vector(*names: str) -> dict[str, dict[str, Any]]:
    """What Vector makes of several files: their parts, by name. Raises ``ValueError`` for a name that stands twice."""
    found: dict[str, dict[str, Any]] = {"sources": {}, "transforms": {}, "sinks": {}}
    for name in names:
        for kind, parts in yaml.safe_load((VECTOR / name).read_text()).items():
            if twice := set(parts) & set(found[kind]):
                raise ValueError(f"{name}: {twice}")
            found[kind].update(parts)
    return found


def unfed(configuration: dict[str, dict[str, Any]]) -> list[str]:
    """Inputs that no part has."""
    there = {*configuration["sources"], *configuration["transforms"]}
    parts = [*configuration["transforms"].values(), *configuration["sinks"].values()]
    return [name for part in parts for name in part["inputs"] if name not in there]


def fields_of(template: Any) -> set[str]:
    """The fields that the templates of a Vector option name."""
    return set(_TEMPLATE.findall(str(template)))


def alloy_block(text: str, name: str) -> dict[str, str]:
    """The pairs of a block's map in Alloy's syntax: ``stage.labels { values = { level = "", } }``."""
    found = re.search(rf"{re.escape(name)} \{{\s*\w+ = \{{\n(.*?)\n\s*\}}", text, re.DOTALL)
    if found is None:
        raise ValueError(f"no block {name}")
    return dict(re.findall(r'^\s*(\w+)\s*= "([^"]*)",?$', found[1], flags=re.MULTILINE))


def balanced(text: str) -> bool:
    """Whether each brace and bracket outside of strings and comments is closed, in order."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|//[^\n]*', "", text)
    open_ones: list[str] = []
    for sign in re.findall(r"[][(){}]", bare):
        if sign in "[({":
            open_ones.append(sign)
        elif not open_ones or open_ones.pop() + sign not in ("[]", "()", "{}"):
            return False
    return not open_ones


class Receiver:
    """A TCP server that keeps the lines it gets: what a syslog receiver would."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection, connection.makefile("r", encoding="utf-8") as lines:
            self.lines += (line.rstrip("\n") for line in lines)

    def close(self) -> None:
        self._server.close()


RSYSLOG = """
global(workDirectory="{folder}" maxMessageSize="128k")
module(load="imtcp")
input(type="imtcp" port="{port}" address="127.0.0.1")
"""


@contextlib.contextmanager
def rsyslog(folder: Path, receiver: Receiver, recipe: str) -> Iterator[int]:
    """rsyslogd with ``recipe``, without its TLS and to ``receiver``; the port on which it takes messages."""
    body = re.sub(r"\s*StreamDriver\w*=\"[^\"]*\"", "", recipe)
    body = body.replace('target="logs.example.org" port="6514"', f'target="127.0.0.1" port="{receiver.port}"')
    port = ports.free_port()
    (folder / "rsyslog.conf").write_text(RSYSLOG.format(folder=folder, port=port) + body)
    command = [shutil.which("rsyslogd") or "", "-n", "-f", folder / "rsyslog.conf", "-i", folder / "pid"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: ports.listening("127.0.0.1", port), limit=15, what="rsyslogd on its port")
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=20)


def send(port: int, messages: Sequence[str]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("".join(f"{message}\n" for message in messages).encode())

"""IDs of requests and traces: those that are made here, and which of those that clients offer are taken."""

from __future__ import annotations

import os
import re

from prodfix.process.per_process import in_each_process

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
AT_ONCE = 64  # identities


class Identities:
    """Random identities, 32 bytes in hexadecimal, made a few at once: each request would ask the kernel."""

    def __init__(self) -> None:
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._left: list[str] = []  # a child must not give those of its parent

    def next(self) -> str:
        try:
            return self._left.pop()
        except IndexError:
            many = os.urandom(32 * AT_ONCE).hex()
            self._left.extend([many[start : start + 64] for start in range(64, len(many), 64)])
            return many[:64]


identities = Identities()


def is_request_id(text: str) -> bool:
    """Whether a request can have it: what clients offer, and what is made here, has no other form."""
    return REQUEST_ID.fullmatch(text) is not None


def new_request_id() -> str:
    """For what happened in no request: the records of it need an ID all the same."""
    return os.urandom(16).hex()

"""The key of tokens where nobody has given one: made once, for all workers and the command line of a development machine."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

SHORTEST_JWT_KEY = 32  # bytes; RFC 7518 section 3.2 asks HS256 for a key of at least the hash's size


class DevelopmentKeyError(Exception):
    """It cannot be read, made or used. The text says what to do, and shows no key."""


def shared_key(path: Path) -> str:
    """The key in ``path``; made there first, atomically, so that workers that start together agree on one. Raises
    :class:`DevelopmentKeyError`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make_key(path)
        key = path.read_bytes().decode("utf-8", "replace").strip()
    except OSError as error:
        problem = f"cannot be used ({error.strerror}); name a directory that this user may make and write, or set JWT_SECRET_KEY"
        raise DevelopmentKeyError(problem) from None
    if len(key.encode()) < SHORTEST_JWT_KEY:
        problem = (
            f"its file jwt.key is shorter than {SHORTEST_JWT_KEY} bytes; remove STATE_DIR/jwt.key, a new one is made"
        )
        raise DevelopmentKeyError(problem)
    return key


def _make_key(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())  # a name that outlives a crash without its content would be an empty key
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()

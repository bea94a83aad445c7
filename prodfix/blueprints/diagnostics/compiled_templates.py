"""What Jinja has made of a template, kept as Python keeps what it has made of a module: in ``__pycache__``, where it may write.

To compile the overview takes a tenth of a second, in each worker, while an admin waits; to read what was compiled takes two
milliseconds. Nothing is loaded for it before somebody looks.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket, BytecodeCache


class CompiledTemplates(BytecodeCache):
    """In a folder that only who may change the program can write. What is there for another source, Python or Jinja is made
    again; where nothing can be written or read, it is as if there were no cache."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """A file's name, as Python's own are: with what has made it."""
        tag = f"{sys.implementation.cache_tag}-{jinja2.__version__}"
        return f"{Path(name).stem}.{tag}.jinjac"

    def load_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError), open(self._folder / bucket.key, "rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        if sys.dont_write_bytecode:
            return
        draft = self._folder / f"{bucket.key}.{secrets.token_hex(6)}"
        with contextlib.suppress(OSError):
            try:
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                with os.fdopen(descriptor, "wb") as file:
                    bucket.write_bytecode(file)
                os.replace(draft, self._folder / bucket.key)
            except OSError:
                draft.unlink(missing_ok=True)
                raise

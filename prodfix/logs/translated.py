"""A sink whose lines have somebody else's names: ``LOG_SCHEMA``. With prodfix's own names there is none of it.

Lines are translated where they are written, mostly in the sink's own thread: a request pays for its line alone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from prodfix.logs.outlets import PartlyWritten, Sink
from prodfix.logs.sinks import render
from prodfix.logs.translation import SCHEMAS, Translate
from prodfix.settings import Settings


def translation_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Translate | None:
    """What translates an application's lines; ``None`` where they stay as they are."""
    make = SCHEMAS.get(settings.log_schema)
    return make(service_of(settings, environ)) if make is not None else None


def service_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Which service it is that tells something; its name is that of OpenTelemetry's SDK, if that has one."""
    return {
        "name": environ.get("OTEL_SERVICE_NAME") or environ.get("RENDER_SERVICE_NAME") or "prodfix",
        "version": settings.release,
        "environment": settings.app_env.value,
        "instance": settings.instance,
    }


class Translated:
    """``sink``, whose lines are prodfix's until here."""

    def __init__(self, sink: Sink, translate: Translate) -> None:
        self.name, self._sink, self._translate = sink.name, sink, translate

    @property
    def quick(self) -> bool:
        return bool(getattr(self._sink, "quick", False))

    def write(self, data: bytes) -> None:
        """Raises what the sink raises, of as many lines as it took."""
        lines = data.splitlines(keepends=True)
        written = [translated(line, self._translate) for line in lines]
        try:
            self._sink.write(b"".join(written))
        except PartlyWritten as error:
            done, size = 0, 0
            for ours, theirs in zip(lines, written, strict=True):
                size += len(theirs)
                if size > error.written:
                    break
                done += len(ours)
            raise PartlyWritten(OSError(error.errno or errno.EIO, error.strerror), done) from error

    def write_at_once(self, lines: Sequence[bytes]) -> int:
        sink: Any = self._sink
        taken: int = sink.write_at_once([translated(line, self._translate) for line in lines])
        return taken

    def close(self) -> None:
        getattr(self._sink, "close", lambda: None)()


def translated(line: bytes, translate: Translate) -> bytes:
    """Never raises: a line that cannot be translated is better than none."""
    try:
        return render(translate(orjson.loads(line)))
    except Exception:  # noqa: BLE001 - see above
        return line

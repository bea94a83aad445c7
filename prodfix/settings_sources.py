"""Where a setting is read: of the served application, and of a host that takes prodfix in.

The served application is what the seed configures, so that its bare names (``LOG_LEVEL``) are settings there. In a host they are
the host's own, and only what begins with ``PRODFIX_`` is ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from prodfix.slotted import frozen

PREFIX = "PRODFIX_"
PLATFORM = frozenset({"render", "render_git_commit", "render_instance_id", "render_external_url"})
"""What a platform says of itself, to whoever runs there, by its own names."""
_PLATFORMS = sorted(name.upper() for name in PLATFORM)
SERVED_ONLY = frozenset({"host", "port", "trusted_proxies", "max_body_bytes"})
"""What a host has under names of its own (``MAX_CONTENT_LENGTH``), or its server."""
HOSTS_URI = ("MONGO_URI", "MONGODB_URI")
"""Of a host's configuration, as Flask-PyMongo and others name it."""


@frozen
class Given:
    """A value, and the name that it was found under. ``ours``: it is meant for prodfix, and must be right."""

    name: str
    value: Any
    ours: bool = True


Place = Mapping[str, Any]


def served(fields: Iterable[str], environ: Place, env_file: Path | None) -> dict[str, Given]:
    """What is set for the served application, by field. What is empty is not set."""
    places = (environ, _file(env_file))
    return _found({name: [(PREFIX + name.upper(), places), (name.upper(), places)] for name in fields})


def host(fields: Collection[str], config: Place, environ: Place) -> dict[str, Given]:
    """What is set for prodfix in a host, by field."""
    found = _foreign(config, environ)
    # A test suite makes an application for each test: what is not there is not looked for.
    for place in (environ, config):
        for name in place:
            if (field := _field(name)) in fields and _is_set(place[name]):
                found[field] = Given(name, place[name])
    return found


def _field(name: Any) -> str:
    """What ``name`` sets; nothing of ours where a host keeps something of its own, perhaps under a key that is no text."""
    return name[len(PREFIX) :].lower() if isinstance(name, str) and name.startswith(PREFIX) else ""


def _foreign(config: Place, environ: Place) -> dict[str, Given]:
    places = [(name, name.lower(), environ) for name in _PLATFORMS]
    places += [(name, "mongodb_uri", config) for name in reversed(HOSTS_URI)]
    return {field: Given(name, value, ours=False) for name, field, place in places if _is_set(value := place.get(name))}


def _is_set(value: Any) -> bool:
    return value is not None and value != ""


def _found(names: Mapping[str, Iterable[tuple[str, tuple[Place, ...]]]]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for field, candidates in names.items():
        given = next(
            (
                Given(name, value)
                for name, places in candidates
                for place in places
                if _is_set(value := place.get(name))
            ),
            None,
        )
        if given is not None:
            found[field] = given
    return found


def _file(path: Path | None) -> Place:
    if path is None or not path.is_file():
        return {}
    from dotenv import dotenv_values  # here: a host has no such file of ours

    return dotenv_values(path)

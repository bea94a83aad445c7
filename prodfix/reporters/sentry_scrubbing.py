"""An event that somebody else has made for Sentry, without what our rules would not let into a log.

What is known to hold nothing of a user's stays, what may is redacted, and what is a value by its nature (a body, a query, a
cookie, a variable of a frame) is left out. Nothing of Sentry's is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prodfix.redaction.redactor import redact_document, redact_text

# Of a request, and of them only these headers: their values are kinds of clients and of contents.
_HEADERS = frozenset({"accept", "content-length", "content-type", "user-agent"})
# Of a breadcrumb of a command: names. The text of the command itself has values.
_QUERY = frozenset(
    {"db.collection.name", "db.mongodb.collection", "db.name", "db.namespace", "db.operation", "db.system"}
)
_QUERY |= {"db.operation.name", "db.system.name", "durationMs"}
_LEFT_OUT = frozenset({"http.query", "http.fragment", "arguments", "body", "query", "cookies"})
_FRAME = frozenset(
    {"abs_path", "colno", "filename", "function", "in_app", "lineno", "module", "native", "package", "platform"}
)
_LINES = ("pre_context", "context_line", "post_context")
# Made by the SDK, or by us, of nothing that a client has sent.
_PLAIN = frozenset(
    """
    _meta dist environment event_id fingerprint level logger modules platform release sdk server_name start_timestamp timestamp
    transaction_info type
    """.split()
)


def scrubbed(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event without secrets. A part that Sentry adds one day is redacted as a document."""
    return {
        name: value if name in _PLAIN else _PARTS.get(name, redact_document)(value) for name, value in event.items()
    }


def _values(part: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What is under ``values``, or a list."""

    def each(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                **redact_document({k: v for k, v in value.items() if k != "values"}),
                "values": each(value.get("values")),
            }
        return [part(one) for one in value if isinstance(one, Mapping)] if isinstance(value, (list, tuple)) else []

    return each


def _exception(one: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: one[name] for name in ("type", "module", "thread_id") if name in one}
    mechanism = one.get("mechanism")
    return {
        **redact_document(kept),
        "value": redact_text(str(one.get("value") or "")),
        **({"mechanism": redact_document(mechanism)} if mechanism else {}),
        **({"stacktrace": _stacktrace(one["stacktrace"])} if one.get("stacktrace") else {}),
    }


def _stacktrace(value: Any) -> dict[str, Any]:
    frames = value.get("frames") if isinstance(value, Mapping) else None
    found = frames if isinstance(frames, (list, tuple)) else ()
    return {"frames": [_frame(one) for one in found if isinstance(one, Mapping)]}


def _frame(frame: Mapping[str, Any]) -> dict[str, Any]:
    """Without its variables. Lines of the source are the program's text, and may still hold a key."""
    found = {name: frame[name] for name in _FRAME if name in frame}
    for name in _LINES:
        if isinstance(frame.get(name), (str, list, tuple)):
            found[name] = redact_document(frame[name])
    return found


def _thread(one: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: one[name] for name in ("id", "name", "crashed", "current", "main") if name in one}
    stack = {"stacktrace": _stacktrace(one["stacktrace"])} if one.get("stacktrace") else {}
    return {**redact_document(kept), **stack}


def _breadcrumb(one: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: one[name] for name in ("type", "category", "level", "timestamp", "event_id", "origin") if name in one}
    data = _mapping(one.get("data"))
    if one.get("category") in ("query", "redis"):
        data = {name: value for name, value in data.items() if name in _QUERY}
        words = [
            str(data[name]) for name in ("db.operation", "db.operation.name", "db.mongodb.collection") if name in data
        ]
        message = " ".join(dict.fromkeys(words))
    else:
        data = {
            name: _address(value) if name == "url" else value for name, value in data.items() if name not in _LEFT_OUT
        }
        message = redact_text(str(one.get("message") or ""))
    return {**kept, "message": message, "data": redact_document(data)}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _address(value: Any) -> Any:
    """Without its query and its fragment."""
    return str(value).partition("#")[0].partition("?")[0]


def _request(value: Any) -> dict[str, Any]:
    """The method, and headers that say nothing of a person. The address has values in its path: whoever knows the route puts
    its template there."""
    if not isinstance(value, Mapping):
        return {}
    pairs = _mapping(value.get("headers")).items()
    headers = {str(name): redact_text(str(one)) for name, one in pairs if str(name).lower() in _HEADERS}
    return {**({"method": str(value["method"])[:20]} if value.get("method") else {}), "headers": headers}


def _user(value: Any) -> dict[str, Any]:
    """Its ID alone."""
    return {"id": redact_text(str(value["id"]))} if isinstance(value, Mapping) and value.get("id") else {}


def _logentry(value: Any) -> Any:
    """What is put into the message's places are values."""
    if not isinstance(value, Mapping):
        return redact_document(value)
    return {name: redact_text(str(value[name])) for name in ("message", "formatted") if value.get(name)}


_PARTS: dict[str, Callable[[Any], Any]] = {
    "breadcrumbs": _values(_breadcrumb),
    "exception": _values(_exception),
    "logentry": _logentry,
    "request": _request,
    "stacktrace": _stacktrace,
    "threads": _values(_thread),
    "user": _user,
}

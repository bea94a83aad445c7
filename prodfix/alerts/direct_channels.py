"""Sends to receivers that Apprise cannot tell which beginning and which end belong together: web hooks, PagerDuty, Opsgenie.

It runs in the program that delivers (:mod:`prodfix.alerts.apprise_program`), which runs it by its path: it imports nothing but
the standard library. Sources: PagerDuty, Events API v2 (``/v2/enqueue``: ``trigger`` and ``resolve`` with a ``dedup_key``);
Opsgenie, Alert API (``/v2/alerts`` with an ``alias``, closed by it).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

SCHEMES = ("hook", "hooks", "pagerduty", "opsgenie")
TIMEOUT = 10.0  # seconds for connecting, and for each answer
LARGEST = 64 * 1024  # bytes of an answer that are read

_PAGERDUTY = {"us": "https://events.pagerduty.com", "eu": "https://events.eu.pagerduty.com"}
_OPSGENIE = {"us": "https://api.opsgenie.com", "eu": "https://api.eu.opsgenie.com"}
_PRIORITIES = {"critical": "P1", "error": "P3", "warn": "P4"}
_LEVELS = {"critical": "critical", "error": "error", "warn": "warning"}
_RESPONDERS = {"#": ("team", "name"), "@": ("user", "username"), "^": ("escalation", "name"), "*": ("schedule", "name")}


class NotAUrl(ValueError):
    """It names nobody who could be told."""


class _Final(urllib.request.HTTPRedirectHandler):
    """A receiver that redirects has not got it: after a 301, 302 or 303 only an empty GET would go on."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def send(job: dict[str, Any]) -> int | None:
    """Send one alert; None if it was taken, else the status of the answer. Raises ``OSError``, of which ``URLError`` is one, and
    :class:`NotAUrl`."""
    scheme = job["url"].partition("://")[0].lower()
    work = {"pagerduty": _pagerduty, "opsgenie": _opsgenie}.get(scheme, _hook)
    return work(job, job.get("event") or {})


def _hook(job: dict[str, Any], event: dict[str, Any]) -> int | None:
    scheme, _, rest = job["url"].partition("://")
    place, slash, path = rest.partition("/")
    user, _, host = place.rpartition("@")
    address = f"{'https' if scheme.lower() == 'hooks' else 'http'}://{host}{slash}{path}"
    where = urlsplit(address)
    if not where.hostname or where.port == 0:  # of a port that is none it raises
        raise NotAUrl
    body = json.dumps({**event, "id": job["notification"], "title": job["title"]}).encode()
    headers = {"Authorization": f"Basic {b64encode(unquote(user).encode()).decode()}"} if user else {}
    if secret := job.get("secret"):
        at = str(int(time.time()))
        signed = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        headers["X-Prodfix-Signature"] = f"t={at},v1={signed}"
    return _post(address, body, headers)


def _pagerduty(job: dict[str, Any], event: dict[str, Any]) -> int | None:
    """``pagerduty://ROUTING_KEY``; Apprise's ``pagerduty://ROUTING_KEY@API_KEY/...`` is understood, too."""
    found, options = _parsed(job["url"])
    place, _, rest = found.partition("@")
    key = unquote((place if rest else found.partition("/")[0]).strip("/"))
    if not key:
        raise NotAUrl
    known = {"routing_key": key, "dedup_key": event.get("dedupKey", "")[:255]}
    trigger = {
        **known,
        "event_action": "trigger",
        "client": "prodfix",
        "payload": {
            "summary": job["title"][:1024],
            "source": event.get("instance") or "prodfix",
            "severity": _LEVELS.get(event.get("severity", ""), "info"),
            "timestamp": event.get("since"),
            "component": "prodfix",
            "class": event.get("alarm"),
            "custom_details": event.get("facts", {}),
        },
    }
    if event.get("url"):
        trigger |= {"client_url": event["url"], "links": [{"href": event["url"], "text": "Diagnostics"}]}
    resolve = {**known, "event_action": "resolve"}
    address = f"{_api(options, _PAGERDUTY)}/v2/enqueue"
    for one in _steps(event, [trigger], [resolve]):
        status = _post(address, json.dumps(one).encode(), {})
        if status is not None:
            return status
    return None


def _opsgenie(job: dict[str, Any], event: dict[str, Any]) -> int | None:
    """``opsgenie://API_KEY/#team/@user?region=eu&priority=P2&tags=a,b``, as Apprise has it."""
    found, options = _parsed(job["url"])
    first, *targets = [unquote(part) for part in found.split("/")]
    key = first.rpartition("@")[2]
    if not key:
        raise NotAUrl
    alias = event.get("dedupKey", "")[:512]
    create: dict[str, Any] = {
        "message": job["title"][:130],
        "alias": alias,
        "description": job["body"][:15_000],
        "source": "prodfix",
        "priority": _priority(options, event),
        "details": {name: str(value) for name, value in event.get("facts", {}).items()} | {"url": event.get("url", "")},
    }
    if tags := [tag for tag in options.get("tags", "").split(",") if tag]:
        create["tags"] = tags
    if responders := [_responder(target) for target in targets if target]:
        create["responders"] = responders
    headers = {"Authorization": f"GenieKey {key}"}
    base = f"{_api(options, _OPSGENIE)}/v2/alerts"
    close = (f"{base}/{quote(alias, safe='')}/close?identifierType=alias", {"source": "prodfix", "note": job["title"]})
    for address, body in _steps(event, [(base, create)], [close]):
        status = _post(address, json.dumps(body).encode(), headers)
        if status is not None and not (status == 404 and address != base):  # it was closed by somebody
            return status
    return None


def _steps(event: dict[str, Any], begin: list[Any], end: list[Any]) -> list[Any]:
    """What is sent: of a trial both, so that it leaves nothing open."""
    return {"resolved": end, "test": begin + end}.get(event.get("state", ""), begin)


def _parsed(url: str) -> tuple[str, dict[str, str]]:
    """What stands between the scheme and the query, and the options. A ``#`` of a target begins no fragment."""
    place, _, query = url.partition("://")[2].partition("?")
    return place, {name.lower(): values[-1] for name, values in parse_qs(query).items()}


def _api(options: dict[str, str], known: dict[str, str]) -> str:
    """``api`` in the URL is the address of a receiver that speaks the same."""
    if given := options.get("api"):
        if urlsplit(given).scheme not in ("http", "https"):
            raise NotAUrl
        return given.rstrip("/")
    return known.get(options.get("region", "us").lower(), known["us"])


def _priority(options: dict[str, str], event: dict[str, Any]) -> str:
    given = options.get("priority", "").upper().removeprefix("P")
    return f"P{given}" if given in ("1", "2", "3", "4", "5") else _PRIORITIES.get(event.get("severity", ""), "P5")


def _responder(target: str) -> dict[str, str]:
    kind, name = _RESPONDERS.get(target[0], ("user", "username"))
    return {"type": kind, name: target.lstrip("#@^*")}


def _post(address: str, body: bytes, headers: dict[str, str]) -> int | None:
    known = {"Content-Type": "application/json", "User-Agent": "prodfix", **headers}
    request = urllib.request.Request(address, data=body, headers=known, method="POST")  # noqa: S310 - http or https
    try:
        with urllib.request.build_opener(_Final).open(request, timeout=TIMEOUT) as answer:
            answer.read(LARGEST)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    return None

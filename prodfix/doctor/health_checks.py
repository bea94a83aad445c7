"""How the application answers a health check, asked through its own WSGI interface with all of its hooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flask import Flask, request, request_started
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BuildError
from werkzeug.test import Client

from prodfix.doctor.findings import Finding, NotApplicable, NotChecked, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.links import HealthRoutes, links_of

LIMIT = 3.0  # seconds for one request; Render gives it 5
UNANSWERED = "no answer within 3 s"
UNASKED = "a route that does not ask the database"
STRANGER = "203.0.113.7"  # documentation's own (RFC 5737)
PREFIX = "/health"
MOST = 20


def ask(app: Flask, path: str, headers: Mapping[str, str] | None = None, *, host: str | None = None) -> int | str:
    """The status of a GET over plain HTTP; or, as text, why there is none."""
    outcome: list[int | str] = []
    base = f"http://{host or _host(app)}/"

    def get() -> None:
        try:
            with Client(app).get(path, base_url=base, headers=dict(headers or {}), buffered=True) as response:
                outcome.append(response.status_code)
        except BaseException as failure:  # noqa: BLE001 - an application that propagates, or ends the process; its type is told
            outcome.append(type(failure).__name__)

    thread = threading.Thread(target=get, daemon=True)
    thread.start()
    thread.join(LIMIT)
    return outcome[0] if outcome else UNANSWERED


def _asked(
    subject: Subject, path: str, headers: Mapping[str, str] | None = None, *, host: str | None = None
) -> int | str:
    """The same. Raises :class:`NotChecked` once a request was left without an answer: the next would be waited for, too."""
    if subject.silent.is_set():
        raise NotChecked("the application leaves requests without an answer")
    answer = ask(subject.app, path, headers, host=host)
    if answer == UNANSWERED:
        subject.silent.set()
    return answer


def _host(app: Flask) -> str:
    """A name that the application answers to."""
    trusted = app.config.get("TRUSTED_HOSTS") or [app.config.get("SERVER_NAME") or "localhost"]
    return str(trusted[0]).lstrip(".")


def _endpoint(app: Flask, path: str) -> str | None:
    try:
        endpoint, _ = app.url_map.bind(_host(app)).match(path, method="GET")
    except HTTPException:  # none, or a redirect: the answer tells
        return None
    return str(endpoint)


def _health(subject: Subject) -> HealthRoutes | None:
    """What the health checks are for, where the plug-in has told it."""
    return links_of(subject.app.extensions).health


def _better(app: Flask, health: HealthRoutes | None) -> str:
    """What a platform should ask, which restarts what is not healthy."""
    try:
        return app.url_map.bind(_host(app)).build(health.startup) if health is not None else UNASKED
    except BuildError:  # its prefix has a variable
        return UNASKED


def _health_routes(app: Flask) -> list[str]:
    """Those of the plug-in that has told of its own; else whatever is below the usual prefix."""
    health = links_of(app.extensions).health
    blueprint = health.startup.rpartition(".")[0] if health is not None else None
    rules = [rule for rule in app.url_map.iter_rules() if not rule.arguments and "GET" in (rule.methods or ())]
    ours = (
        rule.rule
        for rule in rules
        if (rule.endpoint.rpartition(".")[0] == blueprint if blueprint else rule.rule.startswith(PREFIX))
    )
    return sorted(set(ours))[:MOST]


@check("health-routes", "application")
def routes(subject: Subject) -> Iterator[Finding]:
    """The health routes answer by themselves.

    No redirect, no log-in, no error.
    """
    paths = _health_routes(subject.app)
    if not paths:
        yield note(
            "the application has no health checks",
            "Register prodfix.blueprints.health, if a platform or a monitor shall know how it is",
        )
    yield from _judged(subject, paths)


def _judged(subject: Subject, paths: Sequence[str]) -> Iterator[Finding]:
    alike: dict[int | str, list[str]] = {}
    health = _health(subject)
    waiting = health.waiting if health is not None else ()  # 503 where no pinger runs, as here
    for path in paths:
        answer = _asked(subject, path)
        alike.setdefault(answer, []).append(path)
        if subject.silent.is_set():
            break  # the others would be waited for, too
    for answer, which in alike.items():
        wrong = which if answer != 503 else [path for path in which if _endpoint(subject.app, path) not in waiting]
        if wrong and (isinstance(answer, str) or answer >= 300):
            yield _wrong(answer, wrong)


def _wrong(answer: int | str, paths: Sequence[str]) -> Finding:
    asked, facts = f"GET {', '.join(paths)}", {"paths": list(paths), "answer": answer}
    if isinstance(answer, str):
        return error(
            f"{asked}: {answer}", "Let no hook of the application keep a health check waiting, or fail", **facts
        )
    if answer < 400:
        return error(
            f"{asked}: redirected ({answer}), which Render and others count as healthy, whatever is wrong",
            "Leave health checks out of what redirects to https, to a log-in or to a trailing slash",
            **facts,
        )
    return error(
        f"{asked}: answered with {answer}",
        "Leave health checks out of what asks for a log-in or a token, and of what can fail",
        **facts,
    )


@check("health-path", "application")
def health_path(subject: Subject) -> Iterator[Finding]:
    """The health check of render.yaml asks for the right route.

    One that is there, and that restarts nothing in an outage.
    """
    paths = subject.deployment.health_paths
    if not paths:
        raise NotApplicable
    app, health = subject.app, _health(subject)
    better = _better(app, health)
    for path in paths:
        if health is not None and _endpoint(app, path) == health.database:
            yield warning(
                f"healthCheckPath is {path}: an outage of the database becomes a restart loop of the application",
                f"Name {better} in render.yaml, and point your uptime monitor at {path}",
                path=path,
            )
        elif _asked(subject, path) == 404:
            yield error(
                f"healthCheckPath is {path}, which the application does not have: no deploy goes live",
                f"Name {better} in render.yaml",
                path=path,
            )
        elif path not in _health_routes(app):
            yield from _judged(subject, [path])


@check("health-host", "application")
def any_host(subject: Subject) -> Iterator[Finding]:
    """Health checks are answered under any host name."""
    paths = _health_routes(subject.app)
    live = next((path for path in paths if path.endswith("/live")), paths[0] if paths else None)
    if live is None:
        raise NotApplicable
    known, other = _asked(subject, live), _asked(subject, live, host=STRANGER)
    if known != other:
        yield warning(
            f"GET {live} is answered with {other} where the request names another host than SERVER_NAME or TRUSTED_HOSTS",
            "Let the health routes answer to any host: probes ask by address, Render by its own name",
            path=live,
            answer=other,
        )


@check("proxies", "application")
def proxies(subject: Subject) -> Iterator[Finding]:
    """The addresses of users are known."""
    if not subject.settings.render:
        raise NotApplicable
    seen: list[Any] = []

    def started(sender: Flask, **_: Any) -> None:
        seen.append(request.remote_addr)

    paths = _health_routes(subject.app)
    with request_started.connected_to(started, subject.app):
        _asked(subject, paths[0] if paths else "/", {"X-Forwarded-For": STRANGER})
    if seen and seen[0] != STRANGER:
        advice = "Set TRUSTED_PROXIES to 1" if subject.served else "Wrap app.wsgi_app into werkzeug's ProxyFix(x_for=1)"
        yield warning("on Render, and every user has the proxy's address", advice)

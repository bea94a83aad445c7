"""Is it alive, is it ready, and does the database answer? None of these waits for anything.

With ``?verbose`` an admin or viewer sees what this worker knows besides; anybody else is refused, as for the diagnostics.
"""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from functools import partial
from typing import Any

from flask import Blueprint, Response, jsonify, request
from flask.blueprints import BlueprintSetupState

from prodfix import HealthCheckResult, HealthRoutes, current_prodfix, links_of, require_role, uncounted

blueprint = Blueprint("prodfix_health", __name__, url_prefix="/health")
blueprint.before_request(partial(uncounted, logged=False))


@blueprint.record
def tell_routes(state: BlueprintSetupState) -> None:
    """For the doctor, which judges what a platform is told to ask."""
    name = f"{state.name_prefix}.{state.name}".lstrip(".")
    waiting = frozenset(f"{name}.{view}" for view in ("ready", "startup", "db"))
    links_of(state.app.extensions).health_is_at(HealthRoutes(f"{name}.startup", f"{name}.db", waiting))


@blueprint.get("/live")
def live() -> Response:
    """The process answers. The database is not asked: restarting this process would not mend it."""
    return _answer(True, {"status": "live"})


@blueprint.get("/ready")
def ready() -> Response:
    """503 while this worker ends, and before its first good ping."""
    services = current_prodfix
    if not services.runtime.background.serving():
        return _answer(False, {"status": "draining"})
    if not services.database.monitor.health().ever_healthy:
        return _answer(False, {"status": "starting"})
    return _answer(True, {"status": "ready"})


@blueprint.get("/startup")
def startup() -> Response:
    """503 until the database answered once since this worker began; from then on as ``live``.

    The deploy gate for a platform that has one path for deploys and for restarts: a later outage restarts nothing.
    """
    begun = current_prodfix.database.monitor.health().ever_healthy
    return _answer(begun, {"status": "started" if begun else "starting"})


@blueprint.get("/db")
def db() -> Response:
    """The database, as the last ping found it at most ``HEALTH_MAX_AGE_MS`` ago: this worker's, or one that agrees with it."""
    result = current_prodfix.database.monitor.health()
    return _answer(result.healthy, {"healthy": result.healthy, "database": _database(result)})


def _database(result: HealthCheckResult) -> dict[str, Any]:
    # An exhausted pool of this worker's is no dead database, and says so.
    exhausted = {"poolExhausted": True} if result.details.pool_exhausted else {}
    return exhausted | {
        "connected": result.healthy,
        "latencyMs": result.latency_ms if result.healthy else None,
        "poolSize": result.details.pool_size,
        "availableConnections": result.details.available_connections,
    }


def _details() -> dict[str, Any]:
    """What this worker knows, for who may see the diagnostics and asks for it."""
    if "verbose" not in request.args:
        return {}
    services = current_prodfix
    if services.settings.diagnostics_auth_required:
        require_role("admin", *(("viewer",) if services.settings.jwt_verification_key is not None else ()))
    return {
        "worker": {
            "pid": os.getpid(),
            "serving": services.runtime.background.serving(),
            "everHealthy": services.database.monitor.health().ever_healthy,
            "connection": services.database.monitor.status().to_json(),
            "network": services.database.monitor.network().to_json(),
            "breaker": services.database.breaker.status().to_json(),
            "loopLagMs": services.runtime.background.lag_ms,
        }
    }


def _answer(good: bool, body: dict[str, Any]) -> Response:
    body = body | _details()
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    response = jsonify(body | {"timestamp": moment})
    response.status_code = 200 if good else 503
    response.headers["Cache-Control"] = "no-store"
    if not good:
        response.headers["Retry-After"] = str(random.randint(1, 3))
    return response

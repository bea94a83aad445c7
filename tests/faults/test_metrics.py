"""While the database is away the metrics are there, soon and whole, and say so; and the rules about that fire."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import REPOSITORY
from tests.support.promql import evaluate
from tests.support.scrapes import Scrape, counters, fallen, problems, scrape
from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

TOKEN = "metrics-0123456789-abcdefghijklmnop"
LIMIT = 2.0  # seconds for an answer
LABELS = frozenset({("job", "notes"), ("instance", "notes:80")})


def asked(served: Served) -> str:
    begun = time.monotonic()
    answer = served.get("/metrics", {"Authorization": f"Bearer {TOKEN}", "Accept": "application/openmetrics-text"})
    assert answer.status == 200
    assert time.monotonic() - begun < LIMIT
    return str(answer.body)


def seen(text: str) -> Scrape:
    found = scrape(text, time.monotonic())
    return Scrape(found.at, {(name, labels | LABELS): value for (name, labels), value in found.values.items()})


def firing(scrapes: list[Scrape]) -> set[str]:
    groups = yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / "prodfix.rules.yaml").read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if evaluate(rule["expr"], scrapes)}


def note() -> dict[str, Any]:
    return {"slug": f"note-{secrets.token_hex(6)}", "title": "A title", "body": "Some text", "notebook": "inbox"}


def test_an_outage_is_told_within_the_limit_and_nothing_falls(server: DatabaseServer, tmp_path: Path) -> None:
    with Served(tmp_path / "served", f"{server.uri}metrics", METRICS_TOKEN=TOKEN) as served:
        served.post("/api/v1/notes", note())
        well = until(lambda: 'http_route="/api/v1/notes"' in (text := asked(served)) and text, what="the first request")
        assert {"ProdfixDatabaseDown", "ProdfixIncidentOpen", "ProdfixRequestsFail"} & firing([seen(well)]) == set()
        server.kill()
        scrapes = [seen(well)]

        def told() -> bool:
            for _ in range(6):
                served.get("/api/v1/notes?limit=1")
            text = asked(served)
            assert problems(text) == []
            assert fallen(counters(well), counters(text)) == {}
            scrapes.append(seen(text))
            return {
                "ProdfixDatabaseDown",
                "ProdfixIncidentOpen",
                "ProdfixBreakerOpen",
                "ProdfixRequestsFail",
            } <= firing(scrapes)

        until(told, limit=20, every=0.5, what="the rules about it firing")
        written = served.post("/api/v1/notes", note())
        assert written.status == 202
        until(
            lambda: seen(asked(served)).total("prodfix_deferred_writes", state="waiting") == 1,
            what="the write that waits",
        )
        server.start()
        until(lambda: seen(asked(served)).total("prodfix_database_up") == 1, limit=30, what="the database again")
        until(lambda: seen(asked(served)).total("prodfix_deferred_writes") == 0, limit=30, what="the write applied")
        assert fallen(counters(well), counters(asked(served))) == {}

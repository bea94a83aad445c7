"""``GET /`` says what there is, and is not there in production."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from blueprints import BLUEPRINTS

EYES = {"Accept": "text/html,*/*;q=0.8"}


@pytest.mark.parametrize(("environment", "status"), [("development", 200), ("staging", 200), ("production", 404)])
def test_it_is_there_outside_production(serve: Callable[..., Any], environment: str, status: int) -> None:
    client = serve(BLUEPRINTS, app_env=environment).test_client()
    assert client.get("/", headers=EYES).status_code == status


def test_it_links_to_the_diagnostics_and_to_whatever_can_be_opened(serve: Callable[..., Any]) -> None:
    client = serve(BLUEPRINTS).test_client()
    page = client.get("/", headers=EYES)
    links = re.findall(r'href="([^"]+)"', page.text)
    assert {"/api/v1/diagnostics", "/health/db", "/problems", "/api/v1/notes"} <= set(links)
    assert not [link for link in links if "<" in link or "&lt;" in link or "://" in link]
    # The database is away here; what matters is that each of them is a route.
    assert {client.get(link, headers=EYES).status_code for link in links} <= {200, 303, 401, 503}
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_without_the_diagnostics_it_does_not_name_them(serve: Callable[..., Any]) -> None:
    client = serve(BLUEPRINTS, enable_diagnostics=False).test_client()
    assert "diagnostics" not in client.get("/", headers=EYES).text
    assert client.get("/").json["diagnostics"] is None


def test_a_program_gets_the_same_as_json(serve: Callable[..., Any]) -> None:
    told = serve(BLUEPRINTS).test_client().get("/").json
    assert (told["environment"], told["diagnostics"]) == ("development", "/api/v1/diagnostics")
    assert {"methods": "GET", "path": "/problems/<slug>", "about": "One code."} in told["routes"]

"""A problem's ``type`` leads to a page that says what its code means and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, abort

from prodfix import Classification, ErrorCategory, problem_slug
from prodfix.blueprints import problems
from prodfix.classification.problem_codes import CODES

EYES = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class OutOfStock(Exception):
    pass


class Declined(Exception):
    pass


ROWS = {
    OutOfStock: Classification(ErrorCategory.CONFLICT, 409, "OUT_OF_STOCK", "Sold out"),
    Declined: lambda error: Classification(ErrorCategory.CONFLICT, 402, "DECLINED", "Declined"),
}
FAILURES: dict[str, Callable[[], Any]] = {
    "conflict": lambda: abort(409),
    "teapot": lambda: abort(418),
    "defect": lambda: {}["x"],
    "stock": lambda: (_ for _ in ()).throw(OutOfStock()),
    "declined": lambda: (_ for _ in ()).throw(Declined()),
}


@pytest.fixture
def host(adopt: Callable[..., Flask]) -> Callable[..., Flask]:
    def make(blueprint: Blueprint | None = problems.blueprint, prefix: str | None = None, **values: Any) -> Flask:
        app = Flask("host")
        app.config["PROPAGATE_EXCEPTIONS"] = False
        for name, view in FAILURES.items():
            app.add_url_rule(f"/{name}", name, view)
        adopt(app, classifications=ROWS, **values)
        if blueprint is not None:
            app.register_blueprint(blueprint, **({"url_prefix": prefix} if prefix else {}))
        return app

    return make


@pytest.mark.parametrize("prefix", [None, "/help/errors"])
@pytest.mark.parametrize("name", ["conflict", "teapot", "defect", "stock"])
def test_the_type_of_an_answer_leads_to_its_page(host: Callable[..., Flask], name: str, prefix: str | None) -> None:
    client = host(prefix=prefix).test_client()
    answer = client.get(f"/{name}").json
    assert answer["type"] == f"{prefix or '/problems'}/{problem_slug(answer['code'])}"
    page = client.get(answer["type"])
    assert (page.status_code, page.json["code"]) == (200, answer["code"])
    assert answer["status"] in page.json["statuses"]
    assert all(page.json[text] for text in ("meaning", "client", "operator"))


def test_it_has_the_public_address_where_that_is_known_and_else_the_place_of_the_application(
    host: Callable[..., Flask],
) -> None:
    public = host(public_url="https://notes.example.org").test_client()
    assert public.get("/conflict").json["type"] == "https://notes.example.org/problems/conflict"
    below = host().test_client().get("/conflict", environ_overrides={"SCRIPT_NAME": "/shop"})
    assert below.json["type"] == "/shop/problems/conflict"


@pytest.mark.parametrize("blueprint", [None, problems.blueprint])
def test_the_control_what_has_no_page_has_a_name_and_no_address(
    host: Callable[..., Flask], blueprint: Blueprint | None
) -> None:
    client = host(blueprint).test_client()
    assert client.get("/declined").json["type"] == "urn:prodfix:declined", "its row decides error by error"
    expected = "urn:prodfix:conflict" if blueprint is None else "/problems/conflict"
    assert client.get("/conflict").json["type"] == expected
    assert client.get("/problems/declined").status_code == 404


def test_below_a_prefix_with_a_variable_nobody_tells_an_address(host: Callable[..., Flask]) -> None:
    client = host(prefix="/<tenant>/problems").test_client()
    assert client.get("/conflict").json["type"] == "urn:prodfix:conflict"


@pytest.mark.parametrize("slug", ["no-such-code", "NOT-FOUND", "not_found", "http-200", "http-999", "-"])
def test_what_is_no_code_is_not_found(host: Callable[..., Flask], slug: str) -> None:
    assert host().test_client().get(f"/problems/{slug}").status_code == 404


def test_eyes_get_a_page_without_anything_from_elsewhere(host: Callable[..., Flask]) -> None:
    client = host().test_client()
    page = client.get("/problems/database-unavailable", headers=EYES)
    assert page.mimetype == "text/html"
    assert "<code>Retry-After</code>" in page.text
    assert "`" not in page.text
    assert re.search(r'(?:src|href)="', page.text) is None
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    index = client.get("/problems", headers=EYES).text
    assert set(re.findall(r'<section id="([a-z0-9-]+)">', index)) == {*map(problem_slug, CODES), "out-of-stock"}


def test_an_applications_words_are_text_and_no_markup(adopt: Callable[..., Flask]) -> None:
    app = Flask("host")
    row = Classification(ErrorCategory.CONFLICT, 409, "BOLD", "A <b>bold</b> & `quoted` text")
    adopt(app, classifications={OutOfStock: row})
    app.register_blueprint(problems.blueprint)
    page = app.test_client().get("/problems/bold", headers=EYES).text
    assert "A &lt;b&gt;bold&lt;/b&gt; &amp; <code>quoted</code> text." in page

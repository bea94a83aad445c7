"""The page in a real browser: where there is a Chromium these tests run, and where CI demands them there must be one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import chromium
from tests.browser.chromium import Said
from tests.support.receivers import WebHook
from tests.support.served import Served, whole
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

PAGE = "/api/v1/diagnostics"
LIMIT = 15_000  # ms for what is awaited: longer than the time between two refreshes
expect.set_options(timeout=LIMIT)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if chromium.path() is None:
        if os.environ.get("BROWSER_TESTS") == "required":
            pytest.fail("no Chromium was found, and BROWSER_TESTS=required (install the package chromium)")
        pytest.skip("no Chromium was found: install the package chromium, or set BROWSER_PATH")
    with chromium.running() as browser:
        yield browser


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[DatabaseServer]:
    """A server of its own: one that can be killed."""
    with DatabaseServer(tmp_path_factory.mktemp("database") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def hook() -> Iterator[WebHook]:
    """Who is told when something is wrong."""
    with WebHook() as hook:
        yield hook


@pytest.fixture(scope="module")
def served(database: DatabaseServer, tmp_path_factory: pytest.TempPathFactory, hook: WebHook) -> Iterator[Served]:
    uri = f"{database.uri}page_{secrets.token_hex(4)}"
    variables = {
        "DIAGNOSTICS_RATE_LIMIT": "100000/minute",
        "DIAGNOSTICS_TEST_RATE_LIMIT": "100000/minute",
        "SLOW_QUERY_THRESHOLD_MS": "0",
        "ALERT_URLS": hook.url,
        "ALERT_RULES": "-new_kind",  # what each of these tests fails with is one
    }
    folder = tmp_path_factory.mktemp("page")
    with Served(folder, uri, application="tests.hosts.broken:app", **variables) as application:
        yield application


@pytest.fixture
def well(served: Served, database: DatabaseServer) -> Served:
    """The application with its database, which the test before may have left killed."""
    whole(database, served)
    return served


@pytest.fixture
def failed(well: Served) -> str:
    """The ID of a request that has failed, and that the statistics have."""
    request_id = str(well.get("/broken/view").headers["X-Request-ID"])
    shown = f"{PAGE}/errors/records?limit=200"

    def known() -> bool:  # by each worker, whichever shows the page
        return all(request_id in str(well.get(shown, well.bearer()).body) for _ in range(6))

    until(known, what="the error's record")
    return request_id


@pytest.fixture
def open_page(browser: Browser, well: Served) -> Iterator[Callable[..., Page]]:
    """Opens pages in a browser that knows nothing; what each of them says is in ``page.said``."""
    contexts = []

    def make(**options: Any) -> Page:
        context = browser.new_context(base_url=well.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(LIMIT)
        page.said = Said(page)  # type: ignore[attr-defined]
        return page

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def signed_in(open_page: Callable[..., Page], served: Served) -> Callable[..., Page]:
    """The same, signed in, on the overview."""

    def make(**options: Any) -> Page:
        page = open_page(**options)
        sign_in(page, served)
        return page

    return make


def sign_in(page: Page, served: Served) -> None:
    page.goto("/diagnostics/sign-in")
    page.get_by_label("Token of an admin or a viewer").fill(served.token())
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{served.url}{PAGE}")

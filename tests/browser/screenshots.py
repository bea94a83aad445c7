"""``python -m tests.browser.screenshots [--all FOLDER]``: the pages, of a made-up week.

Without ``--all`` the pictures of the documentation are made again (``docs/*.png``), each of :data:`LARGEST` bytes at most. With
it every view is taken into FOLDER, to be looked at: light and dark, on a phone of 360 px and on a desk of 1280 px, whole.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Browser, Page

from prodfix.journal import tables
from tests.browser import chromium, week
from tests.browser.conftest import PAGE, sign_in
from tests.support.served import REPOSITORY, Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 780}
SCHEMES = ("light", "dark")
LARGEST = 220_000  # bytes of a picture in the repository

SIGN_IN = "/diagnostics/sign-in"
VIEWS = {
    "overview-1h": PAGE,
    "overview-24h": f"{PAGE}?timeRange=24h",
    "overview-7d-all": f"{PAGE}?timeRange=7d&errors=all",
    "kinds": f"{PAGE}/page/groups?timeRange=7d",
    "endpoints": f"{PAGE}/page/endpoints?timeRange=24h",
    "errors": f"{PAGE}/page/errors",
    "errors-none": f"{PAGE}/page/errors?endpoint=/nowhere",
    "deferred": f"{PAGE}/page/deferred",
    "database": f"{PAGE}/page/database",
    "workers": f"{PAGE}/page/workers",
    "workers-stacks": f"{PAGE}/page/workers?stacks=true",
    "alerts": f"{PAGE}/page/alerts",
    "request-unknown": f"{PAGE}/page/requests/no-such-id",
    "wrong-parameter": f"{PAGE}/page/errors?from=yesterday",
    "wrong-path": f"{PAGE}/page/nothing",
    "sign-in": SIGN_IN,
}
"""What is shown whatever happened; a view that this version has not is left out."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every view, to be looked at")
    parser.add_argument("--only", default="", help="with --all: views whose name has this in it")
    options = parser.parse_args()
    if chromium.path() is None:
        sys.exit("no Chromium was found: install the package chromium, or set BROWSER_PATH")
    with _served() as (served, server), chromium.running() as browser:
        if options.all:
            _take_all(browser, served, server, options.all, options.only)
        else:
            _take_those_of_the_docs(browser, served, server, REPOSITORY / "docs")


@contextlib.contextmanager
def _served() -> Iterator[tuple[Served, DatabaseServer]]:
    """A service with a week behind it, with requests of a minute ago, and with writes that were put aside."""
    with tempfile.TemporaryDirectory() as place, DatabaseServer(Path(place) / "data", ttl_sweep=60) as server:
        uri = f"{server.uri}service"
        week.fill(uri, records=500)
        names = {
            "APP_RELEASE": "3f2a9c1",
            "RENDER_INSTANCE_ID": "srv-notes-1",
            "SLOW_QUERY_THRESHOLD_MS": "0",
            "DIAGNOSTICS_RATE_LIMIT": "100000/minute",
        }
        with Served(Path(place) / "s", uri, application="tests.hosts.probe:app", **names) as served:
            for _ in range(8):
                served.get("/probe/find?status=new")
                served.get("/api/v1/notes")
            _put_aside(served.folder)
            until(lambda: served.get(f"{PAGE}/queries", served.bearer()).body["queries"], what="queries", limit=20)
            yield served, server


def _put_aside(folder: Path) -> None:
    journal = next((folder / "state" / "journal").glob("*.db"))
    with contextlib.closing(sqlite3.connect(journal, timeout=5, isolation_level=None)) as file:
        tables.prepare(file)
        columns = "id, operation, key, entry, attempts, created, reason, facts, at"
        for number in range(46):
            operation, reason = [("notes.create", "EXPIRED"), ("orders.pay", "DUPLICATE_KEY")][number % 5 == 4]
            at = time.time() - 5000 + 9 * number
            row = (f"{number:024x}", operation, b"\5\0\0\0\0", 3, at, reason, "{}", at + 600)
            file.execute(f"INSERT INTO dead ({columns}) VALUES (?, ?, '', ?, ?, ?, ?, ?, ?)", row)


def _take_all(browser: Browser, served: Served, server: DatabaseServer, folder: Path, only: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    token = served.bearer()
    week_of = f"{PAGE}/errors/groups?timeRange=7d"
    kinds = until(lambda: served.get(week_of, token).body["groups"], what="kinds", limit=20)
    newest = f"{PAGE}/errors/records?limit=1"
    record = until(lambda: served.get(newest, token).body["records"], what="a record", limit=20)[0]
    views = {
        **VIEWS,
        "kind": _bug(kinds),
        "request": f"{PAGE}/page/requests/{record['requestId']}",
    }
    wanted = {name: address for name, address in views.items() if only in name}
    pages = {
        f"{width['width']}-{scheme}": _page(
            browser, served, width, color_scheme=scheme, has_touch=width is PHONE, is_mobile=width is PHONE
        )
        for width in (PHONE, DESK)
        for scheme in SCHEMES
    }
    outage = {
        "outage": PAGE,
        "outage-kinds": f"{PAGE}/page/groups",
        "outage-deferred": f"{PAGE}/page/deferred",
        "outage-database": f"{PAGE}/page/database",
        "outage-request": f"{PAGE}/page/requests/{{lost}}",
    }
    later = {name: address for name, address in outage.items() if only in name}
    with click.progressbar(length=(len(wanted) + len(later)) * len(pages), label="views", file=sys.stderr) as bar:
        for kind, page in pages.items():
            for name, address in wanted.items():
                if _is_there(page, address):
                    page.screenshot(path=folder / f"{name}-{kind}.png", full_page=True)
                bar.update(1)
        if later:
            lost = _lose(served, server)
            for kind, page in pages.items():
                for name, address in later.items():
                    page.goto(address.format(lost=lost))
                    page.screenshot(path=folder / f"{name}-{kind}.png", full_page=True)
                    bar.update(1)


def _bug(kinds: list[dict[str, Any]]) -> str:
    """The page of one that has a stack: what the program itself is to blame for."""
    found = next((one for one in kinds if one["category"] == "unknown"), kinds[0])
    return f"{PAGE}/page/groups/{found['fingerprint']}?timeRange=7d"


def _is_there(page: Page, address: str) -> bool:
    answer = page.goto(address)
    status = answer.status if answer is not None else 0
    return status == 200 or "wrong" in address or "nothing" in address or "yesterday" in address


def _take_those_of_the_docs(browser: Browser, served: Served, server: DatabaseServer, folder: Path) -> None:
    token = served.bearer()
    with click.progressbar(length=6, label="pictures", file=sys.stderr) as bar:

        def take(page: Page, address: str, name: str) -> None:
            if _is_there(page, address):
                path = folder / name
                page.screenshot(path=path)
                if path.stat().st_size > LARGEST:
                    sys.exit(f"{name} has {path.stat().st_size:,} bytes: {LARGEST:,} at most")
            bar.update(1)

        desk = _page(browser, served, {"width": 1100, "height": 1000})
        phone = _page(browser, served, {"width": 390, "height": 844}, color_scheme="dark", device_scale_factor=2)
        take(desk, f"{PAGE}?timeRange=24h", "overview.png")
        take(phone, f"{PAGE}?timeRange=1h", "phone.png")
        take(desk, f"{PAGE}/page/groups?timeRange=7d", "kinds.png")
        week_of = f"{PAGE}/errors/groups?timeRange=7d"
        kinds = until(lambda: served.get(week_of, token).body["groups"], what="kinds", limit=20)
        take(desk, _bug(kinds), "kind.png")
        lost = _lose(served, server)
        take(desk, f"{PAGE}/page/requests/{lost}", "request.png")
        take(phone, PAGE, "outage.png")


def _lose(served: Served, server: DatabaseServer) -> str:
    """Lose the database, defer a write, and fail a request: its ID, once the incident is told."""
    server.kill()
    until(lambda: served.all_say(503), what="the loss", limit=20)
    served.post("/api/v1/notes", {"slug": "later", "title": "A", "body": "", "notebook": "inbox"})
    lost = str(served.get("/api/v1/notes").headers["X-Request-ID"])
    open_now = f"{PAGE}/incidents?status=open"
    until(lambda: served.get(open_now, served.bearer()).body["incidents"], what="the incident", limit=20)
    return lost


def _page(browser: Browser, served: Served, size: dict[str, int], **options: object) -> Page:
    context = browser.new_context(base_url=served.url, viewport=size, **options)  # type: ignore[arg-type]
    page = context.new_page()
    sign_in(page, served)
    return page


if __name__ == "__main__":
    main()

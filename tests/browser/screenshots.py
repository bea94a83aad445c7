"""``python -m tests.browser.screenshots [FOLDER]``: the pictures of the README, of a made-up week (``docs/`` by default)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.browser import chromium, week
from tests.browser.conftest import PAGE, sign_in
from tests.support.served import REPOSITORY, Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

DESKTOP, PHONE = {"width": 1100, "height": 1000}, {"width": 390, "height": 844}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs"
    folder.mkdir(exist_ok=True)
    if chromium.path() is None:
        sys.exit("no Chromium was found: install the package chromium, or set BROWSER_PATH")
    with tempfile.TemporaryDirectory() as place, DatabaseServer(Path(place) / "data", ttl_sweep=60) as server:
        uri = f"{server.uri}service"
        week.fill(uri, records=500)
        names = {"APP_RELEASE": "3f2a9c1", "RENDER_INSTANCE_ID": "srv-notes-1", "SLOW_QUERY_THRESHOLD_MS": "0"}
        with Served(Path(place) / "s", uri, application="tests.hosts.probe:app", **names) as served:
            for _ in range(8):
                served.get("/probe/find?status=new")
                served.get("/api/v1/notes")
            token = served.bearer()
            until(lambda: served.get(f"{PAGE}/queries", token).body["queries"], what="queries", limit=20)
            with chromium.running() as browser:
                page = _page(browser, served, DESKTOP)
                _take(page, f"{PAGE}?timeRange=24h", folder / "overview.png")
                phone = _page(browser, served, PHONE, color_scheme="dark", device_scale_factor=2)
                _take(phone, f"{PAGE}?timeRange=1h", folder / "phone.png")
                server.kill()
                until(lambda: {served.get("/health/db").status for _ in range(6)} == {503}, what="the loss", limit=20)
                note = {"slug": "later", "title": "A", "body": "", "notebook": "inbox"}
                served.post("/api/v1/notes", note)
                lost = served.get("/api/v1/notes").headers["X-Request-ID"]
                open_now = f"{PAGE}/incidents?status=open"
                until(lambda: served.get(open_now, token).body["incidents"], what="the incident", limit=20)
                _take(page, f"{PAGE}/page/requests/{lost}", folder / "request.png")
                _take(phone, PAGE, folder / "outage.png")


def _page(browser: Browser, served: Served, size: dict[str, int], **options: object) -> Page:
    context = browser.new_context(base_url=served.url, viewport=size, **options)  # type: ignore[arg-type]
    page = context.new_page()
    sign_in(page, served)
    return page


def _take(page: Page, address: str, path: Path) -> None:
    page.goto(address)
    page.screenshot(path=path)
    print(f"{path.name}: {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()

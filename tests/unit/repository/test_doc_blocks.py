"""Every block of Python and shell in the pages runs, in the order of its page, or says why it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY
from tests.support.doc_blocks import RUNNABLE, Block, blocks

DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks(page)]
TUTORIAL = DOCS / "tutorial.md"  # tests/integration/test_tutorial.py runs its consoles
CHECKLIST = DOCS / "production-checklist.md"  # tests/integration/test_checklist.py
MAKE = "make "  # what a recipe runs has tests of its own; that there is such a target, test_docs.py says

# What the blocks of a page take for granted: an application on a real database, and names that an example invents.
BEGIN = """
import sys
from types import ModuleType
from bson import ObjectId
from flask import Blueprint, Flask, request
from pydantic import SecretStr
from prodfix import Document, Settings, create_app, current_prodfix, make_token

uri, folder = sys.argv[1:3]
settings = Settings(
    app_env="development", mongodb_uri=SecretStr(uri), state_dir=folder, log_dir=folder + "/log",
    jwt_secret_key=SecretStr("a key for the pages, which signs nothing else"),
)
"""
SERVED = """
app = create_app(settings)
app.test_request_context().push()
blueprint = Blueprint("page", __name__, url_prefix="/page")
"""
BEFORE = {
    "README.md": "",
    "docs/adopt.md": "",
    "docs/plug-ins.md": "",
    "docs/metrics.md": "",
    "docs/concepts/errors.md": SERVED + "db, entry, order = current_prodfix.db, {'at': 1}, ObjectId()",
    "docs/concepts/health.md": SERVED,
    "docs/concepts/recovery.md": SERVED + "import gevent\nfetch, numbers = (lambda number: 2 * number), [1, 2]",
    "docs/concepts/transactions.md": SERVED,
    # As a plug-in does, which is loaded before the application is made.
    "docs/concepts/idempotency.md": "import flask_jwt_extended\n" + SERVED,
    "docs/sentry.md": """
import json, os, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
tickets = []
class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        tickets.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()
    def log_message(self, *given): ...
hook = HTTPServer(("127.0.0.1", 0), Hook)
threading.Thread(target=hook.serve_forever, daemon=True).start()
os.environ["TICKETS_URL"] = f"http://127.0.0.1:{hook.server_port}/new"
os.environ["PRODFIX_STATE_DIR"], os.environ["PRODFIX_LOG_DIR"] = folder, folder + "/log"
""",
    "docs/assistants.md": "",
    "docs/concepts/deferred-writes.md": SERVED
    + "class Order(Document, collection='orders'):\n    number: int\n    items: list[str]",
}
# What must be so when the last block of a page has run.
AFTER = {
    "README.md": "assert create_app().test_client().get('/health/live').status_code == 200",
    "docs/adopt.md": """
client.close()
assert app.test_client().get("/nope", headers={"Accept": "application/json"}).json["code"] == "NOT_FOUND"
""",
    "docs/plug-ins.md": """
client = create_app(settings, [sys.modules[__name__]]).test_client()
assert client.post("/api/v1/orders", json={"number": 1, "items": ["tea"]}).status_code == 201
assert [order["number"] for order in client.get("/api/v1/orders").json] == [1]
assert client.post("/api/v1/orders", json={"number": 1, "items": []}).json["code"] == "DUPLICATE_KEY"
""",
    "docs/metrics.md": """
token = app.config["PRODFIX_METRICS_TOKEN"]
told = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {token}"})
assert told.status_code == 200
assert "prodfix_workers 1.0" in told.text
assert app.test_client().get("/metrics").status_code == 401
""",
    "docs/concepts/errors.md": "assert db.audit.count_documents({}) == 1",
    "docs/concepts/health.md": "assert app.test_client().get('/version').status_code == 200",
    "docs/concepts/recovery.md": """
assert [greenlet.get() for greenlet in greenlets] == [2, 4]
assert newest == []
app.register_blueprint(blueprint)
assert app.test_client().get("/page/export").text == "all of it"
assert app.test_client().post("/page/upload", data=b"x" * 100_000).json == {"bytes": 100_000}
""",
    "docs/concepts/transactions.md": """
assert current_prodfix.db.orders.find_one()["_id"] == identity
assert current_prodfix.db.counters.find_one()["n"] == 1
""",
    "docs/concepts/idempotency.md": """
from datetime import timedelta
app.register_blueprint(blueprint)
token = make_token(settings, role="user", lifetime=timedelta(minutes=5))
headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "0123456789abcdef"}
first, copy = (app.test_client().post("/page/payments", json={}, headers=headers) for _ in range(2))
assert (first.status_code, copy.status_code, copy.json) == (201, 201, {"paid": True})
assert "Idempotency-Replayed" not in first.headers
assert copy.headers["Idempotency-Replayed"] == "true"
""",
    "docs/sentry.md": """
app.add_url_rule("/pay", "pay", lambda: 1 // 0)
answer = app.test_client().get("/pay", headers={"X-Request-ID": "request-0001"})
assert answer.status_code == 500
app.extensions["prodfix"].runtime.background.stop()
assert [(ticket["request"], "ZeroDivisionError" in ticket["title"]) for ticket in tickets] == [("request-0001", True)]
hook.shutdown()
hook.server_close()
""",
    "docs/assistants.md": "assert messages == []",
    "docs/concepts/deferred-writes.md": """
client = create_app(settings, [sys.modules[__name__]]).test_client()
done = client.post("/page", json={"number": 1, "items": ["tea"]})
assert done.status_code == 201
assert str(current_prodfix.db.orders.find_one()["_id"]) == done.json["id"]
""",
}
RUN = """
import json, sys
from types import ModuleType
page = sys.modules["page"] = ModuleType("page")
for file, line, text in json.load(sys.stdin):
    exec(compile("\\n" * (line - 1) + text, file, "exec"), vars(page))
"""


def of(language: str) -> dict[str, list[Block]]:
    found: dict[str, list[Block]] = {}
    for block in BLOCKS:
        if block.language == language and block.runs and block.page != TUTORIAL:
            found.setdefault(str(block.page.relative_to(REPOSITORY)), []).append(block)
    return found


def environment(folder: Path, uri: str) -> dict[str, str]:
    own = {"APP_ENV": "development", "STATE_DIR": str(folder), "LOG_DIR": str(folder / "log"), "MONGODB_URI": uri}
    return {**{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}, **own}


def run_python(
    page: str, texts: list[tuple[str, int, str]], folder: Path, uri: str
) -> subprocess.CompletedProcess[str]:
    import json

    return subprocess.run(
        [sys.executable, "-c", RUN, uri, str(folder)],
        input=json.dumps(texts),
        cwd=REPOSITORY,
        env=environment(folder, uri),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("page", of("python"))
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, database_uri: str) -> None:
    found = of("python")[page]
    texts = [
        ("before", 1, BEGIN + BEFORE[page]),
        *((page, block.line, block.text) for block in found),
        ("after", 1, AFTER[page]),
    ]
    done = run_python(page, texts, tmp_path, database_uri)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_the_control_a_block_that_fails_says_which_page_and_line(tmp_path: Path, database_uri: str) -> None:
    done = run_python("x.md", [("x.md", 7, "right = 1\nwrong = no_such_name")], tmp_path, database_uri)
    assert done.returncode == 1
    assert 'File "x.md", line 8' in done.stderr


@pytest.mark.parametrize(
    "block",
    [block for found in of("sh").values() for block in found],
    ids=lambda block: f"{block.page.name}:{block.line}",
)
def test_the_shell_of_a_page_runs(block: Block, tmp_path: Path, database_uri: str) -> None:
    lines = [line for line in block.text.splitlines() if not line.startswith(MAKE)]
    done = subprocess.run(
        ["bash", "-eu", "-c", "\n".join(lines)],
        cwd=REPOSITORY,
        env=environment(tmp_path, database_uri),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_console_is_one_that_a_test_runs_or_says_why_it_is_not_run() -> None:
    run = {str(block.page) for block in BLOCKS if block.language == "console" and block.runs}
    assert run == {str(TUTORIAL), str(CHECKLIST)}


def test_every_reason_is_one() -> None:
    marked = [block for block in BLOCKS if block.mark]
    assert {block.mark for block in marked} <= {"not run"}
    assert all(block.language in RUNNABLE and len(block.said) > 15 for block in marked)


def test_blocks_are_found_with_their_lines_and_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```python\none\n```\n\n<!-- not run: for a reason -->\n```sh\ntwo\n\nthree\n```\n\n```\nfour\n```\n"
    )
    assert [(block.line, block.language, block.text, block.mark, block.runs) for block in blocks(page)] == [
        (4, "python", "one\n", "", True),
        (9, "sh", "two\n\nthree\n", "not run", False),
        (15, "", "four\n", "", False),
    ]

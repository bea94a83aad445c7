"""What a host has loaded that takes prodfix in: nothing that it does not use, nor what the served application needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

NEVER = (
    "gevent", "pydantic", "pydantic_settings", "dotenv", "jwt", "flask_jwt_extended", "tenacity", "loguru", "rich", "apprise",
    "user_agents", "limits", "statistics", "prodfix.doctor", "prodfix.document", "prodfix.cli.read_only",
    "prodfix.metrics", "prodfix.assistants", "prometheus_client", "opentelemetry", "sentry_sdk", "rollbar", "mcp",
)  # fmt: skip
# Answers an error and a 404 of its own, and uses the driver as far as it goes without a server.
HOST = """
    import logging
    import sys
    from pathlib import Path
    from flask import Flask
    from pymongo import MongoClient
    from prodfix import ProdFix, Settings, current_prodfix, make_token

    for name in ("prodfix", "host"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    folder = Path(sys.argv[1])
    app = Flask("host")
    key = "k" * 32
    prodfix = ProdFix(settings=Settings(state_dir=folder, log_dir=folder, jwt_secret_key=key), served=SERVED)
    client = MongoClient("mongodb://127.0.0.1:9", connect=False, event_listeners=[*prodfix.listeners])
    prodfix.init_app(app)

    @app.get("/plain")
    def plain():
        return {"plain": True}

    @app.get("/broken")
    def broken():
        raise ValueError("postgres://u:p@host/db")

    @app.get("/more")
    def more():
        MORE
        return {}

    client = app.test_client()
    agent = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}
    found = [client.get(path, headers=agent).status_code for path in ("/plain", "/broken", "/nowhere", "/more")]
    app.extensions["prodfix"].close()
    (folder / "loaded").write_text(repr((found, [name for name in NEVER if name in sys.modules])))
"""


def loaded(python: Callable[..., str], folder: Path, more: str = "pass", *, served: bool = False) -> list[str]:
    code = HOST.replace("SERVED", str(served)).replace("MORE", more).replace("NEVER", repr(NEVER))
    python(code, folder)
    statuses, names = eval((folder / "loaded").read_text())
    assert statuses == [200, 500, 404, 200]
    return list(names)


def test_a_host_has_loaded_nothing_that_it_does_not_use(python: Callable[..., str], tmp_path: Path) -> None:
    assert loaded(python, tmp_path) == []


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ("from prodfix import Document", {"pydantic", "prodfix.document"}),
        ("make_token(prodfix.services.settings, role='admin', lifetime=__import__('datetime').timedelta(1))", {"jwt"}),
        ("from prodfix.request.devices import description; description('curl')", {"user_agents"}),
    ],
)
def test_the_control_what_it_uses_is_loaded(
    python: Callable[..., str], tmp_path: Path, more: str, names: set[str]
) -> None:
    assert set(loaded(python, tmp_path, more)) == names


def test_the_control_the_served_application_has_its_logging(python: Callable[..., str], tmp_path: Path) -> None:
    assert loaded(python, tmp_path, served=True) == ["loguru"]

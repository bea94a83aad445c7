"""Queries are seen however a host makes its client: with the packages that it makes it with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SETUP = """
    import sys
    from flask import Flask
    from prodfix import ProdFix
    uri, folder, observe = sys.argv[1], sys.argv[2], sys.argv[3] == "observe"
    prodfix = ProdFix()
    options = {} if observe else {"event_listeners": [*prodfix.listeners]}
    if observe:
        prodfix.observe()
    config = {"MONGO_URI": uri, "PRODFIX_STATE_DIR": folder, "PRODFIX_LOG_DIR": folder, "TESTING": True}
"""
ASKED = """
    statuses = [app.test_client().get(path).status_code for path in PATHS]
    interceptor = app.extensions["prodfix"].queries.interceptor
    kinds = sorted({(key.operation, key.collection) for key, _ in interceptor.command_stats.drain()})
    print(statuses, kinds, interceptor.errors)
"""
FLASK_PYMONGO = """
    from flask_pymongo import PyMongo
    app = Flask("host")
    app.config.update(config)
    mongo = PyMongo(app, **options)
    prodfix.init_app(app)
    app.add_url_rule("/", "things", lambda: str(mongo.db.things.count_documents({})))
    PATHS = ["/"]
"""
MONGOENGINE = """
    import mongoengine
    class Thing(mongoengine.Document):
        name = mongoengine.StringField()
    app = Flask("host")
    app.config.update(config)
    prodfix.init_app(app)
    mongoengine.connect(host=uri, **options)
    app.add_url_rule("/", "things", lambda: str(len(Thing.objects(name="x"))))
    PATHS = ["/"]
"""
EVE = """
    from eve import Eve
    app = Eve(settings={**config, "DOMAIN": {"things": {"schema": {"name": {"type": "string"}}}}})
    prodfix.init_app(app)
    PATHS = ["/things"]
"""


@pytest.mark.parametrize(
    ("package", "code", "observe", "found"),
    [
        ("flask_pymongo", FLASK_PYMONGO, "", "[200] [('aggregate', 'things')] 0"),
        ("flask_pymongo", FLASK_PYMONGO, "observe", "[200] [('aggregate', 'things')] 0"),
        ("mongoengine", MONGOENGINE, "", "[200] [('find', 'thing')] 0"),
        ("mongoengine", MONGOENGINE, "observe", "[200] [('find', 'thing')] 0"),
        ("eve", EVE, "observe", "[200] [('aggregate', 'things'), ('find', 'things')] 0"),
    ],
)
def test_its_commands_are_counted_as_the_applications(
    python: Callable[..., str], database_uri: str, tmp_path: Path, package: str, code: str, observe: str, found: str
) -> None:
    """Eve refuses listeners in its ``MONGO_OPTIONS``: it has the other way only. What is not installed is not tried."""
    pytest.importorskip(package)
    ignoring: Any = "\n    import warnings; warnings.simplefilter('ignore')"
    assert python(ignoring + SETUP + code + ASKED, database_uri, tmp_path, observe) == f"{found}\n"

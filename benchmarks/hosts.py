"""The application that gunicorn serves for :mod:`benchmarks.connections`: a bare one, or prodfix's as it is served."""

import os

from gevent import monkey

monkey.patch_all()

from typing import Any

import pymongo

from benchmarks.works import flask_app, routes


def _bare() -> Any:
    client: Any = pymongo.MongoClient(os.environ["MONGODB_URI"])
    return flask_app(lambda: client.bench)


def _served() -> Any:
    from config import load_settings
    from prodfix import create_app

    app = create_app(load_settings())
    routes(app, lambda: app.extensions["prodfix"].db)
    return app


app = _served() if os.environ["BENCH_HOST"] == "served" else _bare()

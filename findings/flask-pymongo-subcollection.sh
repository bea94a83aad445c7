#!/usr/bin/env bash
# Flask-PyMongo 3.0.1 with PyMongo 4.20.0: a collection's sub-collection by attribute, `db.fs.files`, which PyMongo documents and
# plain PyMongo gives, raises AttributeError. Flask-PyMongo's Collection reads `_Collection__database`, a name that PyMongo's
# own class no longer has since 4.9. Items (`db["fs.files"]`) work. No server is needed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check Flask-PyMongo==3.0.1 pymongo==4.20.0

"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import pymongo
from flask_pymongo.wrappers import MongoClient

print("Flask-PyMongo", version("Flask-PyMongo"), "PyMongo", version("pymongo"))
plain = pymongo.MongoClient(connect=False)["shop"]
theirs = MongoClient(connect=False)["shop"]
print("plain PyMongo:  db.fs.files  ->", plain.fs.files.full_name)
print("Flask-PyMongo:  db['fs.files'] ->", theirs["fs.files"].full_name)
try:
    found = theirs.fs.files
except AttributeError as error:
    print("Flask-PyMongo:  db.fs.files  ->", type(error).__name__, error)
else:
    sys.exit(f"this has changed: db.fs.files -> {found}")
PYTHON

#!/usr/bin/env bash
# mongomock 4.3.0: `True` and `1` are the same value, as in Python, and not two of different types, as in BSON and MongoDB. A
# document with `_id: True` is refused as a duplicate of `_id: 1`, and a query for `True` finds `1`. So a test with mongomock fails,
# or passes, for what MongoDB does otherwise. SecantusDB 0.7.0b3, a server that speaks MongoDB's protocol, keeps them apart.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mongomock==4.3.0 pymongo==4.20.0 secantusdb==0.7.0b3

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import mongomock
import pymongo
from pymongo.errors import DuplicateKeyError
from secantus import SecantusDBServer


def told(client):
    notes = client["shop"]["notes"]
    notes.insert_one({"_id": 1, "done": 1})
    try:
        notes.insert_one({"_id": True, "done": 1})
        both = True
    except (DuplicateKeyError, mongomock.DuplicateKeyError):
        both = False
    notes.insert_one({"_id": "c", "done": True})
    found = sorted(str(one["_id"]) for one in notes.find({"done": True}))
    return {"_id 1 and True": both, "found by done=True": found}


print("mongomock", version("mongomock"), "PyMongo", version("pymongo"), "SecantusDB", version("secantusdb"))
mocked = told(mongomock.MongoClient())
with SecantusDBServer(port=0, storage_path=":memory:") as server, pymongo.MongoClient(server.uri) as client:
    real = told(client)
print("mongomock: ", mocked)
print("SecantusDB:", real)
if mocked != {"_id 1 and True": False, "found by done=True": ["1", "c"]}:
    sys.exit("this has changed")
if real != {"_id 1 and True": True, "found by done=True": ["c"]}:
    sys.exit("this has changed")
PYTHON

#!/usr/bin/env bash
# PyMongo 4.20.0: `MongoClient.bulk_write` of which the server has applied everything, and whose results come in two parts. If the
# server shuts down (91, ShutdownInProgress) before the second part, AttributeError is raised: 'NotPrimaryError' object has no
# attribute 'code'. It is no PyMongoError, and nothing says that the writes were applied. With another code there (8, UnknownError)
# ClientBulkWriteException is raised, as documented, and has their number.
# No server is needed: a socket here gives these replies.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pymongo==4.20.0

"$folder/venv/bin/python" - <<'PYTHON'
import socket
import struct
import sys
import threading
from importlib.metadata import version

import bson
import pymongo
from pymongo.errors import ClientBulkWriteException

PRIMARY = {"ok": 1, "isWritablePrimary": True, "minWireVersion": 0, "maxWireVersion": 25, "maxBsonObjectSize": 16 << 20}
PRIMARY |= {"maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000}
FIRST = {"ok": 1, "nErrors": 0, "nInserted": 2, "nMatched": 0, "nModified": 0, "nUpserted": 0, "nDeleted": 0}
FIRST["cursor"] = {"id": bson.Int64(7), "ns": "admin.$cmd.bulkWrite", "firstBatch": [{"ok": 1.0, "idx": 0, "n": 1}]}
SECOND = {91: "ShutdownInProgress", 8: "UnknownError"}
code = 0


def answer(command):
    if "getMore" in command:
        return {"ok": 0, "code": code, "codeName": SECOND[code], "errmsg": "no"}
    return FIRST if "bulkWrite" in command else {"ok": 1} if "killCursors" in command else PRIMARY


def serve(connection):
    with connection, connection.makefile("rb") as stream:
        while head := stream.read(16):
            length, number, _, _ = struct.unpack("<4i", head)
            message = stream.read(length - 16)
            command = bson.decode(message[5 : 5 + struct.unpack_from("<i", message, 5)[0]])  # after flags and kind
            reply = bson.encode(answer(command))
            connection.sendall(struct.pack("<4iIB", 21 + len(reply), 1, number, 2013, 0, 0) + reply)


def accept(listening):
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()


listening = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, args=(listening,), daemon=True).start()
print("PyMongo", version("pymongo"))
uri = f"mongodb://127.0.0.1:{listening.getsockname()[1]}/?directConnection=true&serverMonitoringMode=poll&retryWrites=false"
raised = {}
for code in SECOND:
    with pymongo.MongoClient(uri) as client:
        try:
            client.bulk_write(
                [pymongo.InsertOne({"_id": number}, namespace="shop.notes") for number in range(2)], verbose_results=True
            )
        except Exception as error:
            raised[code] = error
            applied = error.partial_result.inserted_count if isinstance(error, ClientBulkWriteException) else "not told"
            print(f"{code} {SECOND[code]}: {type(error).__name__}; inserted: {applied}")
listening.close()
if (
    type(raised.get(91)) is not AttributeError
    or "'NotPrimaryError' object has no attribute 'code'" not in str(raised[91])
    or not isinstance(raised.get(8), ClientBulkWriteException)
    or raised[8].partial_result.inserted_count != 2
):
    sys.exit(f"this has changed: {raised}")
PYTHON

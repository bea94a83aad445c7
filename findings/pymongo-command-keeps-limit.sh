#!/usr/bin/env bash
# PyMongo 4.20.0: a command that is given as bson.son.SON, the ordered mapping of PyMongo's own, is written into by
# `Database.command`. What `pymongo.timeout()` allowed once (`maxTimeMS`) stays in the caller's document, with `$db`, and is sent
# again where it is used without any limit, as if the caller had asked for it. A plain dict with the same keys is left alone.
# No server is needed: a socket here answers each command with {"ok": 1} and keeps what came.
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
from bson.son import SON

PRIMARY = {"ok": 1, "isWritablePrimary": True, "minWireVersion": 0, "maxWireVersion": 25, "maxBsonObjectSize": 16 << 20}
came = []


def serve(connection):
    with connection, connection.makefile("rb") as stream:
        while head := stream.read(16):
            length, number, _, _ = struct.unpack("<4i", head)
            message = stream.read(length - 16)
            command = bson.decode(message[5 : 5 + struct.unpack_from("<i", message, 5)[0]])  # after flags and kind
            if "count" in command:
                came.append(command)
            reply = bson.encode({"ok": 1, "n": 0} if "count" in command else PRIMARY)
            connection.sendall(struct.pack("<4iIB", 21 + len(reply), 1, number, 2013, 0, 0) + reply)


def accept(listening):
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()


listening = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, args=(listening,), daemon=True).start()
print("PyMongo", version("pymongo"))
uri = f"mongodb://127.0.0.1:{listening.getsockname()[1]}/?directConnection=true&serverMonitoringMode=poll"
kept, again = {}, {}
with pymongo.MongoClient(uri) as client:
    for kind in (dict, SON):
        command = kind([("count", "notes")])
        with pymongo.timeout(5):
            client["shop"].command(command)
        kept[kind] = list(command)
        client["shop"].command(command)  # without a limit
        again[kind] = "maxTimeMS" in came[-1]
        print(f"{kind.__name__}: the caller's document has {kept[kind]}; without a limit maxTimeMS is sent: {again[kind]}")
if kept != {dict: ["count"], SON: ["count", "maxTimeMS", "$db"]} or again != {dict: False, SON: True}:
    sys.exit("this has changed")
PYTHON

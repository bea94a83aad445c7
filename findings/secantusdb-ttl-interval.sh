#!/usr/bin/env bash
# SecantusDB 0.7.0b3: `[storage] ttl_sweep_seconds` in secantusd.toml does nothing. The daemon says that it has loaded the file,
# and refuses to start with a key that it does not know, but this one it takes and never hands on: with 1 a document that has
# expired is still there after 8 seconds (it goes with the sweep of each minute). SecantusDBServer(ttl_sweep_seconds=1), the same
# server in Python, removes it in one or two.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check secantusdb==0.7.0b3 pymongo==4.20.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import datetime
import pathlib
import socket
import subprocess
import sys
import time
from importlib.metadata import version

import pymongo
from secantus import SecantusDBServer

LIMIT = 8.0  # seconds


def goes(uri):
    """After how many seconds a document that has expired is gone; None if it is there after LIMIT."""
    with pymongo.MongoClient(uri) as client:
        notes = client["shop"]["notes"]
        notes.create_index("until", expireAfterSeconds=0)
        notes.insert_one({"until": datetime.datetime(2020, 1, 1)})
        begun = time.monotonic()
        while time.monotonic() - begun < LIMIT:
            if notes.find_one() is None:
                return time.monotonic() - begun
            time.sleep(0.1)
    return None


def daemon(key):
    pathlib.Path("secantusd.toml").write_text(f"[storage]\n{key} = 1\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = [pathlib.Path(sys.executable).with_name("secantusd-py"), "--port", str(port), "--storage-path", ":memory:"]
    return port, subprocess.Popen(
        [*program, "--config", "secantusd.toml"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


print("SecantusDB", version("secantusdb"))
_, refused = daemon("ttl_sweep_second")
said, _ = refused.communicate(timeout=60)
print(f"ttl_sweep_second = 1:  exit code {refused.returncode},", said.strip().splitlines()[-1].partition(" (valid")[0])
port, running = daemon("ttl_sweep_seconds")
try:
    by_file = goes(f"mongodb://127.0.0.1:{port}/")
finally:
    running.terminate()
    said, _ = running.communicate(timeout=60)
loaded = "loaded config from secantusd.toml" in said
print(f"ttl_sweep_seconds = 1: loaded: {loaded}; gone after {LIMIT:.0f} s: {by_file is not None}")
with SecantusDBServer(port=0, storage_path=":memory:", ttl_sweep_seconds=1) as server:
    by_argument = goes(server.uri)
print(f"SecantusDBServer(ttl_sweep_seconds=1): gone after {LIMIT:.0f} s: {by_argument is not None}")
if not (refused.returncode and loaded and by_file is None and by_argument is not None):
    sys.exit("this has changed")
PYTHON

#!/usr/bin/env bash
# Apprise 2.3.0: a JSON receiver that answers a notification with 302 counts as told, and gets no text. The library beneath
# follows the redirect with a GET that has no body, and its 200 is taken for the delivery's. With `?redirect=no` in the URL the
# same notification fails, as one would expect.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apprise==2.3.0

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

import apprise

seen = []


class Moved(BaseHTTPRequestHandler):
    """/ has moved to /new, where anybody is welcome."""

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen.append((self.command, self.path, len(body)))
        self.send_response(302 if self.path == "/" else 200)
        if self.path == "/":
            self.send_header("Location", "/new")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = answer

    def log_message(self, *arguments):
        pass


server = HTTPServer(("127.0.0.1", 0), Moved)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("Apprise", version("apprise"))
told = {}
for options in ("", "?redirect=no"):
    seen.clear()
    sender = apprise.Apprise()
    sender.add(f"json://127.0.0.1:{server.server_port}/{options}")
    told[options] = bool(sender.notify(title="down", body="the database is away"))
    print(f"json://.../{options}: notify() -> {told[options]}; the receiver saw", [f"{m} {p} ({n} bytes)" for m, p, n in seen])
    if options == "":
        lost = seen[-1][:2] == ("GET", "/new") and seen[-1][2] == 0
server.shutdown()
if not (told[""] and lost and not told["?redirect=no"]):
    sys.exit("this has changed")
PYTHON

"""Whether the container's application is well: exit code 0 if the path answers 200 within the limit, else 1 with the reason.

For Docker's HEALTHCHECK, as the image has no curl. Nothing but Python is imported: it is run every few seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sys

LIMIT = 4.0  # seconds; the Dockerfile's timeout is longer


def main(path: str) -> str | None:
    """What is wrong; None if nothing is."""
    port = int(os.environ.get("PORT") or 8000)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)) as connection:
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"GET {path} on port {port}: {type(error).__name__}"
    return None if status == http.HTTPStatus.OK else f"GET {path} on port {port}: {status}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

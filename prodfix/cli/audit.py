"""Who changes something from the command line, and the line in ``auth.log`` that says so."""

from __future__ import annotations

import getpass
from typing import Any

from prodfix.errors import Severity
from prodfix.services import Services

FILE = "auth"


def command_user() -> str:
    """For what is written down: ``command line (ann)``; a process without a name in the system has none."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = "unknown"
    return f"command line ({name})"[:100]


def audit(services: Services, command: str, by: str, **facts: Any) -> None:
    """As the line of a use of the API: what was asked, by whom, of what. Facts are redacted; the terminal shows nothing of it."""
    told = {"userId": by, "method": "CLI", "endpoint": command, **facts}
    services.logs.filed(Severity.INFO, "audit", f"CLI {command}", FILE, facts=told)

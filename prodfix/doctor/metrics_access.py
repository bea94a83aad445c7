"""Who can have the metrics."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from prodfix.doctor.findings import Finding, NotApplicable, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.doctor.token_key import weakness

MAKE = "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


@check("metrics-token-strength", "tokens")
def strength(subject: Subject) -> Iterator[Finding]:
    """The metrics' token looks random."""
    token = subject.settings.metrics_token
    if token is None:
        raise NotApplicable
    reason = weakness(token.get_secret_value())
    if reason is not None:
        level = error if subject.deployed else note
        yield level(f"METRICS_TOKEN can be guessed: {reason}", MAKE)


@check("metrics-port-open", "tokens")
def open_port(subject: Subject) -> Iterator[Finding]:
    """The metrics' port is this machine's, or asks for a token."""
    settings = subject.settings
    if settings.metrics_port is None:
        raise NotApplicable
    if settings.metrics_token is None and not _here(settings.metrics_host):
        yield (warning if subject.deployed else note)(
            "METRICS_HOST lets other machines reach METRICS_PORT, and no token is asked for",
            "Set METRICS_TOKEN, unless only scrapers are in that network",
        )


def _here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

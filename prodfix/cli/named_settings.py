"""What commands say of settings, by the names that these have for the application that is asked."""

from __future__ import annotations

from prodfix.services import current_prodfix


def named(text: str) -> str:
    """``text``, in a host with the prefix before the names of settings: the bare ones are the host's own."""
    return current_prodfix.named(text)

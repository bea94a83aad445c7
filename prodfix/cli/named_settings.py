"""What commands say of settings, by the names that these have for the application that is asked."""

from __future__ import annotations

from prodfix.services import current_prodfix
from prodfix.settings_names import named_for_host


def named(text: str) -> str:
    """``text``, in a host with the prefix before the names of settings: the bare ones are the host's own."""
    return text if current_prodfix.served else named_for_host(text)

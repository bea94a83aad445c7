"""Who hears a client: our own are silent towards listeners that are registered for all clients of the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prodfix.driver.private_names import PrivateName, found, sets

if TYPE_CHECKING:
    from pymongo.monitoring import _EventListener

    EventListener = _EventListener
else:
    EventListener = object  # for types only

_HEARD = {
    "command_listeners": "commands",
    "cmap_listeners": "cmap",
}  # lists of listeners, and what says that there are some
_HEARS = sets(
    found("pymongo.monitoring", "_EventListeners") or object,
    *(f"_EventListeners__{name}" for name in _HEARD),
    *(f"_EventListeners__enabled_for_{name}" for name in _HEARD.values()),
)

LISTENER_NAMES = (
    PrivateName(
        "_EventListeners", "our own clients' silence towards listeners that are registered for all clients", _HEARS
    ),
)


def keep_listeners(client: Any, wanted: Callable[[Any], bool]) -> None:
    """Let only those command and pool listeners hear a client, just made, that are ``wanted``: the driver adds all that somebody
    has registered for every client of the process (``pymongo.monitoring.register``). One that it was given besides
    hears it once."""
    heard: Any = getattr(client.options.pool_options, "_event_listeners", None)
    if not _HEARS or heard is None:
        return
    for name, switch in _HEARD.items():
        kept = list({id(one): one for one in getattr(heard, f"_EventListeners__{name}") if wanted(one)}.values())
        setattr(heard, f"_EventListeners__{name}", kept)
        setattr(heard, f"_EventListeners__enabled_for_{switch}", bool(kept))

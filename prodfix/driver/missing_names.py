"""All private names of the driver that the library uses, and which of them this version does not have."""

from __future__ import annotations

import pymongo

from prodfix.driver.csot import TIMEOUT_NAMES
from prodfix.driver.hooked_client import CLIENT_NAMES
from prodfix.driver.hooked_pool import POOL_NAMES
from prodfix.driver.listening import LISTENER_NAMES
from prodfix.driver.operation_internals import OPERATION_NAMES
from prodfix.driver.pool_numbers import NUMBER_NAMES
from prodfix.driver.private_names import PrivateName
from prodfix.driver.resting import THREAD_NAMES
from prodfix.driver.session_transactions import TRANSACTION_NAMES

NAMES = (
    *TIMEOUT_NAMES, *CLIENT_NAMES, *POOL_NAMES, *NUMBER_NAMES, *OPERATION_NAMES, *TRANSACTION_NAMES, *LISTENER_NAMES,
    *THREAD_NAMES,
)  # fmt: skip
"""Each stands beside what it is used for: in the file of its concern."""
BEHAVIOURS = (
    PrivateName(
        "CommandStartedEvent.operation_id, kept by a retry",
        "the count of what the driver has sent again by itself",
        pymongo.version_tuple >= (4, 18),
    ),
    PrivateName(
        "MongoClient._retry_internal, for Database.command",
        "the breaker's view of commands that are sent as such",
        pymongo.version_tuple >= (4, 17),
    ),
)
"""What older versions do otherwise, by names that they have as well."""


def missing() -> tuple[PrivateName, ...]:
    """The names that this version of the driver does not have, and what it does otherwise."""
    return tuple(name for name in (*NAMES, *BEHAVIOURS) if not name.there)

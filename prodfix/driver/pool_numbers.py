"""What a client's pools have now, read where it is: a listener that counts their events costs each command a tenth."""

from __future__ import annotations

from typing import Any

import pymongo

from prodfix.driver.hooked_client import HookedClient
from prodfix.driver.hooked_pool import TAKES_POOL, Pool
from prodfix.driver.private_names import PrivateName, sets

# Before 4.19 a pool counts whoever has waited in vain as one who waits still: its events are right.
_COUNTS = pymongo.version_tuple >= (4, 19) and sets(
    Pool, "conns", "active_contexts", "_pending", "operation_count", "opts"
)
COUNTS_POOLS = _COUNTS and TAKES_POOL
"""Whether :func:`pool_counts` knows the pools of a :class:`HookedClient`; where it does not, a listener must count events."""

NUMBER_NAMES = (
    PrivateName(
        "Pool.active_contexts", "the pool's numbers without a listener, whose events cost each command a tenth", _COUNTS
    ),
)


def pool_counts(client: Any) -> list[tuple[Any, dict[str, int]]]:
    """What a client's pools have now, by address: ``total`` connections, those that are ``out``, operations that are ``waiting``
    for one, and the ``capacity``. The sums of the driver's own events would be the same (CMAP specification)."""
    pools = tuple(client.prodfix_pools.items()) if COUNTS_POOLS and isinstance(client, HookedClient) else ()
    return [(address, _counted(pool)) for address, pool in pools if not pool.closed]


def _counted(pool: Any) -> dict[str, int]:
    # Without the pool's lock: who reads may not wait, and a thread that changes it meanwhile makes a difference of one.
    busy, asked = len(pool.active_contexts), pool.operation_count
    out = max(0, busy - pool._pending)  # the others are being connected
    return {
        "total": len(pool.conns) + busy,
        "out": out,
        "waiting": max(0, asked - out),
        "capacity": pool.opts.max_pool_size or 100,
    }

"""What the `INFO` of servers says of their memory, their keys and what they evicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_studio.instrumentation import CacheReading


def reading_of(infos: list[Mapping[str, Any]]) -> CacheReading:
    """Return the figures of all servers: sums, and the highest fragmentation.

    Args:
        infos: what each answered to `INFO`.
    """
    if not infos or not all("redis_version" in info for info in infos):
        return CacheReading()  # a proxy may answer something else
    keys = [
        database["keys"]
        for info in infos
        for name, database in info.items()
        if name.startswith("db") and isinstance(database, dict) and "keys" in database
    ]
    evictions = {
        reason: total
        for reason, field in (("size", "evicted_keys"), ("expired", "expired_keys"))
        if (total := _total(infos, field)) is not None
    }
    fragmentations = [share for info in infos if (share := _unused_share(info)) is not None]
    return CacheReading(
        entries=sum(keys),
        memory_bytes=_total(infos, "used_memory"),
        fragmentation=max(fragmentations, default=None),
        evictions=evictions,
    )


def _unused_share(info: Mapping[str, Any]) -> float | None:
    """Return how much of the memory that a server holds it does not use, 0 to 1.

    Right after its start a server has allocated more than it holds: none is unused then.
    """
    used, held = info.get("used_memory"), info.get("used_memory_rss")
    if used is None or not held:
        return None
    return max(0.0, 1 - int(used) / int(held))


def _total(infos: list[Mapping[str, Any]], field: str) -> int | None:
    values = [int(info[field]) for info in infos if field in info]
    return sum(values) if values else None

"""The records that the cache queries return."""

from __future__ import annotations

import dataclasses

from otel_studio.base.record import Record


@dataclasses.dataclass(frozen=True, slots=True)
class KeyAccesses(Record):
    """One of the keys read most, from a bounded sketch.

    The true number of accesses is at most `accesses`, and at least `accesses - error_bound`.
    """

    key: str
    accesses: int
    error_bound: int


@dataclasses.dataclass(frozen=True, slots=True)
class SlowAccess(Record):
    """One of the slowest accesses of the last hour; `operation` is `hit` or `miss`."""

    operation: str
    key: str | None
    duration_ms: float
    timestamp: str


@dataclasses.dataclass(frozen=True, slots=True)
class SizePrediction(Record):
    """The hit rate that a least-recently-used cache of so many entries would have had."""

    size_factor: float
    entries: int
    hit_rate: float


@dataclasses.dataclass(frozen=True, slots=True)
class CachePerformance(Record):
    """What is known of one cache; a field whose figure has no source is `None`.

    Counts and the hit rate without a period are since the cache was created here (or the
    process forked). Response times are of the last hour. Megabytes are 1,000,000 bytes.
    """

    cache: str
    service_name: str
    hits: int
    misses: int
    sets: int
    evictions: int
    evictions_by_reason: dict[str, int]
    hit_rate: float | None
    hit_rate_last_minute: float | None
    hit_rate_last_hour: float | None
    hit_rate_last_day: float | None
    average_response_time_ms: float | None
    p50_response_time_ms: float | None
    p95_response_time_ms: float | None
    p99_response_time_ms: float | None
    entries: int | None
    max_entries: int | None
    current_memory_usage_mb: float | None
    peak_memory_usage_mb: float | None
    #: True where entries or memory are scaled up from the part that is known key by key.
    size_is_estimate: bool
    #: Of the memory that its backend holds, the part that is not used, 0 to 1.
    fragmentation_ratio: float | None
    top_accessed_keys: list[KeyAccesses]
    slow_operations: list[SlowAccess]
    #: "If the cache were half, twice, four times as large"; empty while entries are not known.
    predicted_hit_rates: list[SizePrediction]


@dataclasses.dataclass(frozen=True, slots=True)
class CacheAlert(Record):
    """A threshold that a cache is past now; `timestamp` is when that was first seen."""

    alert_type: str
    cache: str
    service_name: str
    message: str
    severity: str
    timestamp: str
    current_value: float
    threshold_value: float


@dataclasses.dataclass(frozen=True, slots=True)
class CacheReading:
    """What a cache's own backend reports when it is asked; `None` where it does not say.

    Counts are totals that only grow; one that falls (a cache that was cleared, a server that
    started anew) counts on from there.

    Raises:
        ValueError: if `fragmentation` is no share: it is what the backend holds and does not use,
            by what it holds, 0 to 1.
    """

    hits: int | None = None
    misses: int | None = None
    sets: int | None = None
    evictions: dict[str, int] | None = None
    entries: int | None = None
    max_entries: int | None = None
    memory_bytes: int | None = None
    fragmentation: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if self.fragmentation is not None and not 0 <= self.fragmentation <= 1:
            raise ValueError(
                f"fragmentation={self.fragmentation!r} is no share: give the memory that is held "
                f"and not used, by what is held, from 0 to 1"
            )

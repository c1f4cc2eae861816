"""The base of every record that a query returns: frozen, plain, serializable to JSON."""

from __future__ import annotations

import dataclasses
import functools
import json
from datetime import UTC, datetime
from typing import Any

#: Bytes of a megabyte, wherever a record's field ends in `_mb`.
MEGABYTE = 1_000_000


def megabytes(size: int | None) -> float | None:
    """Return bytes as megabytes of 1,000,000 bytes, or `None` for `None`.

    Args:
        size: bytes.

    Example:
        >>> megabytes(2_500_000)
        2.5
    """
    return None if size is None else size / MEGABYTE


def iso_time(unix_ns: int | None) -> str | None:
    """Return a time as ISO 8601 in UTC with microseconds, or `None` for `None`.

    Args:
        unix_ns: nanoseconds since the Unix epoch.

    Example:
        >>> iso_time(1_700_000_000_123_456_000)
        '2023-11-14T22:13:20.123456Z'
    """
    if unix_ns is None:
        return None
    seconds, nanoseconds = divmod(unix_ns, 1_000_000_000)
    return f"{_iso_second(seconds)}.{nanoseconds // 1000:06d}Z"


@functools.lru_cache(maxsize=4_096)
def _iso_second(seconds: int) -> str:
    # Most of a query's times share their seconds.
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}"


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A frozen record of plain values (numbers, text, lists, dicts, other records)."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record and everything below it as plain dicts and lists."""
        return dataclasses.asdict(self)

    def to_json(self, indent: int | None = None) -> str:
        """Return the record as JSON text.

        Args:
            indent: spaces per level; `None` for one line.
        """
        return json.dumps(self.to_dict(), indent=indent, default=str)

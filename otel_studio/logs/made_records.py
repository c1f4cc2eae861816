"""The log records that were made and handed to nobody yet."""

from __future__ import annotations

import logging
import weakref
from typing import Any


class _Reference(weakref.ref[logging.LogRecord]):
    __slots__ = ("key",)

    key: int


class MadeRecords:
    """Tells of a record whether it is handed over for the first time.

    Neither a mark on the record, which formatters would print and copies would take along, nor a
    life longer than the record's own. No lock: each step is one of a dictionary.

    Example:
        >>> made, record = MadeRecords(), logging.makeLogRecord({})
        >>> made.add(record)
        >>> made.discard(record), made.discard(record)
        (True, False)
    """

    def __init__(self) -> None:
        self._references: dict[int, _Reference] = {}

    def __len__(self) -> int:
        return len(self._references)

    def add(self, record: logging.LogRecord) -> None:
        """Remember a record as long as it lives."""
        key = id(record)
        reference = _Reference(record, self._forget)
        reference.key = key
        self._references[key] = reference

    def discard(self, record: logging.LogRecord) -> bool:
        """Forget a record, and tell whether it was known; to one of several threads alone."""
        reference = self._references.pop(id(record), None)
        return reference is not None and reference() is record

    def _forget(self, reference: Any) -> None:
        key = reference.key
        if self._references.get(key) is reference:
            self._references.pop(key, None)

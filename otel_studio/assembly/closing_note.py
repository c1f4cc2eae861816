"""Says in one line what was not sent at the end, in place of what exporters say of each try."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from otel_studio.base import delivery, guard
from otel_studio.base.text import safe_line

#: Where OpenTelemetry's exporters log.
_EXPORTERS: Final = "opentelemetry.exporter."
#: Characters of an exporter's own words.
_MAX_WORDS: Final = 300


class _Silence(logging.Filter):
    """Keeps back what exporters of ours say, and remembers why the first of them failed."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""

    def filter(self, record: logging.LogRecord) -> bool:
        name = threading.current_thread().name
        if not (delivery.is_delivering() or name.startswith("otel-studio-")):
            return True  # an exporter of the program's own
        if not self.reason and record.levelno >= logging.WARNING:
            self.reason = _reason_in(record.getMessage())
        return False


def _reason_in(message: str) -> str:
    """Return why an export failed, out of what OpenTelemetry's exporters say of it."""
    details = message.rpartition("rror details: ")[2]
    if details != message:
        return details
    before, found, _ = message.partition(" encountered while exporting")
    if found:
        return before.removeprefix("Transient error ")
    return message if message.startswith("Failed to export") else ""


@contextmanager
def closing_note(counters: Mapping[tuple[str, str], Callable[[], int]]) -> Iterator[None]:
    """Keep exporters quiet inside the block, and say behind it what was not sent.

    Args:
        counters: by the words for one and for several of what they count, each tells how many
            were not sent.
    """
    silence = _Silence()
    loggers = [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if name.startswith(_EXPORTERS) and isinstance(logger, logging.Logger)
    ]
    for logger in loggers:
        logger.addFilter(silence)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(silence)
        counts = {words: count for words, counter in counters.items() if (count := counter())}
        if counts:
            _say(counts, silence.reason)


def _say(counts: Mapping[tuple[str, str], int], reason: str) -> None:
    parts = [f"{count:,} {words[count != 1]}" for words, count in counts.items()]
    listed = " and ".join(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    because = f": {safe_line(reason, _MAX_WORDS)}" if reason else ""
    guard.say("OTel Studio has ended with %s not sent%s", listed, because)

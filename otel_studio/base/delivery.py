"""What became of what an exporter was given: counted by reason, whatever it raises."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from otel_studio.base.guard import report_internal_error

#: The exporter said so, or raised.
FAILED: Final = "export_failed"
#: The receiver answered that it took the others, and not these.
REJECTED: Final = "rejected"
#: The receiver answered with another address.
REDIRECTED: Final = "redirected"
#: One item alone is more than the receiver takes.
TOO_LARGE: Final = "too_large"
#: OTLP has no form for it: an id or a time out of range.
UNENCODABLE: Final = "unencodable"

#: What is said, each once, when it happens.
_SAID: Final = (REJECTED, REDIRECTED, TOO_LARGE, UNENCODABLE)

#: Threads that do nothing but export: ours, and those of the SDK's processors and readers.
_OWN_THREADS: Final = ("otel-studio-", "OtelBatch", "OtelPeriodic")


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """How many items of a batch arrived, and how many did not, by reason.

    Attributes:
        sent: those that the receiver took.
        lost: the others.
    """

    sent: int = 0
    lost: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __add__(self, other: Delivery) -> Delivery:
        """Return both together."""
        return Delivery(self.sent + other.sent, Counter(self.lost) + Counter(other.lost))


class Ledger:
    """Counts what one exporter was given; exports follow one another.

    Example:
        >>> ledger = Ledger()
        >>> ledger.enter(Delivery(3, {"rejected": 2}))
        >>> ledger.sent, dict(ledger.lost)
        (3, {'rejected': 2})
    """

    def __init__(self) -> None:
        self.sent = 0
        self.lost: Counter[str] = Counter()
        #: Items that are with the exporter now.
        self.in_hand = 0

    def enter(self, delivery: Delivery) -> None:
        """Count what became of a batch."""
        self.sent += delivery.sent
        self.lost.update(delivery.lost)

    @property
    def settled(self) -> int:
        """Items that arrived, or of which it was said why they did not."""
        return self.sent + said(self.lost)


def said(lost: Mapping[str, int]) -> int:
    """Return how many items were lost for reasons that are said when they happen."""
    return sum(lost.get(reason, 0) for reason in _SAID)


class _Here(threading.local):
    is_delivering = False


_here = _Here()


def is_delivering() -> bool:
    """Tell whether the calling thread is inside an exporter that `deliver` called."""
    return _here.is_delivering


def deliver(exporter: Any, batch: Any, count: int, **options: Any) -> Delivery:
    """Give a batch to an exporter, and return what became of it.

    What an exporter raises is reported once, and counts as a failure of the batch. On a thread
    that does nothing but export that holds for a `SystemExit`, too: nobody else is there to take
    it, and the thread goes on. Elsewhere such a one passes, as the caller's own.

    Args:
        exporter: OpenTelemetry's; one of ours tells by `deliver` what became of each item.
        batch: spans, log records or metrics data.
        count: the items in it.
        **options: further arguments of its `export`.
    """
    before, _here.is_delivering = _here.is_delivering, True
    try:
        if hasattr(exporter, "deliver"):
            delivery: Delivery = exporter.deliver(batch, **options)
            return delivery
        result = exporter.export(batch, **options)
    except BaseException as error:
        if not isinstance(error, Exception) and not is_own_thread():
            raise
        report_internal_error(f"exporter {type(exporter).__name__}", error)
        return Delivery(lost={FAILED: count})
    finally:
        _here.is_delivering = before
    is_sent = getattr(result, "name", None) == "SUCCESS"
    return Delivery(sent=count) if is_sent else Delivery(lost={FAILED: count})


def is_own_thread() -> bool:
    """Tell whether the calling thread does nothing but export: the program never runs on it."""
    return threading.current_thread().name.startswith(_OWN_THREADS)

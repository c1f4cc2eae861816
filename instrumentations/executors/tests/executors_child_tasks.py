"""What the pools of the tests run in their child processes."""

from __future__ import annotations

import os
import time
from typing import Any

from opentelemetry import baggage, trace


class OddError(Exception):
    """An exception that keeps more than its arguments."""

    def __init__(self, code: int) -> None:
        super().__init__(f"odd {code}")
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return OddError, (self.code,)


def where() -> tuple[int, int, str | None, int]:
    """Return trace id, span id, baggage and process as the task sees them."""
    context = trace.get_current_span().get_span_context()
    tenant = baggage.get_baggage("tenant")
    return context.trace_id, context.span_id, str(tenant) if tenant else None, os.getpid()


def work(seconds: float) -> float:
    """Take a while."""
    time.sleep(seconds)
    return seconds


def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


def fail(code: int) -> None:
    """Raise an exception with state of its own."""
    error = ValueError(f"code {code}")
    error.code = code  # type: ignore[attr-defined]
    raise error


def fail_oddly(code: int) -> None:
    """Raise an exception that pickles itself in its own way."""
    raise OddError(code)


def die() -> None:
    """Take the whole process down."""
    os._exit(3)


def unpicklable() -> Any:
    """Return what cannot be sent back."""
    return lambda: None

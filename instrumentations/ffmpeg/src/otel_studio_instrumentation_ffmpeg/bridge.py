"""Offers the encode statistics to OTel Studio, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from .jobs import JobBook
from .safety import report_failure


def offer_statistics(book: JobBook) -> Callable[[], None] | None:
    """Let the book's figures appear beside every GPU, in `get_gpu_utilization_metrics`.

    Args:
        book: whose statistics to offer.

    Returns:
        A function that takes them back; `None` where OTel Studio is not installed.
    """
    try:
        studio: Any = importlib.import_module("otel_studio.instrumentation")
    except ImportError:
        return None

    class BookSource:
        """The book, in the words of `EncodeSource`."""

        def encode_statistics(self) -> Any:
            figures = book.statistics()
            return studio.EncodeStatistics(
                encode_fps=figures.encode_fps,
                queue_length=figures.queue_length,
                average_encode_time_ms=figures.average_encode_time_ms,
                failed_encodes=figures.failed_encodes,
                hardware_acceleration_active=figures.hardware_acceleration_active,
                completed_encodes=figures.completed_encodes,
            )

    try:
        remove: Callable[[], None] = studio.register_encode_source(BookSource())
    except Exception as error:
        report_failure("offering encode statistics to OTel Studio", error)
        return None
    return remove

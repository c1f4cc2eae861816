"""Offers the encode statistics to OTel Studio, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

from .jobs import JobBook
from .progress import Progress
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
            more = {}
            if hasattr(studio, "RunningEncode"):  # an older one does not ask for them
                more["running"] = tuple(_running(book, studio.RunningEncode))
            return studio.EncodeStatistics(
                encode_fps=figures.encode_fps,
                queue_length=figures.queue_length,
                average_encode_time_ms=figures.average_encode_time_ms,
                failed_encodes=figures.failed_encodes,
                hardware_acceleration_active=figures.hardware_acceleration_active,
                completed_encodes=figures.completed_encodes,
                **more,
            )

    try:
        remove: Callable[[], None] = studio.register_encode_source(BookSource())
    except Exception as error:
        report_failure("offering encode statistics to OTel Studio", error)
        return None
    return remove


def _running(book: JobBook, make: Callable[..., Any]) -> Iterator[Any]:
    """Yield the encodes that run, by what ffmpeg reports: of several outputs none is told apart."""
    for job in book.running_jobs():
        if job.operation == "encode" and job.pid is not None:
            progress = job.progress if job.has_one_output else Progress()
            kilobits = progress.bitrate_kbps
            yield make(
                pid=job.pid,
                bitrate_mbps=None if kilobits is None else kilobits / 1_000,
                duration_seconds=progress.output_seconds,
            )

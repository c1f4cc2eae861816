"""The thread that folds ended spans into the registry in quiet times."""

from __future__ import annotations

import threading

from otel_studio.guard import report_internal_error
from otel_studio.tracing.buffer import EndedSpans


class FoldTicker:
    """Folds at an interval, so that no span waits long for its exporter.

    Args:
        ended: what is folded.
        interval: seconds between two folds.
    """

    def __init__(self, ended: EndedSpans, interval: float) -> None:
        self._ended = ended
        self._interval = interval
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._work, name="otel-studio-fold", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; returns within a second."""
        self._stop.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(1.0)

    def restart_after_fork(self) -> None:
        """Start again in a forked child, where the parent's thread does not exist."""
        was_running, self._thread = self._thread is not None, None
        if was_running and not self._stop.is_set():
            self._stop = threading.Event()
            self.start()

    def _work(self) -> None:
        stop = self._stop
        while not stop.wait(self._interval):
            try:
                self._ended.fold()
            except Exception as error:
                report_internal_error("folding ended spans", error)

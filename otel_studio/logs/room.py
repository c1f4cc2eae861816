"""The logs of one Studio: what joins, keeps, counts, reports, redacts and sends log records."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otel_studio.base.clock import Clock
from otel_studio.logs.joining import LogJoin
from otel_studio.logs.level_counts import LevelCounts, LogCount, log_counts
from otel_studio.logs.reading import LogsReading
from otel_studio.logs.reporter import RunReporter
from otel_studio.logs.run_reports import RunRules
from otel_studio.logs.runs import RunFinder, RunRecords
from otel_studio.settings.loading import Settings
from otel_studio.spans.buffer import EndedSpans
from otel_studio.spans.redaction import Redactor, SafeRedactor

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.resources import Resource

    from otel_studio.logs.export import LogExport


class StudioLogs:
    """Joins the standard `logging` to the operations of one Studio, between start and stop.

    Args:
        settings: `log_level`, `log_rate`, `log_records_per_run`, `slow_threshold`, `redact_logs`,
            and `logging`: whether ended runs are reported and kept records are wanted.
        clock: tells when what was held back is overdue.
        ended: the buffer of ended spans.
        redactor: knows what is secret.
        provider: the tracer provider whose spans are runs.
        find_foreign: returns the run of a span of another provider, where that one is used.
        slow_thresholds: what operations say themselves, in seconds, by service and name.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        ended: EndedSpans,
        redactor: Redactor,
        provider: Any,
        find_foreign: Callable[[Any], Any | None] | None = None,
        slow_thresholds: Mapping[tuple[str, str], float] | None = None,
    ) -> None:
        self._clock = clock
        self._ended = ended
        self._redactor = redactor
        self._max_export_bytes = settings.max_export_bytes
        wanted = settings.logging
        self._kept = (
            RunRecords(settings.log_records_per_run, settings.max_run_bytes)
            if wanted and settings.log_records_per_run
            else None
        )
        self._reporter = RunReporter(redactor, self._overdue, self._look_after)
        #: What ended runs pass through, behind the registry.
        self.reports = RunRules(
            settings.slow_threshold,
            logging.getLevelNamesMapping().get(settings.log_level.upper()),
            settings.log_rate,
            self._reporter if wanted else None,
            {} if slow_thresholds is None else slow_thresholds,
        )
        self._counts = LevelCounts(self._reporter.wake)
        self._runs = RunFinder(provider, find_foreign)
        self._join = LogJoin(
            self._runs,
            redactor,
            self._kept,
            self._counts,
            redacts_records=settings.redact_logs,
        )
        self._export: LogExport | None = None

    def export_to(self, resource: Resource, exporters: Sequence[Any]) -> None:
        """Send every record to OpenTelemetry exporters too.

        Args:
            resource: who emits the records.
            exporters: OpenTelemetry log record exporters.
        """
        from otel_studio.logs.export import LogExport

        self._export = self._join.export = LogExport(
            resource, exporters, SafeRedactor.like(self._redactor), self._max_export_bytes
        )

    def follow(self, find_foreign: Callable[[Any], Any]) -> None:
        """Join records to the runs of another provider's spans, too.

        Args:
            find_foreign: returns the run of such a span.
        """
        self._runs.follow(find_foreign)

    @property
    def exporters(self) -> list[Any]:
        """What records are sent through; shutting one down cuts `shutdown_export` short."""
        return [] if self._export is None else self._export.exporters

    @property
    def dropped(self) -> Counter[str]:
        """Records that did not arrive, by reason."""
        return Counter() if self._export is None else self._export.dropped

    def unsent_from_now(self) -> Callable[[], int]:
        """Return what tells how many of the records that wait now were not sent."""
        waiting = 0 if self._export is None else self._export.outstanding
        before = self._settled()
        return lambda: max(waiting - (self._settled() - before), 0)

    def _settled(self) -> int:
        return 0 if self._export is None else sum(one.settled for one in self._export.ledgers)

    def register_instruments(self, meter: Meter) -> None:
        """Create the counter of records.

        Args:
            meter: makes it.
        """
        self._counts.register_instruments(meter)

    def start(self) -> None:
        """Begin to join records, and to report."""
        self._join.install()
        self._reporter.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Write the reports that wait, and leave `logging` as it was found.

        What is to be sent still waits: `shutdown_export` sends it.

        Args:
            timeout: seconds until this returns, at most.
        """
        self._ended.fold()
        self._reporter.stop(timeout)
        self._join.uninstall()

    def flush(self, timeout: float = 1.0) -> bool:
        """Write the reports that wait and send every record.

        Args:
            timeout: seconds for what other threads write just now, and for the sending.

        Returns:
            whether everything was sent.
        """
        self._ended.fold()
        self._counts.fold()
        self._reporter.write_waiting()
        self._reporter.wait_for_others(timeout)
        return True if self._export is None else self._export.force_flush(timeout)

    def shutdown_export(self) -> bool:
        """Send what waits and stop sending; takes what the exporters take.

        Returns:
            whether everything was sent.
        """
        return True if self._export is None else self._export.shutdown()

    def before_fork(self) -> None:
        """Nothing is held: every lock is free again in a child."""

    def after_fork_in_parent(self) -> None:
        """Nothing was held."""

    def after_fork_in_child(self) -> None:
        """Go on in a child, from nothing; the thread starts when it is first needed."""
        self._counts.after_fork_in_child()
        self.reports.rates.after_fork_in_child()
        self._reporter.after_fork_in_child()
        if self._export is not None:
            self._export.after_fork_in_child()

    def reading(self) -> LogsReading:
        """Return how many records of each level were made in each operation."""
        self._reporter.keep_working()
        return self._counts.reading()

    def counts(self) -> list[LogCount]:
        """Return how many records of each level were made in each operation, as records."""
        return log_counts(self.reading())

    @property
    def reports_dropped(self) -> int:
        """Records about ended runs that were never written, for want of room."""
        return self._reporter.dropped

    def _overdue(self) -> list[Any]:
        return self.reports.rates.overdue(self._clock.monotonic_ns())

    def _look_after(self) -> None:
        self._counts.fold()

"""Studio: builds, owns and shuts down everything; the only place that knows all rooms."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_studio.assembly import from_settings
from otel_studio.assembly.bounded_shutdown import end_within
from otel_studio.assembly.closing_note import closing_note
from otel_studio.assembly.figure_rooms import FigureRooms
from otel_studio.assembly.metric_pipeline import MetricPipeline
from otel_studio.assembly.span_pipeline import SpanPipeline
from otel_studio.base import forking, guard, otel_private
from otel_studio.base.clock import Clock, SystemClock
from otel_studio.base.resources import safe_resource
from otel_studio.logs.span_redaction import SpanRedactor
from otel_studio.operations import seat
from otel_studio.registry.registry import Registry
from otel_studio.registry.selection import IgnoredOperations
from otel_studio.settings.loading import Settings
from otel_studio.spans.pipeline import Pipeline
from otel_studio.spans.redaction import Redactor, SafeRedactor

if TYPE_CHECKING:
    from otel_studio.caches.registry import CacheRegistry
    from otel_studio.exporters.prometheus import PrometheusExporter
    from otel_studio.gpu.monitor import GpuMonitor
    from otel_studio.logs.level_counts import LogCount
    from otel_studio.logs.room import StudioLogs
    from otel_studio.process.monitor import ProcessMonitor
    from otel_studio.spans.export import ExportQueue


class Studio:
    """One pipeline from operations to exporters, with a registry of its own.

    `otel_studio.configure()` makes the process's default one; tests make others.

    Args:
        settings: every setting, resolved.
        clock: wall and monotonic time.
        id_generator: makes trace and span ids; random by default.
        attach: use the providers that are set globally already, where they are the SDK's.
        metric_readers: further readers of all metrics.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        id_generator: IdGenerator | None = None,
        attach: bool = False,
        metric_readers: Sequence[Any] = (),
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.resource = from_settings.resource_of(settings)
        self._stopped = False
        self._instance = ""
        self._instance_process = 0
        self._spans = SpanPipeline(
            settings,
            self.clock,
            self.resource,
            self._own_instance,
            id_generator=id_generator,
            existing=otel_private.global_tracer_provider() if attach else None,
        )
        self._ended = self._spans.ended
        #: What operations say of themselves: thresholds, labels.
        self.declared = seat.Declared()
        selection = IgnoredOperations(settings.ignored_operations)
        self.registry = Registry(
            self._ended,
            self.clock,
            from_settings.registry_limits(settings),
            lambda service, operation: self.declared.labels.get((service, operation), ()),
            selection.leaves_out,
        )
        queues = self._spans.made_queues()
        self._metrics = MetricPipeline(
            settings,
            self.registry,
            self.clock,
            lambda: self.resource,
            self._own_instance,
            existing=otel_private.global_meter_provider() if attach else None,
            readers=metric_readers,
        )
        self.meter = self._metrics.meter
        if self.owns_tracer_provider:
            self.tracer_provider.meter_provider = self.meter_provider
        self._report_itself()
        redactor = Redactor(settings.redact_keys, settings.redact_patterns)
        #: Where it sits, once it does.
        self.seat: seat.Seat | None = None
        self._rooms = FigureRooms(
            settings,
            self.clock,
            self.registry,
            self.meter,
            redactor,
            lambda: self.seat or seat.current(),
        )
        self._logs: StudioLogs | None = None
        self._build_logs(redactor)
        span_redactor = SpanRedactor(SafeRedactor.like(redactor))
        reports = None if self.logs is None else self.logs.reports
        self._spans.connect(Pipeline(span_redactor, selection, self.registry, reports, queues))
        if self.owns_tracer_provider:
            self.tracer_provider.redact = span_redactor.redact
            if settings.sample_allocations:
                self.tracer_provider.run_watcher = self.process.operation_allocations
        forking.watch(self)

    def __repr__(self) -> str:
        if self.settings.sdk_disabled:
            state = "disabled"
        else:
            state = "stopped" if self._stopped else "running"
        sent = {
            "traces": self.settings.traces_exporter,
            "metrics": self.settings.metrics_exporter,
            "logs": self.settings.logs_exporter,
        }
        words = [f"{signal} to {', '.join(names)}" for signal, names in sent.items() if names]
        return f"<{'; '.join([f'Studio {self.settings.service_name!r} {state}', *words])}>"

    def _report_itself(self) -> None:
        from otel_studio.metrics import self_report

        self_report.register(
            self._metrics.meter,
            self._metrics.read_registry,
            lambda: self_report.total(queue.dropped for queue in self.export_queues),
            lambda: {} if self.logs is None else self.logs.dropped,
            lambda: self._metrics.dropped,
        )

    def _build_logs(self, redactor: Redactor) -> None:
        settings = self.settings
        if settings.sdk_disabled or not (settings.logging or settings.logs_exporter):
            return
        from otel_studio.logs.room import StudioLogs

        foreign = self._spans.processor
        logs = self._logs = StudioLogs(
            settings,
            self.clock,
            self._ended,
            redactor,
            self.tracer_provider,
            None if foreign is None else foreign.find,
            self.declared.slow_thresholds,
        )
        exporters = from_settings.made("logs exporter", settings.logs_exporter, self._log_exporter)
        if exporters:
            logs.export_to(self.resource, [exporter for exporter, _ in exporters])
        logs.register_instruments(self.meter)
        self._rooms.add(logs)

    def _log_exporter(self, name: str) -> Any:
        from otel_studio.exporters.counted import CountedLogExporter

        return CountedLogExporter(from_settings.log_exporter(self.settings, name))

    # Its parts

    @property
    def tracer_provider(self) -> Any:
        """Makes the tracers: ours, or the one that was attached to."""
        return self._spans.provider

    @property
    def owns_tracer_provider(self) -> bool:
        """Whether the tracer provider is ours."""
        return self._spans.owns_provider

    @property
    def export_queues(self) -> list[ExportQueue]:
        """Send the sampled spans, one queue for each exporter."""
        return self._spans.queues

    def add_span_exporter(self, exporter: Any) -> ExportQueue:
        """Send sampled spans to one more exporter, through a queue of its own.

        Args:
            exporter: any OpenTelemetry span exporter.
        """
        return self._spans.add_exporter(exporter)

    @property
    def meter_provider(self) -> Any:
        """Makes the meters: ours, or the one that was attached to."""
        return self._metrics.provider

    @property
    def owns_meter_provider(self) -> bool:
        """Whether the meter provider is ours."""
        return self._metrics.owns_provider

    @property
    def prometheus(self) -> PrometheusExporter | None:
        """The reader behind `/metrics`, once there is one."""
        return self._metrics.prometheus

    @property
    def caches(self) -> CacheRegistry:
        """The caches' statistics."""
        return self._rooms.caches

    def use_caches(self, caches: CacheRegistry) -> None:
        """Report these caches."""
        self._rooms.use_caches(caches)

    @property
    def process(self) -> ProcessMonitor:
        """The figures of the process: memory, processor, garbage collector, memory by service."""
        return self._rooms.process

    @property
    def gpu(self) -> GpuMonitor:
        """The GPUs of the machine."""
        return self._rooms.gpu

    @property
    def logs(self) -> StudioLogs | None:
        """The logs, where the settings `logging` or `logs_exporter` join them."""
        return self._logs

    def log_counts(self) -> list[LogCount]:
        """Return how many log records of each level were made in each operation."""
        return [] if self.logs is None else self.logs.counts()

    # As the occupant of a seat

    def declare_service(self, name: str) -> None:
        """Know a service from now on, also if it never runs anything."""
        self.registry.declare(name)

    def track_memory(self, probe: Any) -> None:
        """Sample a probe of memory from now on."""
        probe.track(self.process.memory)

    # Use

    def prometheus_text(self) -> str:
        """Return every metric in Prometheus' text format, as `/metrics` answers it.

        Raises:
            ImportError: if the extra `prometheus` is not installed.
        """
        return self._metrics.text()

    def start(self) -> None:
        """Start the threads: one that folds, and those of the rooms that the settings name."""
        if self.settings.sdk_disabled:
            return
        worker = self._ended.worker
        worker.interval = self.settings.fold_interval
        worker.start()
        self._rooms.start()

    def force_flush(self, timeout: float = 5.0) -> bool:
        """Fold and send everything that has ended.

        Args:
            timeout: seconds until this returns, at most.

        Returns:
            whether everything was sent in time.
        """
        self._ended.fold()
        deadline = time.monotonic() + timeout
        # Side by side: a backend that is down costs the others none of their time.
        tasks: dict[str, Any] = {
            "traces": lambda: self._spans.flush(deadline),
            "metrics": lambda: self._metrics.flush(timeout),
        }
        if self.logs is not None:
            logs = self.logs
            tasks["logs"] = lambda: logs.flush(timeout)
        return end_within(timeout, tasks, [])

    @property
    def has_exporters(self) -> bool:
        """Whether anything of ours sends anything."""
        logs = () if self.logs is None else self.logs.exporters
        return bool(self._spans.exporters or self._metrics.exporters or logs)

    def shutdown(self, timeout: float | None = None, *, at_exit: bool = False) -> bool:
        """Send what is left and stop everything of ours.

        Args:
            timeout: seconds until this returns, at most; by default the setting
                `shutdown_timeout`. A dead Collector takes no longer.
            at_exit: whether the process ends. Providers of the program's own, which may end after
                us, then keep what we added to them, and send its last interval themselves.

        Returns:
            whether everything was sent in time.
        """
        if self._stopped:
            return True
        self._stopped = True
        forking.forget(self)
        limit = self.settings.shutdown_timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        self._ended.worker.stop(1.0)
        self._rooms.stop(min(limit / 5, 1.0))
        self._ended.fold()

        # What stopping the threads has taken is no longer there for sending; and where no thread
        # can be started any more, the tasks follow one another.
        def left() -> float:
            return max(deadline - time.monotonic(), 0.1)

        tasks = {**self._spans.endings(left), **self._metrics.endings(left, at_exit=at_exit)}
        exporters = [*self._spans.exporters, *self._metrics.exporters]
        if self.logs is not None:
            tasks["logs"] = self.logs.shutdown_export
            exporters += self.logs.exporters
        counters = {("span", "spans"): self._spans.unsent_from_now()}
        if self.logs is not None:
            counters["log record", "log records"] = self.logs.unsent_from_now()
        counters["metric point", "metric points"] = self._metrics.unsent_from_now()
        with closing_note(counters):
            done = end_within(left(), tasks, exporters)
        if not at_exit:
            self._spans.detach()
            self._metrics.detach()
        return done

    # Providers that the program sets after ours

    def join_tracer_provider(self, provider: Any) -> None:
        """Give way to a TracerProvider of the program's own, and count what it makes.

        Args:
            provider: set globally in the place of ours.
        """
        kind = type(provider).__name__
        if not hasattr(provider, "add_span_processor"):
            guard.say(
                "a %s was set as TracerProvider after otel_studio.configure(): it takes no span "
                "processors, so OTel Studio stands back and does not count its spans; operations "
                "stay with OTel Studio",
                kind,
            )
            return
        processor = self._spans.join(provider)
        if self.logs is not None:
            self.logs.follow(processor.find)
        if self.seat is not None:
            self.seat.provider = provider
        seat.unbind_all()
        self._say_joined("TracerProvider", kind)

    def join_meter_provider(self, provider: Any) -> None:
        """Give way to a MeterProvider of the program's own, whose readers get our metrics, too.

        Args:
            provider: set globally in the place of ours.
        """
        kind = type(provider).__name__
        if not self._metrics.join(provider):
            guard.say(
                "a %s was set as MeterProvider after otel_studio.configure(): it is not the SDK's, "
                "so OTel Studio stands back, and its readers do not get OTel Studio's metrics",
                kind,
            )
            return
        self._say_joined("MeterProvider", kind)

    def _say_joined(self, what: str, kind: str) -> None:
        guard.logger.info(
            "a %s (%s) was set after otel_studio.configure(): it takes the place of OTel Studio's, "
            "which has joined it and records by it from now on",
            what,
            kind,
        )

    # Fork

    def before_fork(self) -> None:
        """Let what must not be cut in two end."""
        self._metrics.before_fork()
        self._rooms.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._metrics.after_fork_in_parent()
        self._rooms.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Start from zero, with an identity of the child's own."""
        self._spans.after_fork_in_child()
        if self.owns_tracer_provider:
            self.tracer_provider._update_resource(self._own_instance())
            self.resource = self.tracer_provider.resource
        self.registry.after_fork_in_child()
        if self.owns_meter_provider:
            self.resource = self.resource.merge(self._own_instance())
        self._metrics.after_fork_in_child()
        self._rooms.after_fork_in_child()

    def _own_instance(self) -> Resource:
        """Return the identity of this process: the one that the user chose, or one of its own."""
        key = "service.instance.id"
        chosen = self.settings.resource_attributes.get(key)
        if chosen is None and self._instance_process != os.getpid():
            self._instance_process, self._instance = os.getpid(), str(uuid.uuid4())
        own = Resource({key: chosen if chosen is not None else self._instance})
        return safe_resource(own)

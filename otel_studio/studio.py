"""Studio: builds, owns and shuts down everything; the only place that knows all rooms."""

from __future__ import annotations

import atexit
import os
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Unpack

from opentelemetry import trace as trace_api
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from otel_studio import (
    guard,
    operations,
    otel_private,
    otel_sdk_private,
    ports,
    services,
    wrapping,
)
from otel_studio.caches import handle as cache_handles
from otel_studio.clock import Clock, SystemClock
from otel_studio.config import Settings, SettingsKeywords, load_settings
from otel_studio.registry.processor import RegistrySpanProcessor
from otel_studio.registry.registry import Limits, Registry
from otel_studio.registry.statistics import Bounds
from otel_studio.registry.ticker import FoldTicker
from otel_studio.tracing.buffer import EndedSpans, Timebase
from otel_studio.tracing.provider import StudioTracerProvider
from otel_studio.tracing.sampling import RecordAll, RecordingEverything, build_sampler
from otel_studio.tracing.tracer import StudioTracer
from otel_studio.version import __version__

if TYPE_CHECKING:
    from otel_studio.caches.registry import CacheRegistry
    from otel_studio.exporters.prometheus import PrometheusExporter
    from otel_studio.logs.level_counts import LogCount
    from otel_studio.logs.room import StudioLogs
    from otel_studio.metrics.producer import MetricProducer
    from otel_studio.resources.gpu import GpuMonitor
    from otel_studio.resources.monitor import ResourceMonitor
    from otel_studio.tracing.export import ExportQueue


class NotConfigured(RuntimeError):
    """A query before `configure()`, or after `shutdown()`."""


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
        self.resource = _resource(settings)
        self.export_queues: list[ExportQueue] = []
        self._metric_exporters: list[Any] = []
        #: Export queues and periodic readers, with the names that their exporters were made by.
        self._renewals: list[tuple[Any, str]] = []
        #: Exporters of the parent process: letting them go could close what is still in use there.
        self._inherited: list[Any] = []
        self.prometheus: PrometheusExporter | None = None
        self._producer: MetricProducer | None = None
        self._span_processor: RegistrySpanProcessor | None = None
        self._recording: RecordingEverything | None = None
        self._stopped = False
        self._instance = ""
        self._instance_process = 0
        self._caches: CacheRegistry | None = None
        self._resources: ResourceMonitor | None = None
        self._gpu: GpuMonitor | None = None
        self._logs: StudioLogs | None = None
        self._build_tracing(id_generator, attach)
        self.registry = Registry(self._ended, self.clock, _limits(settings))
        self._connect_registry()
        self._build_span_exporters()
        self._build_metrics(attach, metric_readers)
        self._build_logs()
        if settings.sample_allocations and self.owns_tracer_provider:
            self.tracer_provider.run_watcher = self.resources.operation_allocations
        self._ticker = FoldTicker(self._ended, settings.fold_interval)
        _live.add(self)
        _register_for_forks()

    # Building

    def _build_tracing(self, id_generator: IdGenerator | None, attach: bool) -> None:
        settings = self.settings
        existing = otel_private.global_tracer_provider() if attach else None
        if (
            existing is not None
            and hasattr(existing, "add_span_processor")
            and not isinstance(existing, StudioTracerProvider)
        ):
            self.owns_tracer_provider = False
            self.tracer_provider: Any = existing
            self._ended = EndedSpans(settings.registry_backlog, Timebase(self.clock))
            return
        self.owns_tracer_provider = True
        sampler = settings.sampler
        if not isinstance(sampler, Sampler):
            sampler = build_sampler(sampler, settings.sampler_arg)
        provider = StudioTracerProvider(
            sampler=RecordAll(sampler),
            resource=self.resource,
            shutdown_on_exit=False,
            id_generator=id_generator,
            clock=self.clock,
            backlog=settings.registry_backlog,
        )
        provider.identity = self._own_instance
        self.tracer_provider = provider
        self._ended = provider.ended

    def _connect_registry(self) -> None:
        provider = self.tracer_provider
        if self.owns_tracer_provider:
            self.registry.active_sources.append(provider.active_spans)
            return
        self._span_processor = RegistrySpanProcessor(self.registry, self._ended, self.clock)
        provider.add_span_processor(self._span_processor)
        # Without this the registry would see only what is sampled.
        self._recording = RecordingEverything(provider)

    def _build_span_exporters(self) -> None:
        settings = self.settings
        if not self.owns_tracer_provider or settings.sdk_disabled:
            return  # its owner decides what leaves the process
        for name in settings.traces_exporter:
            exporter = _made("traces exporter", name, lambda n=name: self._span_exporter(n))
            if exporter is not None:
                self._renewals.append((self.add_span_exporter(exporter), name))

    def _span_exporter(self, name: str) -> Any:
        if name == "otlp":
            from otel_studio.exporters.otlp import build_span_exporter

            return build_span_exporter(self.settings.otlp_traces_protocol)
        if name == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            return ConsoleSpanExporter()
        return _entry_point("opentelemetry_traces_exporter", name)()

    def add_span_exporter(self, exporter: Any) -> ExportQueue:
        """Send sampled spans to one more exporter, through a queue of its own.

        Args:
            exporter: any OpenTelemetry span exporter.
        """
        from otel_studio.tracing.export import ExportQueue

        queue = ExportQueue(
            exporter,
            limit=self.settings.export_queue_size,
            batch_size=self.settings.export_batch_size,
            interval=self.settings.export_interval,
        )
        self.export_queues.append(queue)
        self._ended.add_consumer(queue)
        return queue

    def _build_metrics(self, attach: bool, further_readers: Sequence[Any]) -> None:
        from opentelemetry.sdk.metrics import MeterProvider

        from otel_studio.metrics import self_report
        from otel_studio.metrics.producer import MetricProducer
        from otel_studio.metrics.provider import StudioMeterProvider

        existing = otel_private.global_meter_provider() if attach else None
        self._producer = MetricProducer(
            self.registry,
            self.clock,
            self.settings.histogram_bounds,
            lambda: self.resource,
            __version__,
        )
        readers: list[Any] = list(further_readers)
        if isinstance(existing, MeterProvider) and not isinstance(existing, StudioMeterProvider):
            self.owns_meter_provider = False
            self.meter_provider: Any = existing
            readers += otel_sdk_private.metric_readers(existing)
        else:
            self.owns_meter_provider = True
            for name in () if self.settings.sdk_disabled else self.settings.metrics_exporter:
                reader = _made("metrics exporter", name, lambda n=name: self._metric_reader(n))
                if reader is not None:
                    readers.append(reader)
            self.meter_provider = StudioMeterProvider(
                self._own_instance,
                metric_readers=readers,
                resource=self.resource,
                shutdown_on_exit=False,
            )
        for reader in readers:
            # Prometheus' own endpoint writes the registry's metrics itself.
            if self.prometheus is None or reader is not self.prometheus.reader:
                self._producer.attach(reader)
        self.meter = self.meter_provider.get_meter("otel_studio", __version__)
        self_report.register(
            self.meter,
            self.registry,
            lambda: self_report.total(queue.dropped for queue in self.export_queues),
        )

    def _build_logs(self) -> None:
        from otel_studio.logs.span_redaction import SpanRedactor
        from otel_studio.redaction import Redactor

        settings = self.settings
        redactor = self._redactor = Redactor(settings.redact_keys, settings.redact_patterns)
        if (settings.logging or settings.logs_exporter) and not settings.sdk_disabled:
            from otel_studio.logs.room import StudioLogs

            foreign = self._span_processor
            logs = self._logs = StudioLogs(
                settings,
                self.clock,
                self._ended,
                redactor,
                self.tracer_provider,
                None if foreign is None else foreign.find,
            )
            exporters = [
                exporter
                for name in settings.logs_exporter
                if (exporter := _made("logs exporter", name, lambda n=name: self._log_exporter(n)))
            ]
            if exporters:
                logs.export_to(self.resource, exporters)
            logs.register_instruments(self.meter)
        if redactor.is_idle:
            return
        # First among the consumers: registry, logs and queues see only what it leaves.
        span_redactor = SpanRedactor(redactor)
        self._ended.consumers = (span_redactor, *self._ended.consumers)
        if self.owns_tracer_provider:
            self.tracer_provider.redact = span_redactor.redact

    def _log_exporter(self, name: str) -> Any:
        if name == "otlp":
            from otel_studio.exporters.otlp import build_log_exporter

            return build_log_exporter(self.settings.otlp_logs_protocol)
        if name == "console":
            from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter

            return ConsoleLogRecordExporter()
        return _entry_point("opentelemetry_logs_exporter", name)()

    def _new_prometheus(self) -> PrometheusExporter:
        from otel_studio.exporters.prometheus import PrometheusExporter
        from otel_studio.exporters.prometheus_text import RegistryText

        return PrometheusExporter(
            RegistryText(self.registry, self.settings.histogram_bounds, __version__)
        )

    def _metric_reader(self, name: str) -> Any:
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        settings = self.settings
        if name == "prometheus":
            self.prometheus = self._new_prometheus()
            self.prometheus.serve(settings.prometheus_host, settings.prometheus_port)
            return self.prometheus.reader
        exporter = self._metric_exporter(name)
        self._metric_exporters.append(exporter)
        reader = PeriodicExportingMetricReader(
            exporter, export_interval_millis=settings.metric_export_interval * 1000
        )
        self._renewals.append((reader, name))
        return reader

    def _metric_exporter(self, name: str) -> Any:
        if name == "otlp":
            from otel_studio.exporters.otlp import build_metric_exporter

            return build_metric_exporter(self.settings.otlp_metrics_protocol)
        if name == "console":
            from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

            return ConsoleMetricExporter()
        return _entry_point("opentelemetry_metrics_exporter", name)()

    # Rooms that are built when they are first used

    @property
    def caches(self) -> CacheRegistry:
        """The caches' statistics."""
        if self._caches is None:
            from otel_studio.caches.registry import CacheRegistry

            self.use_caches(CacheRegistry(self.clock, **_cache_settings(self.settings)))
        assert self._caches is not None
        return self._caches

    def use_caches(self, caches: CacheRegistry) -> None:
        """Report these caches."""
        self._caches = caches
        caches.redact_keys(None if self._redactor.is_idle else self._redactor.text)
        caches.register_instruments(self.meter)

    @property
    def resources(self) -> ResourceMonitor:
        """The figures of the process: memory, processor, garbage collector, memory by service."""
        if self._resources is None:
            from otel_studio.resources.monitor import ResourceMonitor

            self._resources = ResourceMonitor(
                self.clock,
                sample_operations=self.settings.sample_allocations,
                service_names=lambda: list(self.registry.services),
            )
            self._resources.register_instruments(self.meter)
        return self._resources

    @property
    def gpu(self) -> GpuMonitor:
        """The GPUs of the machine."""
        if self._gpu is None:
            from otel_studio.resources.gpu import GpuMonitor

            self._gpu = GpuMonitor(self.clock)
            self._gpu.register_instruments(self.meter)
        return self._gpu

    @property
    def logs(self) -> StudioLogs | None:
        """The logs, where the settings `logging` or `logs_exporter` join them."""
        return self._logs

    def log_counts(self) -> list[LogCount]:
        """Return how many log records of each level were made in each operation."""
        return [] if self._logs is None else self._logs.counts()

    # Use

    def prometheus_text(self) -> str:
        """Return every metric in Prometheus' text format, as `/metrics` answers it.

        Raises:
            ImportError: if the extra `prometheus` is not installed.
        """
        if self.prometheus is None:
            self.prometheus = self._new_prometheus()
            self.meter_provider.add_metric_reader(self.prometheus.reader)
        return self.prometheus.text()

    def start(self) -> None:
        """Start the threads: one that folds, and those of the rooms that the settings name."""
        if self.settings.sdk_disabled:
            return
        self._ticker.start()
        if self._caches is not None:
            self._caches.start()
        if self._logs is not None:
            self._logs.start()
        if self.settings.resources:
            self.resources.start()
        if self.settings.gpu:
            self.gpu.start()

    def force_flush(self, timeout: float = 5.0) -> bool:
        """Fold and send everything that has ended.

        Args:
            timeout: seconds until this returns, at most.

        Returns:
            whether everything was sent in time.
        """
        from otel_studio.exporters.shutdown import end_within

        self._ended.fold()
        deadline = time.monotonic() + timeout
        done = True
        tasks: dict[str, Any] = {}
        if self.owns_meter_provider:
            tasks["metrics"] = lambda: self.meter_provider.force_flush(timeout * 1000)
        if self._logs is not None:
            logs = self._logs
            tasks["logs"] = lambda: logs.flush(timeout)
        done = end_within(timeout, tasks, []) if tasks else True
        for queue in self.export_queues:
            left = max(deadline - time.monotonic(), 0)
            done = queue.force_flush(left * 1000) and done
        return done

    def shutdown(self, timeout: float | None = None) -> bool:
        """Send what is left and stop everything of ours.

        Args:
            timeout: seconds until this returns, at most; by default the setting
                `shutdown_timeout`. A dead Collector takes no longer.

        Returns:
            whether everything was sent in time.
        """
        if self._stopped:
            return True
        self._stopped = True
        _live.discard(self)
        limit = self.settings.shutdown_timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        from otel_studio.exporters.shutdown import end_within

        self._ticker.stop()
        for room in (self._logs, self._caches, self._resources, self._gpu):
            if room is not None:
                room.stop(min(limit / 5, 1.0))
        self._ended.fold()

        # What stopping the threads has taken is no longer there for sending; and where no thread
        # can be started any more, the tasks follow one another.
        def left() -> float:
            return max(deadline - time.monotonic(), 0.1)

        tasks: dict[str, Any] = {
            f"export queue {number}": lambda q=queue: q.shutdown(left())
            for number, queue in enumerate(self.export_queues)
        }
        exporters = [queue.exporter for queue in self.export_queues]
        if self.owns_meter_provider:
            tasks["metrics"] = lambda: self.meter_provider.shutdown(left() * 1000)
            exporters += self._metric_exporters
        if self._logs is not None:
            tasks["logs"] = self._logs.shutdown_export
            exporters += self._logs.exporters
        if self.prometheus is not None:
            tasks["metrics endpoint"] = self.prometheus.close
        done = end_within(left(), tasks, exporters)
        if self._span_processor is not None:
            self._span_processor.shutdown()
            otel_sdk_private.remove_span_processor(self.tracer_provider, self._span_processor)
        if self._recording is not None:
            self._recording.undo()
        if self._producer is not None and not self.owns_meter_provider:
            self._producer.detach()
        if self.prometheus is not None and not self.owns_meter_provider:
            self.meter_provider.remove_metric_reader(self.prometheus.reader)
        return done

    # Fork

    def before_fork(self) -> None:
        """Let a collection in progress end, so that the child does not inherit its lock."""
        if self._producer is not None:
            self._producer.hold()
        if self.prometheus is not None:
            self.prometheus.hold()
        if self._gpu is not None:
            self._gpu.hold_for_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._producer is not None:
            self._producer.release()
        if self.prometheus is not None:
            self.prometheus.release()
        if self._gpu is not None:
            self._gpu.release_after_fork()

    def after_fork_in_child(self) -> None:
        """Start from zero, with live threads and an identity of the child's own."""
        if self._producer is not None:
            self._producer.release()
        if self.owns_tracer_provider:
            self.tracer_provider.forget_after_fork()
            self.tracer_provider._update_resource(self._own_instance())
            self.resource = self.tracer_provider.resource
        else:
            self._ended.forget_after_fork()
            if self._span_processor is not None:
                self._span_processor.forget_after_fork()
        self.registry.forget_after_fork()
        if self.owns_meter_provider:
            self.resource = self.resource.merge(self._own_instance())
            otel_sdk_private.start_measuring_anew(self.meter_provider, self.resource)
        for queue in self.export_queues:
            queue.forget_after_fork()
        self._renew_exporters()
        if self.prometheus is not None:
            self.prometheus.forget_after_fork()
        if self._producer is not None:
            self._producer.renew_after_fork()
        for room in (self._logs, self._caches, self._resources, self._gpu):
            if room is not None:
                room.restart_after_fork()
        self._ticker.restart_after_fork()

    def _own_instance(self) -> Resource:
        """Return the identity of this process: the one that the user chose, or one of its own."""
        key = "service.instance.id"
        chosen = self.settings.resource_attributes.get(key)
        if chosen is None and self._instance_process != os.getpid():
            self._instance_process, self._instance = os.getpid(), str(uuid.uuid4())
        return Resource({key: chosen if chosen is not None else self._instance})

    def _renew_exporters(self) -> None:
        """Make exporters anew in a forked child: their connections are the parent's too."""
        self._inherited += [queue.exporter for queue in self.export_queues]
        self._inherited += self._metric_exporters
        self._metric_exporters = []
        for user, name in self._renewals:
            if user in self.export_queues:
                user.exporter = (
                    _made("traces exporter", name, lambda n=name: self._span_exporter(n))
                    or user.exporter
                )
                continue
            exporter = _made("metrics exporter", name, lambda n=name: self._metric_exporter(n))
            if exporter is not None:
                self._metric_exporters.append(exporter)
                otel_sdk_private.give_reader_exporter(user, exporter)


def _resource(settings: Settings) -> Resource:
    return Resource.create({**settings.resource_attributes, "service.name": settings.service_name})


def _limits(settings: Settings) -> Limits:
    return Limits(
        operations_per_service=settings.max_operations_per_service,
        services=settings.max_services,
        error_groups=settings.error_groups_per_service,
        trace_ids=settings.trace_ids_per_error_group,
        bounds=Bounds(
            buckets_ns=tuple(round(bound * 1e9) for bound in settings.histogram_bounds),
            recent_runs=settings.recent_runs_per_operation,
            slow_samples=settings.slow_samples_per_operation,
        ),
    )


def _cache_settings(settings: Settings) -> dict[str, Any]:
    return {
        "cache_keys": settings.cache_keys,
        "max_caches": settings.max_caches,
        "cache_poll_interval": settings.cache_poll_interval,
    }


def _made(what: str, name: str, make: Any) -> Any:
    """Make a part that was asked for by name; one that cannot be made is said and left out."""
    try:
        return make()
    except Exception as error:
        guard.warn_once(
            "configuration", f"{what} {name}", "the %s %r is left out: %s", what, name, error
        )
        return None


def _entry_point(group: str, name: str) -> Any:
    from importlib.metadata import entry_points

    for entry in entry_points(group=group, name=name):
        return entry.load()
    raise LookupError(f"no installed package offers {name!r} under {group}")


# The default Studio


_live: weakref.WeakSet[Studio] = weakref.WeakSet()
_lock = threading.RLock()
_default: Studio | None = None
_override: list[Studio] = []
#: Tracers of isolated Studios that have ended: the next provider takes them over.
_orphans: weakref.WeakSet[StudioTracer] = weakref.WeakSet()


def configure(**keywords: Unpack[SettingsKeywords]) -> Studio:
    """Start OTel Studio in this process; nothing leaves it unless an exporter is asked for.

    A second call with the same settings does nothing; with others it says what differs and
    changes nothing. Where OpenTelemetry providers are set already (by the program or by
    `opentelemetry-instrument`), it attaches to them.

    Args:
        **keywords: settings by name; what is not given comes from the environment
            (`OTEL_*`, `OTEL_STUDIO_*`), `[tool.otel_studio]` in pyproject.toml, or the default.

    Returns:
        the Studio, whose parts (registry, providers) can be used directly.

    Raises:
        ConfigurationError: for a keyword that is no setting, or a value it cannot take.

    Example:
        >>> import otel_studio
        >>> _ = otel_studio.configure(service_name="media-backend")
    """
    global _default
    settings = load_settings(**keywords)
    with _lock:
        if _default is not None:
            differing = _default.settings.differences(settings)
            if differing:
                guard.logger.warning(
                    "otel_studio.configure() was called again with other settings, and the first "
                    "ones stay: %s. Call otel_studio.shutdown() first to change them.",
                    "; ".join(differing),
                )
            return _default
        studio = Studio(settings, attach=not settings.sdk_disabled)
        caches = cache_handles.process_registry()
        caches.adopt(**_cache_settings(settings))
        studio.use_caches(caches)
        if not _override:  # else at the end of the isolated block
            _install(studio)
        _default = studio
        studio.start()
        _register_for_exit()
    if settings.instrument and not settings.sdk_disabled:
        from otel_studio import autotrack

        autotrack.install(settings.instrument)
    return studio


def _install(studio: Studio) -> None:
    """Make a Studio's providers the ones that operations and OpenTelemetry's API use."""
    if studio.settings.sdk_disabled:
        ports.use_tracer_provider(trace_api.NoOpTracerProvider())
        return
    if studio.owns_tracer_provider:
        before = otel_private.global_tracer_provider()
        for tracers in (getattr(before, "made_tracers", ()), _orphans):
            _hand_tracers(tracers, studio.tracer_provider)
        otel_private.replace_global_tracer_provider(studio.tracer_provider, for_good=True)
    if studio.owns_meter_provider:
        otel_private.replace_global_meter_provider(studio.meter_provider, for_good=True)
    ports.use_tracer_provider(studio.tracer_provider)
    wrapping.keep_argument_characters(studio.settings.captured_argument_length)
    with studio.registry.reading():
        for name in operations.declared_services():
            studio.registry.service(name)
    for probe in operations.memory_probes:
        probe.track(studio.resources.memory)


def _declare_service(name: str) -> None:
    studio = _override[-1] if _override else _default
    if studio is not None and name not in studio.registry.services:
        with studio.registry.reading():
            studio.registry.service(name)


def _track_memory(probe: operations.MemoryProbe) -> None:
    studio = _override[-1] if _override else _default
    if studio is not None:
        probe.track(studio.resources.memory)


operations.service_listeners.append(_declare_service)
operations.memory_listeners.append(_track_memory)


def shutdown(timeout: float | None = None) -> bool:
    """Flush and stop; at most 5 seconds, with every backend down.

    Args:
        timeout: seconds until this returns; by default the setting `shutdown_timeout`.

    Returns:
        whether everything was sent in time. Without a `configure()` before it: `True`.
    """
    global _default
    with _lock:
        studio, _default = _default, None
    if studio is None:
        return True
    if studio.settings.instrument:
        from otel_studio import autotrack

        autotrack.uninstall()
    done = studio.shutdown(timeout)
    ports.use_tracer_provider(None)
    return done


def current() -> Studio:
    """Return the Studio that queries read: the innermost isolated one, else the default.

    Raises:
        NotConfigured: if there is none.
    """
    studio = _override[-1] if _override else _default
    if studio is None:
        raise NotConfigured(
            "OTel Studio is not running: "
            "call otel_studio.configure() once at the start of the program"
        )
    return studio


@contextmanager
def overriding(studio: Studio) -> Iterator[Studio]:
    """Make a Studio the current one inside the block, for operations, queries and OpenTelemetry."""
    tracers, meters = otel_private.global_tracer_provider(), otel_private.global_meter_provider()
    before, default = ports.tracer_provider_in_use(), _default
    _override.append(studio)
    _hand_tracers(_orphans, studio.tracer_provider)
    caches = cache_handles.use_registry(studio.caches)
    otel_private.replace_global_tracer_provider(studio.tracer_provider)
    otel_private.replace_global_meter_provider(studio.meter_provider)
    ports.use_tracer_provider(studio.tracer_provider)
    characters = wrapping.keep_argument_characters(studio.settings.captured_argument_length)
    try:
        yield studio
    finally:
        _override.remove(studio)
        cache_handles.use_registry(caches)
        otel_private.replace_global_tracer_provider(tracers)
        otel_private.replace_global_meter_provider(meters)
        ports.use_tracer_provider(before)
        wrapping.keep_argument_characters(characters)
        _hand_tracers(getattr(studio.tracer_provider, "made_tracers", ()), tracers)
        if _default is not None and _default is not default and not _override:
            _install(_default)  # configured inside the block
        studio.shutdown()


def _hand_tracers(tracers: Iterable[StudioTracer], provider: Any) -> None:
    """Let tracers belong to a provider; where it is none of ours, to the next that is."""
    if isinstance(provider, StudioTracerProvider):
        provider.adopt(tracers)
    else:
        _orphans.update(tracers)


# The interpreter's exit, and fork


_exits = False
_forks = False


def _register_for_exit() -> None:
    global _exits
    if not _exits:
        _exits = True
        atexit.register(shutdown)


def _register_for_forks() -> None:
    global _forks
    if not _forks and hasattr(os, "register_at_fork"):
        _forks = True
        os.register_at_fork(
            before=lambda: _each("before_fork"),
            after_in_parent=lambda: _each("after_fork_in_parent"),
            after_in_child=_begin_child,
        )


def _begin_child() -> None:
    global _lock
    _lock = threading.RLock()  # a thread of the parent may have held it
    ports.renew_lock()
    services.renew_lock()
    _each("after_fork_in_child")


def _each(method: str) -> None:
    for studio in list(_live):
        try:
            getattr(studio, method)()
        except Exception as error:
            guard.report_internal_error(f"{method} of OTel Studio", error)

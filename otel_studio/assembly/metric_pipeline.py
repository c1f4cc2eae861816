"""The way of metrics: their provider, its readers, and the registry's figures among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from otel_studio.assembly import from_settings
from otel_studio.base import otel_sdk_private
from otel_studio.base.clock import Clock
from otel_studio.base.delivery import FAILED
from otel_studio.base.figures import once_in_a_collection
from otel_studio.metrics.instruments import InstrumentsSource
from otel_studio.metrics.instruments_reading import InstrumentsReading
from otel_studio.metrics.producer import MetricProducer
from otel_studio.metrics.provider import StudioMeterProvider
from otel_studio.registry.registry import Registry
from otel_studio.settings.loading import Settings
from otel_studio.version import __version__

if TYPE_CHECKING:
    from otel_studio.exporters.prometheus import PrometheusExporter


class MetricPipeline:
    """Our meter provider, or somebody else's whose readers show the registry's metrics too.

    Args:
        settings: every setting, resolved.
        registry: the source of the operations' metrics.
        clock: times readings of the program's own instruments.
        resource: gives the resource of the points.
        identity: gives what is this process's own in the resource.
        existing: the provider to attach to, where it is the SDK's.
        readers: further readers of all metrics.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        clock: Clock,
        resource: Callable[[], Resource],
        identity: Callable[[], Resource],
        *,
        existing: Any = None,
        readers: Sequence[Any] = (),
    ) -> None:
        self._settings = settings
        self._resource = resource
        #: What the readers send through.
        self.exporters: list[Any] = []
        #: Periodic readers, with the names that their exporters were made by.
        self._renewals: list[tuple[Any, str]] = []
        #: Exporters of the parent process: letting them go could close what is still in use there.
        self._inherited: list[Any] = []
        self.prometheus: PrometheusExporter | None = None
        #: Takes one reading of the registry for all of one collection.
        self.read_registry = once_in_a_collection(registry.reading)
        self._producer = MetricProducer(
            self.read_registry,
            settings.histogram_bounds,
            resource,
            __version__,
            registry.keep_series_sketches,
        )
        names = () if settings.sdk_disabled else settings.metrics_exporter
        readers = list(readers)
        attaches = isinstance(existing, MeterProvider) and not isinstance(
            existing, StudioMeterProvider
        )
        self.owns_provider = not attaches
        if self.owns_provider:
            readers += [
                reader for reader, _ in from_settings.made("metrics exporter", names, self._reader)
            ]
            self.provider: Any = StudioMeterProvider(
                identity,
                metric_readers=readers,
                resource=resource(),
                shutdown_on_exit=False,
            )
        else:
            self.provider = existing
            its_own = otel_sdk_private.metric_readers(existing)
            from_settings.say_unused("metrics_exporter", names, "MeterProvider", bool(its_own))
            readers += its_own
        self._show_operations_in(readers)
        self.meter = self.provider.get_meter("otel_studio", __version__)
        self._instruments = InstrumentsSource(
            self.provider, clock.time_ns, is_own=self.owns_provider
        )

    def _show_operations_in(self, readers: Sequence[Any]) -> None:
        for reader in readers:
            # Prometheus' own endpoint writes the registry's metrics itself.
            if self.prometheus is None or reader is not self.prometheus.reader:
                self._producer.attach(reader, self.provider)

    def _reader(self, name: str) -> Any:
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        settings = self._settings
        if name == "prometheus":
            self.prometheus = from_settings.prometheus_exporter(settings, self.read_registry)
            self.prometheus.serve(settings.prometheus_host, settings.prometheus_port)
            return self.prometheus.reader
        exporter = self._exporter(name)
        self.exporters.append(exporter)
        reader = PeriodicExportingMetricReader(
            exporter, export_interval_millis=settings.metric_export_interval * 1000
        )
        self._renewals.append((reader, name))
        return reader

    def text(self) -> str:
        """Return every metric in Prometheus' text format.

        Raises:
            ImportError: if the extra `prometheus` is not installed.
        """
        if self.prometheus is None:
            self.prometheus = from_settings.prometheus_exporter(self._settings, self.read_registry)
            # What has counted from the beginning on, and not a reader that begins now.
            otel_sdk_private.set_collect_callback(
                self.prometheus.reader, lambda *_args, **_options: self._instruments.collected()
            )
        return self.prometheus.text()

    def instruments_reading(self) -> InstrumentsReading | None:
        """Return the points of every instrument of the provider, `None` where that fails."""
        return self._instruments.reading()

    def endings(self, left: Callable[[], float]) -> dict[str, Callable[[], object]]:
        """Return what sends the rest and stops, by name.

        Args:
            left: gives the seconds that are left.
        """
        tasks: dict[str, Callable[[], object]] = {}
        if self.owns_provider:
            tasks["metrics"] = lambda: self._shutdown(left())
        if self.prometheus is not None:
            tasks["metrics endpoint"] = self.prometheus.close
        return tasks

    def _shutdown(self, timeout: float) -> bool:
        before = self.undelivered
        self.provider.shutdown(timeout * 1000)
        for reader, _ in self._renewals:
            # A forked child of the SDK's starts its thread anew, which collects once more.
            otel_sdk_private.set_collect_callback(reader, _nothing)
        return self.undelivered == before

    def flush(self, timeout: float) -> bool:
        """Send what can be collected now.

        Args:
            timeout: seconds until this returns, at most.

        Returns:
            whether everything was sent.
        """
        before = self.undelivered
        return bool(self.provider.force_flush(timeout * 1000)) and self.undelivered == before

    @property
    def dropped(self) -> Counter[str]:
        """Data points that did not arrive, by reason."""
        return sum((exporter.ledger.lost for exporter in self.exporters), Counter())

    @property
    def undelivered(self) -> int:
        """Data points that did not arrive."""
        return self.dropped.total()

    def unsent_from_now(self) -> Callable[[], int]:
        """Return what tells how many data points were not sent since."""
        before = self._failed()
        return lambda: self._failed() - before

    def _failed(self) -> int:
        ledgers = [exporter.ledger for exporter in self.exporters]
        return sum(ledger.in_hand + ledger.lost[FAILED] for ledger in ledgers)

    def detach(self) -> None:
        """Leave somebody else's provider as it was found."""
        self._instruments.detach()
        if self.owns_provider:
            return
        self._producer.detach()

    def before_fork(self) -> None:
        """Do nothing: a fork waits for the lock that each collection holds."""

    def after_fork_in_parent(self) -> None:
        """Do nothing: that lock is free again."""

    def after_fork_in_child(self) -> None:
        """Measure from zero in a forked child, through exporters of its own."""
        if self.owns_provider:
            otel_sdk_private.start_measuring_anew(self.provider, self._resource())
        self._inherited += self.exporters
        self.exporters = []
        for reader, name in self._renewals:
            for exporter, _ in from_settings.made("metrics exporter", [name], self._exporter):
                self.exporters.append(exporter)
                otel_sdk_private.give_reader_exporter(reader, exporter)
        if self.prometheus is not None:
            self.prometheus.after_fork_in_child()
        self._producer.after_fork_in_child()
        self._instruments.after_fork_in_child()

    def _exporter(self, name: str) -> Any:
        from otel_studio.exporters.counted import CountedMetricExporter

        return CountedMetricExporter(from_settings.metric_exporter(self._settings, name))


def _nothing(*_: Any, **__: Any) -> None:
    """Stand for what a reader collects by, once it has ended."""

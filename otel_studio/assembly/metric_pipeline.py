"""The way of metrics: their provider, its readers, and the registry's figures among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from otel_studio.assembly import from_settings
from otel_studio.base import otel_sdk_private
from otel_studio.base.clock import Clock
from otel_studio.base.delivery import FAILED
from otel_studio.base.figures import once_in_a_collection
from otel_studio.metrics.deltas import Deltas
from otel_studio.metrics.instruments import InstrumentsSource
from otel_studio.metrics.instruments_reading import InstrumentsReading
from otel_studio.metrics.merging import together
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
        #: Of each provider in use: ours, somebody else's, or both, where that has come later.
        self._instruments: list[InstrumentsSource] = []
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
            made = from_settings.made("metrics exporter", names, self._reader)
            readers += [reader for reader, _ in made if reader is not None]
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
        for reader in readers:
            self._producer.attach(reader, self.provider)
        self.meter = self.provider.get_meter("otel_studio", __version__)
        self._time_ns = clock.time_ns
        self._instruments.append(
            InstrumentsSource(self.provider, clock.time_ns, is_own=self.owns_provider)
        )

    def _reader(self, name: str) -> Any | None:
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        settings = self._settings
        if name == "prometheus":
            self._prometheus().serve(settings.prometheus_host, settings.prometheus_port)
            return None  # it is one of `_all_instruments`, and writes the operations itself
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
        return self._prometheus().text()

    def _prometheus(self) -> PrometheusExporter:
        if self.prometheus is None:
            self.prometheus = from_settings.prometheus_exporter(self._settings, self.read_registry)
            # What has counted from the beginning on, and not one more reader that begins now.
            otel_sdk_private.set_collect_callback(self.prometheus.reader, self._all_instruments)
        return self.prometheus

    def _all_instruments(self, *_: Any, **__: Any) -> Any:
        """Return what all instruments say now, counted from the beginning on."""
        return reduce(together, [source.collected() for source in self._instruments], None)

    def instruments_reading(self) -> InstrumentsReading | None:
        """Return the points of every instrument in use, `None` where that fails."""
        readings = [source.reading() for source in self._instruments]
        known = [reading for reading in readings if reading is not None]
        return reduce(add, known) if len(known) == len(readings) else None

    def join(self, provider: Any) -> bool:
        """Let somebody else's provider take the place of ours.

        Its readers get the registry's metrics, and those of the instruments that ours has made. Our
        own exporters send no more.

        Args:
            provider: of the program's own.

        Returns:
            whether it is the SDK's; `False` changes nothing.
        """
        if not isinstance(provider, MeterProvider) or isinstance(provider, StudioMeterProvider):
            return False
        ours, self.provider, self.owns_provider = self.provider, provider, False
        for reader, _ in self._renewals:
            otel_sdk_private.set_collect_callback(reader, _nothing)
        its_own = otel_sdk_private.metric_readers(provider)
        for reader in its_own:
            self._producer.attach(reader, provider, self._of_ours(ours, reader))
        self._instruments.append(InstrumentsSource(provider, self._time_ns))
        names = [name for _, name in self._renewals]
        from_settings.say_unused("metrics_exporter", names, "MeterProvider", bool(its_own))
        return True

    def _of_ours(self, ours: Any, reader: Any) -> Callable[[], Any]:
        """Return what gives a reader the points of the instruments that our provider has made."""
        return Deltas(
            self._instruments[0].collected,  # it has counted from the beginning on
            lambda: otel_sdk_private.wanted_deltas(reader, ours),
            told=bool(self._renewals),
        ).collected

    def endings(
        self, left: Callable[[], float], *, at_exit: bool
    ) -> dict[str, Callable[[], object]]:
        """Return what sends the rest and stops, by name.

        Args:
            left: gives the seconds that are left.
            at_exit: whether somebody else's provider is to send the last interval at its own end.
        """
        tasks: dict[str, Callable[[], object]] = {}
        if self.owns_provider:
            tasks["metrics"] = lambda: self._shutdown(left())
        elif not at_exit:
            # What it collects later lacks the operations.
            tasks["metrics"] = lambda: self.flush(left())
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
        if otel_sdk_private.is_shut_down(self.provider):  # by the program, to whom it belongs
            return True
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
        for source in self._instruments:
            source.detach()
        if self.owns_provider:
            return
        self._producer.detach()
        if self.prometheus is not None:
            otel_sdk_private.set_collect_callback(self.prometheus.reader, _nothing)

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
        for source in self._instruments:
            source.after_fork_in_child()

    def _exporter(self, name: str) -> Any:
        from otel_studio.exporters.counted import CountedMetricExporter

        return CountedMetricExporter(from_settings.metric_exporter(self._settings, name))


def _nothing(*_: Any, **__: Any) -> None:
    """Stand for what a reader collects by, once it has ended."""

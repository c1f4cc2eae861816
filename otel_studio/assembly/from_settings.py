"""Makes the parts that settings name: exporters, readers, limits and the resource."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.sdk.resources import Resource

from otel_studio.base import guard
from otel_studio.base.resources import safe_resource
from otel_studio.registry.limits import Limits
from otel_studio.registry.operation import Bounds
from otel_studio.registry.reading import RegistryReading
from otel_studio.settings.loading import Settings
from otel_studio.version import __version__

if TYPE_CHECKING:
    from otel_studio.exporters.prometheus import PrometheusExporter

T = TypeVar("T")


def resource_of(settings: Settings) -> Resource:
    """Return the resource that settings describe."""
    given = {**settings.resource_attributes, "service.name": settings.service_name}
    return safe_resource(Resource.create(given))


def registry_limits(settings: Settings) -> Limits:
    """Return what the registry keeps at most."""
    return Limits(
        operations_per_service=settings.max_operations_per_service,
        operations=settings.max_operations,
        services=settings.max_services,
        error_groups=settings.error_groups_per_service,
        trace_ids=settings.trace_ids_per_error_group,
        bounds=Bounds(
            buckets_ns=tuple(round(bound * 1e9) for bound in settings.histogram_bounds),
            recent_runs=settings.recent_runs_per_operation,
            slow_samples=settings.slow_samples_per_operation,
        ),
        run_bytes=settings.max_run_bytes,
        sample_bytes=settings.max_sample_bytes,
    )


def cache_settings(settings: Settings) -> dict[str, Any]:
    """Return the keywords of a `CacheRegistry`."""
    return {
        "cache_keys": settings.cache_keys,
        "max_caches": settings.max_caches,
        "cache_poll_interval": settings.cache_poll_interval,
    }


def made(what: str, names: Iterable[str], make: Callable[[str], T]) -> list[tuple[T, str]]:
    """Make parts that were asked for by name; one that cannot be made is said and left out.

    Args:
        what: the kind of part, in words ("traces exporter").
        names: of the parts.
        make: makes the part of a name.

    Returns:
        each part with its name.
    """
    parts = []
    for name in names:
        try:
            parts.append((make(name), name))
        except Exception as error:
            guard.warn_once(
                "configuration", f"{what} {name}", "the %s %r is left out: %s", what, name, error
            )
    return parts


def span_exporter(settings: Settings, name: str) -> Any:
    """Make the traces exporter of a name: `otlp`, `console` or an installed package's."""
    if name == "otlp":
        from otel_studio.exporters.otlp import build_span_exporter

        return build_span_exporter(settings.otlp_traces_protocol)
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    return _entry_point("opentelemetry_traces_exporter", name)()


def metric_exporter(settings: Settings, name: str) -> Any:
    """Make the metrics exporter of a name: `otlp`, `console` or an installed package's."""
    if name == "otlp":
        from otel_studio.exporters.otlp import build_metric_exporter

        return build_metric_exporter(settings.otlp_metrics_protocol)
    if name == "console":
        from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

        return ConsoleMetricExporter()
    return _entry_point("opentelemetry_metrics_exporter", name)()


def log_exporter(settings: Settings, name: str) -> Any:
    """Make the logs exporter of a name: `otlp`, `console` or an installed package's."""
    if name == "otlp":
        from otel_studio.exporters.otlp import build_log_exporter

        return build_log_exporter(settings.otlp_logs_protocol)
    if name == "console":
        from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter

        return ConsoleLogRecordExporter()
    return _entry_point("opentelemetry_logs_exporter", name)()


def prometheus_exporter(
    settings: Settings, read: Callable[[], RegistryReading]
) -> PrometheusExporter:
    """Make the reader behind `/metrics`.

    Args:
        settings: with the bounds of histograms.
        read: takes a reading of the registry.

    Raises:
        ImportError: if the extra `prometheus` is not installed.
    """
    from otel_studio.exporters.prometheus import PrometheusExporter
    from otel_studio.exporters.prometheus.text import RegistryText

    return PrometheusExporter(RegistryText(read, settings.histogram_bounds, __version__))


def say_unused(setting: str, names: Iterable[str], provider: str, own_parts: bool) -> None:
    """Warn once of exporters that are not made, since somebody else's provider is in use.

    `opentelemetry-instrument` answers OpenTelemetry's variable by itself: where the provider
    has parts of its own, a request by that variable is taken as fulfilled.

    Args:
        setting: the setting's name.
        names: the exporters that it asks for.
        provider: the kind of provider, in words ("TracerProvider").
        own_parts: whether that provider has processors or readers.
    """
    names = ", ".join(names)
    if names and not (own_parts and os.environ.get(f"OTEL_{setting.upper()}")):
        guard.warn_once(
            "configuration",
            f"{setting} beside another provider",
            "%s=%s is not used: a %s was set before otel_studio.configure(), and it decides what "
            "is sent. Add the exporter to that provider, or call otel_studio.configure() first "
            "and set none.",
            setting,
            names,
            provider,
        )


def _entry_point(group: str, name: str) -> Any:
    from importlib.metadata import entry_points

    for entry in entry_points(group=group, name=name):
        return entry.load()
    raise LookupError(f"no installed package offers {name!r} under {group}")

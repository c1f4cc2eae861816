"""The registry's metrics in Prometheus' text formats, written straight from the statistics.

OpenTelemetry's reader makes an object of every sample, and its exporter carries no exemplars;
with a thousand operations the text is nearly all of a scrape. The names, labels and values are
those that the reader would give; in the OpenMetrics format buckets carry exemplars as well.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import format_span_id, format_trace_id

from otel_studio.metrics.points import (
    ABANDONED,
    ACTIVE,
    CANCELLED,
    DESCRIPTIONS,
    DURATION,
    SCOPE_NAME,
)
from otel_studio.registry.registry import Registry
from otel_studio.registry.series import Series

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
#: Label texts remembered; past it they are made anew at each scrape.
_MAX_REMEMBERED: Final = 100_000


class RegistryText:
    """Writes the text; remembers the labels of each operation.

    Args:
        registry: the source of every number.
        bounds: histogram bounds in seconds.
        version: of the instrumentation scope.
    """

    def __init__(self, registry: Registry, bounds: tuple[float, ...], version: str) -> None:
        self._registry = registry
        self._ends = [f',le="{float(bound)}"}} ' for bound in bounds] + [',le="+Inf"} ']
        self._scope = f'otel_scope_name="{SCOPE_NAME}",otel_scope_version="{_escaped(version)}"'
        self._labels: dict[tuple[str, str, str | None], str] = {}

    def text(self, openmetrics: bool = False) -> str:
        """Return every metric of the registry now; empty before the first operation.

        Args:
            openmetrics: the OpenMetrics format, with exemplars; without its closing line.
        """
        active = self._registry.active_counts()
        histogram: list[str] = []
        counters: dict[str, list[str]] = {ABANDONED: [], CANCELLED: []}
        known = set(active)
        with self._registry.reading() as services:
            for service in list(services.values()):
                for operation in list(service.operations.values()):
                    name = (service.name, operation.name)
                    known.add(name)
                    for error_type, series in list(operation.series.items()):
                        labels = self._labels_of(*name, error_type)
                        self._add_histogram(histogram, labels, series, openmetrics)
                    for metric, count in (
                        (ABANDONED, operation.abandoned),
                        (CANCELLED, operation.cancelled),
                    ):
                        if count:
                            labels = self._labels_of(*name, None)
                            counters[metric].append(
                                f"{_spelled(metric)}_total{{{labels}}} {count}\n"
                            )
        parts = []
        if histogram:
            parts += _head(DURATION, "_seconds", "histogram", openmetrics) + histogram
        if known:
            parts += _head(ACTIVE, "", "gauge", openmetrics)
            parts += [
                f"{_spelled(ACTIVE)}{{{self._labels_of(*name, None)}}} {active.get(name, 0)}\n"
                for name in sorted(known)
            ]
        for metric, lines in counters.items():
            if lines:
                parts += _head(metric, "" if openmetrics else "_total", "counter", openmetrics)
                parts += lines
        return "".join(parts)

    def _labels_of(self, service: str, operation: str, error_type: str | None) -> str:
        key = (service, operation, error_type)
        found = self._labels.get(key)
        if found is None:
            found = (
                f'{self._scope},studio_operation="{_escaped(operation)}"'
                f',studio_service="{_escaped(service)}"'
            )
            if error_type is not None:
                found += f',error_type="{_escaped(error_type)}"'
            if len(self._labels) < _MAX_REMEMBERED:
                self._labels[key] = found
        return found

    def _add_histogram(
        self, lines: list[str], labels: str, series: Series, openmetrics: bool
    ) -> None:
        start = f"otel_studio_operation_duration_seconds_bucket{{{labels}"
        cumulated = 0
        for end, count, span in zip(self._ends, series.buckets, series.exemplars, strict=True):
            cumulated += count
            if openmetrics and span is not None and span._flags & 1:
                lines.append(f"{start}{end}{cumulated}{_exemplar(span)}\n")
            else:
                lines.append(f"{start}{end}{cumulated}\n")
        lines.append(f"otel_studio_operation_duration_seconds_count{{{labels}}} {cumulated}\n")
        lines.append(
            f"otel_studio_operation_duration_seconds_sum{{{labels}}} {series.total / 1e9!r}\n"
        )


def _exemplar(span: object) -> str:
    duration = (span._end - span._start) / 1e9  # type: ignore[attr-defined]
    return (
        f' # {{trace_id="{format_trace_id(span._trace_id)}"'  # type: ignore[attr-defined]
        f',span_id="{format_span_id(span._span_id)}"}}'  # type: ignore[attr-defined]
        f" {duration!r} {span.end_time / 1e9:.3f}"  # type: ignore[attr-defined]
    )


def _spelled(name: str) -> str:
    return name.replace(".", "_")


def _escaped(value: str) -> str:
    return value.translate(_ESCAPES)


def _head(metric: str, suffix: str, kind: str, openmetrics: bool) -> list[str]:
    name = _spelled(metric) + suffix
    lines = [f"# HELP {name} {DESCRIPTIONS[metric]}\n", f"# TYPE {name} {kind}\n"]
    if openmetrics and suffix == "_seconds":
        lines.append(f"# UNIT {name} seconds\n")
    return lines

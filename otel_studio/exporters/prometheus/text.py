"""The registry's metrics in Prometheus' text formats, written straight from a reading.

OpenTelemetry's reader makes an object of every sample, and its exporter carries no exemplars;
with a thousand operations the text is nearly all of a scrape. The names, labels and values are
those that the reader would give; in the OpenMetrics format buckets carry exemplars as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Final

from opentelemetry.trace import format_span_id, format_trace_id

from otel_studio.exporters.prometheus.names import Kind
from otel_studio.metrics.streams import (
    ABANDONED,
    ACTIVE,
    CANCELLED,
    DESCRIPTIONS,
    DURATION,
    SCOPE_NAME,
)
from otel_studio.registry.operation import Operation
from otel_studio.registry.reading import RegistryReading
from otel_studio.registry.series import Series, SeriesKey
from otel_studio.spans.ended_run import EndedRun, duration_of


def _spelled(name: str) -> str:
    return name.replace(".", "_")


_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_NO_LABEL_CHARACTER: Final = re.compile(r"[^a-zA-Z0-9_]")
#: Labels that every series may have already.
_OWN_NAMES: Final = frozenset(
    {
        "error_type",
        "le",
        "otel_scope_name",
        "otel_scope_version",
        "studio_operation",
        "studio_service",
    }
)
#: Kinds and names of the families that this text writes.
FAMILIES: Final[tuple[tuple[Kind, str], ...]] = (
    ("histogram", f"{_spelled(DURATION)}_seconds"),
    ("gauge", _spelled(ACTIVE)),
    ("counter", _spelled(ABANDONED)),
    ("counter", _spelled(CANCELLED)),
)
#: Texts by service, operation, series and the names of declared labels.
_Labels = dict[tuple[str, str, SeriesKey, tuple[str, ...]], str]
_PLAIN: Final[SeriesKey] = (None, ())


class RegistryText:
    """Writes the text; remembers the labels of each operation that the last text had.

    Args:
        read: takes a reading of the registry.
        bounds: histogram bounds in seconds.
        version: of the instrumentation scope.
    """

    def __init__(
        self, read: Callable[[], RegistryReading], bounds: tuple[float, ...], version: str
    ) -> None:
        self._read = read
        self._scope = f'otel_scope_name="{SCOPE_NAME}",otel_scope_version="{_escaped(version)}"'
        self._labels: _Labels = {}
        #: Those of the text that is being written.
        self._used: _Labels = {}
        name = _spelled(DURATION) + "_seconds"
        ends = [f',le="{float(bound)}"' for bound in bounds] + [',le="+Inf"']
        rest = f"{name}_count{{%s}} %d\n{name}_sum{{%s}} %r\n"
        # A series is one formatting in C: labels and number of each line in turn.
        self._plain = "".join(f"{name}_bucket{{%s{end}}} %d\n" for end in ends) + rest
        self._with_exemplars = "".join(f"{name}_bucket{{%s{end}}} %d%s\n" for end in ends) + rest

    def text(self, openmetrics: bool = False) -> str:
        """Return every metric of the registry now; empty before the first operation.

        Args:
            openmetrics: the OpenMetrics format, with exemplars; without its closing line.
        """
        return "".join(self.parts(openmetrics))

    def parts(self, openmetrics: bool = False) -> list[str]:
        """Return the text in parts: of many operations it is megabytes, to be joined once.

        Args:
            openmetrics: as above.
        """
        reading = self._read()
        self._used = {}
        active = reading.active()
        histogram: list[str] = []
        counters: dict[str, list[str]] = {ABANDONED: [], CANCELLED: []}
        known = set(active)
        for service, part in reading.wholes():
            for operation, one in part.operations.items():
                known.add((service, operation))
                histogram += self._histograms(service, operation, one, openmetrics)
                for metric, count in ((ABANDONED, one.abandoned), (CANCELLED, one.cancelled)):
                    if count:
                        labels = self._labels_of(service, operation)
                        counters[metric].append(f"{_spelled(metric)}_total{{{labels}}} {count}\n")
        parts = []
        if histogram:
            parts += _head(DURATION, "_seconds", "histogram", openmetrics) + histogram
        if known:
            name = _spelled(ACTIVE)
            parts += _head(ACTIVE, "", "gauge", openmetrics)
            parts += [
                f"{name}{{{self._labels_of(*key)}}} {active.get(key, 0)}\n" for key in sorted(known)
            ]
        for metric, lines in counters.items():
            if lines:
                parts += _head(metric, "" if openmetrics else "_total", "counter", openmetrics)
                parts += lines
        self._labels = self._used  # what a reset has cleared goes
        return parts

    def _labels_of(
        self,
        service: str,
        operation: str,
        series: SeriesKey = _PLAIN,
        label_names: tuple[str, ...] = (),
    ) -> str:
        key = (service, operation, series, label_names)
        found = self._labels.get(key)
        if found is None:
            found = (
                f'{self._scope},studio_operation="{_escaped(operation)}"'
                f',studio_service="{_escaped(service)}"'
            )
            error_type, values = series
            if error_type is not None:
                found += f',error_type="{_escaped(error_type)}"'
            for name, value in zip(_label_names(label_names), values, strict=False):
                found += f',{name}="{_escaped(value)}"'
        self._used[key] = found
        return found

    def _histograms(
        self, service: str, operation: str, one: Operation, openmetrics: bool
    ) -> Iterable[str]:
        for key, series in one.series.items():
            labels = self._labels_of(service, operation, key, one.label_names)
            if openmetrics and any(run is not None and run._flags & 1 for run in series.exemplars):
                yield self._with_exemplars % _line_values(labels, series, with_exemplars=True)
            else:
                yield self._plain % _line_values(labels, series, with_exemplars=False)


def _line_values(labels: str, series: Series, *, with_exemplars: bool) -> tuple[object, ...]:
    """Return what the template of a series takes: for each line its labels and its number."""
    width = 3 if with_exemplars else 2
    values: list[object] = [labels] * (width * len(series.buckets))
    values[1::width] = accumulate(series.buckets)
    if with_exemplars:
        values[2::width] = map(_exemplar, series.exemplars)
    return (*values, labels, series.count, labels, series.total / 1e9)


def _exemplar(run: EndedRun | None) -> str:
    if run is None or not run._flags & 1:
        return ""
    return (
        f' # {{trace_id="{format_trace_id(run._trace_id)}"'
        f',span_id="{format_span_id(run._span_id)}"}}'
        f" {duration_of(run) / 1e9!r} {(run.end_time or 0) / 1e9:.3f}"
    )


def _label_names(names: Iterable[str]) -> list[str]:
    """Return the names of declared labels as Prometheus takes them, none of them twice."""
    taken = set(_OWN_NAMES)
    made = []
    for name in names:
        spelled = _NO_LABEL_CHARACTER.sub("_", name)
        if spelled[0].isdigit() or spelled.startswith("__"):  # two are Prometheus's own
            spelled = "_" + spelled.lstrip("_")
        while spelled in taken:
            spelled += "_"
        taken.add(spelled)
        made.append(spelled)
    return made


def _escaped(value: str) -> str:
    return value.translate(_ESCAPES)


def _head(metric: str, suffix: str, kind: str, openmetrics: bool) -> list[str]:
    name = _spelled(metric) + suffix
    lines = [f"# HELP {name} {DESCRIPTIONS[metric]}\n", f"# TYPE {name} {kind}\n"]
    if openmetrics and suffix == "_seconds":
        lines.append(f"# UNIT {name} seconds\n")
    return lines

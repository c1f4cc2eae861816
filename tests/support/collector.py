"""A real OpenTelemetry Collector for tests, and what it received, read back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child_process import ChildProcess, answers
from parts import free_port, need

Json = dict[str, Any]


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as the Collector wrote it; ids in hexadecimal, times in nanoseconds."""

    scope: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    status: str
    status_message: str
    attributes: Json
    events: list[Json]
    links: list[Json]
    resource: Json

    @property
    def is_error(self) -> bool:
        """Whether the span's status is ERROR."""
        return self.status == "error"


@dataclass(frozen=True)
class ReceivedPoint:
    """One data point of a metric as the Collector wrote it.

    `value` is a sum's or gauge's number; `count`, `sum`, `bounds` and `bucket_counts` a
    histogram's. `temporality` is "delta", "cumulative" or, for a gauge, "".
    """

    scope: str
    name: str
    unit: str
    kind: str
    temporality: str
    attributes: Json
    start_ns: int
    time_ns: int
    value: float | None
    count: int | None
    sum: float | None
    min: float | None
    max: float | None
    bounds: list[float]
    bucket_counts: list[int]
    exemplars: list[Json]
    resource: Json


@dataclass(frozen=True)
class ReceivedLog:
    """A log record as the Collector wrote it; ids in hexadecimal, "" where there is none."""

    scope: str
    body: Any
    severity: str
    trace_id: str
    span_id: str
    attributes: Json
    resource: Json


class Collector(ChildProcess):
    """A Collector that writes all it receives to files; a context manager.

    Args:
        folder: an empty folder of the test's own (`tmp_path / "collector"`).
        config: sections to add to the default configuration, merged key by key; a list replaces.

    Example:
        >>> with Collector(tmp_path) as collector:  # doctest: +SKIP
        ...     send_to(collector.grpc_endpoint)
        ...     wait_until(collector.spans)
    """

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(folder, "collector")
        self._program = need("collector")
        self._extra = config or {}
        self.choose_ports()

    def choose_ports(self) -> None:
        """Take three free ports: for OTLP over gRPC and over HTTP, and for the health check."""
        self.grpc_port = free_port()
        self.http_port = free_port()
        self.health_port = free_port()

    @property
    def grpc_endpoint(self) -> str:
        """For `OTEL_EXPORTER_OTLP_ENDPOINT` with the protocol `grpc`."""
        return f"http://127.0.0.1:{self.grpc_port}"

    @property
    def http_endpoint(self) -> str:
        """For `OTEL_EXPORTER_OTLP_ENDPOINT` with the protocol `http/protobuf`."""
        return f"http://127.0.0.1:{self.http_port}"

    def command(self) -> list[str | Path]:
        """Write the configuration and return the command line."""
        file = self.folder / "collector.json"  # YAML is a superset of JSON
        file.write_text(json.dumps(_merged(self._default_config(), self._extra), indent=2))
        return [self._program, f"--config=file:{file}"]

    def is_ready(self) -> bool:
        """Return whether the health check says that the pipelines run."""
        return answers(self.health_port, "/")

    def spans(self, name: str | None = None) -> list[ReceivedSpan]:
        """Return the spans received so far, in the order of arrival.

        Args:
            name: only spans of this name.
        """
        every = _spans_in(self.folder / "traces.jsonl")
        return [span for span in every if name is None or span.name == name]

    def points(self, name: str | None = None) -> list[ReceivedPoint]:
        """Return every metric data point received so far, in the order of arrival.

        Args:
            name: only points of this metric.
        """
        every = _points_in(self.folder / "metrics.jsonl")
        return [point for point in every if name is None or point.name == name]

    def latest_points(self, name: str) -> list[ReceivedPoint]:
        """Return the last point received of each series of a metric.

        Args:
            name: the metric's name.
        """
        latest = {
            (point.scope, json.dumps(point.attributes, sort_keys=True)): point
            for point in self.points(name)
        }
        return list(latest.values())

    def logs(self) -> list[ReceivedLog]:
        """Return the log records received so far, in the order of arrival."""
        return list(_logs_in(self.folder / "logs.jsonl"))

    def _default_config(self) -> Json:
        kinds = ("traces", "metrics", "logs")
        return {
            "extensions": {"health_check": {"endpoint": f"127.0.0.1:{self.health_port}"}},
            "receivers": {
                "otlp": {
                    "protocols": {
                        "grpc": {"endpoint": f"127.0.0.1:{self.grpc_port}"},
                        "http": {"endpoint": f"127.0.0.1:{self.http_port}"},
                    }
                }
            },
            "exporters": {
                f"file/{kind}": {
                    "path": str(self.folder / f"{kind}.jsonl"),
                    "flush_interval": "50ms",
                }
                for kind in kinds
            },
            "service": {
                # Its own metrics would take a fixed port.
                "telemetry": {"metrics": {"level": "none"}},
                "extensions": ["health_check"],
                "pipelines": {
                    kind: {"receivers": ["otlp"], "exporters": [f"file/{kind}"]} for kind in kinds
                },
            },
        }


def _merged(base: Json, extra: Mapping[str, Any]) -> Json:
    result = dict(base)
    for key, value in extra.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(inner, dict) and value else value
    return result


def _lines(file: Path) -> Iterator[Json]:
    if not file.exists():
        return
    for line in file.read_text().splitlines(keepends=True):
        if line.endswith("\n"):  # the last one may be half written
            yield json.loads(line)


def _value(wrapped: Json) -> Any:
    """Unwrap OTLP's AnyValue."""
    if not wrapped:
        return None
    kind, value = next(iter(wrapped.items()))
    if kind == "intValue":
        return int(value)
    if kind == "arrayValue":
        return [_value(item) for item in value.get("values", [])]
    if kind == "kvlistValue":
        return _attributes(value.get("values", []))
    return value


def _attributes(pairs: list[Json]) -> Json:
    return {pair["key"]: _value(pair.get("value", {})) for pair in pairs}


def _scoped(file: Path, kind: str, scopes: str, items: str) -> Iterator[tuple[Json, str, Json]]:
    """Yield (resource attributes, scope's name, item) for all items of a file."""
    for line in _lines(file):
        for group in line.get(kind, []):
            resource = _attributes(group.get("resource", {}).get("attributes", []))
            for scoped in group.get(scopes, []):
                for item in scoped.get(items, []):
                    yield resource, scoped.get("scope", {}).get("name", ""), item


def _spans_in(file: Path) -> Iterator[ReceivedSpan]:
    names = {0: "unset", 1: "ok", 2: "error"}
    for resource, scope, span in _scoped(file, "resourceSpans", "scopeSpans", "spans"):
        status = span.get("status", {})
        yield ReceivedSpan(
            scope=scope,
            name=span["name"],
            trace_id=span["traceId"],
            span_id=span["spanId"],
            parent_id=span.get("parentSpanId", ""),
            kind=span.get("kind", 0),
            start_ns=int(span["startTimeUnixNano"]),
            end_ns=int(span["endTimeUnixNano"]),
            status=names[status.get("code", 0)],
            status_message=status.get("message", ""),
            attributes=_attributes(span.get("attributes", [])),
            events=span.get("events", []),
            links=span.get("links", []),
            resource=resource,
        )


def _points_in(file: Path) -> Iterator[ReceivedPoint]:
    temporalities = {0: "", 1: "delta", 2: "cumulative"}
    for resource, scope, metric in _scoped(file, "resourceMetrics", "scopeMetrics", "metrics"):
        kind = next(key for key in metric if key in _METRIC_KINDS)
        data = metric[kind]
        for point in data.get("dataPoints", []):
            number = point.get("asDouble", point.get("asInt"))
            yield ReceivedPoint(
                scope=scope,
                name=metric["name"],
                unit=metric.get("unit", ""),
                kind=kind,
                temporality=temporalities[data.get("aggregationTemporality", 0)],
                attributes=_attributes(point.get("attributes", [])),
                start_ns=int(point.get("startTimeUnixNano", 0)),
                time_ns=int(point.get("timeUnixNano", 0)),
                value=None if number is None else float(number),
                count=int(point["count"]) if "count" in point else None,
                sum=point.get("sum"),
                min=point.get("min"),
                max=point.get("max"),
                bounds=point.get("explicitBounds", []),
                bucket_counts=[int(count) for count in point.get("bucketCounts", [])],
                exemplars=point.get("exemplars", []),
                resource=resource,
            )


_METRIC_KINDS = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")


def _logs_in(file: Path) -> Iterator[ReceivedLog]:
    for resource, scope, log in _scoped(file, "resourceLogs", "scopeLogs", "logRecords"):
        yield ReceivedLog(
            scope=scope,
            body=_value(log.get("body", {})),
            severity=log.get("severityText", ""),
            trace_id=log.get("traceId", ""),
            span_id=log.get("spanId", ""),
            attributes=_attributes(log.get("attributes", [])),
            resource=resource,
        )

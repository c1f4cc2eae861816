"""What is measured: the subjects, the shapes, and the ratios that have a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Row:
    """One subject as the tables show it.

    Attributes:
        subject: a module of `bench.subjects`.
        title: what the tables call it.
        peer: the environment it runs in, a file of `bench/peers`; `None` for this one.
        to: "receiver" where it sends to the best receiver there is, "sink" where it speaks a
            protocol of its own or cannot do without; `None` where it sends nothing.
    """

    subject: str
    title: str
    peer: str | None = None
    to: Literal["receiver", "sink"] | None = None


OPERATIONS = (
    Row("plain", "plain call"),
    Row("clock_reads", "wrapper with two clock reads"),
    Row("studio", "**OTel Studio**"),
    Row("studio_unsampled", "**OTel Studio**, unsampled"),
    Row("prometheus_metrics", "prometheus_client (time, errors, active)"),
    Row("autometrics_prometheus", "autometrics, Prometheus", "autometrics"),
    Row("autometrics_otel", "autometrics, OpenTelemetry", "autometrics"),
    Row("otel_always_off", "OpenTelemetry span, `ALWAYS_OFF`"),
    Row("otel_spans", "OpenTelemetry span"),
    Row("otel_batch", "OpenTelemetry span + batch"),
    Row("otel_sdk", "OpenTelemetry span + batch + histogram"),
    Row("otel_sdk_all", "OpenTelemetry span + batch + histogram + active + total"),
    Row("fastotel_spans", "OpenTelemetry span + fastotel", "fastotel", to="sink"),
    Row("ddtrace_spans", "ddtrace `tracer.wrap`", "ddtrace"),
    Row("logfire_spans", "Logfire `instrument`", "logfire"),
)
SHAPES = {
    "call": "function",
    "async": "coroutine",
    "generator": "generator, 3 items",
    "block": "context manager",
    "nested": "three deep, each",
    "error": "raises",
    "attributes": "3 attributes",
    "threads": "16 threads",
    "contrib": "`start_as_current_span`, 3 attributes",
}

#: Calls with the process asleep between them. The first is what the others are above.
PACED = (
    Row("plain", "plain call"),
    Row("studio", "**OTel Studio**"),
    Row("otel_sdk", "OpenTelemetry span + batch + histogram"),
    Row("otel_sdk_all", "OpenTelemetry span + batch + histogram + active + total"),
)
#: Of them in a second.
PACED_RATE = 500
#: Where the calibration loop's values are kept that were taken in turns with them.
BESIDE_PACED = ("calibration", "beside paced")

#: Under an exporting load.
EXPORTING = (
    Row("plain", "plain call"),
    Row("otel_spans", "OpenTelemetry span, not sent"),
    Row("otel_batch", "OpenTelemetry span + batch + OTLP/HTTP", to="receiver"),
    Row("fastotel_spans", "OpenTelemetry span + fastotel", "fastotel", to="receiver"),
    Row("ddtrace_spans", "ddtrace", "ddtrace", to="sink"),
    Row("studio", "**OTel Studio** + OTLP/HTTP", to="receiver"),
)

#: Timed like operations, by call.
REGISTRY = {
    "encoding": {
        "encode_bare_studio": "encode a span, no attributes: **OTel Studio**",
        "encode_bare_otel": "encode a span, no attributes: OpenTelemetry",
        "encode_attributes_studio": "encode a span, 3 attributes: **OTel Studio**",
        "encode_attributes_otel": "encode a span, 3 attributes: OpenTelemetry",
    },
    "registry_studio": {"scrape_1000": "scrape of 1,000 operations: **OTel Studio**"},
    "registry_otel": {"scrape_1000": "scrape of 1,000 operations: OpenTelemetry histogram"},
    "queries_studio": {
        "get_all_metrics": "`get_all_metrics()` over 10,000 operations",
        "get_service_metrics": "`get_service_metrics()`, 1,000 operations of 10,000",
        "get_slow_operations": "`get_slow_operations()` over 10,000 operations",
        "get_error_statistics": "`get_error_statistics()` over 10,000 operations",
        "get_recent_operations": "`get_recent_operations()` over 10,000 operations",
        "export_metrics_json": '`export_metrics("json")` of 10,000 operations',
    },
    "caches_studio": {
        "hit": "`cache.hit(key)`, recorded and folded, drawing the key included",
        "hit_timed": "`cache.hit(key, duration)`, likewise",
    },
    "caches_cachetools": {
        "alone": "a read of a `cachetools.LRUCache` alone, drawing the key included",
        "followed": "the same read, followed by its instrumentation",
    },
}

#: What is imported, and the environment it needs where that is not this one.
IMPORTS: dict[str, str | None] = {
    "import opentelemetry.trace": None,
    "import otel_studio": None,
    "from otel_studio import track": None,
    "from otel_studio import configure": None,
    "import opentelemetry.sdk.trace": None,
    "import prometheus_client": None,
    "import logfire": "logfire",
    "import autometrics": "autometrics",
    "import ddtrace": "ddtrace",
}


@dataclass(frozen=True)
class Bound:
    """A ratio that must not be exceeded: each side is (subject, shape)."""

    title: str
    work: tuple[str, str]
    against: tuple[str, str]
    limit: float


BOUNDS = (
    Bound(
        "tracked call against OpenTelemetry span + batch + histogram",
        ("studio", "call"),
        ("otel_sdk", "call"),
        0.085,
    ),
    Bound(
        "tracked call against autometrics with Prometheus (no span)",
        ("studio", "call"),
        ("autometrics_prometheus", "call"),
        0.7,
    ),
    Bound(
        "tracked call against `logfire.instrument`",
        ("studio", "call"),
        ("logfire_spans", "call"),
        0.08,
    ),
    Bound(
        "unsampled but counted, against an `ALWAYS_OFF` span",
        ("studio_unsampled", "call"),
        ("otel_always_off", "call"),
        0.33,
    ),
    Bound(
        "`start_as_current_span` with 3 attributes, against the SDK's + batch",
        ("studio", "contrib"),
        ("otel_batch", "contrib"),
        0.27,
    ),
    Bound(
        "encoding a span, against the reference encoder",
        ("encoding", "encode_bare_studio"),
        ("encoding", "encode_bare_otel"),
        0.1,
    ),
    Bound(
        "encoding a span with 3 attributes, against the reference encoder",
        ("encoding", "encode_attributes_studio"),
        ("encoding", "encode_attributes_otel"),
        0.1,
    ),
    Bound(
        "CPU per exported operation, against OpenTelemetry + batch + OTLP/HTTP",
        ("studio", "export"),
        ("otel_batch", "export"),
        0.12,
    ),
    Bound(
        "CPU per exported operation, against OpenTelemetry + fastotel",
        ("studio", "export"),
        ("fastotel_spans", "export"),
        0.3,
    ),
    Bound(
        "16 threads against one, per operation",
        ("studio", "threads"),
        ("studio", "call"),
        1.5,
    ),
    Bound(
        "`import otel_studio` against `import opentelemetry.trace`",
        ("import otel_studio", "import"),
        ("import opentelemetry.trace", "import"),
        1.3,
    ),
    Bound(
        "scrape of 1,000 operations, against the SDK's histogram",
        ("registry_studio", "scrape_1000"),
        ("registry_otel", "scrape_1000"),
        0.18,
    ),
)
MEMORY_LIMIT_MB = 20.0

#: Taken of everything below: the median counts.
VALUES = 5
#: CPU milliseconds of the calibration loop on the quiet machine that the limits below hold on
#: (two cores, CPython 3.11): elsewhere, and at slower moments, each value is scaled by what the
#: loop takes beside it.
CALIBRATION_MS = 50.0


@dataclass(frozen=True)
class Time:
    """A time of the process, or one that a subject measures itself, with its limit in ms.

    Attributes:
        title: what the tables call it.
        subject: a module of `bench.subjects`.
        shape: one of its shapes, or of its figures.
        limit: milliseconds where the calibration loop takes `CALIBRATION_MS`.
        figure: whether `shape` is a figure.
    """

    title: str
    subject: str
    shape: str
    limit: float
    figure: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Where its values are kept."""
        return self.subject, self.shape

    @property
    def beside(self) -> tuple[str, str]:
        """Where the calibration loop's values are kept that were taken in turns with it."""
        return "calibration", f"beside {self.shape}"


TIMES = (
    Time("`get_all_metrics()` with 5,000 operations", "large_studio", "get_all_metrics_5000", 60.0),
    Time(
        "`get_recent_operations(limit=100)` with 50,000 runs kept",
        "large_studio",
        "get_recent_operations_50000",
        10.0,
    ),
    Time(
        "scrape of 5,000 operations and 50 busy caches",
        "large_studio",
        "scrape_5000_and_caches",
        110.0,
    ),
    Time(
        "fold lock held during a scrape of 1,000 operations",
        "scrape_beside_threads",
        "fold_lock_held",
        2.0,
        figure=True,
    ),
)


@dataclass(frozen=True)
class OwnRatio:
    """A ratio that a subject measures itself, both sides in turns."""

    title: str
    subject: str
    figure: str
    limit: float


OWN_RATIOS = (
    OwnRatio(
        "p99 of operations in 4 threads, a scrape each second against none",
        "scrape_beside_threads",
        "p99_ratio",
        1.1,
    ),
)

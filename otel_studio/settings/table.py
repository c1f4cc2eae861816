"""The one table of settings: each field of `Settings` is a row.

A row says the keyword (the field's name), its default, its kind with the valid
range, its meaning and its group. Its variable is `OTEL_STUDIO_<KEYWORD>`, unless
OpenTelemetry already has one; its key in `[tool.otel_studio]` is the keyword. To
add a setting, add a row here and its type to `SettingsKeywords` below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from otel_studio.settings import kinds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace.sampling import Sampler

PROCESS = "The process"
OPERATIONS = "Operations"
REGISTRY = "What the registry keeps"
EXPORT = "What leaves the process"
PROMETHEUS = "The Prometheus endpoint"
SAMPLING = "Sampling and the export queue"
LOGS = "Logs and redaction"
CACHES = "Caches"
MACHINE = "Process and GPU"

RATIO_SAMPLERS = ("traceidratio", "parentbased_traceidratio")
PLAIN_SAMPLERS = ("always_on", "always_off", "parentbased_always_on", "parentbased_always_off")
_HIDDEN = "<hidden>"
_PROTOCOL = kinds.OneOf(("http/protobuf", "grpc"))
_MODULES = kinds.Texts(
    'a list of modules such as "shop.services.*" and of names such as "shop.jobs:Worker"',
    pattern=r"[\w.*?\[\]!-]+(:[\w*?]+)?",
)


@dataclasses.dataclass(frozen=True)
class Row:
    """What the table says of a setting besides its name and default."""

    kind: kinds.Kind[Any]
    meaning: str
    group: str
    variable: str | None = None
    #: The setting whose value this one takes where nothing is said.
    falls_back_to: str | None = None
    #: Whether its value is shown nowhere.
    is_secret: bool = False


def _setting(default: Any, *row: Any, **more: Any) -> Any:
    metadata = {"row": Row(*row, **more)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """Every setting, resolved and checked; made by `otel_studio.settings.loading.load_settings`."""

    service_name: str = _setting(
        "unknown_service",
        kinds.Text("a name for this process, such as media-backend"),
        "What OpenTelemetry calls the service: the name of this process. Also taken from "
        "`service.name` in `OTEL_RESOURCE_ATTRIBUTES`.",
        PROCESS,
        variable="OTEL_SERVICE_NAME",
    )
    resource_attributes: Mapping[str, Any] = _setting(
        {},
        kinds.Attributes(),
        "Further attributes of this process. The sources add up: a keyword's attribute goes "
        "before the same one in the variable, and that before the file's.",
        PROCESS,
        variable="OTEL_RESOURCE_ATTRIBUTES",
    )
    sdk_disabled: bool = _setting(
        False,
        kinds.Boolean(strict=True),
        "Record nothing at all: every call becomes a no-op.",
        PROCESS,
        variable="OTEL_SDK_DISABLED",
    )
    shutdown_timeout: float = _setting(
        5.0,
        kinds.Seconds(0, 60),
        "The most seconds that `shutdown()` and the exit of the interpreter take, whatever "
        "the state of the backends.",
        PROCESS,
    )

    instrument: tuple[str, ...] = _setting(
        (),
        _MODULES,
        "Modules whose public callables are tracked as they are imported, and single names in "
        "a module, after a colon. `*` stands for any text.",
        OPERATIONS,
    )
    captured_argument_length: int = _setting(
        256,
        kinds.Integer(1, 65_536),
        "Characters kept of an argument that `capture_args` names.",
        OPERATIONS,
    )
    expected_errors: tuple[str, ...] = _setting(
        (),
        kinds.QualifiedNames(),
        "Exceptions that are no errors, by their full names: a run that one of them leaves is ok. "
        "A name stands for the classes below it too, and nothing is imported to look for it.",
        OPERATIONS,
    )
    ignored_operations: tuple[str, ...] = _setting(
        ("* http send", "* http receive"),
        kinds.Texts('a list of patterns such as "GET /health" or "shop/*"'),
        "Operations that are left out of everything: not counted, not reported, not sent. "
        "Patterns of an operation's name, or of `service/operation`; `*` stands for any text. By "
        "default the single messages that the ASGI instrumentation makes spans of.",
        OPERATIONS,
    )
    slow_threshold: float = _setting(
        1.0,
        kinds.Seconds(0, 86_400),
        "A run longer than this many seconds is slow, where the operation says nothing itself.",
        OPERATIONS,
    )

    max_services: int = _setting(
        1_000,
        kinds.Integer(1, 100_000),
        "Services (instrumentation scopes) with statistics of their own; what comes later is "
        "counted under `__other__`.",
        REGISTRY,
    )
    max_operations_per_service: int = _setting(
        1_000,
        kinds.Integer(1, 100_000),
        "Operations with statistics of their own in a service; what comes later is counted "
        "under `__other__`.",
        REGISTRY,
    )
    max_operations: int = _setting(
        10_000,
        kinds.Integer(1, 1_000_000),
        "Operations with statistics of their own in all services together; what comes later is "
        "counted under its service's `__other__`.",
        REGISTRY,
    )
    recent_runs_per_operation: int = _setting(
        10,
        kinds.Integer(1, 10_000),
        "The last runs that are kept of each operation.",
        REGISTRY,
    )
    slow_samples_per_operation: int = _setting(
        5,
        kinds.Integer(0, 1_000),
        "The slowest runs that are kept of each operation.",
        REGISTRY,
    )
    error_groups_per_service: int = _setting(
        100,
        kinds.Integer(1, 10_000),
        "Groups of errors (one exception type at one place) that are kept of each service.",
        REGISTRY,
    )
    trace_ids_per_error_group: int = _setting(
        5,
        kinds.Integer(0, 1_000),
        "The last trace ids that are kept of each group of errors.",
        REGISTRY,
    )
    max_run_bytes: int = _setting(
        16_384,
        kinds.Integer(1_024, 16_777_216),
        "Bytes that one kept run may hold of attributes and events, and as many of log records. "
        "Of a run with more the largest values are cut; what is sent stays whole.",
        REGISTRY,
    )
    max_sample_bytes: int = _setting(
        33_554_432,
        kinds.Integer(65_536, 1_099_511_627_776),
        "Bytes that all kept runs, samples and groups may hold of these together. Past it the "
        "oldest lose theirs.",
        REGISTRY,
    )
    registry_backlog: int = _setting(
        1_024,
        kinds.Integer(1, 1_000_000),
        "Ended operations that may wait to be folded into the statistics before the caller "
        "folds them itself. Nothing is ever lost.",
        REGISTRY,
    )
    fold_interval: float = _setting(
        0.25,
        kinds.Seconds(0.01, 60),
        "Seconds between two folds of ended operations into the statistics. A query folds first, "
        "so its answer is exact whatever this is.",
        REGISTRY,
    )

    traces_exporter: tuple[str, ...] = _setting(
        (),
        kinds.Exporters(("otlp", "console"), "opentelemetry_traces_exporter"),
        "Where sampled spans go.",
        EXPORT,
        variable="OTEL_TRACES_EXPORTER",
    )
    metrics_exporter: tuple[str, ...] = _setting(
        (),
        kinds.Exporters(("otlp", "prometheus", "console"), "opentelemetry_metrics_exporter"),
        "Where metrics go; `prometheus` serves them on `/metrics`.",
        EXPORT,
        variable="OTEL_METRICS_EXPORTER",
    )
    logs_exporter: tuple[str, ...] = _setting(
        (),
        kinds.Exporters(("otlp", "console"), "opentelemetry_logs_exporter"),
        "Where log records go.",
        EXPORT,
        variable="OTEL_LOGS_EXPORTER",
    )
    otlp_protocol: str = _setting(
        "http/protobuf",
        _PROTOCOL,
        "How the exporter `otlp` speaks. Endpoint, headers, compression, certificates and "
        "timeouts are OpenTelemetry's own `OTEL_EXPORTER_OTLP_*` variables.",
        EXPORT,
        variable="OTEL_EXPORTER_OTLP_PROTOCOL",
    )
    otlp_traces_protocol: str = _setting(
        "http/protobuf",
        _PROTOCOL,
        "The same for traces alone.",
        EXPORT,
        variable="OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        falls_back_to="otlp_protocol",
    )
    otlp_metrics_protocol: str = _setting(
        "http/protobuf",
        _PROTOCOL,
        "The same for metrics alone.",
        EXPORT,
        variable="OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        falls_back_to="otlp_protocol",
    )
    otlp_logs_protocol: str = _setting(
        "http/protobuf",
        _PROTOCOL,
        "The same for logs alone.",
        EXPORT,
        variable="OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
        falls_back_to="otlp_protocol",
    )
    metric_export_interval: float = _setting(
        60.0,
        kinds.Seconds(0.1, 86_400, per_second=1_000),
        "Seconds between two exports of metrics. Prometheus scrapes when it likes.",
        EXPORT,
        variable="OTEL_METRIC_EXPORT_INTERVAL",
    )
    histogram_bounds: tuple[float, ...] = _setting(
        # one sum, because a single tuple would be laid out as one number a line
        (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # noqa: RUF005
        + (30.0, 60.0),
        kinds.Bounds(),
        "Upper bounds, in seconds, of the buckets of `otel_studio.operation.duration`.",
        EXPORT,
    )

    prometheus_host: str = _setting(
        "127.0.0.1",
        kinds.Text("a host name or an address", pattern=r"[\w.:%-]+"),
        "Address that `/metrics` is served on. The default lets only this machine in.",
        PROMETHEUS,
        variable="OTEL_EXPORTER_PROMETHEUS_HOST",
    )
    prometheus_port: int = _setting(
        9464,
        kinds.Integer(0, 65_535),
        "Port that `/metrics` is served on; 0 takes any free one.",
        PROMETHEUS,
        variable="OTEL_EXPORTER_PROMETHEUS_PORT",
    )

    sampler: str | Sampler = _setting(  # noqa: RUF009  (a dataclass field, not a default)
        "parentbased_always_on",
        kinds.SamplerChoice((*PLAIN_SAMPLERS, *RATIO_SAMPLERS)),
        "Which traces are exported. Statistics and metrics count every run whatever it says. "
        "As a keyword also a `Sampler` object.",
        SAMPLING,
        variable="OTEL_TRACES_SAMPLER",
    )
    sampler_arg: float | str | None = _setting(
        None,
        kinds.NumberOrText(),
        "What the sampler takes: for `traceidratio` and `parentbased_traceidratio` the share of "
        "traces to export, from 0 to 1 (1 where nothing is said).",
        SAMPLING,
        variable="OTEL_TRACES_SAMPLER_ARG",
    )
    export_queue_size: int = _setting(
        8_192,
        kinds.Integer(1, 1_000_000),
        "Sampled spans that may wait for export; past it they are dropped and counted.",
        SAMPLING,
        variable="OTEL_BSP_MAX_QUEUE_SIZE",
    )
    max_export_bytes: int = _setting(
        67_108_864,
        kinds.Integer(65_536, 1_099_511_627_776),
        "Bytes that the spans waiting in each export queue may hold of attributes and events, and "
        "large log records in theirs; what finds no room is dropped and counted.",
        SAMPLING,
    )
    export_batch_size: int = _setting(
        2_048,
        kinds.Integer(1, 1_000_000),
        "The most spans sent at a time; not more than the queue holds.",
        SAMPLING,
        variable="OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    )
    export_interval: float = _setting(
        5.0,
        kinds.Seconds(0.001, 3_600, per_second=1_000),
        "The most seconds that a span waits before it is sent.",
        SAMPLING,
        variable="OTEL_BSP_SCHEDULE_DELAY",
    )

    logging: bool = _setting(
        False,
        kinds.Boolean(),
        "Join the records of the standard `logging` to the operations they are made in.",
        LOGS,
    )
    log_level: str = _setting(
        "off",
        kinds.OneOf(("off", "debug", "info", "warning", "error", "critical")),
        "Level of the record that is made of a run which neither failed (error) nor was slow "
        "(warning); `off` makes none.",
        LOGS,
    )
    log_rate: int = _setting(
        10,
        kinds.Integer(1, 100_000),
        "Records about ended runs that an operation may make in a second; the number held back "
        "is said.",
        LOGS,
    )
    log_records_per_run: int = _setting(
        20,
        kinds.Integer(0, 1_000),
        "The last log records that are kept with a failed or slow run.",
        LOGS,
    )
    redact_logs: bool = _setting(
        False,
        kinds.Boolean(),
        "Whether the program's own log handlers get secrets redacted too; what is kept and sent "
        "always is.",
        LOGS,
        falls_back_to="logging",
    )
    redact_keys: tuple[str, ...] = _setting(
        ("authorization", "cookie", "password", "passwd", "secret", "api_key", "access_token"),
        kinds.Texts("a list of names"),
        "Names of attributes and arguments whose values are never kept or sent.",
        LOGS,
    )
    redact_patterns: tuple[str, ...] = _setting(
        (),
        kinds.Texts(
            "a list of regular expressions (in the variable, one a line)",
            separator="\n",
            regular_expressions=True,
        ),
        "Regular expressions; text that matches is never kept or sent.",
        LOGS,
        is_secret=True,  # a pattern may be the secret's own text
    )

    cache_keys: str = _setting(
        "plain",
        kinds.OneOf(("plain", "hash", "drop")),
        "What is kept of caches' keys: their text, a keyed hash of it, or nothing.",
        CACHES,
    )
    max_caches: int = _setting(
        1_000,
        kinds.Integer(1, 100_000),
        "Caches with statistics of their own; what comes later is recorded under `__other__`.",
        CACHES,
    )
    cache_poll_interval: float = _setting(
        10.0,
        kinds.Seconds(0.1, 3_600),
        "Seconds between two times that servers and disk caches are asked for their sizes.",
        CACHES,
    )

    process: bool = _setting(
        True,
        kinds.Boolean(),
        "Report memory, CPU, garbage collection and threads of this process.",
        MACHINE,
    )
    sample_allocations: int = _setting(
        0,
        kinds.Integer(0, 1_000_000),
        "Measure what one run in so many allocates, of the operations that OTel Studio's own "
        "provider records; 0 measures none. A measured run costs about 0.1 ms more.",
        MACHINE,
    )
    gpu: bool = _setting(
        True,
        kinds.Boolean(),
        "Read the GPUs of this machine, where the extra `gpu` and a driver are installed.",
        MACHINE,
    )

    def differences(self, given: Mapping[str, Any]) -> list[str]:
        """Return where these settings are not as given, one phrase each.

        Args:
            given: checked values of some settings by name. Of a mapping, what it names is
                compared.

        Returns:
            Phrases such as `"service_name is 'a', not 'b'"`; empty where nothing differs.
        """
        phrases: list[str] = []
        for name, value in given.items():
            ours = getattr(self, name)
            if isinstance(value, Mapping):
                ours = {key: ours[key] for key in value if key in ours}
            if ours != value:
                phrases.append(
                    f"{name} is {self._shown(name, ours)}, not {self._shown(name, value)}"
                )
        return phrases

    def __repr__(self) -> str:
        """Name what is not the default, without secrets."""
        told = [
            f"{name}={self._shown(name, value)}"
            for name, value in ((name, getattr(self, name)) for name in ROWS)
            if value != _DEFAULTS[name]
        ]
        return f"Settings({', '.join(told)})"

    def _shown(self, name: str, value: Any) -> str:
        if ROWS[name].is_secret:
            return _HIDDEN
        if isinstance(value, Mapping):
            items = (f"{key!r}: {self._shown_item(key, item)}" for key, item in value.items())
            return f"{{{', '.join(items)}}}"
        return repr(value)

    def _shown_item(self, key: str, item: Any) -> str:
        plain = _letters(key)
        is_secret = any(_letters(secret) in plain for secret in self.redact_keys)
        return _HIDDEN if is_secret else repr(item)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


#: The table by keyword.
ROWS: dict[str, Row] = {field.name: field.metadata["row"] for field in dataclasses.fields(Settings)}

_DEFAULTS: dict[str, Any] = {name: getattr(Settings(), name) for name in ROWS}


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return ROWS[name].variable or f"OTEL_STUDIO_{name.upper()}"


class SettingsKeywords(TypedDict, total=False):
    """The settings as keywords of `configure`, as type checkers and editors see them."""

    service_name: str | None
    resource_attributes: Mapping[str, Any] | None
    sdk_disabled: bool | None
    shutdown_timeout: float | None
    instrument: str | Sequence[str] | None
    captured_argument_length: int | None
    expected_errors: str | Sequence[str] | None
    ignored_operations: str | Sequence[str] | None
    slow_threshold: float | None
    max_services: int | None
    max_operations_per_service: int | None
    max_operations: int | None
    recent_runs_per_operation: int | None
    slow_samples_per_operation: int | None
    error_groups_per_service: int | None
    trace_ids_per_error_group: int | None
    max_run_bytes: int | None
    max_sample_bytes: int | None
    registry_backlog: int | None
    fold_interval: float | None
    traces_exporter: str | Sequence[str] | None
    metrics_exporter: str | Sequence[str] | None
    logs_exporter: str | Sequence[str] | None
    otlp_protocol: str | None
    otlp_traces_protocol: str | None
    otlp_metrics_protocol: str | None
    otlp_logs_protocol: str | None
    metric_export_interval: float | None
    histogram_bounds: Sequence[float] | None
    prometheus_host: str | None
    prometheus_port: int | None
    sampler: str | Sampler | None
    sampler_arg: float | str | None
    export_queue_size: int | None
    max_export_bytes: int | None
    export_batch_size: int | None
    export_interval: float | None
    logging: bool | None
    log_level: str | None
    log_rate: int | None
    log_records_per_run: int | None
    redact_logs: bool | None
    redact_keys: str | Sequence[str] | None
    redact_patterns: str | Sequence[str] | None
    cache_keys: str | None
    max_caches: int | None
    cache_poll_interval: float | None
    process: bool | None
    sample_allocations: int | None
    gpu: bool | None

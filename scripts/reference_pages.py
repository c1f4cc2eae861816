"""Write the reference pages that are made from code; `--check` only compares.

The page of settings comes from the table of settings, the page of telemetry from the
instruments that the parts create.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from otel_studio.settings.loading import Settings  # noqa: E402
from otel_studio.settings.table import ROWS, variable_of  # noqa: E402  (it needs the path)

REFERENCE = ROOT / "docs" / "reference"

SETTINGS = """\
# Settings

Each setting can be given in three places. The first one that says something counts:

1. a keyword of `configure()`: `studio.configure(log_rate=5)`;
2. an environment variable: `OTEL_STUDIO_LOG_RATE=5`. Where OpenTelemetry has a variable for the
   same thing, that one is it: `OTEL_SERVICE_NAME=media-backend`;
3. the table `[tool.otel_studio]` of the nearest `pyproject.toml` that has one, from the working
   directory upwards: `log_rate = 5`. The keys are the keywords.

A keyword that is unknown or out of range raises a `ConfigurationError`. The environment and the
file never break your program: what cannot be used is logged once, in one sentence, and left out.
In a variable, lists are separated by commas.
"""

TELEMETRY = """\
# Telemetry

What OTel Studio gives to OpenTelemetry. Prometheus sees the names with underscores, units spelled
out and `_total` on counters: `otel_studio.operation.duration` in seconds is
`otel_studio_operation_duration_seconds`. A figure that has no source leaves no point.

## Spans

Each run is a span. Its scope is the service, its name the operation.

| attribute | on |
|---|---|
| `error.type` | failed runs: the exception's class |
| `studio.outcome` | runs that are `cancelled` or `abandoned` |
| `studio.argument.<name>` | runs of a function with `capture_args` |
| `studio.recorded` | runs handed in with `record_operation` |
| `rpc.response.status_code`, `studio.rpc.details` | runs that an error of gRPC left |

A failed run has the status `ERROR` and the exception as an event. What you set with
`attributes=` and `set_attribute` keeps the name you give it.
"""
OPERATIONS = """\
They come from the registry, so they count every run, sampled or not. Their attributes are
`studio.service` and `studio.operation`; the duration of failed runs also has `error.type`, the
exception's class, and the duration of every run the labels that its operation
[declares](../how-to/track.md#dimensions-of-metrics). The histogram's buckets are a
[setting](settings.md#histogram_bounds). Over OTLP they carry exemplars: the trace ids of sampled
runs.
"""
CACHES = """\
Their attributes are `studio.service` and `studio.cache`. `operations` has
`studio.cache.operation` (hit, miss, set, eviction), `evictions` has
`studio.cache.eviction.reason`, `hit_ratio` has `studio.cache.window` (minute, hour, day) and
`predicted_hit_ratio` has `studio.cache.size_factor`.
"""
PROCESS = """\
Names and attributes are those of OpenTelemetry's conventions where it has them. Inside a
container, `system.*` describes what its control group may use.
"""
GPUS = """\
Names and attributes are those of OpenTelemetry's conventions where it has them; `hw.id` is the
UUID of the device. What a device does not support leaves no point.
"""
LOGS = """\
Where [logs are joined](../how-to/logs.md). Its attributes are `studio.service` and
`studio.operation`, where the record was made in one, and `studio.log.level`.
"""
SELF = """\
What OTel Studio says of itself. A count that is zero leaves no point. Their attributes are
`reason` (dropped spans), `studio.service` (overflowed operations and labels) and `place`
(errors).
"""
SDK = """\
Where `OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED=true` asks for them, OpenTelemetry's metrics of its
SDK are there as well, under the scope `opentelemetry-sdk`. Spans are counted for them where they
end, away from the hot path.
"""
KINDS = {
    "observable_counter": "counter",
    "observable_gauge": "gauge",
    "observable_up_down_counter": "up-down counter",
}


class Recorder:
    """Stands in for a Meter, and keeps what is created."""

    def __init__(self) -> None:
        self.instruments: list[tuple[str, str, str, str]] = []

    def __getattr__(self, method: str) -> Any:
        def create(
            name: str,
            callbacks: object = None,  # noqa: ARG001  (a Meter's signature)
            unit: str = "",
            description: str = "",
        ) -> None:
            kind = KINDS[method.removeprefix("create_")]
            self.instruments.append((name, kind, unit, description))

        return create


def settings_page() -> str:
    """Return the page of settings in Markdown."""
    defaults = Settings()
    parts = [SETTINGS]
    for group, names in groupby(ROWS, key=lambda name: ROWS[name].group):
        parts.append(f"## {group}\n")
        for name in names:
            row = ROWS[name]
            value = getattr(defaults, name)
            milliseconds = getattr(row.kind, "per_second", 1) == 1_000
            default = f"`{value if milliseconds else row.kind.to_text(value)}`"
            if row.falls_back_to:
                default = f"what `{row.falls_back_to}` says"
            elif default == "``":
                default = "nothing"
            parts.append(
                f"### `{name}`\n\n{row.meaning}\n\n"
                f"- Variable: `{variable_of(name)}`{', in milliseconds' * milliseconds}\n"
                f"- Takes: {row.kind.expected}\n"
                f"- Default: {default}\n"
            )
    return "\n".join(parts)


def telemetry_page() -> str:
    """Return the page of spans and metrics in Markdown."""
    from otel_studio.base import figures
    from otel_studio.base.clock import SystemClock
    from otel_studio.caches.registry import CacheRegistry
    from otel_studio.gpu.monitor import GpuMonitor
    from otel_studio.logs.level_counts import LevelCounts
    from otel_studio.metrics import self_report
    from otel_studio.metrics.streams import ACTIVE, DESCRIPTIONS, DURATION
    from otel_studio.process.monitor import ProcessMonitor
    from otel_studio.registry.reading import RegistryReading
    from otel_studio.spans import sdk_metrics

    kinds = {DURATION: ("histogram", "s"), ACTIVE: ("up-down counter", "{operation}")}
    operations = [
        (name, *kinds.get(name, ("counter", "{operation}")), text)
        for name, text in DESCRIPTIONS.items()
    ]
    parts = [TELEMETRY, "## Operations\n", OPERATIONS, _table(operations)]
    clock = SystemClock()
    for heading, introduction, room in (
        ("Caches", CACHES, CacheRegistry(clock)),
        ("The process and its machine", PROCESS, ProcessMonitor(clock)),
        ("GPUs", GPUS, GpuMonitor(clock)),
        ("Logs", LOGS, LevelCounts()),
    ):
        recorder: Any = Recorder()
        room.register_instruments(recorder)
        parts += [f"## {heading}\n", introduction, _table(recorder.instruments)]
    own: Any = Recorder()
    self_report.register(own, RegistryReading, dict)
    sdk: Any = Recorder()
    figures.register(sdk, sdk_metrics.FIGURES, sdk_metrics.SpansReading)
    parts += [
        "## OTel Studio itself\n",
        SELF,
        _table(own.instruments),
        SDK,
        _table(sdk.instruments),
    ]
    return "\n".join(parts)


def _table(instruments: list[tuple[str, str, str, str]]) -> str:
    rows = [
        f"| `{name}` | {kind} | {f'`{unit}`' if unit else ''} | {text.rstrip('.')} |"
        for name, kind, unit, text in instruments
    ]
    return "\n".join(["| metric | kind | unit | meaning |", "|---|---|---|---|", *rows, ""])


def main() -> int:
    """Write or check the pages."""
    pages = {"settings.md": settings_page(), "telemetry.md": telemetry_page()}
    for name, text in pages.items():
        file = REFERENCE / name
        if "--check" not in sys.argv:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            print(f"{name} is not current: run python scripts/reference_pages.py", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

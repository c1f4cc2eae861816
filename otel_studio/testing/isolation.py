"""A Studio of its own for a test: own providers and registry, nothing shared, nothing sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import format_span_id, format_trace_id

from otel_studio.assembly.studio import Studio
from otel_studio.base.clock import Clock
from otel_studio.lifecycle import overriding
from otel_studio.registry import queries
from otel_studio.registry.operation_records import OperationMetrics, Run
from otel_studio.settings.loading import load_settings
from otel_studio.spans.active import AbandonedSpan


class IncrementalIds(IdGenerator):
    """Trace and span ids 1, 2, 3, ... so that a test can write them down."""

    def __init__(self) -> None:
        self._trace = 0
        self._span = 0

    def __repr__(self) -> str:
        return f"<IncrementalIds, {self._trace} traces and {self._span} spans so far>"

    def generate_trace_id(self) -> int:
        """Return the next trace id."""
        self._trace += 1
        return self._trace

    def generate_span_id(self) -> int:
        """Return the next span id."""
        self._span += 1
        return self._span


class SpanList:
    """Keeps every ended span, in the order of their ends."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def consume(self, spans: Any) -> None:
        """Take a batch of ended spans; one that was dropped without an end is none."""
        self.spans.extend(span for span in spans if type(span) is not AbandonedSpan)


class Isolated:
    """What a test sees of its isolated Studio.

    Attributes:
        studio: the Studio itself.
        registry: its registry.
        clock: its clock; a `ManualClock` moves with `clock.advance(seconds)`.
        tracer_provider: its TracerProvider, for instrumentations that take one.
        meter_provider: its MeterProvider.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.registry = studio.registry
        self.clock = studio.clock
        self.tracer_provider = studio.tracer_provider
        self.meter_provider = studio.meter_provider
        self._spans = SpanList()
        studio.tracer_provider.add_span_processor(self._spans)

    def __repr__(self) -> str:
        return f"<Isolated {self.studio!r}>"

    @property
    def spans(self) -> list[ReadableSpan]:
        """Every span that ended, sampled or not, in the order of their ends."""
        ended = self.tracer_provider.ended
        ended.fold()
        ended.deliver()
        return list(self._spans.spans)

    def operations(self, service: str) -> dict[str, OperationMetrics]:
        """Return a service's operations by name; empty when it has not run anything."""
        found = queries.summaries(self.registry.reading(), service)
        return found[0].operation_metrics if found else {}

    def runs(self, service: str | None = None, operation: str | None = None) -> list[Run]:
        """Return the last runs, newest first."""
        return queries.recent(self.registry.reading(), service, operation)

    def operation(self, service: str, operation: str) -> OperationMetrics:
        """Return one operation's statistics.

        Raises:
            AssertionError: if it has not run; the message lists what has.
        """
        __tracebackhide__ = True  # pytest shows the line of the test
        metrics = self.operations(service).get(operation)
        if metrics is None:
            ran = [
                f"{summary.service_name}/{name}"
                for summary in queries.summaries(self.registry.reading())
                for name in summary.operation_metrics
            ]
            raise AssertionError(
                f"{service}/{operation} has not run; these have: {', '.join(ran) or 'none'}"
            )
        return metrics

    def assert_operation(
        self,
        service: str,
        operation: str,
        *,
        count: int | None = None,
        errors: int | None = None,
        cancelled: int | None = None,
        abandoned: int | None = None,
        active: int | None = None,
        outcome: str | None = None,
        attributes: dict[str, Any] | None = None,
        parent: str | None = None,
    ) -> OperationMetrics:
        """Assert what is known of an operation.

        Args:
            service: its service.
            operation: its name.
            count: runs that ended.
            errors: of them, failed.
            cancelled: of them, cancelled.
            abandoned: runs dropped without an end.
            active: runs going on now.
            outcome: of the last run: `ok`, `error` or `cancelled`.
            attributes: that the last run has, among others.
            parent: the operation that the last run was a child of.

        Returns:
            the operation's statistics.

        Raises:
            AssertionError: naming the first thing that differs.

        Example:
            >>> import otel_studio
            >>> with otel_studio.isolated() as s:
            ...     with otel_studio.service("shop").operation("pay"):
            ...         pass
            ...     _ = s.assert_operation("shop", "pay", count=1, outcome="ok")
        """
        __tracebackhide__ = True
        metrics = self.operation(service, operation)
        name = f"{service}/{operation}"
        wanted = {
            "count": count,
            "errors": errors,
            "cancelled": cancelled,
            "abandoned": abandoned,
            "active": active,
        }
        for field, value in wanted.items():
            found = getattr(metrics, field)
            assert value is None or found == value, f"{name} has {field} {found}, not {value}"
        if outcome is None and attributes is None and parent is None:
            return metrics
        runs = self.runs(service, operation)
        assert runs, f"no run of {name} is kept"
        last = runs[0]
        assert outcome is None or last.outcome == outcome, (
            f"the last run of {name} ended {last.outcome}, not {outcome}: {last.error}"
        )
        for key, value in (attributes or {}).items():
            assert last.attributes.get(key) == value, (
                f"the last run of {name} has {key}={last.attributes.get(key)!r}, not {value!r}"
            )
        if parent is not None:
            self._assert_parent(last, name, parent)
        return metrics

    def _assert_parent(self, run: Run, name: str, parent: str) -> None:
        __tracebackhide__ = True
        spans = {
            (format_trace_id(context.trace_id), format_span_id(context.span_id)): span
            for span in self.spans
            if (context := span.get_span_context()) is not None
        }
        parent_context = spans[run.trace_id, run.span_id].parent
        parent_id = None if parent_context is None else format_span_id(parent_context.span_id)
        found = [span.name for (_, span_id), span in spans.items() if span_id == parent_id]
        assert parent in found, f"the parent of {name} is {found or 'none'}, not {parent}"


@contextmanager
def isolated(
    *,
    clock: Clock | None = None,
    id_generator: IdGenerator | None = None,
    metric_readers: Sequence[Any] = (),
    **settings: Any,
) -> Iterator[Isolated]:
    """Run a block on a Studio of its own; what was configured before comes back after it.

    Operations, queries and OpenTelemetry's global providers all use it inside the block. It
    reads no environment and sends nothing.

    Args:
        clock: the machine's by default; `otel_studio.testing.ManualClock()` for exact durations.
        id_generator: makes ids; random by default.
        metric_readers: OpenTelemetry metric readers, such as `InMemoryMetricReader()`.
        **settings: as for `configure`.

    Yields:
        what the block recorded: statistics, runs, spans and `assert_operation`.

    Example:
        >>> import otel_studio
        >>> with otel_studio.isolated() as s:
        ...     otel_studio.service("shop").record_operation("pay", duration=0.5)
        ...     s.operation("shop", "pay").max_duration_ms
        500.0
    """
    own = Studio(
        load_settings({}, os_root(), **settings),
        clock=clock,
        id_generator=id_generator,
        metric_readers=metric_readers,
    )
    with overriding(own):
        if own.logs is not None:
            own.logs.start()
        yield Isolated(own)


def os_root() -> str:
    """Return a folder above which no pyproject.toml is looked for."""
    import os

    return os.path.abspath(os.sep)

"""The TracerProvider: a drop-in for the SDK's that keeps ended spans in a buffer."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any, cast

from opentelemetry import metrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util import types

from otel_studio.base import outcome
from otel_studio.base.clock import Clock, SystemClock
from otel_studio.base.guard import report_internal_error
from otel_studio.base.limited import count_limited
from otel_studio.base.locks import new_lock
from otel_studio.base.resources import safe_resource
from otel_studio.base.text import safe_attributes
from otel_studio.base.weak_members import WeakMembers
from otel_studio.operations import seat
from otel_studio.spans import sdk_metrics
from otel_studio.spans.active import AbandonedSpan, ActiveReference
from otel_studio.spans.buffer import EndedSpans
from otel_studio.spans.fast_port import RunWatcher, ToldToken
from otel_studio.spans.handover import BatchConsumer, Handover
from otel_studio.spans.pipeline import Outlet, Pipeline
from otel_studio.spans.span import StudioSpan, span_name
from otel_studio.spans.tally import SpanTally
from otel_studio.spans.timebase import Timebase
from otel_studio.spans.tracer import StudioTracer


class StudioTracerProvider(TracerProvider):
    """OpenTelemetry's TracerProvider, at about a tenth of its cost per span.

    A drop-in: samplers, processors, limits, id generators and exporters are OpenTelemetry's.
    A processor that offers `consume(spans)` is handed ended spans in batches, off the hot
    path; every other one is called at start and end, as the specification says.

    Args:
        sampler: any OpenTelemetry sampler; by default what `OTEL_TRACES_SAMPLER` names.
        resource: who emits the spans; by default made from `OTEL_RESOURCE_ATTRIBUTES`.
        id_generator: makes trace and span ids; random by default.
        span_limits: by default read from the `OTEL_SPAN_*` variables.
        clock: wall and monotonic time, in nanoseconds.
        backlog: ended spans that may wait to be folded before the thread that ends one
            folds them itself.
        meter_provider: gets OpenTelemetry's metrics of its SDK, where
            `OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED` asks for them; by default the global one.
        max_tracers: scopes whose tracers are known for good; a further one is the same for as
            long as somebody holds it.
        shutdown_on_exit: whether to shut down when the interpreter exits.

    Example:
        >>> provider = StudioTracerProvider(shutdown_on_exit=False)
        >>> with provider.get_tracer("shop").start_as_current_span("checkout") as span:
        ...     span.set_attribute("items", 3)
    """

    def __init__(
        self,
        sampler: Sampler | None = None,
        resource: Resource | None = None,
        shutdown_on_exit: bool = True,
        active_span_processor: Any = None,
        id_generator: IdGenerator | None = None,
        span_limits: SpanLimits | None = None,
        *,
        clock: Clock | None = None,
        backlog: int = 1024,
        max_tracers: int = 1_000,
        meter_provider: metrics.MeterProvider | None = None,
        **sdk_options: Any,
    ) -> None:
        super().__init__(
            sampler=sampler,
            resource=resource,
            shutdown_on_exit=shutdown_on_exit,
            active_span_processor=None,  # the SDK would shut it down a second time
            id_generator=id_generator,
            span_limits=span_limits,
            **sdk_options,
        )
        if isinstance(self._resource, Resource):  # and no stand-in of a test's
            self._resource = safe_resource(self._resource)
        # Re-entrant, unlike the SDK's: a finalizer may run inside and ask for a tracer of its own.
        self._tracers_lock: Any = new_lock()
        self._max_tracers = max_tracers
        #: Tracers past that bound.
        self._passing: weakref.WeakValueDictionary[InstrumentationScope, StudioTracer] = (
            weakref.WeakValueDictionary()
        )
        self.clock = clock or SystemClock()
        self.timebase = Timebase(self.clock)
        #: What ended runs pass through; a Studio puts its own line here.
        self.line = Pipeline()
        self.ended = EndedSpans(backlog, self.timebase, self.sweep)
        self.ended.line = self.line
        #: Gives what the resource of a forked child says beside the parent's; by default the
        #: SDK's random instance id.
        self.identity: Callable[[], Resource] | None = None
        #: Spans of operations that run now; they keep themselves alive until they end.
        self.active: set[Any] = self.ended.active
        #: Every tracer that this provider made or adopted, while somebody holds it.
        self.made_tracers: WeakMembers[StudioTracer] = WeakMembers()
        #: Spans started through the API that run now; dropped ones leave it as abandoned.
        self.active_references: set[Any] = self.ended.references
        #: Spans whose end a thread is telling to processors.
        self.claimed: dict[StudioSpan, object] = {}
        #: Measures the runs of operations from outside; set before the first of them.
        self.run_watcher: RunWatcher | None = None
        #: Takes secrets out of an ended span before processors that are called at once see it.
        self.redact: Callable[[StudioSpan], None] | None = None
        #: Where OpenTelemetry's metrics of its SDK go, where they are wanted.
        self.meter_provider = meter_provider
        #: Counts the spans for them.
        self.tally: SpanTally | None = None
        self.processors: tuple[SpanProcessor, ...] = (
            (active_span_processor,) if active_span_processor is not None else ()
        )

    def __repr__(self) -> str:
        name = self.resource.attributes.get("service.name")
        return f"<StudioTracerProvider of {name!r}, {len(self.active)} spans open>"

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: types.Attributes = None,
    ) -> Any:
        """Return the tracer of a scope; the same one for the same scope."""
        if self._disabled:
            return super().get_tracer(instrumenting_module_name)
        self._report_spans()
        scope = InstrumentationScope(
            span_name(instrumenting_module_name or ""),
            span_name(instrumenting_library_version or ""),
            schema_url and span_name(schema_url),
            attributes and safe_attributes(attributes),
        )
        with self._tracers_lock:
            tracer = self._tracers.get(scope) or self._passing.get(scope)
            if tracer is None:
                tracer = StudioTracer(self, scope, self._apply_tracer_configurator(scope))
                if len(self._tracers) < self._max_tracers:
                    self._tracers[scope] = tracer
                else:
                    self._passing[scope] = tracer
                    count_limited("tracers")
                self.made_tracers.add(tracer)
        return tracer

    def _report_spans(self) -> None:
        """Have the spans among OpenTelemetry's metrics of its SDK, where these are wanted."""
        if self.tally is not None or not sdk_metrics.are_wanted():
            return
        with self._tracers_lock:
            if self.ended.tally is not None:  # another thread was first
                return
            tally = self.tally = self.ended.tally = SpanTally()
        sdk_metrics.report(self, tally, self.meter_provider or metrics.get_meter_provider())

    def adopt(self, tracers: Iterable[StudioTracer]) -> None:
        """Take over the tracers of a provider that has ended.

        Programs and instrumentations get a tracer once and keep it (a `ProxyTracer` of
        OpenTelemetry's API does): its spans come here from now on.

        Args:
            tracers: of any other provider.
        """
        if self._disabled:
            return
        self._report_spans()
        for tracer in tracers:
            self.made_tracers.add(tracer)  # not among `_tracers`, which would keep it for good
            tracer.move(self, self._apply_tracer_configurator(tracer.scope))

    def _set_tracer_configurator(self, *, tracer_configurator: Any) -> None:
        super()._set_tracer_configurator(tracer_configurator=tracer_configurator)
        for tracer in self.made_tracers:  # those past the bound are not among the SDK's
            tracer._set_tracer_config(self._apply_tracer_configurator(tracer.scope))

    def _update_resource(self, resource: Resource) -> None:
        self._resource = self._resource.merge(resource)
        for tracer in self.made_tracers:  # those adopted are not among the SDK's
            tracer._set_resource(self._resource)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Register a processor; one that offers `consume` gets batches of ended spans.

        An `ExportQueue` is put at the end of the line that ended runs pass through.
        """
        if hasattr(span_processor, "prepare"):
            self.line.queues = (*self.line.queues, cast("Outlet", span_processor))
            return
        if hasattr(span_processor, "consume"):
            handover = Handover(cast("BatchConsumer", span_processor))
            self.line.handovers = (*self.line.handovers, handover)
            return
        self.processors = (*self.processors, span_processor)
        for span in list(self.active):
            token = getattr(span, "_token", None)
            if token is not None:
                span._token = ToldToken(token)
        seat.unbind_all()  # operations are prepared for the processors that there were

    def _batch_processors(self) -> tuple[Any, ...]:
        return (*self.line.queues, *(handover.consumer for handover in self.line.handovers))

    # Active and ended

    def running(self) -> set[Any]:
        """Return the spans that run now, of operations and of the API."""
        return self.ended.running().difference(self.ended.spans.copy())

    def claim(self, span: StudioSpan) -> bool:
        """Tell whether the caller is the one to tell processors of a span's end.

        Not where another thread does it, nor for a span that began before a fork.
        """
        if span not in self.active and not self.ended.refers_to(span):
            return False
        mine = object()
        return self.claimed.setdefault(span, mine) is mine

    def drop(self, reference: ActiveReference) -> None:
        """Count a span of the API as abandoned, which was dropped without an end."""
        if reference in self.active_references:
            start = getattr(reference, "start", None)
            abandoned: Any = AbandonedSpan(reference.tracer, reference.name, start)
            self.active.add(abandoned)
            self.ended.append(abandoned)
            self.active_references.discard(reference)

    def complete(self, span: StudioSpan) -> None:
        """Do the end of a span that something has interrupted, as far as it was done, again."""
        if not span._end:
            span._tracer.finish(span, span._tracer.now())
        else:
            self.ended.append(span)

    def sweep(self) -> bool:
        """End the spans of operations that nobody can end any more.

        Those whose block had no room left on the stack to end them, and those that an exception
        of a signal handler cut off between two instructions: these count as abandoned.

        Returns:
            whether there were any.
        """
        if not self.active:
            return False
        found = False
        unheld = 0
        probe = [object()]
        for span in probe:
            unheld = sys.getrefcount(span)
        for span in (spans := list(self.active)):
            if type(span) is not StudioSpan:
                continue
            lost = span._lost
            if lost is not None:
                span._lost = None
                if not span._end and not span._outcome:
                    span._mark_exception(lost, record=True, set_status=True)
                self.complete(span)
                found = True
            # Held by nothing but the set of active spans; waiting, it would be held there as well.
            elif sys.getrefcount(span) == unheld + 1 and span in self.active:
                span._make_unusual(_outcome=outcome.ABANDONED)
                self.complete(span)
                found = True
        del spans
        return found

    def shutdown(self) -> None:
        """Fold what has ended and shut every processor down."""
        self.ended.fold()
        for processor in (*self._batch_processors(), *self.processors):
            shutdown = getattr(processor, "shutdown", None)
            if shutdown is not None:
                try:
                    shutdown()
                except Exception as error:
                    report_internal_error(f"shutting down {type(processor).__name__}", error)
        super().shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Fold what has ended, and have every processor send what it holds.

        Args:
            timeout_millis: milliseconds for all processors together.

        Returns:
            whether all of them finished in time.
        """
        self.ended.fold()
        deadline = self.clock.monotonic_ns() + timeout_millis * 1_000_000
        done = True
        for processor in (*self._batch_processors(), *self.processors):
            flush = getattr(processor, "force_flush", None)
            if flush is None:
                continue
            left = max((deadline - self.clock.monotonic_ns()) // 1_000_000, 0)
            try:
                done = bool(flush(left)) and done
            except Exception as error:
                report_internal_error(f"flushing {type(processor).__name__}", error)
                done = False
        return done

    def _handle_fork(self) -> None:
        super()._handle_fork()
        self._tracers_lock = new_lock()  # the SDK has replaced it by its own kind
        if self.identity is not None:
            self._update_resource(self.identity())

    def after_fork_in_child(self) -> None:
        """Start from empty in a forked child: nothing inherited is counted or sent twice."""
        self.ended.after_fork_in_child()
        self.claimed.clear()
        if self.tally is not None:
            self.tally.start_anew()
        self.timebase.refresh()
        seat.unbind_all()  # the first operation in the child wakes what works for it

"""The tracer: starts and ends the spans of one scope, sampled as the provider says."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationInfo, InstrumentationScope
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_tracer,
)
from opentelemetry.util import types

from otel_studio.base.guard import report_internal_error
from otel_studio.base.otel_private import SPAN_KEY, context_functions
from otel_studio.base.text import MAX_NAME
from otel_studio.operations import seat
from otel_studio.spans.active import refer, running_task, this_thread
from otel_studio.spans.current import CurrentSpan
from otel_studio.spans.ended_run import keep_start_times
from otel_studio.spans.fast_port import FastPort
from otel_studio.spans.sampling import RATIO_MASK, plan
from otel_studio.spans.span import StudioSpan, new_span, span_name, unix_time
from otel_studio.spans.tally import start_of

if TYPE_CHECKING:
    from otel_studio.spans.provider import StudioTracerProvider

_get_context, _, _ = context_functions()


class StudioTracer(Tracer):
    """A tracer of `StudioTracerProvider`."""

    def __init__(
        self, provider: StudioTracerProvider, scope: InstrumentationScope, tracer_config: Any
    ) -> None:
        # The SDK tracer's own __init__ only stores these, and builds self-metrics we replace.
        self.scope = scope
        self.name = scope.name
        #: Of somebody else's provider, once that has taken the place of ours.
        self.successor: Tracer | None = None
        self.move(provider, tracer_config)

    def __reduce__(self) -> tuple[Any, ...]:
        # One of the same name, of whichever provider there is: its own has locks and threads.
        name, version, url, attributes = self._made_of()
        return get_tracer, (name, version, None, url, attributes)

    def _made_of(self) -> tuple[str, str | None, str | None, dict[str, Any]]:
        scope = self.scope
        return scope.name, scope.version, scope.schema_url, dict(scope.attributes or {})

    def hand_over(self, provider: Any) -> None:
        """Have what is started from now on made by somebody else's provider.

        Who got this tracer before keeps it.

        Args:
            provider: of the SDK, or another that makes tracers.
        """
        successor = self.successor = provider.get_tracer(*self._made_of())

        def start_span(*arguments: Any, **options: Any) -> Span:
            # A block gives one more: whether it ends the span.
            options.pop("is_held", None)
            started: Span = successor.start_span(*arguments[:8], **options)
            return started

        self.start_span = start_span  # type: ignore[method-assign]
        self.start_as_current_span = successor.start_as_current_span  # type: ignore[method-assign]

    def move(self, provider: StudioTracerProvider, tracer_config: Any) -> None:
        """Belong to a provider from now on; what runs goes on and is not counted there."""
        self.provider = provider
        self.sampler = provider.sampler
        self.resource = provider.resource
        self.id_generator = provider.id_generator
        self.span_limits = provider._span_limits
        self.timebase = provider.timebase
        self.now = provider.clock.monotonic_ns
        self._tracer_config = tracer_config
        generator = provider.id_generator
        if type(generator) is RandomIdGenerator:
            # The module-level generator is seeded again in every forked child.
            self.new_trace_id: Callable[[], int] = functools.partial(random.getrandbits, 128)
            self.new_span_id: Callable[[], int] = functools.partial(random.getrandbits, 64)
        else:
            self.new_trace_id = generator.generate_trace_id
            self.new_span_id = generator.generate_span_id
        random_ids = getattr(generator, "is_trace_id_random", lambda: False)()
        self.random_flag = TraceFlags.RANDOM_TRACE_ID if random_ids else 0
        self.plan = plan(provider.sampler)
        #: The last name that a span was given, which is safe.
        self._known_name: Any = ""

    def _set_resource(self, resource: Resource) -> None:
        self.resource = resource

    def _set_tracer_config(self, tracer_config: Any) -> None:
        self._tracer_config = tracer_config
        # Operations are bound by what the scope was allowed before.
        seat.unbind_all()

    @property
    def instrumentation_info(self) -> InstrumentationInfo:  # type: ignore[override]
        """What the scope was called before it had attributes; warns, as the SDK's own does."""
        scope = self.scope
        return InstrumentationInfo(scope.name, scope.version, scope.schema_url)

    @property
    def is_enabled(self) -> bool:
        """Whether the tracer configurator lets this scope record."""
        return bool(self._tracer_config.is_enabled)

    def operation_port(self, name: str, attributes: types.Attributes = None) -> FastPort | None:
        """Return the prepared start and end of one operation, or `None` when there is no fast way.

        Args:
            name: the span's name.
            attributes: set on every span of the operation.
        """
        if self.plan is None or not self.is_enabled:
            return None
        self.provider.ended.wake_up()
        port = FastPort(self, name, attributes)
        if self.provider.run_watcher is not None:
            port.watch(self.provider.run_watcher, self.name, name)
        return port

    def start_as_current_span(  # type: ignore[override]
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> CurrentSpan:
        """Return a context manager (and decorator) that starts a span and makes it current."""
        return CurrentSpan(
            self,
            (
                name,
                context,
                kind,
                attributes,
                links,
                start_time,
                record_exception,
                set_status_on_exception,
                end_on_exit,
            ),
        )

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        is_held: bool = False,
    ) -> Span:
        """Start a span that is not made current; see `opentelemetry.trace.Tracer.start_span`.

        `is_held` is for callers of ours who end it, whatever happens: it lives until its end,
        instead of being dropped where nobody refers to it.
        """
        if name is not self._known_name:  # mostly a constant of the caller's
            if type(name) is not str or len(name) > MAX_NAME or not name.isprintable():
                name = span_name(name)
            self._known_name = name
        parent = (_get_context() if context is None else context).get(SPAN_KEY)
        sampling_plan = self.plan
        trace_state = None
        parent_context: SpanContext | None = None
        if not self._tracer_config.is_enabled:
            current = parent if isinstance(parent, Span) else INVALID_SPAN
            return NonRecordingSpan(current.get_span_context())
        if type(parent) is StudioSpan and sampling_plan is not None:
            trace_id, flags = parent._trace_id, parent._flags
            if not sampling_plan.follows_parent:
                flags = (flags & ~1) | (trace_id & RATIO_MASK < sampling_plan.bound)
                parent_context = parent.get_span_context()
            trace_state = parent._trace_state
        elif parent is None and sampling_plan is not None:
            trace_id = self.new_trace_id()
            flags = self.random_flag | (trace_id & RATIO_MASK < sampling_plan.bound)
        else:
            made = self._sampled_span(name, context, parent, kind, attributes, links)
            if not isinstance(made, tuple):
                return made
            trace_id, flags, parent_context, attributes, trace_state = made
        span = new_span(
            self,
            name,
            trace_id,
            self.new_span_id(),
            flags,
            parent if type(parent) is StudioSpan else None,
            self.now(),
            this_thread.mark,
        )
        if parent_context is not None:
            span._make_unusual(
                _parent_context=parent_context,
                _parent_id=parent_context.span_id,
                _parent_remote=parent_context.is_remote,
            )
        elif type(parent) is StudioSpan:
            span._parent_id = parent._span_id
        if trace_state:
            span._make_unusual(_trace_state=trace_state)
        self._fill(span, kind, attributes, links, start_time)
        if not record_exception:
            span._record_exception = False
        if not set_status_on_exception:
            span._set_status_on_exception = False
        task = running_task()
        if task is not None:
            span._task = task
        provider = self.provider
        if is_held:
            provider.active.add(span)
        else:
            reference = span._token = refer(span, self)
            if provider.tally is not None:
                reference.start = start_of(span)
            provider.active_references.add(reference)
        if provider.processors:
            self.started(span, context)
        return span

    def _fill(
        self,
        span: StudioSpan,
        kind: SpanKind,
        attributes: types.Attributes,
        links: Sequence[Link] | None,
        start_time: int | None,
    ) -> None:
        if kind is not SpanKind.INTERNAL:
            span._kind = kind
        if attributes:
            span.set_first_attributes(attributes)
        if links:
            span._set_links(links)
        if start_time is not None:
            span._make_unusual(_start_unix=unix_time(start_time), _explicit_start=True)

    def _sampled_span(
        self,
        name: str,
        context: Context | None,
        parent: object,
        kind: SpanKind,
        attributes: types.Attributes,
        links: Sequence[Link] | None,
    ) -> Span | tuple[int, int, SpanContext | None, types.Attributes, Any]:
        """Ask the sampler, for every case that the plan does not cover."""
        current = parent if isinstance(parent, Span) else INVALID_SPAN
        parent_context: SpanContext | None = current.get_span_context()
        if parent_context is not None and not isinstance(parent_context, SpanContext):
            raise TypeError("parent_span_context must be a SpanContext or None.")
        if parent_context is None or not parent_context.is_valid:
            parent_context, trace_id, random_flag = None, self.new_trace_id(), self.random_flag
        else:
            trace_id = parent_context.trace_id
            random_flag = parent_context.trace_flags & TraceFlags.RANDOM_TRACE_ID
        result = self.sampler.should_sample(context, trace_id, name, kind, attributes, links or ())
        sampled = result.decision is Decision.RECORD_AND_SAMPLE
        flags = random_flag | (TraceFlags.SAMPLED if sampled else 0)
        if result.decision is Decision.DROP:
            if self.provider.tally is not None:
                self.provider.tally.unrecorded(parent_context)
            return NonRecordingSpan(
                SpanContext(
                    trace_id,
                    self.new_span_id(),
                    is_remote=False,
                    trace_flags=TraceFlags(flags),
                    trace_state=result.trace_state,
                )
            )
        return trace_id, flags, parent_context, result.attributes, result.trace_state

    # Start and end as the processors see them

    def started(self, span: StudioSpan, context: Context | None) -> None:
        """Tell the processors that are called at every start."""
        for processor in self.provider.processors:
            try:
                processor.on_start(span, parent_context=context)  # type: ignore[arg-type]
            except Exception as error:
                report_internal_error(f"on_start of {type(processor).__name__}", error)

    def finish(self, span: StudioSpan, end: int) -> None:
        """End a span; of two threads that do so at once, the fold passes over the second."""
        provider = self.provider
        if provider.processors:
            if not provider.claim(span):
                return
            try:
                self._ending(span)
                span._end = end  # what processors are given has ended
                if provider.redact is not None:
                    provider.redact(span)
                self._ended(span)
            finally:
                provider.claimed.pop(span, None)
        ended = provider.ended
        span._end = end
        ended.append(span)
        if ended.is_asleep:
            ended.wake_up()
        if len(ended.spans) > ended.limit:
            ended.relieve()

    def _ending(self, span: StudioSpan) -> None:
        for processor in self.provider.processors:
            hook = getattr(processor, "_on_ending", None)
            if hook is not None:
                try:
                    hook(span)
                except Exception as error:
                    report_internal_error(f"_on_ending of {type(processor).__name__}", error)

    def _ended(self, span: StudioSpan) -> None:
        keep_start_times((span,))  # a processor may look at it at any later time
        for processor in self.provider.processors:
            try:
                processor.on_end(span)
            except Exception as error:
                report_internal_error(f"on_end of {type(processor).__name__}", error)

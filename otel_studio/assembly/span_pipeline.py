"""The way of spans: their provider, the buffer where they end, and the queues that send them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from otel_studio.assembly import from_settings
from otel_studio.base import otel_sdk_private
from otel_studio.base.clock import Clock
from otel_studio.base.delivery import said
from otel_studio.settings.loading import Settings
from otel_studio.spans.buffer import EndedSpans
from otel_studio.spans.foreign import RegistrySpanProcessor
from otel_studio.spans.pipeline import Pipeline
from otel_studio.spans.provider import StudioTracerProvider
from otel_studio.spans.sampling import RecordAll, RecordingEverything, build_sampler
from otel_studio.spans.timebase import Timebase

if TYPE_CHECKING:
    from otel_studio.spans.export import ExportQueue


class SpanPipeline:
    """Our tracer provider, or somebody else's with a processor of ours in it.

    Args:
        settings: every setting, resolved.
        clock: wall and monotonic time.
        resource: who emits the spans.
        identity: gives what is this process's own in the resource.
        id_generator: makes trace and span ids; random by default.
        existing: the provider to attach to, where it takes processors.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        resource: Resource,
        identity: Callable[[], Resource],
        *,
        id_generator: IdGenerator | None = None,
        existing: Any = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._line = Pipeline()
        #: Queues of a provider of ours that gave way: they send what waits there.
        self._left_queues: tuple[ExportQueue, ...] = ()
        #: The queues whose exporters were made by name, with it.
        self._renewals: list[tuple[ExportQueue, str]] = []
        #: Exporters of the parent process: letting them go could close what is still in use there.
        self._inherited: list[Any] = []
        #: Feeds the registry from somebody else's provider.
        self.processor: RegistrySpanProcessor | None = None
        self._recording: RecordingEverything | None = None
        self.owns_provider = not hasattr(existing, "add_span_processor") or isinstance(
            existing, StudioTracerProvider
        )
        if not self.owns_provider:
            self.provider: Any = existing
            self.ended = EndedSpans(settings.registry_backlog, Timebase(clock))
            self.processor = RegistrySpanProcessor(self.ended, clock)
            return
        sampler = settings.sampler
        if not isinstance(sampler, Sampler):
            sampler = build_sampler(sampler, settings.sampler_arg)
        provider = StudioTracerProvider(
            sampler=RecordAll(sampler),
            resource=resource,
            shutdown_on_exit=False,
            id_generator=id_generator,
            clock=clock,
            backlog=settings.registry_backlog,
            max_tracers=settings.max_services,
        )
        provider.identity = identity
        self.provider = provider
        self.ended = provider.ended

    def made_queues(self) -> list[ExportQueue]:
        """Make the export queues that the settings ask for; where the provider is ours."""
        settings = self._settings
        names = () if settings.sdk_disabled else settings.traces_exporter
        if not self.owns_provider:
            has_processors = otel_sdk_private.has_span_processors(self.provider)
            from_settings.say_unused("traces_exporter", names, "TracerProvider", has_processors)
            return []
        queues = []
        for exporter, name in from_settings.made("traces exporter", names, self._exporter):
            queue = self._queue(exporter)
            self._renewals.append((queue, name))
            queues.append(queue)
        return queues

    def connect(self, line: Pipeline) -> None:
        """Let every run that ends pass through a line from now on.

        Args:
            line: what it passes through; the program's own processors stay behind it.
        """
        if self.owns_provider:
            line.handovers = self.provider.line.handovers
            self.provider.line = line
        self.ended.line = line
        self._line = line
        if self.processor is not None:
            self._listen(self.processor)

    def _listen(self, processor: RegistrySpanProcessor) -> None:
        self.provider.add_span_processor(processor)
        # Without this the registry would see only what is sampled.
        self._recording = RecordingEverything(self.provider)

    def join(self, provider: Any) -> RegistrySpanProcessor:
        """Let somebody else's provider, which takes processors, take the place of ours.

        What runs goes on and is counted. Tracers that were given away make their spans there; what
        is sent from now on is that provider's affair.

        Args:
            provider: of the program's own.

        Returns:
            what feeds the registry from it.
        """
        self.ended.fold()  # what has ended until now is still for the queues
        ours, self.provider, self.owns_provider = self.provider, provider, False
        self._left_queues, self._line.queues = tuple(self.queues), ()
        names = [name for _, name in self._renewals]
        has_processors = otel_sdk_private.has_span_processors(provider)
        for processor in ours.processors:
            provider.add_span_processor(processor)
        self.processor = RegistrySpanProcessor(self.ended, self._clock)
        self._listen(self.processor)
        for tracer in ours.made_tracers:
            tracer.hand_over(provider)
        from_settings.say_unused("traces_exporter", names, "TracerProvider", has_processors)
        return self.processor

    def _exporter(self, name: str) -> Any:
        return from_settings.span_exporter(self._settings, name)

    def add_exporter(self, exporter: Any) -> ExportQueue:
        """Send sampled spans to one more exporter, through a queue of its own."""
        queue = self._queue(exporter)
        self._line.queues = (*self._line.queues, queue)
        return queue

    def _queue(self, exporter: Any) -> ExportQueue:
        from otel_studio.spans.export import ExportQueue

        return ExportQueue(
            exporter,
            limit=self._settings.export_queue_size,
            batch_size=self._settings.export_batch_size,
            interval=self._settings.export_interval,
            max_bytes=self._settings.max_export_bytes,
        )

    @property
    def queues(self) -> list[ExportQueue]:
        """Send the sampled spans, one queue for each exporter."""
        return [*self._left_queues, *cast("tuple[ExportQueue, ...]", self._line.queues)]

    def flush(self, deadline: float) -> bool:
        """Send what is queued now.

        Args:
            deadline: by `time.monotonic()`, in seconds.

        Returns:
            whether all of it was sent in time.
        """
        done = True
        for queue in self.queues:
            left = max(deadline - time.monotonic(), 0)
            done = queue.force_flush(left * 1000) and done
        return done

    def endings(self, left: Callable[[], float]) -> dict[str, Callable[[], object]]:
        """Return what sends the rest and stops, by name.

        Args:
            left: gives the seconds that are left.
        """
        return {
            f"export queue {number}": lambda queue=queue: queue.shutdown(left())  # type: ignore[misc]
            for number, queue in enumerate(self.queues)
        }

    def unsent_from_now(self) -> Callable[[], int]:
        """Return what tells how many of the spans that wait now were not sent."""
        waiting = sum(queue.outstanding for queue in self.queues)
        before = self._settled()
        return lambda: max(waiting - (self._settled() - before), 0)

    def _settled(self) -> int:
        return sum(queue.exported + said(queue.dropped) for queue in self.queues)

    @property
    def exporters(self) -> list[Any]:
        """What the queues send through."""
        return [queue.exporter for queue in self.queues]

    def detach(self) -> None:
        """Leave somebody else's provider as it was found."""
        if self.processor is not None:
            self.processor.shutdown()
            otel_sdk_private.remove_span_processor(self.provider, self.processor)
        if self._recording is not None:
            self._recording.undo()

    def after_fork_in_child(self) -> None:
        """Start from empty in a forked child, with exporters anew.

        A connection of the parent's is in use there.
        """
        if self.owns_provider:
            self.provider.after_fork_in_child()
        else:
            self.ended.after_fork_in_child()
        if self.processor is not None:
            self.processor.after_fork_in_child()
        for queue in self.queues:
            queue.after_fork_in_child()
        self._inherited += self.exporters
        for queue, name in self._renewals:
            for exporter, _ in from_settings.made("traces exporter", [name], self._exporter):
                queue.exporter = exporter

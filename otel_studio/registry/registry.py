"""The registry: the single source of every number about operations."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from otel_studio.clock import Clock
from otel_studio.guard import report_internal_error, warn_once
from otel_studio.registry.errors import OTHER, ErrorGroups
from otel_studio.registry.rate import RecentRate
from otel_studio.registry.statistics import Bounds, OperationStatistics
from otel_studio.tracing.buffer import EndedSpans, keep_start_times
from otel_studio.tracing.span import OUTCOME_ABANDONED


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the registry.

    Attributes:
        operations_per_service: names that get statistics of their own; more share `__other__`.
        services: likewise for services.
        error_groups: groups kept per service.
        trace_ids: trace ids kept per error group.
        bounds: what each operation may hold.
    """

    operations_per_service: int
    services: int
    error_groups: int
    trace_ids: int
    bounds: Bounds


class ServiceStatistics:
    """The operations of one service."""

    def __init__(self, name: str, limits: Limits, clock: Clock) -> None:
        self.name = name
        self._limits = limits
        self._clock = clock
        self.operations: dict[str, OperationStatistics] = {}
        self.clear()

    def clear(self) -> None:
        """Forget every run and operation; the uptime starts again."""
        now = self._clock.monotonic_ns()
        self.began = now
        self.rate = RecentRate(now)
        self.errors = ErrorGroups(self._limits.error_groups, self._limits.trace_ids)
        self.operations.clear()

    @property
    def overflowed(self) -> int:
        """Runs that were counted under `__other__` for want of room."""
        other = self.operations.get(OTHER)
        return 0 if other is None else other.count

    def operation(self, name: str) -> OperationStatistics:
        """Return the statistics of an operation, `__other__`'s where there is no more room."""
        found = self.operations.get(name)
        if found is not None:
            return found
        limit = self._limits.operations_per_service
        if len(self.operations) >= limit and name != OTHER:
            warn_once(
                "cardinality",
                self.name,
                "service %r has more than %d operations: further ones are counted together as %r. "
                "Give spans names without ids, or raise max_operations_per_service.",
                self.name,
                limit,
                OTHER,
            )
            return self.operation(OTHER)
        made = self.operations[name] = OperationStatistics(self.name, name, self._limits.bounds)
        return made


class Registry:
    """Folds ended spans into statistics by (service, operation), and counts running ones.

    Every read happens inside `reading()`, which folds first: a query is exact at the
    moment of its call.

    Args:
        ended: the buffer the spans arrive through.
        clock: monotonic time.
        limits: every bound.
    """

    def __init__(self, ended: EndedSpans, clock: Clock, limits: Limits) -> None:
        self._ended = ended
        self._clock = clock
        self.limits = limits
        self.services: dict[str, ServiceStatistics] = {}
        #: What yields the running spans (objects with `_tracer`, `_name`, `_start` ...).
        self.active_sources: list[Any] = []
        #: Spans folded so far.
        self.folded = 0
        #: Nanoseconds spent folding so far.
        self.fold_ns = 0
        #: Operations with a batch in hand; kept, for a fold may be interrupted (Ctrl-C).
        self._touched: list[OperationStatistics] = []
        self._unfolded: Iterator[Any] = iter(())
        ended.add_consumer(self)

    # Filling

    def service(self, name: str) -> ServiceStatistics:
        """Return a service's statistics, making them at the first call; call inside `reading()`."""
        found = self.services.get(name)
        if found is None:
            if len(self.services) >= self.limits.services and name != OTHER:
                warn_once(
                    "cardinality",
                    "services",
                    "more than %d services (instrumentation scopes): further ones are counted "
                    "together as %r.",
                    self.limits.services,
                    OTHER,
                )
                return self.service(OTHER)
            found = self.services[name] = ServiceStatistics(name, self.limits, self._clock)
        return found

    def consume(self, spans: Sequence[Any]) -> None:
        """Fold a batch of ended spans; called by the buffer, one batch at a time."""
        began = self._clock.monotonic_ns()
        services = self.services
        touched = self._touched
        counts: dict[ServiceStatistics, int] = {}
        tracer: Any = None
        name: Any = None
        pending: list[Any] = []
        # What an interrupted fold left behind comes first; this one may leave something, too.
        left = list(self._unfolded)
        self._unfolded = unfolded = iter([*left, *spans] if left else spans)
        for span in unfolded:
            # The same operation again, as often: nothing to look up.
            if span._name is not name or span._tracer is not tracer:
                tracer, name = span._tracer, span._name
                service = services.get(tracer.name)
                if service is None:
                    service = self.service(tracer.name)
                statistics = service.operations.get(name)
                if statistics is None:
                    statistics = service.operation(name)
                pending = statistics.pending
                if not pending:
                    touched.append(statistics)
            pending.append(span)
            parent = span._parent_span
            if parent is not None:
                # The time of children, kept by the parent; the link is cut so that no
                # chain of ended spans is kept alive.
                span._parent_span = None
                if span._outcome != OUTCOME_ABANDONED:
                    children = parent._children
                    if children is None:
                        children = parent._children = {}
                    spent = children.get((tracer.name, name))
                    if spent is None:
                        if len(children) < 50:
                            children[tracer.name, name] = [span._end - span._start, 1]
                    else:
                        spent[0] += span._end - span._start
                        spent[1] += 1
        for statistics in touched:
            service = services[statistics.service]
            try:
                runs = statistics.fold_pending(service.errors)
            except Exception as error:  # the other operations are counted all the same
                report_internal_error("counting the runs of an operation", error)
                continue
            counts[service] = counts.get(service, 0) + runs
        touched.clear()
        for service, runs in counts.items():
            service.rate.add(began, runs)
        self.folded += len(spans)
        self.fold_ns += self._clock.monotonic_ns() - began

    # Reading

    @contextmanager
    def reading(self) -> Iterator[dict[str, ServiceStatistics]]:
        """Fold everything that has ended, and keep folds out while the block reads."""
        with self._ended.folded():
            yield self.services

    def now(self) -> int:
        """Return the monotonic clock in nanoseconds."""
        return self._clock.monotonic_ns()

    def active_spans(self) -> list[Any]:
        """Return the spans that run now, oldest first."""
        spans = [span for source in self.active_sources for span in source()]
        spans.sort(key=lambda span: span._start)
        return spans

    def active_counts(self) -> dict[tuple[str, str], int]:
        """Return how many runs of each (service, operation) are going on.

        They stand where they will be counted: past the bounds under `__other__`. One that runs
        for the first time has its row from now on.
        """
        running: Counter[tuple[str, str]] = Counter()
        for source in self.active_sources:
            running.update([(span._tracer.name, span._name) for span in source()])
        counts: dict[tuple[str, str], int] = {}
        with self.reading():
            for (service, operation), number in running.items():
                statistics = self.service(service).operation(operation)
                key = (statistics.service, statistics.name)
                counts[key] = counts.get(key, 0) + number
        return counts

    def keep_times(self) -> None:
        """Have every span at hand keep its times, before the wall clock is followed."""
        spans = self.active_spans()
        for service in self.services.values():
            for statistics in service.operations.values():
                spans += statistics.kept_spans()
        keep_start_times(spans)

    def forget_after_fork(self) -> None:
        """Start from zero in a forked child; the services stay known."""
        for service in self.services.values():
            service.clear()
        self._touched = []
        self._unfolded = iter(())
        self.folded = 0
        self.fold_ns = 0

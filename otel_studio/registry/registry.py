"""The registry: the single source of every number about operations."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from otel_studio.base.clock import Clock
from otel_studio.base.guard import is_ordinary_code
from otel_studio.base.overflow import OTHER
from otel_studio.base.reading import add_counts, new_epoch
from otel_studio.base.stack import has_room, run_elsewhere
from otel_studio.registry.fold import Groups, Labels, fold
from otel_studio.registry.keeping import Keeping, within
from otel_studio.registry.limits import Limits
from otel_studio.registry.placing import operations_in, place_operation, place_service
from otel_studio.registry.reading import (
    ProcessMoment,
    RegistryReading,
    ServicePart,
    ServiceReading,
)
from otel_studio.spans.buffer import Change, EndedSpans
from otel_studio.spans.ended_run import EndedRun, OpenRun, keep_start_times


class Known(NamedTuple):
    """What the registry knows: replaced as a whole by each fold, never changed.

    Attributes:
        services: epoch and part of each service.
        folded: ended runs so far.
        fold_ns: nanoseconds spent folding so far.
        ignored: of the runs, those that the selection left out.
        sample_bytes: what the samples hold at most; counted anew where it is too much.
        limited: what the bounds in bytes have cost, by store.
    """

    services: Mapping[str, tuple[str, ServicePart]]
    folded: int = 0
    fold_ns: int = 0
    ignored: int = 0
    sample_bytes: int = 0
    limited: Mapping[str, int] = MappingProxyType({})


class ServiceNotFound(LookupError):
    """A service that has neither been declared nor run anything."""


class Registry:
    """Folds ended runs into what is known by (service, operation), and reads it.

    A reading folds first: it is exact at the moment of its call.

    Args:
        ended: the buffer the runs arrive through.
        clock: monotonic time.
        limits: every bound.
        labels: returns the names of the labels that an operation declares.
        leaves_out: tells whether an operation is ignored.
    """

    def __init__(
        self,
        ended: EndedSpans,
        clock: Clock,
        limits: Limits,
        labels: Labels = lambda _service, _operation: (),
        leaves_out: Callable[[str, str], bool] = lambda _service, _operation: False,
    ) -> None:
        self._ended = ended
        self._clock = clock
        self._labels = labels
        self._leaves_out = leaves_out
        self.limits = limits
        #: Of what is counted whatever is reset: a process may have one registry after another.
        self._epoch = new_epoch()
        #: Since when the runs of services that were not reset count.
        self._since_ns = clock.time_ns()
        self._began_ns = clock.monotonic_ns()
        #: Its one element. Replaced by a call into C, together with all else that takes a batch.
        self._known: deque[Known] = deque([Known({})], maxlen=1)
        #: Services that were declared since the last reading, and when, by the monotonic clock.
        self._declared: dict[str, int] = {}
        #: Services to be cleared by the fold in progress, which the request has interrupted.
        self._resets: deque[str] = deque()

    def __repr__(self) -> str:
        known = self._known[0]
        return f"<Registry of {len(known.services)} services, {known.folded} runs folded>"

    def keep_series_sketches(self) -> None:
        """Let every series have a sketch, from the operations on that are not known yet.

        Two of an operation that fails take twice its memory: only where a reader wants them.
        """
        bounds = dataclasses.replace(self.limits.bounds, series_sketches=True)
        self.limits = dataclasses.replace(self.limits, bounds=bounds)

    # Filling

    def prepare(self, groups: Groups, ended: int, ignored: int) -> Change:
        """Return what puts a batch among what is known; see `spans.pipeline`."""
        known = self._known[0]
        if any(service not in known.services for service, _ in groups):
            self._know_running(self._ended.running(), known)
        known = self._folded(known, groups, ended, ignored)
        while self._resets:
            known = self._reset(known, self._resets.popleft())
        return self._known.append, known

    def _folded(self, known: Known, groups: Groups, ended: int, ignored: int) -> Known:
        began = self._clock.monotonic_ns()
        known = self._with_declared(known)
        limits = self.limits
        keeping = Keeping(limits.run_bytes)
        services: Mapping[str, tuple[str, ServicePart]] = fold(
            known.services, groups, limits, self._labels, began, self._new_part, keeping
        )
        held, stripped = known.sample_bytes + keeping.bytes, 0
        if held > limits.sample_bytes:
            services, held, stripped = within(services, limits.sample_bytes)
        limited = known.limited
        if keeping.values_cut or stripped:
            limited = add_counts(limited, {"runs": keeping.values_cut, "samples": stripped})
        return Known(
            services,
            known.folded + ended,
            known.fold_ns + self._clock.monotonic_ns() - began,
            known.ignored + ignored,
            held,
            limited,
        )

    def _new_part(self, began_ns: int) -> tuple[str, ServicePart]:
        return new_epoch(), ServicePart(max(began_ns, self._began_ns), self._since_ns)

    def declare(self, service: str) -> None:
        """Know a service from now on, also if it never runs anything."""
        if service in self._known[0].services:
            return
        waiting = self._declared
        if len(waiting) < self.limits.services:
            waiting.setdefault(service, self._clock.monotonic_ns())
        elif service not in waiting:  # it would find no room among those
            waiting.setdefault(OTHER, self._clock.monotonic_ns())

    def _know_running(self, running: Iterable[OpenRun], known: Known) -> None:
        """Know the services of runs that go on, since the first of these began."""
        waiting = self._declared
        for run in running:
            service, start = run._tracer.name, run._start
            if service in known.services or self._leaves_out(service, run._name):
                continue
            if service in waiting:
                waiting[service] = min(waiting[service], start)
            elif len(waiting) < self.limits.services:
                waiting[service] = start

    def service_names(self) -> list[str]:
        """Return the services that are known now; takes no lock and folds nothing."""
        return list(dict.fromkeys([*self._known[0].services, *self._declared.copy()]))

    def reset(self, service: str) -> None:
        """Clear a service; what runs now is counted when it ends.

        Raises:
            ServiceNotFound: if the name is unknown.
        """
        with self._ended.lock:
            self._ended.cut()
            known = self._with_declared(self._known[0])
            if service not in known.services:
                names = ", ".join(sorted(known.services)) or "none yet"
                raise ServiceNotFound(f"no service is called {service!r}: known are {names}")
            if self._ended.is_folding:  # interrupted on this very thread: its end does it
                self._resets.append(service)
            else:
                self._known.append(self._reset(known, service))
        self._ended.settle()

    def _reset(self, known: Known, service: str) -> Known:
        part = ServicePart(self._clock.monotonic_ns(), self._clock.time_ns())
        return known._replace(services={**known.services, service: (new_epoch(), part)})

    def _with_declared(self, known: Known) -> Known:
        """Return what is known with the services in it that were declared meanwhile."""
        declared = self._declared.copy()
        if all(name in known.services for name in declared):
            return known
        services = dict(known.services)
        for name, began in declared.items():
            home = place_service(services, name, self.limits)
            if home not in services:
                services[home] = self._new_part(began)
        return known._replace(services=services)

    def _forget_declared(self, known: Known) -> None:
        full = len(known.services) >= self.limits.services
        for name in self._declared.copy():
            if full or name in known.services:  # else it was declared since
                self._declared.pop(name, None)

    # Reading

    def reading(self) -> RegistryReading:
        """Return everything that is known at this moment, and what runs at it."""
        if not has_room():  # deep in a recursion: on a stack of its own
            found: list[RegistryReading] = []
            if run_elsewhere(lambda: found.append(self._read())) and found:
                return found[0]
        return self._read()

    def _read(self) -> RegistryReading:
        if is_ordinary_code():  # else what waits is looked at, and not folded
            self._ended.fold_ahead()
        with self._ended.lock:
            cut = self._ended.cut()
            self._know_running(cut.running, self._known[0])
            known = self._with_declared(self._known[0])
            if cut.unfolded:  # inside a fold on this thread: what it has in hand counts, too
                groups = self._by_operation(cut.unfolded)
                known = self._folded(known, groups, len(cut.unfolded), 0)
            elif self._declared:
                self._known.append(known)
                self._forget_declared(known)
        self._ended.settle()
        return RegistryReading(
            {name: ServiceReading({epoch: part}) for name, (epoch, part) in known.services.items()},
            {
                self._epoch: ProcessMoment(
                    self._clock.monotonic_ns(),
                    self._clock.time_ns(),
                    self._active(cut.running, known),
                    known.folded,
                    known.fold_ns,
                    known.ignored,
                    known.limited,
                )
            },
        )

    def _active(self, running: Iterable[EndedRun], known: Known) -> dict[tuple[str, str], int]:
        """Return the runs that go on, where they will be counted: past a bound `__other__`."""
        counts: dict[tuple[str, str], int] = {}
        for run in running:
            key = (run._tracer.name, run._name)
            counts[key] = counts.get(key, 0) + 1
        placed: dict[tuple[str, str], int] = {}
        homes = dict.fromkeys(known.services)
        in_all = operations_in(known.services)
        rows: dict[str, dict[str, None]] = {}
        for (service, name), count in sorted(counts.items()):
            if self._leaves_out(service, name):
                continue
            home = place_service(homes, service, self.limits)
            homes[home] = None
            if home not in rows:
                part = known.services.get(home)
                rows[home] = {} if part is None else dict.fromkeys(part[1].operations)
            others = in_all - len(rows[home])
            row = place_operation(home, rows[home], name, self.limits, others)
            rows[home][row] = None
            in_all = others + len(rows[home])
            placed[home, row] = placed.get((home, row), 0) + count
        return placed

    def running(self) -> list[EndedRun]:
        """Return the runs that go on, oldest first, but for those of ignored operations."""
        with self._ended.lock:
            running = self._ended.cut().running
        self._ended.settle()
        shown = [run for run in running if not self._leaves_out(run._tracer.name, run._name)]
        return sorted(shown, key=lambda run: run._start)

    def _by_operation(self, runs: Iterable[EndedRun]) -> dict[tuple[str, str], list[EndedRun]]:
        groups: dict[tuple[str, str], list[EndedRun]] = {}
        for run in runs:
            key = (run._tracer.name, run._name)
            if not self._leaves_out(*key):
                groups.setdefault(key, []).append(run)
        return groups

    def keep_times(self) -> None:
        """Have every run that is kept keep its times, before the wall clock is followed."""
        for _, part in self._known[0].services.values():
            for operation in part.operations.values():
                keep_start_times(operation.recent)
                keep_start_times(operation.slowest)
                if operation.last_failed is not None:
                    keep_start_times((operation.last_failed,))
                for series in operation.series.values():
                    keep_start_times(run for run in series.exemplars if run is not None)

    def after_fork_in_child(self) -> None:
        """Start from zero in a forked child; the services stay known."""
        self._epoch = new_epoch()
        self._since_ns = self._clock.time_ns()
        self._began_ns = now = self._clock.monotonic_ns()
        services = {name: self._new_part(now) for name in self._known[0].services}
        self._known.append(Known(services))

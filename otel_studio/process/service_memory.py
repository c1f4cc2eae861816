"""Memory by service: what each service says it holds, sampled with its peak."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import types
import weakref
from collections.abc import Callable
from typing import Any

from otel_studio.base.clock import Clock
from otel_studio.base.guard import report_internal_error, warn_once
from otel_studio.base.locks import new_lock
from otel_studio.base.sizing import ObjectSizer
from otel_studio.base.text import safe_line

MAX_SERVICES = 1_000
MAX_PROBES_PER_SERVICE = 1_000

#: A probe may take this share of the time: one that takes 10 ms is asked each second at most.
_SHARE_OF_TIME = 0.01
#: Quicker probes are asked at every sample.
_QUICK_NS = 1_000_000

Probe = Callable[[], "int | float | None"]


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceReading:
    """What one service held when it was last sampled, in bytes."""

    service: str
    #: `None` when none of its probes told.
    held: int | None
    peak: int | None
    #: How `held` was found, in words.
    measured_by: str
    #: When that was.
    unix_ns: int = 0

    def or_later(self, other: ServiceReading) -> ServiceReading:
        """Return the later of two samples of one process, with the larger peak of both."""
        peaks = [peak for peak in (self.peak, other.peak) if peak is not None]
        later = other if other.unix_ns >= self.unix_ns else self
        return dataclasses.replace(later, peak=max(peaks, default=None))

    def with_another(self, other: ServiceReading) -> ServiceReading:
        """Return what the service holds here and in another process, and the larger peak."""
        held = [size for size in (self.held, other.held) if size is not None]
        return dataclasses.replace(self.or_later(other), held=sum(held) if held else None)


class TrackedMemory:
    """One probe or object that is tracked; `close()` ends it.

    Example:
        >>> tracked = tracker.track("preview-service", buffers)  # doctest: +SKIP
        >>> tracked.close()  # doctest: +SKIP
    """

    def __init__(self, read: Callable[[], Any], is_object: bool) -> None:
        self.read = read
        self.is_object = is_object
        self.closed = False
        self.held: int | None = None
        self.complete = True
        self.next_ns = 0

    def close(self) -> None:
        """Stop tracking; a second call does nothing."""
        self.closed = True


class MemoryTracker:
    """Asks the probes of every service what they hold.

    Args:
        clock: tells when a costly probe may be asked again.
        sizer: sizes tracked objects.
    """

    def __init__(self, clock: Clock, sizer: ObjectSizer | None = None) -> None:
        self._clock = clock
        self._sizer = sizer or ObjectSizer()
        self._lock = new_lock()
        #: Whose turn it is to ask the probes. No lock: they are the program's own, and may ask us.
        self._sampling: object | None = None
        self._probes: dict[str, list[TrackedMemory]] = {}
        self._peaks: dict[str, int] = {}
        self._readings: dict[str, ServiceReading] = {}

    def track(self, service: str, probe: Any) -> TrackedMemory:
        """Count what a probe returns, or what an object takes, as a service's memory.

        An object is held weakly where it can be, and so is the owner of a bound method:
        tracking does not keep them alive, and what is gone counts nothing. Lists, dicts,
        text and bytes cannot be held weakly: `close()` the result, or give a function.

        Args:
            service: the service's name.
            probe: a function without arguments that returns bytes, or `None` when it cannot
                tell; any other object is sized (arrays, tensors, containers, instances).

        Returns:
            What ends the tracking.

        Raises:
            TypeError: if `service` is not text, or the probe is a coroutine function.
            ValueError: if it is empty.
        """
        if not isinstance(service, str):
            raise TypeError(f"a service's name is text, not {type(service).__name__}: give a str")
        if not service:
            raise ValueError("a service's name cannot be empty: give one such as 'cache-service'")
        service = safe_line(service)
        if inspect.iscoroutinefunction(probe):
            raise TypeError(
                f"the memory probe of {service!r} is a coroutine function, which a sample cannot "
                "await: give a plain function that returns bytes"
            )
        is_probe = inspect.isroutine(probe) or isinstance(probe, functools.partial)
        tracked = TrackedMemory(_reader(probe, is_probe), is_object=not is_probe)
        with self._lock:
            probes = [known for known in self._probes.get(service, ()) if not known.closed]
            full = len(probes) >= MAX_PROBES_PER_SERVICE
            full = full or (service not in self._probes and len(self._probes) >= MAX_SERVICES)
            if not full:
                self._probes[service] = [*probes, tracked]
        if full:
            tracked.close()
            warn_once("memory", service, "too much is tracked: %r gets no more", service)
        return tracked

    def register_sizer(self, kind: type, sizer: Callable[[Any], int | None]) -> None:
        """Size tracked objects of one type with a function; see `ObjectSizer.register`."""
        self._sizer.register(kind, sizer)

    def sample(self) -> None:
        """Ask every probe that is due. While a sample is being taken, this does nothing."""
        mine = object()
        try:  # from before the turn is taken: a signal handler may raise between any two steps
            with self._lock:
                if self._sampling is None:
                    self._sampling = mine
            if self._sampling is mine:
                self._ask_all()
        finally:
            if self._sampling is mine:
                self._sampling = None

    def _ask_all(self) -> None:
        with self._lock:
            by_service = {service: list(probes) for service, probes in self._probes.items()}
        for service, probes in by_service.items():
            for tracked in probes:
                self._ask(service, tracked)
            self._note(service, probes)

    def readings(self) -> dict[str, ServiceReading]:
        """Return what each service held at the last sample."""
        with self._lock:
            return dict(self._readings)

    def after_fork_in_child(self) -> None:
        """Go on in a child: it has its own copy of what is tracked, and its own peaks."""
        self._sampling = None
        self._peaks = {}
        self._readings = {}

    def _ask(self, service: str, tracked: TrackedMemory) -> None:
        began = self._clock.monotonic_ns()
        if tracked.closed or began < tracked.next_ns:
            return
        try:
            answer = tracked.read()
            if answer is _GONE:
                tracked.close()
            elif tracked.is_object:
                size = self._sizer.size(answer)
                tracked.held, tracked.complete = size.bytes, size.complete
            else:
                tracked.held = _checked(answer)
        except Exception as error:
            tracked.held = None
            report_internal_error(f"the memory probe of service {service!r}", error)
        ended = self._clock.monotonic_ns()
        if ended - began > _QUICK_NS:
            tracked.next_ns = ended + round((ended - began) / _SHARE_OF_TIME)

    def _note(self, service: str, probes: list[TrackedMemory]) -> None:
        live = [tracked for tracked in probes if not tracked.closed]
        known = [tracked.held for tracked in live if tracked.held is not None]
        held = sum(known) if known or not live else None
        now_ns = self._clock.time_ns()
        with self._lock:
            if held is not None:
                self._peaks[service] = max(held, self._peaks.get(service, 0))
            self._readings[service] = ServiceReading(
                service, held, self._peaks.get(service), _described(live), now_ns
            )
            left = [tracked for tracked in self._probes.get(service, ()) if not tracked.closed]
            self._probes[service] = left


_GONE = object()


def _reader(probe: Any, is_probe: bool) -> Callable[[], Any]:
    """Return a function that asks the probe, or returns the object; `_GONE` once it is gone."""
    if isinstance(probe, types.MethodType):
        try:
            method = weakref.WeakMethod(probe)
        except TypeError:
            return probe
        return lambda: _GONE if (bound := method()) is None else bound()
    if is_probe:
        return probe  # type: ignore[no-any-return]
    try:
        reference = weakref.ref(probe)
    except TypeError:
        return lambda: probe
    return lambda: _GONE if (item := reference()) is None else item


def _checked(answer: Any) -> int | None:
    if answer is None:
        return None
    number = float(answer)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"a memory probe returns bytes, 0 or more, not {answer!r}")
    return int(answer)


def _described(live: list[TrackedMemory]) -> str:
    objects = [tracked for tracked in live if tracked.is_object]
    probes = len(live) - len(objects)
    parts = []
    if probes:
        parts.append(f"what {probes} probe{'s' * (probes > 1)} returned")
    if objects:
        parts.append(f"the size of {len(objects)} object{'s' * (len(objects) > 1)}")
    if any(not tracked.complete for tracked in objects):
        parts.append("part of it projected from the elements that were visited")
    if any(tracked.held is None for tracked in live):
        parts.append("without the probes that failed or did not tell")
    return ", ".join(parts) or "nothing is tracked any more"

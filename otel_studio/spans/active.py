"""What runs now: who runs a span, and spans that were dropped without an end."""

from __future__ import annotations

import _thread
import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import StatusCode

from otel_studio.base import outcome
from otel_studio.spans.span import StudioSpan

if TYPE_CHECKING:
    from otel_studio.spans.tracer import StudioTracer

_running_loop = asyncio._get_running_loop


def running_task() -> weakref.ref[asyncio.Task[Any]] | None:
    """Return a reference to the asyncio task that runs now, or `None` outside an event loop.

    A weak one: a task that nobody else refers to is collected as it would be without us.
    """
    loop = _running_loop()
    if loop is None:
        return None
    task = asyncio.current_task(loop)
    return None if task is None else weakref.ref(task)


class _Life:
    """Lives as long as its thread: the thread's own variables hold it."""

    __slots__ = ("__weakref__",)


class ThreadMark:
    """The thread that runs a span: its identity, and whether it is still there.

    The system gives the identity of a thread that has ended to another one.
    """

    __slots__ = ("_life", "ident")

    def __init__(self, life: _Life) -> None:
        self.ident = _thread.get_ident()
        self._life = weakref.ref(life)

    @property
    def living_ident(self) -> int | None:
        """The thread's identity, `None` once it has ended."""
        return None if self._life() is None else self.ident


class _ThisThread(threading.local):
    """The mark of the calling thread; made at its first span."""

    def __init__(self) -> None:
        self._life = _Life()
        self.mark = ThreadMark(self._life)


#: `this_thread.mark` is the calling thread's; in a forked child the one that forked keeps its.
this_thread: Final = _ThisThread()


class ActiveReference(weakref.ref[StudioSpan]):
    """A running span of the API that nobody is obliged to end.

    It does not keep the span alive: a span that is dropped is counted as abandoned,
    as the SDK's would simply vanish.
    """

    __slots__ = ("name", "start", "tracer")

    tracer: StudioTracer
    name: str
    #: How it was started, where that is counted.
    start: tuple[str, str]


def refer(span: StudioSpan, tracer: StudioTracer) -> ActiveReference:
    """Return the reference of a span that begins."""
    reference = ActiveReference(span, _dropped)
    reference.tracer = tracer
    reference.name = span._name
    return reference


def _dropped(reference: Any) -> None:
    reference.tracer.provider.drop(reference)


class AbandonedSpan:
    """Stands in the buffer for a span that was dropped without an end."""

    __slots__ = ("_children", "_name", "_parent_span", "_tracer", "start")

    _simple: Final = False
    _outcome: Final = outcome.ABANDONED
    _status_code: Final = StatusCode.UNSET
    _status_description: Final = None
    _start: Final = 0
    _end: Final = 0
    _trace_id: Final = 0
    _span_id: Final = 0
    _flags: Final = 0
    _attributes: Final = None
    _events: Final = None
    _failure: Final = None
    _records: Final = None
    _thread: Final = None
    start_time: Final = 0
    end_time: Final = None

    def __init__(
        self, tracer: StudioTracer, name: str, start: tuple[str, str] | None = None
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._parent_span: StudioSpan | None = None
        self._children: Any = None
        #: How it was started, where that is counted.
        self.start = start

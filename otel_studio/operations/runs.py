"""One run of an operation: the context manager, the tracker that is ended by hand, the current."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from opentelemetry import trace as trace_api
from opentelemetry.trace import Span, StatusCode
from opentelemetry.util import types

from otel_studio.base.collecting import is_collecting
from otel_studio.base.failure import safe_text
from otel_studio.base.guard import note_once, report_internal_error, warn_once
from otel_studio.operations.binding import Binding, Port, get_context, mark_failed, span_of
from otel_studio.operations.carried_span import identity_of, span_elsewhere


class RunView:
    """One run, as it is seen while it goes on, whether a block or a call of yours ends it."""

    __slots__ = ("_run",)

    _run: Any

    @property
    def span(self) -> Span:
        """The OpenTelemetry span of this run."""
        return span_of(self._run)

    @property
    def trace_id(self) -> str:
        """The trace id, as 32 hexadecimal digits."""
        return trace_api.format_trace_id(self.span.get_span_context().trace_id)

    def __copy__(self) -> Any:
        return self  # a run is one, however many hold it

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.__copy__()

    def set_attribute(self, key: str, value: types.AnyValue) -> None:
        """Set one attribute of the run.

        Args:
            key: not empty; dotted lower case by OpenTelemetry's conventions.
            value: text, number, boolean or a sequence of one of them.
        """
        set_attributes(self.span, {key: value})

    def set_attributes(self, attributes: Mapping[str, types.AnyValue]) -> None:
        """Set several attributes of the run.

        Args:
            attributes: values by key, as for `set_attribute`.
        """
        set_attributes(self.span, attributes)

    def fail(self, error: BaseException | str) -> None:
        """Mark the run failed although no exception leaves it.

        Args:
            error: why: an exception, or a sentence. An exception makes the outcome what it
                would be if it left a block: `cancelled` for a cancellation, and what is no
                error leaves it as it is.
        """
        fail_span(self.span, error)


class OperationRun(RunView):
    """One run of an operation, as the code inside it sees it.

    Made by `Service.operation` (a context manager, `with` and `async with`) and by
    `current_operation`. The run ends where its block is left.
    """

    __slots__ = ("_attributes", "_binding", "_expected", "_port", "_reentries")

    def __init__(
        self,
        binding: Binding | None,
        expected: tuple[type[BaseException], ...] = (),
        run: Any = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self._binding = binding
        self._attributes = attributes
        self._expected = expected
        self._port: Port | None = None
        self._reentries = 0
        self._run = run

    def __reduce__(self) -> tuple[Any, ...]:
        if self._run is None:  # not entered yet
            return OpenOperationRun, (self._binding, self._expected, None, self._attributes)
        return _run_elsewhere, identity_of(self.span)

    def __copy__(self) -> OperationRun:
        if self._run is None:
            return OpenOperationRun(self._binding, self._expected, None, self._attributes)
        return self

    def __repr__(self) -> str:
        return _shown("OperationRun", self, self._binding)

    def __enter__(self) -> Self:
        binding = self._binding
        if binding is None or self._port is not None:
            self._reentries += 1
            warn_once(
                "reentry",
                binding.name if binding else "current",
                "an operation object was entered twice: make a new one for each run with "
                "service.operation(name).",
            )
            return self
        port = binding.port or binding.bind()
        before = get_context()
        self._port = port
        try:
            self._run = port.enter(before)
            if self._attributes:
                set_attributes(self.span, self._attributes)
        except BaseException as error:  # a signal handler's, right after the start
            if self._run is None:
                port.undo(before)
            else:
                self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        port = self._port
        if self._reentries or port is None:
            self._reentries -= 1
            return
        try:
            if error is not None:
                port.fail(self._run, error, self._expected)
        finally:  # at the recursion limit even a call of ours may raise
            if exc_type is GeneratorExit and is_collecting():
                port.end(self._run)
            else:
                port.finish(self._run)
        if type(self) is OpenOperationRun:
            # Left as it should be: nothing to make up for.
            self.__class__ = OperationRun  # type: ignore[assignment]

    async def __aenter__(self) -> Self:
        self.__enter__()
        if self._port is not None:
            self._port.set_task(self._run)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, error, tb)


class Tracker(RunView):
    """A run that is ended by hand: `complete()` or `fail(error)`, from any thread.

    Dropped without either, it is counted as abandoned and warned of once.
    """

    __slots__ = ("__weakref__", "_binding", "_done", "_port")

    def __init__(self, binding: Binding) -> None:
        self._done = False
        self._binding = binding
        self._port = binding.port or binding.bind()
        self._run = self._port.start()

    def __reduce__(self) -> tuple[Any, ...]:
        return _tracker_elsewhere, (self._binding, *identity_of(self.span))

    def __repr__(self) -> str:
        return _shown("Tracker", self, self._binding)

    def complete(self) -> None:
        """End the run as ok; a second end is ignored and logged once."""
        if self._first_end("complete"):
            self._port.end(self._run)
            # Nothing to warn of when it goes.
            self.__class__ = Tracker  # pyright: ignore[reportAttributeAccessIssue]

    def fail(self, error: BaseException | str) -> None:
        """Mark the run failed and end it; a second end is ignored and logged once.

        Args:
            error: why: an exception, or a sentence. An exception makes the outcome what it
                would be if it left a block: `cancelled` for a cancellation, and what is no
                error leaves it as it is.
        """
        if self._first_end("fail"):
            super().fail(error)
            self._port.end(self._run)
            self.__class__ = Tracker  # pyright: ignore[reportAttributeAccessIssue]

    def _first_end(self, method: str) -> bool:
        if self._done:
            warn_once(
                "second end",
                f"{self._binding.service}/{self._binding.name}",
                "%s() on a run of %s/%s that has ended already is ignored.",
                method,
                self._binding.service,
                self._binding.name,
            )
            return False
        self._done = True
        return True


class OpenOperationRun(OperationRun):
    """A block that was not left yet; made by `Service.operation`.

    What a signal handler raises may leave the block at any instruction, at the first one of
    `__exit__` too: then the exit is made up for when this object goes, a moment later.
    """

    __slots__ = ()

    def __del__(self) -> None:
        try:
            port, run = self._port, self._run
        except AttributeError:  # interrupted before it was made
            return
        if port is None or run is None:  # not entered
            return
        # A signal handler's exception came at the first instruction of the exit.
        port.fail(run, GeneratorExit(), self._expected)
        if trace_api.get_current_span() is not span_of(run) or is_collecting():
            port.end(run)  # by now something else is current here
        else:
            port.finish(run)


class OpenTracker(Tracker):
    """A run that was not ended yet; made by `Service.start_operation`."""

    __slots__ = ()

    def __del__(self) -> None:
        try:
            done, binding, port, run = self._done, self._binding, self._port, self._run
        except AttributeError:  # interrupted before it was made
            return
        if done:
            return
        self._done = True
        note_once(
            "abandoned",
            f"{binding.service}/{binding.name}",
            "a run of %s/%s was dropped without complete() or fail(): it is counted as abandoned.",
            binding.service,
            binding.name,
        )
        port.abandon(run)


class TrackerElsewhere(Tracker):
    """A tracker that was pickled: it tells of its run, which the process that has it ends."""

    __slots__ = ()

    def __init__(self, binding: Binding, run: Span) -> None:
        self._binding = binding
        self._run = run

    def complete(self) -> None:
        """Do nothing: the process that started the run ends it."""

    def fail(self, error: BaseException | str) -> None:
        """Do nothing: the process that started the run ends it."""


def _tracker_elsewhere(binding: Binding, *identity: int) -> Tracker:
    return TrackerElsewhere(binding, span_elsewhere(*identity))


def _run_elsewhere(*identity: int) -> OperationRun:
    return OperationRun(None, (), span_elsewhere(*identity))


def current_operation() -> OperationRun | None:
    """Return the operation that the calling code runs in, or `None` outside any.

    Example:
        >>> current_operation() is None
        True
    """
    span = trace_api.get_current_span()
    return OperationRun(None, (), span) if span.is_recording() else None


def set_attributes(span: Span, attributes: Mapping[str, Any]) -> None:
    """Set attributes; a failure is reported, not raised."""
    try:
        span.set_attributes(attributes)
    except Exception as error:
        report_internal_error("setting an attribute", error)


def fail_span(span: Span, error: BaseException | str) -> None:
    """Mark a span failed, or cancelled; a failure of ours is reported, not raised."""
    if isinstance(error, BaseException):
        mark_failed(span, error)
        return
    try:
        span.set_status(StatusCode.ERROR, safe_text(error))
    except Exception as internal:
        report_internal_error("failing an operation", internal)


def _shown(kind: str, run: RunView, binding: Binding | None) -> str:
    span = run.span
    words = [f"{kind} {_name_of(span) if binding is None else f'{binding.service}/{binding.name}'}"]
    if span.is_recording():
        words.append("running")
    if span.get_span_context().is_valid:
        words.append(f"trace_id={run.trace_id}")
    return f"<{', '.join(words)}>"


def _name_of(span: Span) -> str:
    scope = getattr(span, "instrumentation_scope", None)
    return f"{getattr(scope, 'name', 'unknown')}/{getattr(span, 'name', 'unknown')}"

"""What the pools of the tests run in their child processes."""

from __future__ import annotations

import copyreg
import functools
import os
import time
from typing import Any

from opentelemetry import baggage, trace


class OddError(Exception):
    """An exception that keeps more than its arguments."""

    def __init__(self, code: int) -> None:
        super().__init__(f"odd {code}")
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return OddError, (self.code,)


class ByPartial(Exception):
    """One that is made anew from its attributes by name."""

    def __init__(self, *, job: str, code: int) -> None:
        super().__init__(f"{job} ended with {code}")
        self.job, self.code = job, code

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(ByPartial, **self.__dict__), ()


class BySetState(Exception):
    """One that takes its attributes by name afterwards."""

    def __init__(self, job: str = "", code: int = 0) -> None:
        super().__init__(job, code)
        self.job, self.code = job, code

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        self.__init__(**(state or {}))  # type: ignore[misc]


class ByValues(Exception):
    """One that is made anew from its attributes in their order."""

    def __init__(self, job: str, code: int) -> None:
        super().__init__(f"{job} ended with {code}")
        self.job, self.code = job, code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(self.__dict__.values())


class ByProtocol(Exception):
    """One that has its own say for each protocol."""

    def __init__(self, job: str, code: int) -> None:
        super().__init__(job, code)
        self.job, self.code = job, code

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self), tuple(vars(self).values())


class Registered(Exception):
    """One whose form is registered with `copyreg`."""

    def __init__(self, job: str, code: int) -> None:
        super().__init__(job, code)
        self.job, self.code = job, code


copyreg.pickle(Registered, lambda error: (Registered, tuple(vars(error).values())))  # type: ignore[arg-type]


def fail_by(kind: type[Exception]) -> None:
    """Raise one of these."""
    raise kind(job="resize", code=3)  # type: ignore[call-arg]


def where() -> tuple[int, int, str | None, int]:
    """Return trace id, span id, baggage and process as the task sees them."""
    context = trace.get_current_span().get_span_context()
    tenant = baggage.get_baggage("tenant")
    return context.trace_id, context.span_id, str(tenant) if tenant else None, os.getpid()


def work(seconds: float) -> float:
    """Take a while."""
    time.sleep(seconds)
    return seconds


def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


def fail(code: int) -> None:
    """Raise an exception with state of its own."""
    error = ValueError(f"code {code}")
    error.code = code  # type: ignore[attr-defined]
    raise error


def fail_oddly(code: int) -> None:
    """Raise an exception that pickles itself in its own way."""
    raise OddError(code)


class Seen(Exception):
    """What `Looked` arrives as."""

    def __init__(self, attributes: list[str]) -> None:
        super().__init__(attributes)
        self.attributes = attributes


class Slotted(Exception):
    """One without a `__dict__` of its own to write to."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("code", "__traceback__", "__cause__", "__context__"):
            raise AttributeError(name)
        super().__setattr__(name, value)


class Unreadable(Exception):
    """One that can be sent and not be made anew."""

    def __init__(self, job: str, code: int) -> None:
        super().__init__(f"{job} {code}")


class Looked(Exception):
    """One that tells in its form which attributes it had in the child."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Seen, (sorted(vars(self)),)


def fail_and_look() -> None:
    """Raise an exception with one attribute."""
    error = Looked()
    error.code = 3  # type: ignore[attr-defined]
    raise error


def fail_slotted() -> None:
    """Raise one that takes no attributes."""
    raise Slotted(7)


def fail_in_a_group() -> None:
    """Raise two at once."""
    raise ExceptionGroup("two", [ValueError(1), KeyError(2)])


def fail_unreadably() -> None:
    """Raise what the parent cannot make anew."""
    raise Unreadable("resize", 3)


def die() -> None:
    """Take the whole process down."""
    os._exit(3)


def unpicklable() -> Any:
    """Return what cannot be sent back."""
    return lambda: None

"""What gRPC says of an exception: the status that it stands for, on either side of a call."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Final, NamedTuple

#: OpenTelemetry's name for the code of an answer; it has none for what was said with it.
STATUS_ATTRIBUTE: Final = "rpc.response.status_code"
DETAILS_ATTRIBUTE: Final = "studio.rpc.details"
#: Frames looked through for the context of a call, from the innermost one.
_MAX_FRAMES: Final = 20
_ABORT_FILE: Final = ("grpc/_server.py", "grpc\\_server.py")


class GrpcStatus(NamedTuple):
    """A status of gRPC.

    Attributes:
        code: its name, such as `NOT_FOUND`.
        details: what was said with it; empty where nothing was.
    """

    code: str
    details: str

    @property
    def text(self) -> str:
        """The code, and the details where there are some."""
        return f"{self.code}: {self.details}" if self.details else self.code

    @property
    def attributes(self) -> dict[str, str]:
        """What a run tells of it, whatever its outcome."""
        found = {STATUS_ATTRIBUTE: self.code}
        if self.details:
            found[DETAILS_ATTRIBUTE] = self.details
        return found


def grpc_status(error: BaseException) -> GrpcStatus | None:
    """Return the status that an exception of gRPC stands for, `None` for any other.

    `context.abort` of a server raises an exception without words: what it was called with is
    read from its frame, or from the call's context in the frames of the servicer.

    Args:
        error: with its traceback.

    Example:
        >>> grpc_status(ValueError("no")) is None
        True
    """
    if "grpc" not in sys.modules:
        return None
    try:
        if type(error) is Exception:
            return None if error.args else _aborted(error)
        for kind in type(error).__mro__:
            if kind.__module__ == "grpc" and kind.__qualname__ == "RpcError":
                return _told_by(error, may_go_on=True)
            if kind.__module__ == "grpc._cython.cygrpc" and kind.__qualname__ == "AbortError":
                return _aborted_later(error)
    except Exception:  # the program's own classes may look like gRPC's
        pass
    return None


def _aborted(error: Exception) -> GrpcStatus | None:
    frames = _frames(error)
    if not frames or frames[0].f_code.co_name != "abort":
        return None
    if not frames[0].f_code.co_filename.endswith(_ABORT_FILE):
        return None
    found = frames[0].f_locals
    return _status(found.get("code"), found.get("details"))


def _aborted_later(error: BaseException) -> GrpcStatus | None:
    """Return the status of an aborted call of `grpc.aio`, whose own frames hold nothing."""
    for frame in _frames(error):
        for value in frame.f_locals.values():
            kind = type(value)
            if kind.__name__ == "_ServicerContext" and kind.__module__.startswith("grpc."):
                return _told_by(value, may_go_on=False)
    return None


def _frames(error: BaseException) -> list[FrameType]:
    """Return the frames of a traceback, innermost first."""
    frames = []
    step = error.__traceback__
    while step is not None:
        frames.append(step.tb_frame)
        step = step.tb_next
    return frames[: -_MAX_FRAMES - 1 : -1]


def _told_by(teller: Any, *, may_go_on: bool) -> GrpcStatus | None:
    code, details = getattr(teller, "code", None), getattr(teller, "details", None)
    done = getattr(teller, "done", None)
    if not callable(code) or (may_go_on and callable(done) and not done()):
        return None  # asked while it goes on, a call waits for its end
    return _status(code(), details() if callable(details) else None)


def _status(code: Any, details: Any) -> GrpcStatus | None:
    name = getattr(_code_of(code), "name", None)
    if isinstance(details, bytes):
        details = details.decode("utf-8", "replace")
    if not isinstance(name, str):
        return None
    return GrpcStatus(name, details if isinstance(details, str) else "")


def _code_of(code: Any) -> Any:
    """Return a member of `grpc.StatusCode`, which contexts of `grpc.aio` give as a number."""
    if isinstance(code, int):
        for known in sys.modules["grpc"].StatusCode:
            if known.value[0] == code:
                return known
    return code

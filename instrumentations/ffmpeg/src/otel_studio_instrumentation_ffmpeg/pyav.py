"""Follows PyAV: containers from `av.open` and codec contexts from `av.CodecContext.create`.

PyAV's classes are compiled and cannot be patched, so what these two return is wrapped in a
transparent proxy. Streams, packets and frames stay PyAV's own objects.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import wrapt
from opentelemetry.instrumentation.utils import is_instrumentation_enabled, unwrap

from .jobs import CANCELLED, ERROR, OK, Ending, Job, JobBook
from .progress import Progress
from .safety import report_failure

#: Not `av.codec.context`: PyAV's compiled modules import the class from there, late.
_CLASS_HOLDERS = ("av", "av.codec")
_OPEN_HOLDERS = ("av", "av.container")


if TYPE_CHECKING:
    _Proxy = wrapt.ObjectProxy[Any]
else:
    # Not generic before wrapt 2.
    _Proxy = wrapt.ObjectProxy


class _Track:
    """What is known of one container or codec context, apart from the proxy itself."""

    def __init__(self, book: JobBook) -> None:
        self.book = book
        self.job: Job | None = None
        self.error: BaseException | None = None
        self.last_ns = 0

    def begin(self, operation: str) -> Job:
        """Return the job, entered in the book at the first call."""
        if self.job is None:
            self.job = self.book.start("pyav", operation)
            self.job.pid = os.getpid()
            self.last_ns = self.job.started_ns
        return self.job

    def count(self, *, frames: int | None, size: int = 0, end_seconds: float | None) -> None:
        """Add what one packet or frame brought."""
        job = self.job
        if job is None:
            return
        self.last_ns = self.book.monotonic_ns()
        before = job.progress
        seconds = before.output_seconds
        if end_seconds is not None:
            seconds = end_seconds if seconds is None else max(seconds, end_seconds)
        done = before.frames if frames is None else (before.frames or 0) + frames
        written = (before.output_bytes or 0) + size if size else before.output_bytes
        elapsed = (self.last_ns - job.started_ns) / 1e9
        job.report(
            Progress(
                frames=done,
                output_bytes=written,
                output_seconds=seconds,
                bitrate_kbps=written * 8 / seconds / 1000 if written and seconds else None,
                speed=seconds / elapsed if seconds and elapsed > 0 else None,
            ),
            self.last_ns,
        )

    def end(self, error: BaseException | None = None, ended_ns: int | None = None) -> None:
        """Enter the job's end; without a job, nothing."""
        job, self.job = self.job, None
        if job is None:
            return
        error = error or self.error
        self.error = None
        if error is None:
            ending = Ending(OK, ended_ns)
        elif not isinstance(error, Exception):  # cancelled, or the program is on its way out
            ending = Ending(CANCELLED, ended_ns)
        else:
            ending = Ending(ERROR, ended_ns, error=str(error), error_type=_type_name(error))
        self.book.end(job, ending)


class _Followed(_Proxy):
    """A transparent proxy that notes what passes through it."""

    def __init__(self, wrapped: Any, track: _Track, dropped: deque[_Track]) -> None:
        super().__init__(wrapped)
        self._self_track = track
        # A finalizer may run inside any lock of the host, so it only appends.
        finalizer = weakref.finalize(self, dropped.append, track)
        finalizer.atexit = False

    def _note(self, place: Callable[..., None], *args: Any) -> None:
        try:
            place(*args)
        except Exception as error:
            report_failure("following PyAV", error)


class FollowedContainer(_Followed):
    """A container, with its `with` block and its `close`."""

    def __enter__(self) -> Any:
        self.__wrapped__.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        try:
            swallowed = self.__wrapped__.__exit__(kind, error, trace)
        except BaseException as raised:
            self._note(self._self_track.end, raised)
            raise
        self._note(self._self_track.end, error)
        return swallowed

    def close(self) -> None:
        """Close the container, which ends its job."""
        try:
            self.__wrapped__.close()
        except BaseException as error:
            self._note(self._self_track.end, error)
            raise
        self._note(self._self_track.end)


class FollowedOutput(FollowedContainer):
    """A container opened for writing: an encode, or a remux when no encoder writes to it."""

    def add_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Add a stream; one with an encoder begins an encode job."""
        stream = self.__wrapped__.add_stream(*args, **kwargs)
        if kwargs.get("template") is None:
            self._note(self._begin, "encode")
        return stream

    def mux(self, packets: Any) -> None:
        """Write packets and count them."""
        packets = [packets] if hasattr(packets, "pts") else packets
        self._pass(self.__wrapped__.mux, self._counted(packets))

    def mux_one(self, packet: Any) -> None:
        """Write a packet and count it."""
        self._note(self._count, packet)
        self._pass(self.__wrapped__.mux_one, packet)

    def _pass(self, write: Callable[[Any], None], written: Any) -> None:
        try:
            write(written)
        except Exception as error:
            self._self_track.error = error
            raise
        self._self_track.error = None

    def _counted(self, packets: Iterable[Any]) -> Iterator[Any]:
        for packet in packets:
            self._note(self._count, packet)
            yield packet

    def _begin(self, operation: str) -> None:
        self._self_track.begin(operation)

    def _count(self, packet: Any) -> None:
        track = self._self_track
        job = track.begin("remux")
        videos = self.__wrapped__.streams.video
        first = videos[0] if videos else None
        if job.codec is None and job.operation == "encode":
            _learn_stream(job, first if first is not None else packet.stream)
        is_frame = first is not None and packet.stream.index == first.index and packet.size > 0
        base = packet.time_base
        end = None
        if packet.pts is not None and base:
            end = float((packet.pts + (packet.duration or 0)) * base)
        track.count(frames=1 if is_frame else None, size=packet.size, end_seconds=end)


class FollowedInput(FollowedContainer):
    """A container opened for reading: a decode job while `decode` is used."""

    def decode(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Return the frames, counted as they pass."""
        return self._counted(self.__wrapped__.decode(*args, **kwargs))

    def _counted(self, frames: Iterator[Any]) -> Iterator[Any]:
        self._note(self._begin)
        track = self._self_track
        try:
            for frame in frames:
                self._note(self._count, frame)
                yield frame
        except GeneratorExit:  # the caller has seen enough; more may follow after a seek
            raise
        except BaseException as error:
            self._note(track.end, error)
            raise
        self._note(track.end)

    def _begin(self) -> None:
        track = self._self_track
        if track.job is not None:
            return
        job = track.begin("decode")
        container = self.__wrapped__
        videos = container.streams.video
        streams = videos or container.streams.audio
        if streams:
            _learn_stream(job, streams[0])
        if videos and videos[0].frames:
            job.expected_frames = videos[0].frames
        if container.duration:
            job.expected_seconds = container.duration / 1e6

    def _count(self, frame: Any) -> None:
        is_video = hasattr(frame, "pict_type")
        self._self_track.count(frames=1 if is_video else None, end_seconds=frame.time)


class FollowedCodec(_Followed):
    """A codec context made by itself: a job from its first frame to its flush."""

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """Encode a frame; without one the encoder is flushed, which ends the job."""
        return self._call("encode", self.__wrapped__.encode, args, kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """Decode a packet; without one the decoder is flushed, which ends the job."""
        return self._call("decode", self.__wrapped__.decode, args, kwargs)

    def _call(self, operation: str, method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        track = self._self_track
        self._note(self._begin, operation)
        try:
            made = method(*args, **kwargs)
        except Exception as error:
            track.error = error
            raise
        track.error = None
        self._note(self._count, operation, made)
        if not any(value is not None for value in (*args, *kwargs.values())):
            self._note(track.end)
        return made

    def _begin(self, operation: str) -> None:
        self._self_track.begin(operation)

    def _count(self, operation: str, made: Iterable[Any]) -> None:
        track = self._self_track
        job = track.job
        if job is not None and job.codec is None:
            _learn_codec(job, self.__wrapped__)
        is_video = getattr(self.__wrapped__, "type", None) == "video"
        for each in made:
            size = each.size if operation == "encode" else 0
            track.count(frames=1 if is_video else None, size=size, end_seconds=_end_of(each))


class _FollowedClass(_Proxy):
    """Stands for `av.CodecContext`, whose `create` cannot be replaced in place."""

    def __init__(self, wrapped: Any, follow: Callable[[Any], Any]) -> None:
        super().__init__(wrapped)
        self._self_follow = follow

    def create(self, *args: Any, **kwargs: Any) -> Any:
        """Return a new codec context, followed."""
        return self._self_follow(self.__wrapped__.create(*args, **kwargs))

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self.__wrapped__)  # wrapt 1 does not ask the wrapped class


class PyAVFollower:
    """Patches PyAV, and enters its jobs in the book.

    Args:
        book: where jobs are entered.
    """

    def __init__(self, book: JobBook) -> None:
        self._book = book
        self._dropped: deque[_Track] = deque()
        self._patched = False
        self._wanted = False
        self._hooked = False

    def patch(self) -> None:
        """Follow PyAV, now or as soon as the program imports it."""
        self._wanted = True
        if "av" in sys.modules:
            self._patch_module(sys.modules["av"])
        elif not self._hooked:
            self._hooked = True
            wrapt.register_post_import_hook(self._patch_module, "av")

    def unpatch(self) -> None:
        """Restore what `patch` replaced; objects handed out are followed to their end."""
        self._wanted = False
        if not self._patched:
            return
        self._patched = False
        for name in _OPEN_HOLDERS:
            unwrap(sys.modules[name], "open")
        for name in _CLASS_HOLDERS:
            holder: Any = sys.modules[name]
            if isinstance(holder.CodecContext, _FollowedClass):
                holder.CodecContext = holder.CodecContext.__wrapped__

    def fold(self) -> None:
        """Enter the end of what was dropped without being closed or flushed."""
        while True:
            try:
                track = self._dropped.popleft()
            except IndexError:
                return
            track.end(ended_ns=track.last_ns)

    def after_fork(self) -> None:
        """Drop the parent's ended objects in a forked child."""
        self._dropped.clear()

    def _patch_module(self, _: Any) -> None:
        if not self._wanted or self._patched:
            return
        self._patched = True
        for name in _OPEN_HOLDERS:
            wrapt.wrap_function_wrapper(sys.modules[name], "open", self._open)
        for name in _CLASS_HOLDERS:
            holder: Any = sys.modules[name]
            holder.CodecContext = _FollowedClass(holder.CodecContext, self._follow_codec)

    def _open(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        container = wrapped(*args, **kwargs)
        if not is_instrumentation_enabled():
            return container
        self.fold()
        kind = FollowedOutput if hasattr(container, "mux") else FollowedInput
        return kind(container, _Track(self._book), self._dropped)

    def _follow_codec(self, context: Any) -> Any:
        if not is_instrumentation_enabled():
            return context
        self.fold()
        return FollowedCodec(context, _Track(self._book), self._dropped)


def _learn_stream(job: Job, stream: Any) -> None:
    context = getattr(stream, "codec_context", None)
    if context is None:
        return
    _learn_codec(job, context)
    rate = getattr(stream, "average_rate", None) or getattr(context, "framerate", None)
    if rate:
        job.frame_rate = float(rate)


def _learn_codec(job: Job, context: Any) -> None:
    job.codec = context.codec.name
    if getattr(context, "width", 0) and getattr(context, "height", 0):
        job.resolution = f"{context.width}x{context.height}"
    rate = getattr(context, "framerate", None)
    if rate:
        job.frame_rate = float(rate)


def _end_of(made: Any) -> float | None:
    base = made.time_base
    if made.pts is None or not base:
        return None
    return float((made.pts + (getattr(made, "duration", 0) or 0)) * base)


def _type_name(error: BaseException) -> str:
    kind = type(error)
    prefix = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return prefix + kind.__qualname__

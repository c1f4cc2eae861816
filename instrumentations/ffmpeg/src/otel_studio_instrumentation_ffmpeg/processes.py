"""Follows ffmpeg children of `subprocess` and `asyncio`, without touching their streams."""

from __future__ import annotations

import asyncio.subprocess
import dataclasses
import inspect
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import wrapt
from opentelemetry.instrumentation.utils import is_instrumentation_enabled, unwrap

from .command import Command, is_ffmpeg, parse_command
from .feed import GONE, ChildFeed
from .jobs import CANCELLED, ERROR, OK, UNKNOWN, JobBook
from .progress import LogReader
from .safety import report_failure
from .watcher import Watcher

#: Signals by which a caller stops a job, rather than the job failing.
_STOPPING = frozenset({signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)})

#: ffmpeg's `info`: streams and errors, no debugging.
_LOG_LEVEL = 32

#: Bytes at each end of a captured stderr that are searched for streams and errors.
_SEARCHED = 65_536

_HAS_EXTRA_DESCRIPTORS = os.name == "posix"

_PATCHES: tuple[tuple[Any, str], ...] = (
    (subprocess.Popen, "__init__"),
    (subprocess.Popen, "wait"),
    (subprocess.Popen, "poll"),
    (subprocess.Popen, "communicate"),
    (subprocess.Popen, "send_signal"),
    (asyncio.subprocess.Process, "wait"),
    (asyncio.subprocess.Process, "communicate"),
    (asyncio.subprocess.Process, "send_signal"),
    (asyncio.subprocess.Process, "terminate"),
    (asyncio.subprocess.Process, "kill"),
)


@dataclasses.dataclass(slots=True)
class _Start:
    """What was prepared for one start: the arguments to use, and our ends of the pipes."""

    feed: ChildFeed
    call: dict[str, Any]
    write_fds: list[int]
    original_arguments: Any


class ProcessFollower:
    """Patches `subprocess.Popen` and `asyncio`'s process, and enters ffmpeg jobs in the book.

    Args:
        book: where jobs are entered.
    """

    def __init__(self, book: JobBook) -> None:
        self._book = book
        self._watcher = Watcher(self._exited)
        self._lock = threading.Lock()
        self._by_pid: dict[int, ChildFeed] = {}
        self._signature = inspect.signature(subprocess.Popen.__init__)

    def patch(self) -> None:
        """Begin to follow children started from now on."""
        wrappers: dict[tuple[Any, str], Callable[..., Any]] = {
            (subprocess.Popen, "__init__"): self._popen_init,
            (subprocess.Popen, "communicate"): self._popen_communicate,
            (subprocess.Popen, "send_signal"): self._send_signal,
            (asyncio.subprocess.Process, "wait"): self._process_wait,
            (asyncio.subprocess.Process, "communicate"): self._process_communicate,
            (asyncio.subprocess.Process, "send_signal"): self._send_signal,
            (asyncio.subprocess.Process, "terminate"): self._stop,
            (asyncio.subprocess.Process, "kill"): self._stop,
        }
        for owner, name in _PATCHES:
            wrapper = wrappers.get((owner, name), self._popen_status)
            wrapt.wrap_function_wrapper(owner, name, wrapper)

    def unpatch(self) -> None:
        """Restore what `patch` replaced; children that run are followed to their end."""
        for owner, name in _PATCHES:
            unwrap(owner, name)

    def fold(self) -> None:
        """Enter all that the children have reported and which of them have ended, as of now."""
        for feed in self._watcher.feeds():
            feed.drain()
            status = None if feed.awaits_output else feed.peek_exit()
            if isinstance(status, int):
                self._finish(feed, status)

    def join(self, timeout: float) -> bool:
        """Wait until no child is followed any more.

        Args:
            timeout: seconds to wait at most.
        """
        return self._watcher.join(timeout)

    def after_fork(self) -> None:
        """Drop the parent's children in a forked child."""
        self._lock = threading.Lock()
        self._by_pid.clear()
        self._watcher.after_fork()

    # Start ------------------------------------------------------------------------------------

    def _popen_init(
        self, wrapped: Callable[..., None], instance: Any, args: Any, kwargs: Any
    ) -> None:
        start = None
        if _may_be_ffmpeg(args, kwargs) and is_instrumentation_enabled():
            try:
                start = self._prepare(instance, args, kwargs)
            except Exception as error:
                report_failure("following an ffmpeg process", error)
        if start is None:
            wrapped(*args, **kwargs)
            return
        try:
            wrapped(**start.call)
        except BaseException as error:
            self._failed_to_start(start, error)
            raise
        try:
            instance.args = start.original_arguments
            self._started(start, instance)
        except Exception as error:
            report_failure("following an ffmpeg process", error)

    def _prepare(self, instance: Any, args: Any, kwargs: Any) -> _Start | None:
        call = dict(self._signature.bind(instance, *args, **kwargs).arguments)
        del call["self"]
        if call.get("shell"):
            return None
        arguments = _as_list(call["args"])
        if arguments is None or not is_ffmpeg(call.get("executable") or arguments[0]):
            return None
        command = parse_command([os.fsdecode(argument) for argument in arguments])
        if command is None:
            return None
        has_extra = _HAS_EXTRA_DESCRIPTORS and bool(call.get("close_fds", True))
        wants_progress = has_extra and not command.has_progress
        wants_log = has_extra and _log_is_invisible(command, call)
        progress_fd, progress_write = os.pipe() if wants_progress else (None, None)
        log_fd, log_write = os.pipe() if wants_log else (None, None)
        original = call["args"]
        if progress_write is not None:
            call["args"] = [arguments[0], "-progress", f"pipe:{progress_write}", *arguments[1:]]
        if log_write is not None:
            environment = call["env"] if call.get("env") is not None else os.environ
            report = f"file=/dev/fd/{log_write}:level={_LOG_LEVEL}"
            call["env"] = {**environment, "FFREPORT": report}
        write_fds = [fd for fd in (progress_write, log_write) if fd is not None]
        call["pass_fds"] = (*call.get("pass_fds", ()), *write_fds)
        job = self._book.start("process", command.operation)
        job.codec = command.codec
        job.resolution = command.resolution
        job.frame_rate = command.frame_rate
        job.expected_seconds = command.expected_seconds
        job.expected_frames = command.expected_frames
        feed = ChildFeed(job, progress_fd, log_fd, self._book.monotonic_ns)
        return _Start(feed, call, write_fds, original)

    def _started(self, start: _Start, popen: subprocess.Popen[bytes]) -> None:
        _close(start.write_fds)
        start.feed.attach(popen)
        with self._lock:
            self._by_pid[popen.pid] = start.feed
        self._watcher.watch(start.feed)

    def _failed_to_start(self, start: _Start, error: BaseException) -> None:
        try:
            _close(start.write_fds)
            start.feed.close()
            job = start.feed.job
            job.error = str(error)
            job.error_type = type(error).__name__
            self._book.end(job, ERROR)
        except Exception as failure:
            report_failure("following an ffmpeg process", failure)

    # End --------------------------------------------------------------------------------------

    def _exited(self, feed: ChildFeed, status: object) -> None:
        """Take in an exit that the watcher saw."""
        self._finish(feed, None if status is GONE else status)

    def _finish(self, feed: ChildFeed, exit_code: Any) -> None:
        feed.drain()
        feed.log.close()
        job = feed.job
        job.learn(feed.log)
        job.exit_code = exit_code
        if exit_code is None:
            state = UNKNOWN
        elif exit_code == 0:
            state = OK
        elif job.stopped_by_caller:
            state = CANCELLED
        else:
            state = ERROR
            job.error = feed.log.last_error()
            job.error_type = _signal_name(exit_code) or f"exit_code_{exit_code}"
        with self._lock:
            if self._by_pid.get(job.pid or 0) is feed:
                del self._by_pid[job.pid or 0]
        self._book.end(job, state, feed.exit_seen_ns)
        self._watcher.release(feed)

    def _feed_of(self, process: Any) -> ChildFeed | None:
        """Return the feed of a `Popen` or an asyncio process that runs ffmpeg."""
        if not self._by_pid:
            return None
        with self._lock:
            return self._by_pid.get(getattr(process, "pid", None) or 0)

    def _reaped(self, feed: ChildFeed | None, exit_code: int | None) -> None:
        if feed is None or exit_code is None or feed.awaits_output:
            return
        try:
            self._finish(feed, exit_code)
        except Exception as error:
            report_failure("following an ffmpeg process", error)

    def _popen_status(
        self, wrapped: Callable[..., int | None], instance: Any, args: Any, kwargs: Any
    ) -> int | None:
        feed = self._feed_of(instance)
        exit_code = wrapped(*args, **kwargs)
        self._reaped(feed, exit_code)
        return exit_code

    def _popen_communicate(
        self, wrapped: Callable[..., tuple[Any, Any]], instance: Any, args: Any, kwargs: Any
    ) -> tuple[Any, Any]:
        feed = self._feed_of(instance)
        if feed is None:
            return wrapped(*args, **kwargs)
        feed.awaits_output = True
        try:
            captured = wrapped(*args, **kwargs)
            _read_captured(feed, captured)
        finally:
            feed.awaits_output = False
            self._reaped(feed, instance.returncode)
        return captured

    async def _process_wait(
        self, wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any
    ) -> Any:
        feed = self._feed_of(instance)
        exit_code = await wrapped(*args, **kwargs)
        self._reaped(feed, exit_code)
        return exit_code

    async def _process_communicate(
        self, wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any
    ) -> Any:
        feed = self._feed_of(instance)
        if feed is None:
            return await wrapped(*args, **kwargs)
        feed.awaits_output = True
        try:
            captured = await wrapped(*args, **kwargs)
            _read_captured(feed, captured)
        finally:
            feed.awaits_output = False
            self._reaped(feed, instance.returncode)
        return captured

    # Stop -------------------------------------------------------------------------------------

    def _send_signal(
        self, wrapped: Callable[..., None], instance: Any, args: Any, kwargs: Any
    ) -> None:
        number = args[0] if args else next(iter(kwargs.values()), None)
        if number in _STOPPING:
            self._mark_stopped(instance)
        wrapped(*args, **kwargs)

    def _stop(self, wrapped: Callable[..., None], instance: Any, args: Any, kwargs: Any) -> None:
        self._mark_stopped(instance)
        wrapped(*args, **kwargs)

    def _mark_stopped(self, process: Any) -> None:
        feed = self._feed_of(process)
        if feed is not None and process.returncode is None:
            feed.job.stopped_by_caller = True


def _may_be_ffmpeg(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Tell most other programs apart at once, before anything is bound or copied."""
    arguments = _as_list(kwargs["args"] if "args" in kwargs else args[0] if args else None)
    if arguments is None:
        return False
    executable = kwargs.get("executable") or (args[2] if len(args) > 2 else None)
    return is_ffmpeg(executable or arguments[0])


def _as_list(arguments: Any) -> list[Any] | None:
    if isinstance(arguments, (str, bytes, os.PathLike)):
        return [arguments]
    if isinstance(arguments, Sequence) and arguments:
        return list(arguments)
    return None


def _log_is_invisible(command: Command, call: Mapping[str, Any]) -> bool:
    """Return whether asking ffmpeg for a log changes nothing that the caller can see.

    `FFREPORT` makes ffmpeg announce it in three informational lines on stderr: unseen when the
    caller threw stderr away or asked for warnings and errors only. A child that changes its user
    may not open our pipe, and would say so.
    """
    environment = call["env"] if call.get("env") is not None else os.environ
    if command.has_report or any(os.fsdecode(name) == "FFREPORT" for name in environment):
        return False
    if any(call.get(name) is not None for name in ("preexec_fn", "user", "group")):
        return False
    if not Path("/dev/fd").is_dir():
        return False
    return command.quiet or call.get("stderr") == subprocess.DEVNULL


def _read_captured(feed: ChildFeed, captured: tuple[Any, Any]) -> None:
    """Look for streams and errors in a copy of what `communicate` hands to its caller."""
    said = captured[1]
    if not said:
        return
    data = said if isinstance(said, bytes) else said.encode("utf-8", "replace")
    reader = LogReader()
    if len(data) > 2 * _SEARCHED:
        data = data[:_SEARCHED] + b"\n" + data[-_SEARCHED:]
    reader.feed(data)
    feed.log = reader


def _signal_name(exit_code: int) -> str | None:
    if exit_code >= 0:
        return None
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal_{-exit_code}"


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())

"""Follows ffmpeg children of `subprocess` and `asyncio`, without touching their streams."""

from __future__ import annotations

import asyncio.subprocess
import inspect
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wrapt
from opentelemetry.instrumentation.utils import is_instrumentation_enabled, unwrap

from .feed import ChildFeed
from .jobs import ERROR, Ending, JobBook
from .progress import LogReader, Progress, ProgressParser
from .safety import report_failure
from .starts import Start, may_be_start, plan_start
from .stops import SignalFollower
from .watcher import Watcher

#: Bytes at each end of a captured stream that are searched for streams, errors and progress.
_SEARCHED = 65_536

_PATCHES: tuple[tuple[Any, str], ...] = (
    (subprocess.Popen, "__init__"),
    (subprocess.Popen, "wait"),
    (subprocess.Popen, "poll"),
    (subprocess.Popen, "communicate"),
    (asyncio.subprocess.Process, "wait"),
    (asyncio.subprocess.Process, "communicate"),
)


class ProcessFollower:
    """Patches `subprocess.Popen` and `asyncio`'s process, and enters ffmpeg jobs in the book.

    Args:
        book: where jobs are entered.
    """

    def __init__(self, book: JobBook) -> None:
        self._book = book
        self._watcher = Watcher(book, self._finish)
        self._stops = SignalFollower(self._sending)
        self._by_pid: dict[int, ChildFeed] = {}
        self._signature = inspect.signature(subprocess.Popen.__init__)

    def patch(self) -> None:
        """Begin to follow children started from now on."""
        wrappers: dict[tuple[Any, str], Callable[..., Any]] = {
            (subprocess.Popen, "__init__"): self._popen_init,
            (subprocess.Popen, "communicate"): self._popen_communicate,
            (asyncio.subprocess.Process, "wait"): self._process_wait,
            (asyncio.subprocess.Process, "communicate"): self._process_communicate,
        }
        for owner, name in _PATCHES:
            wrapper = wrappers.get((owner, name), self._popen_status)
            wrapt.wrap_function_wrapper(owner, name, wrapper)
        self._stops.patch()

    def unpatch(self) -> None:
        """Restore what `patch` replaced; children that run are followed to their end."""
        for owner, name in _PATCHES:
            unwrap(owner, name)
        self._stops.unpatch()

    def fold(self) -> None:
        """Enter all that the children have reported and which of them have ended, as of now."""
        for feed in self._watcher.feeds():
            status = feed.read()
            if isinstance(status, int) and not feed.awaits_output:
                self._finish(feed, status)

    def join(self, timeout: float) -> bool:
        """Wait until no child is followed any more.

        Args:
            timeout: seconds to wait at most.
        """
        return self._watcher.join(timeout)

    def after_fork(self) -> None:
        """Drop the parent's children in a forked child."""
        self._by_pid.clear()
        self._watcher.after_fork()

    # Start ------------------------------------------------------------------------------------

    def _popen_init(
        self, wrapped: Callable[..., None], instance: Any, args: Any, kwargs: Any
    ) -> None:
        start = feed = None
        if may_be_start(args, kwargs) and is_instrumentation_enabled():
            try:
                call = dict(self._signature.bind(instance, *args, **kwargs).arguments)
                del call["self"]
                start = plan_start(call)
                feed = self._enter(start) if start is not None else None
            except Exception as error:
                report_failure("following an ffmpeg process", error)
        if start is None or feed is None:
            wrapped(*args, **kwargs)
            return
        try:
            wrapped(**start.call)
        except BaseException as error:
            self._failed_to_start(start, feed, error)
            raise
        try:
            instance.args = start.arguments
            self._started(start, feed, instance)
        except Exception as error:
            report_failure("following an ffmpeg process", error)

    def _enter(self, start: Start) -> ChildFeed:
        try:
            job = self._book.start("process", start.command.operation)
            job.codec = start.command.codec
            job.resolution = start.command.resolution
            job.frame_rate = start.command.frame_rate
            job.expected_seconds = start.command.expected_seconds
            job.expected_frames = start.command.expected_frames
            job.has_one_output = start.command.has_one_output
            return ChildFeed(self._book, job, start.progress_fd, start.log_fd, start.command)
        except BaseException:
            start.close()
            raise

    def _started(self, start: Start, feed: ChildFeed, popen: subprocess.Popen[bytes]) -> None:
        start.close_write_ends()
        feed.attach(popen)
        self._by_pid[popen.pid] = feed
        self._watcher.watch(feed)

    def _failed_to_start(self, start: Start, feed: ChildFeed, error: BaseException) -> None:
        try:
            start.close_write_ends()
            feed.close()
            ending = Ending(ERROR, error=str(error), error_type=type(error).__name__)
            self._book.end(feed.job, ending)
        except Exception as failure:
            report_failure("following an ffmpeg process", failure)

    # End --------------------------------------------------------------------------------------

    def _finish(self, feed: ChildFeed, status: object) -> None:
        """Enter the end of a child that was seen to have ended; again changes nothing."""
        pid = feed.job.pid or 0
        if self._by_pid.get(pid) is feed:
            self._by_pid.pop(pid, None)
        self._book.end(feed.job, feed.ending(status))
        self._watcher.release(feed)

    def _feed_of(self, process: Any) -> ChildFeed | None:
        """Return the feed of a `Popen` or an asyncio process that runs ffmpeg."""
        return self._by_pid.get(getattr(process, "pid", None) or 0) if self._by_pid else None

    def _reaped(self, feed: ChildFeed | None, exit_code: int | None) -> None:
        if feed is None or exit_code is None or feed.awaits_output:
            return
        try:
            feed.exit_code = exit_code
            if feed.read() is not None:  # else it interrupts a reading, which then sees the end
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
            self._captured(feed, captured)
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
            self._captured(feed, captured)
        finally:
            feed.awaits_output = False
            self._reaped(feed, instance.returncode)
        return captured

    def _captured(self, feed: ChildFeed, captured: tuple[Any, Any]) -> None:
        try:
            _read_captured(feed, captured)
        except Exception as error:
            report_failure("reading what an ffmpeg process said", error)

    # Stop -------------------------------------------------------------------------------------

    def _sending(self, target: str, number: int, sent: int) -> Callable[[], None]:
        """Note a signal at the running children that it is for; return what takes that back."""
        marked = [
            (feed, feed.signals)
            for feed in list(self._by_pid.values())
            if _is_for(feed, target, number) and feed.peek_exit() is None
        ]
        for feed, before in marked:
            feed.signals = before | {sent}

        def take_back() -> None:
            for feed, before in marked:
                feed.signals = before

        return take_back


def _is_for(feed: ChildFeed, target: str, number: int) -> bool:
    """Return whether a signal to a process, a group or a descriptor reaches a child."""
    pid = feed.job.pid
    if pid is None:
        return False
    if target == "pidfd":
        return _pid_of(number) == pid
    if target == "pid":
        if number > 0:
            return number == pid
        if number == -1:  # every process that it may be sent to
            return True
        number = -number
    group = number or os.getpgrp()
    try:
        return os.getpgid(pid) == group
    except OSError:
        return False


def _pid_of(pidfd: int) -> int | None:
    try:
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), None)


def _read_captured(feed: ChildFeed, captured: tuple[Any, Any]) -> None:
    """Look for streams, errors and progress in a copy of what `communicate` hands to its caller."""
    log = LogReader()
    if captured[1]:
        log.feed(_ends_of(captured[1]))
        log.close()
    feed.take_captured(log if captured[1] else None, _progress_in(feed, captured, log))


def _progress_in(feed: ChildFeed, captured: tuple[Any, Any], log: LogReader) -> Progress | None:
    stream = feed.command.progress_stream
    said = captured[stream - 1] if stream is not None else None
    newest = ProgressParser().feed(_ends_of(said)) if said else None
    return newest if newest is not None else log.statistics


def _ends_of(said: str | bytes) -> bytes:
    data = said if isinstance(said, bytes) else said.encode("utf-8", "replace")
    if len(data) > 2 * _SEARCHED:
        data = data[:_SEARCHED] + b"\n" + data[-_SEARCHED:]
    return data

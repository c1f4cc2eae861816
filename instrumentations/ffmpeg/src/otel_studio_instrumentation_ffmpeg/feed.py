"""What this process holds of one ffmpeg child: its extra descriptors and its exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import weakref
from collections.abc import Callable

from .command import Command
from .jobs import CANCELLED, ERROR, OK, UNKNOWN, Ending, Job, JobBook
from .progress import LogReader, Progress, ProgressParser

#: Bytes read from a descriptor at a time.
_CHUNK = 65_536

#: The status of a child that ended and whose exit code something else has taken.
GONE = object()

#: Signals at which ffmpeg, or what started it, ends by itself, with an exit code of its own.
_STOPPING = frozenset(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGKILL")
    if hasattr(signal, name)
)


class ChildFeed:
    """Reads one child's progress and log, and looks at its exit status without taking it.

    The watcher's thread, the thread that waits for the child and every query read, one at a time
    by the book's lock. A signal handler or a finalizer that comes while its own thread reads finds
    that going on, and leaves it to whom it has interrupted.

    Args:
        book: where the job is entered.
        job: the job that the child does.
        progress_fd: read end of the progress pipe, or `None`.
        log_fd: read end of the log pipe, or `None`.
        command: what its command line says.
    """

    def __init__(
        self,
        book: JobBook,
        job: Job,
        progress_fd: int | None,
        log_fd: int | None,
        command: Command,
    ) -> None:
        self.job = job
        self.command = command
        self.exit_seen_ns: int | None = None
        #: As the caller's own `wait` got it.
        self.exit_code: int | None = None
        #: Set while the caller's `communicate` runs, which brings the child's stderr at its end.
        self.awaits_output = False
        #: Set once reading has failed: the data is thrown away from then on.
        self.discards = False
        #: Signals that this program sent to the child.
        self.signals: frozenset[int] = frozenset()
        self.log = LogReader()
        self._book = book
        self._progress = ProgressParser()
        self._has_progress = progress_fd is not None
        self._fds: dict[int, Callable[[bytes], None]] = {}
        if progress_fd is not None:
            self._fds[progress_fd] = self._read_progress
        if log_fd is not None:
            self._fds[log_fd] = self._read_log
        for fd in self._fds:
            os.set_blocking(fd, False)
        self._at_end: set[int] = set()
        self._popen: weakref.ref[subprocess.Popen[bytes]] | None = None
        self.pidfd: int | None = None
        self._is_reading = False
        self._is_asked_again = False
        self._is_closed = False

    def attach(self, popen: subprocess.Popen[bytes]) -> None:
        """Tie the feed to the started child.

        Args:
            popen: the caller's object; held weakly, so that its life stays as it was.
        """
        self._popen = weakref.ref(popen)
        self.job.pid = popen.pid
        open_pidfd = getattr(os, "pidfd_open", None)
        if open_pidfd is not None:
            try:
                self.pidfd = open_pidfd(popen.pid)
            except OSError:  # an old kernel, no descriptor left, or the child is already reaped
                self.pidfd = None

    def open_fds(self) -> list[int]:
        """Return the descriptors that may still bring data."""
        return [fd for fd in list(self._fds) if fd not in self._at_end]

    def read(self) -> int | object | None:
        """Read all there is now, and return the exit code, `GONE`, or `None` while it runs.

        What a child has said is whole once its exit code is returned. `None` too where this
        interrupts its own thread's reading.
        """
        with self._book.lock:
            if self._is_reading:
                self._is_asked_again = True
                return None
            self._is_reading = True
            try:
                status = None
                self._is_asked_again = True
                while self._is_asked_again:
                    self._is_asked_again = False
                    status = self.peek_exit()
                    self._drain()
                if status is not None and not self.awaits_output:
                    self.log.close()
                    self.job.learn(self.log)
                return status
            finally:
                self._is_reading = False
                if self._is_closed:
                    self._close_all()

    def peek_exit(self) -> int | object | None:
        """Return the exit code, `GONE` when it cannot be had any more, `None` while it runs.

        The child stays waitable: its parent's own `wait` gets the status as ever.
        """
        if self.exit_code is not None:
            return self.exit_code
        popen = self._popen() if self._popen is not None else None
        if popen is not None and popen.returncode is not None:
            return popen.returncode
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            with self._book.lock:
                if self.pidfd is not None:
                    status = os.waitid(os.P_PIDFD, self.pidfd, flags)
                elif self.job.pid is not None:
                    status = os.waitid(os.P_PID, self.job.pid, flags)
                else:
                    return GONE
        except OSError:  # no child of ours any more, or closed meanwhile
            return popen.returncode if popen and popen.returncode is not None else GONE
        if status is None:
            return None
        return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status

    def ending(self, status: object) -> Ending:
        """Return what an exit means, once all that the child said has been read.

        Args:
            status: an exit code, or `GONE`.
        """
        if not isinstance(status, int):
            return Ending(UNKNOWN, self.exit_seen_ns)
        if status == 0:
            state = CANCELLED if self.log.stopped_by_key else OK
            return Ending(state, self.exit_seen_ns, status)
        # ffmpeg ends itself at some signals, by an exit code; by any other, the system ends it.
        if self.signals & _STOPPING or -status in self.signals:
            return Ending(CANCELLED, self.exit_seen_ns, status)
        kind = _signal_name(status) or f"exit_code_{status}"
        return Ending(ERROR, self.exit_seen_ns, status, self.log.last_error(), kind)

    def take_captured(self, log: LogReader | None, progress: Progress | None) -> None:
        """Take what the caller itself read from the child's own streams, after its end.

        Args:
            log: a reader of its stderr; `None` where it said nothing.
            progress: the last report in it; `None` without any.
        """
        if log is not None:
            self.log = log
        if progress is not None and not self._has_progress:
            self.job.report(progress, self._book.monotonic_ns())

    def discard(self) -> None:
        """Read on without looking at the data, so that the child never blocks or breaks."""
        self.discards = True
        with self._book.lock:
            self._fds = dict.fromkeys(self._fds, _ignore)

    def note_exit(self) -> None:
        """Remember when the child was first seen to have ended."""
        if self.exit_seen_ns is None:
            self.exit_seen_ns = self._book.monotonic_ns()

    def close(self) -> None:
        """Close every descriptor, after who reads now; what was not read is lost."""
        with self._book.lock:
            self._is_closed = True
            if not self._is_reading:
                self._close_all()

    def abandon(self) -> None:
        """Close every descriptor in a forked child, whoever was reading in the parent."""
        self._is_reading = False
        self.close()

    def _close_all(self) -> None:
        while self._fds:
            _close(self._fds.popitem()[0])
        pidfd = self.pidfd
        self.pidfd = None
        if pidfd is not None:
            _close(pidfd)

    def _drain(self) -> None:
        for fd in self.open_fds():
            while True:
                try:
                    data = os.read(fd, _CHUNK)
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                if not data:
                    self._at_end.add(fd)
                    break
                self._fds[fd](data)

    def _read_progress(self, data: bytes) -> None:
        newest = self._progress.feed(data)
        if newest is not None:
            self.job.report(newest, self._book.monotonic_ns())

    def _read_log(self, data: bytes) -> None:
        self.log.feed(data)
        self.job.learn(self.log)


def _ignore(_: bytes) -> None:
    """Take data that nobody wants any more."""


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass


def _signal_name(exit_code: int) -> str | None:
    if exit_code >= 0:
        return None
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal_{-exit_code}"

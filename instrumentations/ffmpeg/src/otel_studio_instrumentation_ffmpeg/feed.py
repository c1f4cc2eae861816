"""What this process holds of one ffmpeg child: its extra descriptors and its exit status."""

from __future__ import annotations

import os
import subprocess
import threading
import weakref
from collections.abc import Callable

from .jobs import Job
from .progress import LogReader, ProgressParser

#: Bytes read from a descriptor at a time.
_CHUNK = 65_536

#: The status of a child that ended and whose exit code something else has taken.
GONE = object()


class ChildFeed:
    """Reads one child's progress and log, and looks at its exit status without taking it.

    Both the watcher's thread and the thread that waits for the child read; `lock` keeps them apart.

    Args:
        job: the job that the child does.
        progress_fd: read end of the progress pipe, or `None`.
        log_fd: read end of the log pipe, or `None`.
        monotonic_ns: clock of the job's book.
    """

    def __init__(
        self,
        job: Job,
        progress_fd: int | None,
        log_fd: int | None,
        monotonic_ns: Callable[[], int],
    ) -> None:
        self.job = job
        self.lock = threading.RLock()
        self.exit_seen_ns: int | None = None
        #: Set while the caller's `communicate` runs, which brings the child's stderr at its end.
        self.awaits_output = False
        #: Set once reading has failed: the data is thrown away from then on.
        self.discards = False
        self.log = LogReader()
        self._monotonic_ns = monotonic_ns
        self._progress = ProgressParser()
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
        return [fd for fd in self._fds if fd not in self._at_end]

    def drain(self) -> None:
        """Read all there is now, from every descriptor."""
        with self.lock:
            for fd in self.open_fds():
                while True:
                    try:
                        data = os.read(fd, _CHUNK)
                    except BlockingIOError:
                        break
                    except OSError:
                        self._at_end.add(fd)
                        break
                    if not data:
                        self._at_end.add(fd)
                        break
                    self._fds[fd](data)

    def peek_exit(self) -> int | object | None:
        """Return the exit code, `GONE` when it cannot be had any more, `None` while it runs.

        The child stays waitable: its parent's own `wait` gets the status as ever.
        """
        popen = self._popen() if self._popen is not None else None
        if popen is not None and popen.returncode is not None:
            return popen.returncode
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            with self.lock:
                if self.pidfd is not None:
                    status = os.waitid(os.P_PIDFD, self.pidfd, flags)
                elif self.job.pid is not None:
                    status = os.waitid(os.P_PID, self.job.pid, flags)
                else:
                    return GONE
        except ChildProcessError:
            return popen.returncode if popen and popen.returncode is not None else GONE
        if status is None:
            return None
        return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status

    def discard(self) -> None:
        """Read on without looking at the data, so that the child never blocks or breaks."""
        self.discards = True
        with self.lock:
            self._fds = dict.fromkeys(self._fds, _ignore)

    def note_exit(self) -> None:
        """Remember when the child was first seen to have ended."""
        if self.exit_seen_ns is None:
            self.exit_seen_ns = self._monotonic_ns()

    def close(self) -> None:
        """Close every descriptor; what was not read is lost."""
        with self.lock:
            fds = [*self._fds] + ([self.pidfd] if self.pidfd is not None else [])
            self._fds.clear()
            self.pidfd = None
            for fd in fds:
                try:
                    os.close(fd)
                except OSError:
                    continue

    def _read_progress(self, data: bytes) -> None:
        newest = self._progress.feed(data)
        if newest is not None:
            self.job.report(newest, self._monotonic_ns())

    def _read_log(self, data: bytes) -> None:
        self.log.feed(data)
        self.job.learn(self.log)


def _ignore(_: bytes) -> None:
    """Take data that nobody wants any more."""

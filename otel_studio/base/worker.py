"""A background thread that survives whatever is raised in it, and starts when it is needed."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

from otel_studio.base.guard import report_internal_error
from otel_studio.base.locks import Signal, new_lock


class Worker:
    """Does a piece of work again and again on a daemon thread of its own.

    The thread is started by the first `wake`, and anew by the next one where it is gone: after a
    fork, or because something killed it. Whatever the work raises, `BaseException` too, is
    counted and the thread goes on.

    Args:
        name: of the thread; a dump of stacks shows it.
        work: one piece; returns the seconds until the next one, or `None` for `interval`.
        interval: seconds between two pieces of work where nobody wakes it; `None` waits for a
            `wake`.

    Example:
        >>> done = threading.Event()
        >>> worker = Worker("example", done.set, interval=None)
        >>> worker.wake()
        >>> done.wait(5)
        True
        >>> worker.stop(5)
        True
    """

    def __init__(
        self, name: str, work: Callable[[], float | None], *, interval: float | None
    ) -> None:
        self.name = name
        self.interval = interval
        #: How often the thread was found dead and started anew; forks are not counted.
        self.restarts = 0
        self._work = work
        self._signal = Signal()
        self._lock = new_lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._starting = False

    @property
    def is_running(self) -> bool:
        """Whether the thread is there."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def is_wanted(self) -> bool:
        """Whether it was woken or started and not stopped: it runs, or will when it is needed."""
        return self._thread is not None and not self._stopping

    @property
    def thread_id(self) -> int | None:
        """The identity of the thread, `None` where there is none."""
        thread = self._thread
        return None if thread is None else thread.ident

    def start(self) -> None:
        """Start the thread unless it runs; from ordinary code only (see `wake`).

        Where the interpreter is going down and starts no thread, nothing happens.
        """
        with self._lock:
            if self.is_running or self._stopping:
                return
            if self._thread is not None:
                self.restarts += 1
            thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return
            self._thread = thread

    def wake(self) -> None:
        """Have the work done soon; takes no lock and never waits.

        May be called from a finalizer, a signal handler and at any depth of the stack: a thread
        that has to be started is started by another one, for `threading` takes locks to do so.
        """
        self._signal.set()
        if self._thread is not None and self.is_running:
            return
        if self._stopping or self._starting:
            return
        self._starting = True
        try:
            _thread.start_new_thread(self._start_elsewhere, ())
        except RuntimeError:  # the interpreter is going down
            self._starting = False

    def _start_elsewhere(self) -> None:
        try:
            self.start()
        finally:
            self._starting = False

    def stop(self, timeout: float) -> bool:
        """End the thread once the work in hand is done.

        Args:
            timeout: seconds to wait for that, at most.

        Returns:
            whether it has ended.
        """
        self._stopping = True
        self._signal.set()
        with self._lock:  # a thread that is being started is there once it is held
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def allow(self) -> None:
        """Let it be started again after a `stop`."""
        if not self.is_running:
            self._thread = None
        self._stopping = False

    def after_fork_in_child(self) -> None:
        """Forget the parent's thread; the next `wake` or `start` makes one."""
        self._thread = None
        self._starting = False
        self._signal.renew()

    def _run(self) -> None:
        wait = self.interval
        while not self._stopping:
            try:
                if self._is_due(wait):
                    wanted = self._work()
                    wait = self.interval if wanted is None else wanted
            except BaseException as error:
                self._survive(error)

    def _is_due(self, wait: float | None) -> bool:
        self._signal.wait(wait)
        return not self._stopping

    def _survive(self, error: BaseException) -> None:
        try:
            report_internal_error(f"the thread {self.name}", error)
        except BaseException:  # reporting runs the program's own handlers
            pass

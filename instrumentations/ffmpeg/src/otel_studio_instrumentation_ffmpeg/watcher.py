"""One daemon thread that reads what the running ffmpeg children report, while any runs."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable

from .feed import GONE, ChildFeed
from .jobs import JobBook
from .safety import report_failure

#: How often children without an exit descriptor are looked at, in seconds.
_TICK = 0.05

#: How many looks a child that something else reaped gets, to let its exit code appear.
_LOOKS_AFTER_EXIT = 40


class Watcher:
    """Reads progress and notices exits; its thread lives only as long as there are children.

    Args:
        book: whose lock to take.
        on_exit: called with a feed and its exit code, or `GONE`, once the child has ended.
    """

    def __init__(self, book: JobBook, on_exit: Callable[[ChildFeed, object], None]) -> None:
        self._book = book
        self._on_exit = on_exit
        self._feeds: dict[ChildFeed, int] = {}
        #: The last thread started; it reads while `_wake_fd` is there, and is about to end after.
        self._thread: threading.Thread | None = None
        self._wake_fd: int | None = None

    def watch(self, feed: ChildFeed) -> None:
        """Read a child from now on.

        Args:
            feed: of a child that has started.
        """
        with self._book.lock:
            self._feeds[feed] = _LOOKS_AFTER_EXIT
            if self._wake_fd is None:
                self._start_thread()
            else:
                self._wake()

    def release(self, feed: ChildFeed) -> None:
        """Stop reading a child and close what was held of it.

        Args:
            feed: as given to `watch`; an unknown one changes nothing.
        """
        with self._book.lock:
            if self._feeds.pop(feed, None) is not None:
                self._wake()
            # Under the lock: the thread must not register a number that is reused by now.
            feed.close()

    def feeds(self) -> list[ChildFeed]:
        """Return the feeds being read."""
        return list(self._feeds)

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end, which it does when no child is left.

        Args:
            timeout: seconds to wait at most.

        Returns:
            Whether no thread is left.
        """
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def after_fork(self) -> None:
        """Drop everything in a forked child, where the thread does not exist."""
        for feed in list(self._feeds):
            feed.abandon()
        self._feeds.clear()
        self._thread = None
        if self._wake_fd is not None:
            os.close(self._wake_fd)
            self._wake_fd = None

    def _start_thread(self) -> None:
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        thread = threading.Thread(
            target=self._run, args=(wake_read, wake_write), name="otel-studio-ffmpeg", daemon=True
        )
        # A signal handler or a finalizer that came since the question may have started another.
        if self._wake_fd is None:
            self._wake_fd = wake_write
            self._thread = thread
        else:
            os.close(wake_read)
            os.close(wake_write)
            self._wake()
            return
        try:
            thread.start()
        except BaseException:  # no thread to be had now; the next child tries again
            self._thread = None
            self._forget(wake_write)
            os.close(wake_read)
            raise

    def _wake(self) -> None:
        wake_fd = self._wake_fd
        if wake_fd is None:
            return
        try:
            os.write(wake_fd, b"\0")
        except BlockingIOError:  # the pipe is full: the thread wakes anyway
            pass

    def _forget(self, wake_fd: int) -> None:
        """Close the end by which a thread was woken, once; the next child starts another."""
        with self._book.lock:
            if self._wake_fd != wake_fd:
                return
            self._wake_fd = None
            os.close(wake_fd)

    def _run(self, wake_read: int, wake_write: int) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                while self._select(selector, wake_read):
                    for feed in self.feeds():
                        self._look(feed)
        finally:
            self._forget(wake_write)
            os.close(wake_read)

    def _select(self, selector: selectors.BaseSelector, wake_read: int) -> bool:
        """Wait for the next thing to read; return `False` when no child is left."""
        with self._book.lock:
            wake_fd = self._wake_fd
            if not self._feeds:
                # Nothing is called between the question and this: what comes later starts anew.
                self._wake_fd = None
                if wake_fd is not None:
                    os.close(wake_fd)
                return False
            timeout = self._register(selector, wake_read)
        selector.select(timeout)
        try:
            os.read(wake_read, 4096)
        except BlockingIOError:
            pass
        return True

    def _register(self, selector: selectors.BaseSelector, wake_read: int) -> float | None:
        """Register all that may be read; return how long to wait for it at most."""
        wanted = {wake_read}
        timeout = None
        for feed in self.feeds():
            wanted.update(feed.open_fds())
            pidfd = feed.pidfd
            if feed.exit_seen_ns is not None or pidfd is None:
                timeout = _TICK
            else:
                wanted.add(pidfd)
        # Registered anew each time: a descriptor closed meanwhile may have been reused.
        for key in list(selector.get_map().values()):
            selector.unregister(key.fd)
        for fd in wanted:
            try:
                selector.register(fd, selectors.EVENT_READ)
            except OSError:  # closed by a finalizer that ran in here
                timeout = _TICK
        return timeout

    def _look(self, feed: ChildFeed) -> None:
        try:
            status = feed.read()
            if status is None or feed.awaits_output:
                if status is not None:
                    feed.note_exit()
                return
            if status is GONE and self._has_another_look(feed):
                feed.note_exit()
                return
            self._on_exit(feed, status)
        except Exception as error:
            report_failure("reading the progress of ffmpeg", error)
            if feed.discards:
                self.release(feed)
            else:
                feed.discard()

    def _has_another_look(self, feed: ChildFeed) -> bool:
        with self._book.lock:
            looks = self._feeds.get(feed, 0)
            if looks > 0:
                self._feeds[feed] = looks - 1
            return looks > 0

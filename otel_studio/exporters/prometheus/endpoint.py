"""Serves `/metrics` over HTTP from one thread: few connections, each with a deadline.

One thread reads every request as its bytes come and writes every answer as its reader takes it.
A connection that says nothing costs no thread, is closed at its deadline, and makes room for a
new one where there are too many: no one keeps a scraper out.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from otel_studio.base.guard import report_internal_error, warn_once
from otel_studio.base.worker import Worker
from otel_studio.exporters.prometheus.answer import Answer

#: From method, path and headers (by lower-case name) to what is answered.
Respond = Callable[[str, str, dict[str, str]], Answer]

MAX_CONNECTIONS: Final = 32
_MAX_REQUEST: Final = 16_384
#: Seconds: for the whole request to come, for the answer to be taken, for the other side to close.
_REQUEST_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0
_CLOSE_SECONDS: Final = 1.0
_AT_REST_SECONDS: Final = 60.0
_PIECE: Final = 65_536


class _Connection:
    """One connection: a request that comes, an answer that goes, or what is only to be closed."""

    __slots__ = ("answered", "deadline", "outgoing", "received", "socket")

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self.socket = connected
        self.deadline = deadline
        self.received = b""
        self.outgoing = memoryview(b"")
        self.answered = False


class Endpoint:
    """The HTTP server.

    Args:
        respond: makes the answers; runs on the server's thread.
    """

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._listener: socket.socket | None = None
        self._selector: selectors.BaseSelector | None = None
        self._worker: Worker | None = None
        self._wakers: tuple[socket.socket, ...] = ()
        self._connections: dict[socket.socket, _Connection] = {}
        #: Where `/metrics` is served, `None` while it is not.
        self.address: str | None = None

    def serve(self, host: str, port: int) -> bool:
        """Serve; a port that is in use is said and left alone.

        Args:
            host: the address to bind.
            port: 0 for any free one.

        Returns:
            whether it is served.
        """
        try:
            listener = _listening(host, port)
        except (OSError, OverflowError, UnicodeError) as error:
            warn_once(
                "prometheus",
                f"{host}:{port}",
                "/metrics cannot be served on %s:%s (%s): free the port or set "
                "OTEL_EXPORTER_PROMETHEUS_PORT to another one; everything else goes on.",
                host,
                port,
                error,
            )
            return False
        self._listener = listener
        self._wakers = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wakers[0], selectors.EVENT_READ)
        self._worker = Worker("otel-studio-metrics", self._turn, interval=0.0)
        self._worker.start()
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{listener.getsockname()[1]}/metrics"
        return True

    def close(self) -> None:
        """Stop serving; waits a second at most for an answer in the making."""
        worker, self._worker = self._worker, None
        self.address = None
        if worker is None:
            return
        self._wakers[1].close()  # its other end becomes readable: the thread looks up
        if worker.stop(1.0):
            self._leave()
        elif self._listener is not None:
            self._listener.close()  # the thread hangs in somebody's callback: it has the rest

    def after_fork_in_child(self) -> None:
        """Leave the parent's sockets to it: only the child's copies of them are closed."""
        self._worker = None
        self.address = None
        self._leave()

    def _leave(self) -> None:
        if self._selector is not None:
            self._selector.close()  # first: what the parent's kernel object watches stays in it
        for connected in (self._listener, *self._wakers, *list(self._connections)):
            if connected is not None:
                connected.close()
        self._selector = self._listener = None
        self._wakers = ()
        self._connections = {}

    def _turn(self) -> float:
        """Do what can be done without waiting, and wait for more; return the seconds to rest."""
        selector, listener = self._selector, self._listener
        if selector is None or listener is None:
            return _AT_REST_SECONDS
        try:
            deadlines = [connection.deadline for connection in self._connections.values()]
            wait = min(deadlines, default=0.0) - time.monotonic() if deadlines else None
            for key, _ in selector.select(None if wait is None else max(wait, 0.0)):
                if key.fileobj is listener:
                    self._accept(listener, selector)
                elif key.data is not None:
                    self._advance(key.data, selector)
            self._close_late(selector)
        except Exception as error:
            if self._worker is not None:  # not what closing under our hands makes
                report_internal_error("the endpoint of /metrics", error)
            return 1.0  # out of file descriptors, say: not again at once
        return 0.0

    def _accept(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        try:
            connected, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # it went away before its turn
            return
        connected.setblocking(False)
        if len(self._connections) >= MAX_CONNECTIONS:
            # The one nearest to its deadline has had the longest time to say something.
            self._drop(min(self._connections.values(), key=lambda one: one.deadline), selector)
        connection = _Connection(connected, time.monotonic() + _REQUEST_SECONDS)
        self._connections[connected] = connection
        selector.register(connected, selectors.EVENT_READ, connection)

    def _advance(self, connection: _Connection, selector: selectors.BaseSelector) -> None:
        if connection.socket not in self._connections:  # dropped earlier in this turn
            return
        try:
            if connection.outgoing:
                self._send(connection, selector)
            elif self._has_ended(connection):
                self._drop(connection, selector)
            elif not connection.answered and b"\r\n\r\n" in connection.received:
                self._begin_answer(connection, selector)
        except BlockingIOError:
            pass
        except OSError:  # the scraper went away
            self._drop(connection, selector)
        except BaseException as error:  # a callback's SystemExit, too: the thread is ours alone
            self._drop(connection, selector)
            report_internal_error("answering on /metrics", error)

    def _has_ended(self, connection: _Connection) -> bool:
        piece = connection.socket.recv(_PIECE)
        if not connection.answered:  # what comes after the answer is read and forgotten
            connection.received += piece
        return not piece or len(connection.received) > _MAX_REQUEST

    def _begin_answer(self, connection: _Connection, selector: selectors.BaseSelector) -> None:
        answered = self._answer(connection.received.partition(b"\r\n\r\n")[0])
        connection.answered = True
        connection.outgoing = memoryview(answered)
        connection.deadline = time.monotonic() + _ANSWER_SECONDS
        selector.modify(connection.socket, selectors.EVENT_WRITE, connection)

    def _answer(self, head: bytes) -> bytes:
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split()
        if len(words) != 3:
            return _spelled(Answer("400 Bad Request", (("Content-Length", "0"),), b""))
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            headers[name] = f"{headers[name]},{value}" if name in headers else value.strip()
        method, target, _ = words
        try:
            path = urlsplit(target).path
        except ValueError:  # a host in brackets that is none
            path = target
        return _spelled(self._respond(method, path, headers))

    def _send(self, connection: _Connection, selector: selectors.BaseSelector) -> None:
        sent = connection.socket.send(connection.outgoing[:_PIECE])
        connection.outgoing = connection.outgoing[sent:]
        if not connection.outgoing:
            # Closing while something unread lies there would take the answer back.
            connection.socket.shutdown(socket.SHUT_WR)
            connection.deadline = time.monotonic() + _CLOSE_SECONDS
            selector.modify(connection.socket, selectors.EVENT_READ, connection)

    def _close_late(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for connection in list(self._connections.values()):
            if connection.deadline <= now:
                self._drop(connection, selector)

    def _drop(self, connection: _Connection, selector: selectors.BaseSelector) -> None:
        if self._connections.pop(connection.socket, None) is not None:
            selector.unregister(connection.socket)
            connection.socket.close()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(MAX_CONNECTIONS)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _spelled(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + answer.body

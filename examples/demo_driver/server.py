"""Runs the service in a thread of its own."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from examples.preview_service.app import create_app

HOST = "127.0.0.1"


class ServiceDidNotStart(RuntimeError):
    """The server ended, or said nothing, before it took the first request."""


def listen(port: int, or_any: bool) -> socket.socket:
    """Return a socket that listens on this machine alone.

    Args:
        port: which port.
        or_any: take a free one when that port is in use.

    Raises:
        OSError: if the port is in use and no other will do.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError:
        if not or_any:
            raise
        return socket.create_server((HOST, 0))


def free_port(preferred: int) -> int:
    """Return the preferred port, or another one that is free when it is in use."""
    with listen(preferred, or_any=True) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running_service(listener: socket.socket) -> Iterator[str]:
    """Serve the previews from a temporary folder, and give the service's address.

    Args:
        listener: from `listen`.

    Raises:
        ServiceDidNotStart: if it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="preview-service-") as folder:
        service = ServiceThread(create_app(Path(folder)), listener)
        try:
            service.start()
            yield service.address
        finally:
            service.stop()


class ServiceThread:
    """A uvicorn server beside the main thread, which keeps the signals to itself.

    Args:
        app: what is served.
        listener: from `listen`.
    """

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        host, port = listener.getsockname()
        self.address = f"http://{host}:{port}"
        self._listener = listener
        self._server = uvicorn.Server(
            # Without a log configuration of its own, what uvicorn says reaches the root logger.
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2)
        )
        self._thread = threading.Thread(target=self._serve, name="demo-service", daemon=True)

    def start(self, timeout: float = 20.0) -> None:
        """Start, and return when requests are taken.

        Args:
            timeout: how long that may take, in seconds.

        Raises:
            ServiceDidNotStart: if it took longer or the server ended.
        """
        self._thread.start()
        pause = threading.Event()
        for _ in range(round(timeout / 0.02)):
            if self._server.started:
                return
            if not self._thread.is_alive():
                break
            pause.wait(0.02)
        raise ServiceDidNotStart("the service did not start; its log says why")

    def stop(self, timeout: float = 5.0) -> None:
        """Let the requests that run end, then stop.

        Args:
            timeout: how long to wait, in seconds.
        """
        self._server.should_exit = True
        self._thread.join(timeout)

    def _serve(self) -> None:
        self._server.run(sockets=[self._listener])
